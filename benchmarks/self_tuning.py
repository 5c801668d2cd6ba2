"""Queries of COMAL without a period, compared with fixed periods.

Run by `make bench-self-tuning`. After how many queries does the gap stay below a level: COMAL without a
period, with the best single period of all tried, and with the best one for each game, known in hindsight.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import comalgames as cg

LEVELS = (1e-2, 1e-4, 1e-8)
SETTINGS = ((1.0, 0.1), (1.0, 0.03), (0.3, 0.1), (2.0, 0.1))
PERIODS = (4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100)
NUM_QUERIES, NUM_GAMES, START = 20_000, 20, (0.2, 0.5, 0.3)


def stays_below(gaps: np.ndarray) -> np.ndarray:
    """Queries from which on the gap stays below each level, inf if it does not; `[levels, games]`."""
    rows = []
    for level in LEVELS:
        above = ~(gaps < level)
        last = len(gaps) - 1 - above[::-1].argmax(0)
        first = np.where(above.any(0), last + 1.0, 0.0)
        rows.append(np.where(first == len(gaps), np.inf, first))
    return np.stack(rows)


def measured(games: cg.PreferenceGame, rules: dict[str, Any], init: Any) -> dict[str, np.ndarray]:
    """By rule, `stays_below` of every game."""
    found = {}
    for name, rule in rules.items():
        gaps = cg.solve(games, rule, NUM_QUERIES, init=init).history["duality_gap"]
        found[name] = stays_below(gaps.reshape(len(gaps), -1))
    return found


def shown(queries: Any) -> str:
    """A number, or a dash for what was not reached."""
    return f"{queries:,.0f}" if np.isfinite(queries) else "-"


def print_table(found: dict[str, np.ndarray]) -> None:
    """Medians over the games; the best single period is the one with the lowest median at each level."""
    fixed = {name: rows for name, rows in found.items() if name != "tuned"}
    medians = {name: np.quantile(rows, 0.5, axis=1, method="higher") for name, rows in found.items()}
    best = [min(fixed, key=lambda name, k=k: medians[name][k]) for k in range(len(LEVELS))]  # type: ignore[misc]
    hindsight = np.min(np.stack(list(fixed.values())), axis=0)
    rows = {
        "no period": [shown(value) for value in medians["tuned"]],
        "best single period": [
            f"{shown(medians[name][k])} ({name})" if np.isfinite(medians[name][k]) else "-"
            for k, name in enumerate(best)
        ],
        "best period of each game": [
            shown(value) for value in np.quantile(hindsight, 0.5, axis=1, method="higher")
        ],
        "a period of 20": [shown(value) for value in medians["20"]],
    }
    for name, cells in rows.items():
        print(f"    {name:<26}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    """Print a table for each setting, on COMAL's cycle and on random games."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    warnings.simplefilter("ignore")  # short periods are tried on purpose
    with jax.enable_x64(True):
        random = cg.games.random(jax.random.key(0), 10, [NUM_GAMES])
        cycle = cg.PreferenceGame.from_skew(jnp.asarray(cg.games.comal_cycle().skew)[None])
        print(f"queries until the gap stays below {', '.join(f'{level:g}' for level in LEVELS)}; medians")
        for step_size, temperature in SETTINGS:
            inner = cg.MirrorDescent(step_size, temperature)
            rules = {"tuned": cg.COMAL(inner)} | {str(k): cg.COMAL(inner, k) for k in PERIODS}
            print(f"\nmirror descent, step {step_size:g}, temperature {temperature:g}")
            for name, games, init in (
                ("COMAL's cycle", cycle, START),
                ("20 random games, n = 10", random, None),
            ):
                print(f"  {name}")
                print_table(measured(games, rules, init))


if __name__ == "__main__":
    main()
