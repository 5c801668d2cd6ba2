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
    between,
    reads,
)
from comalgames.games import PreferenceGame, ZeroSumGame
from comalgames.papers.reading import last, late_swing
from comalgames.papers.setting import (
    OURS,
    START,
    cycle_game,
    losing_answer_game,
    on_both,
    with_losing_answer,
)

# Small steps, so that averages have little left to forget.
WIN_RATE, PAIR_ODDS = "win rate (MWU)", "log-odds of pairs (GPO)"
RULES: dict[str, Any] = {
    WIN_RATE: Averaged(MWU(0.05)),
    PAIR_ODDS: Averaged(GPO(80.0)),
    "log win rate (NCA)": Averaged(NCA(2.0)),
    "log-odds of the win rate (BCO)": Averaged(BCO(4.0)),
}
NUM_STEPS = 100_000


def nash_of_log_odds(game: PreferenceGame) -> np.ndarray:
    """The Nash policy of the game whose payoffs are the log-odds."""
    with jax.enable_x64(True):
        preference = np.asarray(game.preference)
        policies = nash(ZeroSumGame(jnp.asarray(np.log(preference / preference.T)))).policy
    return np.asarray(policies[0])


@reads(*on_both("averages"))
def distance(data: Data) -> float:
    """Largest difference of a probability between GPO's average and the Nash policy of the log-odds."""
    errors, known = [], (cycle_game() | losing_answer_game()).values()
    for name, game in zip(on_both("averages"), known, strict=True):
        average = data[name]["final_policy"].sel(algorithm=PAIR_ODDS, seed=0).values[0]
        errors.append(np.abs(average - nash_of_log_odds(game)).max())
    return float(np.max(errors))


@reads("averages")
def odds_error(data: Data) -> float:
    """Largest error of the Nash policy of the log-odds: on a cycle it is proportional to opposite edges."""
    edges = np.log([9, 4, 9])  # of b and c, c and a, a and b
    return float(np.abs(nash_of_log_odds(games.comal_cycle()) - edges / edges.sum()).max())


@reads("averages")
def error_of_gap(data: Data) -> float:
    """Error of the duality gap of the Nash policy of the log-odds in the game of preferences.

    The policy is in proportion to (log 9, log 4, log 9), and the third answer earns 0.3 from the first and
    loses 0.4 to the second: the gap is twice 0.3 log 9 - 0.4 log 4, divided by log 324.
    """
    gap = 2 * np.max(np.asarray(games.comal_cycle().skew) @ nash_of_log_odds(games.comal_cycle()))
    return float(abs(gap - (0.6 * np.log(9) - 0.8 * np.log(4)) / np.log(324)))


STATEMENTS = (
    Statement(
        "The average policy of exponential weights on the win rate approaches the Nash policy of the "
        "three-answer cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A24.win",
            quantity="last duality gap of the average policy, the larger of two games",
            source="known (Freund and Schapire 1999)",
            reading=last(on_both("averages"), WIN_RATE),
            bound=at_most(3e-3),
        ),
    ),
    Statement(
        "The average policy of exponential weights on the log-odds of pairs (GPO) approaches the Nash "
        "policy of the game whose payoffs are the log-odds of the three-answer cycle, with and without a "
        "fourth answer that loses 90% of the time.",
        Claim(
            id="A24.GPO",
            quantity="largest difference of a probability, two games",
            source=OURS,
            reading=distance(),
            bound=at_most(3e-3),
        ),
    ),
    Statement(
        "The Nash policy of the log-odds of the three-answer cycle is (log 9, log 4, log 9)/log 324, and not "
        "the Nash policy of its preferences: in the game of preferences it has the duality gap "
        "(0.6 log 9 - 0.8 log 4)/log 324.",
        Claim(
            id="A24.odds",
            quantity="largest difference of a probability",
            source=OURS,
            reading=odds_error(),
            bound=at_most(1e-12),
        ),
        Claim(
            id="A24.other",
            quantity="difference of the duality gap in the game of preferences from the formula",
            source=OURS,
            reading=error_of_gap(),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "The average policy of exponential weights on the log win rate (NCA) does not converge on the "
        "three-answer cycle, with and without a fourth answer that loses 90% of the time: its duality gap "
        "rises and falls.",
        Claim(
            id="A24.NCA",
            quantity="largest minus smallest gap of the average in the second half of the run, two games",
            source=OURS,
            reading=late_swing(on_both("averages"), "log win rate (NCA)"),
            bound=at_least(0.1),
        ),
    ),
    Statement(
        "The average policy of exponential weights on the log-odds of the win rate (BCO) does not approach "
        "the Nash policy of the three-answer cycle, with and without a fourth answer that loses 90% of the "
        "time: its duality gap stays near 0.035.",
        Claim(
            id="A24.BCO",
            quantity="last duality gap of the average policy, the larger of two games",
            source=OURS,
            reading=last(on_both("averages"), "log-odds of the win rate (BCO)"),
            bound=between(0.03, 0.04),
        ),
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
    source="Zhang et al. 2024, arXiv 2410.02197; the comparison is ours",
    experiments=(
        *with_losing_answer(
            Experiment(
                "averages",
                "To which policy does the average converge, by the utility of exponential weights?",
                cycle_game,
                RULES,
                {"num_steps": NUM_STEPS, "init": START, "record_every": 100},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
