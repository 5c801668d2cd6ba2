"""Pictures of runs: curves of the gap, trajectories on the simplex, who beats whom.

`plot_*` take results of `solve`; a paper's figures are drawn by `draw` from saved results. Colours are
distinguishable without colour vision (Okabe and Ito), and each line has its own dash pattern as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure

from comalgames import validation
from comalgames.experiments.spec import Data, Figure
from comalgames.solve import Result

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (3, 1.5)),
    (0, (8, 2, 2, 2, 2, 2)),
)
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "figure.dpi": 110,
    "savefig.dpi": 160,
}

# Below this a gap is rounding; log axes end here, so that runs that reached Nash lie along the bottom.
FLOOR = 1e-17

# Corners of the simplex of three actions, first action at the left.
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])


def plot_gap(
    results: Mapping[str, Result], x: str = "queries", curve: str = "duality_gap", ax: Axes | None = None
) -> Axes:
    """Duality gap of several runs on a log axis.

    Args:
        results: runs by the name to show in the legend.
        x: "queries" (fair between methods) or "steps".
        curve: "duality_gap" (of the last policy), "average_duality_gap" or "best_duality_gap", or any scalar
            metric that was recorded. Runs with several members (prompts) show their median and quartiles.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: `x` or `curve` is not there.
    """
    validation.known("x", x, ("queries", "steps"))
    curves = {}
    for name, result in _by_name(results).items():
        validation.known("curve", curve, result.history)
        rows = result.history[curve]
        curves[name] = (getattr(result, x), rows.reshape(len(rows), -1).T)
    with mpl.rc_context(STYLE):
        return _curves(_axes(ax), curves, x, _title(curve))


def plot_simplex(
    results: Mapping[str, Result],
    nash: Any = None,
    names: Sequence[str] = ("0", "1", "2"),
    ax: Axes | None = None,
) -> Axes:
    """Trajectories of three-action policies on the simplex.

    Args:
        results: runs that recorded the metric "policy", by the name to show in the legend.
        nash: a policy to mark with a star, such as `cg.nash(game).policy`.
        names: what to call the corners, such as `game.names`.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: a run did not record "policy", or has not three actions.
    """
    paths = {}
    for name, result in _by_name(results).items():
        if "policy" not in result.history or result.history["policy"].shape[1:] != (3,):
            raise ValueError(
                f"`results` {name!r} must have recorded three-action policies: solve(..., "
                f'metrics=["policy"]).'
            )
        paths[name] = result.history["policy"]
    with mpl.rc_context(STYLE):
        return _simplex(_axes(ax), paths, nash, names)


def plot_win_rates(matrix: Any, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Heat map of how often the row's policy is preferred to the column's.

    Args:
        matrix: win rates `[policies, policies]`, such as from `cg.win_rates`.
        names: what to call the policies.
        ax: axes to draw on; new ones by default.
    """
    with mpl.rc_context(STYLE):
        return _win_rates(_axes(ax), np.asarray(matrix), list(names))


def draw(figure: Figure, data: Data) -> MplFigure:
    """A paper's figure, from saved results: its panels side by side.

    Args:
        figure: what to draw.
        data: the results by experiment, as `load_run` returns them.
    """
    with mpl.rc_context(STYLE):
        width = sum(PANEL_WIDTHS.get(panel.kind, 4.6) for panel in figure.panels)
        drawn = MplFigure(figsize=(width, 3.7), layout="constrained")
        ratios = [PANEL_WIDTHS.get(panel.kind, 4.6) for panel in figure.panels]
        axes = drawn.subplots(1, len(figure.panels), squeeze=False, width_ratios=ratios)[0]
        for ax, panel in zip(axes, figure.panels, strict=True):
            PANELS[panel.kind](ax, data[panel.experiment], **panel.options)
            ax.set_title(panel.title)
    return drawn


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(5.2, 3.7), layout="constrained")[1]


def _by_name(results: Any) -> Mapping[str, Result]:
    if isinstance(results, Mapping) and results and all(isinstance(r, Result) for r in results.values()):
        return results
    raise ValueError(
        f'`results` must be a dict of results by name, {{"COMAL": result}}, got {type(results).__name__}.'
    )


