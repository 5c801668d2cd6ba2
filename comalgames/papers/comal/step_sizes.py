"""Claim A16: the step size beyond which mirror descent and MMD are unstable at their limit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from comalgames import games
from comalgames.algorithms import MMD, MirrorDescent
from comalgames.diagnostics import rotation_frequencies, spectrum
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_most, reads
from comalgames.games import PreferenceGame
from comalgames.papers.setting import START


def step_size_thresholds(
    temperatures: tuple[float, ...],
    cycle_reference: tuple[float, ...],
    random_seed: int,
    num_answers: int,
    trial_steps: tuple[float, ...],
) -> Any:
    """The step at which mirror descent and MMD lose stability, by the spectral radius, and as predicted.

    On the cycle and on one random game, whose reference is uniform. `trial_steps` are those of MMD at which
    the largest growth is taken.
    """
    import xarray as xr

    random = games.random(jax.random.key(random_seed), num_answers)
    settings = {"cycle": (games.comal_cycle(), cycle_reference), "random": (random, None)}
    rows = []
    for (name, (game, reference)), tau in itertools.product(settings.items(), temperatures):
        limit = qre(game, tau, reference).logp
        anchor = game.uniform() if reference is None else jnp.log(jnp.asarray(reference))
        omega = rotation_frequencies(game, limit)[0]

        def growth(rule: Any, game: PreferenceGame = game, limit: Any = limit, anchor: Any = anchor) -> float:
            return float(np.abs(spectrum(game, rule, limit, reference=anchor))[0])

        explicit = 2 * tau / (tau**2 + omega**2)
        implicit = 2 * tau / (omega**2 - tau**2) if tau < omega else np.inf
        descent, magnetic = partial(MirrorDescent, temperature=tau), partial(MMD, temperature=tau)
        rows.append(
            {
                "game": name,
                "temperature": tau,
                "frequency": omega,
                "mirror descent predicted": explicit,
                "mirror descent measured": threshold(growth, descent, explicit),
                "MMD predicted": implicit,
                "MMD measured": threshold(growth, magnetic, implicit) if tau < omega else np.inf,
                "MMD largest growth": max(growth(magnetic(step)) for step in trial_steps),
            }
        )
    return xr.Dataset({name: ("setting", [row[name] for row in rows]) for name in rows[0]})


def threshold(growth: Callable[[Any], float], rule: Callable[[float], Any], predicted: float) -> float:
    """The step size, near the predicted one, up to which a rule contracts, or nan."""

    def excess(step_size: float) -> float:
        return growth(rule(step_size)) - 1

    low, high = 0.5 * predicted, 1.5 * predicted
    return float(brentq(excess, low, high, rtol=1e-10)) if excess(low) < 0 < excess(high) else np.nan


@reads("step sizes")
def threshold_error(data: Data, rule: str) -> float:
    """Largest relative error of the predicted thresholds that are finite."""
    thresholds = data["step sizes"]
    predicted, measured = thresholds[f"{rule} predicted"].values, thresholds[f"{rule} measured"].values
    finite = np.isfinite(predicted)
    return float(np.abs(measured[finite] / predicted[finite] - 1).max())


@reads("step sizes")
def growth_where_always_stable(data: Data) -> float:
    """Largest growth of MMD over the trial steps where the temperature is at least the frequency."""
    settings = data["step sizes"]
    calm = settings["temperature"].values >= settings["frequency"].values
    return float(settings["MMD largest growth"].values[calm].max())


EXPERIMENTS = (
    Measurement(
        "step sizes",
        "Beyond which step size is a rule unstable?",
        step_size_thresholds,
        {
            "temperatures": (0.01, 0.05, 0.1, 0.15, 0.25),
            "cycle_reference": START,
            "random_seed": 0,
            "num_answers": 10,
            "trial_steps": tuple(10.0 ** (k / 2) for k in range(-2, 9)),
        },
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "Mirror descent (INPO, where its step is at most 1/tau) is locally stable exactly below the step 2 "
        "tau/(tau^2 + w^2), where w is the largest rotation frequency at its limit.",
        Claim(
            id="A16.OMD",
            quantity="largest relative error of the threshold over 10 settings",
            source="folklore (explicit and implicit gradient steps)",
            reading=threshold_error("mirror descent"),
            bound=at_most(1e-6),
        ),
    ),
    Statement(
        "MMD is locally stable exactly below the step 2 tau/(w^2 - tau^2) if tau < w, where w is the "
        "largest rotation frequency at its limit.",
        Claim(
            id="A16.MMD",
            quantity="largest relative error of the threshold over the settings with tau < w",
            source="folklore (explicit and implicit gradient steps)",
            reading=threshold_error("MMD"),
            bound=at_most(1e-6),
        ),
    ),
    Statement(
        "MMD is locally stable for every step if tau >= w, where w is the largest rotation frequency at its "
        "limit.",
        Claim(
            id="A16.always",
            quantity="largest growth factor per step over steps from 0.1 to 1e4, tau >= w",
            source="folklore (explicit and implicit gradient steps)",
            reading=growth_where_always_stable(),
            bound=at_most(1.0 - 1e-9),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
