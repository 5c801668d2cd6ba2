"""Trajectories of three-action policies on the simplex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from comalgames.plots.curves import by_name, is_sweep
from comalgames.plots.style import in_style, new_axes, styles

# Corners of the simplex of three actions, first action at the left.
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])


def plot_simplex(
    results: Any,
    nash: Any = None,
    names: Sequence[str] = ("0", "1", "2"),
    ax: Axes | None = None,
) -> Axes:
    """Plot trajectories of three-action policies on the simplex.

    For several seeds the trajectory of the first and the last policies of all are shown.

    Args:
        results: results of `solve` with the metric "policy", by their name in the legend, or the result of
            `sweep` for one game (select it with `runs.sel(game=...)`).
        nash: a policy to mark with a star, such as `cg.nash(game).policy`.
        names: names of the corners, such as `game.names`.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: a run did not record "policy", or does not have three actions.
    """
    paths = {}
    if is_sweep(results):
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
        for name, result in by_name(results).items():
            if "policy" not in result.history or result.history["policy"].shape[1:] != (3,):
                raise ValueError(
                    f"`results` {name!r} must have recorded three-action policies: solve(..., "
                    f'metrics=["policy"]).'
                )
            paths[name] = result.history["policy"]
    with in_style():
        return draw_simplex(new_axes(ax), paths, nash, names)


def draw_simplex(ax: Axes, paths: Mapping[str, np.ndarray], nash: Any, names: Sequence[str]) -> Axes:
    """Draw paths `[records, 3]`, or `[records, seeds, 3]` with only the last policies of later seeds."""
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
