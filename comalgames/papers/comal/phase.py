"""Claim A8 over all step sizes and periods: local theory predicts where COMAL ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.diagnostics import OUTCOMES
from comalgames.diagnostics.phases import phase_diagram
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.papers.setting import NEW, START, TEMPERATURE

# The growth of an error in a round is below or above these in the cells that claims are about: nearer to 1, a
# run of 20,000 steps is too short to tell.
CONTRACTS, GROWS = 0.95, 1.01


def comal(step_size: Any, period: Any, temperature: float) -> COMAL:
    """COMAL around mirror descent."""
    return COMAL(MirrorDescent(step_size, temperature), period)


def diagram(
    smallest_step: float,
    largest_step: float,
    num_step_sizes: int,
    longest_period: int,
    temperature: float,
    init: tuple[float, ...],
    num_steps: int,
) -> Any:
    """COMAL around mirror descent on the cycle, for each pair of step size and period."""
    make: Callable[..., Any] = partial(comal, temperature=temperature)
    return phase_diagram(
        games.comal_cycle(),
        make,
        x={"step_size": np.geomspace(smallest_step, largest_step, num_step_sizes)},
        y={"period": np.arange(1, longest_period + 1)},
        num_steps=num_steps,
        init=init,
    )


def arrived(data: Data) -> np.ndarray:
    """Whether the run of each cell ended at Nash."""
    return np.asarray(data["phases"]["outcome"].values == OUTCOMES.index("Nash"))


@reads("phases")
def share_at_nash_below(data: Data, growth: float) -> float:
    """Share of runs that ended at Nash, among cells with a smaller linearized growth."""
    return float(arrived(data)[data["phases"]["radius"].values < growth].mean())


@reads("phases")
def share_at_nash_above(data: Data, growth: float) -> float:
    """Share of runs that ended at Nash, among cells with a larger linearized growth."""
    return float(arrived(data)[data["phases"]["radius"].values > growth].mean())


@reads("phases")
def rate_error(data: Data) -> float:
    """Median error of log(predicted factor per step), relative, over the cells where a rate was measured."""
    cells = data["phases"]
    measured, predicted = np.log(cells["rate"].values), np.log(cells["predicted_rate"].values)
    return float(np.nanmedian(np.abs(measured / predicted - 1)))


EXPERIMENTS = (
    Measurement(
        "phases",
        "Which limit does COMAL have at each step size and period?",
        diagram,
        {
            "smallest_step": 0.1,
            "largest_step": 6.0,
            "num_step_sizes": 48,
            "longest_period": 40,
            "temperature": TEMPERATURE,
            "init": START,
            "num_steps": 20_000,
        },
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "COMAL on the three-answer cycle ends at Nash with every step size and period for which one round, "
        "linearized at Nash, multiplies errors by less than 0.95.",
        Claim(
            id="A8.inside",
            quantity="share of such step sizes and periods that end at Nash",
            source=NEW,
            reading=share_at_nash_below(CONTRACTS),
            bound=at_least(1.0),
        ),
    ),
    Statement(
        "COMAL on the three-answer cycle does not end at Nash with any step size and period for which one "
        "round, linearized at Nash, multiplies errors by more than 1.01.",
        Claim(
            id="A8.outside",
            quantity="share of such step sizes and periods that end at Nash",
            source=NEW,
            reading=share_at_nash_above(GROWS),
            bound=at_most(0.0),
        ),
    ),
    Statement(
        "The factor by which COMAL's error shrinks per step on the three-answer cycle is the factor that "
        "one round linearized at Nash predicts.",
        Claim(
            id="A8.rate",
            quantity="median relative error of log(factor per step) over all runs with a rate",
            source=NEW,
            reading=rate_error(),
            bound=at_most(0.02),
        ),
    ),
)

FIGURES = (
    Figure(
        "phase",
        "COMAL around mirror descent (temperature 0.1) on the three-answer cycle, 20,000 steps from the "
        "same start for every step size and period. Left: the outcome of the run, by its last quarter. "
        "Right: the number of steps per decimal digit. The black line is local theory, |g(K, w)| = 1: below "
        "it COMAL moves its reference before the inner rule is near its equilibrium; to the right of it the "
        "inner rule is unstable.",
        (
            Panel("outcomes", "phases", "where COMAL ends"),
            Panel("digits", "phases", "how fast, where it converges"),
        ),
    ),
)
