"""Claim A29: the pick of a Bradley-Terry reward and the Nash policy, on real votes and with judges."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.equilibria import nash
from comalgames.equilibria.picks import picks
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    between,
    reads,
)
from comalgames.numerics import bradley_terry
from comalgames.papers.reading import attribute
from comalgames.papers.setting import OURS


def mariner() -> Any:
    """The picks of reward and Nash on the Mariner votes, and every trajectory's win rate against each."""
    import xarray as xr

    game = games.mariner()
    choice = picks(game, nash(game).policy)
    preference = np.asarray(game.preference)

    def number(action: int) -> int:
        return int(game.names[action].removeprefix("Trajectory "))

    return xr.Dataset(
        {
            "against_nash": ("option", preference @ choice.nash_policy),
            "against_reward": ("option", preference[:, choice.reward_pick]),
            "scores": ("option", choice.scores),
            "nash_policy": ("option", choice.nash_policy),
        },
        {"option": list(game.names)},
        attrs={
            "reward_pick": number(choice.reward_pick),
            "nash_pick": number(int(np.argmax(choice.nash_policy))),
            "nash_beats_reward": choice.nash_beats_reward,
        },
    )


def random_judges(num_games: int, num_judges: int, num_answers: int, spread: float, seed: int) -> Any:
    """Random games of equal judges: whether there is a Condorcet winner, and whether the reward picks it.

    Scores are drawn from a normal distribution whose standard deviation is `spread`, in nats.
    """
    import xarray as xr

    scores = spread * jax.random.normal(jax.random.key(seed), (num_games, num_judges, num_answers))
    game = games.bradley_terry_mixture(scores)
    others = ~jnp.eye(num_answers, dtype=bool)
    wins_all = jnp.all((game.skew > 0) | ~others, axis=-1)
    reward_pick = jnp.argmax(bradley_terry.fit(game.skew, game.uniform()).scores, axis=-1)
    has_winner = np.asarray(wins_all.any(-1))
    disagree = np.asarray(jnp.argmax(wins_all, axis=-1) != reward_pick) & has_winner
    return xr.Dataset(
        {"has_condorcet_winner": ("game", has_winner), "reward_disagrees": ("game", disagree)},
        attrs={"share": float(disagree.sum() / has_winner.sum())},
    )


@reads("mariner")
def condorcet_and_nash(data: Data) -> float:
    """Number of the trajectory that Nash plays alone and that beats every other one; nan if none does."""
    votes = data["mariner"]
    k = int(votes["nash_policy"].values.argmax())
    beaten = np.delete(votes["against_nash"].values, k) < 0.5
    alone = float(votes["nash_policy"][k]) == 1.0
    return float(votes.attrs["nash_pick"]) if alone and beaten.all() else float("nan")


EXPERIMENTS = (
    Measurement(
        "mariner",
        "Which trajectory does a reward model pick from real votes, and which does Nash pick?",
        mariner,
    ),
    Measurement(
        "five judges",
        "How often does a reward model miss a Condorcet winner?",
        random_judges,
        {"num_games": 4000, "num_judges": 5, "num_answers": 10, "spread": 2.0, "seed": 0},
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "A Bradley-Terry reward fitted on the votes of ten science teams picks trajectory 27.",
        Claim(
            id="A29.reward",
            quantity="number of the trajectory with the highest reward",
            source=OURS,
            reading=attribute("mariner", "reward_pick"),
            bound=between(27, 27),
        ),
    ),
    Statement(
        "The Nash policy of the votes of ten science teams plays only trajectory 22, which is the Condorcet "
        "winner.",
        Claim(
            id="A29.nash",
            quantity="number of the trajectory that is both the only one played and the Condorcet winner",
            source=OURS,
            reading=condorcet_and_nash(),
            bound=between(22, 22),
        ),
    ),
    Statement(
        "The Nash policy of the votes of ten science teams wins 55% of the comparisons with the pick of a "
        "Bradley-Terry reward.",
        Claim(
            id="A29.beats",
            quantity="win rate of the Nash policy against the pick of the reward",
            source=OURS,
            reading=attribute("mariner", "nash_beats_reward"),
            bound=between(0.55 - 1e-12, 0.55 + 1e-12),
        ),
    ),
    Statement(
        "A Bradley-Terry reward misses the Condorcet winner in at least a tenth of the random games that "
        "have one, with five equal judges, ten answers and scores of standard deviation 2.",
        Claim(
            id="A29.judges",
            quantity="share of the games with a Condorcet winner, of 4,000 games",
            source="ours; beside arXiv 2503.10990",
            reading=attribute("five judges", "share"),
            bound=at_least(0.1),
        ),
    ),
)

FIGURES = (
    Figure(
        "mariner",
        "Ten science teams ranked 32 trajectories. Each trajectory's win rate against the Nash policy "
        "(trajectory 22: no trajectory is above 50%) and against trajectory 27, which a Bradley-Terry reward "
        "picks and 22 beats.",
        (
            Panel(
                "picks",
                "mariner",
                "",
                {
                    "names": {
                        "against_nash": "against the Nash policy (22)",
                        "against_reward": "against the reward's pick (27)",
                    },
                    "prefix": "Trajectory ",
                },
            ),
        ),
    ),
)
