"""Games derived from other games: duplicated actions, and two-player games as preference games."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame
from comalgames.numerics.simplex import LogPolicy


class RoleSymmetrized(NamedTuple):
    """The result of `role_symmetrized`.

    Attributes:
        game: the preference game on pairs of actions; pair (i, j) is action `i * n + j`, named "i,j".
        scale: factor applied to the payoffs, at most 1; one per leading index, `[...]`.
    """

    game: PreferenceGame
    scale: Float[Array, "*prompts"]


def role_symmetrized(game: ZeroSumGame) -> RoleSymmetrized:
    """Convert a two-player game into a preference game on pairs (i, j): action i as row, j as column player.

        P[(i, j), (k, l)] - 1/2 = scale (payoff[i, l] - payoff[k, j]) / 2,

    the mean payoff over both assignments of roles. `scale` is min(1, 1 / (max payoff - min payoff)). A policy
    is Nash iff its two marginals (`role_marginals`) are an equilibrium of `game`. If the equilibrium is
    unique with a and b actions in its supports, the Nash set has dimension (a - 1) (b - 1) and uses a b
    pairs. The duality gap of a policy is `scale` times that of its marginals.

    Every counter-example with two players thus gives one with preferences. Rules that add advantages to
    logits (`MWU`, `OptimisticMWU`, `MMD`, ...) preserve products of two policies, if the policy and the
    reference start as products. With step size `2 * step_size / scale` and temperature
    `scale * temperature / 2`, the marginals are the iterates of the rule on `game`. Euclidean rules have
    neither property.

    Args:
        game: a `ZeroSumGame` of payoffs of any scale; leading axes are prompts.

    Raises:
        ValueError: `game` is not a `ZeroSumGame` whose players have the same number of actions.

    Reference: Gale, Kuhn and Tucker, "On Symmetric Games", 1950.
    """
    if not isinstance(game, ZeroSumGame):
        raise ValueError(
            f"`game` must be a ZeroSumGame, got {type(game).__name__}: a preference game is symmetric "
            f"already. Convert a matrix of payoffs with cg.ZeroSumGame(matrix)."
        )
    payoff, n = game.payoff, game.num_actions
    if payoff.shape[-2] != payoff.shape[-1]:
        raise ValueError(
            f"`game` must have as many rows as columns, got payoffs of shape {payoff.shape}. Repeat actions "
            f"of the player who has fewer."
        )
    scale = 1 / jnp.maximum(jnp.max(payoff, axis=(-2, -1)) - jnp.min(payoff, axis=(-2, -1)), 1)
    half = payoff * scale[..., None, None] / 2
    # Axes i, j, k, l; swapping (i, j) with (k, l) changes exactly the sign.
    difference = half[..., :, None, None, :] - half.swapaxes(-1, -2)[..., None, :, :, None]
    skew = jnp.clip(difference.reshape(*payoff.shape[:-2], n * n, n * n), -0.5, 0.5)
    names = [f"{i},{j}" for i in range(n) for j in range(n)]
    return RoleSymmetrized(PreferenceGame.from_skew(skew, names), scale)


def role_marginals(logp: LogPolicy) -> Float[Array, "*batch 2 root"]:
    """The marginals of a policy on pairs of actions, as a joint policy of a `ZeroSumGame`.

        p_i = sum_j policy_(i, j),      q_j = sum_i policy_(i, j)

    Args:
        logp: log-probabilities of a policy for `role_symmetrized(game).game`, `[..., n * n]`.

    Raises:
        ValueError: the number of actions is not a square.
    """
    pairs = jnp.asarray(logp)
    n = int(np.sqrt(pairs.shape[-1]) + 0.5)
    if n * n != pairs.shape[-1]:
        raise ValueError(
            f"`logp` must be a policy over n * n pairs of actions, got {pairs.shape[-1]} actions; pass a "
            f"policy of `role_symmetrized(game).game`."
        )
    table = pairs.reshape(*pairs.shape[:-1], n, n)
    return jnp.stack([jax.nn.logsumexp(table, axis=axis) for axis in (-1, -2)], axis=-2)


def clones(game: PreferenceGame, action: int, num_copies: int = 1) -> PreferenceGame:
    """The game with copies of one action appended; a copy has the action's win rates and ties with it.

    The Nash probability of the action may be distributed over the action and its copies in any way. If some
    Nash policy uses the action, the largest support and the dimension of the Nash set grow by `num_copies`;
    otherwise both are unchanged. The duality gap of a policy depends only on the total probability of the
    action and its copies.

    Args:
        game: a preference game; leading axes are prompts.
        action: the action to copy, a number from 0 to n - 1.
        num_copies: number of copies, >= 1.

    Raises:
        ValueError: an argument is not as described.

    Reference: Tideman, "Independence of Clones as a Criterion for Voting Rules", 1987.
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(f"`game` must be a PreferenceGame, got {type(game).__name__}.")
    action = validation.count("action", action)
    num_copies = validation.count("num_copies", num_copies, minimum=1)
    if action >= game.num_actions:
        raise ValueError(f"`action` must be a whole number from 0 to {game.num_actions - 1}, got {action}.")
    order = np.array([*range(game.num_actions), *[action] * num_copies])
    names = [*game.names, *(f"{game.names[action]}, copy {k}" for k in range(1, num_copies + 1))]
    return PreferenceGame.from_skew(game.skew[..., order[:, None], order], names, game.prompt_weights)


