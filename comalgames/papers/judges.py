"""Mixtures of Bradley-Terry judges: two equal judges have no majority cycle, three often have one.

Not from a paper; it matters for COMAL, arXiv 2410.23223, whose judge of language models is reported to be
such a mixture of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.algorithms import MWU
from comalgames.drivers.solve import solve
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    reads,
)

# Scores are drawn from a normal distribution of this standard deviation, in nats.
DRAWS = {"num_answers": 10, "spread": 2.0, "seed": 0}

# Five judges each, some without weight: games of one shape.
MIXTURES = {
    "one": (1.0, 0.0, 0.0, 0.0, 0.0),
    "two, 50/50": (0.5, 0.5, 0.0, 0.0, 0.0),
    "two, 60/40": (0.6, 0.4, 0.0, 0.0, 0.0),
    "three": (1 / 3, 1 / 3, 1 / 3, 0.0, 0.0),
    "five": (0.2, 0.2, 0.2, 0.2, 0.2),
}


def mixture_games(
    weights: tuple[float, ...], num_games: int, num_answers: int, spread: float, seed: int
) -> Any:
    """Games of one mixture, one for each prompt, with normal scores."""
    scores = spread * jax.random.normal(jax.random.key(seed), (num_games, len(weights), num_answers))
    return games.bradley_terry_mixture(scores, weights)


def has_cycle(skew: Any) -> np.ndarray:
    """Whether majorities cycle: a tournament has a cycle unless its numbers of wins are 0, ..., n - 1."""
    wins = np.sort((np.asarray(skew) > 0).sum(-1), axis=-1)
    return np.asarray(np.any(wins != np.arange(wins.shape[-1]), axis=-1))


def cycles(mixtures: Mapping[str, tuple[float, ...]], num_games: int, num_answers: int, **draws: Any) -> Any:
    """Share of random games with a majority cycle, and without a Condorcet winner, by mixture."""
    import xarray as xr

    with jax.enable_x64(True):
        skews = [
            np.asarray(mixture_games(weights, num_games, num_answers, **draws).skew)
            for weights in mixtures.values()
        ]
    winner = [((skew > 0).sum(-1) == num_answers - 1).any(-1).mean() for skew in skews]
    return xr.Dataset(
        {
            "share with a cycle": ("mixture", [has_cycle(skew).mean() for skew in skews]),
            "share without a Condorcet winner": ("mixture", [1 - share for share in winner]),
        },
        {"mixture": list(mixtures)},
    )


def runs(
    mixtures: Mapping[str, tuple[float, ...]],
    step_size: float,
    num_steps: int,
    record_every: int,
    **draws: Any,
) -> Any:
    """The duality gap of multiplicative weights on random games of each mixture."""
    import xarray as xr

    with jax.enable_x64(True):
        gaps = [
            solve(
                mixture_games(weights, **draws), MWU(step_size), num_steps, record_every=record_every
            ).history["duality_gap"]
            for weights in mixtures.values()
        ]
    return xr.Dataset(
        {"duality_gap": (("mixture", "step", "game"), np.stack(gaps))},
        {"mixture": list(mixtures), "step": np.arange(0, num_steps + 1, record_every)},
    )


@reads("cycles")
def share(data: Data, mixture: str) -> float:
    """Share of games with a majority cycle."""
    return float(data["cycles"]["share with a cycle"].sel(mixture=mixture))


@reads("runs")
def largest_last_gap(data: Data, mixture: str) -> float:
    """The largest last duality gap over the games of a mixture."""
    return float(data["runs"]["duality_gap"].sel(mixture=mixture).isel(step=-1).max(skipna=False))


GAMES = "2,000 random games of 10 answers, scores of standard deviation 2"

STATEMENTS = (
    Statement(
        "A 50/50 mixture of two Bradley-Terry judges has no majority cycle.",
        Claim(
            id="A25.two",
            quantity=f"share of games with a majority cycle; {GAMES}",
            source="ours; beside arXiv 2503.10990",
            reading=share("two, 50/50"),
            bound=at_most(0.0),
        ),
    ),
    Statement(
        "A 60/40 mixture of two Bradley-Terry judges has a majority cycle in at least one of fifty random "
        "games of ten answers whose scores have a standard deviation of 2.",
        Claim(
            id="A25.unequal",
            quantity=f"share of games with a majority cycle; {GAMES}",
            source="ours; beside arXiv 2503.10990",
            reading=share("two, 60/40"),
            bound=at_least(0.02),
        ),
    ),
    Statement(
        "Three equal Bradley-Terry judges have a majority cycle in many random games of ten answers whose "
        "scores have a standard deviation of 2.",
        Claim(
            id="A25.three",
            quantity=f"share of games with a majority cycle; {GAMES}",
            source="ours; beside arXiv 2503.10990",
            reading=share("three"),
            bound=at_least(0.3),
        ),
    ),
    Statement(
        "Multiplicative weights with step 1 comes within 1 point of Nash in 20,000 steps on random games of "
        "ten answers and two equal Bradley-Terry judges whose scores have a standard deviation of 2.",
        Claim(
            id="A25.converges",
            quantity="largest last duality gap of 50 random games",
            source="ours; beside arXiv 2503.10990",
            reading=largest_last_gap("two, 50/50"),
            bound=at_most(1e-2),
        ),
    ),
)

FIGURES = (
    Figure(
        "judges",
        "Share of random games of ten answers whose majorities cycle, by the judges whose preferences are "
        "mixed. Scores are normal with a standard deviation of 2.",
        (
            Panel(
                "bars",
                "cycles",
                "majority cycles",
                {"x": "mixture", "y": "share with a cycle", "xlabel": "judges", "ylabel": "share of games"},
            ),
        ),
    ),
)

PAPER = Paper(
    name="judges",
    title="Two equal Bradley-Terry judges have no majority cycle",
    source="not from a paper; on the judge of COMAL, arXiv 2410.23223",
    experiments=(
        Measurement(
            "cycles",
            "How often do the majorities of several judges cycle?",
            cycles,
            {"mixtures": MIXTURES, "num_games": 2000, **DRAWS},
        ),
        Measurement(
            "runs",
            "Does multiplicative weights converge on the games of two or three judges?",
            runs,
            {
                "mixtures": {name: MIXTURES[name] for name in ("two, 50/50", "three")},
                "step_size": 1.0,
                "num_steps": 20_000,
                "record_every": 100,
                "num_games": 50,
                **DRAWS,
            },
            is_quick=False,
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
