"""Best-of-2 sampling, iterated, is NCA with beta = 1; it does not reach Nash.

Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024, arXiv 2402.05369;
the identity is known from Yang et al., "Faster WIND", 2024, arXiv 2410.20727.
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
from comalgames.feedback import Exact
from comalgames.papers.reading import largest, swing, turns
from comalgames.papers.setting import OURS, START, cycle_game, on_both, with_losing_answer

BEST = "best of two (NCA, beta 1)"
RULES: dict[str, Any] = {BEST: NCA(1.0), "NCA, beta 4": NCA(4.0), "BCO, beta 4": BCO(4.0)}


def one_step(num_games: int, num_answers: int) -> Any:
    """NCA's step with beta = 1, the distribution of the better of two draws, and the minimum of NCA's loss.

    Game k has seed k, and so has the policy, drawn uniformly from the simplex.
    """
    import xarray as xr

    def loss(log_ratio: float, win_rate: float) -> float:
        return float(win_rate * np.logaddexp(0, -log_ratio) + np.logaddexp(0, log_ratio) / 2)

    with jax.enable_x64(True):
        drawn, smallest = [], []
        for seed in range(num_games):
            game = games.random(jax.random.key(seed), num_answers)
            p = np.random.default_rng(seed).dirichlet(np.ones(num_answers))
            logp, preference = jnp.log(jnp.asarray(p)), np.asarray(game.preference)
            step = np.asarray(NCA(1.0).step(jax.random.key(0), NCA(1.0).init(logp, logp), Exact(game)).logp)
            # All ordered pairs of draws, and who of the two is returned.
            better = (np.outer(p, p) * preference).sum(1) + (np.outer(p, p) * preference.T).sum(0)
            minimum = [
                scipy.optimize.minimize_scalar(partial(loss, win_rate=w), bracket=(-1.0, 1.0), tol=1e-12).x
                for w in preference @ p
            ]
            drawn.append(np.abs(np.exp(step) - better).max())
            smallest.append(np.abs(step - np.log(p) - minimum).max())
    return xr.Dataset({"best of two": ("game", drawn), "minimum of the loss": ("game", smallest)})


STATEMENTS = (
    Statement(
        "Drawing two answers and keeping the preferred one is NCA's step with beta = 1: policy' = 2 policy "
        "* win rate.",
        Claim(
            id="A26.distribution",
            quantity="largest difference of a probability, 20 random games of 6 answers",
            source="known (Faster WIND, arXiv 2410.20727; the discrete replicator)",
            reading=largest("one step", "best of two"),
            bound=at_most(1e-14),
        ),
    ),
    Statement(
        "NCA's step with beta = 1 is the exact minimum of NCA's loss, and is normalized.",
        Claim(
            id="A26.loss",
            quantity="largest difference of a log-ratio, 20 random games of 6 answers",
            source=OURS,
            reading=largest("one step", "minimum of the loss"),
            bound=at_most(1e-7),
        ),
    ),
    Statement(
        "Best-of-2 sampling, iterated on the three-answer cycle, with and without a fourth answer that loses "
        "90% of the time, does not converge: its likeliest answer changes again and again.",
        Claim(
            id="A26.last",
            quantity="changes of the likeliest answer in 10,000 steps, the smaller of two games",
            source=OURS,
            reading=turns(on_both("dynamics"), BEST),
            bound=at_least(10),
        ),
    ),
    Statement(
        "The average policy of best-of-2 sampling, iterated on the three-answer cycle, with and without a "
        "fourth answer that loses 90% of the time, does not approach Nash: its duality gap rises and falls "
        "as well.",
        Claim(
            id="A26.average",
            quantity=(
                "largest minus smallest duality gap of the average policy after 1,000 steps, the smaller of "
                "two games"
            ),
            source=OURS,
            reading=swing(on_both("dynamics"), BEST, 9000, "average_duality_gap"),
            bound=at_least(0.1),
        ),
    ),
)

FIGURES = (
    Figure(
        "best_of_n",
        "Iterated best-of-2 sampling and its relatives on the three-answer cycle: the gap of the last policy "
        "(left) and of the average (right).",
        (
            Panel("gap", "dynamics", "last policy", {"until": 1500}),
            Panel("gap", "dynamics", "average policy", {"curve": "average_duality_gap", "legend": None}),
        ),
    ),
)

PAPER = Paper(
    name="best_of_n",
    title="Best-of-2 sampling is NCA with beta = 1",
    source="Chen et al. 2024, arXiv 2402.05369; the identity is known",
    experiments=(
        Measurement(
            "one step",
            "Is NCA's step with beta = 1 the distribution of the better of two draws?",
            one_step,
            {"num_games": 20, "num_answers": 6},
        ),
        *with_losing_answer(
            Experiment(
                "dynamics",
                "To which policies does iterated best-of-2 sampling lead?",
                cycle_game,
                RULES,
                {"num_queries": 10_000, "init": START, "metrics": ["policy"]},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
