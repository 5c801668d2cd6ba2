"""Claim N2, part 2: the period with which COMAL converges fastest, measured with every period."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.diagnostics import best_period
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
from comalgames.papers.setting import OURS, STARTS, cycle_game, losing_answer_game, random_games

Setting = tuple[float, float]

# Step sizes and temperatures: rotation of 0.5 to 3 times the temperature on the cycle.
SETTINGS: tuple[Setting, ...] = ((1.0, 0.1), (0.5, 0.2), (1.0, 0.2), (2.0, 0.1), (0.6, 0.07), (0.3, 0.4))

# All periods up to this one are run.
LONGEST = 40

# A rate is read while the gap is between these: above are other modes, below rounding errors.
FITTED = (1e-10, 1e-3)


def rate(gaps: np.ndarray, fitted: tuple[float, float]) -> float:
    """Slope of the logarithm of the largest gap from each step on; 0 if it stays above the lower bound."""
    largest = np.maximum.accumulate(gaps[::-1])[::-1]
    if not largest[-1] < fitted[0]:
        return 0.0
    (seen,) = np.nonzero((largest > fitted[0]) & (largest < fitted[1]))
    return -float(np.polyfit(seen, np.log(largest[seen]), 1)[0])


def _measured(
    chosen: Mapping[str, Any],
    starts: Any,
    settings: tuple[Setting, ...],
    longest: int,
    num_steps: int,
    fitted: tuple[float, float],
) -> Any:
    """Rates of runs with every period, and the periods of the formula and of `shortest_period`."""
    import xarray as xr

    periods = range(1, longest + 1)
    rules = {f"{setting} {k}": COMAL(MirrorDescent(*setting), k) for setting in settings for k in periods}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # periods that are short are the question
        runs = sweep(chosen, rules, num_steps, init=starts, record_every=1)["duality_gap"]
    shape = len(chosen), len(settings)
    fastest, predicted, shortest = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    every = np.zeros((*shape, longest))
    for i, (name, game) in enumerate(chosen.items()):
        for j, setting in enumerate(settings):
            inner = MirrorDescent(*setting)
            rates = np.array(
                [
                    rate(runs.sel(game=name, algorithm=f"{setting} {k}", seed=0).values, fitted)
                    for k in periods
                ]
            )
            every[i, j] = rates
            fastest[i, j] = rates.max()
            predicted[i, j] = rates[best_period(game, inner) - 1]
            shortest[i, j] = rates[int(np.ceil(inner.shortest_period)) - 1]
    axes = "game", "setting"
    return xr.Dataset(
        {
            "fastest": (axes, fastest),
            "predicted": (axes, predicted),
            "shortest": (axes, shortest),
            "rate": ((*axes, "period"), every),
        },
        {
            "game": list(chosen),
            "setting": [f"step {step:g}, temperature {tau:g}" for step, tau in settings],
            "period": list(periods),
        },
    )


def on_the_cycle(starts: Mapping[str, tuple[float, ...]], **numbers: Any) -> Any:
    """Rates with every period on the cycle, with and without a losing answer."""
    import xarray as xr

    known = cycle_game() | losing_answer_game()
    each = [_measured({name: known[name]}, start, **numbers) for name, start in starts.items()]
    return xr.concat(each, "game")


def on_random_games(num_games: int, num_answers: int, seed: int, **numbers: Any) -> Any:
    """Rates with every period on random games, from the uniform policy."""
    with jax.enable_x64(True):
        chosen = random_games(num_games, num_answers, seed)
    return _measured(chosen, None, **numbers)


@reads()
def smallest_share(data: Data, experiment: str, may_be_unknown: bool) -> float:
    """The smallest rate with the predicted period divided by the fastest.

    If no period arrives, a setting is left out if that is allowed; else the number is nan.
    """
    fastest, predicted = data[experiment]["fastest"].values, data[experiment]["predicted"].values
    known = fastest > 0
    if not (known.any() if may_be_unknown else known.all()):
        return float("nan")
    return float((predicted[known] / fastest[known]).min())


@reads()
def num_unknown(data: Data, experiment: str) -> float:
    """Number of games and settings in which no period arrives in the given number of steps."""
    return float((data[experiment]["fastest"] == 0).sum())


@reads("best period, cycle")
def largest_share_of_the_shortest(data: Data) -> float:
    """The largest rate with the period that suffices for convergence, divided by the fastest."""
    runs = data["best period, cycle"]
    return float((runs["shortest"] / runs["fastest"]).max(skipna=False))


EXPERIMENTS = (
    Measurement(
        "best period, cycle",
        "Is the predicted period the fastest of all on the three-answer cycle?",
        on_the_cycle,
        {
            "starts": STARTS,
            "settings": SETTINGS,
            "longest": LONGEST,
            "num_steps": 8_000,
            "fitted": FITTED,
        },
        is_quick=False,
    ),
    Measurement(
        "best period, random games",
        "Is the predicted period the fastest of all on random games?",
        on_random_games,
        {
            "num_games": 6,
            "num_answers": 5,
            "seed": 0,
            "settings": SETTINGS[:1],
            "longest": LONGEST,
            "num_steps": 40_000,
            "fitted": FITTED,
        },
        is_quick=False,
    ),
)

SUBJECT = "COMAL with the period that maximizes the rate of its linearized round"
RANDOM = "random games of five answers with step 1 and temperature 0.1"
PAIRS = ", ".join(f"({step:g}, {temperature:g})" for step, temperature in SETTINGS)

STATEMENTS = (
    Statement(
        f"{SUBJECT} is as fast as with the best of all periods from 1 to 40, up to one part in twenty, on "
        "the three-answer cycle, with and without a fourth answer that loses 90% of the time, for the pairs "
        f"{PAIRS} of step and temperature, with which rotation is 0.5 to 3 times the temperature.",
        Claim(
            id="N2.cycle",
            quantity="smallest share of the fastest rate per step, two games and six settings",
            source=OURS,
            reading=smallest_share("best period, cycle", False),
            bound=at_least(0.95),
        ),
    ),
    Statement(
        "COMAL with the period of 4, 0.6/m or 2/sqrt(m), whichever is largest, which suffices for "
        "convergence with an inner step of pull m, has at most half of the rate with the best period, on the "
        "three-answer cycle with and without a fourth answer that loses 90% of the time, for the pairs "
        f"{PAIRS} of step and temperature.",
        Claim(
            id="N2.shortest",
            quantity="largest share of the fastest rate per step, two games and six settings",
            source=OURS,
            reading=largest_share_of_the_shortest(),
            bound=at_most(0.5),
        ),
    ),
    Statement(
        f"{SUBJECT} is as fast as with the best of all periods from 1 to 40, up to one part in ten, on those "
        f"of six {RANDOM} on which a period arrives within 40,000 steps.",
        Claim(
            id="N2.random",
            quantity="smallest share of the fastest rate per step, over the games in which a period arrives",
            source=OURS,
            reading=smallest_share("best period, random games", True),
            bound=at_least(0.9),
        ),
    ),
    Statement(
        f"COMAL arrives with some period within 40,000 steps on at least five of six {RANDOM}.",
        Claim(
            id="N2.random.arrives",
            quantity="number of games in which no period arrives",
            source=OURS,
            reading=num_unknown("best period, random games"),
            bound=at_most(1),
        ),
    ),
)

FIGURES = (
    Figure(
        "best_period",
        "Rate of COMAL per step on the three-answer cycle for each period, measured. The best period is 2.4 "
        "divided by the pull where the rotation is as fast as the temperature, and less where it is faster.",
        (
            Panel(
                "lines",
                "best period, cycle",
                "COMAL's rate",
                {
                    "x": "period",
                    "y": "rate",
                    "series": "setting",
                    "band": "game",
                    "ylabel": "-log(gap) per step",
                    "logy": False,
                },
            ),
        ),
    ),
)
