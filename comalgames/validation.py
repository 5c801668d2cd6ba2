"""Checks of user input before compilation; each error states in one sentence what is accepted.

Every check examines concrete values only; under `jit` or `vmap`, without values, it passes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

# How far a policy's sum may be from 1, and P + P.T from 1, when the numbers were typed or printed by someone.
SUM_TOLERANCE = 1e-6

# Steps and records are counted in 32 bits.
LARGEST = 2**31 - 1

# An error message lists all accepted words when there are no more than this.
FEW = 24

# And repeats what came when that is no longer than this.
LONG = 80


def is_concrete(value: Any) -> bool:
    """Whether `value` holds concrete numbers, and not tracers of a JAX transformation."""
    return not isinstance(value, jax.core.Tracer)


def real_array(name: str, value: Any) -> np.ndarray:
    """`value` as a NumPy array of finite real numbers; anything else is a `ValueError` that names `name`."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a rectangular array of numbers; its rows differ in length."
        ) from error
    if array.dtype.kind == "c":
        raise ValueError(f"`{name}` is complex ({array.dtype}); pass real numbers.")
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"`{name}` must hold real numbers, got an array of {array.dtype}.")
    if not np.all(np.isfinite(array)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"`{name}` must be finite; the entry at {where} is {array[where]}.")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def payoffs(name: str, value: Any) -> jax.Array:
    """`value` in JAX's default precision; refuse numbers that become 0 there, or whose sums overflow."""
    if is_concrete(value):
        dtype = jax.dtypes.canonicalize_dtype(np.asarray(value).dtype)
        fits(name, value, dtype)
        largest = np.max(np.abs(np.asarray(value)), initial=0)
        if dtype.kind == "f" and largest > np.finfo(dtype).max / LARGEST:
            raise ValueError(
                f"`{name}` must be at most {np.finfo(dtype).max / LARGEST:.2g} in {dtype}, so that sums over "
                f"steps are finite, got {largest:.3g}. Divide all payoffs by a number."
            )
    return jnp.asarray(value)


def fits(name: str, value: Any, dtype: Any) -> None:
    """Raise a ValueError if finite numbers would become infinite or 0 in a less precise `dtype`."""
    if not is_concrete(value):
        return
    given, kind = np.asarray(value), np.dtype(dtype)
    if given.dtype.kind not in "fiu" or kind.kind != "f" or kind.itemsize >= given.dtype.itemsize:
        return
    size, limits = np.abs(given.astype(np.float64)), np.finfo(kind)
    lost = np.isfinite(size) & ((size > limits.max) | ((size < limits.tiny) & (size > 0)))
    if np.any(lost):
        where = tuple(int(i) for i in np.argwhere(lost)[0])
        entry = f"the entry at {where}" if where else "it"
        raise ValueError(
            f"`{name}` does not fit into {kind}: {entry} is {given[where]:.3g}. Use numbers of another size "
            f"(multiplying all payoffs by a number divides step sizes by it), or set "
            f"jax.config.update('jax_enable_x64', True) before the game is made."
        )


def positive(name: str, value: Any) -> None:
    """Raise a ValueError unless `value`, such as a step size, is one finite number above 0."""
    _number(name, value, "a finite number > 0", lambda x: x > 0)


def non_negative(name: str, value: Any) -> None:
    """Raise a ValueError unless `value` is one finite number of at least 0."""
    _number(name, value, "a finite number >= 0", lambda x: x >= 0)


def share(name: str, value: Any) -> None:
    """Raise a ValueError unless `value` is one finite number above 0 and at most 1."""
    _number(name, value, "a number above 0 and at most 1", lambda x: (x > 0) & (x <= 1))


def _number(name: str, value: Any, accepted: str, holds: Any) -> None:
    is_schedule = isinstance(value, eqx.Module) and callable(value)
    if is_schedule or not is_concrete(value):
        return
    if callable(value):
        raise ValueError(f"`{name}` must be {accepted} or an AbstractSchedule, got the function {value!r}.")
    if np.asarray(value).dtype.kind not in "fiu":  # so True, "1" and None are refused too
        raise ValueError(f"`{name}` must be {accepted}, got {value!r}.")
    if np.ndim(value) != 0:
        raise ValueError(
            f"`{name}` must be {accepted}, got an array of shape {np.shape(value)}. To try several values "
            f"use `cg.grid` with `cg.sweep`, or `jax.vmap` over the constructor."
        )
    number = float(value)
    if not math.isfinite(number) or not holds(number):
        raise ValueError(f"`{name}` must be {accepted}, got {value!r}.")


