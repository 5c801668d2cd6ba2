"""Nash-MD: a biased limit with constant steps, the regularized equilibrium with falling ones.

Munos et al., "Nash Learning from Human Feedback", 2023, arXiv 2312.00886.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames.algorithms import InverseTime, MirrorDescent, NashEMA, NashMD
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Panel,
    Paper,
    Statement,
    at_most,
    between,
    reads,
)
from comalgames.papers.reading import curves, error_of_exponent, last, mixture_error, regularized_error
from comalgames.papers.setting import (
    OURS,
    START,
    TEMPERATURE,
    cycle_game,
    distances,
    on_both,
    with_losing_answer,
)

STEP = 0.3
STRONG = 1.0  # at temperature 0.1 the theorem's bound says nothing before 1e5 steps
CONSTANT_STEPS = (0.03, 0.1, 0.3, 1.0)
FALLING, CONSTANT, PLAIN = "Nash-MD, falling step", "Nash-MD, step 0.3", "mirror descent, step 0.3"
RULES: dict[str, Any] = {
    CONSTANT: NashMD(STEP, TEMPERATURE),
    FALLING: NashMD(InverseTime(2 / TEMPERATURE, 2.0), TEMPERATURE),
    PLAIN: MirrorDescent(STEP, TEMPERATURE),
}
STRONG_RULES: dict[str, Any] = {
    "falling": NashMD(InverseTime(2 / STRONG, 2.0), STRONG),
    **{f"step {step}": NashMD(step, STRONG) for step in CONSTANT_STEPS},
    "Nash-EMA": NashEMA(STEP, STRONG, 0.25),
}


@reads(*on_both("bounds"))
def share_of_rate_bound(data: Data, temperature: float) -> float:
    """Largest KL (T + 1) tau^2 / 8 along the run with falling steps."""
    rows = curves(data, on_both("bounds"), "falling", "kl_to_regularized")
    return float(np.max([np.max(kl * (np.arange(len(kl)) + 1) * temperature**2 / 8) for kl in rows]))


STATEMENTS = (
    Statement(
        "Nash-MD with a constant step of 0.3 stops near the regularized equilibrium of the three-answer "
        "cycle, and not at it.",
        Claim(
            id="A18.bias",
            quantity="KL(regularized equilibrium, last policy)",
            source=OURS,
            reading=last("limits", CONSTANT, "kl_to_regularized"),
            bound=between(5e-5, 1e-4),
        ),
    ),
    Statement(
        "Nash-MD with a constant step eta stops at the policy whose mixture with the reference is the "
        "equilibrium at temperature tau/(1 - eta tau), on the three-answer cycle with and without a fourth "
        "answer that loses 90% of the time.",
        Claim(
            id="A18.mixture",
            quantity="largest difference of a probability, two games",
            source=OURS,
            reading=mixture_error(on_both("limits"), CONSTANT, TEMPERATURE, STEP * TEMPERATURE),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Nash-MD with the step 2/(tau (t + 2)) approaches the regularized equilibrium of the three-answer "
        "cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A18.falling",
            quantity="KL(regularized equilibrium, last policy), the larger of two games",
            source="Nash-MD, theorem 1",
            reading=last(on_both("limits"), FALLING, "kl_to_regularized"),
            bound=at_most(1e-8),
        ),
    ),
    Statement(
        "Nash-MD with the step 2/(tau (t + 2)) keeps KL to the regularized equilibrium below "
        "8/(tau^2 (T + 1)) after every number T of steps, at temperature 1 on the three-answer cycle, with "
        "and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A18.rate",
            quantity="largest share of the bound, two games",
            source="Nash-MD, theorem 1",
            reading=share_of_rate_bound(STRONG),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "Nash-MD with the step 2/(tau (t + 2)) converges faster than its theorem promises: KL to the "
        "regularized equilibrium falls like T^-2, at temperature 1 on the three-answer cycle, with and "
        "without a fourth answer that loses 90% of the time.",
        Claim(
            id="A18.exponent",
            quantity="largest error of the exponent from T = 200 to 2,000, two games",
            source=OURS,
            reading=error_of_exponent(on_both("bounds"), "falling", "kl_to_regularized", -2.0),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        "Nash-EMA with a step of 0.3, whose opponent is a moving average with a share of 1/4 for the newest "
        "policy, reaches the equilibrium at temperature 1, without bias, on the three-answer cycle, with and "
        "without a fourth answer that loses 90% of the time.",
        Claim(
            id="A18.EMA",
            quantity="largest difference of a probability, two games",
            source=OURS,
            reading=regularized_error(on_both("bounds"), "Nash-EMA", STRONG),
            bound=at_most(1e-12),
        ),
    ),
)

FIGURES = (
    Figure(
        "nash_md",
        "KL from the equilibrium of the game regularized with temperature 0.1, on the three-answer cycle. "
        "Nash-MD with a constant step stops beside it; with falling steps it approaches it like 1/T^2; "
        "mirror descent with the same constant step reaches it.",
        (
            Panel(
                "gap",
                "limits",
                "distance to the regularized equilibrium",
                {"curve": "kl_to_regularized", "bottom": 1e-18, "ylabel": "KL from the equilibrium"},
            ),
            Panel("gap", "limits", "duality gap, first steps", {"legend": None, "until": 2000}),
        ),
    ),
    Figure(
        "nash_md_bounds",
        "KL from the equilibrium of the game regularized with temperature 1, on the three-answer cycle, by "
        "step size: the larger a constant step, the farther from the equilibrium Nash-MD stops.",
        (
            Panel(
                "gap",
                "bounds",
                "temperature 1",
                {"curve": "kl_to_regularized", "bottom": 1e-16, "ylabel": "KL from the equilibrium"},
            ),
        ),
    ),
)

PAPER = Paper(
    name="nash_md",
    title="Nash-MD: a biased limit with constant steps, the regularized equilibrium with falling ones",
    source="Munos et al. 2023, arXiv 2312.00886",
    experiments=(
        *with_losing_answer(
            Experiment(
                "limits",
                "Where does Nash-MD stop?",
                cycle_game,
                RULES,
                {
                    "num_steps": 20_000,
                    "init": START,
                    "record_every": 20,
                    "game_metrics": distances(TEMPERATURE),
                },
                is_quick=False,
            )
        ),
        *with_losing_answer(
            Experiment(
                "bounds",
                "Do the theorem's bounds hold at every step?",
                cycle_game,
                STRONG_RULES,
                {"num_steps": 2000, "init": START, "game_metrics": distances(STRONG)},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
