"""Iterative refinement of a policy with residuals that are rounded only once."""

from __future__ import annotations

import math

import numpy as np

# Errors of this size are left. Most games, those of hundreds of actions included, have no larger ones.
SMALL_ERROR = 1e-10

# Steps of refinement. Each multiplies the error by at most about the first error, which is below 1 / |S|.
MAX_STEPS = 20

# Splits a float64 into two halves of 26 bits, whose products are exact.
SPLITTER = 2.0**27 + 1.0


def refined(skew: np.ndarray, policy: np.ndarray, error: float) -> np.ndarray:
    """The policy with skew_SS p = 0, sum p = 1 on its support S, to rounding error in each probability.

    Args:
        skew: payoffs `[n, n]`, antisymmetric, at most 1 in size.
        policy: an approximation `[n]` that is positive exactly on S, where it is the only solution.
        error: bound on the error of `policy`.
    """
    if error <= SMALL_ERROR:
        return policy
    support = policy > 0
    size = int(support.sum())
    matrix = np.ones((size + 1, size + 1))
    matrix[:-1, :-1], matrix[-1, -1] = skew[np.ix_(support, support)], 0.0
    solved, unit = np.append(policy[support], 0.0), np.eye(size + 1)[-1]
    for _ in range(MAX_STEPS):
        move = np.linalg.solve(matrix, _residual(matrix, solved, unit))
        solved = solved + move
        if np.abs(move).max() <= SMALL_ERROR:
            break
    if not np.all(solved[:-1] > 0):
        return policy
    result = np.zeros_like(policy)
    result[support] = solved[:-1] / solved[:-1].sum()
    return result


def _residual(matrix: np.ndarray, solved: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`right - matrix @ solved`, each entry rounded once (Dekker, "A Floating-Point Technique", 1971)."""
    high, low = _halves(matrix)
    other_high, other_low = _halves(solved)
    product = matrix * solved
    lost = (high * other_high - product + high * other_low + low * other_high) + low * other_low
    terms = np.column_stack([right, -product, -lost])
    return np.array([math.fsum(row) for row in terms])


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high = SPLITTER * x - (SPLITTER * x - x)
    return high, x - high
