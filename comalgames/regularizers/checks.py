"""What is certainly no regularizer, said before anything compiles."""

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

# A regularizer may be made for one number of actions. These are tried in turn; the first it accepts will do.
SIZES = (2, 3, 4, 5, 10)

# What calling a function with policies of a size it was not made for raises.
WRONG_SIZE = (IndexError, TypeError, ValueError)

CURVATURE_DECIMALS = 10


def check(regularizer: Any) -> None:
    """Refuse what is not a function (p, reference) -> one finite real number that JAX can differentiate."""
    check_form(regularizer)
    complaint = _complaint(regularizer, jnp.result_type(float))
    if complaint:
        raise ValueError(complaint)


def check_form(regularizer: Any) -> None:
    """Refuse what is not a hashable function of two arguments."""
    if not callable(regularizer):
        raise ValueError(f"`regularizer` must be a function (p, reference) -> number, got {regularizer!r}.")
    try:
        hash(regularizer)
    except TypeError as error:
        raise ValueError(
            f"`regularizer` must be hashable, for what is compiled is kept by it; {name(regularizer)!r} is "
            f"not. Make it a function."
        ) from error
    try:
        signature = inspect.signature(regularizer)
    except ValueError:
        return  # Some built-in functions do not tell.
    try:
        signature.bind("p", "reference")
    except TypeError as error:
        raise ValueError(
            f"`regularizer` must take two probability vectors (p, reference), but {name(regularizer)!r} "
            f"takes {signature}."
        ) from error


@lru_cache(maxsize=256)
def _complaint(regularizer: Regularizer, dtype: Any) -> str | None:
    """What is wrong with a function of two arguments, if anything."""
    called = repr(name(regularizer))
    for size in SIZES:
        policy = np.full(size, 1 / size, dtype)
        try:
            out = jax.eval_shape(regularizer, policy, policy)
        except (ConcretizationTypeError, TracerArrayConversionError):
            return (
                f"`regularizer` must be written in jax.numpy: {called} turns its arguments into NumPy arrays "
                f"or Python numbers, which JAX cannot differentiate. Use jnp for np, and jnp.where for `if`."
            )
        except WRONG_SIZE:
            continue
        return no_number(regularizer, size, out) or _nan_complaint(regularizer, size, dtype)
    return None  # The first step will show what it does.


def no_number(regularizer: Regularizer, size: int, out: Any) -> str | None:
    """What is wrong with this result of a regularizer, shape and type, if it is not one real number."""
    if getattr(out, "shape", None) == () and jnp.issubdtype(out.dtype, jnp.floating):
        return None
    described = f"{out.dtype} of shape {out.shape}" if isinstance(out, jax.ShapeDtypeStruct) else repr(out)
    return (
        f"`regularizer` must return one real number, a scalar to differentiate; given two policies of shape "
        f"({size},) {name(regularizer)!r} returned {described}."
    )


def _nan_complaint(regularizer: Regularizer, size: int, dtype: Any) -> str | None:
    called = repr(name(regularizer))
    # The constructor of a rule may run under vmap; the policies here are known all the same.
    with jax.ensure_compile_time_eval():
        for p, reference in _interior(size, dtype):
            value, slope = jax.value_and_grad(regularizer)(jnp.asarray(p), jnp.asarray(reference))
            for what, number in (("", value), ("the gradient of ", slope)):
                if not np.all(np.isfinite(number)):
                    return (
                        f"`regularizer` must be finite and differentiable wherever no probability is 0, but "
                        f"{what}{called} is {np.asarray(number)} at p = {p}, reference = {reference}."
                    )
    return None


def _interior(size: int, dtype: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of policies without zeros, the last two alike: every run starts at its reference."""
    uniform = np.full(size, 1 / size, dtype)
    rising = (np.arange(1, size + 1) / (size * (size + 1) / 2)).astype(dtype)
    steep = (2.0 ** np.arange(size, 0, -1) / (2.0 ** (size + 1) - 2)).astype(dtype)
    yield from ((rising, uniform), (steep, rising), (rising, steep), (steep, steep), (uniform, uniform))


@lru_cache(maxsize=256)
def curvature(regularizer: Regularizer) -> float:
    """How hard a regularizer pulls to a uniform reference: its smallest curvature there, over KL's.

    c in d^2 R = c sum_i dp_i^2 / reference_i, over directions dp that sum to 0; 1 where that is not known.
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
        # Rounded, for rounding in it would show in the period that `COMAL` advises.
        return round(smallest, CURVATURE_DECIMALS) if np.isfinite(smallest) and smallest > 0 else 1.0
    return 1.0


@lru_cache(maxsize=256)
def ignores_reference(regularizer: Regularizer) -> bool:
    """Whether what sets policies apart is the same around every reference; False where that is not known."""
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
        rounding = 8 * float(np.finfo(dtype).eps) * (1 + np.abs(values).max())
        return bool(np.ptp(first - second) <= rounding)
    return False


@lru_cache(maxsize=256)
def is_separable(regularizer: Regularizer) -> bool:
    """Whether the slope at each action depends on its own two probabilities alone; False where not known.

    Then a few sampled answers, whose probabilities do not sum to 1, know it as well as all of them do.
    """
    dtype = jnp.result_type(float)
    for size in SIZES:
        pairs = list(_interior(size, dtype))
        slopes = []
        try:
            with jax.ensure_compile_time_eval():
                for p, reference in pairs:
                    # The first action keeps its probabilities while those of the others change.
                    p, reference = p.copy(), reference.copy()
                    p[0], reference[0] = 0.3, 0.2
                    slopes.append(jax.grad(regularizer)(jnp.asarray(p), jnp.asarray(reference))[0])
        except WRONG_SIZE:
            continue
        rounding = 64 * float(np.finfo(dtype).eps) * (1 + np.abs(slopes).max())
        return bool(np.ptp(slopes) <= rounding)
    return False
