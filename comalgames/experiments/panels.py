"""Drawing of a paper's figures from its saved results: one function for each kind of panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure

from comalgames.experiments.claims import Data
from comalgames.experiments.spec import Figure
from comalgames.plots.curves import curve_title, draw_curves, sweep_curves
from comalgames.plots.phases import draw_outcomes, draw_rates
from comalgames.plots.simplex import draw_simplex
from comalgames.plots.style import COLORS, in_style, styles
from comalgames.plots.win_rates import draw_win_rates

__all__ = ["draw"]

# With more points than this a line needs no marks at them.
FEW_POINTS = 48


def draw(figure: Figure, data: Data) -> MplFigure:
    """Draw a figure of a paper from saved results, with its panels side by side.

    Args:
        figure: what to draw.
        data: the results by experiment, as `load_run` returns them.
    """
    with in_style():
        width = sum(PANEL_WIDTHS.get(panel.kind, 4.6) for panel in figure.panels)
        drawn = MplFigure(figsize=(width, 3.7), layout="constrained")
        ratios = [PANEL_WIDTHS.get(panel.kind, 4.6) for panel in figure.panels]
        axes = drawn.subplots(1, len(figure.panels), squeeze=False, width_ratios=ratios)[0]
        for ax, panel in zip(axes, figure.panels, strict=True):
            PANELS[panel.kind](ax, data[panel.experiment], **panel.options)
            ax.set_title(panel.title)
        # Laid out once, not anew for each file that it is saved to.
        drawn.draw_without_rendering()
        drawn.set_layout_engine("none")
    return drawn


def _gap_panel(
    ax: Axes,
    dataset: Any,
    algorithms: Sequence[str] | None = None,
    prefix: str = "",
    curve: str = "duality_gap",
    until: float | None = None,
    bottom: float | None = None,
    beside: str | None = None,
    beside_label: str = "",
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Any = "best",
) -> None:
    """Curves of the given algorithms over the games whose names begin with `prefix`, and all seeds.

    Args:
        ax: where to draw.
        dataset: a sweep's, or one of its form.
        algorithms: which, in this order; None for all.
        prefix: of the games' names.
        curve: the variable drawn.
        until: the last query shown.
        bottom: of the vertical axis.
        beside: a variable whose medians are drawn as thin black lines, for comparison.
        beside_label: their label.
        xlabel: below the axis; None for queries.
        ylabel: beside it; None for the curve's title.
        legend: where in the axes, as matplotlib names places; None for no legend.
    """
    chosen = [name for name in dataset["game"].values if str(name).startswith(prefix)]
    runs = dataset.sel(game=chosen)
    runs = runs if algorithms is None else runs.sel(algorithm=list(algorithms))

    def curves(of: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        rows_by_name = sweep_curves(runs, of)
        if until is None:
            return rows_by_name
        return {name: (x[x <= until], rows[:, x <= until]) for name, (x, rows) in rows_by_name.items()}

    draw_curves(ax, curves(curve), "queries", ylabel or curve_title(curve))
    for k, (x, rows) in enumerate(curves(beside).values() if beside else ()):
        label = beside_label if k == 0 else None
        ax.plot(x, np.median(rows, axis=0), color="black", linewidth=0.7, label=label)
    ax.set_ylim(bottom=bottom)
    if xlabel is not None:
        ax.set_xlabel(xlabel)
    ax.legend(loc=legend or "best").set_visible(legend is not None)


def _lines_panel(
    ax: Axes,
    dataset: Any,
    x: str,
    y: str | Mapping[str, str],
    series: str | None = None,
    band: str | Sequence[str] = (),
    points: Mapping[str, str] | None = None,
    bound: Mapping[str, str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    logx: bool = False,
    logy: bool = True,
    legend: Any = "best",
) -> None:
    """Lines of saved numbers over a coordinate: medians over the dimensions `band`, quartiles shaded.

    Args:
        ax: where to draw.
        dataset: the saved results.
        x: the coordinate along the horizontal axis.
        y: a variable, or several by variable with their labels.
        series: a dimension with one line for each of its values; None for one line a variable.
        band: dimensions whose spread is shaded.
        points: variables drawn as hollow markers, in the colours of the lines; with their labels.
        bound: variables drawn in black, dashed; with their labels. The median over the dimensions not drawn.
        xlabel: below the axis.
        ylabel: beside it.
        logx: whether x is logarithmic.
        logy: whether y is.
        legend: where in the axes, as matplotlib names places.
    """
    bands = [band] if isinstance(band, str) else list(band)
    drawn = {y: y} if isinstance(y, str) else dict(y)
    horizontal = dataset[x].values
    marker = "o" if len(horizontal) <= FEW_POINTS else None
    palette = styles()

    def rows(variable: str, value: Any = None) -> np.ndarray:
        data = dataset[variable] if value is None else dataset[variable].sel({series: value})
        others = [name for name in data.dims if name != x]
        unknown = set(others) - set(bands)
        if unknown:
            raise ValueError(f"the panel draws {variable!r} over {x!r} but not its dimensions {unknown}.")
        return np.asarray(data.transpose(*others, x).values, float).reshape(-1, len(horizontal))

    for variable, label in drawn.items():
        has_series = series is not None and series in dataset[variable].dims
        for value in dataset[series].values if has_series else (None,):
            style, values = next(palette), rows(variable, value)
            name = label if value is None else (str(value) if len(drawn) == 1 else f"{label}, {value}")
            if len(values) > 1:
                low, high = np.nanquantile(values, [0.25, 0.75], axis=0)
                ax.fill_between(horizontal, low, high, color=style["color"], alpha=0.15, linewidth=0)
            ax.plot(
                horizontal, np.nanmedian(values, axis=0), label=name, marker=marker, markersize=3, **style
            )
    palette = styles()
    for variable, label in (points or {}).items():
        has_series = series is not None and series in dataset[variable].dims
        for k, value in enumerate(dataset[series].values if has_series else (None,)):
            color, values = next(palette)["color"], np.nanmedian(rows(variable, value), axis=0)
            hollow: Any = {"linestyle": "none", "marker": "D", "markersize": 6, "markerfacecolor": "none"}
            ax.plot(horizontal, values, color=color, label=label if k == 0 else None, **hollow)
    for (variable, label), dash in zip((bound or {}).items(), ("--", ":", "-."), strict=False):
        ax.plot(horizontal, np.nanmedian(rows(variable), axis=0), color="black", linestyle=dash, label=label)
    ax.set_xscale("log" if logx else "linear")
    ax.set_yscale("log" if logy else "linear")
    ax.set_xlabel(xlabel or x)
    ax.set_ylabel(ylabel)
    ax.legend(loc=legend)


def _bars_panel(ax: Axes, dataset: Any, x: str, y: str, xlabel: str = "", ylabel: str = "") -> None:
    """A bar for each value of a coordinate, with its height as text.

    Args:
        ax: where to draw.
        dataset: the saved results.
        x: the coordinate.
        y: the variable, over that coordinate alone.
        xlabel: below the axis.
        ylabel: beside it.
    """
    drawn = ax.bar([str(name) for name in dataset[x].values], dataset[y].values, color=COLORS[0])
    ax.bar_label(drawn, fmt="%.3g", fontsize=8)
    ax.set_xlabel(xlabel or x)
    ax.set_ylabel(ylabel or y)


def _map_panel(
    ax: Axes,
    dataset: Any,
    x: str,
    y: str,
    value: str,
    boundary: str | None = None,
    boundary_label: str = "",
    low: float = 1e-12,
    high: float = 1.0,
    xlabel: str = "",
    ylabel: str = "",
    label: str = "",
) -> None:
    """A saved number over two coordinates, both logarithmic, as a map; a boundary where another crosses 1.

    Args:
        ax: where to draw.
        dataset: the saved results.
        x: the coordinate along the horizontal axis.
        y: the coordinate along the vertical one.
        value: the variable shown by colour, logarithmically.
        boundary: a variable whose level line 1 is drawn.
        boundary_label: its label.
        low: the number that the darkest colour stands for, and everything below it.
        high: the number that the brightest stands for.
        xlabel: below the axis.
        ylabel: beside it.
        label: beside the colours.
    """
    horizontal, vertical = dataset[x].values, dataset[y].values
    shown = np.clip(dataset[value].transpose(y, x).values, low, high)
    colours = ax.pcolormesh(
        horizontal, vertical, shown, norm=mpl.colors.LogNorm(low, high), cmap="cividis", shading="nearest"
    )
    if boundary is not None:
        line = ax.contour(
            horizontal, vertical, dataset[boundary].transpose(y, x).values, levels=[1.0], colors="#E8000B"
        )
        handles, _ = line.legend_elements()
        ax.legend(handles, [boundary_label], loc="upper left", frameon=True, framealpha=0.9)
    ax.grid(False)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(xlabel or x)
    ax.set_ylabel(ylabel or y)
    ax.figure.colorbar(colours, ax=ax, label=label)


def _simplex_panel(
    ax: Axes,
    dataset: Any,
    algorithms: Sequence[str],
    game: str,
    nash: Sequence[float],
    names: Sequence[str],
    until: int,
) -> None:
    runs = dataset.sel(game=game, seed=0)["policy"]
    paths = {name: runs.sel(algorithm=name).values[: until + 1] for name in algorithms}
    draw_simplex(ax, paths, nash, names)


def _win_rates_panel(ax: Axes, dataset: Any) -> None:
    draw_win_rates(ax, dataset["win_rate"].values, [str(name) for name in dataset["policy_name"].values])
    ax.set_ylabel("how often this policy is preferred, %")


def _picks_panel(ax: Axes, dataset: Any, names: Mapping[str, str], prefix: str) -> None:
    """Win rate of every option against each of two picks, sorted."""
    first, _ = names
    order = np.argsort(-dataset[first].values, kind="stable")
    labels = [str(name).removeprefix(prefix) for name in dataset["option"].values[order]]
    place = np.arange(len(order))
    markers: Any = (
        {"marker": "o", "markersize": 4},
        {"marker": "s", "markersize": 7.5, "markerfacecolor": "none"},
    )
    for k, ((variable, label), marker) in enumerate(zip(names.items(), markers, strict=True)):
        ax.plot(
            place,
            100 * dataset[variable].values[order],
            color=COLORS[k],
            label=label,
            linestyle="none",
            **marker,
        )
    ax.axhline(50, color="0.3", linewidth=0.9)
    ax.set_xticks(place, labels, fontsize=6.5)
    ax.set_xlabel(prefix.strip().lower())
    ax.set_ylabel("win rate, %")
    ax.legend(loc="upper right")


PANELS: Mapping[str, Callable[..., Any]] = {
    "gap": _gap_panel,
    "lines": _lines_panel,
    "bars": _bars_panel,
    "map": _map_panel,
    "simplex": _simplex_panel,
    "win_rates": _win_rates_panel,
    "picks": _picks_panel,
    "outcomes": draw_outcomes,
    "digits": draw_rates,
}
PANEL_WIDTHS = {"simplex": 5.0, "win_rates": 6.8, "picks": 7.5, "outcomes": 4.8, "digits": 5.8}
