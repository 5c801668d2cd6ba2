"""Figure of a diagnosis: eigenvalues at the fixed point, and a run with the predicted rate."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from comalgames.diagnostics.diagnose import Diagnosis
from comalgames.plots.style import COLORS, FLOOR, in_style


def plot_diagnosis(diagnosis: Diagnosis) -> tuple[Axes, Axes]:
    """Plot the eigenvalues at the fixed point, and the run with the predicted rate.

    Args:
        diagnosis: a result of `diagnose`.

    Raises:
        ValueError: `diagnosis` is not a result of `diagnose`.
    """
    if not isinstance(diagnosis, Diagnosis):
        raise ValueError(f"`diagnosis` must be a result of `diagnose`, got a {type(diagnosis).__name__}.")
    from matplotlib import pyplot as plt

    with in_style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.6, 3.9), layout="constrained", width_ratios=(1.0, 1.35)
        )
        draw_multipliers(left, diagnosis)
        draw_measured(right, diagnosis)
        figure.suptitle(
            " ".join(repr(diagnosis.rule).split()).replace("( ", "(").replace(" )", ")"), fontsize=9.5
        )
    return left, right


def draw_multipliers(ax: Axes, diagnosis: Diagnosis) -> Axes:
    """Draw the eigenvalues of one round in the complex plane; errors grow outside of the unit circle."""
    prediction = diagnosis.prediction
    on, off = prediction.multipliers, prediction.decay
    free = 0 if prediction.point is None else prediction.point.dimension
    angle = np.linspace(0, 2 * np.pi, 400)
    ax.fill(np.cos(angle), np.sin(angle), color=COLORS[2], alpha=0.08, linewidth=0)
    ax.plot(np.cos(angle), np.sin(angle), color="0.3", linewidth=1, label="unit circle")
    ax.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    ax.axvline(0, color="0.8", linewidth=0.6, zorder=0)
    if on.size:
        label = "on the support, including memory"
        ax.plot(on.real, on.imag, "o", color=COLORS[0], markersize=6, label=label)
    if off.size:
        label = "probabilities off the support"
        ax.plot(off, np.zeros(len(off)), "^", color=COLORS[1], markersize=6, label=label)
    if free:
        label = f"along the Nash set (dimension {free})"
        ax.plot(
            [1], [0], "D", color="0.3", markerfacecolor="none", markersize=8, label=label, linestyle="none"
        )
    shown = np.abs(np.concatenate([on, off.astype(complex)]))
    finite = shown[np.isfinite(shown)]
    reach = 1.12 * max(1.0, finite.max(initial=0.0))
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
    of = "one step" if prediction.round_steps == 1 else "one round"
    if prediction.round_steps not in (1, None):
        of += f" of {prediction.round_steps} steps"
    largest = "" if np.isnan(prediction.radius) else f", largest modulus {prediction.radius:.5g}"
    ax.set_title(f"eigenvalues of {of}\n{prediction.verdict}{largest}")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1.0)
    return ax


def draw_measured(ax: Axes, diagnosis: Diagnosis) -> Axes:
    """Draw the measured values of a run, the largest values still to come, and the predicted rate."""
    steps, values = diagnosis.steps, diagnosis.measured
    known = np.isfinite(values) & (values > FLOOR)
    ax.set_title(f"run: {diagnosis.outcome}")
    ax.set_xlabel("steps")
    ax.set_ylabel(diagnosis.quantity)
    ax.set_yscale("log")
    if not known.any():
        ax.text(0.5, 0.5, "0 at all steps", transform=ax.transAxes, ha="center")
        return ax
    ax.plot(steps[known], values[known], color=COLORS[0], alpha=0.45, linewidth=0.9, label="measured")
    envelope = np.maximum.accumulate(values[known][::-1])[::-1]
    if diagnosis.fit.kind != "none":
        ax.plot(steps[known], envelope, color=COLORS[0], label="largest value still to come")
    prediction, fit = diagnosis.prediction, diagnosis.fit
    bottom = max(values[known].min() / 3, FLOOR)
    if fit.kind == "linear":
        first, last = fit.window
        at_first = float(np.interp(first, steps[known], envelope))
        ax.axvspan(first, last, color=COLORS[4], alpha=0.12, linewidth=0, label="window of the fit")
        slope = prediction.rate_per_step
        label = f"predicted factor per step: {slope:.5g} (measured {fit.rate:.5g})"
    else:
        first, last, slope = int(steps[0]), int(steps[-1]), prediction.rate_per_step
        at_first = float(values[known][0])
        label = f"predicted factor per step near the fixed point: {slope:.5g}"
    if np.isfinite(slope) and slope > 0:
        x = np.linspace(first, last, 200)
        line = at_first * np.exp(np.log(slope) * (x - first))
        shown = (line > bottom) & (line < 1.5 * envelope.max())
        ax.plot(x[shown], line[shown], color=COLORS[1], linestyle="--", linewidth=1.8, label=label)
    ax.set_ylim(bottom=bottom)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1.0)
    return ax