def delta_game(delta: Any) -> ZeroSumGame:
    """A 2 x 2 game on which optimistic rules converge arbitrarily slowly in the last iterate as delta -> 0.

    The row player pays, and the column player receives,

        [[1/2 + delta, 1/2], [0, 1]]

    The equilibrium is unique: (1, delta) / (1 + delta) for the row player, (1, 1 + 2 delta) / (2 (1 + delta))
    for the column player; the row player pays (1 + 2 delta) / (2 (1 + delta)). The rotation frequency around
    it is sqrt(delta (1 + 2 delta)) / (2 (1 + delta)) radians per unit of step size; half of that on the
    preference game with 4 actions, `role_symmetrized(delta_game(delta)).game`.

    Args:
        delta: in (0, 1/2].

    Raises:
        ValueError: `delta` is not a number in (0, 1/2].

    Reference: Cai et al., "Fast Last-Iterate Convergence of Learning in Games Requires Forgetful Algorithms",
    2024.
    """
    validation.positive("delta", delta)
    if validation.is_concrete(delta) and delta > 0.5:
        raise ValueError(f"`delta` must be in (0, 1/2], got {delta!r}.")
    small = jnp.asarray(delta, jnp.result_type(float))
    paid = jnp.stack([jnp.stack([0.5 + small, jnp.full_like(small, 0.5)]), jnp.arange(2.0)])
    return ZeroSumGame(-paid)


def regret_matching_cycle() -> ZeroSumGame:
    """A 3 x 3 game on which regret matching+ and its alternating and predictive variants do not converge.

    The row player pays [[3, 0, -3], [0, 3, -4], [0, 0, 1]]. The equilibrium is unique: (1, 1, 10) / 12 for
    the row player, (4, 5, 3) / 12 for the column player; the row player pays 1/4.

    Reference: Cai et al., "Last-Iterate Convergence Properties of Regret-Matching Algorithms in Games",
    arXiv 2311.00676.
    """
    return ZeroSumGame(-np.array([[3.0, 0.0, -3.0], [0.0, 3.0, -4.0], [0.0, 0.0, 1.0]]))


def many_equilibria() -> ZeroSumGame:
    """A 5 x 5 game in which one player has a unique equilibrium policy and the other a set of dimension 2.

    The row player receives

        [[0, 1, -1, 0, 0], [-1, 0, 1, 0, 0], [1, -1, 0, 0, 0], [1, -1, 0, -2, 1], [1, -1, 0, 1, -2]]

    and plays (1, 1, 1, 0, 0) / 3. The column player plays any q with q_0 = q_1 = q_2 and q_3 / 2 <= q_4 <=
    2 q_3. The value is 0.

    Reference: Wei, Lee, Zhang and Luo, "Linear Last-Iterate Convergence in Constrained Saddle-Point
    Optimization", 2021.
    """
    receives = [[0, 1, -1, 0, 0], [-1, 0, 1, 0, 0], [1, -1, 0, 0, 0], [1, -1, 0, -2, 1], [1, -1, 0, 1, -2]]
    return ZeroSumGame(np.array(receives, np.float64))
