"""Checks of a user's own rule before anything compiles, with errors that point at the user's line."""

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


def questions_of(algorithm: AbstractAlgorithm[Any], shape: tuple[int, ...]) -> Asked:
    """The questions of one step; a step that cannot be compiled or gives wrong values is refused.

    Args:
        algorithm: the algorithm that will run.
        shape: shape of a policy, `[..., n]`.

    Raises:
        ValueError: the step uses NumPy or `if` on values, assigns to a field, asks about an opponent that is
            not normalized, or returns probabilities instead of their logarithms.
    """
    name = f"{type(innermost(algorithm)).__name__}.propose"
    try:
        found = asked(algorithm, shape)
        _check_values(algorithm, shape)
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
    return found


def _check_values(algorithm: Any, shape: tuple[int, ...]) -> None:
    """Take a few steps of a rule that is not the package's own, with known values."""
    rule = innermost(algorithm)
    if not isinstance(rule, AbstractUpdateRule) or type(rule).__module__.split(".")[0] == PACKAGE.name:
        return
    if not all(validation.is_concrete(leaf) for leaf in jax.tree.leaves(rule)):
        return
    kinds = (jax.tree.structure(rule), type(rule), shape)
    try:
        if kinds in _checked:
            return
    except TypeError:
        return
    name = f"{type(rule).__name__}.propose"
    with jax.enable_x64(True), jax.disable_jit():
        rule = with_dtype(rule, jnp.float64)
        ranks = jnp.linspace(0.0, 1.0, shape[-1])
        logp, reference = (
            jnp.broadcast_to(jax.nn.log_softmax(scores), shape) for scores in (-ranks, ranks**2)
        )
        key, payoffs = jax.random.key(0), Checking(0.5 * jnp.cos(5.0 * ranks), 0.5 * jnp.sin(5.0 * ranks))
        try:
            state = rule.init(logp, reference)
            for _ in range(STEPS):
                if np.all(np.isfinite(state.logp)):  # a run says where it stopped being finite
                    state = rule.step(key, state, payoffs)
            nothing = Checking(jnp.zeros(shape[-1]), jnp.zeros(shape[-1]))
            target, _ = rule.propose(key, rule.init(logp, logp), nothing)
        except ValueError as error:
            if _where(error):
                raise ValueError(f"{name}{_where(error)}: {error}") from error
            raise
    target, policy = np.asarray(target), np.asarray(logp)
    if np.all(target > 0) and _differ(np.log(target), policy) < TOLERANCE < _differ(target, policy):
        raise ValueError(
            f"{name} ({_definition(rule)}) must return log-probabilities, up to a constant, but it returned "
            f"probabilities. Return their logarithms, such as state.logp + step_size * advantage."
        )
    _checked.add(kinds)


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


def _definition(rule: Any) -> str:
    """File and line of a rule's `propose`."""
    code = inspect.unwrap(type(rule).propose).__code__
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}"
