"""Two-player zero-sum games in matrix form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from comalgames import validation
from comalgames.games.base import PRECISION, AbstractGame
from comalgames.numerics import simplex
from comalgames.numerics.simplex import LogPolicy

# The log-probability of actions that a player does not have: it is finite, so that 0 times it is 0, and its
# exponential is 0 in every precision.
ABSENT = -1e4


class ZeroSumGame(AbstractGame):
    """A two-player zero-sum game: the row player receives `payoff[i, j]`, the column player its negative.

    A joint policy has the player on axis -2: `logp[..., 0, :]` plays rows, `logp[..., 1, :]` columns. All
    learning rules apply to it, with simultaneous steps of both players. The duality gap is
    `max_i (payoff q)_i - min_j (p payoff)_j`, in units of the payoff; it is 0 exactly at an equilibrium.

    If one player has fewer actions, the last entries of its policies have probability 0 and a log-probability
    of -10,000, or any that is as low. Its advantages there are below its others by at least the largest
    difference of payoffs, so that these entries never gain, neither on the others nor in a rule that
    extrapolates advantages. `players` returns a policy without them.

    Args:
        payoff: `[..., m, n]`, finite and real, any scale. Leading axes are prompts (or a batch of games).

    Raises:
        ValueError: `payoff` has no rows and columns, or is not finite or not real.

    Example:
        >>> game = cg.ZeroSumGame([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
        >>> row, column = game.players(cg.nash(game).policy)
        >>> row * 3, column * 3
        (array([1., 2.]), array([1., 2., 0.]))
    """

    payoff: Float[Array, "*prompts m n"]

    def __init__(self, payoff: Any) -> None:
        if validation.is_concrete(payoff):
            payoff = validation.real_array("payoff", payoff)
            if payoff.ndim < 2 or payoff.size == 0:
                raise ValueError(
                    f"`payoff` must be a matrix, [..., m, n] with no empty axis, got shape {payoff.shape}."
                )
        self.payoff = validation.payoffs("payoff", payoff)

    @property
    def num_actions(self) -> int:
        """Length of the last axis of policies: the number of actions of the player who has more."""
        return int(max(self.payoff.shape[-2:]))

    @property
    def policy_shape(self) -> tuple[int, ...]:
        """Shape of one joint policy: prompts, 2 players, actions."""
        return (*self.payoff.shape[:-2], 2, self.num_actions)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the payoffs."""
        return np.dtype(self.payoff.dtype)

    def players(self, joint: Any) -> tuple[Any, Any]:
        """The row player's and the column player's part of an array in the shape of policies, `m` and `n`."""
        rows, columns = self.payoff.shape[-2:]
        return joint[..., 0, :rows], joint[..., 1, :columns]

    def joint(self, row: Any, column: Any, absent: Any = 0.0) -> Float[Array, "*batch 2 n"]:
        """Arrays of the row player `[..., m]` and of the column player `[..., n]` in the shape of policies.

        Args:
            row: numbers of the row player's actions.
            column: numbers of the column player's actions.
            absent: what stands for actions that a player does not have.
        """
        parts = [
            jnp.pad(part, [(0, 0)] * (jnp.ndim(part) - 1) + [(0, self.num_actions - size)])
            for part, size in zip((row, column), self.payoff.shape[-2:], strict=True)
        ]
        joint = jnp.stack(jnp.broadcast_arrays(*parts), axis=-2)
        return jnp.where(self._present(), joint, jnp.asarray(absent, joint.dtype))

    def _present(self) -> Bool[np.ndarray, "2 n"]:
        """Which player has which action."""
        return np.arange(self.num_actions) < np.array(self.payoff.shape[-2:])[:, None]

    def advantage(self, opponent_logp: LogPolicy) -> Float[Array, "*batch n"]:
        """Expected payoff of each action of each player against the other player of the joint policy."""
        policy = jax.nn.softmax(opponent_logp, axis=-1)
        row, column = self.players(policy)
        earned = jnp.einsum("...ij,...j->...i", self.payoff, column, precision=PRECISION)
        paid = jnp.einsum("...ij,...i->...j", self.payoff, row, precision=PRECISION)
        if self._present().all():
            return self.joint(earned, -paid)
        absent = jnp.sum(jnp.where(self._present(), 0.0, policy), axis=-1)
        least = jnp.stack(jnp.broadcast_arrays(jnp.min(earned, -1), jnp.min(-paid, -1)), axis=-1)
        spread = jnp.max(self.payoff, axis=(-2, -1)) - jnp.min(self.payoff, axis=(-2, -1))
        least = jnp.where(absent > validation.SUM_TOLERANCE, jnp.nan, least - spread[..., None])
        return self.joint(earned, -paid, least[..., None])

    def log_probabilities(self, name: str, policy: Any) -> Float[np.ndarray, "*batch n"]:
        """A user's joint policy as log-probabilities in float64.

        Args:
            name: of the argument, for errors.
            policy: probabilities `[..., 2, n]`, or those of the row player and of the column player, a pair
                of `[..., m]` and `[..., n]`.

        Raises:
            ValueError: `policy` is not a policy of this game without zeros.
        """
        sizes = self.payoff.shape[-2:]
        if sizes[0] == sizes[1]:
            return super().log_probabilities(name, policy)
        if isinstance(policy, list | tuple):
            parts = [np.asarray(part) for part in policy]
        else:
            parts = list(np.moveaxis(np.asarray(policy), -2, 0)) if np.ndim(policy) > 1 else []
        if len(parts) != 2:
            raise ValueError(
                f"`{name}` must be a pair of policies, of {sizes[0]} and {sizes[1]} actions, or an array of "
                f"shape {self.policy_shape}, got {policy!r:.100}."
            )
        leading = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
        joint = np.full((*leading, *self.policy_shape[-2:]), ABSENT)
        for own, part, size in zip(self.players(joint), parts, sizes, strict=True):
            given = part[..., :size] if part.shape[-1:] == (self.num_actions,) else part
            own[...] = np.log(validation.policy(name, given, size))
        return joint

    def uniform(self) -> Float[Array, "*batch n"]:
        """The joint policy of two uniform players, as log-probabilities of shape `policy_shape`."""
        row, column = (simplex.uniform(size, self.dtype) for size in self.payoff.shape[-2:])
        return jnp.broadcast_to(self.joint(row, column, ABSENT), self.policy_shape)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum over the player axis, which is the last one."""
        return jnp.sum(each, axis=-1)
