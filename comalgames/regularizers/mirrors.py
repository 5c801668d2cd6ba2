"""How a mirror step measures distance: the geometry of `RegularizedMirrorDescent`.

A mirror map is a function `(logp, utility, step_size) -> log-policy` that makes the step

    argmax over policies p of  <p, utility> - Bregman(p, policy) / step_size,

where `Bregman` belongs to a convex potential, and returns log-probabilities up to a constant per prompt;
-inf where the step ends at probability 0.
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
from comalgames.numerics.updates import mirror_target

__all__ = ["Mirror", "entropy", "euclidean", "log_barrier", "separable", "tsallis"]

Mirror: TypeAlias = Callable[[Any, Any, Any], Any]
_Carry: TypeAlias = tuple[Array, Array, Array, Array, Array]

# `separable` looks for log-probabilities down to this one; its exponential still squares to a float64.
LOG_FLOOR = -300.0

# Newton's method inside a bracket: it needs 5 to 10 steps, and halving the bracket 60 at the worst.
MAX_STEPS = 100

# Where a potential is tried before anything compiles: its derivative has to increase from each to the next.
TRIED = np.concatenate([10.0 ** np.arange(-3, -1), np.arange(1, 20) / 20])


def entropy(
    logp: Float[Array, "*batch n"], utility: Float[Array, "*batch n"], step_size: Any
) -> Float[Array, "*batch n"]:
    """The multiplicative step policy * exp(step_size * utility), up to a constant per prompt.

    Potential: sum_i p_i log p_i.

    Args:
        logp: log-probabilities of the policy stepped from, `[..., n]`.
        utility: each action's utility `[..., n]`; a constant per prompt does not matter.
        step_size: s > 0, in units of 1 / utility.

    Reference: Beck and Teboulle, "Mirror Descent and Nonlinear Projected Subgradient Methods", 2003.
    """
    target: Array = mirror_target(logp, utility, step_size)
    return target


def euclidean(
    logp: Float[Array, "*batch n"], utility: Float[Array, "*batch n"], step_size: Any
) -> Float[Array, "*batch n"]:
    """The projected gradient step: policy + step_size * utility, projected onto the simplex exactly.

    Potential: sum_i p_i^2 / 2. Actions may get probability 0, log-probability -inf, and come back.

    Args:
        logp: log-probabilities of the policy stepped from, `[..., n]`.
        utility: each action's utility `[..., n]`; a constant per prompt does not matter.
        step_size: s > 0, in units of 1 / utility.

    Reference: Held, Wolfe and Crowder, "Validation of Subgradient Optimization", 1974.
    """
    n = logp.shape[-1]
    point = jnp.exp(logp) + step_size * _centred(utility)
    falling = -jnp.sort(-point, axis=-1)
    counts = jnp.arange(1, n + 1, dtype=logp.dtype)
    # With k actions left the level is (sum of the k largest - 1) / k; as many are left as lie above theirs.
    levels = (jnp.cumsum(falling, axis=-1) - 1.0) / counts
    left = jnp.sum(falling > levels, axis=-1, keepdims=True)
    return _log(point - jnp.take_along_axis(levels, left - 1, axis=-1))


def log_barrier(
    logp: Float[Array, "*batch n"], utility: Float[Array, "*batch n"], step_size: Any
) -> Float[Array, "*batch n"]:
    """The step 1 / (1 / policy - step_size * utility + level), whose level makes the sum 1.

    Potential: -sum_i log p_i. The policy never reaches the boundary; actions of low probability barely move.

    Args:
        logp: log-probabilities of the policy stepped from, `[..., n]`.
        utility: each action's utility `[..., n]`; a constant per prompt does not matter.
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
    """A mirror map made from one thing; equal to, and hashed like, any other made from the same."""

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

        # The derivative of the potential is q p^power / power, up to a constant: p^power - 1 in the place of
        # p^power is exact for powers near 0, without the -1 it is exact near p = 0 for large ones.
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

    It is `entropy` at q = 1 and `euclidean` of half the step at q = 2; as q -> 0 it tends to `log_barrier` of
    1 / q times the step. For q > 1 actions may get probability 0.

    Args:
        q: the order, one number > 0, known before anything compiles.

    Raises:
        ValueError: `q` is not a finite number above 0.

    Reference: Zimmert and Seldin, "Tsallis-INF: An Optimal Algorithm for Stochastic and Adversarial Bandits",
    2021.
    """
    if not validation.is_concrete(q) or callable(q):
        raise ValueError(
            f"`q` must be one number known before anything compiles, got {q!r}. Make one rule for each "
            f"value, outside of jit and vmap."
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
        # One rounding below 1: the derivative may be infinite at 1.
        top = -float(np.finfo(logp.dtype).eps)

        def slope(logp: Array) -> Array:
            slopes: Array = slope_of_p(jnp.exp(jnp.clip(logp, floor, top)))
            return slopes

        lowest, low = slope(jnp.asarray([floor, floor / 2], logp.dtype))
        # A derivative that is finite at 0 (no longer falls there) lets actions have probability 0.
        reaches_zero = low - lowest <= float(np.finfo(logp.dtype).eps) * (1.0 + jnp.abs(low))
        bottom = jnp.where(reaches_zero, -jnp.inf, floor)

        def excess(dual: Array, logp: Array) -> tuple[Array, Array]:
            p = jnp.exp(logp)
            return slope_of_p(p) - dual, curvature_of_p(p) * p

        def inverse(dual: Array) -> tuple[Array, Array]:
            below = dual <= lowest
            found = _root(excess, dual, jnp.full_like(dual, floor), jnp.full_like(dual, top))
            steepness = curvature_of_p(jnp.exp(found))
            return jnp.where(below, bottom, found), jnp.where(below, 0.0, 1.0 / steepness)

        return _dual_step(logp, step_size * _centred(utility), slope, inverse)


def separable(potential: Callable[[Any], Any]) -> Mirror:
    """The mirror map of the potential sum_i potential(p_i), for any strictly convex function of one number.

    Its derivative is taken by JAX and inverted numerically, so a step costs some hundred evaluations: use the
    closed forms above where there is one. Probabilities below exp(LOG_FLOOR) become exp(LOG_FLOOR), or 0 if
    the derivative is finite at 0.

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
    """What is wrong with a potential, if anything."""
    called = repr(getattr(potential, "__name__", potential))
    try:
        out = jax.eval_shape(potential, np.asarray(0.5, dtype))
    except (ConcretizationTypeError, TracerArrayConversionError):
        return f"`potential` must be written in jax.numpy, which JAX can differentiate; {called} is not."
    except (TypeError, ValueError, IndexError) as error:
        first_line = str(error).splitlines()[0]
        return f"`potential` must be a function of one number; calling {called} with one failed: {first_line}"
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        described = f"{out.dtype} of shape {out.shape}" if hasattr(out, "shape") else repr(out)
        return f"`potential` must return one real number; given one number {called} returned {described}."
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
    """Refuse what is not a function (logp, utility, step_size) -> log-policy of the same shape."""
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
            f"{inspect.signature(mirror)}. Make one from a potential by mirrors.separable(potential), "
            f"from an order by mirrors.tsallis(q)."
        ) from error
    logp = np.full(2, -np.log(2), jnp.result_type(float))
    out = jax.eval_shape(mirror, logp, logp, jnp.result_type(float).type(1.0))
    if getattr(out, "shape", None) != (2,) or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(
            f"`mirror` must return a log-policy of the shape it is given; given shape (2,) {called} returned "
            f"{out!r}."
        )


