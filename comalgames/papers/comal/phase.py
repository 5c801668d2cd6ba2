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
from comalgames.papers.comal.inner_steps import GROWTH
from comalgames.papers.local import round_factor
from comalgames.papers.setting import FREQUENCY, OURS, START, TEMPERATURE

NUM_STEPS = 20_000

# A cell is decided if theory has an error shrink by this factor before the last quarter of the run, which is
# judged at a gap of 1e-6, or grow by this factor in the run.
SHRINKS, GROWS = 1e-8, 10.0


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


def growth(data: Data) -> np.ndarray:
    """|g(K, w)| per step in each cell, by the formula of claim A8.exact."""
    step, period = grid(data["phases"])
    return np.asarray(round_factor(step, TEMPERATURE, period, FREQUENCY) ** (1 / period))


def grid(cells: Any) -> tuple[Any, Any]:
    """Step size and period of every cell, in the order of the saved results."""
    step, period = cells["step_size"].broadcast_like(cells["rate"]), cells["period"]
    return step.values, period.broadcast_like(cells["rate"]).values


@reads("phases")
def share_at_nash_below(data: Data, num_steps: int, shrinks: float) -> float:
    """Share of runs that ended at Nash, among cells in which theory has errors shrink by the factor."""
    return float(arrived(data)[0.75 * num_steps * np.log(growth(data)) < np.log(shrinks)].mean())


@reads("phases")
def share_at_nash_above(data: Data, num_steps: int, grows: float) -> float:
    """Share of runs that ended at Nash, among cells in which theory has errors grow by the factor."""
    return float(arrived(data)[num_steps * np.log(growth(data)) > np.log(grows)].mean())


@reads("phases")
def rate_error(data: Data) -> float:
    """Upper quartile of the relative error of log(factor per step) over cells where a rate was measured.

    It is nan if fewer than half of the cells have one.
    """
    measured, predicted = np.log(data["phases"]["rate"].values), np.log(growth(data))
    known = np.isfinite(measured)
    errors = np.abs(measured[known] / predicted[known] - 1)
    return float(np.quantile(errors, 0.75)) if known.mean() >= 0.5 else float("nan")


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
            "num_steps": NUM_STEPS,
        },
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "COMAL at temperature tau = 0.1 on the three-answer cycle ends at Nash with every step size eta and "
        "period K, of 48 times 40, for which errors that are multiplied in each round of K steps by "
        f"{GROWTH}, fall to 1e-8 of their size or less in 15,000 steps.",
        Claim(
            id="A8.inside",
            quantity="share of such step sizes and periods, of 48 times 40, that end at Nash",
            source=OURS,
            reading=share_at_nash_below(NUM_STEPS, SHRINKS),
            bound=at_least(1.0),
        ),
    ),
    Statement(
        "COMAL at temperature tau = 0.1 on the three-answer cycle does not end at Nash with any step size "
        "eta and period K, of 48 times 40, for which errors that are multiplied in each round of K steps by "
        f"{GROWTH}, grow tenfold or more in 20,000 steps.",
        Claim(
            id="A8.outside",
            quantity="share of such step sizes and periods, of 48 times 40, that end at Nash",
            source=OURS,
            reading=share_at_nash_above(NUM_STEPS, GROWS),
            bound=at_most(0.0),
        ),
    ),
    Statement(
        "The factor per step by which COMAL's error at temperature tau = 0.1 on the three-answer cycle "
        "shrinks late in a run is, on three quarters of the step sizes eta and periods K at which a run has "
        f"such a factor, of 48 times 40, the K-th root of {GROWTH}.",
        Claim(
            id="A8.rate",
            quantity="upper quartile of the relative error of log(factor per step) over all runs with a rate",
            source=OURS,
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
