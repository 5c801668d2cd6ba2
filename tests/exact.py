"""Nash policies on a given support in rational arithmetic: no rounding, no package code."""

from fractions import Fraction

import numpy as np


def kernel(matrix):
    """A basis of the vectors that the square matrix of fractions maps to 0, by elimination."""
    rows, n, pivots = [list(row) for row in matrix], len(matrix), []
    for column in range(n):
        pivot = next((r for r in range(len(pivots), n) if rows[r][column] != 0), None)
        if pivot is None:
            continue
        here = len(pivots)
        rows[here], rows[pivot] = rows[pivot], rows[here]
        rows[here] = [x / rows[here][column] for x in rows[here]]
        for r in range(n):
            if r != here and rows[r][column] != 0:
                factor = rows[r][column]
                rows[r] = [x - factor * y for x, y in zip(rows[r], rows[here], strict=True)]
        pivots.append(column)
    free = [column for column in range(n) if column not in pivots]
    basis = []
    for one in free:
        vector = [Fraction(int(column == one)) for column in range(n)]
        for r, column in enumerate(pivots):
            vector[column] = -rows[r][one]
        basis.append(vector)
    return basis


def the_nash_policy_on(skew, support):
    """The Nash policy that is positive exactly on `support` and provably the only one of the game, or None.

    Its equations must leave one policy, which is positive, and against which every other action loses: then
    every Nash policy q has q.T skew p = 0, is 0 off the support, and solves the same equations.
    """
    skew = [[Fraction(float(x)) for x in row] for row in np.asarray(skew, np.float64)]
    chosen = [int(i) for i in np.flatnonzero(support)]
    basis = kernel([[skew[i][j] for j in chosen] for i in chosen])
    if len(basis) != 1 or sum(basis[0]) == 0:
        return None
    policy = [Fraction(0)] * len(skew)
    for i, weight in zip(chosen, basis[0], strict=True):
        policy[i] = weight / sum(basis[0])
    earned = [sum(a * p for a, p in zip(row, policy, strict=True)) for row in skew]
    loses = all(earned[i] < 0 for i in range(len(skew)) if i not in chosen)
    positive = all(policy[i] > 0 for i in chosen)
    return np.array([float(p) for p in policy]) if loses and positive else None
