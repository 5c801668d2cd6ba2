"""SPO: Hedge in self-play; the average iterate converges, the last does not, and a queue makes it worse.

Swamy et al., "A Minimaximalist Approach to Reinforcement Learning from Human Feedback", 2024, arXiv
2401.04056.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from comalgames.algorithms import SPO
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.papers.comal_setting import START, cycle_game
from comalgames.papers.reading import NEW, curve, largest_late

STEP, QUEUE = 0.3, 10
SINGLE, QUEUED = "SPO", f"SPO, queue of {QUEUE}"
HORIZONS = (100, 400, 1600, 6400, 25_600)


def matching_step(horizon: int) -> float:
    """The step of Hedge's theorem for payoffs in an interval of length 1: sqrt(8 ln n / T), n = 3."""
    return float(np.sqrt(8 * np.log(3) / horizon))


MATCHED = {f"T = {horizon}": SPO(matching_step(horizon)) for horizon in HORIZONS}


def share_of_bound(data: Data) -> float:
    """Largest gap of the average over 2 sqrt(ln n / (2 T)), each horizon with its own step."""
    shares = []
    for horizon in HORIZONS:
        # The average at record t is of policies 0 ... t.
        average = curve(data, "matched", f"T = {horizon}", "average_duality_gap")[horizon // 100 - 1]
        shares.append(average / (2 * np.sqrt(np.log(3) / (2 * horizon))))
    return float(max(shares))


def time_to(data: Data, algorithm: str, level: float) -> float:
    """Queries after which the gap of the last policy first exceeds a level."""
    gaps = curve(data, "dynamics", algorithm)
    above = np.flatnonzero(gaps > level)
    return float(above[0]) if len(above) else float("inf")


PAPER = Paper(
    "spo",
    "SPO: the average of self-play converges, its last policy does not",
    "Swamy et al. 2024, arXiv 2401.04056",
    (
        Experiment(
            "dynamics", "Where do the last policy and the average go?", cycle_game,
            {SINGLE: SPO(STEP), QUEUED: SPO(STEP, QUEUE)}, {"num_queries": 6000, "init": START},
        ),
        Experiment(
            "matched", "Does the average keep Hedge's bound with the step that matches the horizon?",
            cycle_game, MATCHED, {"num_queries": max(HORIZONS), "record_every": 100},
        ),
    ),
    (
        Claim(
            "A23.average", "With the matching step the gap of the average is at most 2 sqrt(ln n / (2 T)), "
            "for every horizon T: it converges at T^-1/2.", "SPO, theorem on Hedge; Freund and Schapire 1999",
            "largest share of the bound, T from 100 to 25,600", share_of_bound, at_most(1.0), ("matched",),
        ),
        Claim(
            "A23.last", "The last policy does not converge,", NEW, "largest gap in the last quarter",
            partial(largest_late, experiment="dynamics", algorithm=SINGLE), at_least(0.7), ("dynamics",),
        ),
        Claim(
            "A23.queue", "and an opponent drawn from a queue of the last 10 makes it leave sooner.", NEW,
            "queries until the gap exceeds 0.7, without a queue over with one",
            lambda data: time_to(data, SINGLE, 0.7) / time_to(data, QUEUED, 0.7), at_least(2.0),
            ("dynamics",),
        ),
    ),
    (
        Figure(
            "spo",
            "SPO with Hedge on the three-answer cycle, step 0.3: the last policy (left) spirals out, faster "
            "against a queue of the last ten policies; the average (right) approaches Nash.",
            (
                Panel("gap", "dynamics", "last policy"),
                Panel("gap", "dynamics", "average policy", {"curve": "average_duality_gap", "legend": None}),
            ),
        ),
    ),
)  # fmt: skip
