"""Claim A8: number of inner steps between two moves of the reference with which COMAL contracts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.diagnostics import rotation_frequencies, spectrum
from comalgames.equilibria import nash
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_least, at_most, reads
from comalgames.papers.local import round_factor
from comalgames.papers.setting import OURS

GROWTH = (
    "|g(K, w)|, g = tau/(tau - iw) + lambda^K (1 - tau/(tau - iw)), lambda = 1 - eta tau + i eta w, where w "
    "is the rotation frequency"
)


def inner_steps(
    step_sizes: tuple[float, ...],
    temperatures: tuple[float, ...],
    most_inner_steps: int,
    five_answers_seed: int,
) -> Any:
    """Growth per round of COMAL with K inner mirror-descent steps at Nash, and the largest |g(K, w)|.

    On the cycle, which has one frequency, and on a random game of five answers with an interior Nash policy
    and two.
    """
    import xarray as xr

    five = games.random(jax.random.key(five_answers_seed), 5)
    chosen = {"cycle": games.comal_cycle(), "five answers": five}
    solutions = {name: nash(game).logp for name, game in chosen.items()}
    frequencies = {name: rotation_frequencies(chosen[name], logp) for name, logp in solutions.items()}
    periods = np.arange(1, most_inner_steps + 1)
    axes: dict[str, list[Any]] = {
        "game": list(chosen),
        "step_size": list(step_sizes),
        "temperature": list(temperatures),
    }
    shape = (*(len(values) for values in axes.values()), len(periods))
    measured, predicted, limit = np.zeros(shape), np.zeros(shape), np.zeros(shape[:-1])
    for where in np.ndindex(shape):
        name, step, tau = (values[k] for values, k in zip(axes.values(), where, strict=False))
        period, omega = int(periods[where[-1]]), frequencies[name]
        rule = COMAL(MirrorDescent(step, tau), period=period)
        measured[where] = np.abs(spectrum(chosen[name], rule, solutions[name], num_steps=period))[0]
        predicted[where] = round_factor(step, tau, period, omega).max()
        limit[where[:-1]] = 2 * tau / (tau**2 + omega.max() ** 2)
    variables = {"measured": ((*axes, "period"), measured), "predicted": ((*axes, "period"), predicted)}
    return xr.Dataset({**variables, "largest_stable_step": (tuple(axes), limit)}, {**axes, "period": periods})


def growth_where(growths: Any, chosen: Any) -> np.ndarray:
    """The measured growths of the chosen settings."""
    return np.asarray(growths["measured"].values[chosen.broadcast_like(growths["measured"]).values])


@reads("inner steps")
def growth_below_necessary(data: Data) -> float:
    """Smallest growth, minus 1, with fewer inner steps than sqrt(3 / (eta tau)) - 0.3."""
    growths = data["inner steps"]
    few = growths["period"] < np.sqrt(3 / (growths["step_size"] * growths["temperature"])) - 0.3
    return float(growth_where(growths, few).min()) - 1


@reads("inner steps")
def growth_above_sufficient(data: Data, share: float) -> float:
    """Largest growth, minus 1, with 2 / sqrt(eta tau) or more steps, each at most a share of its limit."""
    growths = data["inner steps"]
    many = growths["period"] >= 2 / np.sqrt(growths["step_size"] * growths["temperature"])
    small = growths["step_size"] <= share * growths["largest_stable_step"]
    return float(growth_where(growths, many & small).max()) - 1


@reads("inner steps")
def growth_error(data: Data) -> float:
    """Largest relative difference between the measured and the predicted growth."""
    growths = data["inner steps"]
    return float(np.abs(growths["measured"] / growths["predicted"] - 1).max(skipna=False))


@reads("inner steps")
def growth_at(data: Data, game: str, step_size: float, temperature: float, period: int) -> float:
    """Growth, minus 1, in one setting."""
    cell = {"game": game, "step_size": step_size, "temperature": temperature, "period": period}
    return float(data["inner steps"]["measured"].sel(cell)) - 1


EXPERIMENTS = (
    Measurement(
        "inner steps",
        "With how many inner steps does COMAL contract?",
        inner_steps,
        {
            "step_sizes": (0.2, 0.3, 1.0, 3.0),
            "temperatures": (0.05, 0.1, 0.3),
            "most_inner_steps": 40,
            "five_answers_seed": 24,
        },
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "COMAL around mirror descent with step eta and temperature tau diverges near Nash if it takes fewer "
        "inner steps than sqrt(3/(eta tau)) - 0.3 before each move of its reference.",
        Claim(
            id="A8.necessary",
            quantity="smallest growth factor per round minus 1, 12 settings on each of two games",
            source=OURS,
            reading=growth_below_necessary(),
            bound=at_least(0.0),
        ),
    ),
    Statement(
        "COMAL around mirror descent converges near Nash with 2/sqrt(eta tau) inner steps or more, if the "
        "step eta is at most 0.7 of its own limit and the pull eta tau at most 0.9.",
        Claim(
            id="A8.sufficient",
            quantity="largest growth factor per round minus 1",
            source=OURS,
            reading=growth_above_sufficient(0.7),
            bound=at_most(-1e-9),
        ),
    ),
    Statement(
        f"One round of K inner steps of COMAL near an interior Nash policy multiplies the error by {GROWTH}.",
        Claim(
            id="A8.exact",
            quantity="largest relative error of the growth factor",
            source=OURS,
            reading=growth_error(),
            bound=at_most(1e-9),
        ),
    ),
    Statement(
        "More than sqrt(3/(eta tau)) inner steps do not suffice for COMAL: with step 1, temperature 0.05 "
        "and 8 > sqrt(60) inner steps it diverges on the three-answer cycle.",
        Claim(
            id="A8.counterexample",
            quantity="growth factor per round minus 1",
            source=OURS,
            reading=growth_at("cycle", 1.0, 0.05, 8),
            bound=at_least(0.0),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
