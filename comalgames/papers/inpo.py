"""INPO: its contraction rate, and its rate with falling steps.

Its identity with other rules, its loss and its largest step are claims A15 and A16 of the paper `comal`.

Zhang et al., "Iterative Nash Policy Optimization", 2024, arXiv 2407.00617.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import InverseTime, MirrorDescent
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_most,
    reads,
)
from comalgames.measures.metrics import kl_to
from comalgames.papers.reading import error_of_exponent, ratios_per_step
from comalgames.papers.setting import START, cycle_game, distances, on_both, with_losing_answer

# Shares of the largest step that the theorem allows, tau / (tau^2 + 1/2).
CONTRACTION = {
    "temperatures": (0.05, 0.2, 0.5, 1.0),
    "shares": (0.1, 0.5, 1.0),
    "num_games": 50,
    "num_answers": 6,
    "num_steps": 400,
    "seed": 0,
}


def contraction(
    temperatures: tuple[float, ...],
    shares: tuple[float, ...],
    num_games: int,
    num_answers: int,
    num_steps: int,
    seed: int,
) -> Any:
    """KL to the regularized equilibrium along mirror descent on random games, from random starts."""
    import xarray as xr

    with jax.enable_x64(True):
        game = games.random(jax.random.key(seed), num_answers, (num_games,))
        rng = np.random.default_rng(seed)
        start, reference = (
            rng.dirichlet(np.ones(num_answers), num_games) * 0.9 + 0.1 / num_answers for _ in "ab"
        )
        runs, factors = [], []
        for tau in temperatures:
            target = {"kl": kl_to(jnp.asarray(qre(game, tau, reference).logp))}
            for share in shares:
                step_size = share * tau / (tau**2 + 0.5)
                rule = MirrorDescent(step_size, tau)
                run = solve(game, rule, num_steps, init=start, reference=reference, metrics=target)
                runs.append(run.history["kl"])
                factors.append(1 - step_size * tau / 2)
    shape = (len(temperatures), len(shares))
    kl = np.reshape(runs, (*shape, num_steps + 1, num_games))
    return xr.Dataset(
        {
            "kl": (("temperature", "share", "step", "game"), kl),
            "factor": (("temperature", "share"), np.reshape(factors, shape)),
        },
        {"temperature": list(temperatures), "share": list(shares), "step": np.arange(num_steps + 1)},
    )


@reads("contraction")
def share_of_bound(data: Data, smallest_kl: float) -> float:
    """Largest KL+ / ((1 - eta tau / 2) KL) over all steps whose KL is above rounding error."""
    kl, factor = data["contraction"]["kl"].values, data["contraction"]["factor"].values[..., None, None]
    return float(np.max(ratios_per_step(kl, smallest_kl, axis=2) / factor))


# The falling step of the theorem of Nash-MD, which has no bias here.
STRONG, FALLING = 1.0, "INPO, falling step"


# A step s multiplies an error of frequency w by 1 - s tau + i s w. With s tau = 2 / (t + 2) the product over
# T steps falls like T^-2, and KL, which is quadratic in the error, like T^-4.
EXPONENT = -4.0


STATEMENTS = (
    Statement(
        "Every step of INPO, with a mirror step eta of at most tau/(tau^2 + 1/2), multiplies KL to the "
        "regularized equilibrium by at most 1 - eta tau/2, on 50 random games at four temperatures tau.",
        Claim(
            id="A6",
            quantity="largest share of the bound",
            source="COMAL, theorem 2",
            reading=share_of_bound(1e-20),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "INPO with the step 2/(tau (t + 2)) and exact win rates converges faster than like 1/T: KL to the "
        "regularized equilibrium falls like T^-4, at temperature 1 on the three-answer cycle, with and "
        "without a fourth answer that loses 90% of the time.",
        Claim(
            id="A6.exponent",
            quantity="largest error of the exponent from T = 200 to 2,000, two games",
            source="ours; the rate that INPO states for falling steps could not be verified",
            reading=error_of_exponent(on_both("falling steps"), FALLING, "kl_to_regularized", EXPONENT),
            bound=at_most(0.05),
        ),
    ),
)

FIGURES = (
    Figure(
        "inpo",
        "KL to the regularized equilibrium along mirror descent, by temperature: median and quartiles over "
        "50 random games of six answers and three step sizes, up to the theorem's largest.",
        (
            Panel(
                "lines",
                "contraction",
                "linear convergence",
                {
                    "x": "step",
                    "y": "kl",
                    "series": "temperature",
                    "band": ("game", "share"),
                    "ylabel": "KL from the equilibrium",
                },
            ),
        ),
    ),
)

PAPER = Paper(
    name="inpo",
    title="INPO contracts in every step, and with falling steps KL falls like T^-4",
    source="Zhang et al. 2024, arXiv 2407.00617; COMAL, theorem 2",
    experiments=(
        Measurement(
            "contraction",
            "Does every step contract KL by the theorem's factor?",
            contraction,
            CONTRACTION,
            is_quick=False,
        ),
        *with_losing_answer(
            Experiment(
                "falling steps",
                "How fast does INPO converge with falling steps?",
                cycle_game,
                {FALLING: MirrorDescent(InverseTime(2 / STRONG, 2.0), STRONG)},
                {"num_steps": 2000, "init": START, "game_metrics": distances(STRONG)},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
