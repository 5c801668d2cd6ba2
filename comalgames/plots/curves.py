"""Curves of the duality gap, or of any recorded metric, over queries or steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from comalgames import validation
from comalgames.drivers.solve import Result
from comalgames.plots.style import FLOOR, in_style, new_axes, styles


def plot_gap(results: Any, x: str = "queries", curve: str = "duality_gap", ax: Axes | None = None) -> Axes:
    """Plot the duality gap of several runs on a log axis, with a band over prompts or seeds.

    Args:
        results: results of `solve` by their name in the legend, or the result of `sweep`, in which all games
            and seeds of an algorithm form one curve (select games with `runs.sel(game=...)`).
        x: "queries" (a fair comparison between methods) or "steps".
        curve: "duality_gap" (of the last policy), "average_duality_gap" or "best_duality_gap", or any
            recorded scalar metric. For several prompts or seeds the median and the quartiles are shown.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: `x` or `curve` is unknown.
    """
    validation.known("x", x, ("queries", "steps"))
    curves = {}
    if is_sweep(results):
        validation.known("curve", curve, [str(name) for name in results.data_vars])
        curves = sweep_curves(results, curve, x)
    else:
        for name, result in by_name(results).items():
            validation.known("curve", curve, result.history)
            rows = result.history[curve]
            curves[name] = (getattr(result, x), rows.reshape(len(rows), -1).T)
    with in_style():
        return draw_curves(new_axes(ax), curves, x, curve_title(curve))


def is_sweep(results: Any) -> bool:
    """Whether `results` is a result of `sweep`."""
    return hasattr(results, "data_vars") and {"algorithm", "seed"} <= set(results.dims) | set(results.coords)


def sweep_curves(runs: Any, curve: str, x: str = "queries") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The x values `[records]` and rows `[games and seeds, records]` of each algorithm in a sweep."""
    runs = runs.expand_dims([name for name in ("game", "algorithm", "seed") if name not in runs.dims])
    if not {"record"} <= set(runs[curve].dims) <= {"game", "algorithm", "seed", "record"}:
        raise ValueError(
            f"`curve` must be one number per record, but {curve!r} has the dimensions {runs[curve].dims}; "
            f"select a scalar metric."
        )
    curves = {}
    for name in runs["algorithm"].values:
        run = runs.sel(algorithm=name)
        rows = run[curve].transpose("game", "seed", "record").values
        horizontal = run[x].values
        horizontal = horizontal[0] if horizontal.ndim == 2 else horizontal
        curves[str(name)] = (horizontal, rows.reshape(-1, rows.shape[-1]))
    return curves


def by_name(results: Any) -> Mapping[str, Result]:
    """The results, after checking that they are a dict of results by name."""
    if isinstance(results, Mapping) and results and all(isinstance(r, Result) for r in results.values()):
        return results
    raise ValueError(
        f'`results` must be a dict of results by name, such as {{"COMAL": result}}, or a result of `sweep`, '
        f"got {type(results).__name__}."
    )


def curve_title(curve: str) -> str:
    """The axis label of a recorded curve."""
    titles = {
        "duality_gap": "duality gap of the last policy",
        "average_duality_gap": "duality gap of the average policy",
        "best_duality_gap": "smallest duality gap so far",
    }
    return titles.get(curve, curve)


def draw_curves(ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], x: str, y: str) -> Axes:
    """Draw curves of x `[records]` and y `[members, records]` as medians, with the quartiles shaded."""
    low = 1.0
    for (name, (horizontal, rows)), style in zip(curves.items(), styles(), strict=False):
        known = np.isfinite(horizontal)
        horizontal, rows = horizontal[known], np.maximum(np.abs(rows[:, known]), FLOOR)
        if len(rows) > 1:
            low_quartile, high_quartile = np.quantile(rows, [0.25, 0.75], axis=0)
            ax.fill_between(
                horizontal, low_quartile, high_quartile, color=style["color"], alpha=0.15, linewidth=0
            )
        middle = np.median(rows, axis=0)
        low = min(low, middle.min())
        ax.plot(horizontal, middle, label=name, **style)
    ax.set_yscale("log")
    ax.set_ylim(bottom=max(low / 3, FLOOR / 3))
    ax.set_xlabel("queries (evaluations of all actions against one opponent)" if x == "queries" else x)
    ax.set_ylabel(y)
    ax.legend()
    return ax