# The maximizer of <p, gain> - Bregman(p, policy) has slope(p_i) = slope(policy_i) + gain_i - level, or
# p_i = 0 where that is below slope(0). The sum over i falls as the level rises. Its largest term is at most 1
# and at least 1 / n, which brackets the level. `inverse` gives log p and dp / d slope.
def _dual_step(logp: Array, gain: Array, slope: Any, inverse: Any) -> Array:
    dual = slope(logp) + gain
    highest = jnp.max(dual, axis=-1, keepdims=True)
    ends = slope(jnp.asarray([0.0, -np.log(logp.shape[-1])], logp.dtype))

    def excess(dual: Array, level: Array) -> tuple[Array, Array]:
        found, steepness = inverse(dual - level)
        total = jnp.sum(jnp.exp(found), axis=-1, keepdims=True)
        return 1.0 - total, jnp.sum(steepness, axis=-1, keepdims=True)

    level = _root(excess, dual, highest - ends[0], highest - ends[1])
    target: Array = inverse(dual - level)[0]
    return target


def _root(function: Any, data: Array, low: Array, high: Array) -> Array:
    """Where the increasing `function(data, x)`, given with its slope, is 0 in between, elementwise.

    Newton's method; bisection where that would leave the bracket or shrinks its steps too slowly. The last
    step is Newton's, outside of the loop: it polishes the root, and carries its derivative.
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
    x = jax.lax.while_loop(unfinished, body, carry)[0]
    return x + _newton(*function(data, x))


def _newton(value: Array, slope: Array) -> Array:
    usable = (slope > 0) & jnp.isfinite(slope)
    return jnp.where(usable, -value / jnp.where(usable, slope, 1.0), 0.0)


def _centred(utility: Array) -> Array:
    """The utility less its largest: so a constant added to it leaves no rounding behind."""
    return utility - jnp.max(utility, axis=-1, keepdims=True)


def _log(p: Array) -> Array:
    """The logarithm, -inf where p <= 0."""
    inside = p > 0
    return jnp.where(inside, jnp.log(jnp.where(inside, p, 1.0)), -jnp.inf)
