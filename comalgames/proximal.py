"""The equilibrium of the game regularised around a reference, by Newton's method: COMAL's exact inner solve."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Lengths tried along the Newton direction. They share one linear solve, so trying many is cheap.
STEPS = tuple(0.7**k for k in range(12))

# A step leaves every action at least this share of the smaller of its probability and its best response.
KEEP = 0.01

# A step is progress if it shrinks the distance to the best response by this factor; closer than NEAR (in squared
# nats, so a fixed number) a point of the path serves as a start for the next; strengths within a factor CLOSE of a
# point reached are never given up.
PROGRESS, NEAR, CLOSE = 0.8, 0.1, 1.2

# Solved when every action is within this many roundings of its best response. Hard games take 15 to 40 solves.
TOLERANCE, MAX_SOLVES = 32.0, 200


class ProximalSolution(NamedTuple):
    """What `regularized_equilibrium` returns.

    Attributes:
        logp: the equilibrium, normalised log-probabilities `[..., n]`.
        residual: how far it is from its own best response: the largest difference of log-probability, weighted by the
            larger of the two probabilities. It cannot fall below about the dtype's eps / temperature.
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

    It has the forward derivative of its last step, which is that of the equilibrium where that step was short.

    Args:
        skew: payoffs, antisymmetric `[..., n, n]`.
        reference_logp: log-probabilities of the reference `[..., n]`, finite, however far from the equilibrium.
        temperature: tau > 0, in units of payoff.
        start_logp: a guess; the reference by default. A good one saves solves, a bad one is abandoned.

    Returns:
        A `ProximalSolution`; look at `converged`.

    Reference: the equilibrium: McKelvey and Palfrey, "Quantal Response Equilibria for Normal Form Games", 1995.
    """
    strength = 1.0 / jnp.asarray(temperature, skew.dtype)
    solve = jnp.vectorize(_solve, signature="(n,n),(n),(n)->(n),(),(),()")
    start = reference_logp if start_logp is None else start_logp
    return ProximalSolution(*solve(strength[..., None, None] * skew, reference_logp, start))


# Write B for the payoff over the temperature. The best response to p is q = softmax(bias + B p); we want p = q.
# As B is antisymmetric, V(p) = KL(p || q) = KL(p || softmax(bias)) + logsumexp(..., B p): convex, and 0 at the
# solution only. With W the logarithmic mean of p and q, W (log p - log q) = p - q, Newton's equation is
#
#     (W^-1 - B) move + constant = -(log p - log q),    sum move = 0,
#
# and V falls along it, from any p, at the rate <move, grad V> = -KL(p || q) - KL(q || p) <= -V, since
# grad V = (W^-1 - B).T (p - q). So a step that looks for the least V is globally convergent, and quadratically in
# the end, where W = p. Scaled by w = W^1/2 the system is the identity minus an antisymmetric matrix: never singular.
def _solve(payoff: Array, reference: Array, start: Array) -> tuple[Array, Array, Array, Array]:
    eps = float(np.finfo(payoff.dtype).eps)
    largest = jnp.max(jnp.abs(payoff))

    def respond(logp: Array, share: Array) -> Array:
        return _respond(share * payoff, share * reference, logp)

    def roundings(logp: Array, best: Array) -> Array:
        return jnp.max(jnp.abs(logp - best) / (1.0 + largest - best)) / eps

    # The solution is reached from the guess or, if that fails, from the uniform policy along the equilibria of
    # the game with share * payoff and share * reference: where share rises from 0 to 1, reached shares are kept,
    # the next attempt is always 1, and a failed one is halved towards the last one reached, in log(share).
    def unfinished(carry: tuple[Array, ...]) -> Array:
        logp, share, distance, _, _, solves = carry
        done = (share == 1.0) & (roundings(logp, respond(logp, share)) <= TOLERANCE) & (solves > 0)
        return ~done & jnp.isfinite(distance) & (solves < MAX_SOLVES)

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        logp, share, distance, reached, reached_share, solves = carry
        moved = _newton(share * payoff, share * reference, logp)
        left = _distance(moved, respond(moved, share))
        at_rounding = left <= (TOLERANCE * eps * (1.0 + largest)) ** 2
        good = (left <= PROGRESS * distance) | at_rounding | (share <= CLOSE * reached_share)
        arrived = good & (left <= NEAR) & (share < 1.0)
        reached, reached_share = jnp.where(arrived, moved, reached), jnp.where(arrived, share, reached_share)
        share = jnp.where(arrived, 1.0, jnp.where(good, share, jnp.sqrt(share * reached_share)))
        logp = jnp.where(good, moved, reached)
        return logp, share, _distance(logp, respond(logp, share)), reached, reached_share, solves + 1

    one = jnp.ones_like(largest)
    nearly_uniform = 1.0 / (1.0 + jnp.max(reference) - jnp.min(reference) + 2.0 * largest)
    uniform = jnp.full_like(start, -np.log(len(start)))
    distance = _distance(start, respond(start, one))
    first = (start, one, distance, uniform, nearly_uniform, jnp.zeros((), jnp.int32))
    logp, share, _, _, _, solves = jax.lax.while_loop(unfinished, body, first)
    best = respond(logp, one)
    residual = jnp.max(jnp.exp(jnp.maximum(logp, best)) * jnp.abs(logp - best))
    return logp, residual, solves, (share == 1.0) & (roundings(logp, best) <= TOLERANCE)


def _newton(payoff: Array, bias: Array, logp: Array) -> Array:
    eps = float(np.finfo(payoff.dtype).eps)
    best = _respond(payoff, bias, logp)
    p, lower = jnp.exp(logp), np.log(KEEP).astype(payoff.dtype) + jnp.minimum(logp, best)
    w = _root_log_mean(logp, best)
    matrix = jnp.eye(len(logp), dtype=payoff.dtype) - w[:, None] * payoff * w
    x, y = jnp.linalg.solve(matrix, jnp.stack([w * (best - logp), w], axis=1)).T
    move = w * (x - y * (w @ x) / (w @ y))

    straight = p + jnp.asarray(STEPS, payoff.dtype)[:, None] * move
    kept = straight > jnp.exp(lower)
    tried = jax.nn.log_softmax(jnp.where(kept, jnp.log(jnp.where(kept, straight, 1.0)), lower))
    bests = _respond(payoff, bias, tried)
    value = jnp.sum((bests - tried) * (_root_log_mean(tried, bests) ** 2 - jnp.exp(tried)), axis=-1)
    # Values below rounding are ties, which go to the full step.
    least = jnp.argmin(jnp.maximum(value, (TOLERANCE * eps * (1.0 + jnp.max(jnp.abs(payoff)))) ** 2))
    # Without weight on either side, an action does not act on the others, and its equation is explicit.
    return jnp.where(jnp.maximum(tried, bests)[least] < np.log(eps), bests[least], tried[least])


def _respond(payoff: Array, bias: Array, logp: Array) -> Array:
    advantage = jnp.einsum("ij,...j->...i", payoff, jnp.exp(logp), precision=jax.lax.Precision.HIGHEST)
    return jax.nn.log_softmax(bias + advantage)


def _distance(logp: Array, best: Array) -> Array:
    """KL(p || q) + KL(q || p), as a sum of squares."""
    return jnp.sum((_root_log_mean(logp, best) * (logp - best)) ** 2)


def _root_log_mean(a: Array, b: Array) -> Array:
    """Square root of the logarithmic mean of exp(a) and exp(b), (exp(a) - exp(b)) / (a - b)."""
    gap = jnp.abs(a - b)
    safe = jnp.where(gap > 0.0, gap, 1.0)
    return jnp.exp(jnp.maximum(a, b) / 2.0) * jnp.sqrt(jnp.where(gap > 0.0, -jnp.expm1(-safe) / safe, 1.0))
