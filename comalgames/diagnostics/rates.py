"""Fit of a convergence rate to a recorded gap: linear, a power of the steps, or neither."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from comalgames import validation

# Gaps below this multiple of their rounding errors are left out of the fit.
ABOVE_ROUNDING = 50.0

# Range that the window must cover: decades of the gap for a linear rate, decades of the steps for a power.
DECADES = {"linear": 3.0, "power": 1.5}

# Largest ratio between the decrease over a quarter of the window and the mean decrease of the quarters.
# exp(-sqrt(t)), which is neither linear nor a power, exceeds it in both coordinates.
STEADY = 1.5

# Quarters whose decreases grow or shrink monotonically indicate curvature rather than oscillation. The
# curvature of exp(-t^2) can stay within the ratio above, so that STEADIER replaces it for a linear rate.
#
# Otherwise a transient may precede the linear phase: the window then begins later, after these shares of it,
# with STEADIER as the ratio. exp(-sqrt(t)) exceeds that too, for every beginning of the window.
LATER, STEADIER = (0.25, 0.44), 1.15

# A power with a logarithmic factor, (log t)^k t^a, is almost a line in log t: its slope a + k / log t changes
# slowly. The slope of a shifted power (t + c)^a changes too, but as 1 / t. A power is reported if a shifted
# power leaves less variance than a power with |k| >= LEAST_LOGARITHM, by at least the factor DISTINCT. Both
# are fitted to means over BINS equal parts of log t, which smooth oscillations; c is one of SHIFTS, in units
# of the first step.
LEAST_LOGARITHM, DISTINCT, BINS, PER_BIN = 0.5, 2.0, 16, 8
SHIFTS = (0.0, *(10 ** (k / 8) for k in range(-16, 9)), *(-(10 ** (k / 8)) for k in range(-16, 0)))

# Smallest number of records in the window; the two models are compared on at most twice SAMPLES records.
FEWEST, SAMPLES = 8, 50

# Rounding error in residuals of logarithms, and difference in AIC from which one model is rejected.
ROUNDING, DECISIVE = 1e-12, 10.0

COORDINATE: dict[str, Callable[[np.ndarray], np.ndarray]] = {"linear": lambda steps: steps, "power": np.log}
WORDS = {"linear": "a linear rate", "power": "a power of the steps"}


class RateFit(NamedTuple):
    """The result of `fit_rate`.

    Attributes:
        kind: "linear" (a constant factor per step), "power" (a pure power of them) or "none" (see `reason`).
        rate: linear: the factor per unit of the steps, below 1; power: the exponent, below 0; none: nan.
        window: first and last step of the fit, after burn-in and before rounding errors dominate; (nan, nan)
            if no record is left.
        level: fitted gap at the first step of the window.
        decades: decrease of the largest gap still to come within the window, in powers of ten.
        evidence: AIC of the other model minus AIC of this one, on the same records; nan for "none".
        variance_ratio: residual variance of the other model divided by that of this one.
        reason: the reason why there is no rate; empty if there is one.
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
        """The fitted gap at the given steps; nan for "none".

        Args:
            steps: numbers of steps, above 0 for a power.
        """
        steps, first = np.asarray(steps, np.float64), self.window[0]
        if self.kind == "power":
            return np.asarray(self.level * (steps / first) ** self.rate)
        return np.asarray(self.level * np.exp((steps - first) * np.log(self.rate)))


