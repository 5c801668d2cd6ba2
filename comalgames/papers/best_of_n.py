"""Best-of-2 sampling, iterated, is NCA with beta = 1, and no method for games.

Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024, arXiv 2402.05369;
the identity is not in the paper.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from comalgames import games
from comalgames.algorithms import BCO, NCA
from comalgames.experiments import Claim, Experiment, Figure, Measurement, Panel, Paper, at_least, at_most
from comalgames.feedback import Exact
from comalgames.papers.comal_setting import START, cycle_game
from comalgames.papers.reading import NEW, largest_late, last

RULES: dict[str, Any] = {
    "best of two (NCA, beta 1)": NCA(1.0),
    "NCA, beta 4": NCA(4.0),
    "BCO, beta 4": BCO(4.0),
}
NUM_GAMES, NUM_ACTIONS = 20, 6


def one_step() -> Any:
    """NCA's step with beta = 1, the law of the better of two draws, and the minimum of NCA's loss."""
    import xarray as xr

    def loss(log_ratio: float, win_rate: float) -> float:
        return float(win_rate * np.logaddexp(0, -log_ratio) + np.logaddexp(0, log_ratio) / 2)

    with jax.enable_x64(True):
        drawn, least = [], []
        for seed in range(NUM_GAMES):
            game = games.random(jax.random.key(seed), NUM_ACTIONS)
            p = np.random.default_rng(seed).dirichlet(np.ones(NUM_ACTIONS))
            logp, preference = jnp.log(jnp.asarray(p)), np.asarray(game.preference)
            step = np.asarray(NCA(1.0).step(jax.random.key(0), NCA(1.0).init(logp, logp), Exact(game)).logp)
            # All ordered pairs of draws, and who of the two is returned.
            better = (np.outer(p, p) * preference).sum(1) + (np.outer(p, p) * preference.T).sum(0)
            minimum = [
                scipy.optimize.minimize_scalar(partial(loss, win_rate=w), bracket=(-1.0, 1.0), tol=1e-12).x
                for w in preference @ p
            ]
            drawn.append(np.abs(np.exp(step) - better).max())
            least.append(np.abs(step - np.log(p) - minimum).max())
    return xr.Dataset({"best of two": ("game", drawn), "minimum of the loss": ("game", least)})


PAPER = Paper(
    "best_of_n",
    "Best-of-2 sampling is NCA with beta = 1",
    "Chen et al. 2024, arXiv 2402.05369; the identity is not in the paper",
    (
        Measurement("one step", "Is NCA's step with beta = 1 the law of the better of two draws?", one_step),
        Experiment(
            "dynamics", "Where does it lead, step after step?", cycle_game, RULES,
            {"num_queries": 10_000, "init": START, "record_every": 10},
        ),
    ),
    (
        Claim(
            "A26.law", "Drawing two answers and keeping the preferred one is NCA's step with beta = 1: "
            "policy' = 2 policy * win rate,", NEW, "largest difference of a probability, 20 games",
            lambda data: float(data["one step"]["best of two"].max()), at_most(1e-14), ("one step",),
        ),
        Claim(
            "A26.loss", "the exact minimum of NCA's loss, normalizer included.", NEW,
            "largest difference of a log-ratio, 20 games",
            lambda data: float(data["one step"]["minimum of the loss"].max()), at_most(1e-7), ("one step",),
        ),
        Claim(
            "A26.last", "Iterated on the cycle it does not converge,", NEW, "largest gap in the last quarter",
            partial(largest_late, experiment="dynamics", algorithm="best of two (NCA, beta 1)"),
            at_least(0.55), ("dynamics",),
        ),
        Claim(
            "A26.average", "nor does its average approach Nash.", NEW, "last gap of the average",
            partial(
                last, experiment="dynamics", algorithm="best of two (NCA, beta 1)",
                variable="average_duality_gap",
            ), at_least(0.1), ("dynamics",),
        ),
    ),
    (
        Figure(
            "best_of_n",
            "Iterated best-of-2 sampling and its relatives on the three-answer cycle: the gap of the last "
            "policy (left) and of the average (right).",
            (
                Panel("gap", "dynamics", "last policy", {"until": 1500}),
                Panel("gap", "dynamics", "average policy", {"curve": "average_duality_gap", "legend": None}),
            ),
        ),
    ),
)  # fmt: skip
