"""Claim A7: the convergence rate of exact COMAL near Nash, measured and predicted by local theory."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, ExactProx
from comalgames.diagnostics import rotation_frequencies
from comalgames.drivers.sweep import sweep
from comalgames.equilibria import nash
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_most, reads
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.numerics import simplex
from comalgames.papers.setting import NEW, START, cycle_game, random_games


class DistanceOnAndOff(eqx.Module):
    """The metrics KL on the support of Nash, and log of the mass of the policy off the support."""

    target_logp: Any
    on: Any

    def __call__(self, game: PreferenceGame, logp: Any) -> Any:
        """`[KL on the support, log mass off it]`."""
        inside = jnp.where(self.on, logp, -jnp.inf)
        outside = jax.nn.logsumexp(jnp.where(self.on, -jnp.inf, logp))
        return jnp.stack([simplex.kl_divergence(self.target_logp, simplex.log_normalize(inside)), outside])


def distance(game: AbstractGame) -> dict[str, Any]:
    """For `game_metrics`: the distance to the game's Nash policy on and off its support."""
    solution = nash(game)
    return {"distance": DistanceOnAndOff(jnp.asarray(solution.logp), jnp.asarray(solution.support))}


def outer_rate(
    temperature: float,
    num_steps: int,
    smallest_kl: float,
    biased_rock_paper_scissors: tuple[float, ...],
    num_games: int,
    num_answers: int,
    first_seed: int,
) -> Any:
    """Exact COMAL's factors per step near Nash, measured and predicted, on two cycles and random games.

    Off the support an answer's mass shrinks by exp(-slack / tau). On it, KL shrinks by the largest of
    tau^2 / (tau^2 + w^2) over the frequencies w, or by the square of the former factor where that is larger,
    for the mass off the support pushes the policy on it, and KL is quadratic in that push. The rate is read
    over the last quarter of the steps before KL falls to `smallest_kl`: below it is rounding error, before it
    faster modes still show.
    """
    import xarray as xr

    tau = temperature
    chosen = cycle_game() | {"biased rps": games.rock_paper_scissors(*biased_rock_paper_scissors)}
    chosen |= random_games(num_games, num_answers, first_seed)
    solutions = {name: nash(game) for name, game in chosen.items()}
    uneven = {
        name: START if game.num_actions == 3 else np.full(num_answers, 1 / num_answers)
        for name, game in chosen.items()
    }
    rule = {"COMAL": COMAL(ExactProx(tau), period=1)}
    runs = sweep(chosen, rule, num_steps, init=uneven, game_metrics=distance)
    rows: dict[str, list[float]] = {
        f"{kind} {part}": [] for part in ("on", "off") for kind in ("predicted", "measured")
    }
    for name, game in chosen.items():
        solution, path = solutions[name], runs["distance"].sel(game=name, algorithm="COMAL", seed=0).values
        off = float(np.exp(-solution.slack[~solution.support].min(initial=np.inf) / tau))
        rotation = float(
            np.max(tau**2 / (tau**2 + rotation_frequencies(game, solution.logp) ** 2), initial=0.0)
        )
        last = int(np.argmax(path[:, 0] < smallest_kl)) or len(path) - 1
        first = 3 * last // 4
        half = len(path) // 2
        rows["predicted on"].append(max(rotation, off**2))
        rows["measured on"].append((path[last, 0] / path[first, 0]) ** (1 / (last - first)))
        rows["predicted off"].append(off)
        rows["measured off"].append(
            float(np.exp((path[-1, 1] - path[half, 1]) / (len(path) - 1 - half))) if off > 0 else 0.0
        )
    return xr.Dataset(
        {name: ("game", values) for name, values in rows.items()},
        {"game": list(chosen)},
        {"temperature": tau},
    )


@reads("outer rate")
def outer_rate_error(data: Data, part: str) -> float:
    """Largest relative error of log(factor per step), `part` "on" or "off" the support."""
    predicted, measured = (data["outer rate"][f"{kind} {part}"].values for kind in ("predicted", "measured"))
    there = predicted > 0
    return float(np.abs(np.log(measured[there]) / np.log(predicted[there]) - 1).max())


EXPERIMENTS = (
    Measurement(
        "outer rate",
        "How fast does exact COMAL converge near Nash?",
        outer_rate,
        {
            "temperature": 0.03,
            "num_steps": 4000,
            "smallest_kl": 1e-24,
            "biased_rock_paper_scissors": (3, 1, 1),
            "num_games": 10,
            "num_answers": 10,
            "first_seed": 0,
        },
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "Near Nash exact COMAL multiplies KL per step by the largest tau^2/(tau^2 + w^2) over the rotation "
        "frequencies w, or by the square of the factor off the support, where that is larger.",
        Claim(
            id="A7.on",
            quantity="largest |measured / predicted - 1| of log(factor), 12 games, temperature 0.03",
            source=NEW,
            reading=outer_rate_error("on"),
            bound=at_most(0.02),
        ),
    ),
    Statement(
        "Near Nash exact COMAL multiplies the mass off the support of the Nash policy per step by "
        "exp(-slack/tau).",
        Claim(
            id="A7.off",
            quantity="largest |measured / predicted - 1| of log(factor), 10 games, temperature 0.03",
            source=NEW,
            reading=outer_rate_error("off"),
            bound=at_most(0.02),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
