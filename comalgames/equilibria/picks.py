"""The action that a reward model picks beside the Nash policy, and how often the policy beats it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.games import PreferenceGame
from comalgames.numerics import bradley_terry

# Compiled once per number of answers: its loop would otherwise be compiled at every call.
_fit = jax.jit(bradley_terry.fit)


class Picks(NamedTuple):
    """A reward model's choice beside the Nash policy's.

    Attributes:
        scores: Bradley-Terry scores fitted on uniformly drawn pairs, `[n]`; their order is Borda's.
        reward_pick: the action with the highest score, which reward maximization picks.
        nash_policy: probabilities `[n]`.
        nash_beats_reward: how often the Nash policy is preferred to `reward_pick`.
    """

    scores: np.ndarray
    reward_pick: int
    nash_policy: np.ndarray
    nash_beats_reward: float


def picks(game: PreferenceGame, nash_policy: np.ndarray) -> Picks:
    """The action that a reward fitted on uniform pairs picks, and how often the Nash policy beats it.

    Args:
        game: without prompts.
        nash_policy: probabilities `[n]`, as `nash(game).policy`.
    """
    with jax.enable_x64(True):
        skew = jnp.asarray(np.asarray(game.skew, np.float64))
        scores = np.asarray(_fit(skew, game.uniform().astype(skew.dtype)).scores)
    best = int(scores.argmax())
    beats = 0.5 + float(nash_policy @ np.asarray(game.skew, np.float64)[:, best])
    return Picks(scores, best, nash_policy, beats)
