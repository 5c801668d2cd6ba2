"""Preference games, given by a matrix of win rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.games.base import PRECISION, AbstractGame
from comalgames.numerics.simplex import LogPolicy


class PreferenceGame(AbstractGame):
    """A symmetric game given by the probability that each action (answer) is preferred to each other one.

    The advantage of action i against an opponent q is its win rate minus one half,
    `sum_j (P[i, j] - 1/2) q_j`. The duality gap of a policy is
    `max_p P(p > policy) - min_p P(policy > p) = 2 max_i advantage_i`, between 0 (Nash) and 1. The win rate of
    the policy against any opponent is at least `1/2 - gap/2`.

    Args:
        preference: P, `[..., n, n]`, `P[..., i, j]` = probability in [0, 1] that action i is preferred to
            action j, with P + P.T = 1 within 1e-6 (P - 1/2 is stored exactly skew). Leading axes are prompts.
        names: names of the actions, n strings; "0", "1", ... by default.
        prompt_weights: relative frequencies of the prompts, one weight >= 0 per prompt; equal by default.
            Used only by `average`.

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

        In float32 this represents small advantages to about 1e-8, and P itself only to about 1e-7.

        Raises:
            ValueError: `skew` is not square, finite, real, antisymmetric or within [-1/2, 1/2].
        """
        if validation.is_concrete(skew):
            array = validation.real_array("skew", skew)
            if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.size == 0:
                raise ValueError(
                    f"`skew` must be square, [..., n, n] with n >= 1 and no empty axis, got shape "
                    f"{array.shape}."
                )
            if not np.array_equal(array, -array.swapaxes(-1, -2)):
                worst = np.abs(array + array.swapaxes(-1, -2)).max()
                raise ValueError(
                    f"`skew` must equal -skew.T exactly; the largest deviation is {worst:.3g}. Pass "
                    f"(skew - skew.T) / 2."
                )
            if np.abs(array).max() > 0.5:
                raise ValueError(
                    f"`skew` must lie in [-1/2, 1/2], got a payoff of {np.abs(array).max():g}; divide the "
                    f"payoffs by twice the largest, or use ZeroSumGame."
                )
        game = object.__new__(cls)
        game._fill(skew, names, prompt_weights)
        return game

    def _fill(self, skew: Any, names: Sequence[str] | None, prompt_weights: Any) -> None:
        skew = validation.payoffs("skew", skew)
        if not jnp.issubdtype(skew.dtype, jnp.floating):
            skew = skew.astype(jnp.result_type(float))
        num_actions, prompts = skew.shape[-1], skew.shape[:-2]
        if names is None:
            names = [str(i) for i in range(num_actions)]
        if len(names) != num_actions:
            raise ValueError(f"`names` must name {num_actions} actions, got {len(names)} names.")
        names = tuple(str(name) for name in names)
        repeated = next((name for name, number in Counter(names).items() if number > 1), None)
        if repeated is not None:
            raise ValueError(
                f"`names` must be different for all actions, but {repeated!r} occurs {names.count(repeated)} "
                f"times."
            )
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
            ("names", names),
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
        """Twice `each`, because both players use the same policy."""
        return 2.0 * each

    def average(self, per_prompt: Float[Array, "*prompts"]) -> Float[Array, ""]:
        """Mean over prompts of one number per prompt, weighted by `prompt_weights`."""
        if self.prompt_weights is None:
            return jnp.mean(per_prompt)
        return jnp.sum(self.prompt_weights * per_prompt) / jnp.sum(self.prompt_weights)
