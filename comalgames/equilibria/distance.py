"""How far a policy is from the set of all Nash policies."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.equilibria.exact import nash
from comalgames.equilibria.nash_set import NashSet, nash_sets
from comalgames.equilibria.solution import NashSolution
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame
from comalgames.numerics import simplex
from comalgames.numerics.simplex import LogPolicy

# Stands for the log-probability of an action that a policy excludes. Where the nearest Nash policy has more
# than SOME on such actions, the distance is infinite.
EXCLUDED, SOME = -1e4, 1e-9


class KLToNashSet(eqx.Module):
    """The metric min KL(p || policy) over all Nash policies p; made by `kl_to_nash_set`.

    Attributes:
        sets: the Nash policies of each prompt and each of its players.
        prompts: shape of the game's prompts.
    """

    sets: list[list[NashSet]]
    prompts: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, game: PreferenceGame | ZeroSumGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
        """The distance, per prompt."""
        validation.log_policy("logp", logp)
        axes = len(self.prompts) + (2 if isinstance(game, ZeroSumGame) else 1)
        lead = logp.shape[: logp.ndim - axes]
        members = jnp.asarray(logp).reshape(*lead, len(self.sets), len(self.sets[0]), logp.shape[-1])
        distances = [
            sum(_distance(each, members[..., prompt, player, :]) for player, each in enumerate(players))
            for prompt, players in enumerate(self.sets)
        ]
        return jnp.stack(distances, axis=-1).reshape(*lead, *self.prompts)


def _distance(policies: NashSet, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    floored = jnp.maximum(logp, EXCLUDED)
    inside = jnp.vectorize(policies.nearest, signature="(n)->(k)")(floored)
    nearest = jnp.full(logp.shape, -jnp.inf, logp.dtype).at[..., policies.support].set(inside)
    excluded = jnp.sum(jnp.where(logp == -jnp.inf, jnp.exp(nearest), 0.0), axis=-1)
    return jnp.where(excluded > SOME, jnp.inf, simplex.kl_divergence(nearest, floored))


def kl_to_nash_set(game: PreferenceGame | ZeroSumGame, solution: NashSolution | None = None) -> KLToNashSet:
    """The metric: smallest KL(p || policy) in nats over all Nash policies p of `game`, summed over players.

    Where a game has several Nash policies, the distance to one of them overstates it; where there is one, it
    is `kl_to(nash(game).logp)`. It is infinite iff every Nash policy uses an action that the policy excludes.
    The minimum is found by maximizing its smooth dual with a barrier, in a few dozen Newton steps, so record
    it now and then (`record_every`) in long runs of large games.

    Args:
        game: what is played.
        solution: its Nash policies as `nash` returns them; solved for by default.

    Raises:
        ArithmeticError: the set of Nash policies is not certified.

    Example:
        >>> ties = cg.PreferenceGame([[.5, .5], [.5, .5]])  # every policy is Nash
        >>> distance = cg.kl_to_nash_set(ties)(ties, jnp.log(jnp.array([.9, .1])))
        >>> print(f"{distance:.6f}")
        0.000000
    """
    solution = nash(game) if solution is None else solution
    return KLToNashSet(nash_sets(game, solution), jnp.shape(solution.unique))
