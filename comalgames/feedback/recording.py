"""Feedback that records the questions it was asked."""

from __future__ import annotations

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.feedback.base import AbstractFeedback, Comparisons


class Overheard(AbstractFeedback):
    """Feedback that remembers the advantages it was asked for, so that nobody need ask twice.

    Attributes:
        feedback: who answers.
        answers: every opponent asked about, and the answer.
    """

    feedback: AbstractFeedback
    answers: list[tuple[Any, Any]] = eqx.field(static=True, default_factory=list)

    @property
    def is_random(self) -> bool:
        """Whether `feedback` is."""
        return self.feedback.is_random

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The answer of `feedback`, remembered."""
        answer = self.feedback.advantage(key, opponent_logp)
        self.answers.append((opponent_logp, answer))
        return answer

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The answer of `feedback`."""
        return self.feedback.pairwise(key)

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """The answer of `feedback`."""
        return self.feedback.comparisons(key, logp)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """That of `feedback`."""
        return self.feedback.over_players(each)

    def about(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"] | None:
        """What was answered about this very array; None if nobody asked."""
        return next((answer for opponent, answer in self.answers if opponent is logp), None)
