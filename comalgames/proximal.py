"""The equilibrium of the game regularised around a reference, by Newton's method: COMAL's exact inner
solve."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Newton steps allowed for one point of the path, and linear solves for all of it.
STEPS_PER_POINT, MAX_SOLVES = 10, 1000

# After a point of the path is reached the stride grows by this factor; after a failure it shrinks by this
# one.
GROW, SHRINK = 2.0, 0.25

# The residual is at rounding when below this many roundings of the largest term of the equation.
TOLERANCE = 16.0


class ProximalSolution(NamedTuple):
    """What `regularized_equilibrium` returns.

    Attributes:
        logp: the equilibrium, normalised log-probabilities `[..., n]`.
        residual: how far it is from its own best response: the largest difference of log-probability,
            weighted by the larger of the two probabilities.
        num_solves: how many linear systems were solved.
        converged: whether the residual is at rounding.
    """

    logp: Float[Array, "*batch n"]
    residual: Float[Array, "*batch"]
    num_solves: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def regularized_equilibrium(
    skew: Float[Array, "*prompts n n"],
    reference_logp: Float[Array, "*batch n"],
    temperature: Any,
    start_logp: Float[Array, "*batch n"] | None = None,
) -> ProximalSolution:
    """The unique policy with `logp = log_normalize(reference_logp + skew @ exp(logp) / temperature)`.

    Args:
        skew: payoffs, antisymmetric `[..., n, n]`.
        reference_logp: log-probabilities of the reference `[..., n]`, finite, however far from the
            equilibrium.
        temperature: tau > 0, in units of payoff.
        start_logp: a guess; the reference by default.

    Returns:
        A `ProximalSolution`; look at `converged`.

    Reference: the equilibrium: McKelvey and Palfrey, 1995; the path: Turocy, "A Dynamic Homotopy
        Interpretation of
    the Logistic Quantal Response Equilibrium Correspondence", 2005.
    """
    start = reference_logp if start_logp is None else start_logp
    strength = 1.0 / jnp.asarray(temperature, skew.dtype)
    solve = jnp.vectorize(_solve, signature="(n,n),(n),(),(n)->(n),(),(),()")
    solution: tuple[Any, ...] = solve(skew, reference_logp, strength, start)
    return ProximalSolution(*solution)


# With strength s = 1/tau, write the equation with its normaliser c as
#
#     F(logp, c) = logp + c - reference - s A p = 0,   p = exp(logp),   sum p = 1.
#
# Newton in (logp, c) keeps sum p = 1 to first order: (I - s A diag p) d + e 1 = -F with p . d = 0. It needs a
# good start, but the solution is a smooth function of s that begins at the reference for s = 0, because the
# game is monotone for every s. So try s at once from the guess, and where that fails walk from 0 in strides
# that adapt.
#
# The residual logp - response is weighted by max(p, response): weighted by p alone, every vertex would look
# solved.
def _solve(skew: Array, reference: Array, strength: Array, start: Array) -> tuple[Array, Array, Array, Array]:
    n = len(reference)
    dtype = skew.dtype
    eps = float(np.finfo(dtype).eps)
    identity, ones = jnp.eye(n, dtype=dtype), jnp.ones((n, 1), dtype)
    largest = jnp.max(jnp.abs(skew))

    def response(logp: Array, s: Array) -> Array:
        advantage = jnp.matmul(skew, jnp.exp(logp), precision=jax.lax.Precision.HIGHEST)
        return jax.nn.log_softmax(reference + s * advantage)

    def residual(logp: Array, s: Array) -> Array:
        best = response(logp, s)
        return jnp.max(jnp.exp(jnp.maximum(logp, best)) * jnp.abs(logp - best))

    def newton(logp: Array, s: Array) -> Array:
        p = jnp.exp(logp)
        block = jnp.block([[identity - s * skew * p, ones], [p[None, :], jnp.zeros((1, 1), dtype)]])
        step = jnp.linalg.solve(block, jnp.append(response(logp, s) - logp, jnp.zeros((), dtype)))[:n]
        return jax.nn.log_softmax(logp + step)

    def tolerance(s: Array) -> Array:
        return TOLERANCE * eps * (1.0 + s * largest)

    # carry: the point being sought (its share t of the strength, its policy, Newton steps and residual so
    # far), the last point reached (share, policy), the stride, and the number of solves.
    def unfinished(carry: Any) -> Any:
        t, _, _, error, *_, solves = carry
        at_rounding = (t == 1.0) & (error <= tolerance(strength))
        unpolished = solves == 0  # a good guess still gets one step
        return (~at_rounding | unpolished) & (solves < MAX_SOLVES)

    def body(carry: Any) -> Any:
        t, logp, count, error, reached_t, reached, stride, solves = carry
        there = error <= tolerance(t * strength)
        stuck = ~there & ((count >= STEPS_PER_POINT) | ~jnp.isfinite(error))
        reached_t, reached = jnp.where(there, t, reached_t), jnp.where(there, logp, reached)
        stride = jnp.where(
            there, GROW * stride, jnp.where(stuck, SHRINK * jnp.minimum(stride, t - reached_t), stride)
        )
        t = jnp.where(there | stuck, jnp.minimum(1.0, reached_t + stride), t)
        logp = jnp.where(there | stuck, reached, logp)
        count = jnp.where(there | stuck, 0, count)
        logp = newton(logp, t * strength)
        return t, logp, count + 1, residual(logp, t * strength), reached_t, reached, stride, solves + 1

    one, zero = jnp.ones((), dtype), jnp.zeros((), dtype)
    none = jnp.zeros((), jnp.int32)
    first = (one, start, none, residual(start, strength), zero, reference, one, none)
    _, logp, _, error, *_, solves = jax.lax.while_loop(unfinished, body, first)
    converged = jnp.isfinite(error) & (error <= tolerance(strength)) & (solves < MAX_SOLVES)
    # Where the policy has no weight its log-probability follows from the rest; read it off the best response.
    best = response(logp, strength)
    return jnp.where(jnp.exp(jnp.maximum(logp, best)) < eps, best, logp), error, solves, converged
