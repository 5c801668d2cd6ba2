"""Nash policies of skew games by an interior-point method with an exact final solve."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Array, Bool, Float, Int

# Sums of n products of numbers up to 1 count as 0 below n times this multiple of the machine epsilon.
EPSILONS = 64.0

# Norm of the residuals of equations with payoffs of at most 1 on n actions, in units of n times the machine
# epsilon: payoffs are rounded when a game of two players is shifted and scaled, and each sum of n products by
# at most n / 2 epsilon, mostly far less. Singular values below it are ties.
TIE = 4.0

# Number of random residuals by which the errors of a solution are measured: the root mean square of eight is
# below a third of its expectation once in a thousand times.
PROBES = 8

# Step length as a share of the distance to the boundary; bound on the advantages, in units of the largest
# payoff, at which the iteration ends without an exact solve. Typical games take 3 to 20 steps.
REACH, FINISHED, MAX_STEPS = 0.995, 1e-16, 80

# Number of games of a batch that are solved side by side, until the slowest has finished, if they have at
# most SMALL actions. Larger games are solved one after another.
SIDE_BY_SIDE, SMALL = 64, 32


class InteriorPoint(NamedTuple):
    """The result of `interior_point`, for payoffs of at most 1.

    Attributes:
        exact: whether `policy` is the unique Nash policy: it solves the indifference equations of its
            support, all other actions lose against it, and no other policy does so, all by margins above
            rounding error.
        policy: if `exact`, the Nash policy `[..., n]`; otherwise the last point of the path, near the Nash
            policies of the largest support.
        slack: payoff that each action loses against `policy`, `[..., n]`; > 0 on the path.
        error: if `exact`, the largest error of a probability.
        num_steps: number of interior-point steps.
    """

    exact: Bool[Array, "*batch"]
    policy: Float[Array, "*batch n"]
    slack: Float[Array, "*batch n"]
    error: Float[Array, "*batch"]
    num_steps: Int[Array, "*batch"]


# With A = -A.T we want x >= 0, sum x = 1 and s = v - A x >= 0 with x_i s_i = 0. As x.T A x = 0, x.T s = v:
# the bound v on every advantage is the sum of the products, at every x, and the method keeps s = v - A x
# while all products converge to 0 together. The Newton equation for x s = r is
#
#     (diag(s / x) - A) dx + dv = r / x - s,    sum dx = 0,
#
# whose matrix has a positive definite symmetric part. Mehrotra's predictor-corrector method: the step length
# of a first direction with r = 0 determines the r of the second direction, which uses the same factorization.
def _step(skew: Array, x: Array, v: Array) -> tuple[Array, Array]:
    s = v - skew @ x
    factors = lu_factor(jnp.diag(s / x) - skew)
    towards_zero, ones = lu_solve(factors, jnp.stack([-s, jnp.ones_like(s)], axis=1)).T

    def direction(plain: Array) -> tuple[Array, Array, Array, Array]:
        dv = jnp.sum(plain) / jnp.sum(ones)
        dx = plain - dv * ones
        ds = dv - skew @ dx
        falls = jnp.concatenate([-dx / x, -ds / s])
        return dx, ds, dv, 1.0 / jnp.maximum(jnp.max(falls), 1.0)

    dx, ds, _, length = direction(towards_zero)
    mean = v / len(x)
    left = jnp.mean((x + length * dx) * (s + length * ds))
    aim = mean * (left / mean) ** 3 - dx * ds
    dx, _, dv, length = direction(lu_solve(factors, aim / x - s))
    x = x + REACH * length * dx
    return x / jnp.sum(x), v + REACH * length * dv


def _likely_support(skew: Array, x: Array, v: Array) -> Array:
    """Actions whose probability exceeds their slack, made odd in number, as for a unique Nash policy."""
    certainty = jnp.log(x) - jnp.log(v - skew @ x)
    support, doubtful = certainty > 0, jnp.argmin(jnp.abs(certainty))
    return jnp.where(jnp.sum(support) % 2 == 0, support.at[doubtful].set(~support[doubtful]), support)


# On the support the policy solves A_SS p = 0, sum p = 1. Bordered by ones, A_SS becomes a matrix M that is
# regular iff the kernel of A_SS is a line on which the sum is not 0: then p is the unique solution, and if
# also p_S > 0 and the slack of all other actions is > 0, the unique Nash policy. Both must hold by more than
# the errors of p and of the slack, M^-1 r and A M^-1 r for a residual r. Normal random vectors in place of r
# have the mean squares of the rows of M^-1 and A M^-1 as mean squares of the results, so that they measure
# the error of each number, and together the distance of M from a singular matrix.
def _solve_on(skew: Array, support: Array, probes: Array) -> tuple[Array, Array, Array, Array]:
    n = len(skew)
    inside = support[:, None] & support
    core = jnp.where(inside, skew, jnp.diag(jnp.where(support, 0.0, 1.0)))
    border = support.astype(skew.dtype)
    matrix = jnp.block([[core, border[:, None]], [border, jnp.zeros(1)]])
    factors = lu_factor(matrix)
    unit = jnp.zeros(n + 1).at[n].set(1.0)
    probes = probes * jnp.append(border, 1.0)[:, None]
    solved, *images = lu_solve(factors, jnp.column_stack([unit, probes])).T
    solved = solved + lu_solve(factors, unit - matrix @ solved)  # iterative refinement
    policy = jnp.where(support, solved[:n], 0.0)
    slack = -(skew @ policy)
    moves = jnp.where(support, jnp.stack(images)[:, :n], 0.0)
    rounding, residual = (factor * n * float(np.finfo(np.float64).eps) for factor in (EPSILONS, TIE))
    residual = residual + jnp.linalg.norm(unit - matrix @ solved)
    error = residual * jnp.sqrt(jnp.mean(jnp.where(support, moves, moves @ skew) ** 2, axis=0))
    apart = 1.0 / jnp.sqrt(jnp.mean(jnp.sum(jnp.stack(images) ** 2, axis=1)))
    sure = jnp.all(jnp.where(support, policy, slack) > rounding + error) & (apart > rounding)
    return sure, policy, jnp.where(support, 0.0, slack), jnp.max(jnp.where(support, error, 0.0))


def _solve(skew: Array, probes: Array) -> InteriorPoint:
    n = len(skew)
    start = jnp.full(n, 1.0 / n)
    first_bound = 2.0 * jnp.max(jnp.abs(skew @ start)) + 1.0 / n

    def unfinished(carry: tuple[Array, ...]) -> Array:
        _, v, _, exact, *_, steps = carry
        return ~exact & (v > FINISHED) & (steps < MAX_STEPS)

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, v, before, _, policy, slack, error, steps = carry
        moved, bound = _step(skew, x, v)
        good = jnp.all(jnp.isfinite(moved)) & (bound > 0) & jnp.all(bound - skew @ moved > 0)
        x, v = jnp.where(good, moved, x), jnp.where(good, bound, v)
        support = _likely_support(skew, x, v)
        # For large games the exact solve is attempted only if the support has not changed in the last step.
        settled = jnp.all(support == before) | (n <= SMALL)
        solution = jax.lax.cond(
            settled,
            lambda: _solve_on(skew, support, probes),
            lambda: (jnp.array(False), policy, slack, error),
        )
        return x, v, support, *solution, jnp.where(good, steps + 1, MAX_STEPS)

    carry: tuple[Array, ...] = (
        start,
        first_bound,
        jnp.zeros(n, bool),
        jnp.array(False),
        start,
        start,
        jnp.zeros(()),
        jnp.zeros((), jnp.int32),
    )
    x, v, _, exact, policy, slack, error, steps = jax.lax.while_loop(unfinished, body, carry)
    policy, slack = jnp.where(exact, policy, x), jnp.where(exact, slack, v - skew @ x)
    return InteriorPoint(exact, policy, slack, error, steps)


def interior_point(skew: Float[np.ndarray, "batch n n"]) -> InteriorPoint:
    """The Nash policy of each game of a batch if it is unique, otherwise a policy near the Nash policies.

    Args:
        skew: payoffs, antisymmetric, of at most 1 in size, float64.

    Reference: Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", 1992; the self-dual
    form is that of a symmetric zero-sum game. Mehrotra and Ye, "Finding an Interior Point in the Optimal Face
    of Linear Programs", 1993, for solving exactly from a guessed support.
    """
    # The seed depends on the payoffs, so that no game is orthogonal to its probes but by chance.
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(skew).tobytes()))
    probes = rng.standard_normal((skew.shape[-1] + 1, PROBES))
    with jax.enable_x64(True):
        solution: InteriorPoint = _solve_all(jnp.asarray(skew), jnp.asarray(probes))
    return solution


@jax.jit
def _solve_all(skew: Array, probes: Array) -> InteriorPoint:
    together = min(SIDE_BY_SIDE, len(skew)) if skew.shape[-1] <= SMALL else 1
    solution: InteriorPoint = jax.lax.map(
        lambda each: _solve(each, probes), skew, batch_size=together if together > 1 else None
    )
    return solution
