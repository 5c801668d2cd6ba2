"""Mixtures of Bradley-Terry judges: two equal ones have no majority cycle, three often do.

Not from a paper; it matters for COMAL, arXiv 2410.23223,
whose judge of language models is reported to be such a
mixture of two.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.algorithms import MWU
from comalgames.drivers.solve import solve
from comalgames.experiments import Claim, Figure, Measurement, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.papers.reading import NEW

NUM_GAMES, NUM_ANSWERS, SPREAD = 2000, 10, 2.0
# Five judges each, some without weight: games of one shape.
MIXTURES = {
    "one": (1.0, 0.0, 0.0, 0.0, 0.0),
    "two, 50/50": (0.5, 0.5, 0.0, 0.0, 0.0),
    "two, 60/40": (0.6, 0.4, 0.0, 0.0, 0.0),
    "three": (1 / 3, 1 / 3, 1 / 3, 0.0, 0.0),
    "five": (0.2, 0.2, 0.2, 0.2, 0.2),
}
NUM_RUNS, NUM_STEPS = 50, 20_000


def mixture_games(weights: tuple[float, ...], num_games: int) -> Any:
    """Games of one mixture, one for each prompt: scores are drawn from a normal law."""
    scores = SPREAD * jax.random.normal(jax.random.key(0), (num_games, len(weights), NUM_ANSWERS))
    return games.bradley_terry_mixture(scores, weights)


def has_cycle(skew: Any) -> np.ndarray:
    """Whether majorities cycle: a tournament does unless the numbers of wins are 0, 1, ..., n - 1."""
    wins = np.sort((np.asarray(skew) > 0).sum(-1), axis=-1)
    return np.asarray(np.any(wins != np.arange(wins.shape[-1]), axis=-1))


def cycles() -> Any:
    """Share of random games with a majority cycle, and without a Condorcet winner, by mixture."""
    import xarray as xr

    with jax.enable_x64(True):
        skews = [np.asarray(mixture_games(weights, NUM_GAMES).skew) for weights in MIXTURES.values()]
    winner = [((skew > 0).sum(-1) == NUM_ANSWERS - 1).any(-1).mean() for skew in skews]
    return xr.Dataset(
        {
            "share with a cycle": ("mixture", [has_cycle(skew).mean() for skew in skews]),
            "share without a Condorcet winner": ("mixture", [1 - share for share in winner]),
        },
        {"mixture": list(MIXTURES)},
    )


def runs() -> Any:
    """Multiplicative weights on games of two equal judges and of three."""
    import xarray as xr

    with jax.enable_x64(True):
        gaps = [
            solve(mixture_games(MIXTURES[name], NUM_RUNS), MWU(1.0), NUM_STEPS, record_every=100).history[
                "duality_gap"
            ]
            for name in ("two, 50/50", "three")
        ]
    return xr.Dataset(
        {"duality_gap": (("mixture", "step", "game"), np.stack(gaps))},
        {"mixture": ["two, 50/50", "three"], "step": np.arange(0, NUM_STEPS + 1, 100)},
    )


def share(data: Data, mixture: str) -> float:
    """Share of games with a majority cycle."""
    return float(data["cycles"]["share with a cycle"].sel(mixture=mixture))


PAPER = Paper(
    "judges",
    "Two equal Bradley-Terry judges have no majority cycle",
    "not from a paper; on the judge of COMAL, arXiv 2410.23223",
    (
        Measurement("cycles", "How often do the majorities of several judges cycle?", cycles),
        Measurement("runs", "Does multiplicative weights converge on their games?", runs, is_quick=False),
    ),
    (
        Claim(
            "A25.two", "A 50/50 mixture of two Bradley-Terry judges has no majority cycle,", NEW,
            "share of 2,000 random games with one", partial(share, mixture="two, 50/50"), at_most(0.0),
            ("cycles",),
        ),
        Claim(
            "A25.unequal", "an unequal one may,", NEW, "share of 2,000 random games, weights 60/40",
            partial(share, mixture="two, 60/40"), at_least(0.02), ("cycles",),
        ),
        Claim(
            "A25.three", "and three equal judges often have one.", NEW, "share of 2,000 random games",
            partial(share, mixture="three"), at_least(0.3), ("cycles",),
        ),
        Claim(
            "A25.converges", "So with two equal judges even multiplicative weights converges.", NEW,
            "largest last gap of 50 games",
            lambda data: float(data["runs"]["duality_gap"].sel(mixture="two, 50/50").isel(step=-1).max()),
            at_most(1e-2), ("runs",),
        ),
    ),
    (
        Figure(
            "judges",
            "Share of random games of ten answers whose majorities cycle, by the judges whose preferences "
            "are mixed.",
            (
                Panel(
                    "bars", "cycles", "majority cycles",
                    {"x": "mixture", "y": "share with a cycle", "xlabel": "judges",
                    "ylabel": "share of games"},
                ),
            ),
        ),
    ),
)  # fmt: skip
