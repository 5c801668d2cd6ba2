"""Heat map of the win rates between several policies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from comalgames.plots.style import in_style, new_axes


def plot_win_rates(matrix: Any, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Plot a heat map of the win rates of the row's policy against the column's policy, in percent.

    Args:
        matrix: win rates `[policies, policies]`, such as from `cg.win_rates`; or win rates of several seeds,
            `[seeds, policies, policies]`, shown as the median, and below it half the interquartile range.
        names: names of the policies.
        ax: axes to draw on; new ones by default.
    """
    with in_style():
        return draw_win_rates(new_axes(ax), np.asarray(matrix), list(names))


def draw_win_rates(ax: Axes, matrix: np.ndarray, names: list[str]) -> Axes:
    """Draw win rates `[policies, policies]`, or the median and spread of `[seeds, policies, policies]`."""
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
    ax.set_xlabel("opponent")
    return ax
