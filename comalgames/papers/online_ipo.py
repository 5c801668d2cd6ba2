"""Online IPO stops at the regularized Nash policy; online DPO does not.

Calandriello et al., "Human Alignment of Large Language Models through Online Preference Optimisation", 2024,
arXiv 2403.08635.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import RLHF, NashMDPG, OnlineDPO, OnlineIPOGradient
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Experiment, Figure, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.papers.comal_setting import START, cycle_game
from comalgames.papers.reading import NEW, curve, distances, last

BETA, SHARE = 0.25, 0.25
IPO, DPO, MIXED = "online IPO", "online DPO, beta 1", "IPO-MD / Nash-MD-PG, share .25"
RULES: dict[str, Any] = {
    IPO: OnlineIPOGradient(1.0, BETA), MIXED: NashMDPG(1.0, BETA, SHARE), DPO: OnlineDPO(4 * BETA),
}  # fmt: skip
ROUNDS: dict[str, Any] = {"temperature .25": RLHF(0.25), "temperature .1": RLHF(0.1)}


def mixture_error(data: Data) -> float:
    """Largest difference between IPO-MD's last mixture and the equilibrium claimed for it."""
    policy = data["limits"]["final_policy"].sel(game="cycle", algorithm=MIXED, seed=0).values
    mixture = policy ** (1 - SHARE) * np.array(START) ** SHARE
    return float(np.abs(mixture / mixture.sum() - qre(games.comal_cycle(), BETA / (1 - SHARE), START)).max())


PAPER = Paper(
    "online_ipo",
    "Online IPO stops at the regularized Nash policy, online DPO elsewhere",
    "Calandriello et al. 2024, arXiv 2403.08635",
    (
        Experiment(
            "limits", "Where do online IPO, IPO-MD and online DPO stop?", cycle_game, RULES,
            {"num_steps": 4000, "init": START, "record_every": 4, "game_metrics": distances(BETA)},
            is_quick=False,
        ),
        Experiment(
            "rounds", "What if the loss is minimized in every round, and pairs are drawn afresh only then?",
            cycle_game, ROUNDS, {"num_steps": 300, "init": START},
        ),
    ),
    (
        Claim(
            "A20.IPO", "The stationary point of online IPO (on pairs of the policy, which are not "
            "differentiated) is the regularized Nash policy;", "Calandriello et al., proposition 4.1",
            "KL(regularized equilibrium, last policy)",
            partial(last, experiment="limits", algorithm=IPO, variable="kl_to_regularized"), at_most(1e-20),
            ("limits",),
        ),
        Claim(
            "A20.DPO", "that of online DPO, near it for beta = 4 tau, is not.",
            "Calandriello et al., theorem F.6", "KL(regularized equilibrium, last policy)",
            partial(last, experiment="limits", algorithm=DPO, variable="kl_to_regularized"), at_least(1e-6),
            ("limits",),
        ),
        Claim(
            "A20.mixture", "IPO-MD's stationary policy has a mixture that is the equilibrium at temperature "
            "tau/(1 - share).", "Calandriello et al., proposition 5.2", "largest difference of a probability",
            mixture_error, at_most(1e-10), ("limits",),
        ),
        Claim(
            "A20.rounds", "Minimized exactly in every round, online IPO converges for tau above the "
            "frequency of rotation (.25 > .196)", NEW, "change of the gap in the last step",
            lambda data: float(np.ptp(curve(data, "rounds", "temperature .25")[-2:])),
            at_most(1e-12), ("rounds",),
        ),
        Claim(
            "A20.cycles", "and circles below it (.1).", NEW, "largest minus smallest gap, last 60 rounds",
            lambda data: float(np.ptp(curve(data, "rounds", "temperature .1")[-60:])),
            at_least(0.1), ("rounds",),
        ),
    ),
    (
        Figure(
            "online_ipo",
            "Distance to the equilibrium regularized with temperature 0.25, on the three-answer cycle: "
            "online IPO's gradient steps reach it, those of IPO-MD and online DPO stop beside it.",
            (
                Panel(
                    "gap", "limits", "gradient steps",
                    {"curve": "kl_to_regularized", "ylabel": "KL from the equilibrium", "bottom": 1e-20},
                ),
            ),
        ),
        Figure(
            "online_ipo_rounds",
            "Online IPO whose loss is minimized exactly in every round, with pairs of the round's first "
            "policy: it "
            "converges where the temperature is above the frequency of rotation, and circles below.",
            (Panel("gap", "rounds", "exact rounds"),),
        ),
    ),
)  # fmt: skip
