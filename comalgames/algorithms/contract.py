"""Checks of a user's own algorithm before anything compiles, with errors that point at the user's line."""

from __future__ import annotations

import dataclasses
import inspect
import linecache
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, with_dtype
from comalgames.algorithms.wrapper import innermost
from comalgames.feedback import AbstractFeedback, Asked, asked

# Rounding errors of a rule's own sums stay far below this, and mistakes far above.
TOLERANCE = 1e-6

# The same for policies that an algorithm returns in float32.
SINGLE_TOLERANCE = 1e-4

# What a rule remembers differs from where it began only after its first step.
STEPS = 3

# Frames in these folders are not the user's.
PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"), f"{PACKAGE}/")

NEEDS_VALUES = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)

_checked: set[Any] = set()


class Checking(AbstractFeedback):
    """Exact feedback of a game of rank two that refuses opponents that are not log-policies.

    Attributes:
        high: one of two vectors `[n]`; the payoffs are `high low.T - low high.T`.
        low: the other.
    """

    high: Float[Array, " n"]
    low: Float[Array, " n"]

    @property
    def is_random(self) -> bool:
        """False: the feedback is deterministic."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The payoffs against the opponent."""
        opponent = np.asarray(opponent_logp)
        totals = np.exp(opponent).sum(-1).ravel()
        total = totals[np.argmax(np.abs(totals - 1.0))]
        if not abs(total - 1.0) < TOLERANCE:
            is_probable = np.all(opponent >= 0) and np.allclose(opponent.sum(-1), 1.0, rtol=0, atol=TOLERANCE)
            hint = "pass its logarithm" if is_probable else "pass it through jax.nn.log_softmax first"
            raise ValueError(
                f"`opponent` must be a normalized log-policy, got one whose probabilities sum to "
                f"{total:.6g}; {hint}."
            )
        p = jnp.exp(opponent_logp)
        against_low, against_high = (
            jnp.sum(p * each, axis=-1, keepdims=True) for each in (self.low, self.high)
        )
        return self.high * against_low - self.low * against_high

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The payoffs."""
        return jnp.outer(self.high, self.low) - jnp.outer(self.low, self.high)


def traced_queries(algorithm: AbstractAlgorithm[Any], shape: tuple[int, ...]) -> Asked:
    """The queries of one step; a step that cannot be compiled or gives wrong values is refused.

    Args:
        algorithm: the algorithm that will run.
        shape: shape of a policy, `[..., n]`.

    Raises:
        ValueError: the step uses NumPy or `if` on values, assigns to a field, queries an opponent that is
            not normalized, returns probabilities instead of their logarithms, or a state of another kind.
    """
    written = innermost(algorithm) if _is_ours(algorithm) else algorithm
    name = f"{type(written).__name__}.{_method(written)}"
    try:
        inside = innermost(algorithm)
        others = [each for each in (inside, algorithm) if not isinstance(each, AbstractUpdateRule)]
        for each in others:  # first, because a wrapper would be traced around a state of another kind
            _check_values(each, shape)
        queries = asked(algorithm, shape)
        if isinstance(inside, AbstractUpdateRule):
            _check_values(inside, shape)
    except NEEDS_VALUES as error:
        raise ValueError(
            f"{name} needs the value of a JAX array{_where(error)}, which is not known while the step is "
            f"compiled. Use jnp.where(condition, a, b) instead of `if`, and jax.numpy instead of NumPy."
        ) from error
    except dataclasses.FrozenInstanceError as error:
        raise ValueError(
            f"{name} assigns to a field{_where(error)}, but the fields of a rule cannot change. Keep "
            f"changing values in the state: return dataclasses.replace(state, ...) with a State of your own."
        ) from error
    except (TypeError, AttributeError, NameError) as error:
        error.add_note(f"This happened in {name}{_where(error)}, before anything was compiled.")
        raise
    return queries


def _is_ours(algorithm: Any) -> bool:
    return type(algorithm).__module__.split(".")[0] == PACKAGE.name


def _method(algorithm: Any) -> str:
    """The name of the method in which a user writes a step."""
    return "propose" if isinstance(algorithm, AbstractUpdateRule) else "step"


def _check_values(rule: Any, shape: tuple[int, ...]) -> None:
    """Take a few steps of an algorithm that is not the package's own, with known values."""
    if _is_ours(rule) or not all(validation.is_concrete(leaf) for leaf in jax.tree.leaves(rule)):
        return
    kinds = (jax.tree.structure(rule), type(rule), shape)
    try:
        if kinds in _checked:
            return
    except TypeError:
        return
    check = _check_rule if isinstance(rule, AbstractUpdateRule) else _check_states
    with jax.enable_x64(True), jax.disable_jit():
        try:
            check(rule, shape)
        except ValueError as error:
            if _where(error):
                name = f"{type(rule).__name__}.{_method(rule)}"
                raise ValueError(f"{name}{_where(error)}: {error}") from error
            raise
    _checked.add(kinds)


