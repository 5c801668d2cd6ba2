"""Claim N7: labels that are wrong more often than right turn the game around, and a cycle does not mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.drivers.solve import solve
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_most, reads
from comalgames.games import PreferenceGame
from comalgames.papers.local import round_factor
from comalgames.papers.setting import (
    LOSES,
    NASH,
    OURS,
    STARTS,
    TEMPERATURE,
    cycle_game,
    losing_answer_game,
)

RATES = (0.2, 0.4, 0.6, 0.8, 1.0)
MOST_WRONG = tuple(rate for rate in RATES if rate > 0.5)

# The rate of convergence is read while the gap in the labels' game is between these.
FITTED = (1e-10, 1e-2)


def wrong_labels(
    rates: tuple[float, ...],
    step_size: float,
    temperature: float,
    period: int,
    num_steps: int,
    nash: tuple[float, ...],
    starts: Mapping[str, tuple[float, ...]],
    fitted: tuple[float, float],
) -> Any:
    """COMAL on labels that are wrong at each rate: its last policies, and its rate on the cycle.

    Labels wrong at rate r multiply the payoffs S by 1 - 2 r. Where Nash is interior, S p = 0 decides it, and
    the factor does not matter. `predicted` is -log|g| / K at the frequency (1 - 2 r) w, where
    w^2 = p_a p_b S_ab^2 + p_a p_c S_ac^2 + p_b p_c S_bc^2 on three answers.
    """
    import xarray as xr

    known = cycle_game() | losing_answer_game()
    rule = COMAL(MirrorDescent(step_size, temperature), period)
    last: dict[str, np.ndarray] = {}
    gaps: dict[str, np.ndarray] = {}
    for name, start in starts.items():
        with jax.enable_x64(True):
            factors = 1 - 2 * np.array(rates)[:, None, None]
            labelled = PreferenceGame.from_skew(factors * np.asarray(known[name].skew))
            run = solve(labelled, rule, num_steps, init=start, record_every=period)
        last[name], gaps[name] = np.asarray(run.policy), np.asarray(run.history["duality_gap"])
    skew, p = np.asarray(known["cycle"].skew), np.array(nash)
    frequency = float(np.sqrt((p[:, None] * p * skew**2).sum() / 2))
    slopes, predicted = [], []
    for path, rate in zip(gaps["cycle"].T, rates, strict=True):
        seen = (path > fitted[0]) & (path < fitted[1])
        steps = period * np.flatnonzero(seen)
        slopes.append(-np.polyfit(steps, np.log(path[seen]), 1)[0] if len(steps) > 1 else np.nan)
        factor = round_factor(step_size, temperature, period, (1 - 2 * rate) * frequency)
        predicted.append(-np.log(factor) / period)
    return xr.Dataset(
        {
            "cycle": (("rate", "answer of three"), last["cycle"]),
            "losing answer": (("rate", "answer of four"), last["losing answer"]),
            "slope": ("rate", slopes),
            "predicted": ("rate", predicted),
        },
        {"rate": list(rates)},
    )


@reads("wrong labels")
def error_on_the_cycle(data: Data, rates: tuple[float, ...], nash: tuple[float, ...]) -> float:
    """The largest difference of a probability from Nash over some rates."""
    last = data["wrong labels"]["cycle"].sel(rate=list(rates)).values
    return float(np.abs(last - np.array(nash)).max())


@reads("wrong labels")
def error_of_the_losing_answer(data: Data) -> float:
    """Largest difference of the losing answer's probability from 1 if most labels are wrong, else from 0."""
    runs = data["wrong labels"]
    wanted = (runs["rate"].values > 0.5).astype(float)
    return float(np.abs(runs["losing answer"].values[:, -1] - wanted).max())


@reads("wrong labels")
def error_of_the_rate(data: Data, rates: tuple[float, ...]) -> float:
    """Largest relative error of the predicted rate of convergence over some rates of wrong labels."""
    runs = data["wrong labels"].sel(rate=list(rates))
    return float(np.abs(runs["slope"] / runs["predicted"] - 1).max(skipna=False))


EXPERIMENTS = (
    Measurement(
        "wrong labels",
        "Which policy does COMAL reach if most labels are wrong?",
        wrong_labels,
        {
            "rates": RATES,
            "step_size": 1.0,
            "temperature": TEMPERATURE,
            "period": 20,
            "num_steps": 20_000,
            "nash": NASH,
            "starts": STARTS,
            "fitted": FITTED,
        },
    ),
)

SUBJECT = "COMAL with step 1, temperature 0.1 and period 20"

STATEMENTS = (
    Statement(
        f"{SUBJECT} reaches the Nash policy of the three-answer cycle in 20,000 steps even if 60%, 80% or "
        "all of the labels are wrong, because wrong labels only change the size and the sign of the payoffs "
        "of a game whose Nash policy is interior.",
        Claim(
            id="N7.interior",
            quantity="largest difference of a probability from Nash, three rates",
            source=OURS,
            reading=error_on_the_cycle(MOST_WRONG, NASH),
            bound=at_most(1e-11),
        ),
    ),
    Statement(
        f"{SUBJECT} on the three-answer cycle with a fourth answer that loses {LOSES:.0%} of the time drops "
        "that answer in 20,000 steps if 20% or 40% of the labels are wrong, and plays it alone if 60%, 80% "
        "or all of them are wrong.",
        Claim(
            id="N7.losing",
            quantity="largest difference of its probability from 0 or 1, five rates",
            source=OURS,
            reading=error_of_the_losing_answer(),
            bound=at_most(1e-11),
        ),
    ),
    Statement(
        f"{SUBJECT} converges on the three-answer cycle with labels "
        "wrong at rate r as fast as the linearized round predicts for the rotation frequency |1 - 2r| w, and "
        "hence as fast at the rate 1 - r.",
        Claim(
            id="N7.rate",
            quantity="largest relative error of the rate of convergence, r = 0.2, 0.4, 0.6 and 0.8",
            source=OURS,
            reading=error_of_the_rate(tuple(rate for rate in RATES if rate < 1)),
            bound=at_most(0.05),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
