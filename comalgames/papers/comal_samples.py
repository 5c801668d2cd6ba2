"""Claim A12: what COMAL and the other rules reach when they only see sampled comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import (
    COMAL,
    INPO,
    SPPO,
    AbstractAlgorithm,
    IterativeDPO,
    IterativeIPO,
    MirrorDescent,
)
from comalgames.diagnostics import noise_floor
from comalgames.drivers.sweep import sweep
from comalgames.equilibria import nash, qre
from comalgames.experiments import Claim, Experiment, Figure, Measurement, Panel, at_least, at_most, between
from comalgames.experiments.spec import Data
from comalgames.feedback import AbstractFeedback, Sampled
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.papers.comal_setting import NEW, START, TEMPERATURE, cycle_game

# Comparisons that the sampled runs spend on a query: three answers against so many opponents.
NUM_OPPONENTS = (10, 100, 1_000, 10_000)

NUM_SEEDS, MANY_SEEDS = 16, 64

SAMPLED_PERIOD, SAMPLED_STEP = 50, 0.3

SAMPLED: Mapping[str, AbstractAlgorithm[Any]] = {
    "COMAL": COMAL(MirrorDescent(SAMPLED_STEP, TEMPERATURE), SAMPLED_PERIOD),
    "INPO": INPO(1 / SAMPLED_STEP, TEMPERATURE),
}

FIVE_SAMPLED: Mapping[str, AbstractAlgorithm[Any]] = {
    **SAMPLED,
    "iterative DPO": IterativeDPO(4 / SAMPLED_STEP),
    "iterative IPO": IterativeIPO(1 / SAMPLED_STEP),
    "SPPO": SPPO(SAMPLED_STEP),
}


def three_thousand_comparisons(game: AbstractGame) -> AbstractFeedback:
    """Feedback from 1,000 opponents a query: 3,000 comparisons of three answers."""
    assert isinstance(game, PreferenceGame)
    return Sampled(game, 1_000)


def sampled_gaps() -> Any:
    """How close COMAL and INPO stay to Nash, by the number of comparisons a query, and what is predicted.

    The gap is the mean over the second half of 2,000 steps, for each seed; the prediction is the expected gap
    of the linearized rule's stationary noise.
    """
    import xarray as xr

    game = games.comal_cycle()
    limits = {
        "COMAL": (nash(game).logp, None, SAMPLED_PERIOD),
        "INPO": (np.log(qre(game, TEMPERATURE, START)), np.log(START), 1),
    }
    measured, predicted = [], []
    for num in NUM_OPPONENTS:
        feedback = Sampled(game, num)
        runs = sweep(
            {"cycle": game},
            SAMPLED,
            2000,
            num_seeds=NUM_SEEDS,
            init=START,
            feedback=partial(_always, feedback),
        )
        tail = runs["duality_gap"].sel(game="cycle").isel(record=slice(1000, None)).mean("record")
        measured.append(tail.transpose("algorithm", "seed").values)
        predicted.append(
            [
                noise_floor(game, rule, feedback, limits[name][0], reference=limits[name][1],
                            period=limits[name][2]).gap
                for name, rule in SAMPLED.items()
            ]
        )  # fmt: skip
    return xr.Dataset(
        {
            "gap": (("comparisons", "algorithm", "seed"), np.array(measured)),
            "predicted": (("comparisons", "algorithm"), np.array(predicted)),
            "bias": (("comparisons",), np.full(len(NUM_OPPONENTS), _bias(game))),
        },
        {
            "comparisons": game.num_actions * np.array(NUM_OPPONENTS),
            "algorithm": list(SAMPLED),
            "seed": np.arange(NUM_SEEDS),
        },
    )


def _always(feedback: AbstractFeedback, game: AbstractGame) -> AbstractFeedback:
    return feedback


def _bias(game: PreferenceGame) -> float:
    """The gap of the equilibrium that INPO reaches without noise."""
    return float(2 * np.max(np.asarray(game.skew) @ qre(game, TEMPERATURE, START)))


def noise_exponent(data: Data) -> float:
    """Slope of log(COMAL's gap) against log(comparisons), from the medians over seeds, least squares."""
    gaps = data["sampled gaps"]["gap"].sel(algorithm="COMAL").median("seed")
    return float(np.polyfit(np.log(gaps["comparisons"].values), np.log(gaps.values), 1)[0])


def noise_prediction_error(data: Data) -> float:
    """Largest |measured / predicted - 1| of COMAL's mean gap, from 3,000 comparisons a query on."""
    found = data["sampled gaps"].sel(algorithm="COMAL")
    found = found.sel(comparisons=found["comparisons"] >= 3_000)
    return float(np.abs(found["gap"].mean("seed", skipna=False) / found["predicted"] - 1).max(skipna=False))


def sampled_ratio(data: Data) -> float:
    """Largest ratio of COMAL's gap to INPO's with 3,000 and more comparisons a query, medians over seeds."""
    found = data["sampled gaps"]["gap"].median("seed", skipna=False)
    found = found.sel(comparisons=found["comparisons"] >= 3_000)
    return float((found.sel(algorithm="COMAL") / found.sel(algorithm="INPO")).max(skipna=False))


def inpo_above_bias(data: Data) -> float:
    """The smallest ratio of INPO's gap to its bias, over the numbers of comparisons, medians over seeds."""
    found = data["sampled gaps"].sel(algorithm="INPO")
    return float((found["gap"].median("seed", skipna=False) / found["bias"]).min(skipna=False))


def inpo_bias_left(data: Data) -> float:
    """|INPO's gap / its bias - 1| with the most comparisons."""
    found = data["sampled gaps"].isel(comparisons=-1)
    return float(abs(found["gap"].sel(algorithm="INPO").median("seed") / found["bias"] - 1))


def baselines_gap(data: Data) -> float:
    """The smallest over the three baselines of the median, over seeds, of their smallest gap at the end."""
    runs = data["five sampled"]["duality_gap"].isel(game=0)
    tail = runs.isel(record=slice(-(runs.sizes["record"] // 10), None)).min("record", skipna=False)
    middle = tail.median("seed", skipna=False)
    return float(middle.sel(algorithm=["iterative DPO", "iterative IPO", "SPPO"]).min(skipna=False))


EXPERIMENTS = (
    Experiment(
        "five sampled",
        "What remains of the headline if every query is 3,000 comparisons?",
        cycle_game,
        FIVE_SAMPLED,
        {
            "num_steps": 1500,
            "num_seeds": MANY_SEEDS,
            "init": START,
            "feedback": three_thousand_comparisons,
            "record_every": 10,
        },
        is_quick=False,
    ),
    Measurement(
        "sampled gaps",
        "How close to Nash does one stay with so many comparisons?",
        sampled_gaps,
        is_quick=False,
    ),
)

CLAIMS = (
    Claim(
        "A12.exponent",
        "COMAL from sampled preferences ends at a gap that falls with the number N of comparisons a query, "
        "as N^-1/2.",
        "COMAL, synthetic experiment with preference samples",
        "slope of log gap against log N, 30 to 30,000 comparisons, medians over 16 seeds",
        noise_exponent,
        between(-0.6, -0.4),
        ("sampled gaps",),
    ),
    Claim(
        "A12.floor",
        "That gap is what linearized noise predicts.",
        NEW,
        "largest |measured / predicted - 1| from 3,000 comparisons on",
        noise_prediction_error,
        at_most(0.2),
        ("sampled gaps",),
    ),
    Claim(
        "A12.inpo-above",
        "INPO's gap does not fall below its bias, with 30 to 30,000 comparisons a query,",
        NEW,
        "smallest gap / bias, medians over seeds",
        inpo_above_bias,
        at_least(0.99),
        ("sampled gaps",),
    ),
    Claim(
        "A12.inpo",
        "and comes down to it,",
        NEW,
        "|gap / bias - 1| with 30,000 comparisons a query",
        inpo_bias_left,
        at_most(0.05),
        ("sampled gaps",),
    ),
    Claim(
        "A12.ratio",
        "which is more than COMAL's noise from 3,000 comparisons on.",
        NEW,
        "largest ratio of COMAL's gap to INPO's, medians over seeds",
        sampled_ratio,
        at_most(0.5),
        ("sampled gaps",),
    ),
    Claim(
        "A12.baselines",
        "Iterative DPO, iterative IPO and SPPO do not converge from samples either.",
        "COMAL, synthetic experiment with preference samples",
        "smallest duality gap in the last tenth of the run, over the three, medians over seeds",
        baselines_gap,
        at_least(0.2),
        ("five sampled",),
    ),
)

FIGURES = (
    Figure(
        "sampled",
        "Left: five rules that see 3,000 comparisons a query, medians and quartiles of 64 seeds. Right: the "
        "gap kept at the end, by the number of comparisons. COMAL's is noise and falls as N^-1/2; diamonds "
        "are predicted by linearized noise. INPO's stops at the bias of its regularized game, dashed.",
        (
            Panel("gap", "five sampled", "3,000 comparisons a query", {"bottom": 1e-4}),
            Panel(
                "lines",
                "sampled gaps",
                "COMAL's noise against INPO's bias",
                {
                    "x": "comparisons",
                    "y": "gap",
                    "series": "algorithm",
                    "band": "seed",
                    "points": {"predicted": "predicted"},
                    "bound": {"bias": "INPO without noise"},
                    "xlabel": "comparisons a query",
                    "ylabel": "duality gap kept (mean of 1,000 steps)",
                    "logx": True,
                },
            ),
        ),
    ),
)