def fit_rate(steps: Any, gaps: Any, *, floor: float | None = None, burn_in: float = 0.2) -> RateFit:
    """Fit the convergence rate of a gap: `factor^steps`, `steps^exponent`, or neither.

    The fit uses the envelope `max_{s >= t} gap_s`, so that an oscillating gap counts by its maxima. The first
    fifth of the decrease in log gap is discarded as burn-in, and so are gaps below 50 times their rounding
    errors. Two lines are fitted to the log gap of the same 100 or fewer records, half of them evenly spaced
    in the steps and half in their logarithm: one line in the steps, one in their logarithm. The line with the
    smaller AIC is reported if the window is long enough (3 decades of the gap, or 1.5 decades of the steps),
    if the decreases over its quarters are similar, and if they show no curvature (otherwise the window may
    begin later). A power with a logarithmic factor, such as `log(t) / t`, is no pure power and has no rate;
    nor has one whose transient, oscillations or noise may hide such a factor. The reason says which of the
    two it is, and gives the range of the exponent. The reported rate is the slope of a line with weights that
    vanish at both ends of the window, which makes it insensitive to the phase of an oscillation there.

    AIC assumes independent residuals, which those of a smooth curve are not: read `evidence` together with
    `variance_ratio`. Records must be dense enough to resolve the maxima of the gap, and a change of rate
    after the window cannot be detected.

    Args:
        steps: the step of each record, increasing, `[num_records]`; or queries, or any other count. The rate
            is per unit of it. A record at step 0 is left out.
        gaps: a gap, distance or divergence that converges to 0, `[num_records]`.
        floor: the size of rounding errors in `gaps`; by default the precision of their type, times the
            largest gap if that is above 1. The rounding errors of a KL divergence near 0 are of the size of
            the precision squared: pass `floor` for it.
        burn_in: share of the decrease in log gap that is discarded at the start, in [0, 1).

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
        return _nothing(f"the gap is not finite at step {steps[~np.isfinite(gaps)][0]:g}")
    steps, gaps = steps[steps > 0], gaps[steps > 0]
    envelope = np.maximum.accumulate(gaps[::-1])[::-1]
    kept = int(np.count_nonzero(envelope > ABOVE_ROUNDING * floor))
    if kept == 0:
        return _nothing("all gaps are of the size of rounding errors")
    if kept == len(gaps):
        kept = _last_top(gaps)
    t, log_gap = steps[:kept], np.log(envelope[:kept])
    begun = log_gap < log_gap[0] - burn_in * (log_gap[0] - log_gap[-1])
    # The last record of the burn-in begins the window: the next record may already be far below it.
    start = max(int(np.argmax(begun)) - 1, 0)
    fit = _fit_window(t[start:], log_gap[start:], STEADY)
    for share in LATER:
        if fit.kind != "none":
            break
        begin = int(np.searchsorted(t, t[start] + share * (t[-1] - t[start])))
        later = _fit_window(t[begin:], log_gap[begin:], STEADIER)
        fit = later if later.kind == "linear" else fit
    return fit


def _fit_window(t: np.ndarray, log_gap: np.ndarray, steady: float) -> RateFit:
    """The fit of the better model on a window; "none" if its quarters differ by more than `steady`."""
    window = (float(t[0]), float(t[-1]))
    seen = {"linear": (log_gap[0] - log_gap[-1]) / math.log(10), "power": math.log10(t[-1] / t[0])}
    decades = float(seen["linear"])

    def none(reason: str) -> RateFit:
        return _nothing(reason, window, decades)

    if decades == 0:
        return none("the largest gap still to come does not fall")
    if len(t) < FEWEST:
        return none(f"{len(t)} records lie between burn-in and rounding error, fewer than {FEWEST}")
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
    """The reason why a model does not fit a window, or why the window is too short; empty if it fits."""
    of = {"linear": "the gap falls by", "power": "the steps grow by"}[kind]
    if seen < DECADES[kind]:
        return f"{WORDS[kind]} fits better, but {of} only {seen:.2g} decades, less than {DECADES[kind]:g}"
    x = COORDINATE[kind](t)
    falls = -np.diff(np.interp(np.linspace(x[0], x[-1], 5), x, log_gap))
    bends = np.all(np.diff(falls) > 0) or np.all(np.diff(falls) < 0)
    steady = STEADIER if bends and kind == "linear" else steady
    if falls.min() * steady < falls.mean() or falls.max() > steady * falls.mean():
        unequal = ", ".join(f"{fall:.3g}" for fall in falls)
        return f"{WORDS[kind]} fits better, but over the quarters of the window log gap falls by {unequal}"
    if kind == "power":
        shifted, logarithmic = _rivals(x, log_gap)
        first, last = -falls[[0, -1]] * 4 / (x[-1] - x[0])
        exponents = (
            f"{WORDS[kind]} fits better, but its exponent is {first:.3g} in the first quarter of the window "
            f"and {last:.3g} in the last"
        )
        if DISTINCT * logarithmic < shifted:
            return f"{exponents}, as if by a logarithmic factor, such as that of log(t) / t"
        if logarithmic < DISTINCT * shifted:
            return f"{exponents}, so that a pure power cannot be distinguished from one with a factor log(t)"
    return ""


def _rivals(x: np.ndarray, log_gap: np.ndarray) -> tuple[float, float]:
    """Residual variances of shifted powers, and of powers with a logarithmic factor, over `x = log t`."""
    # The envelope of an oscillating gap is a staircase: lines between the ends of its steps replace it.
    ends = np.append(np.diff(log_gap) < 0, True)
    x, log_gap = x[ends], log_gap[ends]
    fine = np.linspace(x[0], x[-1], BINS * PER_BIN + 1)
    fine = (fine[1:] + fine[:-1]) / 2

    def means(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.reshape(BINS, PER_BIN).mean(-1))

    y, line = means(np.interp(fine, x, log_gap)), means(fine)
    since = fine - x[0]
    shifted = min(_variance(means(np.log(np.exp(since) + c)), y) for c in SHIFTS)
    # The unit of the steps is arbitrary: the logarithm counts from 1 where they begin below e.
    logarithm = means(np.log(since + max(x[0], 1.0)))
    design = np.stack([np.ones(BINS), line, logarithm], axis=1)
    power = float(np.linalg.lstsq(design, y, rcond=None)[0][2])
    tried = (power,) if abs(power) >= LEAST_LOGARITHM else (LEAST_LOGARITHM, -LEAST_LOGARITHM)
    return shifted, min(_variance(line, y - k * logarithm) for k in tried)


def _nothing(
    reason: str, window: tuple[float, float] = (math.nan, math.nan), decades: float = 0.0
) -> RateFit:
    return RateFit("none", math.nan, window, math.nan, decades, math.nan, math.nan, reason)


def _last_top(gaps: np.ndarray) -> int:
    """Number of records to keep of a run that ended above rounding error.

    After the last maximum of an oscillating gap the envelope follows the gap into its trough, because the
    next maximum lies beyond the end of the run.
    """
    rises = np.flatnonzero(np.diff(gaps) > 0) + 1
    return int(rises[-1]) + 1 if len(rises) and rises[-1] > len(gaps) / 2 else len(gaps)


def _even(x: np.ndarray, count: int) -> np.ndarray:
    """Indices of records at about evenly spaced values of the increasing `x`."""
    return np.unique(np.round(np.interp(np.linspace(x[0], x[-1], count), x, np.arange(len(x)))).astype(int))


def _variance(x: np.ndarray, y: np.ndarray) -> float:
    """Residual variance of the least-squares line."""
    x, y = x - x.mean(), y - y.mean()
    return float(np.mean((y - x * (x @ y) / (x @ x)) ** 2)) + ROUNDING**2


def _tapered_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Midpoint, height at the midpoint and slope of the least-squares line weighted by sin^2 over the window.

    With these weights an oscillation of period q and amplitude a changes the slope over a window of length L
    by the order of (q / L)^4 a / L; with equal weights by (q / L) a / L.
    """
    spacing = np.gradient(x)
    weight = spacing * np.sin(np.pi * (x - x[0]) / (x[-1] - x[0])) ** 2
    weight = weight / weight.sum()
    middle, height = float(weight @ x), float(weight @ y)
    return middle, height, float(weight @ ((x - middle) * (y - height)) / (weight @ (x - middle) ** 2))


