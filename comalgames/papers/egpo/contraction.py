"""Every step of EGPO contracts KL to the regularized equilibrium."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import EGPO
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Figure, Measurement, Statement, at_most
from comalgames.measures.metrics import kl_to
from comalgames.papers.egpo.setting import DRAWS, LEARNING_RATES, setting, step_of
from comalgames.papers.local import errors_of_factor
from comalgames.papers.reading import largest, ratios_per_step
from comalgames.papers.setting import OURS


def contraction(learning_rates: dict[float, float], num_steps: int, smallest_kl: float, **draws: int) -> Any:
    """Largest KL+ / ((1 - eta beta) KL) along EGPO's runs, while KL exceeds rounding error.

    By temperature, and by step: that of the public code, and the largest of the theorem, 1/(1 + beta).
    """
    import xarray as xr

    worst: list[list[float]] = []
    with jax.enable_x64(True):
        game, reference = setting(**draws)
        for beta, learning_rate in learning_rates.items():
            target = {"kl": kl_to(jnp.asarray(qre(game, beta, reference).logp))}
            worst.append([])
            for step in (step_of(learning_rate, beta, draws["num_answers"]), 1 / (1 + beta)):
                kl = solve(game, EGPO(step, beta), num_steps, init=reference, metrics=target).history["kl"]
                worst[-1].append(np.max(ratios_per_step(kl, smallest_kl)) / (1 - step * beta))
    return xr.Dataset(
        {"share of the bound": (("temperature", "step"), worst)},
        {"temperature": list(learning_rates), "step": ["of the public code", "largest"]},
    )


def local_rate(temperatures: tuple[float, ...], num_steps: int) -> Any:
    """Error of EGPO's factor of KL per step near the equilibrium, with step 1/(1 + beta), by temperature."""

    def multiplier(beta: float, w: float) -> complex:
        step = 1 / (1 + beta)
        kept = 1 - step * beta
        return kept + 1j * step * w * (kept + 1j * step * w)

    return errors_of_factor(temperatures, num_steps, lambda beta: EGPO(1 / (1 + beta), beta), multiplier)


EXPERIMENTS = (
    Measurement(
        "contraction",
        "Does every step contract as the theorem says?",
        contraction,
        {"learning_rates": LEARNING_RATES, "num_steps": 2000, "smallest_kl": 1e-20, **DRAWS},
        is_quick=False,
    ),
    Measurement(
        "local rate",
        "By which factor does a step of EGPO shrink KL near the regularized equilibrium?",
        local_rate,
        {"temperatures": (0.01, 0.1, 1.0), "num_steps": 8},
    ),
)

STATEMENTS = (
    Statement(
        "Every step of EGPO multiplies KL to the equilibrium regularized at temperature beta by at most "
        "1 - eta beta, with the step size eta of its public code and with the largest of its theorem, "
        "1/(1 + beta), on ten random games of ten answers at temperatures 0.1, 0.01 and 0.001.",
        Claim(
            id="A19.contraction",
            quantity="largest share of the bound, public and largest steps at three temperatures",
            source="EGPO, theorem 1; Cen, Wei and Chi 2021",
            reading=largest("contraction", "share of the bound"),
            bound=at_most(1 + 1e-9),
        ),
    ),
    Statement(
        "A step of EGPO with the largest step of its theorem, eta = 1/(1 + beta), shrinks KL near the "
        "regularized equilibrium of the three-answer cycle by |a + i eta w (a + i eta w)|^2, where "
        "a = 1 - eta beta and w is the rotation frequency, at temperatures beta of 0.01, 0.1 and 1.",
        Claim(
            id="A19.local",
            quantity="largest relative error of log(factor), three temperatures",
            source=OURS,
            reading=largest("local rate", "error"),
            bound=at_most(1e-3),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
