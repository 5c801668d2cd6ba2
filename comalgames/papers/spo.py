"""SPO: Hedge in self-play; the average iterate converges, the last does not, and a queue makes it worse.

Swamy et al., "A Minimaximalist Approach to Reinforcement Learning from Human Feedback", 2024, arXiv
2401.04056.
"""

from __future__ import annotations

import math

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
    between,
    reads,
)
from comalgames.papers.reading import curve, curves, late_swing
from comalgames.papers.setting import (
    NASH,
    OURS,
    START,
    STARTS,
    cycle_game,
    kl_to_nash,
    on_both,
    with_losing_answer,
)

STEP, QUEUE = 0.3, 10

# A small step near Nash. One step of MWU multiplies KL(Nash, policy) by 1 + (eta w)^2, where w is the
# rotation frequency; an opponent that is on average (q - 1) / 2 steps old adds (q - 1) (eta w)^2.
SMALL_STEP, QUEUES = 0.02, (2, 5, 10)
LITTLE = 1e-12
NEAR_NASH = tuple(p + d for p, d in zip(NASH, (1e-4, -1e-4, 0.0), strict=True))
SINGLE, QUEUED = "SPO", f"SPO, queue of {QUEUE}"
HORIZONS = (100, 400, 1600, 6400, 25_600)


# Hedge's regret is at most L / step + T step / 8, where exp(-L) is the smallest probability of the first
# policy; here of both first policies.
SURPRISE = -math.log(min(min(start) for start in STARTS.values()))


def matching_step(horizon: int) -> float:
    """The step for which Hedge's bound is smallest: sqrt(8 L / T)."""
    return math.sqrt(8 * SURPRISE / horizon)


MATCHED = {f"T = {horizon}": SPO(matching_step(horizon)) for horizon in HORIZONS}


@reads()
def share_of_bound(data: Data, experiment: tuple[str, ...], horizons: tuple[int, ...]) -> float:
    """Largest gap of the average of the first T policies over 2 sqrt(L / (2 T)), each T with its own step."""
    shares = []
    for horizon in horizons:
        for row in curves(data, experiment, f"T = {horizon}", "average_duality_gap"):
            # The record of step t is of the average of policies 0 ... t.
            shares.append(row[horizon - 1] / (2 * math.sqrt(SURPRISE / (2 * horizon))))
    return float(np.max(shares))


@reads()
def error_of_growth(
    data: Data, experiment: tuple[str, ...], queues: tuple[int, ...], from_step: int
) -> float:
    """Largest |ratio / q - 1|, the ratio of the growth of log KL(Nash, policy) to that without a queue."""
    errors = []
    for name in experiment:
        kl = {q: curve(data, name, f"queue of {q}", "kl_to_nash")[from_step:] for q in (1, *queues)}
        growth = {q: math.log(row[-1] / row[0]) for q, row in kl.items()}
        errors += [abs(growth[q] / growth[1] / q - 1) for q in queues]
    return float(np.max(errors))


STATEMENTS = (
    Statement(
        "The average policy of SPO with the step sqrt(8 L / T), which matches the horizon T, has a duality "
        "gap of at most 2 sqrt(L / (2 T)) on the three-answer cycle, with and without a fourth answer that "
        "loses 90% of the time, and of more than a fifth of that at some T. Here exp(-L) is the smallest "
        "probability of the first policies.",
        Claim(
            id="A23.average",
            quantity="largest share of the bound, T from 100 to 25,600, two games",
            source="SPO, theorem on Hedge; Freund and Schapire 1999",
            reading=share_of_bound(on_both("matched"), HORIZONS),
            bound=between(0.2, 1.0),
        ),
    ),
    Statement(
        "The last policy of SPO with step 0.3 does not converge on the three-answer cycle, with and without "
        "a fourth answer that loses 90% of the time: its duality gap rises and falls.",
        Claim(
            id="A23.last",
            quantity="largest minus smallest duality gap in the second half of the run, two games",
            source="known (Bailey and Piliouras 2018)",
            reading=late_swing(on_both("dynamics"), SINGLE),
            bound=at_least(0.4),
        ),
    ),
    Statement(
        "SPO whose opponent is drawn from a queue of its last q policies spirals away from Nash q times as "
        "fast as without a queue, with small steps on the three-answer cycle, with and without a fourth "
        "answer that loses 90% of the time.",
        Claim(
            id="A23.queue",
            quantity="largest |ratio / q - 1|, ratio of the growth of log KL(Nash, policy), step 0.02",
            source=OURS,
            reading=error_of_growth(on_both("queues"), QUEUES, max(QUEUES)),
            bound=at_most(0.02),
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
        *with_losing_answer(
            Experiment(
                "dynamics",
                "To which limits do the last policy and the average converge?",
                cycle_game,
                {SINGLE: SPO(STEP), QUEUED: SPO(STEP, QUEUE)},
                {"num_queries": 6000, "init": START},
            )
        ),
        *with_losing_answer(
            Experiment(
                "queues",
                "How much faster does self-play against a queue of policies spiral away from Nash?",
                cycle_game,
                {f"queue of {q}": SPO(SMALL_STEP, q) for q in (1, *QUEUES)},
                {"num_steps": 20_000, "init": NEAR_NASH, "game_metrics": kl_to_nash},
            ),
            init=(*NEAR_NASH[:2], NEAR_NASH[2] - LITTLE, LITTLE),
        ),
        *with_losing_answer(
            Experiment(
                "matched",
                "Does the average satisfy the bound of Hedge with the step that matches the horizon?",
                cycle_game,
                MATCHED,
                {"num_queries": max(HORIZONS), "init": START},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
