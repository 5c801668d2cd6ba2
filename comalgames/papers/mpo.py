"""MPO: magnetic mirror descent whose magnet moves reaches Nash in the last iterate.

Wang et al., "Magnetic Preference Optimization", 2024, arXiv 2410.16714; Sokota et al. 2023 for the moving
magnet.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from comalgames.algorithms import MMD, MPO, MovingReference
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, at_least, at_most
from comalgames.papers.comal_setting import START, TEMPERATURE, cycle_game
from comalgames.papers.reading import NEW, largest_late, last

RULES: dict[str, Any] = {
    "MPO, every 20 steps": MPO(1.0, TEMPERATURE, 20),
    "moving magnet, .03 a step": MovingReference(MMD(1.0, TEMPERATURE), 0.03),
    "moving magnet, 1 a step": MovingReference(MMD(1.0, TEMPERATURE), 1.0),
    "MMD, magnet fixed": MMD(1.0, TEMPERATURE),
}

PAPER = Paper(
    "mpo",
    "MPO: a magnet that moves every so many steps leads to Nash",
    "Wang et al. 2024, arXiv 2410.16714",
    (
        Experiment(
            "magnets", "How should the magnet move?", cycle_game, RULES, {"num_queries": 1600, "init": START}
        ),
    ),
    (
        Claim(
            "A21.last", "MPO reaches Nash in the last iterate,", "MPO, theorem 3.2", "last duality gap",
            partial(last, experiment="magnets", algorithm="MPO, every 20 steps"), at_most(1e-12),
            ("magnets",),
        ),
        Claim(
            "A21.fixed", "where magnetic mirror descent with a fixed magnet stops short.", "MPO",
            "last duality gap", partial(last, experiment="magnets", algorithm="MMD, magnet fixed"),
            at_least(0.05), ("magnets",),
        ),
        Claim(
            "A21.moving", "A magnet that follows by 3% a step does as well,", "Sokota et al. 2023; measured",
            "last duality gap", partial(last, experiment="magnets", algorithm="moving magnet, .03 a step"),
            at_most(1e-12), ("magnets",),
        ),
        Claim(
            "A21.fast", "one that follows at once is multiplicative weights, and diverges.", NEW,
            "largest gap in the last quarter",
            partial(largest_late, experiment="magnets", algorithm="moving magnet, 1 a step"), at_least(0.7),
            ("magnets",),
        ),
    ),
    (
        Figure(
            "mpo",
            "Magnetic mirror descent (step 1, temperature 0.1) on the three-answer cycle, by how its magnet "
            "moves.",
            (Panel("gap", "magnets", "duality gap of the last policy"),),
        ),
    ),
)  # fmt: skip
