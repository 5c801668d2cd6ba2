"""SPO: Hedge in self-play; the average iterate converges, the last does not, and a queue makes it worse.

Swamy et al., "A Minimaximalist Approach to Reinforcement Learning from Human Feedback", 2024, arXiv
2401.04056.
"""

from __future__ import annotations

import numpy as np

from comalgames.algorithms import SPO
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.papers.reading import curve, largest_late
from comalgames.papers.setting import NEW, START, cycle_game

STEP, QUEUE = 0.3, 10
SINGLE, QUEUED = "SPO", f"SPO, queue of {QUEUE}"
HORIZONS = (100, 400, 1600, 6400, 25_600)
RECORD_EVERY = 100


def matching_step(horizon: int) -> float:
    """The step of Hedge's theorem for payoffs in an interval of length 1: sqrt(8 ln n / T), n = 3."""
    return float(np.sqrt(8 * np.log(3) / horizon))


MATCHED = {f"T = {horizon}": SPO(matching_step(horizon)) for horizon in HORIZONS}


@reads("matched")
def share_of_bound(data: Data, horizons: tuple[int, ...], record_every: int) -> float:
    """Largest gap of the average over 2 sqrt(ln n / (2 T)), each horizon with its own step."""
    shares = []
    for horizon in horizons:
        # The average at record t is of policies 0 ... t.
        average = curve(data, "matched", f"T = {horizon}", "average_duality_gap")[horizon // record_every - 1]
        shares.append(average / (2 * np.sqrt(np.log(3) / (2 * horizon))))
    return float(max(shares))


def time_to(data: Data, algorithm: str, level: float) -> float:
    """Queries after which the gap of the last policy first exceeds a level."""
    gaps = curve(data, "dynamics", algorithm)
    above = np.flatnonzero(gaps > level)
    return float(above[0]) if len(above) else float("inf")


@reads("dynamics")
def ratio_of_times(data: Data, algorithm: str, other: str, level: float) -> float:
    """Queries until the gap of one rule exceeds a level, divided by the queries of another rule."""
    return time_to(data, algorithm, level) / time_to(data, other, level)


STATEMENTS = (
    Statement(
        "The average policy of SPO with the step sqrt(8 ln n / T), which matches the horizon T, has a "
        "duality gap of at most 2 sqrt(ln n / (2 T)) on the three-answer cycle, from the uniform policy.",
        Claim(
            id="A23.average",
            quantity="largest share of the bound, T from 100 to 25,600",
            source="SPO, theorem on Hedge; Freund and Schapire 1999",
            reading=share_of_bound(HORIZONS, RECORD_EVERY),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "The last policy of SPO with step 0.3 does not converge on the three-answer cycle.",
        Claim(
            id="A23.last",
            quantity="largest duality gap in the last quarter of the run",
            source=NEW,
            reading=largest_late("dynamics", SINGLE),
            bound=at_least(0.7),
        ),
    ),
    Statement(
        "SPO spirals away from Nash sooner on the three-answer cycle if its opponent is drawn from a queue "
        "of the last 10 policies.",
        Claim(
            id="A23.queue",
            quantity=(
                "queries until the duality gap exceeds 0.7 without a queue, divided by those with a queue"
            ),
            source=NEW,
            reading=ratio_of_times(SINGLE, QUEUED, 0.7),
            bound=at_least(2.0),
        ),
    ),
)

FIGURES = (
    Figure(
        "spo",
        "SPO with Hedge on the three-answer cycle, step 0.3: the last policy (left) spirals out, faster "
        "against a queue of the last ten policies; the average (right) approaches Nash.",
        (
            Panel("gap", "dynamics", "last policy"),
            Panel("gap", "dynamics", "average policy", {"curve": "average_duality_gap", "legend": None}),
        ),
    ),
)

PAPER = Paper(
    name="spo",
    title="SPO: the average of self-play converges, its last policy does not",
    source="Swamy et al. 2024, arXiv 2401.04056",
    experiments=(
        Experiment(
            "dynamics",
            "To which limits do the last policy and the average converge?",
            cycle_game,
            {SINGLE: SPO(STEP), QUEUED: SPO(STEP, QUEUE)},
            {"num_queries": 6000, "init": START},
        ),
        Experiment(
            "matched",
            "Does the average satisfy the bound of Hedge with the step that matches the horizon?",
            cycle_game,
            MATCHED,
            {"num_queries": max(HORIZONS), "record_every": RECORD_EVERY},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
