"""The policy whose log-ratio to another policy is a least-squares fit to given numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames.numerics import simplex

# Number of bisections of the logarithm of the multiplier, enough for full floating-point precision.
NUM_BISECTIONS = 80

# Newton's method for Lambert's function converges quadratically and monotonically after the first step.
NUM_NEWTON_STEPS = 12

# A multiplier of exp(-LEAST) times exp(-max aim) has no effect in floating point.
LEAST = 40.0


def least_squares_policy(
    logp: Float[Array, "*batch n"], aim: Float[Array, "*batch n"]
) -> Float[Array, "*batch n"]:
    """The policy q that minimizes the loss of SPPO, `E_{y ~ p} (log q(y)/p(y) - aim(y))^2`.

        log q/p = aim - W(c exp(aim)),    c >= 0 such that q sums to 1

    W is Lambert's function, W(x) exp(W(x)) = x. The mean of the aim under p is subtracted first: for
    preferences it is 0 up to rounding errors and noise, because a policy has no advantage against itself.

    Args:
        logp: normalized log-probabilities of p.
        aim: one number per action, in nats.

    Returns:
        Log-probabilities of q, normalized up to rounding errors.
    """
    aim = aim - jnp.sum(jnp.exp(logp) * aim, axis=-1, keepdims=True)
    top = jnp.max(aim, axis=-1, keepdims=True)

    def is_above(log_c: Array) -> Array:
        """Whether q sums to more than 1."""
        log_w = _log_lambert(log_c + aim)
        gain = jax.nn.logsumexp(logp + _log_expm1_minus(aim - jnp.exp(log_w)), axis=-1, keepdims=True)
        return gain > jax.nn.logsumexp(logp + log_w, axis=-1, keepdims=True)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        above = is_above(middle)
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    high = jnp.log(jnp.maximum(top, float(np.finfo(aim.dtype).tiny)))
    low, high = jax.lax.fori_loop(0, NUM_BISECTIONS, halve, (jnp.minimum(-top, high) - LEAST, high))
    return logp + aim - jnp.exp(_log_lambert((low + high) / 2 + aim))


# With r = log q/p = aim - W and E_p aim = 0, the excess is
#
#     sum q - 1 = E_p (exp(r) - 1) = E_p (exp(r) - 1 - r) - E_p W,
#
# a difference of positive numbers, whose logarithms do not underflow. Near a vertex both are of the size of
# the probability of the unlikely actions, and their ratio decides by how many nats these grow.
def _log_expm1_minus(r: Array) -> Array:
    """log(exp(r) - 1 - r) of the number r."""
    is_large = r > 1.0
    large, other = jnp.where(is_large, r, 1.0), jnp.where(is_large, 0.0, r)
    is_small = jnp.abs(other) < 0.5
    small, other = jnp.where(is_small, other, 0.0), jnp.where(is_small, 1.0, other)
    value = jnp.where(is_small, simplex.expm1_minus(small), jnp.expm1(other) - other)
    return jnp.where(is_large, large + jnp.log1p(-(1.0 + large) * jnp.exp(-large)), jnp.log(value))


# v = log W(exp(z)) solves v + exp(v) = z.
def _log_lambert(z: Array) -> Array:
    start = jnp.where(z > 1, jnp.log(jnp.maximum(z, 1.0)), z)

    def newton(_: Any, v: Array) -> Array:
        w = jnp.exp(v)
        return v - (w + v - z) / (w + 1.0)

    log_w: Array = jax.lax.fori_loop(0, NUM_NEWTON_STEPS, newton, start)
    return log_w
