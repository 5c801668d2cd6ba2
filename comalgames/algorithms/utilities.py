"""Exponential weights on other utilities than the win rate: its logarithm, its log-odds, mean log-odds.

Only the win rate makes the average of past policies Nash.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import NOTHING, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import bradley_terry
from comalgames.numerics.updates import mirror_target

# Win rates and preferences closer to 0 or 1 than this count as this close: a logarithm has to be finite.
CLIP = bradley_terry.CLIP


@guaranteed(NOTHING, "the policy spirals outward; the average is biased too", "measured")
class NCA(AbstractUpdateRule[State]):
    """Noise-contrastive alignment: exponential weights on the logarithm of the win rate.

        policy' ~ policy * (2 win_rate)^(1 / beta)

    At beta = 1 it is `policy' = 2 policy * win_rate` exactly: the distribution of the better of two
    samples, iterated best-of-2. Near Nash it is `MWU` with step 2 / beta. It spirals to the boundary, and its
    average does not approach Nash.

    Answer by answer, the published loss has its minimum at `log(policy' / policy) = log(2 win_rate) / beta`:
    its derivative by r = beta log_ratio is `(win_rate + 1/2) sigmoid(r) - win_rate`, which is 0 at
    `exp(r) = 2 win_rate`. At beta = 1 this is a policy, since the mean win rate is 1/2. At another beta it is
    not normalized: this step divides by the sum, while the loss is minimized by another policy. To leading
    order in the advantages, log-ratios are there multiplied by
    `1 - 2 (1 - beta) (1 - beta / 2) E[advantage^2] / beta^2`, with the mean over the policy. On COMAL's cycle
    at (0.2, 0.5, 0.3) margins of log-ratios differ by 8% at beta = 0.3 and by 0.3% at beta = 4, and at the
    steeper (0.7, 0.28, 0.02) by 18% and 1%.

    Args:
        beta: regularization, > 0. Win rates below 1e-6 count as 1e-6.

    Raises:
        ValueError: `beta` is not a finite number above 0.

    Reference: Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024.
    """

    beta: Number

    def __check_init__(self) -> None:
        validation.positive("beta", self.beta)

    def form(self, step: Any) -> Form:
        """Beta is an inverse step size; the step is not linear in the advantage."""
        return Form(step="beta", is_inverse=True)

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply the formula in the docstring of the class."""
        win_rate = 0.5 + feedback.advantage(key, state.logp)
        utility = jnp.log(2.0 * jnp.maximum(win_rate, CLIP))
        return mirror_target(state.logp, utility, 1.0 / at(self.beta, state.step)), state


@guaranteed(NOTHING, "the policy spirals outward; the average is biased too", "measured")
class BCO(AbstractUpdateRule[State]):
    """Binary classifier optimization: exponential weights on the log-odds of the win rate.

        policy' ~ policy * (win_rate / (1 - win_rate))^(1 / beta)

    Near Nash it is `MWU` with step 4 / beta. It spirals to the boundary, and its average does not approach
    Nash.

    Answer by answer, the published loss has its minimum at `log(policy' / policy) = logit(win_rate) / beta`,
    which is not normalized: this step divides by the sum, while the loss is minimized by another policy. To
    leading order in the advantages, log-ratios are there multiplied by `1 - E[log_ratio^2] / 2`, with
    `log_ratio = 4 advantage / beta` and the mean over the policy. On COMAL's cycle at (0.2, 0.5, 0.3) margins
    of log-ratios differ by 0.6% at beta = 4, 7% at beta = 1 and 28% at beta = 0.3, where the probability of
    one action differs by 54%; at the steeper (0.7, 0.28, 0.02) they differ by 4%, 23%
    and 50%.

    Args:
        beta: regularization, > 0. Win rates within 1e-6 of 0 or 1 count as 1e-6 away from it.

    Raises:
        ValueError: `beta` is not a finite number above 0.

    Reference: Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """

    beta: Number

    def __check_init__(self) -> None:
        validation.positive("beta", self.beta)

    def form(self, step: Any) -> Form:
        """Beta is an inverse step size; the step is not linear in the advantage."""
        return Form(step="beta", is_inverse=True)

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply the formula in the docstring of the class."""
        advantage = jnp.clip(feedback.advantage(key, state.logp), CLIP - 0.5, 0.5 - CLIP)
        log_odds = 2.0 * jnp.arctanh(2.0 * advantage)
        return mirror_target(state.logp, log_odds, 1.0 / at(self.beta, state.step)), state


@guaranteed(NOTHING, "the policy spirals outward; the average converges to Nash of the log-odds", "measured")
class GPO(AbstractUpdateRule[State]):
    """General preference optimization: exponential weights on the mean log-odds against the policy.

        policy' ~ policy * exp(score / beta),    score[i] = sum_j policy[j] log(P[i, j] / P[j, i])

    It plays another game, whose payoffs are the log-odds: that game's Nash policies are its fixed points and
    the limit of its average. They are not those of the preferences.

    Args:
        beta: regularization, > 0, in units of log-odds.

    Raises:
        ValueError: `beta` is not a finite number above 0; when a run begins: a preference is exactly 0 or 1.

    Reference: Zhang et al., "Beyond Bradley-Terry Models: A General Preference Model for Language Model
    Alignment", 2024, section 5.
    """

    beta: Number

    def __check_init__(self) -> None:
        validation.positive("beta", self.beta)

    def form(self, step: Any) -> Form:
        """Beta is an inverse step size; the step is not linear in the advantage."""
        return Form(step="beta", is_inverse=True, reads_log_odds=True)

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply the formula of the class; sampled comparisons get one extra tie, spread over the pairs."""
        seen = feedback.comparisons(key, state.logp)
        skew, weights = bradley_terry.smoothed(seen.skew, seen.logp, seen.weights, seen.num_pairs)
        log_odds = 2.0 * jnp.arctanh(2.0 * jnp.clip(skew, CLIP - 0.5, 0.5 - CLIP))
        scores = jnp.sum(weights * log_odds, axis=-1)
        return mirror_target(state.logp, scores, 1.0 / at(self.beta, state.step)), state
