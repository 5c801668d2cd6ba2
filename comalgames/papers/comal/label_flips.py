"""Claim A14, part 1: the effect of flipped labels on COMAL and INPO on the three-answer cycle."""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, INPO, MirrorDescent
from comalgames.algorithms.corrected import flip_corrected
from comalgames.drivers.solve import Result, solve
from comalgames.equilibria import qre
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
from comalgames.feedback import Exact
from comalgames.measures.metrics import duality_gap, win_rates
from comalgames.papers.setting import OURS, START, TEMPERATURE

# At a flip rate of 0.45 advantages are a tenth of the true ones, and COMAL needs some 3000 rounds.
LEARNING = {
    "step_size": 1.0,
    "temperature": TEMPERATURE,
    "period": 20,
    "num_steps": 80_000,
    "num_inpo_steps": 2000,
    "init": START,
}


def _learnt(rule: Any, num_steps: int, rate: float, init: tuple[float, ...]) -> Result:
    """The policy that a rule learns from flipped labels, measured on the cycle with true ones."""
    game = games.comal_cycle()
    source = Exact(games.flip_labels(game, rate))
    return solve(game, rule, num_steps, init=init, feedback=source, record_every=num_steps)


def label_flips(
    rates: tuple[float, ...],
    step_size: float,
    temperature: float,
    period: int,
    num_steps: int,
    num_inpo_steps: int,
    init: tuple[float, ...],
) -> Any:
    """The true gap of rules that learn on the cycle from labels flipped at a rate, and the predicted gap.

    `predicted` is the gap of the equilibrium regularized at temperature tau / (1 - 2 rate) on the true game,
    and `error` the distance of INPO's last policy from it.
    """
    import xarray as xr

    game = games.comal_cycle()
    comal, inpo = COMAL(MirrorDescent(step_size, temperature), period), INPO(1 / step_size, temperature)
    gaps: dict[str, list[float]] = {"COMAL": [], "INPO": [], "INPO, corrected": []}
    predicted, errors = [], []
    for rate in rates:
        plain = _learnt(inpo, num_inpo_steps, rate, init)
        corrected = _learnt(flip_corrected(inpo, rate), num_inpo_steps, rate, init)
        for name, run in zip(gaps, (_learnt(comal, num_steps, rate, init), plain, corrected), strict=True):
            gaps[name].append(float(run.duality_gap))
        limit = qre(game, temperature / (1 - 2 * rate), init).policy
        predicted.append(float(duality_gap(game, np.log(limit))))
        errors.append(float(np.abs(plain.policy - limit).max()))
    return xr.Dataset(
        {
            "gap": (("rule", "rate"), np.array(list(gaps.values()))),
            "predicted": ("rate", predicted),
            "error": ("rate", errors),
        },
        {"rule": list(gaps), "rate": list(rates)},
    )


def across_noise(
    rates: tuple[float, ...],
    step_size: float,
    temperature: float,
    period: int,
    num_steps: int,
    num_inpo_steps: int,
    init: tuple[float, ...],
) -> Any:
    """Win rates by true labels among policies learned at different rates of flips."""
    import xarray as xr

    game = games.comal_cycle()
    rules = {
        "COMAL": (COMAL(MirrorDescent(step_size, temperature), period), num_steps),
        "INPO": (INPO(1 / step_size, temperature), num_inpo_steps),
    }
    policies = {
        f"{name}, {rate:.0%} flipped": _learnt(rule, steps, rate, init).logp
        for name, (rule, steps) in rules.items()
        for rate in rates
    }
    matrix = np.asarray(win_rates(game, np.stack(list(policies.values()))))
    return xr.Dataset({"win_rate": (("policy_name", "opponent"), matrix)}, {"policy_name": list(policies)})


@reads("label flips")
def largest_gap(data: Data, rule: str) -> float:
    """The largest true gap of a rule over the rates at which labels are flipped."""
    return float(data["label flips"]["gap"].sel(rule=rule).max(skipna=False))


@reads("label flips")
def limit_error(data: Data) -> float:
    """Largest difference of a probability between INPO's last policy and the predicted equilibrium."""
    return float(data["label flips"]["error"].max(skipna=False))


@reads("label flips")
def rise_with_rate(data: Data) -> float:
    """Smallest rise of INPO's true gap from one rate to the next."""
    return float(data["label flips"]["gap"].sel(rule="INPO").diff("rate").min(skipna=False))


@reads("label flips")
def spread_when_corrected(data: Data) -> float:
    """The largest minus the smallest gap of the corrected INPO over the rates."""
    gaps = data["label flips"]["gap"].sel(rule="INPO, corrected")
    return float(gaps.max(skipna=False) - gaps.min(skipna=False))


EXPERIMENTS = (
    Measurement(
        "label flips",
        "How far from Nash do COMAL and INPO end, by the rate at which labels are flipped?",
        label_flips,
        {"rates": tuple(np.arange(10) / 20), **LEARNING},
        is_quick=False,
    ),
    Measurement(
        "across noise",
        "Does a policy learnt from flipped labels lose to a policy learnt from true labels?",
        across_noise,
        {"rates": (0.0, 0.2, 0.4), **LEARNING},
    ),
)

STATEMENTS = (
    Statement(
        "COMAL still reaches the Nash policy of the three-answer cycle if labels are flipped at any rate "
        "from 0 to 0.45.",
        Claim(
            id="A14.comal",
            quantity="largest true duality gap over 10 rates",
            source=OURS,
            reading=largest_gap("COMAL"),
            bound=at_most(1e-11),
        ),
    ),
    Statement(
        "Labels flipped at a rate from 0 to 0.45 move the limit of INPO to the equilibrium of the true "
        "game at temperature tau/(1 - 2 rate).",
        Claim(
            id="A14.limit",
            quantity="largest difference of a probability over 10 rates",
            source=OURS,
            reading=limit_error(),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "The true duality gap of INPO on the three-answer cycle rises with every rate at which labels are "
        "flipped.",
        Claim(
            id="A14.rise",
            quantity="smallest rise of the true gap per 0.05 of the rate",
            source=OURS,
            reading=rise_with_rate(),
            bound=at_least(1e-3),
        ),
    ),
    Statement(
        "Flipped labels do not change the limit of INPO if its step size and temperature are corrected for "
        "the rate.",
        Claim(
            id="A14.corrected",
            quantity="difference of the largest and the smallest true gap over 10 rates",
            source=OURS,
            reading=spread_when_corrected(),
            bound=at_most(1e-12),
        ),
    ),
)

FIGURES = (
    Figure(
        "across_noise",
        "Win rate, by true labels, of the row's policy against the column's policy. All policies are learnt "
        "on the cycle from labels flipped at the given rate. Policies of COMAL never lose; policies of "
        "INPO lose to policies that INPO learns from cleaner labels.",
        (Panel("win_rates", "across noise"),),
    ),
)
