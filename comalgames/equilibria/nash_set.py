"""The set of all Nash policies of a player, and its point nearest to a given policy."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from comalgames import validation
from comalgames.equilibria.interior_point import EPSILONS
from comalgames.equilibria.solution import SETTLED, NashSolution, certify
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

# Step lengths tried along a direction; they share one linear solve.
LENGTHS = 0.5 ** np.arange(30)

# If p is almost a vertex, the dual is almost linear: the Newton matrix is kept positive by this multiple of
# the gradient, which vanishes at the optimum.
DAMPING = 1e-6

# The weight of the barrier starts at 1 and is multiplied by FALL whenever the value under the current weight
# is known up to KNOWN times the weight, until it is below LAST times the machine epsilon.
FALL, LAST, KNOWN, MAX_STEPS = 0.1, 1e-2, 0.1, 400


class NashSet(eqx.Module):
    """The Nash policies of one player: `{p : p = 0 off the support, equal @ p_S = 0, less @ p_S <= 0}`.

    Attributes:
        support: indices S of the actions in the support, `[k]`.
        equal: independent rows of the equations, `[rank, k]`.
        less: rows of the inequalities, `[n - k or fewer, k]`.
        policy: a Nash policy with the whole support, `[n]`.
    """

    support: Int[np.ndarray, " k"]
    equal: Float[np.ndarray, "rank k"]
    less: Float[np.ndarray, "rows k"]
    policy: Float[np.ndarray, " n"]

    @property
    def dimension(self) -> int:
        """Dimension of the set: 0 for a point, 1 for a segment, ..."""
        return len(self.support) - 1 - len(self.equal)

    def nearest(self, logp: Float[Array, " n"]) -> Float[Array, " k"]:
        """The policy p of the set that minimizes KL(p || `logp`), as log-probabilities on the support.

        They are nan if the method did not converge to within the square root of the machine epsilon.

        Args:
            logp: finite log-probabilities `[n]`.
        """
        if self.dimension == 0:
            return jnp.log(jnp.asarray(self.policy[self.support], logp.dtype))
        equal, less = (jnp.asarray(rows, logp.dtype) for rows in (self.equal, self.less))
        nearest: Array = _nearest(equal, less, logp[self.support])
        return nearest


# Minimize KL(p || x) over sum p = 1, E p = 0, L p <= 0. With y = (l, m), m >= 0, the dual is to maximize
#
#     -logsumexp(log x - E.T l - L.T m),    and p = softmax(log x - E.T l - L.T m):
#
# smooth and concave, with the only constraints m >= 0, and its optimum has p > 0 on the whole support. The
# constraints are enforced by a barrier, weight * sum log m, whose weight goes to 0: then m_j = 0 or (L p)_j =
# 0.
@jax.jit
def _nearest(equal: Array, less: Array, logx: Array) -> Array:
    rows = jnp.concatenate([equal, less])
    signed = jnp.arange(len(rows)) >= len(equal)
    eps = float(np.finfo(logx.dtype).eps)
    lengths = jnp.asarray(LENGTHS, logx.dtype)[:, None]

    def scores(y: Array) -> Array:
        return logx - jnp.einsum("...r,rk->...k", y, rows)

    def value(y: Array, weight: Array) -> Array:
        barrier = weight * jnp.sum(jnp.log(jnp.where(signed, y, 1.0)), axis=-1)
        return jnp.nan_to_num(barrier - jax.nn.logsumexp(scores(y), axis=-1), nan=-jnp.inf)

    def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, weight, steps = carry
        p = jax.nn.softmax(scores(y))
        m = jnp.where(signed, y, 1.0)
        slope = rows @ p + jnp.where(signed, weight / m, 0.0)
        curve = (rows * p) @ rows.T - jnp.outer(rows @ p, rows @ p)
        flat = eps * jnp.trace(curve) + DAMPING * jnp.linalg.norm(slope)
        curve = curve + jnp.diag(jnp.where(signed, weight / m**2, 0.0) + flat)
        move = jnp.linalg.solve(curve, slope)
        tried = y + lengths * move
        values = value(tried, weight)
        # Differences below rounding error are ties, for which the longest step is taken.
        top = jnp.max(values)
        best = jnp.argmax(values >= top - 4.0 * eps * (1.0 + jnp.abs(top)))
        known = slope @ move <= KNOWN * weight
        stuck = ~(values[best] >= value(y, weight) - 4.0 * eps * (1.0 + jnp.abs(top)))
        return jnp.where(stuck, y, tried[best]), jnp.where(known | stuck, FALL * weight, weight), steps + 1

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, weight, steps = carry
        return (weight > LAST * eps) & (steps < MAX_STEPS)

    start = (signed.astype(logx.dtype), jnp.ones((), logx.dtype), jnp.zeros((), jnp.int32))
    y, _, _ = jax.lax.while_loop(unfinished, body, start)
    log_p = jax.nn.log_softmax(scores(y))
    # y @ (rows @ p) is what the dual value lacks to KL(p || x), if p is in the set.
    paid = rows @ jnp.exp(log_p)
    outside = jnp.max(jnp.where(signed, paid, jnp.abs(paid)), initial=0.0)
    certified = jnp.maximum(outside, jnp.abs(y @ paid)) <= float(np.sqrt(eps))
    return jnp.where(certified, log_p, jnp.nan)


def nash_sets(game: PreferenceGame | ZeroSumGame, solution: NashSolution) -> list[list[NashSet]]:
    """The sets of Nash policies for each prompt (a list) and each of its players (one or two).

    Args:
        game: a `PreferenceGame` or a `ZeroSumGame`.
        solution: Nash policies of the game with the largest support.

    Raises:
        ArithmeticError: the status of a prompt is "undecided" or "failed".
    """
    if not np.all(np.isin(solution.status, SETTLED)):
        raise ArithmeticError(
            "the set of Nash policies is not certified: `nash(game).status` is "
            f"{', '.join(sorted(set(np.ravel(solution.status).tolist())))}. Set payoffs of the size of "
            "rounding errors to 0."
        )
    return [_players(game, solution, prompt) for prompt in np.ndindex(np.shape(solution.status))]


def _players(
    game: PreferenceGame | ZeroSumGame, solution: NashSolution, prompt: tuple[int, ...]
) -> list[NashSet]:
    """The set of Nash policies of each player of one prompt."""
    support, policy = solution.support[prompt], solution.policy[prompt]
    # Each column contains the payoffs of one action against the policy's actions, minus the value.
    if isinstance(game, PreferenceGame):
        return [_set(np.asarray(game.skew[prompt], np.float64), support, support, policy)]
    payoff = np.asarray(game.payoff[prompt], np.float64)
    (rows, columns), (row, column) = game.players(support), game.players(policy)
    value = row @ payoff @ column
    return [_set(value - payoff.T, rows, columns, row), _set(payoff - value, columns, rows, column)]


def _set(earned: np.ndarray, support: np.ndarray, others: np.ndarray, policy: np.ndarray) -> NashSet:
    """The set of policies against which all actions have payoff <= 0, and those of `others` payoff 0."""
    earned = earned / (np.abs(earned).max() or 1.0)
    _, values, rows = np.linalg.svd(earned[np.ix_(others, support)], full_matrices=False)
    rank = int(np.sum(values > EPSILONS * len(policy) * float(np.finfo(np.float64).eps)))
    return NashSet(np.flatnonzero(support), rows[:rank], earned[np.ix_(~others, support)], policy)


def select_nash(game: PreferenceGame | ZeroSumGame, solution: NashSolution, select: Any) -> NashSolution:
    """The solution with the Nash policies that are nearest to a reference; "failed" if they are not found.

    Args:
        game: the game.
        solution: the solution of largest support.
        select: "max-entropy", or positive probabilities `[..., n]`.
    """
    if isinstance(select, str):
        validation.known("select", select, ("max-entropy",))
        logp = np.asarray(game.uniform(), np.float64)
    else:
        logp = game.log_probabilities("select", select)
    policy, settled = np.array(solution.policy), np.isin(solution.status, SETTLED)
    references = np.broadcast_to(logp, policy.shape)
    with jax.enable_x64(True):
        for prompt in np.ndindex(settled.shape):
            if not settled[prompt]:
                continue
            own = policy[prompt].reshape(-1, game.num_actions)
            of_players = references[prompt].reshape(own.shape)
            for player, each in enumerate(_players(game, solution, prompt)):
                near = np.exp(np.asarray(each.nearest(jnp.asarray(of_players[player]))))
                near -= each.equal.T @ (each.equal @ near)  # removes rounding errors
                near = np.maximum(near, 0.0)  # where the nearest policy is at the boundary of the set
                own[player, each.support] = near / near.sum()
    selected = certify(game, policy, solution.support, solution.dimension, np.ones_like(solution.unique))
    return selected._replace(status=np.where(settled, selected.status, "failed")[()])
