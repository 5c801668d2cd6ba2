"""Equilibrium of a KL-regularized game by Newton's method; the exact inner step of COMAL."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Step lengths tried along the Newton direction; they share one linear solve.
STEPS = tuple(0.7**k for k in range(12))

# Lower bound on a probability after a step, relative to the smaller of its old value and its best response.
KEEP = 0.01

# A step is accepted if it shrinks the distance to the best response by the factor PROGRESS. A point of the
# path is used as the next start if its distance is below NEAR. The method is insensitive to these three
# numbers.
PROGRESS, NEAR = 0.8, 0.1

# Steps towards a point of the path are always accepted if its share is within this factor of a point reached.
CLOSE = 1.2

# Largest deviation of an action from its best response in a converged solution, in units of the machine
# epsilon times the size of the terms. Hard games take 15 to 40 solves.
TOLERANCE, MAX_SOLVES = 32.0, 200


class ProximalSolution(NamedTuple):
    """The result of `regularized_equilibrium`.

    Attributes:
        logp: the equilibrium, normalized log-probabilities `[..., n]`.
        residual: largest difference between the log-probabilities of the policy and of its best response,
            weighted by the larger of the two probabilities. It is limited to about eps / temperature.
        num_solves: number of linear systems solved.
        converged: whether all log-probabilities satisfy the equation up to rounding errors, including those
            of very small probabilities.
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
    num_players: int = 1,
) -> ProximalSolution:
    """The unique policy with `logp = log_normalize(reference_logp + skew @ exp(logp) / temperature)`.

    The forward derivative is that of the last step, which is the derivative of the equilibrium for a short
    step.

    Args:
        skew: payoffs, antisymmetric `[..., n, n]`.
        reference_logp: log-probabilities of the reference `[..., n]`, finite and of any size.
        temperature: tau > 0, in units of payoff.
        start_logp: initial guess; the reference by default. A good guess saves solves; a bad one is
            abandoned.
        num_players: number of policies that follow one another on the last axis, each normalized by itself
            and all of the same length; the payoffs are those of every action against every other.

    Returns:
        A `ProximalSolution`; check `converged`.

    Reference: McKelvey and Palfrey, "Quantal Response Equilibria for Normal Form Games", 1995.
    """
    strength = 1.0 / jnp.asarray(temperature, skew.dtype)
    start = reference_logp if start_logp is None else start_logp
    solve = jnp.vectorize(partial(_solve, num_players), signature="(n,n),(n),(n)->(n),(),(),()")
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
# Since grad V = (1/W - B).T (p - q), <move, grad V> = -KL(p || q) - KL(q || p) <= -V: from any p a short step
# of length t reduces V by at least t V to first order. Near the solution W = p, and the full step converges
# quadratically. With w = sqrt(W) and move = w x, the matrix for x is the identity minus an antisymmetric
# matrix: it is never singular, and its condition number is at most 1 + 1 / (2 temperature).
# Several players have one constant, and one sum of moves, each.
def _newton(players: int, payoff: Array, bias: Array, logp: Array, best: Array) -> tuple[Array, Array]:
    eps = float(np.finfo(payoff.dtype).eps)
    w = _root_log_mean(logp, best)
    matrix = jnp.eye(len(logp), dtype=payoff.dtype) - w[:, None] * payoff * w
    own = jnp.kron(jnp.eye(players, dtype=w.dtype), jnp.ones(len(w) // players, w.dtype)) * w
    x, *ys = jnp.linalg.solve(matrix, jnp.stack([w * (best - logp), *own], axis=1)).T
    y = jnp.stack(ys)
    constants = (own @ x) / (own @ y[0]) if players == 1 else jnp.linalg.solve(own @ y.T, own @ x)
    move = w * (x - constants @ y)

    straight = jnp.exp(logp) + jnp.asarray(STEPS, payoff.dtype)[:, None] * move
    lowest = math.log(KEEP) + jnp.minimum(logp, best)
    kept = straight > jnp.exp(lowest)
    tried = _normalize(players, jnp.where(kept, jnp.log(jnp.where(kept, straight, 1.0)), lowest))
    bests = _respond(players, payoff, bias, tried)
    value = jnp.sum((bests - tried) * (_root_log_mean(tried, bests) ** 2 - jnp.exp(tried)), axis=-1)
    # Values below rounding error are ties, for which the full step is taken.
    least = jnp.argmin(jnp.maximum(value, (eps * _size(payoff)) ** 2))
    # Actions of negligible probability do not affect the others: their equations are solved explicitly.
    weightless = jnp.maximum(tried[least], bests[least]) < math.log(eps)
    return jnp.where(weightless, bests[least], tried[least]), bests[least]


# The iteration starts from the guess. If it fails, a homotopy is followed from the uniform policy through the
# equilibria of the games whose payoff and reference are multiplied by a share below 1. The target share is 1
# after every success; if a step makes no progress, it moves halfway, in log(share), to the last share
# reached.
_Carry: TypeAlias = tuple[Array, Array, Array, Array, Array, Array]


def _solve(players: int, payoff: Array, reference: Array, start: Array) -> tuple[Array, Array, Array, Array]:
    eps = float(np.finfo(payoff.dtype).eps)

    # Not weighted by the policy, because a vertex has probability 0 where it differs from its best response.
    def scaled_error(logp: Array, best: Array) -> Array:
        return jnp.max(jnp.abs(logp - best) / (_size(payoff) - best)) / eps

    def unfinished(carry: _Carry) -> Array:
        logp, best, share, _, _, solves = carry
        error = scaled_error(logp, best)
        # At least one step, which improves the guess and has the derivative.
        done = (share == 1.0) & (error <= TOLERANCE) & (solves > 0)
        return ~done & jnp.isfinite(error) & (solves < MAX_SOLVES)

    def body(carry: _Carry) -> _Carry:
        logp, best, share, reached, reached_share, solves = carry
        moved, response = _newton(players, share * payoff, share * reference, logp, best)
        distance = _distance(moved, response)
        at_rounding = distance <= (TOLERANCE * eps * _size(payoff)) ** 2
        good = (distance <= PROGRESS * _distance(logp, best)) | at_rounding | (share <= CLOSE * reached_share)
        arrived = good & (distance <= NEAR) & (share < 1.0)
        reached, reached_share = jnp.where(arrived, moved, reached), jnp.where(arrived, share, reached_share)
        share = jnp.where(arrived, 1.0, jnp.where(good, share, jnp.sqrt(share * reached_share)))
        logp = jnp.where(good, moved, reached)
        best = _respond(players, share * payoff, share * reference, logp)
        return logp, best, share, reached, reached_share, solves + 1

    # The uniform policy solves the game with this share of payoff and reference to within about NEAR.
    smallest = 1.0 / (2.0 * _size(payoff) + jnp.max(reference) - jnp.min(reference))
    uniform = jnp.full_like(start, -math.log(len(start) // players))
    first = (start, _respond(players, payoff, reference, start), jnp.ones_like(smallest), uniform, smallest)
    logp, _, _, _, _, solves = jax.lax.while_loop(unfinished, body, (*first, jnp.zeros((), jnp.int32)))
    best = _respond(players, payoff, reference, logp)
    residual = jnp.max(jnp.exp(jnp.maximum(logp, best)) * jnp.abs(logp - best))
    return logp, residual, solves, scaled_error(logp, best) <= TOLERANCE


def _normalize(players: int, scores: Array) -> Array:
    """Log-probabilities of each player."""
    return jax.nn.log_softmax(scores.reshape(*scores.shape[:-1], players, -1), axis=-1).reshape(scores.shape)


def _respond(players: int, payoff: Array, bias: Array, logp: Array) -> Array:
    """The best response in the regularized game."""
    advantage = jnp.einsum("ij,...j->...i", payoff, jnp.exp(logp), precision=jax.lax.Precision.HIGHEST)
    return _normalize(players, bias + advantage)


def _distance(logp: Array, best: Array) -> Array:
    """Symmetrized divergence KL(p || q) + KL(q || p)."""
    return jnp.sum((_root_log_mean(logp, best) * (logp - best)) ** 2)


def _root_log_mean(a: Array, b: Array) -> Array:
    """Square root of (exp(a) - exp(b)) / (a - b)."""
    gap = jnp.abs(a - b)
    safe = jnp.where(gap > 0.0, gap, 1.0)
    return jnp.exp(jnp.maximum(a, b) / 2.0) * jnp.sqrt(jnp.where(gap > 0.0, -jnp.expm1(-safe) / safe, 1.0))


def _size(payoff: Array) -> Array:
    """Size of the terms of the equation besides the log-probability."""
    return 1.0 + jnp.max(jnp.abs(payoff))
