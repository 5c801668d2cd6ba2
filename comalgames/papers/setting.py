"""Games, starts and metrics that several papers share; COMAL's synthetic experiment defines most of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from comalgames import games
from comalgames.algorithms import MirrorDescent
from comalgames.equilibria import qre
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import Metric, kl_to

# COMAL's first policy on the three-answer cycle, the temperature of its inner game, and the Nash policy.
START = (0.2, 0.5, 0.3)
TEMPERATURE = 0.1
NASH = (4 / 11, 3 / 11, 4 / 11)

# One round of RLHF: maximize reward minus temperature * KL(policy || reference), from the reference (pull 1).
RLHF = MirrorDescent(1 / TEMPERATURE, TEMPERATURE)

# The source of a claim that no paper makes.
NEW = "not in the paper"


def cycle_game() -> dict[str, PreferenceGame]:
    """The three-answer cycle of COMAL's synthetic experiment."""
    return {"cycle": games.comal_cycle()}


def random_games(num_games: int, num_answers: int, first_seed: int) -> dict[str, PreferenceGame]:
    """Random games by name; their seeds count upwards from the first."""
    return {
        f"random {seed}": games.random(jax.random.key(first_seed + seed), num_answers)
        for seed in range(num_games)
    }


def cycle_and_random_games(num_games: int, num_answers: int, first_seed: int) -> dict[str, PreferenceGame]:
    """The three-answer cycle and random games."""
    return cycle_game() | random_games(num_games, num_answers, first_seed)


def distances(temperature: float) -> Any:
    """For `game_metrics`: KL from the equilibrium regularized around COMAL's start."""
    return partial(_kl_to_regularized, temperature=temperature)


def _kl_to_regularized(game: PreferenceGame, temperature: float) -> dict[str, Metric]:
    return {"kl_to_regularized": kl_to(jnp.asarray(qre(game, temperature, START).logp))}