def count(name: str, value: Any, minimum: int = 0) -> int:
    """`value` as an int from `minimum` to 2^31 - 1; 3.0 is accepted, 3.5, True and "3" are not."""
    accepted = f"a whole number >= {minimum}"
    if isinstance(value, (bool, np.bool_, str)) or np.ndim(value) != 0:
        raise ValueError(f"`{name}` must be {accepted}, got {value!r}.")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be {accepted}, got {value!r}.") from error
    if not math.isfinite(number) or number != int(number) or number < minimum:
        raise ValueError(f"`{name}` must be {accepted}, got {value!r}.")
    if number > LARGEST:
        raise ValueError(f"`{name}` must be {accepted} and at most {LARGEST}, got {value!r}.")
    return int(number)


def random_key(name: str, key: Any) -> None:
    """Raise a ValueError unless `key` is one JAX random key; seeds and several keys are refused."""
    dtype, shape = getattr(key, "dtype", None), np.shape(key) if hasattr(key, "shape") else ()
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if shape != ():
            raise ValueError(
                f"`{name}` must be one JAX random key, got keys of shape {shape}; pass one of them."
            )
        return
    # The older keys, of jax.random.PRNGKey, are two or four numbers.
    if dtype is not None and dtype == np.uint32 and shape in ((2,), (4,)):
        return
    what = repr(key) if len(repr(key)) <= LONG else f"a {type(key).__name__}"
    is_seed = isinstance(key, (int, np.integer)) and not isinstance(key, bool)
    remedy = f"jax.random.key({int(key)})" if is_seed else "jax.random.key(0)"
    raise ValueError(f"`{name}` must be a JAX random key, got {what}; pass {remedy}.")


def win_rates(name: str, value: Any) -> np.ndarray:
    """`value` as a float array `[..., n, n]`, n >= 1, with entries in [0, 1]."""
    array = real_array(name, value)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.size == 0:
        raise ValueError(
            f"`{name}` must be square, [..., n, n] with n >= 1 (row i, column j: how often i beats j), "
            f"got shape {array.shape}."
        )
    outside = (array < -SUM_TOLERANCE) | (array > 1 + SUM_TOLERANCE)
    if outside.any():
        where = tuple(int(k) for k in np.argwhere(outside)[0])
        raise ValueError(
            f"`{name}` must hold probabilities in [0, 1], got values from {array.min():g} to "
            f"{array.max():g}, the first outside at {where}. For payoffs in [-1/2, 1/2] use "
            f"PreferenceGame.from_skew; for any other payoff use ZeroSumGame."
        )
    return array


def preference_matrix(preference: Any) -> np.ndarray:
    """`preference` as a float array `[..., n, n]` with entries in [0, 1] and P + P.T = 1 within 1e-6."""
    array = win_rates("preference", preference)
    error = np.abs(array + np.swapaxes(array, -1, -2) - 1)
    if error.max() > SUM_TOLERANCE:
        *prompt, i, j = (int(k) for k in np.unravel_index(error.argmax(), error.shape))
        where = f" of prompt {tuple(prompt)}" if prompt else ""
        raise ValueError(
            f"`preference` must satisfy P + P.T = 1 within {SUM_TOLERANCE:g}; it is off by {error.max():.3g} "
            f"at the pair ({i}, {j}){where}. If these are measured win rates, use games.from_winrates(..., "
            f"symmetrize=True) (--symmetrize on the command line)."
        )
    return array


