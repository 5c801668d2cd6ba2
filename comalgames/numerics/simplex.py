"""Policies as normalized log-probabilities: normalization, mixtures and divergences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Log-probabilities as accepted from users; results and equilibria have NumPy arrays. Leading axes broadcast.
LogPolicy: TypeAlias = Float[Array | np.ndarray, "... n"]


def log_normalize(scores: LogPolicy) -> Float[Array, "*batch n"]:
    """Log-probabilities proportional to `exp(scores)`, over the last axis.

    log_normalize(x) = x - logsumexp(x)

    They are at least -1/8 of the largest number of their type, so that steps that would overflow, and a step
    after them, give finite numbers.
    """
    logp = jax.nn.log_softmax(scores, axis=-1)
    return jnp.maximum(logp, -float(np.finfo(logp.dtype).max) / 8)


def uniform(num_actions: int, dtype: jnp.dtype | None = None) -> Float[Array, " n"]:
    """Log-probabilities of the uniform policy over `num_actions` actions."""
    return jnp.full(num_actions, -jnp.log(num_actions), dtype=dtype)


def mix(logp: LogPolicy, other_logp: LogPolicy, share: Any) -> Float[Array, "*batch n"]:
    """Geometric mixture of two policies, proportional to `p^(1 - share) * other^share`."""
    return log_normalize((1.0 - share) * logp + share * other_logp)


def mean(logps: Sequence[LogPolicy], weights: Sequence[Any]) -> Float[Array, "*batch n"]:
    """Logarithm of the weighted arithmetic mean of the first `len(weights)` policies, without underflow."""
    stacked = jnp.stack([jnp.asarray(logp) for logp, _ in zip(logps, weights, strict=False)])
    column = jnp.stack([jnp.asarray(weight, stacked.dtype) for weight in weights])
    column = column.reshape(-1, *(1,) * (stacked.ndim - 1))
    return jax.nn.logsumexp(stacked, axis=0, b=column)


def kl_divergence(logp: LogPolicy, other_logp: LogPolicy) -> Float[Array, "*batch"]:
    """KL(p || other) in nats over the last axis, accurate also for values far below the machine epsilon.

        sum_i p_i (log p_i - log other_i) = sum_i p_i (exp(d_i) - 1 - d_i) + sum_{p_i = 0} other_i,
        d = log other - log p

    Every term is >= 0, so that there is no cancellation: the KL of about 1e-18 between policies that differ
    by 1e-9 is accurate. `logp` may contain -inf. If `other_logp` is -inf where `logp` is not, the result is
    inf.
    """
    inside = logp > -jnp.inf
    p = jnp.where(inside, jnp.exp(logp), 0.0)
    other = jnp.exp(other_logp)
    d = jnp.where(inside, other_logp - jnp.where(inside, logp, 0.0), 0.0)
    near = jnp.abs(d) < 0.5
    close_term = p * expm1_minus(jnp.where(near, d, 0.0))
    # An underflown p = 0 times an infinite d would be nan.
    far_term = jnp.where(d == -jnp.inf, jnp.inf, other - p - p * jnp.where(near | (d == -jnp.inf), 0.0, d))
    return jnp.sum(jnp.where(inside, jnp.where(near, close_term, far_term), other), axis=-1)


def expm1_minus(d: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """exp(d) - 1 - d for |d| <= 1/2 with full relative accuracy: d^2/2 (1 + d/3 (1 + d/4 (1 + ...))).

    The first neglected term of the factor, d^14 2! / 16!, is below 1e-17. (`expm1(d) - d` would amplify
    rounding errors by 1 / d.)
    """
    series = jnp.ones_like(d)
    for k in range(15, 2, -1):
        series = 1.0 + series * d / k
    return d * d / 2 * series
