"""Claim N6: COMAL on pairs that its published code collects does not reach Nash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.drivers.solve import solve
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.feedback import RegressedPairs
from comalgames.games import PreferenceGame
from comalgames.papers.setting import NASH, OURS, STARTS, TEMPERATURE, cycle_game, losing_answer_game

# Ways to collect pairs: number of candidates, the one that is rejected, and the label.
Way = tuple[int, str, str]
TWO, SECOND, WORST = "two, drawn labels", "best and second of five", "best and worst of five"
WAYS: Mapping[str, Way] = {
    TWO: (2, "worst", "drawn"),
    SECOND: (5, "second", "ranked"),
    WORST: (5, "worst", "ranked"),
}

RULE = {"step_size": 0.3, "temperature": TEMPERATURE, "period": 50}


def _learn(skews: np.ndarray, init: Any, way: Way, num_steps: int, **rule: Any) -> np.ndarray:
    """The last policies of COMAL on the pairs that one way collects, with every set's exact weight."""
    step_size, temperature, period = (rule[name] for name in ("step_size", "temperature", "period"))
    candidates, rejected, labels = way
    with jax.enable_x64(True):
        game = PreferenceGame.from_skew(skews)
        run = solve(
            game,
            COMAL(MirrorDescent(step_size, temperature), period),
            num_steps,
            init=init,
            feedback=RegressedPairs(game, None, candidates, rejected, labels),
            record_every=num_steps,
        )
    return np.asarray(run.policy)


def _gaps(skews: np.ndarray, policies: np.ndarray) -> np.ndarray:
    """Duality gaps: twice the payoff of the best answer against the policy."""
    return 2 * np.asarray(np.einsum("...ij,...j->...i", skews, policies).max(-1))


def on_the_cycle(
    ways: Mapping[str, Way], num_steps: int, starts: Mapping[str, tuple[float, ...]], **rule: Any
) -> Any:
    """COMAL's last policies by the way of collecting pairs, on the cycle with and without a losing answer."""
    import xarray as xr

    known = cycle_game() | losing_answer_game()
    last = {
        name: [_learn(np.asarray(known[name].skew), start, way, num_steps, **rule) for way in ways.values()]
        for name, start in starts.items()
    }
    return xr.Dataset(
        {name: (("way", f"answer of {name}"), np.array(rows)) for name, rows in last.items()},
        {"way": list(ways)},
    )


def interior_skews(num_games: int, num_answers: int, least: float, seed: int) -> np.ndarray:
    """The first random games whose Nash policy is interior: the null vector of S has one sign.

    Every probability of the Nash policy is at least `least`: elsewhere runs are long. Of all random games of
    n answers a share of 2^(1 - n) has an interior Nash policy.

    Raises:
        ValueError: fewer games than `num_games` were found.
    """
    with jax.enable_x64(True):
        drawn = np.asarray(games.random(jax.random.key(seed), num_answers, [num_games * 4**num_answers]).skew)
    null = np.linalg.svd(drawn)[2][:, -1]
    policies = null / null.sum(-1, keepdims=True)
    found = np.asarray(drawn[policies.min(-1) >= least][:num_games])
    if len(found) < num_games:
        raise ValueError(
            f"{num_games} games of {num_answers} answers were asked for, and {len(found)} of {len(drawn)} "
            f"drawn ones have a Nash policy without a probability below {least}. Take a smaller `least`."
        )
    return found


def on_random_games(
    ways: Mapping[str, Way],
    sizes: Mapping[int, int],
    least: float,
    num_steps: Mapping[str, int],
    seed: int,
    **rule: Any,
) -> Any:
    """COMAL's last gap on random games with interior Nash policies, by size and way of collecting pairs."""
    import xarray as xr

    gaps: dict[str, Any] = {}
    places: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for size, number in sizes.items():
        skews = interior_skews(number, size, least, seed)
        rows = [_gaps(skews, _learn(skews, None, way, num_steps[name], **rule)) for name, way in ways.items()]
        order = np.argsort(rows[list(ways).index(SECOND)])
        gaps[f"{size} answers"] = [row[order] for row in rows]
        places[f"game of {size} answers"] = np.arange(1, len(order) + 1)
        numbers[f"number of the game of {size} answers"] = f"game of {size} answers", order
    return xr.Dataset(
        {name: (("way", f"game of {name}"), np.array(rows)) for name, rows in gaps.items()} | numbers,
        {"way": list(ways), **places},
    )


@reads("ranked pairs")
def distance(data: Data, way: str, policy: tuple[float, ...]) -> float:
    """Largest difference of a probability from a policy of the three answers, with and without a fourth."""
    last = [data["ranked pairs"][name].sel(way=way).values for name in STARTS]
    return float(np.max([np.abs(row - np.append(policy, 0.0)[: len(row)]).max() for row in last]))


@reads("ranked pairs, random games")
def median_gap(data: Data, way: str, size: int) -> float:
    """The median gap over the games of a size."""
    gaps = data["ranked pairs, random games"][f"{size} answers"].sel(way=way)
    return float(gaps.median(skipna=False))


