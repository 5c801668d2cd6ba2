"""Claim A13: win rates between the final policies of all methods and the three answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.drivers.sweep import sweep
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.measures.metrics import win_rates
from comalgames.papers.comal.headline import BASELINES, FIVE, HEADLINE, OTHERS
from comalgames.papers.setting import cycle_game

SOURCE = "COMAL, cross-policy comparison"


def win_rates_of_final_policies(algorithms: Mapping[str, Any], **settings: Any) -> Any:
    """Win rates of the final policies on the cycle against each other and against each answer."""
    import xarray as xr

    game = games.comal_cycle()
    runs = sweep(cycle_game(), algorithms, **settings)  # the same runs as "headline": compiled once
    finals = runs["final_policy"].sel(game="cycle", seed=0).values
    answers = np.eye(3)
    names = [*(str(name) for name in runs["algorithm"].values), *(f"always {name}" for name in game.names)]
    with np.errstate(divide="ignore"):
        matrix = win_rates(game, jnp.log(jnp.asarray(np.vstack([finals, answers]))))
    return xr.Dataset({"win_rate": (("policy_name", "opponent"), np.asarray(matrix))}, {"policy_name": names})


def lowest_win_rate(data: Data, name: str) -> float:
    """The lowest win rate of a final policy against all others and the answers."""
    matrix = data["final policies"]["win_rate"]
    return float(matrix.values[list(matrix["policy_name"].values).index(name)].min())


@reads("final policies")
def highest_lowest_win_rate(data: Data, names: tuple[str, ...]) -> float:
    """The highest of the lowest win rates of some policies."""
    return max(lowest_win_rate(data, name) for name in names)


@reads("final policies")
def lead_in_lowest_win_rate(data: Data, names: tuple[str, ...], name: str) -> float:
    """The highest of the lowest win rates of some policies, minus the lowest win rate of one policy."""
    return max(lowest_win_rate(data, each) for each in names) - lowest_win_rate(data, name)


EXPERIMENTS = (
    Measurement(
        "final policies",
        "Which final policy beats which other?",
        win_rates_of_final_policies,
        {"algorithms": {**FIVE, **OTHERS}, **HEADLINE},
    ),
)

STATEMENTS = (
    Statement(
        "The final policy of COMAL on the three-answer cycle wins at least half of the time against the "
        "final policy of every other method and against every answer.",
        Claim(
            id="A13.comal",
            quantity="lowest win rate of COMAL's final policy",
            source=SOURCE,
            reading=highest_lowest_win_rate(("COMAL",)),
            bound=at_least(0.5 - 1e-6),
        ),
    ),
    Statement(
        "The final policies of INPO, iterative DPO, iterative IPO and SPPO on the three-answer cycle each "
        "lose to some other policy.",
        Claim(
            id="A13.baselines",
            quantity="highest of the four lowest win rates",
            source=SOURCE,
            reading=highest_lowest_win_rate(tuple(BASELINES)),
            bound=at_most(0.5 - 1e-3),
        ),
    ),
    Statement(
        "No final policy on the three-answer cycle has a higher minimum win rate than that of COMAL.",
        Claim(
            id="A13.all",
            quantity="highest minimum win rate of all methods minus that of COMAL",
            source=SOURCE,
            reading=lead_in_lowest_win_rate((*FIVE, *OTHERS), "COMAL"),
            bound=at_most(1e-6),
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
