"""Colours, dash patterns and style of all figures."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

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


# Lower end of log axes, below the rounding errors of gaps; curves of runs that reached Nash end there.
FLOOR = 1e-17


def new_axes(ax: Axes | None) -> Axes:
    """The given axes, or the axes of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(5.2, 3.7), layout="constrained")[1]


@contextlib.contextmanager
def in_style() -> Iterator[None]:
    """Context in which figures are drawn in the style of the package; the previous style is restored.

    `matplotlib.rc_context` would restore all keys, including "interactive" and "backend". These change when
    pyplot is first imported, and restoring them would disable inline display in a notebook.
    """
    before = {key: mpl.rcParams[key] for key in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def styles() -> Iterator[dict[str, Any]]:
    """Colours and dash patterns for successive lines."""
    for k in itertools.count():
        yield {"color": COLORS[k % len(COLORS)], "linestyle": DASHES[k % len(DASHES)]}
