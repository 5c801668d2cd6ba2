"""Evaluation of a regularizer and its gradient at log-probabilities with leading axes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames.regularizers.divergences import Regularizer

# Under COMAL log-probabilities off the Nash support reach -5000, where p and reference would both underflow
# and most divergences would be 0/0. exp(-300) and its square are positive in float64.
LOG_FLOOR = -300.0


def floored(logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Probabilities, at least exp(LOG_FLOOR) and at least the smallest normal number of the dtype."""
    return jnp.exp(jnp.maximum(logp, log_floor(logp.dtype)))


def log_floor(dtype: jnp.dtype) -> float:
    """The smallest log-probability at which regularizers are evaluated."""
    # One above the logarithm of the smallest normal number, whose exponential may round to a subnormal one,
    # which XLA flushes to 0.
    return max(LOG_FLOOR, float(np.log(np.finfo(dtype).tiny)) + 1.0)


def value(
    regularizer: Regularizer, logp: Float[Array, "*#batch n"], reference_logp: Float[Array, "*#batch n"]
) -> Float[Array, ...]:
    """Value of the regularizer at policies given as log-probabilities, one number per leading index."""
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
