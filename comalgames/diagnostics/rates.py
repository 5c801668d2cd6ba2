"""How fast a recorded gap fell: by a factor a step, like a power of the steps, or by neither law."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from comalgames import validation

# Gaps this many times the size of their rounding errors still show a law; smaller ones show rounding.
ABOVE_ROUNDING = 50.0

# What a law must have been seen for: decades of the gap for a factor, decades of the steps for a power.
DECADES = {"linear": 3.0, "power": 1.5}

# Each quarter of a window falls as much as an average one, up to this factor. (exp(-sqrt(t)), no law of ours,
# misses it in both coordinates.)
STEADY = 1.5

# Quarters that fall more and more, or less and less, are no swings but a bend. That of exp(-t^2) can stay
# within the factor above: then those of a factor a step must be more alike.
#
# Where they are not, the start may have been of another kind: the window then begins later, after these
# shares of it, and its quarters must be more alike. (exp(-sqrt(t)) misses that too, from wherever one looks.)
LATER, STEADIER = (0.25, 0.44), 1.15

# Fewer records in the window decide nothing; both laws are compared on at most twice SAMPLES records.
FEWEST, SAMPLES = 8, 50

# In residuals of logarithms, rounding; and by this difference in AIC one law is refuted beside the other.
ROUNDING, DECISIVE = 1e-12, 10.0

COORDINATE: dict[str, Callable[[np.ndarray], np.ndarray]] = {"linear": lambda steps: steps, "power": np.log}
WORDS = {"linear": "a factor a step", "power": "a power of the steps"}


class RateFit(NamedTuple):
    """What `fit_rate` returns.

    Attributes:
        kind: "linear" (a factor a step), "power" (a power of the steps), or "none" (see `reason`).
        rate: linear: the factor per unit of the steps, below 1; power: the exponent, below 0; none: nan.
        window: first and last step that was looked at, after burn-in and before rounding; (nan, nan) where
            nothing was left.
        level: what the law says of the gap at the window's first step.
        decades: by how many powers of ten the largest gap still to come fell within the window.
        evidence: AIC of the other law minus that of this one, on the same few records; nan for "none".
        variance_ratio: the other law's residual variance in units of this one's.
        reason: why there is no rate; empty where there is one.
    """

    kind: str
    rate: float
    window: tuple[float, float]
    level: float
    decades: float
    evidence: float
    variance_ratio: float
    reason: str

    def at(self, steps: Any) -> np.ndarray:
        """The gap that the law says at these steps; nan for "none".

        Args:
            steps: numbers of steps, above 0 for a power.
        """
        steps, first = np.asarray(steps, np.float64), self.window[0]
        if self.kind == "power":
            return np.asarray(self.level * (steps / first) ** self.rate)
        return np.asarray(self.level * np.exp((steps - first) * np.log(self.rate)))


def fit_rate(steps: Any, gaps: Any, *, floor: float | None = None, burn_in: float = 0.2) -> RateFit:
    """How fast a gap falls: `factor^steps`, `steps^exponent`, or neither.

    Looks at the largest gap still to come, `max_{s >= t} gap_s`, so that a gap that swings counts by its
    swings' tops. Of its fall in log gap the first fifth is burn-in, and what is below 50 roundings is left
    out. Two lines are fitted to the log gap of the same 100 or fewer records, half of them evenly spaced in
    the steps and half in their logarithm: one in the steps, one in their logarithm. The one with the smaller
    AIC is reported if it was seen for long enough (a gap that falls by 3 decades, or steps that grow by 1.5)
    and if every quarter of the window falls like the whole and they show no bend (else the window may begin
    later). Its rate then
    is the slope of a line with weights that vanish towards the ends of the window, so that it does not matter
    where in a swing those are.

    AIC takes residuals for independent, which those of a curve are not: read `evidence` with
    `variance_ratio`. Records must be dense enough to see the tops; a law that sets in after the window says
    nothing of what comes later.

    Args:
        steps: the step of each record, rising, `[num_records]`; or queries, or any other count. The rate is
            per unit of it. A record at step 0 is left out.
        gaps: a gap, distance or divergence that is 0 where the run should end, `[num_records]`.
        floor: the size of rounding errors in `gaps`; by default the precision of their type, times the
            largest gap where that is above 1. A KL divergence is exact to the precision's square: say so.
        burn_in: share of the fall in log gap that is left out at the start, in [0, 1).

    Raises:
        ValueError: `steps` and `gaps` are not two lists of numbers of one length, steps do not rise from 0 or
            more, a gap is clearly negative, or `floor` or `burn_in` is out of range.

    Example:
        >>> steps = np.arange(400)
        >>> fit = cg.diagnostics.fit_rate(steps, 0.9**steps)
        >>> fit.kind, round(fit.rate, 6), fit.window
        ('linear', 0.9, (61.0, 304.0))

    Reference: Akaike, "A New Look at the Statistical Model Identification", 1974.
    """
    steps, gaps, floor = _checked(steps, gaps, floor, burn_in)
    if not np.all(np.isfinite(gaps)):
        return _nothing(f"it is not finite at step {steps[~np.isfinite(gaps)][0]:g}")
    steps, gaps = steps[steps > 0], gaps[steps > 0]
    envelope = np.maximum.accumulate(gaps[::-1])[::-1]
    kept = int(np.count_nonzero(envelope > ABOVE_ROUNDING * floor))
    if kept == 0:
        return _nothing("it is at rounding from the first record on")
    if kept == len(gaps):
        kept = _last_top(gaps)
    t, log_gap = steps[:kept], np.log(envelope[:kept])
    begun = log_gap < log_gap[0] - burn_in * (log_gap[0] - log_gap[-1])
    # The last record before the fall is under way, for the first one after may be far down.
    start = max(int(np.argmax(begun)) - 1, 0)
    found = _judge(t[start:], log_gap[start:], STEADY)
    for share in LATER:
        if found.kind != "none":
            break
        begin = int(np.searchsorted(t, t[start] + share * (t[-1] - t[start])))
        again = _judge(t[begin:], log_gap[begin:], STEADIER)
        found = again if again.kind == "linear" else found
    return found


def _judge(t: np.ndarray, log_gap: np.ndarray, steady: float) -> RateFit:
    """The better law of the two if it holds on the window, steadily up to this factor."""
    window = (float(t[0]), float(t[-1]))
    seen = {"linear": (log_gap[0] - log_gap[-1]) / math.log(10), "power": math.log10(t[-1] / t[0])}
    decades = float(seen["linear"])

    def none(reason: str) -> RateFit:
        return _nothing(reason, window, decades)

    if decades == 0:
        return none("its largest value still to come does not fall")
    if len(t) < FEWEST:
        return none(f"it has {len(t)} records between burn-in and rounding, fewer than {FEWEST}")
    chosen = np.unique(np.concatenate([_even(x(t), SAMPLES) for x in COORDINATE.values()]))
    variance = {kind: _variance(x(t[chosen]), log_gap[chosen]) for kind, x in COORDINATE.items()}
    better = min(variance, key=lambda kind: variance[kind])
    complaints = {kind: _complaint(kind, t, log_gap, seen[kind], steady) for kind in COORDINATE}
    evidence = len(chosen) * math.log(max(variance.values()) / min(variance.values()))
    kind = better
    if complaints[better]:
        (kind,) = set(COORDINATE) - {better}
        if complaints[kind] or evidence > DECISIVE:
            return none(complaints[better])
        evidence = -evidence
    (other,) = set(COORDINATE) - {kind}
    x = COORDINATE[kind](t)
    middle, height, slope = _tapered_line(x, log_gap)
    return RateFit(
        kind=kind,
        rate=math.exp(slope) if kind == "linear" else slope,
        window=window,
        level=math.exp(height + slope * (x[0] - middle)),
        decades=decades,
        evidence=evidence,
        variance_ratio=variance[other] / variance[kind],
        reason="",
    )


def _complaint(kind: str, t: np.ndarray, log_gap: np.ndarray, seen: float, steady: float) -> str:
    """Why a law does not hold on a window, or has not been seen for long enough; empty if it holds."""
    of = {"linear": "the gap falls by", "power": "steps grow by"}[kind]
    if seen < DECADES[kind]:
        return f"{WORDS[kind]} fits better, but {of} {seen:.2g} decades only, less than {DECADES[kind]:g}"
    x = COORDINATE[kind](t)
    falls = -np.diff(np.interp(np.linspace(x[0], x[-1], 5), x, log_gap))
    bends = np.all(np.diff(falls) > 0) or np.all(np.diff(falls) < 0)
    steady = STEADIER if bends and kind == "linear" else steady
    if falls.min() * steady < falls.mean() or falls.max() > steady * falls.mean():
        return f"{WORDS[kind]} fits better, but its quarters fall by {', '.join(f'{f:.3g}' for f in falls)}"
    return ""


def _nothing(
    reason: str, window: tuple[float, float] = (math.nan, math.nan), decades: float = 0.0
) -> RateFit:
    return RateFit("none", math.nan, window, math.nan, decades, math.nan, math.nan, reason)


def _last_top(gaps: np.ndarray) -> int:
    """How many records to keep of a run that ended above rounding.

    After the last top of a gap that swings, the largest gap still to come follows it down into the trough,
    for the run does not show the next top.
    """
    rises = np.flatnonzero(np.diff(gaps) > 0) + 1
    return int(rises[-1]) + 1 if len(rises) and rises[-1] > len(gaps) / 2 else len(gaps)


def _even(x: np.ndarray, count: int) -> np.ndarray:
    """Indices of records at about evenly spaced values of the rising `x`."""
    return np.unique(np.round(np.interp(np.linspace(x[0], x[-1], count), x, np.arange(len(x)))).astype(int))


def _variance(x: np.ndarray, y: np.ndarray) -> float:
    """Residual variance of the line of least squares."""
    x, y = x - x.mean(), y - y.mean()
    return float(np.mean((y - x * (x @ y) / (x @ x)) ** 2)) + ROUNDING**2


def _tapered_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Middle, height there and slope of the least-squares line, weighted by sin^2 over the window.

    Under these weights a swing of period q moves the slope over a window L by (q / L)^4 of its size in
    units of 1 / L, and with equal weights by (q / L).
    """
    spacing = np.gradient(x)
    weight = spacing * np.sin(np.pi * (x - x[0]) / (x[-1] - x[0])) ** 2
    weight = weight / weight.sum()
    middle, height = float(weight @ x), float(weight @ y)
    return middle, height, float(weight @ ((x - middle) * (y - height)) / (weight @ (x - middle) ** 2))