def _tried(shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array, Checking]:
    """A policy, a reference and feedback of which no two numbers are equal."""
    ranks = jnp.linspace(0.0, 1.0, shape[-1], dtype=dtype)
    logp, reference = (jnp.broadcast_to(jax.nn.log_softmax(scores), shape) for scores in (-ranks, ranks**2))
    return logp, reference, Checking(0.5 * jnp.cos(5.0 * ranks), 0.5 * jnp.sin(5.0 * ranks))


def _check_rule(rule: AbstractUpdateRule[Any], shape: tuple[int, ...]) -> None:
    """Refuse proposals that are probabilities."""
    rule = with_dtype(rule, jnp.float64)
    key = jax.random.key(0)
    logp, reference, payoffs = _tried(shape, jnp.float64)
    state = rule.init(logp, reference)
    for _ in range(STEPS):
        if np.all(np.isfinite(state.logp)):  # a run says where it stopped being finite
            state = rule.step(key, state, payoffs)
    nothing = Checking(jnp.zeros(shape[-1]), jnp.zeros(shape[-1]))
    target, policy = np.asarray(rule.propose(key, rule.init(logp, logp), nothing)[0]), np.asarray(logp)
    if np.all(target > 0) and _differ(np.log(target), policy) < TOLERANCE < _differ(target, policy):
        raise ValueError(
            f"{type(rule).__name__}.propose ({_definition(rule, 'propose')}) must return log-probabilities, "
            f"up to a constant, but it returned probabilities. Return their logarithms, such as state.logp + "
            f"step_size * advantage."
        )


def _check_states(algorithm: AbstractAlgorithm[Any], shape: tuple[int, ...]) -> None:
    """Refuse states without a log-policy, and steps that change the kind of the state."""
    for dtype in (jnp.float64, jnp.float32):
        own = with_dtype(algorithm, dtype)
        logp, reference, payoffs = _tried(shape, dtype)
        state = own.init(logp, reference)
        _check_policy(own, "init", state, logp)
        for _ in range(STEPS):
            if not np.all(np.isfinite(state.logp)):
                break
            after = own.step(jax.random.key(0), state, payoffs)
            _check_policy(own, "step", after, logp)
            difference = _difference(_kind(state), _kind(after))
            if difference:
                raise ValueError(
                    f"{type(own).__name__}.step ({_definition(own, 'step')}) must return a state of the same "
                    f"kind as the one before it, {difference}."
                )
            state = after


def _check_policy(algorithm: Any, method: str, state: Any, logp: Array) -> None:
    name = f"{type(algorithm).__name__}.{method} ({_definition(algorithm, method)})"
    policy = getattr(state, "logp", None)
    if policy is None or not hasattr(policy, "dtype"):
        raise ValueError(
            f"{name} must return a state with the policy `logp`, such as a cg.State, got a "
            f"{type(state).__name__}."
        )
    if (policy.shape, policy.dtype) != (logp.shape, logp.dtype):
        raise ValueError(
            f"{name} must return a policy `logp` of shape {logp.shape} in {logp.dtype} for policies of that "
            f"kind, got shape {policy.shape} in {policy.dtype}."
        )
    values = np.asarray(policy, np.float64)
    totals = np.exp(values).sum(-1).ravel()
    if not np.all(np.isfinite(totals)) or np.all(np.abs(totals - 1.0) < SINGLE_TOLERANCE):
        return
    is_probable = np.all(values >= 0) and np.allclose(values.sum(-1), 1.0, rtol=0, atol=SINGLE_TOLERANCE)
    remedy = "return its logarithm" if is_probable else "pass it through jax.nn.log_softmax"
    raise ValueError(
        f"{name} must return a normalized log-policy `logp`, got one whose probabilities sum to "
        f"{totals[np.argmax(np.abs(totals - 1.0))]:.6g}; {remedy}."
    )


def _kind(state: Any) -> dict[str, Any]:
    """Shape and dtype of every leaf of a state by its path (None for a number, which fits); its structure."""
    kinds = {
        jax.tree_util.keystr(path): f"{leaf.shape} {leaf.dtype}" if hasattr(leaf, "dtype") else None
        for path, leaf in jax.tree.leaves_with_path(state)
    }
    return {**kinds, "structure": str(jax.tree.structure(state))}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Describe the first entry in which two kinds differ; return "" if they are equal."""
    if before.keys() != after.keys():
        return f"but only one of them has {min(before.keys() ^ after.keys())}"
    for path, kind in before.items():
        if None not in (kind, after[path]) and kind != after[path]:
            is_leaf = path != "structure"
            detail = f"but {path} was {kind} and became {after[path]}"
            return detail if is_leaf else "but their classes or static fields differ"
    return ""


def _differ(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference between two targets beyond a constant per prompt."""
    return float(np.ptp(one - other, axis=-1).max())


def _where(error: BaseException) -> str:
    """The last line of user code in the traceback of an error, in parentheses; "" without one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(library in frame.filename for library in LIBRARIES):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f" ({Path(frame.filename).name}, line {frame.lineno}: `{line}`)"
    return ""


def _definition(algorithm: Any, method: str) -> str:
    """File and line of a method of an algorithm."""
    code = inspect.unwrap(getattr(type(algorithm), method)).__code__
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}"
