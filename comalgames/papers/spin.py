"""SPIN: imitation as self-play reaches the data at a geometric rate.

Chen et al., "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models", 2024, arXiv
2401.01335.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import SPIN
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.feedback import Exact
from comalgames.papers.setting import OURS, START

LAMBDAS, DATA, NUM_STEPS = (0.45, 0.6, 1.0, 2.0, 5.0), (0.6, 0.3, 0.1), 30


def distance_to_data(
    lambdas: tuple[float, ...], init: tuple[float, ...], data: tuple[float, ...], num_steps: int
) -> Any:
    """Largest error of a log-probability margin after every step, for each lambda."""
    import xarray as xr

    with jax.enable_x64(True):
        feedback, key = Exact(games.comal_cycle()), jax.random.key(0)
        target = jnp.log(jnp.asarray(data))
        rows = []
        for value in lambdas:
            rule = SPIN(value)
            state = rule.init(jnp.log(jnp.asarray(init)), target)
            row = []
            for _ in range(num_steps + 1):
                row.append(float(jnp.ptp(state.logp - target)))
                state = rule.step(key, state, feedback)
            rows.append(row)
    return xr.Dataset(
        {"error": (("regularization", "step"), rows)},
        {"regularization": [f"lambda = {value:g}" for value in lambdas], "step": np.arange(num_steps + 1)},
    )


@reads("distance to data")
def rate_error(data: Data, lambdas: tuple[float, ...]) -> float:
    """Largest difference between a measured factor and |1 - 1/lambda| in the first ten steps."""
    error = data["distance to data"]["error"].values
    worst = 0.0
    for value, row in zip(lambdas, error, strict=True):
        known = row[:10] > 1e-10
        factors = (row[1:11] / np.where(known, row[:10], 1.0))[known]
        worst = max(worst, float(np.abs(factors - abs(1 - 1 / value)).max()))
    return worst


@reads("distance to data")
def growth(data: Data, value: float) -> float:
    """The last error divided by the first, for one lambda."""
    row = data["distance to data"]["error"].sel(regularization=f"lambda = {value:g}").values
    return float(row[-1] / row[0])


STATEMENTS = (
    Statement(
        "One exact step of SPIN multiplies the distance to the data by |1 - 1/lambda|, so that SPIN "
        "converges geometrically for lambda > 1/2.",
        Claim(
            id="A27.rate",
            quantity="largest error of a factor in the first ten steps, five values of lambda",
            source="SPIN, theorem 5.4 for one step; the rate is ours",
            reading=rate_error(LAMBDAS),
            bound=at_most(1e-6),
        ),
    ),
    Statement(
        "SPIN diverges from the data for lambda = 0.45, below 1/2.",
        Claim(
            id="A27.diverges",
            quantity="last distance divided by the first, lambda = 0.45",
            source=OURS,
            reading=growth(0.45),
            bound=at_least(10.0),
        ),
    ),
)

FIGURES = (
    Figure(
        "spin",
        "Distance of the policy's log-odds from the data's, step by step, from (.2, .5, .3) to (.6, .3, "
        ".1). At lambda = 1 one step is enough (the rest is rounding error).",
        (
            Panel(
                "lines",
                "distance to data",
                "imitation by self-play",
                {"x": "step", "y": "error", "series": "regularization", "ylabel": "largest error, nats"},
            ),
        ),
    ),
)

PAPER = Paper(
    name="spin",
    title="SPIN reaches the distribution of the data at the rate 1 - 1/lambda",
    source="Chen et al. 2024, arXiv 2401.01335",
    experiments=(
        Measurement(
            "distance to data",
            "How far is the policy from the data after every step?",
            distance_to_data,
            {"lambdas": LAMBDAS, "init": START, "data": DATA, "num_steps": NUM_STEPS},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
