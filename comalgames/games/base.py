"""What is played: games that answer one question, each action's advantage against an opponent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.numerics import simplex
from comalgames.numerics.simplex import LogPolicy

# The accelerators' default for products (TF32, bfloat16) would cap the duality gap near 1e-3.
PRECISION = jax.lax.Precision.HIGHEST


class AbstractGame(eqx.Module):
    """A game as learning rules see it: a number of actions and the advantage of each against an opponent.

    Policies are log-probabilities with actions on the last axis. Axes before it are prompts (or a batch of
    policies), and for a two-player game axis -2 is the player.
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
        """Floating-point type of the payoffs, and of everything computed from them."""

    @abstractmethod
    def advantage(self, opponent_logp: LogPolicy) -> Float[Array, "*batch n"]:
        """Each action's expected payoff against the opponent, `[..., n]`."""

    @abstractmethod
    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum over the two players of one number per policy: twice it in a symmetric game."""

    def gap(self, advantage: Float[Array, "*batch n"]) -> Float[Array, "*prompts"]:
        """Duality gap, per prompt, of the policy whose advantage against itself is `advantage`.

        What both players together could gain by deviating: the sum of their largest advantages.
        """
        return self.over_players(jnp.max(advantage, axis=-1))

    def without_names(self) -> AbstractGame:
        """The game without what does not change play, for games with other names to share a compilation."""
        return self

    def uniform(self) -> Float[Array, "*batch n"]:
        """The uniform policy, as log-probabilities of shape `policy_shape`."""
        return jnp.broadcast_to(simplex.uniform(self.num_actions, self.dtype), self.policy_shape)


class PreferenceGame(AbstractGame):
    """A symmetric game given by how often each action (answer) is preferred to each other one.

    The advantage of action i against an opponent q is its win rate minus one half,
    `sum_j (P[i, j] - 1/2) q_j`; the duality gap of a policy is
    `max_p P(p > policy) - min_p P(policy > p) = 2 max_i advantage_i`, between 0 (Nash) and 1. The win rate a
    policy is guaranteed is `1/2 - gap/2`.

    Args:
        preference: P, `[..., n, n]`, `P[..., i, j]` = probability in [0, 1] that action i is preferred to
            action j, with P + P.T = 1 within 1e-6 (P - 1/2 is stored exactly skew). Leading axes are prompts.
        names: what to call the actions, n strings; "0", "1", ... by default.
        prompt_weights: how often each prompt occurs, one weight >= 0 per prompt; equal by default. Used only
            by `average`.

    Raises:
        ValueError: `preference` is not square, not finite, not real, out of [0, 1], or P + P.T is not 1.

    Example:
        >>> game = cg.PreferenceGame([[.5, .1, .8], [.9, .5, .1], [.2, .9, .5]])
        >>> cg.duality_gap(game, game.uniform())
        Array(0.06666667, dtype=float64)
    """

    skew: Float[Array, "*prompts n n"]
    names: tuple[str, ...] = eqx.field(static=True)
    prompt_weights: Float[Array, "*prompts"] | None

    def __init__(
        self, preference: Any, names: Sequence[str] | None = None, prompt_weights: Any = None
    ) -> None:
        if validation.is_concrete(preference):
            preference = validation.preference_matrix(preference)
        half_difference = (preference - preference.swapaxes(-1, -2)) / 2
        self._fill(half_difference, names, prompt_weights)

    @classmethod
    def from_skew(
        cls, skew: Any, names: Sequence[str] | None = None, prompt_weights: Any = None
    ) -> PreferenceGame:
        """The game with `P = skew + 1/2`; `skew` `[..., n, n]` in [-1/2, 1/2] with skew = -skew.T exactly.

        This keeps about 1e-8 of a small advantage in float32, where P itself would lose 1e-7.

        Raises:
            ValueError: `skew` is not square, finite, real, antisymmetric or within [-1/2, 1/2].
        """
        if validation.is_concrete(skew):
            array = validation.real_array("skew", skew)
            if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
                raise ValueError(f"`skew` must be square, [..., n, n] with n >= 1, got shape {array.shape}.")
            if not np.array_equal(array, -array.swapaxes(-1, -2)):
                worst = np.abs(array + array.swapaxes(-1, -2)).max()
                raise ValueError(
                    f"`skew` must equal -skew.T exactly; it is off by {worst:.3g}. Build it skew."
                )
            if np.abs(array).max() > 0.5:
                raise ValueError(
                    f"`skew` must lie in [-1/2, 1/2], got a payoff of {np.abs(array).max():g}; divide by "
                    f"twice the largest, or use ZeroSumGame."
                )
        game = object.__new__(cls)
        game._fill(skew, names, prompt_weights)
        return game

    def _fill(self, skew: Any, names: Sequence[str] | None, prompt_weights: Any) -> None:
        skew = jnp.asarray(skew)
        num_actions, prompts = skew.shape[-1], skew.shape[:-2]
        if names is None:
            names = [str(i) for i in range(num_actions)]
        if len(names) != num_actions:
            raise ValueError(f"`names` must name {num_actions} actions, got {len(names)} names.")
        if prompt_weights is not None:
            if validation.is_concrete(prompt_weights):
                weights = validation.real_array("prompt_weights", prompt_weights)
                if weights.shape != prompts or weights.min() < 0 or weights.sum() == 0:
                    raise ValueError(
                        f"`prompt_weights` must be one number >= 0 per prompt, shape {prompts}, not all 0; "
                        f"got {prompt_weights!r}."
                    )
            prompt_weights = jnp.asarray(prompt_weights, skew.dtype)
        for field, value in (
            ("skew", skew),
            ("names", tuple(str(name) for name in names)),
            ("prompt_weights", prompt_weights),
        ):
            object.__setattr__(self, field, value)

    @property
    def num_actions(self) -> int:
        """Number n of actions."""
        return int(self.skew.shape[-1])

    @property
    def policy_shape(self) -> tuple[int, ...]:
        """Shape of one policy: prompts, then actions."""
        return tuple(self.skew.shape[:-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the payoffs."""
        return np.dtype(self.skew.dtype)

    def without_names(self) -> PreferenceGame:
        """The same game with actions named by number."""
        numbered = tuple(str(i) for i in range(self.num_actions))
        if self.names == numbered:
            return self
        game = object.__new__(type(self))
        game._fill(self.skew, numbered, self.prompt_weights)
        return game

    @property
    def preference(self) -> Float[Array, "*prompts n n"]:
        """P, the probability that the row's action is preferred to the column's, `[..., n, n]`."""
        return self.skew + 0.5

    def advantage(self, opponent_logp: LogPolicy) -> Float[Array, "*batch n"]:
        """Each action's win rate against the opponent, minus 1/2: `skew @ softmax(opponent_logp)`."""
        opponent = jax.nn.softmax(opponent_logp, axis=-1)
        return jnp.einsum("...ij,...j->...i", self.skew, opponent, precision=PRECISION)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Twice `each`: both players play the one policy."""
        return 2.0 * each

    def average(self, per_prompt: Float[Array, "*prompts"]) -> Float[Array, ""]:
        """Mean over prompts of one number per prompt, weighted by `prompt_weights`."""
        if self.prompt_weights is None:
            return jnp.mean(per_prompt)
        return jnp.sum(self.prompt_weights * per_prompt) / jnp.sum(self.prompt_weights)


class ZeroSumGame(AbstractGame):
    """A two-player zero-sum game: the row player receives `payoff[i, j]`, the column player its negative.

    A joint policy has the player on axis -2: `logp[..., 0, :]` plays rows, `logp[..., 1, :]` columns. The
    same learning rules run on it, both players at once. The duality gap is
    `max_i (payoff q)_i - min_j (p payoff)_j`, in units of the payoff, 0 exactly at an equilibrium.

    Args:
        payoff: `[..., n, n]`, finite and real, any scale. Leading axes are prompts (or a batch of games).

    Raises:
        ValueError: `payoff` is not square, not finite or not real.
    """

    payoff: Float[Array, "*prompts n n"]

    def __init__(self, payoff: Any) -> None:
        if validation.is_concrete(payoff):
            payoff = validation.real_array("payoff", payoff)
            if payoff.ndim < 2 or payoff.shape[-1] != payoff.shape[-2] or payoff.shape[-1] == 0:
                raise ValueError(
                    f"`payoff` must be square, [..., n, n] with n >= 1, got shape {payoff.shape}. "
                    f"Pad the smaller side with dominated actions (a row of very low payoffs)."
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
        """Each player's expected payoff of each action against the other player of the joint policy."""
        joint = jax.nn.softmax(opponent_logp, axis=-1)
        row = jnp.einsum("...ij,...j->...i", self.payoff, joint[..., 1, :], precision=PRECISION)
        column = -jnp.einsum("...ij,...i->...j", self.payoff, joint[..., 0, :], precision=PRECISION)
        return jnp.stack(jnp.broadcast_arrays(row, column), axis=-2)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """The sum over the player axis, the last one."""
        return jnp.sum(each, axis=-1)
