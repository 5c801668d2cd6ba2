"""Claim N10: on the three-answer cycle a gap below 12/55 proves a least probability of all three answers."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.measures.metrics import duality_gap
from comalgames.papers.setting import OURS

# Numbers that differ by less differ only by rounding errors.
EXACT = 1e-12

# Win rates of the cycle minus 1/2, in tenths.
TENTHS = ((0, -4, 3), (4, 0, -4), (-3, 4, 0))


def least_gap_without(answer: int) -> Fraction:
    """The least gap of policies that leave an answer out, in rational arithmetic.

    The gap is twice the largest of three payoffs, which are linear in the share t of one of the two answers
    left. So it is convex and piecewise linear in t. Its minimum is at an end or where two payoffs are equal.
    """
    first, second = (k for k in range(3) if k != answer)
    lines = [
        (Fraction(row[second], 10), Fraction(row[first] - row[second], 10)) for row in TENTHS
    ]  # payoff = a + b t
    shares = {Fraction(0), Fraction(1)}
    for (a, b), (c, d) in combinations(lines, 2):
        if b != d:
            shares.add((c - a) / (b - d))
    return min(2 * max(a + b * t for a, b in lines) for t in shares if 0 <= t <= 1)


def boundary(num_cells: int, num_inner_cells: int) -> Any:
    """The package's gap on a grid of policies that leave an answer out, and the least gaps that are exact.

    The grid has a point at each k / num_cells, so that a multiple of 11 puts the minimizers on it. `inner`
    is a grid of all policies, with their gaps and their smallest probabilities.

    A gap g below 12/55 proves a least probability. Let q be the policy p without its answer i, so that
    p - q = p_i (e_i - q). Payoffs are at most 0.4, and the gap is twice the largest entry of S p. It differs
    from that of q by at most 2 * 2 * 0.4 p_i = 1.6 p_i, and that of q is 12/55 or more. So
    p_i >= (12/55 - g) / 1.6.
    """
    import xarray as xr

    share = np.arange(num_cells + 1) / num_cells
    inner = np.array([(i, j) for i in range(num_inner_cells + 1) for j in range(num_inner_cells + 1 - i)])
    inner = np.column_stack([inner, num_inner_cells - inner.sum(-1)]) / num_inner_cells
    gaps = np.zeros((3, num_cells + 1))
    with jax.enable_x64(True):
        game = games.comal_cycle()
        for answer in range(3):
            policies = np.insert(np.stack([share, 1 - share], -1), answer, 0.0, axis=-1)
            with np.errstate(divide="ignore"):
                gaps[answer] = np.asarray(duality_gap(game, np.log(policies)))
        with np.errstate(divide="ignore"):
            inner_gaps = np.asarray(duality_gap(game, np.log(inner)))
    exact = [least_gap_without(answer) for answer in range(3)]
    return xr.Dataset(
        {
            "gap": (("left out", "share"), gaps),
            "least": ("left out", [float(each) for each in exact]),
            "bound": ("share", np.full(len(share), float(min(exact)))),
            "inner gap": ("policy", inner_gaps),
            "smallest probability": ("policy", inner.min(-1)),
        },
        {"left out": [f"without {name}" for name in "abc"], "share": share},
    )


@reads("boundary")
def least_error(data: Data, stated: tuple[float, ...]) -> float:
    """Largest difference between the grid's least gap, the enumerated and the stated one, over the edges."""
    edges = data["boundary"]
    exact = edges["least"].values
    errors = edges["gap"].min("share").values - exact, np.array(stated) - exact
    return float(np.abs(errors).max())


@reads("boundary")
def least_gap(data: Data) -> float:
    """The least gap on the whole grid."""
    return float(data["boundary"]["gap"].min(skipna=False))


@reads("boundary")
def place_error(data: Data, answer: str, share: float) -> float:
    """Distance of the grid's minimizer from a share of the first answer left, where one is left out."""
    row = data["boundary"]["gap"].sel({"left out": f"without {answer}"})
    return float(abs(row["share"].values[int(np.argmin(row.values))] - share))


@reads("boundary")
def least_excess(data: Data, least: float, slope: float) -> float:
    """The smallest probability less (least - gap) / slope, the smallest over the grid of all policies."""
    grid = data["boundary"]
    return float((grid["smallest probability"] - (least - grid["inner gap"]) / slope).min(skipna=False))


EXPERIMENTS = (
    Measurement(
        "boundary",
        "How small can the gap of a policy be that leaves an answer of the three-answer cycle out?",
        boundary,
        {"num_cells": 1100, "num_inner_cells": 110},
    ),
)

# The least gap of policies that leave an answer out, and what a probability p_i changes: 1.6 p_i at most.
LEAST, SLOPE = 12 / 55, 1.6

STATEMENTS = (
    Statement(
        "Every policy that leaves out one of the three answers of COMAL's cycle has a duality gap of at "
        "least 12/55.",
        Claim(
            id="N10.least",
            quantity="least duality gap on a grid of the boundary, of 1,100 cells an edge",
            source=OURS,
            reading=least_gap(),
            bound=between(LEAST - EXACT, LEAST + EXACT),
        ),
    ),
    Statement(
        "Every policy with a duality gap of g on COMAL's three-answer cycle plays each answer with a "
        "probability of at least (12/55 - g)/1.6.",
        Claim(
            id="N10.floor",
            quantity="smallest probability minus this floor, smallest over a grid of 110 cells an edge",
            source=OURS,
            reading=least_excess(LEAST, SLOPE),
            bound=at_least(-EXACT),
        ),
    ),
    Statement(
        "The least duality gap of the policies that leave out answer a, b or c of COMAL's cycle is 12/55, "
        "12/55 or 16/55, by enumeration in rational arithmetic.",
        Claim(
            id="N10.edges",
            quantity="largest difference of the least gap on the grid from the enumerated one, three edges",
            source=OURS,
            reading=least_error((12 / 55, 12 / 55, 16 / 55)),
            bound=at_most(EXACT),
        ),
    ),
    Statement(
        "The policy (0, 3/11, 8/11) has the least duality gap of all that leave out the first answer of "
        "COMAL's cycle.",
        Claim(
            id="N10.place",
            quantity="distance of the grid's minimizer from 3/11",
            source=OURS,
            reading=place_error("a", 3 / 11),
            bound=at_most(EXACT),
        ),
    ),
)

FIGURES = (
    Figure(
        "boundary",
        "The duality gap of policies that leave an answer of COMAL's cycle out. It is nowhere below 12/55 = "
        "0.218, so that a policy with a smaller gap plays every answer with at least (12/55 - gap)/1.6.",
        (
            Panel(
                "lines",
                "boundary",
                "policies of two answers",
                {
                    "x": "share",
                    "y": {"gap": "without"},
                    "series": "left out",
                    "bound": {"bound": "12/55"},
                    "xlabel": "probability of the first of the two answers",
                    "ylabel": "duality gap",
                    "logy": False,
                },
            ),
        ),
    ),
)
