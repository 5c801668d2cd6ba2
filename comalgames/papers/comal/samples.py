"""Claim A12: the gaps that COMAL and the other rules reach when they only see sampled comparisons."""

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
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.feedback import AbstractFeedback, Sampled
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.papers.setting import FOLKLORE, OURS, START, TEMPERATURE, cycle_game

# A query of the sampled runs compares each of three answers with this number of opponents.
NUM_OPPONENTS = (10, 100, 1_000, 10_000)
MANY = 3_000  # comparisons a query, from which noise is small enough for its linearization

STEP, PERIOD = 0.3, 50
THREE = ("iterative DPO", "iterative IPO", "SPPO")

FIVE_SAMPLED: Mapping[str, AbstractAlgorithm[Any]] = {
    "COMAL": COMAL(MirrorDescent(STEP, TEMPERATURE), PERIOD),
    "INPO": INPO(1 / STEP, TEMPERATURE),
    "iterative DPO": IterativeDPO(4 / STEP),
    "iterative IPO": IterativeIPO(1 / STEP),
    "SPPO": SPPO(STEP),
}


def sampled_feedback(game: AbstractGame, num_opponents: int) -> AbstractFeedback:
    """Feedback from the given number of opponents per query, for each answer."""
    assert isinstance(game, PreferenceGame)
    return Sampled(game, num_opponents)


