"""INPO: one algorithm under three names, how fast it contracts, and up to which step.

Zhang et al., "Iterative Nash Policy Optimization", 2024, arXiv 2407.00617.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import MirrorDescent
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Experiment, Figure, Measurement, Panel, Paper, at_most
from comalgames.experiments.spec import Data
from comalgames.measures.metrics import kl_to
from comalgames.papers import comal, comal_theory
from comalgames.papers.reading import NEW

TEMPERATURES, NUM_GAMES, NUM_ACTIONS, NUM_STEPS = (0.05, 0.2, 0.5, 1.0), 50, 6, 400
SHARES = (0.1, 0.5, 1.0)  # of the largest step that the theorem allows, tau / (tau^2 + 1/2)
ROUNDING = 1e-20


def contraction() -> Any:
    """KL to the regularized equilibrium along mirror descent on random games, from random starts."""
    import xarray as xr

    with jax.enable_x64(True):
        game = games.random(jax.random.key(0), NUM_ACTIONS, (NUM_GAMES,))
        rng = np.random.default_rng(0)
        start, reference = (
            rng.dirichlet(np.ones(NUM_ACTIONS), NUM_GAMES) * 0.9 + 0.1 / NUM_ACTIONS for _ in "ab"
        )
        runs, factors = [], []
        for tau in TEMPERATURES:
            target = {"kl": kl_to(jnp.log(jnp.asarray(qre(game, tau, reference))))}
            for share in SHARES:
                step_size = share * tau / (tau**2 + 0.5)
                rule = MirrorDescent(step_size, tau)
                runs.append(
                    solve(game, rule, NUM_STEPS, init=start, reference=reference, metrics=target).history[
                        "kl"
                    ]
                )
                factors.append(1 - step_size * tau / 2)
    return xr.Dataset(
        {
            "kl": (("temperature", "share", "step", "game"), np.reshape(runs, (*shape(), NUM_STEPS + 1,
            NUM_GAMES))),
            "factor": (("temperature", "share"), np.reshape(factors, shape())),
        },
        {"temperature": list(TEMPERATURES), "share": list(SHARES), "step": np.arange(NUM_STEPS + 1)},
    )  # fmt: skip


def shape() -> tuple[int, int]:
    """Temperatures, shares."""
    return len(TEMPERATURES), len(SHARES)


def share_of_bound(data: Data) -> float:
    """Largest KL+ / ((1 - eta tau / 2) KL) over all steps, games, temperatures and step sizes."""
    kl, factor = data["contraction"]["kl"].values, data["contraction"]["factor"].values[..., None, None]
    before, after = kl[..., :-1, :], kl[..., 1:, :]
    known = before > ROUNDING
    return float(np.max(np.where(known, after, 0.0) / (factor * np.where(known, before, 1.0))))


PAPER = Paper(
    "inpo",
    "INPO: one algorithm under three names, its rate and its step",
    "Zhang et al. 2024, arXiv 2407.00617; COMAL, theorem 2",
    (
        Measurement(
            "contraction", "Does every step contract KL by the theorem's factor?", contraction, is_quick=False
        ),
        Experiment(
            "one algorithm", "Are INPO, MMD and online mirror descent one algorithm?",
            comal.cycle_and_random_games, comal.THREE_NAMES,
            {"num_steps": 500, "metrics": ["policy"], "record_every": 10}, is_quick=False,
        ),
        Measurement(
            "published loss", "Does one step minimize the published loss?", comal_theory.published_loss
        ),
        Measurement(
            "step sizes", "Beyond which step is it unstable?", comal_theory.step_size_thresholds,
            is_quick=False
        ),
    ),
    (
        Claim(
            "A6", "Every step contracts KL to the regularized equilibrium by at least 1 - eta tau/2, for "
            "steps up to tau/(tau^2 + 1/2), on 50 random games at four temperatures.", "COMAL, theorem 2",
            "largest share of the bound", share_of_bound, at_most(1.0), ("contraction",),
        ),
        Claim(
            "A15.one", "INPO(eta, tau), MMD(1/(eta - tau), tau) and mirror descent with step 1/eta are one "
            "algorithm.", NEW, "largest difference of a probability over 500 steps on 21 games",
            comal.disagreement, at_most(1e-12), ("one algorithm",),
        ),
        Claim(
            "A15.loss", "Its step is the minimizer of the published loss.", "INPO, equation 8",
            "largest difference of a log-probability, nats",
            lambda data: float(data["published loss"]["difference"].max()), at_most(1e-10),
            ("published loss",),
        ),
        Claim(
            "A16.explicit", "It is locally stable exactly below the step 2 tau/(tau^2 + w^2),", NEW,
            "largest relative error of the threshold over 10 settings",
            lambda data: comal_theory.threshold_error(data, "mirror descent"), at_most(1e-6),
            ("step sizes",),
        ),
        Claim(
            "A16.implicit", "MMD below 2 tau/(w^2 - tau^2), and always if tau >= w.", NEW,
            "largest relative error of the threshold",
            lambda data: comal_theory.threshold_error(data, "MMD"), at_most(1e-6), ("step sizes",),
        ),
    ),
    (
        Figure(
            "inpo",
            "KL to the regularized equilibrium along mirror descent, by temperature: median and quartiles "
            "over 50 random games of six answers and three step sizes, up to the theorem's largest.",
            (
                Panel(
                    "lines", "contraction", "linear convergence",
                    {
                        "x": "step", "y": "kl", "series": "temperature", "band": ("game", "share"),
                        "ylabel": "KL from the equilibrium",
                    },
                ),
            ),
        ),
    ),
)  # fmt: skip
