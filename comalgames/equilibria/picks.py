"""Comparison of the action with the highest Bradley-Terry reward and the Nash policy."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.games import PreferenceGame
from comalgames.numerics import bradley_terry

# Compiled once per number of answers; otherwise the loop would be compiled at every call.
_fit = jax.jit(bradley_terry.fit)


class Picks(NamedTuple):
    """The result of `picks`.

    Attributes:
        scores: Bradley-Terry scores fitted on uniformly drawn pairs, `[n]`, in the order of the Borda scores.
        reward_pick: the action with the highest score, which maximizes the reward.
        nash_policy: the Nash policy, probabilities `[n]`.
        nash_beats_reward: win rate of the Nash policy against `reward_pick`.
    """

    scores: np.ndarray
    reward_pick: int
    nash_policy: np.ndarray
    nash_beats_reward: float


def picks(game: PreferenceGame, nash_policy: np.ndarray) -> Picks:
    """Fit a Bradley-Terry reward on uniform pairs, and compare its best action with the Nash policy.

    Args:
        game: a preference game without prompts.
        nash_policy: a Nash policy, probabilities `[n]`, such as `nash(game).policy`.
    """
    with jax.enable_x64(True):
        skew = jnp.asarray(np.asarray(game.skew, np.float64))
        scores = np.asarray(_fit(skew, game.uniform().astype(skew.dtype)).scores)
    best = int(np.argmax(scores))
    beats = 0.5 + float(nash_policy @ np.asarray(game.skew, np.float64)[:, best])
    return Picks(scores, best, nash_policy, beats)
