"""Numerical test of the properties of a regularizer, for developing new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import validation
from comalgames.regularizers.checks import WRONG_SIZE, check_form, no_number
from comalgames.regularizers.divergences import Regularizer, name

Evaluate: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


class RegularizerReport(NamedTuple):
    """The result of `check_regularizer`.

    Attributes:
        finite: whether all values and derivatives are finite at policies without zeros.
        differentiable: whether the gradient by JAX equals the one-sided slopes, also at the reference.
        convex: whether the regularizer is convex along all tested segments between policies.
        strictly_convex: whether it is strictly convex along them; regularized equilibria are then unique.
        minimal_at_reference: whether the regularizer is minimized at the reference.
        zero_at_reference: whether its value at the reference is 0.
        depends_on_reference: whether differences of values between policies depend on the reference.
        curved_at_reference: whether its second derivative at the reference is finite, and positive in all
            directions.
        finite_at_boundary: whether it has a finite limit as a probability converges to 0.
        suits_comal: whether the first eight properties hold, except for `zero_at_reference`.
        sentences: the consequences for COMAL, in words.
    """

    finite: bool
    differentiable: bool
    convex: bool
    strictly_convex: bool
    minimal_at_reference: bool
    zero_at_reference: bool
    depends_on_reference: bool
    curved_at_reference: bool
    finite_at_boundary: bool
    suits_comal: bool
    sentences: tuple[str, ...]

    def __repr__(self) -> str:
        findings = zip(self._fields[:-1], self, strict=False)
        lines = [f"{field.replace('_', ' '):<22}{'yes' if holds else 'no'}" for field, holds in findings]
        return "\n".join([*lines, *self.sentences])


# Consequences of a property that does not hold; for the boundary, of both cases.
CONSEQUENCES = {
    "finite": "It is nan or infinite at policies without zeros: runs that reach them become non-finite.",
    "differentiable": "Its slope jumps, or differs from the gradient by JAX: gradient steps need not "
    "converge, and Newton's method does not find regularized equilibria.",
    "convex": "It is not convex: regularized games may have several equilibria or none, and no convergence "
    "guarantee applies, inside or outside of COMAL.",
    "strictly_convex": "It is constant or linear along some direction: it does not damp cycling there, and "
    "regularized games may have many equilibria.",
    "minimal_at_reference": "It is not minimized at the reference: at a fixed point of COMAL, where policy "
    "and reference are equal, its gradient is not 0, so that the fixed point is not a Nash policy.",
    "zero_at_reference": "Its value at the reference is not 0: this changes no step, only reported values.",
    "depends_on_reference": "It ignores the reference: COMAL cannot move the regularized equilibrium, and "
    "refuses it.",
    "curved_at_reference": "It has no finite positive curvature at the reference, where COMAL's fixed points "
    "are: near them it does not damp cycling, and no step size of an inner rule is small enough or large "
    "enough for it.",
}
SUITS = "It is suitable for COMAL, whose fixed points without zeros are then the Nash policies."
INTERIOR = "It is unbounded near the boundary: regularized equilibria have only positive probabilities."
BOUNDARY = "It is finite at the boundary: whether regularized equilibria reach it depends on its slope there."

# Numbers of random segments and references, and tolerance of values relative to their size and to the scale
# of the regularizer.
NUM_SEGMENTS, NUM_REFERENCES, TOLERANCE = 2000, 20, 1e-10


def check_regularizer(
    regularizer: Regularizer, num_actions: int = 4, reference: Any = None
) -> RegularizerReport:
    """Test numerically whether a function is a regularizer that is suitable for COMAL.

    The test evaluates the function at thousands of random policies in float64. A property is reported as
    missing if a counter-example was found, and as present if none was found. A positive factor in front of
    the regularizer has no effect on the result.

    Args:
        regularizer: a function `(p, reference) -> number` of two probability vectors.
        num_actions: number of actions of the test policies, >= 2.
        reference: positive probabilities `[num_actions]` of the reference; random ones by default.

    Returns:
        A `RegularizerReport`, whose `repr` is a table with explanations.

    Raises:
        ValueError: `regularizer` is not a function of two policies that returns one real number,
            `num_actions` is not a whole number >= 2, or `reference` is not a policy without zeros.

    Example:
        >>> cg.regularizers.check_regularizer(cg.regularizers.entropy).sentences[-2]
        'It ignores the reference: COMAL cannot move the regularized equilibrium, and refuses it.'
    """
    check_form(regularizer)
    n = validation.count("num_actions", num_actions, minimum=2)
    rng = np.random.default_rng(0)
    references = _policies(rng, NUM_REFERENCES, n)
    if reference is not None:
        references = np.broadcast_to(validation.policy("reference", reference, n), references.shape)
    with jax.enable_x64(True):
        _check_call(regularizer, references[0])
        scale = _scale(_over_pairs(regularizer, "()"), references)
        value = _over_pairs(lambda p, reference: regularizer(p, reference) / scale, "()")
        slope = _over_pairs(jax.grad(lambda p, reference: regularizer(p, reference) / scale), "(n)")
        finite = _is_finite(value, slope, rng, references)
        convex, strictly = _is_convex(value, rng, references)
        minimal, zero = _is_minimal(value, rng, references)
        properties = {
            "finite": finite,
            "differentiable": _is_differentiable(value, slope, rng, references),
            "convex": convex,
            "strictly_convex": strictly,
            "minimal_at_reference": minimal,
            "zero_at_reference": zero,
            "depends_on_reference": _depends(value, rng, n),
            "curved_at_reference": _is_curved(regularizer, rng, references, reference is None),
        }
        at_boundary = _is_finite_at_boundary(value, references)
    suits = all(holds for key, holds in properties.items() if key != "zero_at_reference")
    sentences = [CONSEQUENCES[key] for key, holds in properties.items() if not holds]
    if properties["finite"]:
        sentences.append(BOUNDARY if at_boundary else INTERIOR)
    return RegularizerReport(
        **properties,
        finite_at_boundary=at_boundary,
        suits_comal=suits,
        sentences=((SUITS, *sentences) if suits else tuple(sentences)),
    )


def _check_call(regularizer: Regularizer, policy: np.ndarray) -> None:
    """Raise a ValueError unless the regularizer accepts policies of this size and returns a number."""
    try:
        out = jax.eval_shape(regularizer, policy, policy)
    except WRONG_SIZE as error:
        raise ValueError(
            f"`regularizer` {name(regularizer)!r} cannot be called by JAX with policies over {len(policy)} "
            f"actions ({str(error).splitlines()[0]}). Pass the `num_actions` that it accepts, and write it "
            f"in jax.numpy."
        ) from error
    complaint = no_number(regularizer, len(policy), out)
    if complaint:
        raise ValueError(complaint)


def _over_pairs(function: Any, out: str) -> Evaluate:
    compiled = jax.jit(jnp.vectorize(function, signature=f"(n),(n)->{out}"))
    return lambda p, reference: np.asarray(compiled(p, reference))


def _scale(value: Evaluate, references: np.ndarray) -> float:
    """The median increase of a regularizer from a reference to a policy; 1 if it is 0 or not finite.

    It is rounded to a power of two, by which values are divided without rounding errors.
    """
    policies = _policies(np.random.default_rng(1), len(references), references.shape[-1])
    change = np.median(np.abs(value(policies, references) - value(references, references)))
    return float(2.0 ** np.round(np.log2(change))) if np.isfinite(change) and change > 0 else 1.0


def _policies(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Random policies, half spread over the simplex, half near its boundary, with p_i >= 1e-3 / n."""
    anywhere, near = (rng.dirichlet(np.full(n, spread), count) for spread in (1.0, 0.3))
    return 0.999 * np.where(np.arange(count)[:, None] % 2 == 0, anywhere, near) + 0.001 / n


