"""Iterated removal of strictly dominated actions, whose large payoffs would hide those of the others."""

from __future__ import annotations

import numpy as np


def undominated(payoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns that survive the iterated removal of actions that another action strictly dominates.

    No Nash policy plays a removed action, and the order of removal does not matter. Payoffs are compared as
    they are stored, so that there is no rounding.

    Args:
        payoff: payoffs of the row player, `[m, n]`; the column player receives their negatives.

    Returns:
        Two bool arrays, `[m]` and `[n]`.
    """
    rows, columns = (np.ones(size, bool) for size in payoff.shape)
    while True:
        before = rows.sum() + columns.sum()
        rows[rows] = ~_dominated(payoff[np.ix_(rows, columns)])
        columns[columns] = ~_dominated(-payoff[np.ix_(rows, columns)].T)
        if rows.sum() + columns.sum() == before:
            return rows, columns


def _dominated(payoff: np.ndarray) -> np.ndarray:
    """Whether each row is below another one in every column, bool `[rows]`."""
    lower, upper = np.nonzero(payoff[:, :1] < payoff[:, 0])
    for column in payoff.T[1:]:
        below = column[lower] < column[upper]
        lower, upper = lower[below], upper[below]
    dominated = np.zeros(len(payoff), bool)
    dominated[lower] = True
    return dominated


def rescaled(payoff: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Replace payoffs of removed actions by payoffs of the size of the others; they remain dominated.

    Args:
        payoff: payoffs of the row player, `[m, n]`; the result is antisymmetric if they are.
        rows: rows to keep, bool `[m]`.
        columns: columns to keep, bool `[n]`.
    """
    kept = payoff[np.ix_(rows, columns)]
    low, high = float(kept.min()), float(kept.max())
    step = (high / 2 - low / 2) or abs(low) or 1.0
    game = np.where(rows[:, None] & columns, payoff, low / 2 + high / 2)
    game[np.ix_(~rows, columns)] = low - step
    game[np.ix_(rows, ~columns)] = high + step
    return game