def sampled_gaps(
    step_size: float,
    temperature: float,
    period: int,
    init: tuple[float, ...],
    num_opponents: tuple[int, ...],
    num_seeds: int,
    num_steps: int,
) -> Any:
    """Distances of COMAL and INPO from Nash by the number of comparisons per query, measured and predicted.

    The gap is the mean over the second half of the steps, for each seed; the prediction is the expected gap
    of the linearized rule's stationary noise; `bias` is the gap of INPO's limit without noise.
    """
    import xarray as xr

    game = games.comal_cycle()
    rules: dict[str, Any] = {
        "COMAL": COMAL(MirrorDescent(step_size, temperature), period),
        "INPO": INPO(1 / step_size, temperature),
    }
    regularized = qre(game, temperature, init).policy
    limits: dict[str, dict[str, Any]] = {
        "COMAL": {"logp": nash(game).logp, "reference": None, "period": period},
        "INPO": {"logp": np.log(regularized), "reference": np.log(init), "period": 1},
    }
    measured, predicted = [], []
    for num in num_opponents:
        runs = sweep(
            {"cycle": game},
            rules,
            num_steps,
            num_seeds=num_seeds,
            init=init,
            feedback=partial(sampled_feedback, num_opponents=num),
        )
        tail = runs["duality_gap"].sel(game="cycle").isel(record=slice(num_steps // 2, None)).mean("record")
        measured.append(tail.transpose("algorithm", "seed").values)
        feedback = Sampled(game, num)
        floors = []
        for name, rule in rules.items():
            floors.append(noise_floor(game, rule, feedback, **limits[name]).gap)
        predicted.append(floors)
    bias = float(2 * np.max(np.asarray(game.skew) @ regularized))
    return xr.Dataset(
        {
            "gap": (("comparisons", "algorithm", "seed"), np.array(measured)),
            "predicted": (("comparisons", "algorithm"), np.array(predicted)),
            "bias": (("comparisons",), np.full(len(num_opponents), bias)),
        },
        {
            "comparisons": game.num_actions * np.array(num_opponents),
            "algorithm": list(rules),
            "seed": np.arange(num_seeds),
        },
    )


@reads("sampled gaps")
def noise_exponent(data: Data) -> float:
    """Slope of log(COMAL's gap) against log(comparisons), from the medians over seeds, least squares."""
    gaps = data["sampled gaps"]["gap"].sel(algorithm="COMAL").median("seed")
    return float(np.polyfit(np.log(gaps["comparisons"].values), np.log(gaps.values), 1)[0])


@reads("sampled gaps")
def noise_prediction_error(data: Data, num_comparisons: int) -> float:
    """Largest |measured / predicted - 1| of COMAL's mean gap, with at least this number of comparisons."""
    comal = data["sampled gaps"].sel(algorithm="COMAL")
    comal = comal.sel(comparisons=comal["comparisons"] >= num_comparisons)
    return float(np.abs(comal["gap"].mean("seed", skipna=False) / comal["predicted"] - 1).max(skipna=False))


@reads("sampled gaps")
def sampled_ratio(data: Data, num_comparisons: int) -> float:
    """Largest ratio of COMAL's gap to INPO's with at least this number of comparisons, medians over seeds."""
    gaps = data["sampled gaps"]["gap"].median("seed", skipna=False)
    gaps = gaps.sel(comparisons=gaps["comparisons"] >= num_comparisons)
    return float((gaps.sel(algorithm="COMAL") / gaps.sel(algorithm="INPO")).max(skipna=False))


@reads("sampled gaps")
def inpo_above_bias(data: Data) -> float:
    """The smallest ratio of INPO's gap to its bias, over the numbers of comparisons, medians over seeds."""
    inpo = data["sampled gaps"].sel(algorithm="INPO")
    return float((inpo["gap"].median("seed", skipna=False) / inpo["bias"]).min(skipna=False))


@reads("sampled gaps")
def inpo_bias_left(data: Data) -> float:
    """|INPO's gap / its bias - 1| with the most comparisons."""
    most = data["sampled gaps"].isel(comparisons=-1)
    return float(abs(most["gap"].sel(algorithm="INPO").median("seed") / most["bias"] - 1))


@reads("five sampled")
def smallest_gap_at_the_end(data: Data, algorithms: tuple[str, ...]) -> float:
    """Smallest gap in the last tenth of a run: median over the seeds, minimized over the rules."""
    runs = data["five sampled"]["duality_gap"].isel(game=0)
    tail = runs.isel(record=slice(-(runs.sizes["record"] // 10), None)).min("record", skipna=False)
    middle = tail.median("seed", skipna=False)
    return float(middle.sel(algorithm=list(algorithms)).min(skipna=False))


EXPERIMENTS = (
    Experiment(
        "five sampled",
        "Which rules converge if every query consists of 3,000 comparisons?",
        cycle_game,
        FIVE_SAMPLED,
        {
            "num_steps": 1500,
            "num_seeds": 64,
            "init": START,
            "feedback": partial(sampled_feedback, num_opponents=1_000),
            "record_every": 10,
        },
        is_quick=False,
    ),
    Measurement(
        "sampled gaps",
        "How close to Nash do COMAL and INPO stay, by the number of comparisons per query?",
        sampled_gaps,
        {
            "step_size": STEP,
            "temperature": TEMPERATURE,
            "period": PERIOD,
            "init": START,
            "num_opponents": NUM_OPPONENTS,
            "num_seeds": 16,
            "num_steps": 2000,
        },
        is_quick=False,
    ),
)

SOURCE = "COMAL, synthetic experiment with preference samples"

STATEMENTS = (
    Statement(
        "The duality gap that COMAL keeps with sampled preferences on the three-answer cycle falls as "
        "N^-1/2 with the number N of comparisons per query.",
        Claim(
            id="A12.exponent",
            quantity="slope of log gap against log N, 30 to 30,000 comparisons, medians over 16 seeds",
            source=FOLKLORE,
            reading=noise_exponent(),
            bound=between(-0.6, -0.4),
        ),
    ),
    Statement(
        "The duality gap that COMAL keeps with sampled preferences on the three-answer cycle is the gap "
        "that the linearized noise predicts.",
        Claim(
            id="A12.floor",
            quantity="largest |measured / predicted - 1| from 3,000 comparisons per query on",
            source=OURS,
            reading=noise_prediction_error(MANY),
            bound=at_most(0.2),
        ),
    ),
    Statement(
        "The duality gap of INPO with 30 to 30,000 sampled comparisons per query does not fall below its "
        "bias, the gap of its limit without noise, by more than 1%.",
        Claim(
            id="A12.inpo-above",
            quantity="smallest gap / bias, medians over 16 seeds",
            source=OURS,
            reading=inpo_above_bias(),
            bound=at_least(0.99),
        ),
    ),
    Statement(
        "The duality gap of INPO with 30,000 sampled comparisons per query is near its bias, the gap of its "
        "limit without noise.",
        Claim(
            id="A12.inpo",
            quantity="|gap / bias - 1| with 30,000 comparisons per query, median over 16 seeds",
            source=OURS,
            reading=inpo_bias_left(),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        "The duality gap of COMAL is smaller than that of INPO with 3,000 or more sampled comparisons per "
        "query on the three-answer cycle.",
        Claim(
            id="A12.ratio",
            quantity="largest ratio of COMAL's gap to INPO's, medians over 16 seeds",
            source=OURS,
            reading=sampled_ratio(MANY),
            bound=at_most(0.5),
        ),
    ),
    Statement(
        "Iterative DPO, iterative IPO and SPPO do not converge from sampled preferences on the three-answer "
        "cycle.",
        Claim(
            id="A12.baselines",
            quantity="smallest duality gap in the last tenth of the run, over the three, medians over 64 "
            "seeds",
            source=SOURCE,
            reading=smallest_gap_at_the_end(THREE),
            bound=at_least(0.2),
        ),
    ),
)

FIGURES = (
    Figure(
        "sampled",
        "Left: five rules that see 3,000 comparisons per query, medians and quartiles of 64 seeds. Right: "
        "the gap at the end, by the number of comparisons. The gap of COMAL is caused by noise and falls as "
        "N^-1/2; linearized noise predicts the diamonds. The gap of INPO stops at the bias of its "
        "regularized game, dashed.",
        (
            Panel("gap", "five sampled", "3,000 comparisons per query", {"bottom": 1e-4}),
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
                    "xlabel": "comparisons per query",
                    "ylabel": "duality gap kept (mean of 1,000 steps)",
                    "logx": True,
                },
            ),
        ),
    ),
)
