"""What a learning rule may ask: actions' advantages against an opponent, and how often each beats each."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.games.base import AbstractGame, PreferenceGame


class AbstractFeedback(eqx.Module):
    """Where a rule's information comes from; the rule need not know whether it is exact or sampled."""

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether answers depend on the key, so that a run needs one."""

    @abstractmethod
    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Each action's win rate against the opponent minus 1/2 (or its payoff), `[..., n]`; one query."""

    @abstractmethod
    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """How often the row's action is preferred to the column's, minus 1/2, `[..., n, n]`."""


class Exact(AbstractFeedback):
    """Feedback without noise, read off the game itself. It never uses its key.

    Attributes:
        game: what is played.
    """

    game: AbstractGame

    @property
    def is_random(self) -> bool:
        """Never."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The game's own `advantage`."""
        return self.game.advantage(opponent_logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The preference matrix minus 1/2; only a `PreferenceGame` has one."""
        if not isinstance(self.game, PreferenceGame):
            raise ValueError(f"{type(self.game).__name__} has no pairwise preferences; use a PreferenceGame.")
        return self.game.skew
