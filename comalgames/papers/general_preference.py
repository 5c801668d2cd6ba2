"""Averages of exponential weights reach Nash only for the win rate; GPO's average is Nash for log-odds.

Zhang et al., "Beyond Bradley-Terry Models: A General Preference Model for Language Model Alignment", 2024,
arXiv 2410.02197; NCA and BCO as in Chen et al. 2024 and Jung et al. 2024.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import BCO, GPO, MWU, NCA, Averaged
from comalgames.equilibria import nash
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
from comalgames.games import ZeroSumGame
from comalgames.papers.reading import last
from comalgames.papers.setting import NEW, START, cycle_game

# Small steps, so that averages have little left to forget.
WIN_RATE, PAIR_ODDS = "win rate (MWU)", "log-odds of pairs (GPO)"
RULES: dict[str, Any] = {
    WIN_RATE: Averaged(MWU(0.05)),
    PAIR_ODDS: Averaged(GPO(80.0)),
    "log win rate (NCA)": Averaged(NCA(2.0)),
    "log-odds of the win rate (BCO)": Averaged(BCO(4.0)),
}
NUM_STEPS = 100_000


def nash_of_log_odds() -> np.ndarray:
    """The Nash policy of the game whose payoffs are the log-odds."""
    with jax.enable_x64(True):
        preference = np.asarray(games.comal_cycle().preference)
        policies = nash(ZeroSumGame(jnp.asarray(np.log(preference / preference.T)))).policy
    return np.asarray(policies[0])


@reads("averages")
def distance(data: Data) -> float:
    """Largest difference of a probability between GPO's average and the Nash policy of the log-odds."""
    average = data["averages"]["final_policy"].sel(game="cycle", algorithm=PAIR_ODDS, seed=0)
    return float(np.abs(average.values - nash_of_log_odds()).max())


@reads("averages")
def limit_gap(data: Data) -> float:
    """Duality gap of the Nash policy of the log-odds in the game of preferences."""
    return float(2 * np.max(np.asarray(games.comal_cycle().skew) @ nash_of_log_odds()))


STATEMENTS = (
    Statement(
        "The average policy of exponential weights on the win rate approaches the Nash policy of the "
        "three-answer cycle.",
        Claim(
            id="A24.win",
            quantity="last duality gap of the average policy",
            source=NEW,
            reading=last("averages", WIN_RATE),
            bound=at_most(3e-3),
        ),
    ),
    Statement(
        "The average policy of exponential weights on the log-odds of pairs (GPO) approaches the Nash "
        "policy of the game whose payoffs are the log-odds of the three-answer cycle.",
        Claim(
            id="A24.GPO",
            quantity="largest difference of a probability",
            source=NEW,
            reading=distance(),
            bound=at_most(3e-3),
        ),
    ),
    Statement(
        "The Nash policy of the log-odds of the three-answer cycle is not the Nash policy of its "
        "preferences.",
        Claim(
            id="A24.other",
            quantity="duality gap of the former in the game of preferences",
            source=NEW,
            reading=limit_gap(),
            bound=at_least(0.03),
        ),
    ),
    *(
        Statement(
            f"The average policy of exponential weights on the {utility} does not approach the Nash policy "
            "of the three-answer cycle.",
            Claim(
                id=f"A24.{name}",
                quantity="last duality gap of the average policy",
                source=NEW,
                reading=last("averages", rule),
                bound=at_least(0.02),
            ),
        )
        for name, rule, utility in (
            ("NCA", "log win rate (NCA)", "log win rate (NCA)"),
            ("BCO", "log-odds of the win rate (BCO)", "log-odds of the win rate (BCO)"),
        )
    ),
)

FIGURES = (
    Figure(
        "general_preference",
        "Duality gap of the average of all policies so far, on the three-answer cycle, by the utility that "
        "the exponential weights follow. Only the gap of the win rate goes to 0.",
        (Panel("gap", "averages", "average policies", {"ylabel": "duality gap of the average"}),),
    ),
)

PAPER = Paper(
    name="general_preference",
    title="Averages reach Nash only for the win rate",
    source="Zhang et al. 2024, arXiv 2410.02197; the comparison is not in the paper",
    experiments=(
        Experiment(
            "averages",
            "To which policy does the average converge, by the utility of exponential weights?",
            cycle_game,
            RULES,
            {"num_steps": NUM_STEPS, "init": START, "record_every": 100},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
