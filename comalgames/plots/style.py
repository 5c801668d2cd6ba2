"""The look of every figure: colours, dash patterns, and a style that leaves the user's settings alone."""

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


# Below this a gap is rounding; log axes end here, so that runs that reached Nash lie along the bottom.
FLOOR = 1e-17


def new_axes(ax: Axes | None) -> Axes:
    """The given axes, or new ones in a figure of their own."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(5.2, 3.7), layout="constrained")[1]


@contextlib.contextmanager
def in_style() -> Iterator[None]:
    """Draw in the package's style, and restore its own keys afterwards.

    `matplotlib.rc_context` restores every key, "interactive" and "backend" among them. These change when
    pyplot is first imported, and restoring the old ones would switch off inline display in a notebook.
    """
    before = {key: mpl.rcParams[key] for key in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def styles() -> Iterator[dict[str, Any]]:
    """Colours with their dash patterns, for one line after another."""
    for k in itertools.count():
        yield {"color": COLORS[k % len(COLORS)], "linestyle": DASHES[k % len(DASHES)]}
