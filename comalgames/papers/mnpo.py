"""MNPO: with a temperature it has INPO's limit, without one it diverges.

Wu et al., "Multiplayer Nash Preference Optimization", 2025, arXiv 2509.23102.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from comalgames.algorithms import INPO, MNPO, MWU
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.papers.comal_setting import START, TEMPERATURE, cycle_game
from comalgames.papers.reading import NEW, largest_late

ETA = 1.0
WITH: dict[str, Any] = {
    "INPO": INPO(ETA, TEMPERATURE),
    "MNPO, as coded": MNPO(ETA, TEMPERATURE),
    "MNPO, as written": MNPO(ETA, TEMPERATURE, opponents="past"),
}
WITHOUT: dict[str, Any] = {
    "MWU": MWU(1 / ETA), "MNPO, as coded": MNPO(ETA, 0.0), "MNPO, as written": MNPO(ETA, 0.0,
    opponents="past"),
}  # fmt: skip


def difference(data: Data, algorithm: str) -> float:
    """Largest difference of a probability between the last policy and INPO's."""
    finals = data["with a temperature"]["final_policy"].sel(game="cycle", seed=0)
    return float(np.abs(finals.sel(algorithm=algorithm).values - finals.sel(algorithm="INPO").values).max())


PAPER = Paper(
    "mnpo",
    "MNPO has INPO's limit with a temperature, and diverges without one",
    "Wu et al. 2025, arXiv 2509.23102",
    (
        Experiment(
            "with a temperature", "Do its players of the past change the limit?", cycle_game, WITH,
            {"num_queries": 600, "init": START},
        ),
        Experiment(
            "without", "Do they make self-play converge without a reference?", cycle_game, WITHOUT,
            {"num_queries": 6000, "init": START},
        ),
    ),
    (
        *(
            Claim(
                f"A28.{label}.limit", f"{name}, has INPO's limit if it has a temperature;", NEW,
                "largest difference of a probability", partial(difference, algorithm=name), at_most(1e-10),
                ("with a temperature",),
            )
            for label, name in (("code", "MNPO, as coded"), ("paper", "MNPO, as written"))
        ),
        *(
            Claim(
                f"A28.{label}.diverges", f"{name}, without a temperature it diverges.", NEW,
                "largest gap in the last quarter",
                partial(largest_late, experiment="without", algorithm=name), at_least(0.6), ("without",),
            )
            for label, name in (("code", "MNPO, as coded"), ("paper", "MNPO, as written"))
        ),
    ),
    (
        Figure(
            "mnpo",
            "MNPO with its last two policies as players, on the three-answer cycle. Left: temperature 0.1; "
            "all end where INPO does. Right: without a temperature; the mixture of bases slows the spiral.",
            (
                Panel("gap", "with a temperature", "temperature 0.1"),
                Panel("gap", "without", "no temperature", {"until": 1000}),
            ),
        ),
    ),
)  # fmt: skip
