"""DPO on the population: fit Bradley-Terry scores under the current policy, and tilt a policy by them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import NOTHING, OWN, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import bradley_terry
from comalgames.numerics.updates import mirror_target


@guaranteed(NOTHING, "the policy spirals outward; the average is biased too", "Liu et al. 2024; measured")
class IterativeDPO(AbstractUpdateRule[State]):
    """DPO repeated with the last policy as its reference, each round trained to its minimum.

        policy' ~ policy * exp(scores / beta)

    where `scores` are the Bradley-Terry scores that best fit the preferences on pairs drawn from the current
    policy. Near an interior Nash policy this is `MWU` with step 4 / beta: it spirals away, and its average
    does not approach Nash either. Where preferences are deterministic on the pairs, the fit would be
    infinite; preferences are clipped to [1e-6, 1 - 1e-6] for it.

    Args:
        beta: DPO's regularization, > 0.

    Raises:
        ValueError: `beta` is not a finite number above 0.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7, iterated as in COMAL,
    arXiv 2410.23223, section 5.
    """

    beta: Number

    def __check_init__(self) -> None:
        validation.positive("beta", self.beta)

    def form(self, step: Any) -> Form:
        """The beta of the rule, which is an inverse step size."""
        return Form(beta=at(self.beta, step), step="beta", is_inverse=True)

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Tilt the current policy by the scores fitted under it."""
        scores = fitted_scores(key, state.logp, feedback)
        return mirror_target(state.logp, scores, 1.0 / at(self.beta, state.step)), state


@guaranteed(
    OWN,
    "small damping; the limit is that of temperature beta / 4 near ties, and more deterministic elsewhere",
    "Calandriello et al. 2024",
)
class OnlineDPO(AbstractUpdateRule[State]):
    """DPO with a fixed reference on pairs of the current policy; also RLHF whose reward is refitted.

        policy' ~ policy^(1 - damping) * (reference * exp(scores / beta))^damping

    where `scores` are the Bradley-Terry scores that best fit the preferences on pairs drawn from the current
    policy. With damping 1 the step is the minimizer of DPO's loss, which is the solution of KL-regularized
    reward maximization with that reward; a smaller damping covers a part of this step and has the same fixed
    point. Inside `COMAL` it reaches Nash.

    At the fixed point every action has the win rate that a Bradley-Terry model with the scores
    `beta log(policy / reference)` would give it:

        sum_j policy[j] (P[i, j] - sigmoid(beta log_ratio[i] - beta log_ratio[j])) = 0

    As `sigmoid(x) - 1/2 = x / 4` for small x, with an error of at most |x|^3 / 48, this is the regularized
    equilibrium at temperature beta / 4 only where preferences are near ties. Elsewhere it is more
    deterministic: of two actions with preference P the log-ratios differ by `logit(P) / beta`, and those of
    that equilibrium by `4 (P - 1/2) / beta`. At P = 0.99, beta = 1 and a uniform reference, the probabilities
    are 0.99 and 0.877. Preferences that come from a Bradley-Terry model have the limit
    `reference * exp(scores / beta)`.

    Args:
        beta: regularization, > 0, in nats of log-odds.
        damping: the share of the way that a step goes, above 0 and at most 1. Undamped steps circle for a
            small beta (below 0.845 on COMAL's cycle).

    Raises:
        ValueError: `beta` is not a finite number above 0, or `damping` not one above 0 and at most 1.

    Reference: Guo et al., "Direct Language Model Alignment from Online AI Feedback", 2024; Calandriello et
    al., "Human Alignment of Large Language Models through Online Preference Optimisation", 2024, theorem F.6.
    """

    beta: Number
    damping: Any = 1.0

    def __check_init__(self) -> None:
        validation.positive("beta", self.beta)
        validation.share("damping", self.damping)

    def form(self, step: Any) -> Form:
        """The pull is the damping; the step minimizes DPO's loss relative to the damped anchor."""
        damping = at(self.damping, step)
        return Form(pull=damping, beta=at(self.beta, step) / damping, step="damping")

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Tilt the reference by the scores, and move a share `damping` of the way to the result."""
        scores, damping = fitted_scores(key, state.logp, feedback), at(self.damping, state.step)
        weight = damping / at(self.beta, state.step)
        return mirror_target(state.logp, scores, weight, state.reference, damping), state


def fitted_scores(
    key: PRNGKeyArray, logp: Float[Array, "*batch n"], feedback: AbstractFeedback
) -> Float[Array, "*batch n"]:
    """Bradley-Terry scores fitted on pairs that a policy draws; nan where the fit fails."""
    seen = feedback.comparisons(key, logp)
    fitted = bradley_terry.fit(seen.skew, seen.logp, seen.weights, seen.num_pairs)
    return jnp.where(fitted.converged[..., None], fitted.scores, jnp.nan)
