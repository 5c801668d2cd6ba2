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
    """Feedback on K sampled answers per prompt, as a game with K actions.

    Log-probabilities of the answers need to be known only up to a constant per prompt. The weight of an
    answer under an opponent is `softmax(opponent_logp - behaviour_logp)` over the K answers: equal weights if
    the opponent drew the answers, otherwise self-normalized importance weights with a bias of order 1 / K.
    Win rates include the comparison of an answer with itself, at 1/2.

    Args:
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`, P + P.T =
            1; hard labels 0 and 1 are a special case.
        behaviour_logp: log-probabilities of the answers under the policy that drew them, `[..., K]`.

    Raises:
        ValueError: `preference` is not a preference matrix of at least two answers, or `behaviour_logp` has
            another shape.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7.
    """

    skew: Float[Array, "*prompts k k"]
    behaviour_logp: Float[Array, "*prompts k"]

    def __init__(self, preference: Any, behaviour_logp: Any) -> None:
        if validation.is_concrete(preference):
            preference = validation.preference_matrix(preference)
        if preference.shape[-1] < 2:
            raise ValueError(
                f"`preference` must compare at least 2 answers per prompt, got shape {preference.shape}; "
                f"draw more answers."
            )
        behaviour_logp = validation.log_probabilities(
            "behaviour_logp", behaviour_logp, tuple(preference.shape[:-1])
        )
        self.skew = jnp.asarray(preference) - 0.5
        self.behaviour_logp = jnp.asarray(behaviour_logp, self.skew.dtype)

    @property
    def is_random(self) -> bool:
        """False: the answers are already drawn."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Estimated win rate of each answer against the opponent, minus 1/2."""
        weights = jnp.exp(self.weights_logp(opponent_logp))
        return jnp.einsum("...ij,...j->...i", self.skew, weights, precision=PRECISION)

    def weights_logp(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Logarithms of the weights of the answers in an expectation over a policy, `[..., K]`.

        The weights sum to 1.

        Args:
            logp: log-probabilities of the answers under the policy, `[..., K]`, up to a constant per prompt.
        """
        return jax.nn.log_softmax(logp - self.behaviour_logp, axis=-1)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Preferences between the answers, minus 1/2."""
        return self.skew

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """All pairs of answers, with their weights under the policy."""
        weights_logp = self.weights_logp(logp)
        weights = jnp.broadcast_to(jnp.exp(weights_logp)[..., None, :], (*logp.shape, logp.shape[-1]))
        return Comparisons(jnp.broadcast_to(self.skew, weights.shape), weights, weights_logp)
