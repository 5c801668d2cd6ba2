"""Online IPO stops at the regularized Nash policy; online DPO does not.

Calandriello et al., "Human Alignment of Large Language Models through Online Preference Optimisation", 2024,
arXiv 2403.08635.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames.algorithms import RLHF, NashMDPG, NashProx, OnlineDPO, OnlineIPOGradient
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.papers.reading import curve, last, mixture_error, regularized_error, swing
from comalgames.papers.setting import OURS, START, cycle_game, distances, on_both, with_losing_answer

BETA, SHARE = 0.25, 0.25
IPO, DPO, MIXED = "online IPO", "online DPO, beta 1", "IPO-MD / Nash-MD-PG, share .25"
RULES: dict[str, Any] = {
    IPO: OnlineIPOGradient(1.0, BETA),
    MIXED: NashMDPG(1.0, BETA, SHARE),
    DPO: OnlineDPO(4 * BETA),
}
ROUNDS: dict[str, Any] = {"temperature .25": RLHF(0.25), "temperature .1": RLHF(0.1)}

# Nash Prox: self-play gradient steps within a proximal point method.
PROX, PROX_STEPS = {"Nash Prox": NashProx(3.0, 0.1, 80)}, 12_000


@reads("proximal, losing answer")
def error_of_exponent(data: Data) -> float:
    """Error of the exponent -1 of the number of steps, in the second half of the run.

    A gradient step changes the logit of an answer in proportion to its probability p: that of an answer that
    loses by a slack falls like d log p = -step p slack, so that p falls like 1 / (step slack t).
    """
    gaps = curve(data, "proximal, losing answer", "Nash Prox")
    return float(abs(np.log(gaps[-1] / gaps[len(gaps) // 2]) / np.log(2) + 1))


STATEMENTS = (
    Statement(
        "The stationary point of online IPO, whose pairs are drawn from the policy and not differentiated, "
        "is the regularized Nash policy: at temperature 0.25 it reaches that policy on the three-answer "
        "cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A20.IPO",
            quantity="KL(regularized equilibrium, last policy), the larger of two games",
            source="Calandriello et al., proposition 4.1",
            reading=last(on_both("limits"), IPO, "kl_to_regularized"),
            bound=at_most(1e-20),
        ),
    ),
    Statement(
        "The stationary point of online DPO with beta = 4 tau is near the Nash policy regularized at "
        "temperature tau, here 0.25 on the three-answer cycle, and is another policy.",
        Claim(
            id="A20.DPO",
            quantity="KL(regularized equilibrium, last policy)",
            source="Calandriello et al., theorem F.6",
            reading=last("limits", DPO, "kl_to_regularized"),
            bound=between(1e-6, 1e-3),
        ),
    ),
    Statement(
        "The mixture of the stationary policy of IPO-MD with the reference is the equilibrium at "
        "temperature tau/(1 - share), for tau = 0.25 and share = 0.25 on the three-answer cycle.",
        Claim(
            id="A20.mixture",
            quantity="largest difference of a probability",
            source="Calandriello et al., proposition 5.2",
            reading=mixture_error("limits", MIXED, BETA, SHARE),
            bound=at_most(1e-10),
        ),
    ),
    Statement(
        "Online IPO that minimizes its loss exactly in every round converges to the regularized equilibrium "
        "of the three-answer cycle, with and without a fourth answer that loses 90% of the time, at "
        "temperature 0.25, above the rotation frequency, 0.196.",
        Claim(
            id="A20.rounds",
            quantity="largest difference of a probability, two games",
            source=OURS,
            reading=regularized_error(on_both("rounds"), "temperature .25", 0.25),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Online IPO that minimizes its loss exactly in every round cycles on the three-answer cycle, with "
        "and without a fourth answer that loses 90% of the time, at temperature 0.1, below the rotation "
        "frequency, 0.196.",
        Claim(
            id="A20.cycles",
            quantity="largest minus smallest duality gap in the last 60 rounds, two games",
            source=OURS,
            reading=swing(on_both("rounds"), "temperature .1", 60),
            bound=at_least(0.1),
        ),
    ),
    Statement(
        "Nash Prox, gradient steps of online IPO with a reference that moves every 80 steps, reaches the "
        "Nash policy of the three-answer cycle.",
        Claim(
            id="A20.prox",
            quantity="duality gap after 12,000 steps",
            source="Nash Prox (arXiv 2505.19731, version 2), abstract",
            reading=last("proximal", "Nash Prox"),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "Nash Prox approaches Nash only like one over the number of steps on the three-answer cycle with a "
        "fourth answer that loses 90% of the time, because a gradient step at an answer is proportional to "
        "its probability.",
        Claim(
            id="A20.prox-losing",
            quantity="error of the exponent -1 of the duality gap from 6,000 to 12,000 steps",
            source=OURS,
            reading=error_of_exponent(),
            bound=at_most(0.1),
        ),
    ),
)

FIGURES = (
    Figure(
        "online_ipo",
        "Distance to the equilibrium regularized with temperature 0.25, on the three-answer cycle: the "
        "gradient steps of online IPO reach it, those of IPO-MD and online DPO stop beside it.",
        (
            Panel(
                "gap",
                "limits",
                "gradient steps",
                {"curve": "kl_to_regularized", "ylabel": "KL from the equilibrium", "bottom": 1e-20},
            ),
        ),
    ),
    Figure(
        "online_ipo_rounds",
        "Online IPO whose loss is minimized exactly in every round, on pairs of the first policy of the "
        "round: it converges where the temperature is above the rotation frequency, and cycles below.",
        (Panel("gap", "rounds", "exact rounds"),),
    ),
)

PAPER = Paper(
    name="online_ipo",
    title="Online IPO stops at the regularized Nash policy, online DPO elsewhere",
    source="Calandriello et al. 2024, arXiv 2403.08635",
    experiments=(
        *with_losing_answer(
            Experiment(
                "limits",
                "Where do online IPO, IPO-MD and online DPO stop?",
                cycle_game,
                RULES,
                {"num_steps": 4000, "init": START, "record_every": 4, "game_metrics": distances(BETA)},
                is_quick=False,
            )
        ),
        *with_losing_answer(
            Experiment(
                "rounds",
                "Does online IPO converge if every round minimizes the loss before pairs are drawn afresh?",
                cycle_game,
                ROUNDS,
                {"num_steps": 300, "init": START},
            )
        ),
        *with_losing_answer(
            Experiment(
                "proximal",
                "Does Nash Prox reach Nash?",
                cycle_game,
                PROX,
                {"num_steps": PROX_STEPS, "init": START, "record_every": 600},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
