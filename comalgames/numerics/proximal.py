"""The equilibrium of a game regularized around a reference, by Newton's method: COMAL's exact inner solve."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Lengths tried along the Newton direction. They share one linear solve, so trying many is cheap.
STEPS = tuple(0.7**k for k in range(12))

# A step leaves every action at least this share of the smaller of its probability and its best response.
KEEP = 0.01

# A step is progress if it shrinks the distance to the best response by this factor. A point of the path is
# close enough to start the next one below the distance NEAR. All three numbers are measured to matter little.
PROGRESS, NEAR = 0.8, 0.1

# A point of the path whose share is within this factor of one already reached is not given up.
CLOSE = 1.2

# Solved when every action is within this many roundings of its best response. Hard games take 15 to 40 steps.
TOLERANCE, MAX_SOLVES = 32.0, 200


class ProximalSolution(NamedTuple):
    """What `regularized_equilibrium` returns.

    Attributes:
        logp: the equilibrium, normalized log-probabilities `[..., n]`.
        residual: the largest difference of log-probability from its own best response, weighted by the larger
            of the two probabilities. It cannot fall below about eps / temperature.
        num_solves: how many linear systems were solved.
        converged: whether all log-probabilities, however low, satisfy the equation to rounding.
    """

    logp: Float[Array, "*batch n"]
    residual: Float[Array, "*batch"]
    num_solves: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def regularized_equilibrium(
    skew: Float[Array, "*#batch n n"],
    reference_logp: Float[Array, "*#batch n"],
    temperature: Float[Array, "*#batch"] | float,
    start_logp: Float[Array, "*#batch n"] | None = None,
) -> ProximalSolution:
    """The unique policy with `logp = log_normalize(reference_logp + skew @ exp(logp) / temperature)`.

    Its forward derivative is that of its last step: the equilibrium's, where that step was short.

    Args:
        skew: payoffs, antisymmetric `[..., n, n]`.
        reference_logp: log-probabilities of the reference `[..., n]`, finite, however far away.
        temperature: tau > 0, in units of payoff.
        start_logp: a guess; the reference by default. A good one saves solves, a bad one is abandoned.

    Returns:
        A `ProximalSolution`; look at `converged`.

    Reference: McKelvey and Palfrey, "Quantal Response Equilibria for Normal Form Games", 1995.
    """
    strength = 1.0 / jnp.asarray(temperature, skew.dtype)
    start = reference_logp if start_logp is None else start_logp
    solve = jnp.vectorize(_solve, signature="(n,n),(n),(n)->(n),(),(),()")
    return ProximalSolution(*solve(strength[..., None, None] * skew, reference_logp, start))


# Write B for the payoff over the temperature, b for the reference. The best response to p is
# q = softmax(b + B p); we want p = q. As p.T B p = 0,
#
#     V(p) = KL(p || q) = sum p (log p - b) + logsumexp(b + B p),
#
# which is convex, and 0 at the solution only. With W the logarithmic mean of p and q, so that
# W (log p - log q) = p - q, Newton's equation for log p = log q is
#
#     (1/W - B) move + constant = log q - log p,    sum move = 0.
#
# Since grad V = (1/W - B).T (p - q), <move, grad V> = -KL(p || q) - KL(q || p) <= -V: from any p a step that
# is short enough brings V down, by as large a share as it is long. Near the solution W = p, and the full step
# converges quadratically. With w = sqrt(W) and move = w x, the matrix for x is the identity minus an
# antisymmetric one: it is never singular, and its condition number is at most 1 + 1 / (2 temperature).
def _newton(payoff: Array, bias: Array, logp: Array, best: Array) -> tuple[Array, Array]:
    eps = float(np.finfo(payoff.dtype).eps)
    w = _root_log_mean(logp, best)
    matrix = jnp.eye(len(logp), dtype=payoff.dtype) - w[:, None] * payoff * w
    x, y = jnp.linalg.solve(matrix, jnp.stack([w * (best - logp), w], axis=1)).T
    move = w * (x - y * (w @ x) / (w @ y))

    straight = jnp.exp(logp) + jnp.asarray(STEPS, payoff.dtype)[:, None] * move
    lowest = math.log(KEEP) + jnp.minimum(logp, best)
    kept = straight > jnp.exp(lowest)
    tried = jax.nn.log_softmax(jnp.where(kept, jnp.log(jnp.where(kept, straight, 1.0)), lowest))
    bests = _respond(payoff, bias, tried)
    value = jnp.sum((bests - tried) * (_root_log_mean(tried, bests) ** 2 - jnp.exp(tried)), axis=-1)
    # Values below rounding are ties, which go to the full step.
    least = jnp.argmin(jnp.maximum(value, (eps * _size(payoff)) ** 2))
    # An action that has no weight on either side does not act on the others: its equation is explicit.
    weightless = jnp.maximum(tried[least], bests[least]) < math.log(eps)
    return jnp.where(weightless, bests[least], tried[least]), bests[least]


# The solution is sought from the guess. If that fails, it is approached from the uniform policy through the
# equilibria of the games whose payoff and reference are multiplied by a share below 1. The share sought is 1
# after every success; when a step makes no progress, it moves halfway, in log(share), to the last reached.
_Carry: TypeAlias = tuple[Array, Array, Array, Array, Array, Array]


def _solve(payoff: Array, reference: Array, start: Array) -> tuple[Array, Array, Array, Array]:
    eps = float(np.finfo(payoff.dtype).eps)

    # Not weighted by the policy: a vertex has no weight where it differs from its best response.
    def roundings(logp: Array, best: Array) -> Array:
        return jnp.max(jnp.abs(logp - best) / (_size(payoff) - best)) / eps

    def unfinished(carry: _Carry) -> Array:
        logp, best, share, _, _, solves = carry
        error = roundings(logp, best)
        # One step at least: it polishes the guess, and carries the derivative.
        done = (share == 1.0) & (error <= TOLERANCE) & (solves > 0)
        return ~done & jnp.isfinite(error) & (solves < MAX_SOLVES)

    def body(carry: _Carry) -> _Carry:
        logp, best, share, reached, reached_share, solves = carry
        moved, response = _newton(share * payoff, share * reference, logp, best)
        distance = _distance(moved, response)
        at_rounding = distance <= (TOLERANCE * eps * _size(payoff)) ** 2
        good = (distance <= PROGRESS * _distance(logp, best)) | at_rounding | (share <= CLOSE * reached_share)
        arrived = good & (distance <= NEAR) & (share < 1.0)
        reached, reached_share = jnp.where(arrived, moved, reached), jnp.where(arrived, share, reached_share)
        share = jnp.where(arrived, 1.0, jnp.where(good, share, jnp.sqrt(share * reached_share)))
        logp = jnp.where(good, moved, reached)
        best = _respond(share * payoff, share * reference, logp)
        return logp, best, share, reached, reached_share, solves + 1

    # The game with this share of payoff and reference is solved by the uniform policy, to within NEAR or so.
    smallest = 1.0 / (2.0 * _size(payoff) + jnp.max(reference) - jnp.min(reference))
    uniform = jnp.full_like(start, -math.log(len(start)))
    first = (start, _respond(payoff, reference, start), jnp.ones_like(smallest), uniform, smallest)
    logp, _, _, _, _, solves = jax.lax.while_loop(unfinished, body, (*first, jnp.zeros((), jnp.int32)))
    best = _respond(payoff, reference, logp)
    residual = jnp.max(jnp.exp(jnp.maximum(logp, best)) * jnp.abs(logp - best))
    return logp, residual, solves, roundings(logp, best) <= TOLERANCE


def _respond(payoff: Array, bias: Array, logp: Array) -> Array:
    """The best response of the regularized game."""
    advantage = jnp.einsum("ij,...j->...i", payoff, jnp.exp(logp), precision=jax.lax.Precision.HIGHEST)
    return jax.nn.log_softmax(bias + advantage)


def _distance(logp: Array, best: Array) -> Array:
    """KL(p || q) + KL(q || p)."""
    return jnp.sum((_root_log_mean(logp, best) * (logp - best)) ** 2)


def _root_log_mean(a: Array, b: Array) -> Array:
    """Square root of (exp(a) - exp(b)) / (a - b)."""
    gap = jnp.abs(a - b)
    safe = jnp.where(gap > 0.0, gap, 1.0)
    return jnp.exp(jnp.maximum(a, b) / 2.0) * jnp.sqrt(jnp.where(gap > 0.0, -jnp.expm1(-safe) / safe, 1.0))


def _size(payoff: Array) -> Array:
    """How large the terms of the equation are, beside the log-probability itself."""
    return 1.0 + jnp.max(jnp.abs(payoff))
