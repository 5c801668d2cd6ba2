"""Claim N2, part 1: the period with which COMAL converges fastest, for small inner steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import MirrorDescent
from comalgames.diagnostics import best_period, rotation_frequencies
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_most, reads
from comalgames.papers.setting import NASH, OURS

# The best period times the pull, by the rotation frequency divided by the temperature.
CONSTANTS = {0.02: 2.73, 1.0: 2.42, 2.0: 1.91}
FAST = (4.0, 5.0, 6.0, 8.0, 10.0)


def continuous_best(ratio: float, longest: float = 4.0, num_cells: int = 400_000) -> float:
    """The x = K m that maximizes the rate for m -> 0, on a grid, for w / tau = ratio.

    For small m a round of K steps multiplies the error by g = z + (1 - z) exp(-x (1 - i w / tau)), where
    z = 1 / (1 - i w / tau), and -log|g| / x is the rate in units of m. For slow rotation it is
    (w / tau)^2 (1/2 - x exp(-x) - exp(-2 x) / 2) / x.
    """
    x = longest * np.arange(1, num_cells + 1) / num_cells
    ends = 1 / (1 - 1j * ratio)
    return float(x[np.argmax(-np.log(np.abs(ends + (1 - ends) * np.exp(-x * (1 - 1j * ratio)))) / x)])


def formula(ratios: tuple[float, ...], pull: float, nash: tuple[float, ...]) -> Any:
    """The best period times the pull on the cycle, for rotation of each ratio to the temperature."""
    import xarray as xr

    game = games.comal_cycle()
    (frequency,) = rotation_frequencies(game, np.log(nash))
    products = []
    for ratio in ratios:
        temperature = float(frequency / ratio)
        products.append(pull * best_period(game, MirrorDescent(pull / temperature, temperature)))
    return xr.Dataset(
        {
            "product": ("ratio", products),
            "continuous": ("ratio", [continuous_best(ratio) for ratio in ratios]),
        },
        {"ratio": list(ratios)},
    )


@reads("best period, formula")
def constant_error(data: Data, constants: Mapping[float, float]) -> float:
    """Largest relative difference between the best period times the pull, its limit and the constant."""
    runs = data["best period, formula"].sel(ratio=list(constants))
    stated = np.array(list(constants.values()))
    errors = [runs[name].values / stated - 1 for name in ("product", "continuous")]
    return float(np.abs(errors).max())


@reads("best period, formula")
def error_of_the_turns(data: Data, ratios: tuple[float, ...]) -> float:
    """Largest distance of the turns in a round from k + 3/4."""
    product = data["best period, formula"]["product"].sel(ratio=list(ratios))
    turns = product.values * np.array(ratios) / (2 * np.pi)
    return float(np.abs(turns - 0.75 - np.round(turns - 0.75)).max())


EXPERIMENTS = (
    Measurement(
        "best period, formula",
        "Which period is best for COMAL, by the rotation frequency and the temperature?",
        formula,
        {"ratios": (*CONSTANTS, *FAST), "pull": 0.002, "nash": NASH},
    ),
)

STATEMENTS = (
    Statement(
        "The period that maximizes the rate of COMAL's linearized round on the three-answer cycle, times the "
        "pull m of an inner step, tends for small m to 2.73 for slow rotation, to 2.42 for rotation at the "
        "frequency tau, and to 1.91 at 2 tau, where tau is the temperature.",
        Claim(
            id="N2.constants",
            quantity="largest relative error, pull 0.002, w/tau = 0.02, 1 and 2",
            source=OURS,
            reading=constant_error(CONSTANTS),
            bound=at_most(0.01),
        ),
    ),
    Statement(
        "The period that maximizes the rate of COMAL's linearized round lets the inner error make k + 3/4 "
        "turns for a whole number k, for small inner steps on the three-answer cycle and rotation from 4 to "
        "10 times the temperature.",
        Claim(
            id="N2.turns",
            quantity="largest distance from k + 3/4 turns, pull 0.002, five frequencies",
            source=OURS,
            reading=error_of_the_turns(FAST),
            bound=at_most(0.02),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
