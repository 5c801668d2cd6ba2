"""Claim A14, part 2: the true gap of policies learnt on noisy estimates of random games."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, INPO, ExactProx
from comalgames.drivers.solve import solve
from comalgames.equilibria import nash, robust_nash
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_most,
    between,
    reads,
)
from comalgames.feedback import Exact
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import duality_gap
from comalgames.papers.setting import FOLKLORE, OURS, TEMPERATURE

# How far each win rate is moved, and how often each pair is compared.
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
NUM_COMPARISONS = (10, 30, 100, 300, 1000, 3000)

# Exact COMAL, and how many rounds it needs on these games for a gap that no longer matters; and INPO.
LEARNING: Mapping[str, Any] = {
    "num_games": 10,
    "num_answers": 10,
    "game_seed": 0,
    "prox_temperature": 0.003,
    "num_rounds": 300,
    "inpo_temperature": TEMPERATURE,
    "inpo_eta": 1.0,
    "num_inpo_steps": 2000,
}

NASH, LEARNT = "Nash of the noisy game", "COMAL on the noisy game"
REGULARIZED, ROBUST = "INPO on the noisy game", "robust policy of the noisy game"
BOTH = ("perturbations", "comparisons")


def perturbations(sizes: tuple[float, ...], noise_seed: int, **learning: Any) -> Any:
    """The true gap after learning on random games whose win rates were moved at random, and its bound.

    Each win rate is moved by a number drawn uniformly from [-size, size], and kept in [0, 1]. `ratio` is the
    gap over the bound, twice the largest move.
    """
    true = _random_games(**learning)
    draws = jax.random.uniform(
        jax.random.key(noise_seed), (len(sizes), *true.skew.shape), true.dtype, minval=-1.0, maxval=1.0
    )
    moved = jnp.tril(
        jnp.clip(true.skew + jnp.asarray(sizes, true.dtype)[:, None, None, None] * draws, -0.5, 0.5), -1
    )
    noisy = PreferenceGame.from_skew(moved - moved.swapaxes(-1, -2))
    return _learnt_from(noisy, true, "size", sizes, 2 * np.array(sizes), **learning)


def comparisons(num_comparisons: tuple[int, ...], band_fails: float, noise_seed: int, **learning: Any) -> Any:
    """The true gap after learning on games estimated from some comparisons of each pair, and its bound.

    All win rates of a game are in the band but with the probability `band_fails`; the bound drawn is twice
    the band, and `ratio` the gap over twice the largest error there was.
    """
    true = _random_games(**learning)
    keys = jax.random.split(jax.random.key(noise_seed), len(num_comparisons))
    estimates = zip(keys, num_comparisons, strict=True)
    noisy = PreferenceGame.from_skew(jnp.stack([games.estimated(key, true, m).skew for key, m in estimates]))
    pairs_twice = learning["num_answers"] * (learning["num_answers"] - 1)
    band = np.sqrt(np.log(pairs_twice / band_fails) / (2 * np.array(num_comparisons)))
    return _learnt_from(noisy, true, "num_comparisons", num_comparisons, 2 * band, **learning)


def _random_games(num_games: int, num_answers: int, game_seed: int, **_: Any) -> PreferenceGame:
    return games.random(jax.random.key(game_seed), num_answers, (num_games,))


def _learnt_from(
    noisy: PreferenceGame, true: PreferenceGame, name: str, levels: Any, bound: np.ndarray, **learning: Any
) -> Any:
    """Four policies learnt from the noisy games `[levels, games]`, measured in the true ones `[games]`."""
    import xarray as xr

    evaluated = PreferenceGame.from_skew(jnp.broadcast_to(true.skew, noisy.skew.shape))
    source = Exact(noisy)
    rounds, steps = learning["num_rounds"], learning["num_inpo_steps"]
    comal_rule = COMAL(ExactProx(learning["prox_temperature"]), 1)
    comal = solve(evaluated, comal_rule, rounds, feedback=source, record_every=rounds)
    inpo_rule = INPO(learning["inpo_eta"], learning["inpo_temperature"])
    inpo = solve(evaluated, inpo_rule, steps, feedback=source, record_every=steps)
    robust = [
        robust_nash(PreferenceGame.from_skew(noisy.skew[k]), min(radius, 0.5)).policy
        for k, radius in enumerate(bound / 2)
    ]
    policies = {
        NASH: nash(noisy).policy,
        LEARNT: comal.policy,
        REGULARIZED: inpo.policy,
        ROBUST: np.stack(robust),
    }
    with np.errstate(divide="ignore"):
        gaps = [np.asarray(duality_gap(evaluated, np.log(policy))) for policy in policies.values()]
    largest_move = np.abs(np.asarray(noisy.skew - evaluated.skew)).max((-2, -1))
    axes = ("policy", name, "game")
    return xr.Dataset(
        {
            "gap": (axes, np.maximum(gaps, 0.0)),
            "ratio": (axes, gaps / (2 * largest_move)),
            "bound": (name, bound),
            "left_to_learn": (axes[1:], np.asarray(duality_gap(noisy, comal.logp))),
        },
        {"policy": list(policies), name: list(levels), "game": list(range(learning["num_games"]))},
    )


@reads(*BOTH)
def largest_ratio(data: Data, policy: str) -> float:
    """The largest true gap of a policy learnt on noise over its bound, on all noisy games."""
    return max(float(data[name]["ratio"].sel(policy=policy).max(skipna=False)) for name in BOTH)


EXPERIMENTS = (
    Measurement(
        "perturbations",
        "How far from Nash do rules end, by the largest error of the win rates?",
        perturbations,
        {"sizes": SIZES, "noise_seed": 1, **LEARNING},
        is_quick=False,
    ),
    Measurement(
        "comparisons",
        "How many comparisons of each pair bring rules near Nash?",
        comparisons,
        {"num_comparisons": NUM_COMPARISONS, "band_fails": 0.05, "noise_seed": 2, **LEARNING},
        is_quick=False,
    ),
)

RATIO = "largest true gap / bound, 120 noisy games of 10 answers"

STATEMENTS = (
    Statement(
        "The Nash policy of a noisy game has a true duality gap of at most twice the largest error of a win "
        "rate, and on some game reaches half of this bound.",
        Claim(
            id="A14.nash",
            quantity=RATIO,
            source=FOLKLORE,
            reading=largest_ratio(NASH),
            bound=between(0.5, 1.0),
        ),
    ),
    Statement(
        "The policy that COMAL learns from a noisy game has a true duality gap of at most twice the largest "
        "error of a win rate.",
        Claim(
            id="A14.learnt", quantity=RATIO, source=OURS, reading=largest_ratio(LEARNT), bound=at_most(1.0)
        ),
    ),
)

FIGURES = (
    Figure(
        "noise",
        "The true duality gap of policies learnt from noise. Left: on the cycle, from labels flipped at a "
        "rate. The limit of COMAL is Nash for every rate; that of INPO is the equilibrium at temperature "
        "tau/(1 - 2 rate), dashed, and does not change with the rate if step size and temperature are "
        "corrected for it. Middle: on ten random games whose win rates were perturbed by up to the given "
        "number. Right: on the same games, estimated from the given number of comparisons of each pair. "
        "Medians and quartiles; dashed, the bound of twice the largest error (right: with probability "
        "95%). COMAL learns the noisy game's Nash policy; INPO hardly improves with better labels.",
        (
            Panel(
                "lines",
                "label flips",
                "flipped labels, three-answer cycle",
                {
                    "x": "rate",
                    "y": "gap",
                    "series": "rule",
                    "bound": {"predicted": "predicted for INPO"},
                    "xlabel": "rate of flips",
                    "ylabel": "true duality gap",
                    "logy": False,
                },
            ),
            Panel(
                "lines",
                "perturbations",
                "moved win rates, ten random games",
                {
                    "x": "size",
                    "y": "gap",
                    "series": "policy",
                    "band": "game",
                    "bound": {"bound": "bound"},
                    "xlabel": "largest move of a win rate",
                    "ylabel": "true duality gap",
                    "logx": True,
                },
            ),
            Panel(
                "lines",
                "comparisons",
                "estimated win rates, ten random games",
                {
                    "x": "num_comparisons",
                    "y": "gap",
                    "series": "policy",
                    "band": "game",
                    "bound": {"bound": "bound (95%)"},
                    "xlabel": "comparisons of each pair",
                    "ylabel": "true duality gap",
                    "logx": True,
                    "legend": "lower left",
                },
            ),
        ),
    ),
)
