"""Mirror maps: the steps of `RegularizedMirrorDescent` in different geometries.

A mirror map is a function `(logp, utility, step_size) -> log-policy` that computes

    argmax over policies p of  <p, utility> - Bregman(p, policy) / step_size,

where `Bregman` is the divergence of a convex potential. It returns log-probabilities up to a constant per
prompt; -inf for probability 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.errors import ConcretizationTypeError, TracerArrayConversionError
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.numerics import simplex
from comalgames.numerics.updates import mirror_target

__all__ = ["Mirror", "entropy", "euclidean", "log_barrier", "separable", "tsallis"]

Mirror: TypeAlias = Callable[[Any, Any, Any], Any]
_Carry: TypeAlias = tuple[Array, Array, Array, Array, Array]

# Smallest log-probability in `separable`; the square of its exponential is positive in float64.
LOG_FLOOR = -300.0

# Largest number of steps of the bracketed Newton method, which needs 5 to 10, and 60 if it only bisects.
MAX_STEPS = 100

# Points at which a potential is checked: its derivative must increase from each to the next.
TRIED = np.concatenate([10.0 ** np.arange(-3, -1), np.arange(1, 20) / 20])


def entropy(
    logp: Float[Array, "*batch n"], utility: Float[Array, "*batch n"], step_size: Any
) -> Float[Array, "*batch n"]:
    """Multiplicative step: policy * exp(step_size * utility), up to a constant per prompt.

    Potential: sum_i p_i log p_i.

    Args:
        logp: log-probabilities of the current policy, `[..., n]`.
        utility: utility of each action, `[..., n]`; a constant per prompt has no effect.
        step_size: s > 0, in units of 1 / utility.

    Reference: Beck and Teboulle, "Mirror Descent and Nonlinear Projected Subgradient Methods", 2003.
    """
    target: Array = mirror_target(logp, utility, step_size)
    return target


def euclidean(
    logp: Float[Array, "*batch n"], utility: Float[Array, "*batch n"], step_size: Any
) -> Float[Array, "*batch n"]:
    """Projected gradient step: the exact projection of policy + step_size * utility onto the simplex.

    Potential: sum_i p_i^2 / 2. Probabilities may become 0 (log-probability -inf), and positive again later.

    Args:
        logp: log-probabilities of the current policy, `[..., n]`.
        utility: utility of each action, `[..., n]`; a constant per prompt has no effect.
        step_size: s > 0, in units of 1 / utility.

    Reference: Held, Wolfe and Crowder, "Validation of Subgradient Optimization", 1974.
    """
    n = logp.shape[-1]
    point = jnp.exp(logp) + step_size * _centred(utility)
    falling = -jnp.sort(-point, axis=-1)
    counts = jnp.arange(1, n + 1, dtype=logp.dtype)
    # With k positive probabilities the level is (sum of the k largest - 1) / k; the right k is the number of
    # entries above their level.
    levels = (jnp.cumsum(falling, axis=-1) - 1.0) / counts
    left = jnp.sum(falling > levels, axis=-1, keepdims=True)
    return _log(point - jnp.take_along_axis(levels, left - 1, axis=-1))


def log_barrier(
    logp: Float[Array, "*batch n"], utility: Float[Array, "*batch n"], step_size: Any
) -> Float[Array, "*batch n"]:
    """Log-barrier step: 1 / (1 / policy - step_size * utility + level), with the level that makes the sum 1.

    Potential: -sum_i log p_i. The policy never reaches the boundary; small probabilities change slowly.

    Args:
        logp: log-probabilities of the current policy, `[..., n]`.
        utility: utility of each action, `[..., n]`; a constant per prompt has no effect.
        step_size: s > 0, in units of 1 / utility.

    Reference: Wei and Luo, "More Adaptive Algorithms for Adversarial Bandits", 2018.
    """
    return _dual_step(
        logp,
        step_size * _centred(utility),
        slope=lambda logp: -jnp.exp(-logp),
        inverse=lambda dual: (-jnp.log(-dual), 1.0 / dual**2),
    )


class _Family:
    """A mirror map with one parameter, with equality and hash by the parameter."""

    maker = ""

    def __init__(self, argument: Any) -> None:
        self.argument = argument

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(self.argument == getattr(other, "argument", None))

    def __hash__(self) -> int:
        return hash((type(self), self.argument))

    def __repr__(self) -> str:
        return f"{self.maker}({getattr(self.argument, '__name__', self.argument)})"


class _Tsallis(_Family):
    """The mirror step in the geometry of Tsallis entropy, made by `tsallis`."""

    maker = "tsallis"

    def __call__(self, logp: Array, utility: Array, step_size: Any) -> Array:
        q, power = self.argument, self.argument - 1
        if power == 0:
            return entropy(logp, utility, step_size)

        # The derivative of the potential is q p^power / power, up to a constant: p^power - 1 is accurate for
        # powers near 0, and p^power is accurate near p = 0 for large powers.
        raised, lowered = (jnp.exp, jnp.log) if power > 0.5 else (jnp.expm1, jnp.log1p)
        least = 0.0 if power > 0.5 else -1.0

        def slope(logp: Array) -> Array:
            slopes: Array = q / power * raised(power * logp)
            return slopes

        def inverse(dual: Array) -> tuple[Array, Array]:
            grown = power / q * dual
            inside = grown > least
            logp = jnp.where(inside, lowered(jnp.where(inside, grown, 1.0)) / power, -jnp.inf)
            # dp / d dual = p^(2 - q) / q
            return logp, jnp.where(inside, jnp.exp((2 - q) * jnp.where(inside, logp, 0.0)) / q, 0.0)

        return _dual_step(logp, step_size * _centred(utility), slope, inverse)


def tsallis(q: float) -> Mirror:
    """The mirror map of negative Tsallis entropy (sum_i p_i^q - 1) / (q - 1).

    It is `entropy` at q = 1, and `euclidean` with half the step size at q = 2; for q -> 0 it converges to
    `log_barrier` with 1 / q times the step size. For q > 1 probabilities may become 0.

    Args:
        q: the order, a number > 0, not traced.

    Raises:
        ValueError: `q` is not a finite number above 0.

    Reference: Zimmert and Seldin, "Tsallis-INF: An Optimal Algorithm for Stochastic and Adversarial Bandits",
    2021.
    """
    if not validation.is_concrete(q) or callable(q):
        raise ValueError(
            f"`q` must be a number that is not traced by JAX, got {q!r}. Make one rule for each value, "
            f"outside of jit and vmap."
        )
    validation.positive("q", q)
    return _Tsallis(float(q))


class _Separable(_Family):
    """The mirror step of the potential sum_i potential(p_i), made by `separable`."""

    maker = "separable"

    def __call__(self, logp: Array, utility: Array, step_size: Any) -> Array:
        floor = max(LOG_FLOOR, float(np.log(np.finfo(logp.dtype).tiny)))
        slope_of_p = jnp.vectorize(jax.grad(self.argument))
        curvature_of_p = jnp.vectorize(jax.grad(jax.grad(self.argument)))
        # One ulp below 1, because the derivative may be infinite at 1.
        top = -float(np.finfo(logp.dtype).eps)

        def slope(logp: Array) -> Array:
            slopes: Array = slope_of_p(jnp.exp(jnp.clip(logp, floor, top)))
            return slopes

        lowest, low = slope(jnp.asarray([floor, floor / 2], logp.dtype))
        # If the derivative is finite at 0 (constant near the floor), probabilities may become 0.
        reaches_zero = low - lowest <= float(np.finfo(logp.dtype).eps) * (1.0 + jnp.abs(low))
        bottom = jnp.where(reaches_zero, -jnp.inf, floor)

        def excess(dual: Array, logp: Array) -> tuple[Array, Array]:
            p = jnp.exp(logp)
            return slope_of_p(p) - dual, curvature_of_p(p) * p

        def inverse(dual: Array) -> tuple[Array, Array]:
            below = dual <= lowest
            logp = _root(excess, dual, jnp.full_like(dual, floor), jnp.full_like(dual, top))
            steepness = curvature_of_p(jnp.exp(logp))
            return jnp.where(below, bottom, logp), jnp.where(below, 0.0, 1.0 / steepness)

        return _dual_step(logp, step_size * _centred(utility), slope, inverse)


def separable(potential: Callable[[Any], Any]) -> Mirror:
    """The mirror map of the potential sum_i potential(p_i), for a strictly convex function of one number.

    The derivative of the potential is computed by JAX and inverted numerically, so that a step costs about a
    hundred evaluations: prefer the closed forms above. Probabilities below exp(LOG_FLOOR) become
    exp(LOG_FLOOR), or 0 if the derivative is finite at 0.

    Args:
        potential: a strictly convex function of one number in (0, 1), written in jax.numpy, such as
            `lambda x: x * jnp.log(x)` (which gives `entropy`).

    Raises:
        ValueError: `potential` is not a function of one number that returns one real number, or its
            derivative does not increase on (0, 1).

    Example:
        >>> mirror = cg.mirrors.separable(lambda x: x * jnp.log(x) - jnp.log(x))
        >>> jnp.exp(mirror(jnp.log(jnp.array([0.2, 0.8])), jnp.array([1.0, 0.0]), 0.5)).round(4)
        Array([0.2162, 0.7838], dtype=float64)

    Reference: Krichene, Krichene and Bayen, "Efficient Bregman Projections onto the Simplex", 2015.
    """
    if not callable(potential):
        raise ValueError(f"`potential` must be a function of one number, got {potential!r}.")
    complaint = _complaint(potential, jnp.result_type(float))
    if complaint:
        raise ValueError(complaint)
    return _Separable(potential)


@lru_cache(maxsize=256)
def _complaint(potential: Callable[[Any], Any], dtype: Any) -> str | None:
    """An error message for an invalid potential; None if it is valid."""
    called = repr(getattr(potential, "__name__", potential))
    try:
        out = jax.eval_shape(potential, np.asarray(0.5, dtype))
    except (ConcretizationTypeError, TracerArrayConversionError):
        return f"`potential` must be written in jax.numpy, so that JAX can differentiate it; {called} is not."
    except (TypeError, ValueError, IndexError) as error:
        first_line = str(error).splitlines()[0]
        return f"`potential` must be a function of one number; calling {called} with 0.5 failed: {first_line}"
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        described = f"{out.dtype} of shape {out.shape}" if hasattr(out, "shape") else repr(out)
        return f"`potential` must return one real number; given 0.5 {called} returned {described}."
    with jax.ensure_compile_time_eval():
        slopes = np.asarray([jax.grad(potential)(jnp.asarray(x, dtype)) for x in TRIED])
    if not np.all(np.isfinite(slopes)):
        worst = TRIED[~np.isfinite(slopes)][0]
        return f"`potential` must be finite and differentiable on (0, 1); {called} is not at {worst:g}."
    if not np.all(np.diff(slopes) > 0):
        k = int(np.argmin(np.diff(slopes) > 0))
        return (
            f"`potential` must be strictly convex on (0, 1), but the derivative of {called} goes from "
            f"{slopes[k]:g} at {TRIED[k]:g} to {slopes[k + 1]:g} at {TRIED[k + 1]:g}. Check its sign."
        )
    return None


def check(mirror: Any) -> None:
    """Raise a ValueError unless a mirror map has the arguments and the result that it must have."""
    if not callable(mirror):
        raise ValueError(
            f"`mirror` must be a mirror map such as mirrors.entropy or mirrors.euclidean, got {mirror!r}."
        )
    called = repr(getattr(mirror, "__name__", mirror))
    try:
        inspect.signature(mirror).bind("logp", "utility", "step_size")
    except TypeError as error:
        raise ValueError(
            f"`mirror` must be a function (logp, utility, step_size) -> log-policy, but {called} takes "
            f"{inspect.signature(mirror)}. Make a mirror map from a potential with "
            f"mirrors.separable(potential), or from an order with mirrors.tsallis(q)."
        ) from error
    logp = np.full(2, -np.log(2), jnp.result_type(float))
    out = jax.eval_shape(mirror, logp, logp, jnp.result_type(float).type(1.0))
    if getattr(out, "shape", None) != (2,) or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(
            f"`mirror` must return a log-policy of the shape of its argument; given shape (2,) {called} "
            f"returned {out!r}."
        )


# The maximizer of <p, gain> - Bregman(p, policy) has slope(p_i) = slope(policy_i) + gain_i - level, or
# p_i = 0 if that is below slope(0). The sum over i decreases with the level. Its largest term is at most 1
# and at least 1 / n, which brackets the level. `inverse` returns log p and dp / d slope.
def _dual_step(logp: Array, gain: Array, slope: Any, inverse: Any) -> Array:
    dual = slope(logp) + gain
    highest = jnp.max(dual, axis=-1, keepdims=True)
    ends = slope(jnp.asarray([0.0, -np.log(logp.shape[-1])], logp.dtype))

    def excess(dual: Array, level: Array) -> tuple[Array, Array]:
        logp, steepness = inverse(dual - level)
        total = jnp.sum(jnp.exp(logp), axis=-1, keepdims=True)
        return 1.0 - total, jnp.sum(steepness, axis=-1, keepdims=True)

    level = _root(excess, dual, highest - ends[0], highest - ends[1])
    # A potential with slopes near 0 turns a rounding error of the level into a large one of the sum.
    target: Array = simplex.log_normalize(inverse(dual - level)[0])
    return target


def _root(function: Any, data: Array, low: Array, high: Array) -> Array:
    """The root between `low` and `high` of the increasing `function(data, x)`, elementwise.

    `function` returns its value and its slope. The method is Newton's, with bisection where a Newton step
    would leave the bracket or steps shrink too slowly. A final Newton step outside of the loop, cut at the
    bracket, improves the root; its derivatives, uncut, make the root differentiable with respect to `data`.
    """
    known = jax.lax.stop_gradient(data)
    low, high = (jax.lax.stop_gradient(end) for end in (low, high))
    smallest = 4 * float(np.finfo(low.dtype).eps) * jnp.maximum(jnp.abs(low), jnp.abs(high))

    def unfinished(carry: _Carry) -> Array:
        _, _, _, step, count = carry
        return jnp.any(jnp.abs(step) > smallest) & (count < MAX_STEPS)

    def body(carry: _Carry) -> _Carry:
        x, low, high, last, count = carry
        value, slope = function(known, x)
        low, high = jnp.where(value <= 0, x, low), jnp.where(value >= 0, x, high)
        newton, half = _newton(value, slope), (low + high) / 2 - x
        usable = (slope > 0) & jnp.isfinite(slope) & (x + newton >= low) & (x + newton <= high)
        step = jnp.where(usable & (2 * jnp.abs(newton) <= jnp.abs(last)), newton, half)
        return x + step, low, high, step, count + 1

    carry = ((low + high) / 2, low, high, high - low, jnp.zeros((), jnp.int32))
    x, low, high, *_ = jax.lax.while_loop(unfinished, body, carry)
    step = _newton(*function(data, x))
    known_step = jax.lax.stop_gradient(step)
    return jnp.clip(x + known_step, low, high) + (step - known_step)


def _newton(value: Array, slope: Array) -> Array:
    usable = (slope > 0) & jnp.isfinite(slope)
    return jnp.where(usable, -value / jnp.where(usable, slope, 1.0), 0.0)


def _centred(utility: Array) -> Array:
    """The utility minus its maximum, so that a constant added to it causes no rounding errors."""
    return utility - jnp.max(utility, axis=-1, keepdims=True)


def _log(p: Array) -> Array:
    """The logarithm of p; -inf for p <= 0."""
    inside = p > 0
    return jnp.where(inside, jnp.log(jnp.where(inside, p, 1.0)), -jnp.inf)
