"""Claim A7: the convergence rate of exact COMAL near Nash, measured and predicted by local theory."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import COMAL, ExactProx
from comalgames.drivers.solve import solve
from comalgames.drivers.sweep import sweep
from comalgames.equilibria import nash
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_most, reads
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.measures.metrics import kl_to
from comalgames.papers.setting import OURS, random_games

# Largest relative change of a probability at the start near Nash: KL is quadratic up to about this share.
NEAR = 1e-6

# Log-probability off the support at that start: too small to reach the policy on it.
ABSENT = -700.0


class MassOff(eqx.Module):
    """The metric log of the mass of the policy off the support of Nash."""

    on: Any

    def __call__(self, game: PreferenceGame, logp: Any) -> Any:
        """The logarithm of the mass, per prompt."""
        return jax.nn.logsumexp(jnp.where(self.on, -jnp.inf, logp), axis=-1)


def mass_off(game: AbstractGame) -> dict[str, Any]:
    """For `game_metrics`: the mass off the support of the game's Nash policy."""
    return {"mass_off": MassOff(jnp.asarray(nash(game).support))}


def rotating_modes(skew: np.ndarray, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies w > 0 at a Nash policy, and for each a direction of its rotation that sums to 0.

    On the support i D^(1/2) S D^(1/2), D = diag(policy), is Hermitian with the eigenvalues +-w and 0. The
    real part of an eigenvector times D^(1/2) turns in the plane of its frequency alone.
    """
    root = np.sqrt(policy)
    frequencies, vectors = np.linalg.eigh(1j * root[:, None] * skew * root)
    turning = frequencies > np.sqrt(np.finfo(float).eps)
    return frequencies[turning], (root[:, None] * vectors.real[:, turning]).T


def modes(temperature: float, num_steps: int, num_games: int, num_answers: int, first_seed: int) -> Any:
    """Exact COMAL's factor of KL per step for each rotation of random games, and tau^2 / (tau^2 + w^2).

    Every run begins at Nash, moved in the plane of one rotation, with almost no mass off the support. Games
    whose Nash policy has one answer have no rotation.
    """
    import xarray as xr

    skews, starts, targets, predicted = [], [], [], []
    with jax.enable_x64(True):
        for game in random_games(num_games, num_answers, first_seed).values():
            skew, policy = np.asarray(game.skew), nash(game).policy
            frequencies, directions = rotating_modes(skew, policy)
            for w, direction in zip(frequencies, directions, strict=True):
                on = policy > 0
                relative = np.where(on, direction, 0.0) / np.where(on, policy, 1.0)
                near = policy * (1 + NEAR * relative / np.abs(relative).max())
                skews.append(skew)
                starts.append(np.where(on, near, np.exp(ABSENT)))
                targets.append(np.where(on, np.log(np.where(on, policy, 1.0)), -np.inf))
                predicted.append(temperature**2 / (temperature**2 + w**2))
        run = solve(
            PreferenceGame.from_skew(np.stack(skews)),
            COMAL(ExactProx(temperature), period=1),
            num_steps,
            init=np.stack(starts) / np.sum(starts, axis=1, keepdims=True),
            metrics={"kl": kl_to(jnp.asarray(np.stack(targets)))},
        )
    kl = run.history["kl"]
    return xr.Dataset(
        {"measured": ("mode", (kl[-1] / kl[0]) ** (1 / num_steps)), "predicted": ("mode", predicted)}
    )


def off_the_support(
    temperature: float, num_steps: int, num_games: int, num_answers: int, first_seed: int
) -> Any:
    """Exact COMAL's factor of the mass off the support per step, late in a run, and exp(-slack / tau)."""
    import xarray as xr

    make = partial(random_games, num_games, num_answers, first_seed)
    rule = {"COMAL": COMAL(ExactProx(temperature), period=1)}
    with jax.enable_x64(True):
        runs = sweep(make(), rule, num_steps, game_metrics=mass_off)
        solutions = [nash(game) for game in make().values()]
    late = runs["mass_off"].sel(algorithm="COMAL", seed=0).values[:, num_steps // 2 :]
    smallest = [float(each.slack[~each.support].min(initial=np.inf)) for each in solutions]
    return xr.Dataset(
        {
            "measured": ("game", np.exp((late[:, -1] - late[:, 0]) / (late.shape[1] - 1))),
            "predicted": ("game", np.exp(-np.array(smallest) / temperature)),
        }
    )


@reads()
def rate_error(data: Data, experiment: str) -> float:
    """Largest relative error of log(factor per step), of those predicted above 0; nan without any."""
    predicted, measured = (data[experiment][name].values for name in ("predicted", "measured"))
    there = predicted > 0
    errors = np.abs(np.log(measured[there]) / np.log(predicted[there]) - 1)
    return float(errors.max(initial=-np.inf)) if there.any() else float("nan")


EXPERIMENTS = (
    Measurement(
        "modes near Nash",
        "How fast does exact COMAL converge near Nash on its support?",
        modes,
        {"temperature": 0.03, "num_steps": 3, "num_games": 20, "num_answers": 10, "first_seed": 0},
    ),
    Measurement(
        "off the support",
        "How fast does exact COMAL leave the answers that Nash does not play?",
        off_the_support,
        {"temperature": 0.03, "num_steps": 4000, "num_games": 10, "num_answers": 10, "first_seed": 0},
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "Near Nash exact COMAL multiplies KL per step by tau^2/(tau^2 + w^2), for a deviation on the support "
        "in the plane of a rotation with frequency w, for every rotation of 20 random games of ten answers.",
        Claim(
            id="A7.on",
            quantity="largest |measured / predicted - 1| of log(factor), temperature 0.03",
            source="known (the proximal point method on bilinear games)",
            reading=rate_error("modes near Nash"),
            bound=at_most(1e-3),
        ),
    ),
    Statement(
        "Near Nash exact COMAL multiplies the mass off the support of the Nash policy per step by "
        "exp(-slack/tau), where slack is the smallest loss against Nash of an answer off the support, on ten "
        "random games of ten answers at temperature tau = 0.03.",
        Claim(
            id="A7.off",
            quantity="largest |measured / predicted - 1| of log(factor), 10 games, last 2,000 of 4,000 steps",
            source=OURS,
            reading=rate_error("off the support"),
            bound=at_most(0.02),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
