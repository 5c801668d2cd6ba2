"""The policy whose log-ratio to another comes nearest to given numbers, in the mean square."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The logarithm of the multiplier is bisected as often as floating point can tell halves apart.
NUM_BISECTIONS = 80

# Newton's method for Lambert's function converges quadratically from the right.
NUM_NEWTON_STEPS = 12

# A multiplier exp(-LEAST) below exp(-max aim) changes nothing.
LEAST = 40.0


def least_squares_policy(
    logp: Float[Array, "*batch n"], aim: Float[Array, "*batch n"]
) -> Float[Array, "*batch n"]:
    """The minimizer over policies q of `E_{y ~ p} (log q(y)/p(y) - aim(y))^2`: SPPO's loss, at its minimum.

        log q/p = aim - W(c exp(aim)),    c >= 0 such that q sums to 1

    W is Lambert's function, W(x) exp(W(x)) = x. The mean of the aim under p is taken off first: a policy has
    no advantage against itself, so for preferences it is 0 up to rounding and noise.

    Args:
        logp: log p, normalized.
        aim: a number per action, nats.

    Returns:
        log q, normalized but for rounding.
    """
    p = jnp.exp(logp)
    aim = aim - jnp.sum(p * aim, axis=-1, keepdims=True)
    top = jnp.max(aim, axis=-1, keepdims=True)

    def ratio(log_c: Array) -> Array:
        return aim - jnp.exp(_log_lambert(log_c + aim))

    def excess(log_c: Array) -> Array:
        """sum q - 1, without cancellation where q is near p; it falls as c grows."""
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