def _pairs(rng: np.random.Generator, references: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs of a policy and a reference, a tenth of them with policy = reference."""
    chosen = references[rng.integers(0, len(references), count)]
    policies = _policies(rng, count, references.shape[-1])
    return np.where(np.arange(count)[:, None] % 10 == 0, chosen, policies), chosen


def _size(values: np.ndarray) -> np.ndarray:
    sizes: np.ndarray = 1.0 + np.abs(values)
    return sizes


def _is_finite(value: Evaluate, slope: Evaluate, rng: np.random.Generator, references: np.ndarray) -> bool:
    pairs = _pairs(rng, references, NUM_SEGMENTS)
    return bool(np.all(np.isfinite(value(*pairs))) and np.all(np.isfinite(slope(*pairs))))


def _is_convex(value: Evaluate, rng: np.random.Generator, references: np.ndarray) -> tuple[bool, bool]:
    """Whether a function is convex, and strictly convex, along random segments and single exchanges."""
    (p, chosen), n = _pairs(rng, references, NUM_SEGMENTS), references.shape[-1]
    q = _policies(rng, NUM_SEGMENTS, n)
    give, take = rng.integers(0, n, (2, NUM_SEGMENTS))
    exchange = 0.9 * np.take_along_axis(p, give[:, None], -1) * (np.eye(n)[take] - np.eye(n)[give])
    is_exchange = (np.arange(NUM_SEGMENTS)[:, None] % 2 == 1) & (give != take)[:, None]
    q = np.where(is_exchange, p + exchange, q)
    ends, middle = (value(p, chosen) + value(q, chosen)) / 2, value((p + q) / 2, chosen)
    rounding = TOLERANCE * _size(ends)
    # The sag of a strictly convex function is about its curvature times the squared length.
    sag = (ends - middle) / np.maximum(np.sum((p - q) ** 2, -1), 1e-6)
    return bool(np.all(middle <= ends + rounding)), bool(np.all(sag > TOLERANCE * _size(ends)))


def _is_minimal(value: Evaluate, rng: np.random.Generator, references: np.ndarray) -> tuple[bool, bool]:
    """Whether a function is minimized at the reference, and whether the minimum is 0."""
    p, chosen = _pairs(rng, references, NUM_SEGMENTS)
    share = 10.0 ** rng.uniform(-4, 0, (NUM_SEGMENTS, 1))
    values, least = value(chosen + share * (p - chosen), chosen), value(chosen, chosen)
    rounding = TOLERANCE * _size(least)
    return bool(np.all(values >= least - rounding)), bool(np.all(np.abs(least) <= rounding))


def _is_differentiable(
    value: Evaluate, slope: Evaluate, rng: np.random.Generator, references: np.ndarray
) -> bool:
    """Whether both one-sided slopes along random directions agree with the gradient by JAX."""
    p, chosen = _pairs(rng, references, NUM_SEGMENTS)
    towards = rng.normal(size=p.shape)
    towards -= towards.mean(-1, keepdims=True)
    towards /= np.abs(towards).max(-1, keepdims=True)
    here, rise = value(p, chosen), np.sum(slope(p, chosen) * towards, -1)
    errors = []
    for share in (1e-3, 1e-5):
        length = share * p.min(-1)
        ahead, back = (value(p + sign * length[:, None] * towards, chosen) for sign in (1, -1))
        errors.append(
            np.maximum(np.abs((ahead - here) / length - rise), np.abs((here - back) / length - rise))
        )
    # For a smooth function the error decreases with the length, down to rounding error over length.
    rounding = 1e-15 * _size(here) / (1e-5 * p.min(-1))
    return bool(np.all(errors[1] <= 0.3 * errors[0] + 10 * rounding))


def _is_curved(
    regularizer: Regularizer, rng: np.random.Generator, references: np.ndarray, mixes: bool
) -> bool:
    """Whether the Hessian at references is finite, and positive in all directions that sum to 0.

    Args:
        regularizer: a function of a policy and a reference.
        rng: source of policies away from the references.
        references: positive policies `[references, n]`.
        mixes: whether to move them halfway to uniform, because curvatures at small probabilities can be a
            rounding error of others.
    """
    n = references.shape[-1]
    places = (references + 1 / n) / 2 if mixes else references[:1]
    hessian = jax.vmap(jax.hessian(regularizer))
    halfway = (places + _policies(rng, len(places), n)) / 2
    here, away = (np.asarray(hessian(jnp.asarray(p), jnp.asarray(places))) for p in (places, halfway))
    if not np.all(np.isfinite(here)):
        return False

    def is_positive(lengths: np.ndarray) -> np.ndarray:
        """Above rounding errors, for changes `lengths * v` of the probabilities, where v has length 1."""
        directions = np.linalg.svd(lengths[:, None, :])[2][:, 1:]
        scaled, other = (each * lengths[:, :, None] * lengths[:, None, :] for each in (here, away))
        least = np.linalg.eigvalsh(directions @ scaled @ np.swapaxes(directions, 1, 2))[:, 0]
        # Entries can cancel along directions, and all of them can be rounding errors of those elsewhere.
        largest = np.fmax(np.abs(scaled).max((1, 2)), np.abs(other).max((1, 2)))
        return np.asarray(least > TOLERANCE * largest)

    # Of a small probability, KL has a large curvature, but not in units of its square root. That of squares
    # is the other way around.
    return bool(np.all(is_positive(np.ones_like(places)) | is_positive(np.sqrt(places))))


def _depends(value: Evaluate, rng: np.random.Generator, n: int) -> bool:
    """Whether the difference of the values at two policies depends on the reference."""
    p, q, first, second = _policies(rng, 4 * NUM_REFERENCES, n).reshape(4, -1, n)
    change = (value(p, first) - value(q, first)) - (value(p, second) - value(q, second))
    return not bool(np.all(np.abs(change) <= TOLERANCE * _size(value(p, first) + value(q, first))))


def _is_finite_at_boundary(value: Evaluate, references: np.ndarray) -> bool:
    """Whether the increments vanish as one log-probability decreases to -100, -200 and -300."""
    rest = references / (1 - references[:, :1])
    levels = []
    for log_probability in (-100.0, -200.0, -300.0):
        p = rest * (1 - np.exp(log_probability))
        p[:, 0] = np.exp(log_probability)
        levels.append(value(p, references))
    increments = np.abs(np.diff(levels, axis=0))
    return bool(np.all(increments[1] <= np.maximum(0.9 * increments[0], TOLERANCE * _size(levels[0]))))