@reads("ranked pairs, random games")
def median_excess(data: Data, size: int) -> float:
    """The median of the gap with best and second less that with two drawn candidates.

    It is 0 for policies that do not move, wherever they are.
    """
    gaps = data["ranked pairs, random games"][f"{size} answers"]
    return float((gaps.sel(way=SECOND) - gaps.sel(way=TWO)).median(skipna=False))


@reads("ranked pairs, random games")
def median_share(data: Data, size: int) -> float:
    """The median of the gap with the worst candidate divided by that with the second one."""
    gaps = data["ranked pairs, random games"][f"{size} answers"]
    return float((gaps.sel(way=WORST) / gaps.sel(way=SECOND)).median(skipna=False))


SIZES = {3: 20, 5: 10}
NUM_STEPS = {TWO: 10_000, SECOND: 3_000, WORST: 3_000}
UNIFORM = (1 / 3, 1 / 3, 1 / 3)

EXPERIMENTS = (
    Measurement(
        "ranked pairs",
        "Does COMAL reach Nash on the pairs that its published code collects?",
        on_the_cycle,
        {"ways": {way: WAYS[way] for way in (TWO, SECOND)}, "num_steps": 3_000, "starts": STARTS, **RULE},
        is_quick=False,
    ),
    Measurement(
        "ranked pairs, random games",
        "How far from Nash does COMAL end on ranked pairs, by the pair that is kept?",
        on_random_games,
        {"ways": WAYS, "sizes": SIZES, "least": 0.05, "num_steps": NUM_STEPS, "seed": 0, **RULE},
        is_quick=False,
    ),
)

PAIRS = "pairs of the best and the second of five candidates that are ranked by their mean win rate"
GAMES = "on the three-answer cycle, with and without a fourth answer that loses 90% of the time"
FAMILY = "whose Nash policies have no probability below 0.05"
CODE = "ours; the pairs: data_processing.py of COMAL's repository"

STATEMENTS = (
    Statement(
        f"COMAL with step 0.3 on {PAIRS}, as its published code collects them, ends at the uniform policy of "
        f"three answers and not at Nash, {GAMES}.",
        Claim(
            id="N6.second",
            quantity="largest difference of a probability from uniform, two games",
            source=CODE,
            reading=distance(SECOND, UNIFORM),
            bound=at_most(1e-8),
        ),
    ),
    Statement(
        "COMAL with step 0.3 on pairs of two drawn candidates, with labels drawn by the preferences, reaches "
        f"Nash {GAMES}.",
        Claim(
            id="N6.two",
            quantity="largest difference of a probability from Nash, two games",
            source="COMAL, arXiv 2410.23223, algorithm 2",
            reading=distance(TWO, NASH),
            bound=at_most(1e-8),
        ),
    ),
    *(
        Statement(
            f"COMAL with step 0.3 on {PAIRS} ends at a duality gap larger by 0.05 or more than that on "
            f"pairs of two drawn candidates in the median game of {number} random games of {size} answers "
            f"{FAMILY}.",
            Claim(
                id=f"N6.random.{size}",
                quantity=f"median difference of the two duality gaps, {number} games of {size} answers",
                source=CODE,
                reading=median_excess(size),
                bound=at_least(0.05),
            ),
        )
        for size, number in SIZES.items()
    ),
    *(
        Statement(
            "COMAL with step 0.3 on pairs of two drawn candidates, with labels drawn by the preferences, "
            f"comes below a duality gap of 0.01 in the median of {number} random games of {size} answers "
            f"{FAMILY}.",
            Claim(
                id=f"N6.control.{size}",
                quantity=f"median duality gap after 10,000 steps, {number} games of {size} answers",
                source=OURS,
                reading=median_gap(TWO, size),
                bound=at_most(0.01),
            ),
        )
        for size, number in SIZES.items()
    ),
    *(
        Statement(
            "COMAL with step 0.3 ends at a duality gap smaller by a third or more if the best of five ranked "
            f"candidates is paired with the worst instead of the second, in the median of {number} random "
            f"games of {size} answers {FAMILY}.",
            Claim(
                id=f"N6.worst.{size}",
                quantity=f"median ratio of the two duality gaps, {number} games of {size} answers",
                source=OURS,
                reading=median_share(size),
                bound=between(0.0, 2 / 3),
            ),
        )
        for size, number in SIZES.items()
    ),
)

FIGURES = (
    Figure(
        "ranked_pairs",
        "Last duality gap of COMAL on 20 random games of three answers and 10 of five, sorted, "
        "by the pairs that it learns from. Two drawn candidates lead to Nash; ranked pairs of five do not.",
        tuple(
            Panel(
                "lines",
                "ranked pairs, random games",
                f"{size} answers",
                {
                    "x": f"game of {size} answers",
                    "y": f"{size} answers",
                    "series": "way",
                    "xlabel": "game, by its gap with the second",
                    "ylabel": "duality gap",
                    "logy": False,
                },
            )
            for size in SIZES
        ),
    ),
)
