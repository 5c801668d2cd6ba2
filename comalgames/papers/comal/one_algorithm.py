"""Claim A15: INPO, magnetic and online mirror descent are one algorithm, which minimizes a published loss."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import INPO, MMD, AbstractAlgorithm, MirrorDescent
from comalgames.experiments import Claim, Data, Experiment, Figure, Measurement, Statement, at_most, reads
from comalgames.feedback import Exact
from comalgames.papers.reading import largest
from comalgames.papers.setting import FOLKLORE, TEMPERATURE, cycle_and_random_games

ETA = 1.3
THREE_NAMES: Mapping[str, AbstractAlgorithm[Any]] = {
    "INPO": INPO(eta=ETA, tau=TEMPERATURE),
    "MMD": MMD(step_size=1 / (ETA - TEMPERATURE), temperature=TEMPERATURE),
    "mirror descent": MirrorDescent(step_size=1 / ETA, temperature=TEMPERATURE),
}


@reads("one algorithm")
def disagreement(data: Data) -> float:
    """Largest difference of a probability between the three rules; inf if a run was not completed."""
    runs = data["one algorithm"]
    if not np.all(runs["status"].values == "completed"):
        return float("inf")
    return float(np.nanmax(runs["policy"].max("algorithm") - runs["policy"].min("algorithm")))


def published_loss(eta: float, tau: float, num_games: int, num_answers: int, seed: int) -> Any:
    """One INPO step against the least-squares minimizer of INPO's and COMAL's loss over all labelled pairs.

    The loss, for pairs (y, y') drawn independently from the policy and labelled by the preference, is the
    mean of `(h(winner) - h(loser) - 1/(2 eta))^2`, `h = log policy' - (tau/eta) log reference - (1 - tau/eta)
    log policy`. Game k has seed k; `seed` draws the policies and references.
    """
    import xarray as xr

    rng = np.random.default_rng(seed)
    differences = []
    for k in range(num_games):
        game = games.random(jax.random.key(k), num_answers)
        policy, reference = rng.dirichlet(np.ones(num_answers)), rng.dirichlet(np.ones(num_answers))
        preference = np.asarray(game.preference)
        rows, targets, weights = [], [], []
        for winner, loser in itertools.permutations(range(num_answers), 2):
            row = np.zeros(num_answers)
            row[winner], row[loser] = 1, -1
            rows.append(row)
            targets.append(1 / (2 * eta))
            weights.append(policy[winner] * policy[loser] * preference[winner, loser])
        root = np.sqrt(weights)
        h = np.linalg.lstsq(np.array(rows) * root[:, None], np.array(targets) * root, rcond=None)[0]
        minimizer = h + (tau / eta) * np.log(reference) + (1 - tau / eta) * np.log(policy)
        rule = INPO(eta, tau)
        state = rule.init(jnp.log(jnp.asarray(policy)), jnp.log(jnp.asarray(reference)))
        stepped = np.asarray(rule.step(jax.random.key(0), state, Exact(game)).logp)
        differences.append(np.ptp(minimizer - stepped))
    return xr.Dataset({"difference": ("game", differences)})


EXPERIMENTS = (
    Experiment(
        "one algorithm",
        "Are INPO, magnetic mirror descent and online mirror descent one algorithm?",
        partial(cycle_and_random_games, num_games=20, num_answers=10, first_seed=100),
        THREE_NAMES,
        {"num_steps": 500, "metrics": ["policy"], "record_every": 10},
        is_quick=False,
    ),
    Measurement(
        "published loss",
        "Does one step minimize the published loss?",
        published_loss,
        {"eta": 1.3, "tau": 0.2, "num_games": 5, "num_answers": 6, "seed": 0},
    ),
)

STATEMENTS = (
    Statement(
        "INPO(eta, tau), MMD(1/(eta - tau), tau) and mirror descent with step 1/eta are one algorithm.",
        Claim(
            id="A15.one",
            quantity="largest difference of a probability over 500 steps on 21 games",
            source=FOLKLORE,
            reading=disagreement(),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "One step of INPO, which is COMAL's inner step, is the minimizer of the loss that INPO and COMAL "
        "publish.",
        Claim(
            id="A15.loss",
            quantity="largest difference of a log-probability, nats",
            source="INPO, equation 8; COMAL's repository",
            reading=largest("published loss", "difference"),
            bound=at_most(1e-10),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