def _checked(steps: Any, gaps: Any, floor: Any, burn_in: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """The arguments in float64, and a floor."""
    kind = np.asarray(gaps).dtype
    steps = validation.real_array("steps", steps).astype(np.float64)
    try:
        gaps = np.asarray(gaps, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`gaps` must hold real numbers, one per record: {error}.") from error
    if steps.ndim != 1 or gaps.shape != steps.shape or len(steps) == 0:
        raise ValueError(
            f"`steps` and `gaps` must be two lists of one length, got shapes {steps.shape} and {gaps.shape}; "
            f"fit the gaps of several runs one by one."
        )
    if steps[0] < 0 or np.any(np.diff(steps) <= 0):
        raise ValueError(f"`steps` must rise from 0 or more, got {steps}.")
    if floor is None:
        largest = np.max(gaps, initial=1.0, where=np.isfinite(gaps))
        floor = float(np.finfo(kind if kind.kind == "f" else np.float64).eps) * float(largest)
    else:
        validation.non_negative("floor", floor)
    validation.non_negative("burn_in", burn_in)
    if not burn_in < 1:
        raise ValueError(f"`burn_in` must be a share in [0, 1), got {burn_in!r}.")
    if np.min(gaps, initial=0.0, where=np.isfinite(gaps)) < -ABOVE_ROUNDING * floor:
        raise ValueError(f"`gaps` must be >= 0 up to rounding, got {np.nanmin(gaps):g}; pass distances.")
    return steps, gaps, floor
