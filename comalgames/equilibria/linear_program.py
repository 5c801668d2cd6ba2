"""Limits of linear programs: the methods of HiGHS do not always stop by themselves."""

from __future__ import annotations

import numpy as np

# Linear programming methods, in the order in which they are tried.
METHODS = ("highs-ds", "highs-ipm")

# Iterations per row and column of the constraints. Programs that are solved need 1 to 3; the interior-point
# method may end in simplex iterations that go on forever if payoffs are nearly of low rank.
ITERATIONS = 100

# Seconds. A game of a thousand actions takes about ten, and one of four thousand, by n^3, about as long as
# this.
SECONDS = 600.0


def limits(constraints: np.ndarray) -> dict[str, float]:
    """Options of `scipy.optimize.linprog` that stop every method; a stopped one reports no success.

    Args:
        constraints: the matrix of the program, `[rows, columns]`.
    """
    return {"maxiter": ITERATIONS * sum(constraints.shape), "time_limit": SECONDS}
