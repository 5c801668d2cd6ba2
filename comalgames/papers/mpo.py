"""MPO: magnetic mirror descent whose magnet moves reaches Nash in the last iterate.

Wang et al., "Magnetic Preference Optimization", 2024, arXiv 2410.16714; Sokota et al. 2023 for the moving
magnet.
"""

from __future__ import annotations

from typing import Any

from comalgames.algorithms import MMD, MPO, MovingReference
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, Statement, at_least, at_most
from comalgames.papers.reading import last, late_swing, regularized_error
from comalgames.papers.setting import NEW, START, TEMPERATURE, cycle_game, on_both, with_losing_answer

RULES: dict[str, Any] = {
    "MPO, every 20 steps": MPO(1.0, TEMPERATURE, 20),
    "moving magnet, .03 a step": MovingReference(MMD(1.0, TEMPERATURE), 0.03),
    "moving magnet, 1 a step": MovingReference(MMD(1.0, TEMPERATURE), 1.0),
    "MMD, magnet fixed": MMD(1.0, TEMPERATURE),
}

STATEMENTS = (
    Statement(
        "MPO, which moves its magnet every 20 steps, reaches the Nash policy of the three-answer cycle in "
        "the last iterate, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A21.last",
            quantity="last duality gap, the larger of two games",
            source="MPO, theorem 3.2",
            reading=last(on_both("magnets"), "MPO, every 20 steps"),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Magnetic mirror descent with a fixed magnet converges to the equilibrium regularized around its "
        "magnet, which is not Nash, on the three-answer cycle with and without a fourth answer that loses "
        "90% of the time.",
        Claim(
            id="A21.fixed",
            quantity="largest difference of a probability, two games",
            source="MPO; Sokota et al. 2023, theorem 3.4",
            reading=regularized_error(on_both("magnets"), "MMD, magnet fixed", TEMPERATURE),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Magnetic mirror descent whose magnet goes 3% of the way to the policy in each step reaches the Nash "
        "policy of the three-answer cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A21.moving",
            quantity="last duality gap, the larger of two games",
            source="Sokota et al. 2023; measured",
            reading=last(on_both("magnets"), "moving magnet, .03 a step"),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Magnetic mirror descent whose magnet goes all the way to the policy in each step is multiplicative "
        "weights, and diverges on the three-answer cycle.",
        Claim(
            id="A21.fast",
            quantity="largest minus smallest duality gap in the second half of the run, two games",
            source=NEW,
            reading=late_swing(on_both("magnets"), "moving magnet, 1 a step"),
            bound=at_least(0.4),
        ),
    ),
)

FIGURES = (
    Figure(
        "mpo",
        "Magnetic mirror descent (step 1, temperature 0.1) on the three-answer cycle with a fixed magnet, a "
        "magnet that moves every 20 steps, and one that follows the policy.",
        (Panel("gap", "magnets", "duality gap of the last policy"),),
    ),
)

PAPER = Paper(
    name="mpo",
    title="MPO: a magnet that moves every 20 steps leads to Nash",
    source="Wang et al. 2024, arXiv 2410.16714",
    experiments=(
        *with_losing_answer(
            Experiment(
                "magnets",
                "How should the magnet move?",
                cycle_game,
                RULES,
                {"num_queries": 1600, "init": START},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
