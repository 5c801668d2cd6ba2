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
from comalgames.experiments import Claim, Figure, Measurement, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.papers.comal_setting import START
from comalgames.papers.reading import NEW

LAMBDAS, DATA, NUM_STEPS = (0.45, 0.6, 1.0, 2.0, 5.0), (0.6, 0.3, 0.1), 30


def distance_to_data() -> Any:
    """Largest error of a log-probability margin after every step, for each lambda."""
    import xarray as xr

    with jax.enable_x64(True):
        feedback, key = Exact(games.comal_cycle()), jax.random.key(0)
        data = jnp.log(jnp.asarray(DATA))
        rows = []
        for value in LAMBDAS:
            rule = SPIN(value)
            state = rule.init(jnp.log(jnp.asarray(START)), data)
            row = []
            for _ in range(NUM_STEPS + 1):
                row.append(float(jnp.ptp(state.logp - data)))
                state = rule.step(key, state, feedback)
            rows.append(row)
    return xr.Dataset(
        {"error": (("regularization", "step"), rows)},
        {"regularization": [f"lambda = {value:g}" for value in LAMBDAS], "step": np.arange(NUM_STEPS + 1)},
    )


def rate_error(data: Data) -> float:
    """Largest difference between a measured factor and |1 - 1/lambda|, first ten steps."""
    error = data["distance to data"]["error"].values
    worst = 0.0
    for value, row in zip(LAMBDAS, error, strict=True):
        known = row[:10] > 1e-10
        factors = (row[1:11] / np.where(known, row[:10], 1.0))[known]
        worst = max(worst, float(np.abs(factors - abs(1 - 1 / value)).max()))
    return worst


def growth(data: Data) -> float:
    """Last error over first, lambda below 1/2."""
    row = data["distance to data"]["error"].values[LAMBDAS.index(0.45)]
    return float(row[-1] / row[0])


PAPER = Paper(
    "spin",
    "SPIN reaches the data's law at the rate 1 - 1/lambda",
    "Chen et al. 2024, arXiv 2401.01335",
    (Measurement("distance to data", "How far is the policy from the data after every step?",
    distance_to_data),),
    (
        Claim(
            "A27.rate", "SPIN's exact step multiplies the distance to the data by |1 - 1/lambda|: it "
            "converges geometrically for lambda > 1/2",
            "SPIN, theorem 5.4 for one step; the rate is not in the paper",
            "largest error of a factor", rate_error, at_most(1e-6), ("distance to data",),
        ),
        Claim(
            "A27.diverges", "and diverges below.", NEW, "last distance over first, lambda = 0.45", growth,
            at_least(10.0), ("distance to data",),
        ),
    ),
    (
        Figure(
            "spin",
            "Distance of the policy's log-odds from the data's, step by step, from (.2, .5, .3) to (.6, .3, "
            ".1). At lambda = 1 one step is enough (the rest is rounding).",
            (
                Panel(
                    "lines", "distance to data", "imitation by self-play",
                    {"x": "step", "y": "error", "series": "regularization", "ylabel": "largest error, nats"},
                ),
            ),
        ),
    ),
)  # fmt: skip
