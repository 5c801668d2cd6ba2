"""KL distance of a policy from the set of all Nash policies."""

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

# Log-probability that replaces -inf. If the nearest Nash policy has more than SOME probability on actions of
# probability 0, the distance is infinite.
EXCLUDED, SOME = -1e4, 1e-9


class KLToNashSet(eqx.Module):
    """The metric min KL(p || policy) over all Nash policies p; made by `kl_to_nash_set`.

    Attributes:
        sets: the set of Nash policies of each prompt and player.
        prompts: shape of the prompt axes of the game.
    """

    sets: list[list[NashSet]]
    prompts: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, game: PreferenceGame | ZeroSumGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
        """Distance of the policy from the set of Nash policies in nats, per prompt; nan if not found."""
        validation.log_policy("logp", logp)
        validation.comparable("logp", logp, game.uniform())
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
    distance = jnp.where(excluded > SOME, jnp.inf, simplex.kl_divergence(nearest, floored))
    return jnp.where(jnp.any(jnp.isnan(inside), axis=-1), jnp.nan, distance)


def kl_to_nash_set(game: PreferenceGame | ZeroSumGame, solution: NashSolution | None = None) -> KLToNashSet:
    """The metric min KL(p || policy) in nats over all Nash policies p of `game`, summed over players.

    If the Nash policy is unique, it equals `kl_to(nash(game).logp)`; otherwise the distance to one Nash
    policy is an upper bound. It is infinite iff every Nash policy uses an action to which the policy gives
    probability 0. The minimum is computed by maximizing its smooth dual with a barrier method, in a few dozen
    Newton steps; in long runs of large games, record it less often (`record_every`).

    Args:
        game: the game.
        solution: the solution returned by `nash`; computed by default.

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