def _checked(steps: Any, gaps: Any, floor: Any, burn_in: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """The checked arguments in float64, and the floor."""
    kind = np.asarray(gaps).dtype
    steps = validation.real_array("steps", steps).astype(np.float64)
    try:
        gaps = np.asarray(gaps, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`gaps` must hold real numbers, one per record: {error}.") from error
    if steps.ndim != 1 or gaps.shape != steps.shape or len(steps) == 0:
        raise ValueError(
            f"`steps` and `gaps` must be two lists of the same length, at least 1, got shapes {steps.shape} "
            f"and {gaps.shape}; fit the gaps of several runs one by one."
        )
    if steps[0] < 0 or np.any(np.diff(steps) <= 0):
        raise ValueError(f"`steps` must be >= 0 and increasing, got {steps}.")
    if floor is None:
        largest = np.max(gaps, initial=1.0, where=np.isfinite(gaps))
        floor = float(np.finfo(kind if kind.kind == "f" else np.float64).eps) * float(largest)
    else:
        validation.non_negative("floor", floor)
    validation.non_negative("burn_in", burn_in)
    if not burn_in < 1:
        raise ValueError(f"`burn_in` must be a share in [0, 1), got {burn_in!r}.")
    if np.min(gaps, initial=0.0, where=np.isfinite(gaps)) < -ABOVE_ROUNDING * floor:
        raise ValueError(
            f"`gaps` must be >= 0 up to rounding error, got {np.nanmin(gaps):g}; pass gaps, distances or "
            f"divergences."
        )
    return steps, gaps, floor
