"""Evaluate a regularizer and its gradient at policies given as log-probabilities, over leading axes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames.regularizers.divergences import Regularizer

# COMAL drives log-probabilities off the Nash support to -5000, where p and reference would both be 0 and most
# divergences 0/0. exp(-300) is representable and still squares to a positive float64.
LOG_FLOOR = -300.0


def floored(logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Probabilities no smaller than exp(LOG_FLOOR), or than the dtype's smallest normal number."""
    return jnp.exp(jnp.maximum(logp, log_floor(logp.dtype)))


def log_floor(dtype: jnp.dtype) -> float:
    """The log-probability below which regularizers are not asked."""
    # One above the logarithm of the smallest normal number: exp of that itself may round to a subnormal,
    # which XLA flushes to 0.
    return max(LOG_FLOOR, float(np.log(np.finfo(dtype).tiny)) + 1.0)


def value(
    regularizer: Regularizer, logp: Float[Array, "*#batch n"], reference_logp: Float[Array, "*#batch n"]
) -> Float[Array, ...]:
    """The regularizer at policies given as log-probabilities, one number per leading index."""
    over_batch = jnp.vectorize(regularizer, signature="(n),(n)->()")
    values: Array = over_batch(floored(logp), floored(reference_logp))
    return values


def gradient(
    regularizer: Regularizer, logp: Float[Array, "*#batch n"], reference_logp: Float[Array, "*#batch n"]
) -> Float[Array, "... n"]:
    """Gradient of the regularizer with respect to the probabilities p, `[..., n]`."""
    over_batch = jnp.vectorize(jax.grad(regularizer), signature="(n),(n)->(n)")
    gradients: Array = over_batch(floored(logp), floored(reference_logp))
    return gradients
