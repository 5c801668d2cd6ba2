"""Equilibrium of a game regularized by any convex function of the policy, by an interior-point method.

With payoffs 0 it is the best response to a utility. For KL, `comalgames.numerics.proximal` is faster, and
accurate for arbitrarily small probabilities.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames.regularizers.divergences import Regularizer
from comalgames.regularizers.evaluation import floored, log_floor

# Step lengths as shares of the distance to the boundary, and target gaps of the directions as shares of the
# current gap. All combinations share one linear solve and are evaluated together.
LENGTHS = 0.995 * 0.6 ** np.arange(14)
TARGETS = np.array([0.02, 0.3, 0.9])

# Lower bound on each action's term p_i s_i of the gap, relative to the mean term: an action that reached the
# boundary long before the others would block all further steps.
CENTRAL = 1e-3

# The iteration stops when the gap is below EPSILONS times the machine epsilon times its terms, or when no
# step reduces it by the factor PROGRESS. Typical games take 15 to 40 steps.
EPSILONS, PROGRESS, MAX_STEPS = 8.0, 0.99, 200


class RegularizedSolution(NamedTuple):
    """The result of `equilibrium`.

    Attributes:
        policy: the equilibrium as probabilities `[..., n]`.
        excess: upper bound on the gain of a deviation from it, if the regularizer is convex: 0 at the
            equilibrium; nan if the regularizer or its derivatives are nan.
    """

    policy: Float[Array, "*batch n"]
    excess: Float[Array, "*batch"]


def equilibrium(
    regularizer: Regularizer,
    skew: Float[Array, "*#batch n n"],
    utility: Float[Array, "*#batch n"],
    temperature: Float[Array, "*#batch"] | float,
    reference_logp: Float[Array, "*#batch n"],
) -> RegularizedSolution:
    """The symmetric equilibrium p of a game regularized by any convex function.

        p maximizes <p', utility + skew @ p> - temperature * regularizer(p', reference) over policies p'

    Args:
        regularizer: convex in its first argument, twice differentiable.
        skew: payoffs, antisymmetric `[..., n, n]`.
        utility: utility of each action independently of the opponent, `[..., n]`.
        temperature: tau > 0, in units of payoff.
        reference_logp: log-probabilities of the reference, `[..., n]`.
    """
    temperature = jnp.asarray(temperature, skew.dtype)
    shapes = (skew.shape[:-2], utility.shape[:-1], temperature.shape, reference_logp.shape[:-1])
    batch, n = np.broadcast_shapes(*shapes), skew.shape[-1]
    return RegularizedSolution(
        *_solve_all(
            regularizer,
            jnp.broadcast_to(skew, (*batch, n, n)),
            jnp.broadcast_to(utility, (*batch, n)),
            jnp.broadcast_to(temperature, batch),
            jnp.broadcast_to(floored(reference_logp), (*batch, n)),
        )
    )


# Compiled once per regularizer and shape, for calls outside of compiled functions.
@partial(jax.jit, static_argnums=0)
def _solve_all(
    regularizer: Regularizer, skew: Array, utility: Array, temperature: Array, reference: Array
) -> tuple[Array, Array]:
    solve = jnp.vectorize(partial(_solve, regularizer), signature="(n,n),(n),(),(n)->(n),()")
    solution: tuple[Array, Array] = solve(skew, utility, temperature, reference)
    return solution


# Let g(p) = utility + skew p - temperature grad R(p), which is monotone: <g(p) - g(q), p - q> <= 0. We want
# p >= 0, sum p = 1 and a level nu with s = nu - g(p) >= 0 and p_i s_i = 0. As R is convex,
#
#     max_p' <p', utility + skew p> - temperature R(p') - (the same at p) <= max g - <p, g> <= sum p s,
#
# so sum p s bounds the gap at every p and nu with s > 0, and the method keeps s = nu - g(p) throughout. It
# follows the central path p_i s_i = mu as mu -> 0. The Newton equation is
#
#     (temperature Hess R - skew + diag(s / p)) move + rise = mu / p - s,    sum move = 0,
#
# whose matrix, scaled by the square roots of its diagonal, is never singular.
_Carry: TypeAlias = tuple[Array, Array, Array, Array, Array, Array]


def _solve(
    regularizer: Regularizer, skew: Array, utility: Array, temperature: Array, reference: Array
) -> tuple[Array, Array]:
    n, dtype = len(utility), utility.dtype
    eps, lowest = float(np.finfo(dtype).eps), float(np.exp(log_floor(dtype)))
    targets, lengths = jnp.asarray(TARGETS, dtype), jnp.asarray(LENGTHS, dtype)
    slope, curvature = jax.grad(regularizer), jax.hessian(regularizer)

    def worth(p: Array) -> Array:
        payoff = jnp.einsum("ij,j->i", skew, p, precision=jax.lax.Precision.HIGHEST)
        net: Array = utility + payoff - temperature * slope(p, reference)
        return net

    def directions(p: Array, s: Array, mu: Array) -> tuple[Array, Array]:
        matrix = temperature * curvature(p, reference) - skew + jnp.diag(s / p)
        w = 1.0 / jnp.sqrt(jnp.diag(matrix))
        sides = jnp.stack([w / p, -w * s, w], axis=1)
        centre, down, level = jnp.linalg.solve(w[:, None] * matrix * w, sides).T
        aims = (targets * mu)[:, None] * centre + down
        rise = aims @ w / (w @ level)
        return w * (aims - rise[:, None] * level), rise

    def unfinished(carry: _Carry) -> Array:
        _, _, _, _, steps, going = carry
        return going & (steps < MAX_STEPS)

    def body(carry: _Carry) -> _Carry:
        p, net, level, gap, steps, _ = carry
        move, rise = directions(p, level - net, gap / n)
        inside = 1.0 / jnp.maximum(1.0, jnp.max(-move / p, axis=-1))
        length = inside[:, None] * lengths
        tried = (p + length[..., None] * move[:, None]).reshape(-1, n)
        tried = tried / jnp.sum(tried, axis=-1, keepdims=True)
        levels = (level + length * rise[:, None]).reshape(-1)
        worths = jax.vmap(worth)(tried)
        shares = tried * (levels[:, None] - worths)
        gaps = jnp.sum(shares, axis=-1)
        central = jnp.all(shares > CENTRAL / n * gaps[:, None], axis=-1)
        allowed = central & jnp.all(tried > lowest, axis=-1) & (gaps <= PROGRESS * gap)
        best = jnp.argmin(jnp.where(allowed, gaps, jnp.inf))
        moved = allowed[best]
        changes = ((tried, p), (worths, net), (levels, level), (gaps, gap))
        p, net, level, gap = (jnp.where(moved, new[best], old) for new, old in changes)
        rounding = EPSILONS * eps * jnp.sum(p * jnp.abs(net))
        return p, net, level, gap, steps + 1, moved & (gap > rounding)

    p = (reference + 1.0 / n) / 2.0
    net = worth(p)
    level = 2.0 * jnp.max(net) - jnp.min(net) + temperature
    gap = jnp.sum(p * (level - net))
    carry = (p, net, level, gap, jnp.zeros((), jnp.int32), jnp.ones((), bool))
    p, net, *_ = jax.lax.while_loop(unfinished, body, carry)
    return p, jnp.max(net) - p @ net
