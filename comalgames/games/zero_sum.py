"""Two-player zero-sum games in matrix form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.games.base import PRECISION, AbstractGame
from comalgames.numerics.simplex import LogPolicy


class ZeroSumGame(AbstractGame):
    """A two-player zero-sum game: the row player receives `payoff[i, j]`, the column player its negative.

    A joint policy has the player on axis -2: `logp[..., 0, :]` plays rows, `logp[..., 1, :]` columns. All
    learning rules apply to it, with simultaneous steps of both players. The duality gap is
    `max_i (payoff q)_i - min_j (p payoff)_j`, in units of the payoff; it is 0 exactly at an equilibrium.

    Args:
        payoff: `[..., n, n]`, finite and real, any scale. Leading axes are prompts (or a batch of games).

    Raises:
        ValueError: `payoff` is not square, not finite or not real.
    """

    payoff: Float[Array, "*prompts n n"]

    def __init__(self, payoff: Any) -> None:
        if validation.is_concrete(payoff):
            payoff = validation.real_array("payoff", payoff)
            if payoff.ndim < 2 or payoff.shape[-1] != payoff.shape[-2] or payoff.size == 0:
                raise ValueError(
                    f"`payoff` must be square, [..., n, n] with n >= 1 and no empty axis, got shape "
                    f"{payoff.shape}. Pad the smaller side with dominated actions (rows of very low payoffs)."
                )
        self.payoff = jnp.asarray(payoff)

    @property
    def num_actions(self) -> int:
        """Number n of actions of each player."""
        return int(self.payoff.shape[-1])

    @property
    def policy_shape(self) -> tuple[int, ...]:
        """Shape of one joint policy: prompts, 2 players, actions."""
        return (*self.payoff.shape[:-2], 2, self.num_actions)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the payoffs."""
        return np.dtype(self.payoff.dtype)

    def advantage(self, opponent_logp: LogPolicy) -> Float[Array, "*batch n"]:
        """Expected payoff of each action of each player against the other player of the joint policy."""
        joint = jax.nn.softmax(opponent_logp, axis=-1)
        row = jnp.einsum("...ij,...j->...i", self.payoff, joint[..., 1, :], precision=PRECISION)
        column = -jnp.einsum("...ij,...i->...j", self.payoff, joint[..., 0, :], precision=PRECISION)
        return jnp.stack(jnp.broadcast_arrays(row, column), axis=-2)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum over the player axis, which is the last one."""
        return jnp.sum(each, axis=-1)
