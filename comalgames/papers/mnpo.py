"""MNPO: with a temperature it has INPO's limit; without one its limit depends on its players' weights.

Wu et al., "Multiplayer Nash Preference Optimization", 2025, arXiv 2509.23102.
"""

from __future__ import annotations

from typing import Any

from comalgames.algorithms import INPO, MNPO, MWU
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, Statement, at_least, at_most
from comalgames.papers.reading import largest_late, late_swing, regularized_error
from comalgames.papers.setting import OURS, START, TEMPERATURE, cycle_game, on_both, with_losing_answer

ETA = 1.0
WITH: dict[str, Any] = {
    "INPO": INPO(ETA, TEMPERATURE),
    "MNPO, as coded": MNPO(ETA, TEMPERATURE),
    "MNPO, as written": MNPO(ETA, TEMPERATURE, opponents="past"),
}
WITHOUT: dict[str, Any] = {
    "MWU": MWU(1 / ETA),
    "MNPO, as coded": MNPO(ETA, 0.0),
    "MNPO, as written": MNPO(ETA, 0.0, opponents="past"),
}

# Weights b with sum_j j^2 b_j below 1, and above it. The step is within the limits of those above.
SMALL_STEP = 4.0
PLAYERS: dict[str, tuple[float, ...]] = {
    "(1/2, 1/2)": (1 / 2, 1 / 2),
    "(.6, .25, .15)": (0.6, 0.25, 0.15),
    "(1/3, 1/3, 1/3)": (1 / 3, 1 / 3, 1 / 3),
    "(1/4, 1/4, 1/4, 1/4)": (1 / 4, 1 / 4, 1 / 4, 1 / 4),
    "(0, .93, 0, .07)": (0.0, 0.93, 0.0, 0.07),
}
CONVERGING = tuple(name for name, b in PLAYERS.items() if sum(j * j * bj for j, bj in enumerate(b)) > 1)
DIVERGING = tuple(name for name in PLAYERS if name not in CONVERGING)

# The two versions: in the published code the opponent is the current policy, in the paper two past ones.
VERSIONS = (
    ("code", "MNPO, as coded", "MNPO as in the published code"),
    ("paper", "MNPO, as written", "MNPO as written in the paper"),
)

STATEMENTS = (
    *(
        Statement(
            f"{subject}, with two players and temperature 0.1, converges to the equilibrium of the "
            "regularized game, INPO's limit, on the three-answer cycle with and without a fourth answer that "
            "loses 90% of the time.",
            Claim(
                id=f"A28.{label}.limit",
                quantity="largest difference of a probability, two games",
                source=OURS,
                reading=regularized_error(on_both("with a temperature"), name, TEMPERATURE),
                bound=at_most(1e-10),
            ),
        )
        for label, name, subject in VERSIONS
    ),
    *(
        Statement(
            f"{subject}, with two players and no temperature, diverges on the three-answer cycle.",
            Claim(
                id=f"A28.{label}.diverges",
                quantity="largest minus smallest duality gap in the second half of the run, two games",
                source=OURS,
                reading=late_swing(on_both("without"), name),
                bound=at_least(0.3),
            ),
        )
        for label, name, subject in VERSIONS
    ),
    *(
        Statement(
            f"MNPO without a temperature, against the current policy and with step 4, {fate} on the "
            "three-answer cycle, with and without a fourth answer that loses 90% of the time, with each of "
            f"{number} choices of weights b for which sum_j j^2 b_j is {side} 1.",
            *(
                Claim(
                    id=f"A28.{label}.{k}",
                    quantity=f"{quantity}, two games, weights {name}",
                    source=OURS,
                    reading=reading(on_both("players"), name),
                    bound=bound,
                )
                for k, name in enumerate(names)
            ),
        )
        for label, fate, number, side, names, quantity, reading, bound in (
            (
                "players",
                "reaches Nash in the last iterate",
                "three",
                "above",
                CONVERGING,
                "largest duality gap in the last quarter of the run",
                largest_late,
                at_most(1e-10),
            ),
            (
                "few",
                "diverges",
                "two",
                "below",
                DIVERGING,
                "largest minus smallest duality gap in the second half of the run",
                late_swing,
                at_least(0.3),
            ),
        )
    ),
)

FIGURES = (
    Figure(
        "mnpo",
        "MNPO with its last two policies as players, on the three-answer cycle. Left: temperature 0.1; all "
        "rules end at the limit of INPO. Middle: without a temperature; the mean of two bases slows the "
        "spiral. Right: without a temperature, against the current policy, step 4 and other weights b of the "
        "last policies; those with sum_j j^2 b_j above 1 reach Nash.",
        (
            Panel("gap", "with a temperature", "temperature 0.1"),
            Panel("gap", "without", "no temperature", {"until": 1000}),
            Panel("gap", "players", "no temperature, other weights", {"until": 1000}),
        ),
    ),
)

PAPER = Paper(
    name="mnpo",
    title="MNPO has INPO's limit with a temperature; without one two players diverge and three reach Nash",
    source="Wu et al. 2025, arXiv 2509.23102",
    experiments=(
        *with_losing_answer(
            Experiment(
                "with a temperature",
                "Do past policies as players change the limit?",
                cycle_game,
                WITH,
                {"num_queries": 600, "init": START},
            )
        ),
        *with_losing_answer(
            Experiment(
                "without",
                "Do past policies as players make self-play converge without a reference?",
                cycle_game,
                WITHOUT,
                {"num_queries": 6000, "init": START},
            )
        ),
        *with_losing_answer(
            Experiment(
                "players",
                "Which weights of its own past make MNPO converge without a temperature?",
                cycle_game,
                {name: MNPO(1 / SMALL_STEP, 0.0, weights) for name, weights in PLAYERS.items()},
                {"num_queries": 6000, "init": START},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
