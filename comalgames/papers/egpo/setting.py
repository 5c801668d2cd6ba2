"""The games, references, temperatures and steps of EGPO's public simulation."""

from __future__ import annotations

import jax
import numpy as np

from comalgames import games
from comalgames.games import PreferenceGame
from comalgames.numerics import simplex

DRAWS = {"num_games": 10, "num_answers": 10, "seed": 0}

# Temperature: iterations, and the learning rate of SGD on the loss with uniform pairs. (The published number
# of iterations at 0.001 is 1e5.)
NUM_STEPS = {0.1: 1000, 0.01: 5000, 0.001: 30_000}
LEARNING_RATES = {0.1: 0.1, 0.01: 0.02, 0.001: 2e-4}
TEMPERATURES = tuple(NUM_STEPS)


def step_of(learning_rate: float, temperature: float, num_answers: int) -> float:
    """Step size of the mirror step that equals an SGD step on uniform pairs: 4 lr / (n beta)."""
    return 4 * learning_rate / (num_answers * temperature)


def setting(num_games: int, num_answers: int, seed: int) -> tuple[PreferenceGame, np.ndarray]:
    """The games, one for each prompt, and their references `[games, answers]`."""
    game_key, reference_key = jax.random.split(jax.random.key(seed))
    game = games.random(game_key, num_answers, (num_games,))
    scores = jax.random.normal(reference_key, (num_games, num_answers))
    return game, np.exp(np.asarray(simplex.log_normalize(scores)))
