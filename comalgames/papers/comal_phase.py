"""Claim A8, seen whole: over all step sizes and periods, COMAL ends where local theory says."""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.diagnostics import OUTCOMES
from comalgames.diagnostics.phases import phase_diagram
from comalgames.experiments import Claim, Figure, Measurement, Panel, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.papers.comal_setting import NEW, START, TEMPERATURE

STEP_SIZES, PERIODS = np.geomspace(0.1, 6.0, 48), np.arange(1, 41)

# What a round makes of a deviation is below or above these in the cells that claims are about: nearer to 1, a
# run of 20,000 steps has not gone far enough to tell.
CONTRACTS, GROWS = 0.95, 1.01


def diagram() -> Any:
    """COMAL around mirror descent on the cycle, 20,000 steps for each pair of step size and period."""
    return phase_diagram(
        games.comal_cycle(),
        lambda step_size, period: COMAL(MirrorDescent(step_size, TEMPERATURE), period),
        x={"step_size": STEP_SIZES},
        y={"period": PERIODS},
        init=START,
    )


def arrived(data: Data) -> np.ndarray:
    """Whether the run of each cell ended at Nash."""
    return np.asarray(data["phases"]["outcome"].values == OUTCOMES.index("Nash"))


def share_at_nash(data: Data, contracts: bool) -> float:
    """Share of the cells that theory says contract clearly (or grow clearly) whose run ended at Nash."""
    radius = data["phases"]["radius"].values
    return float(arrived(data)[radius < CONTRACTS if contracts else radius > GROWS].mean())


def rate_error(data: Data) -> float:
    """Median error of log(predicted factor a step), relative, over the cells where a rate was measured."""
    found = data["phases"]
    measured, predicted = np.log(found["rate"].values), np.log(found["predicted_rate"].values)
    return float(np.nanmedian(np.abs(measured / predicted - 1)))


EXPERIMENTS = (
    Measurement("phases", "Where does COMAL end, over all step sizes and periods?", diagram, is_quick=False),
)

CLAIMS = (
    Claim(
        "A8.inside", "Wherever |g(K, w)| is below 0.95, COMAL's run ends at Nash,",
        NEW, "share of such step sizes and periods", lambda data: share_at_nash(data, True), at_least(1.0),
        ("phases",),
    ),
    Claim(
        "A8.outside", "wherever it is above 1.01, it does not,",
        NEW, "share of such step sizes and periods that do", lambda data: share_at_nash(data, False),
        at_most(0.0), ("phases",),
    ),
    Claim(
        "A8.rate", "and in between it is the rate.",
        NEW, "median error of log(factor a step) over all runs with a rate", rate_error, at_most(0.02),
        ("phases",),
    ),
)  # fmt: skip

FIGURES = (
    Figure(
        "phase",
        "COMAL around mirror descent (temperature 0.1) on the three-answer cycle, 20,000 steps from the same "
        "start for every step size and period. Left: where the run ends, by its last quarter. Right: "
        "how many steps one more digit takes. The black line is local theory, |g(K, w)| = 1: below it COMAL "
        "moves its reference before the inner rule has come near; right of it the inner rule is unstable.",
        (
            Panel("outcomes", "phases", "where COMAL ends"),
            Panel("digits", "phases", "how fast, where it converges"),
        ),
    ),
)
