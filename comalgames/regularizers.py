"""What a regularised game penalises: divergences of the policy from the reference, as papers write them.

A regulariser is any differentiable function `(p, reference) -> number` of two probability vectors `[n]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["LOG_FLOOR", "Regularizer", "chi_squared", "forward_kl", "kl"]

Regularizer: TypeAlias = Callable[[Any, Any], Any]

# COMAL drives log-probabilities off the Nash support to -5000, where p and reference would both be 0 and most
# divergences 0/0. exp(-300) is representable and still squares to a positive float64.
LOG_FLOOR = -300.0


def kl(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """KL(p || reference) = sum_i p_i log(p_i / reference_i), in nats; RLHF's "reverse KL".

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    return jnp.sum(p * (jnp.log(p) - jnp.log(reference)))


def forward_kl(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """KL(reference || p) = sum_i reference_i log(reference_i / p_i), in nats.

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    return jnp.sum(reference * (jnp.log(reference) - jnp.log(p)))


def chi_squared(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Pearson's chi-squared divergence sum_i (p_i - reference_i)^2 / reference_i.

    Args:
        p: probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Pearson, "On the Criterion that a Given System of Deviations ...", 1900.
    """
    return jnp.sum((p - reference) ** 2 / reference)


def check(regularizer: Any) -> None:
    """Refuse what is not a function, or returns anything but one real number."""
    if not callable(regularizer):
        raise ValueError(f"`regularizer` must be a function (p, reference) -> number, got {regularizer!r}.")
    policy = np.full(2, 0.5, jnp.result_type(float))
    try:
        out = jax.eval_shape(regularizer, policy, policy)
    except (IndexError, TypeError, ValueError):
        return  # It may be made for another number of actions; the first step will show what it does.
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(
            f"`regularizer` must return one real number, a scalar to differentiate; given two policies of "
            f"shape (2,) {getattr(regularizer, '__name__', regularizer)!r} returned {_described(out)}."
        )


def _described(out: Any) -> str:
    return f"{out.dtype} of shape {out.shape}" if isinstance(out, jax.ShapeDtypeStruct) else repr(out)


def floored(logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Probabilities no smaller than exp(LOG_FLOOR), or than the dtype's smallest normal number."""
    floor = max(LOG_FLOOR, float(np.log(np.finfo(logp.dtype).tiny)))
    return jnp.exp(jnp.maximum(logp, floor))


def value(
    regularizer: Regularizer, logp: Float[Array, "*batch n"], reference_logp: Float[Array, "*batch n"]
) -> Float[Array, "*batch"]:
    """The regulariser at policies given as log-probabilities, one number per leading index."""
    over_batch = jnp.vectorize(regularizer, signature="(n),(n)->()")
    values: Array = over_batch(floored(logp), floored(reference_logp))
    return values


def gradient(
    regularizer: Regularizer, logp: Float[Array, "*batch n"], reference_logp: Float[Array, "*batch n"]
) -> Float[Array, "*batch n"]:
    """Gradient of the regulariser with respect to the probabilities p, `[..., n]`."""
    over_batch = jnp.vectorize(jax.grad(regularizer), signature="(n),(n)->(n)")
    gradients: Array = over_batch(floored(logp), floored(reference_logp))
    return gradients
