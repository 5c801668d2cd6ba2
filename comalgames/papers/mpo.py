"""MPO: magnetic mirror descent whose magnet moves reaches Nash in the last iterate.

Wang et al., "Magnetic Preference Optimization", 2024, arXiv 2410.16714; Sokota et al. 2023 for the moving
magnet.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import MMD, MPO, MovingReference
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.experiments import (
    Claim,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
)
from comalgames.measures.metrics import kl_to
from comalgames.papers.local import errors_of_factor
from comalgames.papers.reading import largest, last, late_swing, ratios_per_step, regularized_error
from comalgames.papers.setting import (
    FOLKLORE,
    LOSING_START,
    OURS,
    START,
    TEMPERATURE,
    cycle_game,
    losing_answer_game,
    on_both,
    with_losing_answer,
)

RULES: dict[str, Any] = {
    "MPO, every 20 steps": MPO(1.0, TEMPERATURE, 20),
    "moving magnet, .03 a step": MovingReference(MMD(1.0, TEMPERATURE), 0.03),
    "moving magnet, 1 a step": MovingReference(MMD(1.0, TEMPERATURE), 1.0),
    "MMD, magnet fixed": MMD(1.0, TEMPERATURE),
}

# Temperatures alpha; the step is eta = alpha / L^2, the largest of the theorem: advantages differ by at most
# L = 1/2 times the sum of absolute differences of two policies.
TEMPERATURES, PER_TEMPERATURE, SMALLEST_KL = (0.02, 0.1, 0.5), 4.0, 1e-20


def fixed_magnet(
    temperatures: tuple[float, ...],
    per_temperature: float,
    num_steps: int,
    smallest_kl: float,
    num_games: int,
    num_answers: int,
    seed: int,
) -> Any:
    """Largest (1 + eta alpha) KL+ / KL along magnetic mirror descent, by temperature.

    On random games, with a random magnet and start for each, and on the cycle with a losing answer.
    """
    import xarray as xr

    rng, shares = np.random.default_rng(seed), []
    magnet, start = (0.9 * rng.dirichlet(np.ones(num_answers), num_games) + 0.1 / num_answers for _ in "ab")
    with jax.enable_x64(True):
        many = games.random(jax.random.key(seed), num_answers, (num_games,))
        ((_, losing),) = losing_answer_game().items()
        for alpha in temperatures:
            rule = MMD(per_temperature * alpha, alpha)
            for game, init, reference in ((many, start, magnet), (losing, LOSING_START, LOSING_START)):
                target = {"kl": kl_to(jnp.asarray(qre(game, alpha, reference).logp))}
                run = solve(game, rule, num_steps, init=init, reference=reference, metrics=target)
                ratio = ratios_per_step(run.history["kl"], smallest_kl)
                shares.append(ratio.max() * (1 + per_temperature * alpha**2))
    return xr.Dataset(
        {"share of the bound": (("temperature", "family"), np.reshape(shares, (-1, 2)))},
        {"temperature": list(temperatures), "family": ["random", "losing answer"]},
    )


def local_rate(temperatures: tuple[float, ...], per_temperature: float, num_steps: int) -> Any:
    """Error of the factor of KL per step near the equilibrium, by temperature."""

    def multiplier(alpha: float, w: float) -> complex:
        eta = per_temperature * alpha
        return (1 + 1j * eta * w) / (1 + eta * alpha)

    return errors_of_factor(
        temperatures, num_steps, lambda alpha: MMD(per_temperature * alpha, alpha), multiplier
    )


STATEMENTS = (
    Statement(
        "MPO, which moves its magnet every 20 steps, reaches the Nash policy of the three-answer cycle in "
        "the last iterate, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A21.last",
            quantity="last duality gap, the larger of two games",
            source="MPO, theorem 3.2",
            reading=last(on_both("magnets"), "MPO, every 20 steps"),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Magnetic mirror descent with a fixed magnet converges to the equilibrium regularized around its "
        "magnet, which is not Nash, on the three-answer cycle with and without a fourth answer that loses "
        "90% of the time.",
        Claim(
            id="A21.fixed",
            quantity="largest difference of a probability, two games",
            source="MPO; Sokota et al. 2023, theorem 3.4",
            reading=regularized_error(on_both("magnets"), "MMD, magnet fixed", TEMPERATURE),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Magnetic mirror descent whose magnet goes 3% of the way to the policy in each step reaches the Nash "
        "policy of the three-answer cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A21.moving",
            quantity="last duality gap, the larger of two games",
            source="Sokota et al. 2023; measured",
            reading=last(on_both("magnets"), "moving magnet, .03 a step"),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Magnetic mirror descent whose magnet goes all the way to the policy in each step is multiplicative "
        "weights, and diverges on the three-answer cycle.",
        Claim(
            id="A21.fast",
            quantity="largest minus smallest duality gap in the second half of the run, two games",
            source=FOLKLORE,
            reading=late_swing(on_both("magnets"), "moving magnet, 1 a step"),
            bound=at_least(0.4),
        ),
    ),
    Statement(
        "Every step of magnetic mirror descent with a fixed magnet and step eta = 4 alpha multiplies KL to "
        "the equilibrium regularized at temperature alpha by at most 1/(1 + eta alpha), for alpha of 0.02, "
        "0.1 and 0.5, on 20 random games of ten answers and on the three-answer cycle with a fourth answer "
        "that loses 90% of the time.",
        Claim(
            id="A21.contraction",
            quantity="largest share of the bound, three temperatures",
            source="MPO, abstract (a linear rate); Sokota et al. 2023, theorem 3.4",
            reading=largest("fixed magnet", "share of the bound"),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "A step of magnetic mirror descent with a fixed magnet and step eta = 4 alpha multiplies KL near the "
        "regularized equilibrium of the three-answer cycle by (1 + (eta w)^2)/(1 + eta alpha)^2, where w is "
        "the rotation frequency, for alpha of 0.02, 0.1 and 0.5.",
        Claim(
            id="A21.local",
            quantity="largest relative error of log(factor), three temperatures",
            source=OURS,
            reading=largest("local rate", "error"),
            bound=at_most(1e-3),
        ),
    ),
)

FIGURES = (
    Figure(
        "mpo",
        "Magnetic mirror descent (step 1, temperature 0.1) on the three-answer cycle with a fixed magnet, a "
        "magnet that moves every 20 steps, and one that follows the policy.",
        (Panel("gap", "magnets", "duality gap of the last policy"),),
    ),
)

PAPER = Paper(
    name="mpo",
    title="MPO: a magnet that moves every 20 steps leads to Nash",
    source="Wang et al. 2024, arXiv 2410.16714",
    experiments=(
        *with_losing_answer(
            Experiment(
                "magnets",
                "How should the magnet move?",
                cycle_game,
                RULES,
                {"num_queries": 1600, "init": START},
            )
        ),
        Measurement(
            "fixed magnet",
            "Does every step with a fixed magnet contract as the theorem says?",
            fixed_magnet,
            {
                "temperatures": TEMPERATURES,
                "per_temperature": PER_TEMPERATURE,
                "num_steps": 300,
                "smallest_kl": SMALLEST_KL,
                "num_games": 20,
                "num_answers": 10,
                "seed": 0,
            },
        ),
        Measurement(
            "local rate",
            "By which factor does a step with a fixed magnet shrink KL near the equilibrium?",
            local_rate,
            {"temperatures": TEMPERATURES, "per_temperature": PER_TEMPERATURE, "num_steps": 8},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
