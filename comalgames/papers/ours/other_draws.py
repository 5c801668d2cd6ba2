"""Claim N9: the queries of COMAL without a period, on other random games than those of claim A30."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_least, at_most, reads
from comalgames.papers.comal import self_tuning
from comalgames.papers.comal.self_tuning import COMPARED, PERIODS
from comalgames.papers.setting import OURS


def cost(level: float, seeds: tuple[int, ...], **numbers: Any) -> Any:
    """Median queries without a period and with each fixed one, by setting and draw of the random games."""
    import xarray as xr

    with jax.enable_x64(True):
        draws = [self_tuning.cost(levels=(level,), game_seed=seed, **numbers) for seed in seeds]
    return xr.concat([draw.sel(level=level, drop=True) for draw in draws], "draw").assign_coords(
        draw=list(seeds)
    )


def _ratios(data: Data) -> np.ndarray:
    """Queries without a period divided by those with the best one; nan if neither arrives."""
    queries = data["other draws"]
    with np.errstate(invalid="ignore"):
        return np.asarray((queries["tuned"] / queries["fixed"].min("period", skipna=False)).values)


@reads("other draws")
def largest_ratio(data: Data) -> float:
    """The largest ratio over settings and draws; nan if one is undefined."""
    return float(_ratios(data).max())


@reads("other draws")
def num_undefined(data: Data) -> float:
    """Number of settings and draws in which neither arrives."""
    return float(np.isnan(_ratios(data)).sum())


@reads("other draws")
def share_below_one(data: Data) -> float:
    """Share of settings and draws in which fewer queries are needed without a period."""
    return float((_ratios(data) < 1).mean())


EXPERIMENTS = (
    Measurement(
        "other draws",
        "How many queries does COMAL without a period take on other random games?",
        cost,
        {
            "settings": COMPARED,
            "periods": PERIODS,
            "level": 1e-2,
            "num_queries": 8_000,
            "seeds": (1000, 2000, 3000),
            "num_games": 20,
            "num_answers": 10,
        },
        is_quick=False,
    ),
)

PAIRS = ", ".join(f"({step:g}, {temperature:g})" for step, temperature in COMPARED)
FAMILY = (
    "three draws of 20 random games of ten answers each, none of them that of claim A30.cost, and with the "
    f"steps and temperatures {PAIRS}"
)

STATEMENTS = (
    Statement(
        "COMAL without a period takes at most four times the queries that it takes with the best of thirteen "
        f"periods until the median game stays below a gap of 0.01, on {FAMILY}.",
        Claim(
            id="N9.cost",
            quantity="largest ratio of median queries, four settings and three draws",
            source=OURS,
            reading=largest_ratio(),
            bound=at_most(4.0),
        ),
    ),
    Statement(
        f"COMAL arrives at a gap of 0.01 in the median game within 8,000 queries without a period or with "
        f"one of thirteen periods, in every case, on {FAMILY}.",
        Claim(
            id="N9.undefined",
            quantity="number of settings and draws in which neither arrives",
            source=OURS,
            reading=num_undefined(),
            bound=at_most(0),
        ),
    ),
    Statement(
        "COMAL without a period takes fewer queries than with the best of thirteen periods in at least a "
        f"quarter of the cases, on {FAMILY}.",
        Claim(
            id="N9.faster",
            quantity="share of the pairs of a setting and a draw",
            source=OURS,
            reading=share_below_one(),
            bound=at_least(0.25),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
