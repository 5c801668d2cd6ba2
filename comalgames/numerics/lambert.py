"""The policy whose log-ratio to another policy is a least-squares fit to given numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
    p = jnp.exp(logp)
    aim = aim - jnp.sum(p * aim, axis=-1, keepdims=True)
    top = jnp.max(aim, axis=-1, keepdims=True)

    def ratio(log_c: Array) -> Array:
        return aim - jnp.exp(_log_lambert(log_c + aim))

    def excess(log_c: Array) -> Array:
        """The decreasing function sum q - 1 of c, without cancellation for q near p."""
        r = ratio(log_c)
        each = jnp.where(r > 1, jnp.exp(logp + r) - p, p * jnp.expm1(jnp.minimum(r, 1.0)))
        return jnp.sum(each, axis=-1, keepdims=True)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        above = excess(middle) > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    high = jnp.log(jnp.maximum(top, float(np.finfo(aim.dtype).tiny)))
    low, high = jax.lax.fori_loop(0, NUM_BISECTIONS, halve, (jnp.minimum(-top, high) - LEAST, high))
    return logp + ratio((low + high) / 2)


# v = log W(exp(z)) solves v + exp(v) = z.
def _log_lambert(z: Array) -> Array:
    start = jnp.where(z > 1, jnp.log(jnp.maximum(z, 1.0)), z)

    def newton(_: Any, v: Array) -> Array:
        w = jnp.exp(v)
        return v - (w + v - z) / (w + 1.0)

    log_w: Array = jax.lax.fori_loop(0, NUM_NEWTON_STEPS, newton, start)
    return log_w
