"""Pictures of runs: curves of the gap, trajectories on the simplex, who beats whom.

`plot_*` take results of `solve` or of `sweep`. Colours are distinguishable without colour vision (Okabe and
Ito), and each line has its own dash pattern as well. Runs that differ only in their seed are drawn as their
median, with a band from the lower to the upper quartile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comalgames import validation
from comalgames.diagnostics.diagnose import Diagnosis
from comalgames.drivers.solve import Result

__all__ = ["plot_diagnosis", "plot_gap", "plot_phase", "plot_simplex", "plot_win_rates"]

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


def plot_gap(results: Any, x: str = "queries", curve: str = "duality_gap", ax: Axes | None = None) -> Axes:
    """Duality gap of several runs on a log axis, with a band over members or seeds.

    Args:
        results: runs of `solve` by the name to show in the legend, or what `sweep` returned: then all games
            and seeds of an algorithm make one curve (`runs.sel(game=...)` chooses).
        x: "queries" (fair between methods) or "steps".
        curve: "duality_gap" (of the last policy), "average_duality_gap" or "best_duality_gap", or any scalar
            metric that was recorded. Runs with several members (prompts, seeds) show their median and
            quartiles.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: `x` or `curve` is not there.
    """
    validation.known("x", x, ("queries", "steps"))
    curves = {}
    if _is_sweep(results):
        validation.known("curve", curve, [str(name) for name in results.data_vars])
        curves = sweep_curves(results, curve, x)
    else:
        for name, result in _by_name(results).items():
            validation.known("curve", curve, result.history)
            rows = result.history[curve]
            curves[name] = (getattr(result, x), rows.reshape(len(rows), -1).T)
    with mpl.rc_context(STYLE):
        return draw_curves(_axes(ax), curves, x, curve_title(curve))


def plot_simplex(
    results: Any,
    nash: Any = None,
    names: Sequence[str] = ("0", "1", "2"),
    ax: Axes | None = None,
) -> Axes:
    """Trajectories of three-action policies on the simplex; of several seeds, the first, and where all end.

    Args:
        results: runs of `solve` that recorded the metric "policy", by the name to show in the legend, or what
            `sweep` returned for one game (`runs.sel(game=...)` chooses it).
        nash: a policy to mark with a star, such as `cg.nash(game).policy`.
        names: what to call the corners, such as `game.names`.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: a run did not record "policy", or has not three actions.
    """
    paths = {}
    if _is_sweep(results):
        if "policy" not in results or results.sizes.get("action") != 3 or results["game"].size != 1:
            raise ValueError(
                "`results` must be a sweep of one game with three actions that recorded policies: sweep(..., "
                'metrics=["policy"]).sel(game=...).'
            )
        runs = results["policy"].squeeze("game") if "game" in results["policy"].dims else results["policy"]
        for name in results["algorithm"].values:
            policies = runs.sel(algorithm=name).transpose("record", "seed", "action").values
            paths[str(name)] = policies[np.isfinite(policies).all(axis=(1, 2))]
    else:
        for name, result in _by_name(results).items():
            if "policy" not in result.history or result.history["policy"].shape[1:] != (3,):
                raise ValueError(
                    f"`results` {name!r} must have recorded three-action policies: solve(..., "
                    f'metrics=["policy"]).'
                )
            paths[name] = result.history["policy"]
    with mpl.rc_context(STYLE):
        return draw_simplex(_axes(ax), paths, nash, names)


def plot_win_rates(matrix: Any, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Heat map of how often the row's policy is preferred to the column's.

    Args:
        matrix: win rates `[policies, policies]`, such as from `cg.win_rates`; or of several seeds, `[seeds,
            policies, policies]`, of which the median is shown, and below it half the distance between the
            quartiles.
        names: what to call the policies.
        ax: axes to draw on; new ones by default.
    """
    with mpl.rc_context(STYLE):
        return draw_win_rates(_axes(ax), np.asarray(matrix), list(names))


def plot_diagnosis(diagnosis: Diagnosis) -> Figure:
    """A diagnosis as one figure: the multipliers at the fixed point, and the run beside the predicted slope.

    Args:
        diagnosis: what `diagnose` returned.

    Raises:
        ValueError: it is not a diagnosis.
    """
    if not isinstance(diagnosis, Diagnosis):
        raise ValueError(f"`diagnosis` must be what `diagnose` returned, got a {type(diagnosis).__name__}.")
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.6, 3.9), layout="constrained", width_ratios=(1.0, 1.35)
        )
        draw_multipliers(left, diagnosis)
        draw_measured(right, diagnosis)
        figure.suptitle(
            " ".join(repr(diagnosis.rule).split()).replace("( ", "(").replace(" )", ")"), fontsize=9.5
        )
    return figure


