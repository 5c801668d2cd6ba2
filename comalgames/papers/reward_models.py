"""What a Bradley-Terry reward picks, against what Nash picks: on real votes and among several judges."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.equilibria import nash
from comalgames.games import PreferenceGame
from comalgames.numerics import bradley_terry

# Five equal judges, ten answers: scores are drawn from a normal law of this standard deviation, in nats.
NUM_GAMES, NUM_JUDGES, NUM_ANSWERS, SCORE_SPREAD = 4000, 5, 10, 2.0


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
    """What a reward fitted on uniform pairs picks, and how often the Nash policy beats it."""
    with jax.enable_x64(True):
        skew = jnp.asarray(np.asarray(game.skew, np.float64))
        scores = np.asarray(_fit(skew, game.uniform().astype(skew.dtype)).scores)
    best = int(scores.argmax())
    beats = 0.5 + float(nash_policy @ np.asarray(game.skew, np.float64)[:, best])
    return Picks(scores, best, nash_policy, beats)


def mariner() -> Any:
    """Both picks on the Mariner votes, and every trajectory's win rate against each."""
    import xarray as xr

    game = games.mariner()
    found = picks(game, nash(game).policy)
    preference = np.asarray(game.preference)

    def number(action: int) -> int:
        return int(game.names[action].removeprefix("Trajectory "))

    return xr.Dataset(
        {
            "against_nash": ("option", preference @ found.nash_policy),
            "against_reward": ("option", preference[:, found.reward_pick]),
            "scores": ("option", found.scores),
            "nash_policy": ("option", found.nash_policy),
        },
        {"option": list(game.names)},
        attrs={
            "reward_pick": number(found.reward_pick),
            "nash_pick": number(int(found.nash_policy.argmax())),
            "nash_beats_reward": found.nash_beats_reward,
        },
    )


def five_judges() -> Any:
    """Among random games of five judges: those with a Condorcet winner, and whether the reward picks it."""
    import xarray as xr

    scores = SCORE_SPREAD * jax.random.normal(jax.random.key(0), (NUM_GAMES, NUM_JUDGES, NUM_ANSWERS))
    game = games.bradley_terry_mixture(scores)
    others = ~jnp.eye(NUM_ANSWERS, dtype=bool)
    wins_all = jnp.all((game.skew > 0) | ~others, axis=-1)
    reward_pick = jnp.argmax(bradley_terry.fit(game.skew, game.uniform()).scores, axis=-1)
    has_winner = np.asarray(wins_all.any(-1))
    disagree = np.asarray(jnp.argmax(wins_all, axis=-1) != reward_pick) & has_winner
    return xr.Dataset(
        {"has_condorcet_winner": ("game", has_winner), "reward_disagrees": ("game", disagree)},
        attrs={"share": float(disagree.sum() / has_winner.sum())},
    )
