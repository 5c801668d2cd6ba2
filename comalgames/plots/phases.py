"""Figure of a phase diagram: outcomes and rates over a grid of two parameters."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from comalgames.plots.style import in_style


def plot_phase(dataset: Any) -> tuple[Axes, Axes]:
    """Plot the outcomes and convergence rates of a phase diagram, with the predicted stability boundary.

    Args:
        dataset: a result of `phase_diagram`.

    Raises:
        ValueError: `dataset` is not a result of `phase_diagram`.
    """
    if not {"outcome", "rate", "radius"} <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be a result of `phase_diagram`, got {type(dataset).__name__}.")
    from matplotlib import pyplot as plt

    with in_style():
        _, (left, right) = plt.subplots(
            1, 2, figsize=(10.4, 4.4), layout="constrained", width_ratios=(1.0, 1.22)
        )
        draw_outcomes(left, dataset)
        left.set_title("outcome of the run")
        draw_rates(right, dataset)
        right.set_title("measured convergence rate")
    return left, right


# Nash, other fixed point, cycle, boundary, undecided; they differ in lightness too, for readers without
# colour vision.
OUTCOME_COLORS = ("#0072B2", "#56B4E9", "#E69F00", "#8C2D04", "#E8E8E8")


NAMES = {
    "step_size": "step size (1 / payoff)",
    "temperature": "temperature (payoff)",
    "period": "period (steps between moves)",
    "eta": "eta, inverse step (payoff)",
    "tau": "tau (payoff)",
    "beta": "beta",
}


def draw_outcomes(ax: Axes, dataset: Any, xlabel: str | None = None, ylabel: str | None = None) -> Axes:
    """Draw the outcome of each run as a colour, with the predicted stability boundary."""
    words = [str(word) for word in dataset.attrs["outcomes"]]
    x, y, codes = _grid(dataset, "outcome")
    colours = mpl.colors.ListedColormap(OUTCOME_COLORS[: len(words)])
    ax.pcolormesh(x, y, codes, cmap=colours, vmin=-0.5, vmax=len(words) - 0.5, shading="nearest")
    there = [k for k in range(len(words)) if np.any(codes == k)]
    handles: list[Any] = [
        mpl.patches.Patch(facecolor=OUTCOME_COLORS[k], edgecolor="0.5", label=words[k]) for k in there
    ]
    _boundary(ax, dataset, handles)
    _phase_axes(ax, dataset, xlabel, ylabel)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, columnspacing=1.0)
    return ax


def draw_rates(ax: Axes, dataset: Any, xlabel: str | None = None, ylabel: str | None = None) -> Axes:
    """Draw the number of steps per decimal digit as a colour, with the predicted stability boundary."""
    x, y, rate = _grid(dataset, "rate")
    with np.errstate(invalid="ignore", divide="ignore"):
        digits = np.where(rate < 1, -np.log(10) / np.log(rate), np.nan)
    ax.set_facecolor(OUTCOME_COLORS[-1])
    finite = digits[np.isfinite(digits)]
    if finite.size:
        low, high = max(float(finite.min()), 1e-3), float(finite.max())
        norm = mpl.colors.LogNorm(low, max(high, 1.01 * low))
        colours = ax.pcolormesh(
            x, y, np.ma.masked_invalid(digits), norm=norm, cmap="cividis_r", shading="nearest"
        )
        ax.figure.colorbar(colours, ax=ax, label="steps per decimal digit (measured)")
    handles: list[Any] = [
        mpl.patches.Patch(facecolor=OUTCOME_COLORS[-1], edgecolor="0.5", label="no linear rate measured")
    ]
    _boundary(ax, dataset, handles)
    _phase_axes(ax, dataset, xlabel, ylabel)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1.0)
    return ax


def _grid(dataset: Any, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = dataset.attrs["x"], dataset.attrs["y"]
    return dataset[x].values, dataset[y].values, dataset[name].transpose(y, x).values


def _boundary(ax: Axes, dataset: Any, handles: list[Any]) -> None:
    """Draw the line on which the predicted spectral radius is 1, black on white, visible on every colour."""
    x, y, radius = _grid(dataset, "radius")
    known = radius[np.isfinite(radius)]
    if min(radius.shape) < 2 or not known.size or not known.min() < 1 < known.max():
        return
    # The logarithm is close to linear between cells, while the radius of a neighbouring cell may be 1e9.
    level = np.ma.masked_invalid(np.clip(np.log(radius), -1.0, 1.0))
    ax.contour(x, y, level, levels=[0.0], colors="white", linewidths=3.2)
    ax.contour(x, y, level, levels=[0.0], colors="black", linewidths=1.6)
    handles.append(mpl.lines.Line2D([], [], color="black", linewidth=1.6, label="theory: spectral radius 1"))


def _phase_axes(ax: Axes, dataset: Any, xlabel: str | None, ylabel: str | None) -> None:
    ax.grid(False)
    for name, label, scale, text in (
        (dataset.attrs["x"], ax.set_xlabel, ax.set_xscale, xlabel),
        (dataset.attrs["y"], ax.set_ylabel, ax.set_yscale, ylabel),
    ):
        label(text or NAMES.get(name, name.replace("_", " ")))
        values = dataset[name].values.astype(float)
        if len(values) > 2 and values.min() > 0 and np.all(np.diff(values) > 0):
            ratios, differences = np.diff(np.log(values)), np.diff(values)
            is_geometric = np.ptp(ratios) / ratios.max() < np.ptp(differences) / differences.max()
            scale("log" if is_geometric else "linear")
