"""Games, starts and metrics that several papers share; COMAL's synthetic experiment defines most of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import MirrorDescent
from comalgames.equilibria import nash, qre
from comalgames.experiments import Experiment
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import Metric, kl_to

# COMAL's first policy on the three-answer cycle, the temperature of its inner game, the Nash policy, and the
# rotation frequency there.
START = (0.2, 0.5, 0.3)
TEMPERATURE = 0.1
NASH = (4 / 11, 3 / 11, 4 / 11)
FREQUENCY = math.sqrt(5.28) / 11

# One round of RLHF: maximize reward minus temperature * KL(policy || reference), from the reference (pull 1).
RLHF = MirrorDescent(1 / TEMPERATURE, TEMPERATURE)

# The sources of claims of which we found no publication, and of those that everybody in the field uses.
# Others name a publication, or say "known" and name one beside the paper.
OURS, FOLKLORE = "ours", "folklore"


def cycle_game() -> dict[str, PreferenceGame]:
    """The three-answer cycle of COMAL's synthetic experiment."""
    return {"cycle": games.comal_cycle()}


# On the cycle alone, training towards losing answers has the same Nash policy, and paths that are mirror
# images. A fourth answer, which loses 90% of the time against each of the three, tells the two apart. Its
# first probability is 0.2, and the others are those of COMAL's first policy, multiplied by 0.8.
LOSES = 0.9
LOSING_START = (0.16, 0.4, 0.24, 0.2)
STARTS: Mapping[str, tuple[float, ...]] = {"cycle": START, "losing answer": LOSING_START}


def losing_answer_game() -> dict[str, PreferenceGame]:
    """The three-answer cycle with a fourth answer that loses 90% of the time against each of the three."""
    skew = np.zeros((4, 4))
    skew[:3, :3] = np.asarray(games.comal_cycle().skew)
    skew[:3, 3], skew[3, :3] = LOSES - 0.5, 0.5 - LOSES
    return {"losing answer": PreferenceGame.from_skew(skew, names=["a", "b", "c", "losing"])}


def on_both(name: str) -> tuple[str, str]:
    """Names of an experiment on the three-answer cycle and of the same with the losing answer."""
    return name, f"{name}, losing answer"


def with_losing_answer(
    experiment: Experiment, algorithms: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[Experiment, Experiment]:
    """An experiment on the three-answer cycle, and the same on the cycle with a losing answer.

    Args:
        experiment: the experiment on the cycle.
        algorithms: those of the second experiment; the same by default.
        settings: those that differ in the second experiment, besides the first policy.
    """
    _, name = on_both(experiment.name)
    second = replace(
        experiment,
        name=name,
        question=f"{experiment.question[:-1]}, with a fourth answer that loses 90% of the time?",
        games=losing_answer_game,
        algorithms=experiment.algorithms if algorithms is None else algorithms,
        settings={**experiment.settings, "init": LOSING_START, **settings},
    )
    return experiment, second


def random_games(num_games: int, num_answers: int, first_seed: int) -> dict[str, PreferenceGame]:
    """Random games by name; their seeds count upwards from the first."""
    return {
        f"random {seed}": games.random(jax.random.key(first_seed + seed), num_answers)
        for seed in range(num_games)
    }


def cycle_and_random_games(num_games: int, num_answers: int, first_seed: int) -> dict[str, PreferenceGame]:
    """The three-answer cycle and random games."""
    return cycle_game() | random_games(num_games, num_answers, first_seed)


def kl_to_nash(game: PreferenceGame) -> dict[str, Metric]:
    """For `game_metrics`: KL from the game's Nash policy."""
    return {"kl_to_nash": kl_to(nash(game).logp)}


def distances(temperature: float) -> Any:
    """For `game_metrics`: KL from the equilibrium regularized around COMAL's start."""
    return partial(_kl_to_regularized, temperature=temperature)


def _kl_to_regularized(game: PreferenceGame, temperature: float) -> dict[str, Metric]:
    start = START if game.num_actions == len(START) else LOSING_START
    return {"kl_to_regularized": kl_to(jnp.asarray(qre(game, temperature, start).logp))}
