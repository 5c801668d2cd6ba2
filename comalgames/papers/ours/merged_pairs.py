"""Claim N6, part 2: ranked pairs in NumPy, and with candidates of equal text merged."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_least, at_most, reads
from comalgames.papers.ours.ranked_pairs import CODE, NUM_STEPS, RULE, SECOND, SIZES, interior_skews
from comalgames.papers.setting import OURS

CANDIDATES = 5
KEPT, MERGED = "every candidate counts", "equal candidates are merged"

# Scores that differ by less are ties, which the order of the answers breaks.
DECIMALS = 6


def pairs(skews: np.ndarray, candidates: int, is_merged: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sets of candidates, their numbers of orders, and the pair of best and second in each game.

    A set is a number of draws of each answer, `[sets, n]`. A pair is +1 at the best and -1 at the second
    answer, `[games, sets, n]`, or 0 if they are one answer.
    """
    size = skews.shape[-1]
    sets = np.array(
        [
            np.bincount(drawn, minlength=size)
            for drawn in combinations_with_replacement(range(size), candidates)
        ]
    )
    orders = np.array([math.factorial(candidates) / math.prod(map(math.factorial, row)) for row in sets])
    signs = np.zeros((len(skews), len(sets), size))
    for i, skew in enumerate(skews):
        for j, drawn in enumerate(sets):
            scores = np.round(skew @ drawn, DECIMALS)
            there = [answer for answer in np.argsort(-scores, kind="stable") if drawn[answer]]
            if len(there) > 1 and (is_merged or drawn[there[0]] == 1):
                signs[i, j, there[0]], signs[i, j, there[1]] = 1.0, -1.0
    return sets, orders, signs


def last_gaps(skews: np.ndarray, num_steps: int, is_merged: bool, **rule: Any) -> np.ndarray:
    """Gaps of COMAL after its steps from the uniform policy, for games with payoffs `[games, n, n]`.

    The advantage of a step is the least-squares solution h of h(best) - h(second) = 1/2 over all sets, with
    their probabilities: it solves sum_k w_k e_k (e_k . h - 1/2) = 0, where e_k is the pair of the set k.
    """
    step_size, temperature, period = (rule[name] for name in ("step_size", "temperature", "period"))
    sets, orders, signs = pairs(skews, CANDIDATES, is_merged)
    size = skews.shape[-1]
    logs = np.full(skews.shape[:-1], -math.log(size))
    reference = logs
    for step in range(1, num_steps + 1):
        weights = orders * np.exp(logs @ sets.T)
        normal = np.einsum("gk,gki,gkj->gij", weights, signs, signs) + 1.0
        seen = np.einsum("gk,gki->gi", weights, signs) / 2
        advantage = np.linalg.solve(normal, seen[..., None])[..., 0]
        logs = logs + step_size * (advantage - temperature * (logs - reference))
        logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
        reference = logs if step % period == 0 else reference
    return 2 * np.asarray(np.einsum("gij,gj->gi", skews, np.exp(logs)).max(-1))


def merged(num_games: int, num_answers: int, least: float, num_steps: int, seed: int, **rule: Any) -> Any:
    """Last gaps on random games if all candidates count, and if those of equal text are merged."""
    import xarray as xr

    skews = interior_skews(num_games, num_answers, least, seed)
    gaps = [last_gaps(skews, num_steps, is_merged, **rule) for is_merged in (False, True)]
    return xr.Dataset({"gap": (("candidates", "game"), np.array(gaps))}, {"candidates": [KEPT, MERGED]})


@reads("merged pairs", "ranked pairs, random games")
def difference(data: Data, size: int) -> float:
    """The largest difference between the gap of a game in NumPy and that of the package."""
    here = data["merged pairs"]["gap"].sel(candidates=KEPT).values
    runs = data["ranked pairs, random games"]
    there = np.empty_like(here)
    # The package's games are sorted; their numbers say which game each one is.
    there[runs[f"number of the game of {size} answers"].values] = runs[f"{size} answers"].sel(way=SECOND)
    return float(np.abs(here - there).max())


@reads("merged pairs")
def median_gap(data: Data, candidates: str) -> float:
    """The median of the gaps."""
    return float(data["merged pairs"]["gap"].sel(candidates=candidates).median(skipna=False))


SIZE, NUMBER = next(iter(SIZES.items()))

EXPERIMENTS = (
    Measurement(
        "merged pairs",
        "Does COMAL on ranked pairs end elsewhere if candidates of equal text are merged?",
        merged,
        {
            "num_games": NUMBER,
            "num_answers": SIZE,
            "least": 0.05,
            "num_steps": NUM_STEPS[SECOND],
            "seed": 0,
            **RULE,
        },
        is_quick=False,
    ),
)

FAMILY = f"{NUMBER} random games of {SIZE} answers whose Nash policies have no probability below 0.05"

STATEMENTS = (
    Statement(
        "COMAL on pairs of the best and the second of five ranked candidates, written out in NumPy, ends "
        f"with the gaps that the package measures, on {FAMILY}.",
        Claim(
            id="N6.numpy",
            quantity=f"largest difference of a duality gap, {NUMBER} games",
            source=OURS,
            reading=difference(SIZE),
            bound=at_most(1e-10),
        ),
    ),
    Statement(
        "COMAL with step 0.3 on pairs of the best and the second of five ranked candidates ends at a duality "
        "gap above 0.05 if candidates of equal text are merged, as its published code merges them, in the "
        f"median of {FAMILY}.",
        Claim(
            id="N6.merged",
            quantity=f"median duality gap after 3,000 steps, {NUMBER} games",
            source=CODE,
            reading=median_gap(MERGED),
            bound=at_least(0.05),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
