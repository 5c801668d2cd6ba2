"""Feedback on K sampled answers per prompt."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.feedback.base import AbstractFeedback, Comparisons
from comalgames.games.base import PRECISION


class Candidates(AbstractFeedback):
    """Feedback on K sampled answers per prompt, which are a game of K actions.

    Log-probabilities of the answers are known up to a constant per prompt only. An opponent's weight on an
    answer is `softmax(opponent_logp - behaviour_logp)` over the K: the plain mean where the opponent drew
    them, else self-normalized importance weights, biased of order 1 / K. An answer meets itself, at 1/2.

    Args:
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`, P + P.T =
            1; hard labels 0 and 1 are a special case.
        behaviour_logp: log-probabilities of the answers under the policy that drew them, `[..., K]`.

    Raises:
        ValueError: `preference` is not a preference matrix of at least two answers, or `behaviour_logp` does
            not fit it.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7.
    """

    skew: Float[Array, "*prompts k k"]
    behaviour_logp: Float[Array, "*prompts k"]

    def __init__(self, preference: Any, behaviour_logp: Any) -> None:
        if validation.is_concrete(preference):
            preference = validation.preference_matrix(preference)
        if preference.shape[-1] < 2:
            raise ValueError(
                f"`preference` must compare at least 2 answers a prompt, got shape {preference.shape}: one "
                f"answer teaches nothing."
            )
        behaviour_logp = validation.log_probabilities(
            "behaviour_logp", behaviour_logp, tuple(preference.shape[:-1])
        )
        self.skew = jnp.asarray(preference) - 0.5
        self.behaviour_logp = jnp.asarray(behaviour_logp, self.skew.dtype)

    @property
    def is_random(self) -> bool:
        """Never: the drawing has been done."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Each answer's win rate against the opponent as the answers show it, minus 1/2."""
        weights = jnp.exp(self.weights_logp(opponent_logp))
        return jnp.einsum("...ij,...j->...i", self.skew, weights, precision=PRECISION)

    def weights_logp(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """What each answer counts in an expectation over a policy, as logarithms `[..., K]`; they sum to 1.

        Args:
            logp: log-probabilities of the answers under that policy, `[..., K]`, up to a constant per prompt.
        """
        return jax.nn.log_softmax(logp - self.behaviour_logp, axis=-1)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The preferences among the answers, minus 1/2."""
        return self.skew

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """All pairs of answers, each with the weights that the policy gives them."""
        weights_logp = self.weights_logp(logp)
        weights = jnp.broadcast_to(jnp.exp(weights_logp)[..., None, :], (*logp.shape, logp.shape[-1]))
        return Comparisons(jnp.broadcast_to(self.skew, weights.shape), weights, weights_logp)