def plot_phase(dataset: Any) -> Figure:
    """A phase diagram: how each pair of numbers ended, and how fast; with theory's stability boundary.

    Args:
        dataset: what `phase_diagram` returned.

    Raises:
        ValueError: it is not a phase diagram.
    """
    if not {"outcome", "rate", "radius"} <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be what `phase_diagram` returned, got {type(dataset).__name__}.")
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(10.4, 4.4), layout="constrained", width_ratios=(1.0, 1.22)
        )
        draw_outcomes(left, dataset)
        left.set_title("where the run ends")
        draw_rates(right, dataset)
        right.set_title("how fast, where it converges")
    return figure


def _is_sweep(results: Any) -> bool:
    return hasattr(results, "data_vars") and {"algorithm", "seed"} <= set(results.dims) | set(results.coords)


def sweep_curves(runs: Any, curve: str, x: str = "queries") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each algorithm's x `[records]` and rows `[games and seeds, records]` in what `sweep` returned."""
    runs = runs.expand_dims([name for name in ("game", "algorithm", "seed") if name not in runs.dims])
    if not {"record"} <= set(runs[curve].dims) <= {"game", "algorithm", "seed", "record"}:
        raise ValueError(f"`curve` must be one number per record, but {curve!r} has {runs[curve].dims}.")
    curves = {}
    for name in runs["algorithm"].values:
        run = runs.sel(algorithm=name)
        rows = run[curve].transpose("game", "seed", "record").values
        horizontal = run[x].values
        horizontal = horizontal[0] if horizontal.ndim == 2 else horizontal
        curves[str(name)] = (horizontal, rows.reshape(-1, rows.shape[-1]))
    return curves


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(5.2, 3.7), layout="constrained")[1]


def _by_name(results: Any) -> Mapping[str, Result]:
    if isinstance(results, Mapping) and results and all(isinstance(r, Result) for r in results.values()):
        return results
    raise ValueError(
        f'`results` must be a dict of results by name, {{"COMAL": result}}, or what `sweep` returns, got '
        f"{type(results).__name__}."
    )


def styles() -> Iterator[dict[str, Any]]:
    """Colours with their dash patterns, for one line after another."""
    for k in itertools.count():
        yield {"color": COLORS[k % len(COLORS)], "linestyle": DASHES[k % len(DASHES)]}


def curve_title(curve: str) -> str:
    """What to write on the axis of a recorded curve."""
    titles = {
        "duality_gap": "duality gap of the last policy",
        "average_duality_gap": "duality gap of the average policy",
        "best_duality_gap": "smallest duality gap so far",
    }
    return titles.get(curve, curve)


def draw_curves(ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], x: str, y: str) -> Axes:
    """Each curve: x `[records]` and y `[members, records]`, drawn as the median with the quartiles shaded."""
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


def draw_simplex(ax: Axes, paths: Mapping[str, np.ndarray], nash: Any, names: Sequence[str]) -> Axes:
    """Each path: `[records, 3]`, or `[records, seeds, 3]`, drawn as the first and where the others end."""
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
    for (name, path), style in zip(paths.items(), styles(), strict=False):
        of_seeds = path if path.ndim == 3 else path[:, None]
        known = of_seeds[np.isfinite(of_seeds).all(axis=(1, 2))] @ CORNERS
        xy = known[:, 0]
        ax.plot(*xy.T, label=name, alpha=0.85, linewidth=1.1, **style)
        ax.plot(*known[-1, 1:].T, ".", markersize=3, color=style["color"], alpha=0.6, linestyle="none")
        ax.plot(*xy[-1], marker="s", markersize=5, color=style["color"], markeredgecolor="white", zorder=4)
    first = next(iter(paths.values()))[0].reshape(-1, 3)[0] @ CORNERS
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


def draw_win_rates(ax: Axes, matrix: np.ndarray, names: list[str]) -> Axes:
    """Win rates `[policies, policies]`, or `[seeds, policies, policies]`: their median and spread."""
    half_spread = None
    if matrix.ndim == 3:
        lower, upper = np.quantile(matrix, [0.25, 0.75], axis=0)
        matrix, half_spread = np.median(matrix, axis=0), (upper - lower) / 2
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
            f"{100 * matrix[i, j]:.1f}"
            + ("" if half_spread is None else f"\n\u00b1{100 * half_spread[i, j]:.1f}"),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )
    ax.grid(False)
    ax.set_xlabel("against")
    return ax


# Diagnoses --------------------------------------------------------------------------------------------------


