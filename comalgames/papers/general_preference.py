"""Which averages reach Nash: only those of the win rate. GPO's goes to the Nash policy of the log-odds.

Zhang et al., "Beyond Bradley-Terry Models: A General Preference Model for Language Model Alignment", 2024,
arXiv 2410.02197; NCA and BCO as in Chen et al. 2024 and Jung et al. 2024.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import BCO, GPO, MWU, NCA, Averaged
from comalgames.equilibria import nash
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.games import ZeroSumGame
from comalgames.papers.comal_setting import START, cycle_game
from comalgames.papers.reading import NEW, last

# Small steps, so that averages have little left to forget.
RULES: dict[str, Any] = {
    "win rate (MWU)": Averaged(MWU(0.05)),
    "log-odds of pairs (GPO)": Averaged(GPO(80.0)),
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


def distance(data: Data) -> float:
    """Largest difference of a probability between GPO's average and that policy."""
    average = data["averages"]["final_policy"].sel(game="cycle", algorithm="log-odds of pairs (GPO)", seed=0)
    return float(np.abs(average.values - nash_of_log_odds()).max())


def limit_gap(data: Data) -> float:
    """Duality gap of that policy in the game of preferences."""
    return float(2 * np.max(np.asarray(games.comal_cycle().skew) @ nash_of_log_odds()))


PAPER = Paper(
    "general_preference",
    "Averages reach Nash for the win rate only",
    "Zhang et al. 2024, arXiv 2410.02197; the comparison is not in the paper",
    (
        Experiment(
            "averages", "Where does the average of all policies go, by the utility that weights follow?",
            cycle_game, RULES, {"num_steps": NUM_STEPS, "init": START, "record_every": 100},
        ),
    ),
    (
        Claim(
            "A24.win", "The average of exponential weights on the win rate approaches Nash,", NEW,
            "last gap of the average", partial(last, experiment="averages", algorithm="win rate (MWU)"),
            at_most(3e-3), ("averages",),
        ),
        Claim(
            "A24.GPO", "on the log-odds of pairs (GPO) it approaches the Nash policy of the log-odds,", NEW,
            "largest difference of a probability", distance, at_most(3e-3), ("averages",),
        ),
        Claim(
            "A24.other", "which is not that of the preferences,", NEW, "duality gap of that policy",
            limit_gap,
            at_least(0.03), ("averages",),
        ),
        *(
            Claim(
                f"A24.{name}", f"and with {label} it approaches nothing near Nash.", NEW, "last gap of the "
                "average",
                partial(last, experiment="averages", algorithm=label), at_least(0.02), ("averages",),
            )
            for name, label in (
                ("NCA", "log win rate (NCA)"), ("BCO", "log-odds of the win rate (BCO)"),
            )
        ),
    ),
    (
        Figure(
            "general_preference",
            "Duality gap of the average of all policies so far, on the three-answer cycle, by what the "
            "exponential weights are of. Only the win rate's goes to 0.",
            (Panel("gap", "averages", "average policies", {"ylabel": "duality gap of the average"}),),
        ),
    ),
)  # fmt: skip
