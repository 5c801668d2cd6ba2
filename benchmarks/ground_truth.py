"""Speed of `nash` against the best of HiGHS's methods, on the same games in the same run.

Run by `make bench-ground-truth`. Ratios within one run; absolute times mean little on a shared machine.
Compilation is excluded: every size is solved once before. Prints how many actions, the median times, their
ratio, and the largest gap in units of the largest payoff.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from scipy.optimize import linprog

import comalgames as cg

# Actions, games, and how many of these HiGHS's slower methods are given.
CASES = ((10, 20, 20), (30, 20, 20), (100, 20, 20), (300, 20, 5), (1000, 3, 1))
BATCH, BATCH_ACTIONS, BATCH_BY_PROGRAM = 1000, 10, 200
TARGETS = {"100": 5, "300": 5, "1000": 10, f"{BATCH} x {BATCH_ACTIONS}": 30}

# The programs that HiGHS solves: the value program max v with A' p >= v, or, with positive payoffs, min sum u
# with P' u >= 1; each by the dual simplex and by its interior-point method with crossover.
METHODS = ("highs-ds", "highs-ipm")


def value_program(skew: np.ndarray, method: str) -> np.ndarray:
    """The policy that maximizes its guaranteed payoff."""
    n = len(skew)
    answer = linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=np.hstack([-skew.T, np.ones((n, 1))]), b_ub=np.zeros(n),
        A_eq=np.append(np.ones(n), 0.0)[None], b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)], method=method,
    )  # fmt: skip
    return np.asarray(answer.x[:n])


def scaled_program(skew: np.ndarray, method: str) -> np.ndarray:
    """The same policy from the program without a value, whose payoffs are shifted to be positive."""
    n = len(skew)
    positive = skew + 1.0
    answer = linprog(np.ones(n), A_ub=-positive.T, b_ub=-np.ones(n), bounds=(0, None), method=method)
    return np.asarray(answer.x / answer.x.sum())


CONTESTANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    f"{program.__name__.replace('_', ' ')}, {method}": partial(program, method=method)
    for program in (value_program, scaled_program)
    for method in METHODS
}


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall-clock time of one call, and what it returns."""
    began = time.perf_counter()
    answer = run()
    return time.perf_counter() - began, answer


def relative_gap(skew: np.ndarray, policy: np.ndarray) -> float:
    """The duality gap in units of the largest payoff."""
    return float(2 * np.max(skew @ policy) / np.abs(skew).max())


def by_programs(skews: Sequence[np.ndarray], few: int) -> tuple[str, list[float], float]:
    """HiGHS's best contestant on the first `few` games, its times on all, and its largest gap."""
    trial = {
        name: float(np.median([seconds(partial(program, skew))[0] for skew in skews[:few]]))
        for name, program in CONTESTANTS.items()
    }
    best = min(trial, key=trial.__getitem__)
    runs = [seconds(partial(CONTESTANTS[best], skew)) for skew in skews]
    gap = max(relative_gap(skew, policy) for skew, (_, policy) in zip(skews, runs, strict=True))
    return best, [took for took, _ in runs], gap


def row(name: str, ours: float, gap: float, theirs: float, best: str, their_gap: float) -> str:
    """One line of the table."""
    target = TARGETS.get(name)
    ratio = theirs / ours
    verdict = "" if target is None else f"target {target}: {'met' if ratio >= target else 'MISSED'}"
    return (
        f"{name:>10}{1e3 * ours:>12.3f}{gap:>10.1e}{1e3 * theirs:>12.2f}{their_gap:>10.1e}{ratio:>8.1f}  "
        f"{verdict:<18}{best}"
    )


def main() -> None:
    """Print one row per size, and one for a batch of small games."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out a thousand actions")
    with jax.enable_x64(True):
        measure(parser.parse_args().quick)


def measure(quick: bool) -> None:
    """Solve everything, printing as it goes."""
    print(
        f"{'actions':>10}{'nash, ms':>12}{'gap':>10}{'HiGHS, ms':>12}{'gap':>10}{'ratio':>8}  "
        f"{'':<18}HiGHS's best"
    )
    for n, num_games, few in CASES[:-1] if quick else CASES:
        games = [cg.games.random(jax.random.key(seed), n) for seed in range(num_games)]
        skews = [np.asarray(game.skew) for game in games]
        cg.nash(games[0])
        found = [seconds(partial(cg.nash, game)) for game in games]
        assert all(solution.status == "certified" for _, solution in found)
        best, times, their_gap = by_programs(skews, few)
        gap = max(float(solution.relative_gap) for _, solution in found)
        ours = float(np.median([took for took, _ in found]))
        print(row(str(n), ours, gap, float(np.median(times)), best, their_gap), flush=True)

    batch = cg.games.random(jax.random.key(0), BATCH_ACTIONS, [BATCH])
    cg.nash(batch)
    took, solution = min((seconds(partial(cg.nash, batch)) for _ in range(5)), key=lambda each: each[0])
    chosen = list(np.asarray(batch.skew)[:BATCH_BY_PROGRAM])
    best, times, their_gap = by_programs(chosen, 20)
    gap = float(solution.relative_gap.max())
    name = f"{BATCH} x {BATCH_ACTIONS}"
    print(row(name, took / BATCH, gap, float(np.median(times)), best, their_gap) + " (per game)")


if __name__ == "__main__":
    main()
