"""The interface of a game: each action's advantage against an opponent."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.numerics import simplex
from comalgames.numerics.simplex import LogPolicy

# With the default precision of products on accelerators (TF32, bfloat16), duality gaps would not fall below
# 1e-3.
PRECISION = jax.lax.Precision.HIGHEST


class AbstractGame(eqx.Module):
    """Base class of games: a number of actions, and the advantage of each action against an opponent.

    Policies are log-probabilities with actions on the last axis. Leading axes are prompts (or a batch of
    policies); for a two-player game axis -2 is the player.
    """

    @property
    @abstractmethod
    def num_actions(self) -> int:
        """Number n of actions of each player."""

    @property
    @abstractmethod
    def policy_shape(self) -> tuple[int, ...]:
        """Shape of one joint policy: prompts, then players if there are two, then actions."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the payoffs and of all results."""

    @abstractmethod
    def advantage(self, opponent_logp: LogPolicy) -> Float[Array, "*batch n"]:
        """Each action's expected payoff against the opponent, `[..., n]`."""

    @abstractmethod
    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum of one number per policy over the two players; twice the number in a symmetric game."""

    def gap(self, advantage: Float[Array, "*batch n"]) -> Float[Array, "*prompts"]:
        """Duality gap, per prompt, of the policy whose advantage against itself is `advantage`.

        It is the sum of the players' largest advantages, the total gain from deviating.
        """
        return self.over_players(jnp.max(advantage, axis=-1))

    def without_names(self) -> AbstractGame:
        """The game without the names of actions, so that games with other names share a compilation."""
        return self

    def log_probabilities(self, name: str, policy: Any) -> Float[np.ndarray, "*batch n"]:
        """A user's policy, positive probabilities, as log-probabilities in float64.

        Args:
            name: of the argument, for errors.
            policy: probabilities with actions on the last axis.

        Raises:
            ValueError: `policy` is not a policy of this game without zeros.
        """
        return np.asarray(np.log(validation.policy(name, policy, self.num_actions)))

    def uniform(self) -> Float[Array, "*batch n"]:
        """The uniform policy, as log-probabilities of shape `policy_shape`."""
        return jnp.broadcast_to(simplex.uniform(self.num_actions, self.dtype), self.policy_shape)
