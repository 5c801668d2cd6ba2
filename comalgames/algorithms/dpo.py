"""Iterative DPO on the population: fit Bradley-Terry scores under the current policy, and tilt by them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import bradley_terry, validation
from comalgames.algorithms.base import AbstractUpdateRule, Number, State, at
from comalgames.feedback import AbstractFeedback
from comalgames.updates import mirror_target


class IterativeDPO(AbstractUpdateRule[State]):
    """DPO repeated with the last policy as its reference, each round trained to its minimum.

        policy' ~ policy * exp(scores / beta)

    where `scores` are the Bradley-Terry scores that best fit the preferences on pairs drawn from the current
    policy. Near an interior Nash policy this is `MWU` with step 4 / beta: it spirals away, and its average
    does not approach Nash either. Where preferences are deterministic on the pairs, the fit would be
    infinite; preferences are clipped to [1e-6, 1 - 1e-6] for it.

    Args:
        beta: DPO's regularisation, > 0.

    Raises:
        ValueError: `beta` is not a finite number above 0.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7, iterated as in COMAL,
    arXiv 2410.23223, section 5.
    """

    beta: Number

    def __check_init__(self) -> None:
        validation.positive("beta", self.beta)

    @property
    def reads_pairs(self) -> bool:
        """The fit reads how often each action beats each."""
        return True

    def logistic_beta(self, step: Any) -> Any:
        """Its own beta."""
        return at(self.beta, step)

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Tilt the current policy by the scores fitted under it; nan where the fit fails."""
        seen = feedback.comparisons(key, state.logp)
        fitted = bradley_terry.fit(seen.skew, seen.logp, seen.weights, seen.num_pairs)
        scores = jnp.where(fitted.converged[..., None], fitted.scores, jnp.nan)
        return mirror_target(state.logp, scores, 1.0 / at(self.beta, state.step)), state
