"""Claim A13: win rates between the final policies of all methods and the three answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from comalgames.drivers.sweep import sweep
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    between,
    reads,
)
from comalgames.measures.metrics import win_rates
from comalgames.papers.comal.headline import BASELINES, FIVE, HEADLINE, OTHERS
from comalgames.papers.setting import LOSING_START, cycle_game, losing_answer_game, on_both

SOURCE = "ours; COMAL compares final policies of language models"


def win_rates_of_final_policies(
    games: Callable[[], Mapping[str, Any]], algorithms: Mapping[str, Any], **settings: Any
) -> Any:
    """Win rates of the final policies on one game against each other and against each answer."""
    import xarray as xr

    ((_, game),) = games().items()
    runs = sweep(games(), algorithms, **settings)  # the same runs as "headline": compiled once
    finals = runs["final_policy"].isel(game=0).sel(seed=0).values
    answers = np.eye(game.num_actions)
    names = [*(str(name) for name in runs["algorithm"].values), *(f"always {name}" for name in game.names)]
    with np.errstate(divide="ignore"):
        matrix = win_rates(game, jnp.log(jnp.asarray(np.vstack([finals, answers]))))
    return xr.Dataset({"win_rate": (("policy_name", "opponent"), np.asarray(matrix))}, {"policy_name": names})


@reads()
def lowest_win_rate(data: Data, experiment: tuple[str, ...], name: str) -> float:
    """The lowest win rate of a final policy against all others and the answers, over some experiments."""
    rates = []
    for each in experiment:
        matrix = data[each]["win_rate"]
        rates.append(matrix.values[list(matrix["policy_name"].values).index(name)].min())
    return float(np.min(rates))


@reads("final policies")
def highest_lowest_win_rate(data: Data, names: tuple[str, ...]) -> float:
    """The highest of the lowest win rates of some policies on the cycle."""
    matrix = data["final policies"]["win_rate"]
    listed = list(matrix["policy_name"].values)
    return float(np.max([matrix.values[listed.index(name)].min() for name in names]))


EXPERIMENTS = (
    Measurement(
        "final policies",
        "Which final policy beats which other?",
        win_rates_of_final_policies,
        {"games": cycle_game, "algorithms": {**FIVE, **OTHERS}, **HEADLINE},
    ),
    Measurement(
        "final policies, losing answer",
        "Which final policy beats which other, with a fourth answer that loses 90% of the time?",
        win_rates_of_final_policies,
        {
            "games": losing_answer_game,
            "algorithms": {**FIVE, **OTHERS},
            **HEADLINE,
            "init": LOSING_START,
        },
    ),
)

STATEMENTS = (
    Statement(
        "The final policy of COMAL on the three-answer cycle wins at least half of the time against the "
        "final policy of every other method and against every answer, with and without a fourth answer that "
        "loses 90% of the time.",
        Claim(
            id="A13.comal",
            quantity="lowest win rate of COMAL's final policy, the lower of two games",
            source=SOURCE,
            reading=lowest_win_rate(on_both("final policies"), "COMAL"),
            bound=at_least(0.5 - 1e-6),
        ),
    ),
    Statement(
        "Each of the final policies of INPO, iterative DPO, iterative IPO and SPPO on the three-answer cycle "
        "loses to some policy: the highest of their lowest win rates is 47.06%.",
        Claim(
            id="A13.baselines",
            quantity="highest of the four lowest win rates",
            source=SOURCE,
            reading=highest_lowest_win_rate(tuple(BASELINES)),
            bound=between(0.4705, 0.4707),
        ),
    ),
)

FIGURES = (
    Figure(
        "win_rates",
        "How often the row's final policy is preferred to the column's, after 2,000 queries on the "
        "three-answer cycle. The policies of COMAL, optimistic MWU and extragradient lose to none; each "
        "baseline loses to another policy.",
        (Panel("win_rates", "final policies"),),
    ),
)