def policy(name: str, value: Any, num_actions: int) -> np.ndarray:
    """`value` as strictly positive probabilities `[..., num_actions]` that sum to 1."""
    array = real_array(name, value).astype(np.float64)
    if array.ndim == 0 or array.shape[-1] != num_actions or array.size == 0:
        raise ValueError(
            f"`{name}` must be a policy over {num_actions} actions (last axis), or several, got shape "
            f"{array.shape}."
        )
    if np.min(array) < 0 and np.max(array) <= 0 and np.allclose(np.exp(array).sum(-1), 1, atol=SUM_TOLERANCE):
        raise ValueError(f"`{name}` must be probabilities, got log-probabilities; pass jnp.exp({name}).")
    if np.min(array) < 0 or np.max(np.abs(array.sum(-1) - 1)) > SUM_TOLERANCE:
        raise ValueError(
            f"`{name}` must be on the simplex: entries >= 0 that sum to 1; the smallest entry is "
            f"{np.min(array):g} and sums run from {np.min(array.sum(-1)):g} to {np.max(array.sum(-1)):g}."
        )
    if np.min(array) == 0:
        action = int(np.argwhere(array == 0)[0][-1])
        raise ValueError(
            f"`{name}` excludes action {action} (probability 0). These rules only reweight: an action at 0 "
            f"never returns and KL to it is infinite. Give it a small probability, or drop it from the game."
        )
    normalized: np.ndarray = array / array.sum(-1, keepdims=True)
    return normalized


def log_policy(name: str, logp: Any) -> None:
    """Refuse concrete `logp` whose exponentials do not sum to 1 over the last axis."""
    if not is_concrete(logp):
        return
    if np.ndim(logp) == 0 or np.size(logp) == 0:
        raise ValueError(
            f"`{name}` must be log-probabilities with actions on the last axis, got shape {np.shape(logp)}."
        )
    total = np.exp(np.asarray(logp, dtype=np.float64)).sum(-1)
    # 1e-4: a float32 log-policy over a million actions still passes.
    if not np.all(np.abs(total - 1) < 1e-4):
        worst = total.flat[np.argmax(np.abs(total - 1))]
        raise ValueError(
            f"`{name}` must be normalized log-probabilities, but exp({name}) sums to {worst:.6g}. "
            f"If these are probabilities, pass jnp.log({name})."
        )


def comparable(name: str, logp: Any, target: Any) -> None:
    """Raise a ValueError unless `logp` has the actions and prompts of the policies it is compared with."""
    try:
        np.broadcast_shapes(np.shape(logp), np.shape(target))
        is_comparable = np.shape(logp)[-1] == np.shape(target)[-1]
    except ValueError:
        is_comparable = False
    if not is_comparable:
        raise ValueError(
            f"`{name}` of shape {np.shape(logp)} cannot be compared with policies of shape "
            f"{np.shape(target)}: the actions, on the last axis, and the prompts before it must be the same."
        )


def log_probabilities(name: str, value: Any, shape: tuple[int, ...], lowest: float = -math.inf) -> Any:
    """`value` as finite log-probabilities of the given shape, `[prompts, answers]`; they need not sum to 1.

    Args:
        name: of the argument.
        value: what came.
        shape: what it must have.
        lowest: the smallest accepted.
    """
    if not is_concrete(value):
        return value
    try:
        array = np.asarray(value.detach().cpu().double() if hasattr(value, "detach") else value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be an array of log-probabilities: {error}.") from error
    if array.shape != shape:
        raise ValueError(f"`{name}` must have the shape {shape} of the answers, got {array.shape}.")
    bad = ~((array <= 0) & np.isfinite(array) & (array >= lowest))
    if bad.any():
        row = tuple(int(k) for k in np.argwhere(bad)[0])
        floor = "" if lowest == -math.inf else f" and at least {lowest:g}, below which this rule cannot tell"
        raise ValueError(
            f"`{name}` must hold finite log-probabilities, at most 0{floor}; at {row} (answers on the last "
            f"axis) it has {array[row]:g}."
        )
    return array


def known(name: str, value: str, choices: Iterable[str]) -> str:
    """`value` if it is one of `choices`; else a `ValueError` that suggests the nearest."""
    options = sorted(choices)
    if value in options:
        return value
    near = difflib.get_close_matches(str(value), options, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = ", ".join(options if len(options) <= FEW else [*options[:3], f"... ({len(options)} in all)"])
    raise ValueError(f"`{name}` must be one of {listed}; got {value!r}.{hint}")