def draw_multipliers(ax: Axes, diagnosis: Diagnosis) -> Axes:
    """Multipliers of a round in the complex plane, with the unit circle, beyond which what is off grows."""
    prediction = diagnosis.prediction
    on, off = prediction.multipliers, prediction.decay
    free = 0 if prediction.point is None else prediction.point.dimension
    angle = np.linspace(0, 2 * np.pi, 400)
    ax.fill(np.cos(angle), np.sin(angle), color=COLORS[2], alpha=0.08, linewidth=0)
    ax.plot(np.cos(angle), np.sin(angle), color="0.3", linewidth=1, label="unit circle")
    ax.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    ax.axvline(0, color="0.8", linewidth=0.6, zorder=0)
    if on.size:
        ax.plot(on.real, on.imag, "o", color=COLORS[0], markersize=6, label="on the support, memory included")
    if off.size:
        ax.plot(off, np.zeros(len(off)), "^", color=COLORS[1], markersize=6, label="mass off the support")
    if free:
        label = f"along the Nash policies ({free})"
        ax.plot(
            [1], [0], "D", color="0.3", markerfacecolor="none", markersize=8, label=label, linestyle="none"
        )
    shown = np.abs(np.concatenate([on, off.astype(complex)]))
    finite = shown[np.isfinite(shown)]
    reach = 1.12 * max(1.0, finite.max(initial=0.0))
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
    of = "a step" if prediction.round_steps == 1 else "a round"
    if prediction.round_steps not in (1, None):
        of += f" of {prediction.round_steps} steps"
    largest = "" if np.isnan(prediction.radius) else f", largest modulus {prediction.radius:.5g}"
    ax.set_title(f"multipliers of {of}\n{prediction.verdict}{largest}")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1.0)
    return ax


def draw_measured(ax: Axes, diagnosis: Diagnosis) -> Axes:
    """What a run measured, its largest values from each step on, and the predicted slope through them."""
    steps, values = diagnosis.steps, diagnosis.measured
    known = np.isfinite(values) & (values > FLOOR)
    ax.set_title(f"one run from its start: {diagnosis.outcome}")
    ax.set_xlabel("steps")
    ax.set_ylabel(diagnosis.quantity)
    ax.set_yscale("log")
    if not known.any():
        ax.text(0.5, 0.5, "0 all along", transform=ax.transAxes, ha="center")
        return ax
    ax.plot(steps[known], values[known], color=COLORS[0], alpha=0.45, linewidth=0.9, label="measured")
    envelope = np.maximum.accumulate(values[known][::-1])[::-1]
    if diagnosis.fit.kind != "none":
        ax.plot(steps[known], envelope, color=COLORS[0], label="largest from there on")
    prediction, fit = diagnosis.prediction, diagnosis.fit
    bottom = max(values[known].min() / 3, FLOOR)
    if fit.kind == "linear":
        first, last = fit.window
        at_first = float(np.interp(first, steps[known], envelope))
        ax.axvspan(first, last, color=COLORS[4], alpha=0.12, linewidth=0, label="where the rate is fitted")
        slope = prediction.rate_per_step
        label = f"predicted: times {slope:.5g} a step (measured {fit.rate:.5g})"
    else:
        first, last, slope = int(steps[0]), int(steps[-1]), prediction.rate_per_step
        at_first, label = float(values[known][0]), f"predicted near the fixed point: times {slope:.5g} a step"
    if np.isfinite(slope) and slope > 0:
        x = np.linspace(first, last, 200)
        line = at_first * np.exp(np.log(slope) * (x - first))
        shown = (line > bottom) & (line < 1.5 * envelope.max())
        ax.plot(x[shown], line[shown], color=COLORS[1], linestyle="--", linewidth=1.8, label=label)
    ax.set_ylim(bottom=bottom)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, columnspacing=1.0)
    return ax


# Phase diagrams ---------------------------------------------------------------------------------------------

# Nash, other fixed point, cycle, boundary, undecided: apart in lightness too, for those who see no colour.
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
    """How the run of each pair of numbers ended, by colour, with theory's boundary."""
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
    """How many steps one more digit takes where a run converges, by colour, with theory's boundary."""
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
        ax.figure.colorbar(colours, ax=ax, label="steps for one more digit (measured)")
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
    """The line on which theory's factor is 1, white under black to show on every colour."""
    x, y, radius = _grid(dataset, "radius")
    known = radius[np.isfinite(radius)]
    if min(radius.shape) < 2 or not known.size or not known.min() < 1 < known.max():
        return
    # Between cells the logarithm is close to linear; the factor itself may be 1e9 next door.
    level = np.ma.masked_invalid(np.clip(np.log(radius), -1.0, 1.0))
    ax.contour(x, y, level, levels=[0.0], colors="white", linewidths=3.2)
    ax.contour(x, y, level, levels=[0.0], colors="black", linewidths=1.6)
    handles.append(
        mpl.lines.Line2D([], [], color="black", linewidth=1.6, label="theory: factor of a round = 1")
    )


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