def _styles() -> Iterator[dict[str, Any]]:
    for k in itertools.count():
        yield {"color": COLORS[k % len(COLORS)], "linestyle": DASHES[k % len(DASHES)]}


def _title(curve: str) -> str:
    titles = {
        "duality_gap": "duality gap of the last policy",
        "average_duality_gap": "duality gap of the average policy",
        "best_duality_gap": "smallest duality gap so far",
    }
    return titles.get(curve, curve)


def _curves(ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], x: str, y: str) -> Axes:
    """Each curve: x `[records]` and y `[members, records]`, drawn as the median with the quartiles shaded."""
    low = 1.0
    for (name, (horizontal, rows)), style in zip(curves.items(), _styles(), strict=False):
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


def _simplex(ax: Axes, paths: Mapping[str, np.ndarray], nash: Any, names: Sequence[str]) -> Axes:
    ax.set_aspect("equal")
    ax.axis("off")
    ax.grid(False)
    outline = np.vstack([CORNERS, CORNERS[:1]])
    ax.plot(*outline.T, color="0.4", linewidth=0.8)
    ax.set_xlim(-0.12, 1.12)
    for corner, name, (shift, side) in zip(
        CORNERS, names, ((-0.03, "top"), (-0.03, "top"), (0.02, "bottom")), strict=True
    ):
        ax.text(corner[0], corner[1] + shift, name, ha="center", va=side)
    for (name, path), style in zip(paths.items(), _styles(), strict=False):
        known = path[np.isfinite(path).all(-1)]
        xy = known @ CORNERS
        ax.plot(*xy.T, label=name, alpha=0.85, linewidth=1.1, **style)
        ax.plot(*xy[-1], marker="s", markersize=5, color=style["color"], markeredgecolor="white", zorder=4)
    first = next(iter(paths.values()))[0] @ CORNERS
    ax.plot(*first, "o", color="black", markersize=6, zorder=5, label="start", linestyle="none")
    if nash is not None:
        ax.plot(
            *(np.asarray(nash) @ CORNERS),
            "*",
            color="#E8000B",
            markersize=14,
            markeredgecolor="white",
            zorder=6,
            label="Nash",
            linestyle="none",
        )
    ax.legend(loc="upper left", bbox_to_anchor=(0.68, 1.04), handlelength=2.4)
    return ax


def _win_rates(ax: Axes, matrix: np.ndarray, names: list[str]) -> Axes:
    spread = max(np.abs(matrix - 0.5).max(), 1e-3)
    ax.imshow(matrix, cmap="PuOr", vmin=0.5 - spread, vmax=0.5 + spread)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.set_aspect("auto")
    for i, j in itertools.product(range(len(names)), repeat=2):
        dark = abs(matrix[i, j] - 0.5) > 0.65 * spread
        ax.text(
            j,
            i,
            f"{100 * matrix[i, j]:.1f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )
    ax.grid(False)
    ax.set_xlabel("against")
    return ax


def _gap_panel(
    ax: Axes,
    dataset: Any,
    algorithms: Sequence[str] | None = None,
    prefix: str = "",
    curve: str = "duality_gap",
    until: float | None = None,
) -> None:
    """Curves of the given algorithms over the games whose names begin with `prefix`."""
    chosen = [name for name in dataset["game"].values if str(name).startswith(prefix)]
    curves = {}
    for name in dataset["algorithm"].values if algorithms is None else algorithms:
        runs = dataset.sel(algorithm=name, game=chosen)
        rows = runs[curve].transpose("game", "seed", "record").values
        horizontal = runs["queries"].values[0]
        shown = horizontal <= (np.inf if until is None else until)
        curves[str(name)] = (horizontal[shown], rows.reshape(-1, rows.shape[-1])[:, shown])
    _curves(ax, curves, "queries", _title(curve))


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
    _simplex(ax, paths, nash, names)


def _win_rates_panel(ax: Axes, dataset: Any) -> None:
    _win_rates(ax, dataset["win_rate"].values, [str(name) for name in dataset["policy_name"].values])
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


PANELS: Mapping[str, Callable[..., None]] = {
    "gap": _gap_panel,
    "simplex": _simplex_panel,
    "win_rates": _win_rates_panel,
    "picks": _picks_panel,
}
PANEL_WIDTHS = {"simplex": 5.0, "win_rates": 6.8, "picks": 7.5}
