"""Nash-MD: a biased limit with constant steps, the regularized equilibrium with falling ones.

Munos et al., "Nash Learning from Human Feedback", 2023, arXiv 2312.00886.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import InverseTime, MirrorDescent, NashMD
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.papers.comal_setting import START, TEMPERATURE, cycle_game
from comalgames.papers.reading import NEW, curve, distances, last

STEP = 0.3
STRONG = 1.0  # at temperature 0.1 the theorem's bound says nothing before 1e5 steps
FALLING, CONSTANT, PLAIN = "Nash-MD, falling step", "Nash-MD, step 0.3", "mirror descent, step 0.3"
RULES: dict[str, Any] = {
    CONSTANT: NashMD(STEP, TEMPERATURE),
    FALLING: NashMD(InverseTime(2 / TEMPERATURE, 2.0), TEMPERATURE),
    PLAIN: MirrorDescent(STEP, TEMPERATURE),
}
STRONG_RULES: dict[str, Any] = {
    "falling": NashMD(InverseTime(2 / STRONG, 2.0), STRONG),
    **{f"step {step}": NashMD(step, STRONG) for step in (0.03, 0.1, 0.3, 1.0)},
}


def mixture_error(data: Data) -> float:
    """Largest difference of a probability between the last mixture and the equilibrium claimed for it."""
    policy = data["limits"]["final_policy"].sel(game="cycle", algorithm=CONSTANT, seed=0).values
    share = STEP * TEMPERATURE
    mixture = policy ** (1 - share) * np.array(START) ** share
    expected = qre(games.comal_cycle(), TEMPERATURE / (1 - share), START)
    return float(np.abs(mixture / mixture.sum() - expected).max())


def excess_over_one_step_bound(data: Data) -> float:
    """Largest KL+ - [(1 - eta tau) KL + 2 eta^2] over all steps of the constant-step runs."""
    worst = -np.inf
    for name in STRONG_RULES:
        if name.startswith("step"):
            eta, kl = float(name.split()[1]), curve(data, "bounds", name, "kl_to_regularized")
            worst = max(worst, float((kl[1:] - (1 - eta * STRONG) * kl[:-1] - 2 * eta**2).max()))
    return worst


def share_of_rate_bound(data: Data) -> float:
    """Largest KL (T + 1) tau^2 / 8 along the run with falling steps."""
    kl = curve(data, "bounds", "falling", "kl_to_regularized")
    return float((kl * (np.arange(len(kl)) + 1) * STRONG**2 / 8).max())


PAPER = Paper(
    "nash_md",
    "Nash-MD: a biased limit with constant steps, the regularized equilibrium with falling ones",
    "Munos et al. 2023, arXiv 2312.00886",
    (
        Experiment(
            "limits", "Where does Nash-MD stop?", cycle_game, RULES,
            {
                "num_steps": 20_000, "init": START, "record_every": 20,
                "game_metrics": distances(TEMPERATURE),
            },
            is_quick=False,
        ),
        Experiment(
            "bounds", "Do the theorem's bounds hold at every step?", cycle_game, STRONG_RULES,
            {"num_steps": 2000, "init": START, "game_metrics": distances(STRONG)},
        ),
    ),
    (
        Claim(
            "A18.bias", "Nash-MD with a constant step does not reach the regularized equilibrium,",
            NEW, "KL(regularized equilibrium, last policy)",
            partial(last, experiment="limits", algorithm=CONSTANT, variable="kl_to_regularized"),
            at_least(5e-5), ("limits",),
        ),
        Claim(
            "A18.mixture", "but the policy whose mixture with the reference is the equilibrium at "
            "temperature tau/(1 - eta tau).", NEW, "largest difference of a probability", mixture_error,
            at_most(1e-12), ("limits",),
        ),
        Claim(
            "A18.falling", "With the step 2/(tau (t + 2)) it approaches the regularized equilibrium,",
            "Nash-MD, theorem 1", "KL(regularized equilibrium, last policy)",
            partial(last, experiment="limits", algorithm=FALLING, variable="kl_to_regularized"),
            at_most(1e-8), ("limits",),
        ),
        Claim(
            "A18.rate", "with KL below 8/(tau^2 (T + 1)) at every T (temperature 1),",
            "Nash-MD, theorem 1", "largest share of the bound", share_of_rate_bound, at_most(1.0),
            ("bounds",),
        ),
        Claim(
            "A18.step", "and every step satisfies KL+ <= (1 - eta tau) KL + 2 eta^2 (four step sizes).",
            "Nash-MD, lemma 2", "largest excess over the bound", excess_over_one_step_bound, at_most(0.0),
            ("bounds",),
        ),
    ),
    (
        Figure(
            "nash_md",
            "KL from the equilibrium of the game regularized with temperature 0.1, on the three-answer "
            "cycle. "
            "Nash-MD with a constant step stops beside it; with falling steps it approaches it like 1/T^2; "
            "mirror descent with the same constant step goes there.",
            (
                Panel(
                    "gap", "limits", "distance to the regularized equilibrium",
                    {"curve": "kl_to_regularized", "bottom": 1e-18, "ylabel": "KL from the equilibrium"},
                ),
                Panel("gap", "limits", "duality gap, first steps", {"legend": None, "until": 2000}),
            ),
        ),
        Figure(
            "nash_md_bounds",
            "KL from the equilibrium of the game regularized with temperature 1, on the three-answer cycle, "
            "by step size: the larger a constant step, the farther from it Nash-MD stops.",
            (
                Panel(
                    "gap", "bounds", "temperature 1",
                    {"curve": "kl_to_regularized", "bottom": 1e-16, "ylabel": "KL from the equilibrium"},
                ),
            ),
        ),
    ),
)  # fmt: skip
