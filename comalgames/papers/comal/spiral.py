"""Claim A2.growth: the factor by which rules without a reference leave the Nash policy of the cycle."""

from __future__ import annotations

import numpy as np

from comalgames.experiments import Claim, Data, Experiment, Figure, Statement, at_most, reads
from comalgames.papers.comal.headline import BASELINES, SLOW
from comalgames.papers.reading import curve
from comalgames.papers.setting import FREQUENCY, NASH, cycle_game, kl_to_nash

NEAR_NASH = {
    f"{name}, step {size}": rule
    for size, rules in (("1", BASELINES), ("0.3", SLOW))
    for name, rule in rules.items()
    if name != "INPO"
}
STEPS = {name: float(name.split()[-1]) for name in NEAR_NASH}
NEAR = tuple(p + d for p, d in zip(NASH, (1e-6, -1e-6, 0.0), strict=True))


@reads("near Nash")
def error_of_growth(data: Data) -> float:
    """Largest relative error of the logarithm of KL's factor per step, over the rules without a reference.

    A step s multiplies errors by 1 + i s w, in the norm of KL, from the first step on.
    """
    errors = []
    for name, step in STEPS.items():
        kl = curve(data, "near Nash", name, "kl_to_nash")
        factor = np.log(kl[-1] / kl[0]) / (len(kl) - 1)
        errors.append(abs(factor / np.log1p((step * FREQUENCY) ** 2) - 1))
    return float(np.max(errors))


EXPERIMENTS = (
    Experiment(
        "near Nash",
        "How fast do rules without a reference leave Nash?",
        cycle_game,
        NEAR_NASH,
        {"num_queries": 5, "init": NEAR, "game_metrics": kl_to_nash},
    ),
)

STATEMENTS = (
    Statement(
        "Near the Nash policy of the three-answer cycle each step of iterative DPO, iterative IPO and SPPO "
        "multiplies KL(Nash, policy) by 1 + (s w)^2 > 1, where w is the rotation frequency and s the step: "
        "4/beta for DPO, 1/tau for IPO and the step size of SPPO.",
        Claim(
            id="A2.growth",
            quantity="largest relative error of the logarithm of the factor, six rules",
            source="known (MWU moves away: Bailey and Piliouras 2018); the value is ours",
            reading=error_of_growth(),
            bound=at_most(1e-3),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
