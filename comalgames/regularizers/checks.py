"""Checks of regularizers before compilation, and properties derived by evaluating them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.errors import ConcretizationTypeError, TracerArrayConversionError

from comalgames.regularizers.divergences import Regularizer, name

# A regularizer may accept only one number of actions. These are tried in order until one is accepted.
SIZES = (2, 3, 4, 5, 10)

# Exceptions raised by a regularizer for a number of actions that it does not accept.
WRONG_SIZE = (IndexError, TypeError, ValueError)

# Significant digits of a curvature.
CURVATURE_DIGITS = 10


def check(regularizer: Any) -> None:
    """Raise a ValueError unless a regularizer returns one finite real number that JAX can differentiate."""
    check_form(regularizer)
    complaint = _complaint(regularizer, jnp.result_type(float))
    if complaint:
        raise ValueError(complaint)


def check_form(regularizer: Any) -> None:
    """Raise a ValueError unless a regularizer is a hashable function of two arguments."""
    if not callable(regularizer):
        raise ValueError(f"`regularizer` must be a function (p, reference) -> number, got {regularizer!r}.")
    try:
        hash(regularizer)
    except TypeError as error:
        raise ValueError(
            f"`regularizer` must be hashable, because compiled programs are cached by it, but "
            f"{name(regularizer)!r} is not. Pass a function."
        ) from error
    try:
        signature = inspect.signature(regularizer)
    except ValueError:
        return  # Some built-in functions have no signature.
    try:
        signature.bind("p", "reference")
    except TypeError as error:
        raise ValueError(
            f"`regularizer` must take two probability vectors (p, reference), but {name(regularizer)!r} "
            f"takes {signature}."
        ) from error


@lru_cache(maxsize=256)
def _complaint(regularizer: Regularizer, dtype: Any) -> str | None:
    """An error message for a function of two arguments that is not a regularizer; None if it is one."""
    called = repr(name(regularizer))
    for size in SIZES:
        policy = np.full(size, 1 / size, dtype)
        try:
            out = jax.eval_shape(regularizer, policy, policy)
        except (ConcretizationTypeError, TracerArrayConversionError):
            return (
                f"`regularizer` must be written in jax.numpy: {called} turns its arguments into NumPy arrays "
                f"or Python numbers, which JAX cannot differentiate. Use jnp instead of np, and jnp.where "
                f"instead of `if`."
            )
        except WRONG_SIZE:
            continue
        return no_number(regularizer, size, out) or _nan_complaint(regularizer, size, dtype)
    return None  # no tried size was accepted; errors then show up in the first step


def no_number(regularizer: Regularizer, size: int, out: Any) -> str | None:
    """An error message for a result of a regularizer that is not one real number; None if it is."""
    if getattr(out, "shape", None) == () and jnp.issubdtype(out.dtype, jnp.floating):
        return None
    described = f"{out.dtype} of shape {out.shape}" if isinstance(out, jax.ShapeDtypeStruct) else repr(out)
    return (
        f"`regularizer` must return one real number (a floating-point scalar); given two policies of shape "
        f"({size},) {name(regularizer)!r} returned {described}."
    )


def _nan_complaint(regularizer: Regularizer, size: int, dtype: Any) -> str | None:
    called = repr(name(regularizer))
    # The constructor of a rule may run under vmap, but these policies are concrete.
    with jax.ensure_compile_time_eval():
        for p, reference in _interior(size, dtype):
            value, slope = jax.value_and_grad(regularizer)(jnp.asarray(p), jnp.asarray(reference))
            for what, number in (("", value), ("the gradient of ", slope)):
                if not np.all(np.isfinite(number)):
                    return (
                        f"`regularizer` must be finite and differentiable at positive probabilities, but "
                        f"{what}{called} is {np.asarray(number)} at p = {p}, reference = {reference}."
                    )
    return None


def _interior(size: int, dtype: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of policies without zeros; the last two have p = reference, because runs start there."""
    uniform = np.full(size, 1 / size, dtype)
    rising = (np.arange(1, size + 1) / (size * (size + 1) / 2)).astype(dtype)
    steep = (2.0 ** np.arange(size, 0, -1) / (2.0 ** (size + 1) - 2)).astype(dtype)
    yield from ((rising, uniform), (steep, rising), (rising, steep), (steep, steep), (uniform, uniform))


@lru_cache(maxsize=256)
def curvature(regularizer: Regularizer) -> float:
    """The smallest curvature of a regularizer at a uniform reference, relative to that of KL.

    It is the smallest c in d^2 R = c sum_i dp_i^2 / reference_i over directions dp that sum to 0; 1 if it
    cannot be determined.
    """
    dtype = jnp.result_type(float)
    for size in SIZES:
        uniform = jnp.full(size, 1 / size, dtype)
        try:
            with jax.ensure_compile_time_eval():
                hessian = np.asarray(jax.hessian(regularizer)(uniform, uniform), np.float64) / size
        except WRONG_SIZE:
            continue
        directions = np.linalg.svd(np.ones((1, size)))[2][1:]
        smallest = float(np.linalg.eigvalsh(directions @ hessian @ directions.T)[0])
        # Entries of the Hessian can cancel along directions, up to their rounding errors.
        rounding = 64 * float(np.finfo(dtype).eps) * np.abs(hessian).max()
        if not (np.isfinite(smallest) and smallest > rounding):
            return 1.0
        # Rounded, because rounding errors would change the period that `COMAL` recommends.
        return float(f"{smallest:.{CURVATURE_DIGITS - 1}e}")
    return 1.0


@lru_cache(maxsize=256)
def ignores_reference(regularizer: Regularizer) -> bool:
    """Whether differences of values between policies are independent of the reference; False if unknown."""
    dtype = jnp.result_type(float)
    for size in SIZES:
        policies = [p for p, _ in _interior(size, dtype)][:2]
        references = [r for _, r in _interior(size, dtype)][:3]
        try:
            with jax.ensure_compile_time_eval():
                values = [
                    [np.asarray(regularizer(jnp.asarray(p), jnp.asarray(r))) for r in references]
                    for p in policies
                ]
        except WRONG_SIZE:
            continue
        first, second = np.asarray(values, np.float64)
        rounding = 32 * float(np.finfo(dtype).eps) * np.abs(values).max()
        return bool(np.ptp(first - second) <= rounding)
    return False


@lru_cache(maxsize=256)
def is_separable(regularizer: Regularizer) -> bool:
    """Whether each partial derivative depends only on the probabilities of its action; False if unknown.

    The derivative can then be computed for a few sampled answers, whose probabilities do not sum to 1.
    """
    dtype = jnp.result_type(float)
    for size in SIZES:
        pairs = list(_interior(size, dtype))
        slopes = []
        try:
            with jax.ensure_compile_time_eval():
                for p, reference in pairs:
                    # The probabilities of the first action are fixed while the others change.
                    p, reference = p.copy(), reference.copy()
                    p[0], reference[0] = 0.3, 0.2
                    slopes.append(jax.grad(regularizer)(jnp.asarray(p), jnp.asarray(reference))[0])
        except WRONG_SIZE:
            continue
        rounding = 64 * float(np.finfo(dtype).eps) * np.abs(slopes).max()
        return bool(np.ptp(slopes) <= rounding)
    return False
