"""Speed of the loop: `solve` with its default curves against a hand-written scan and a NumPy loop.

Run by `make bench-speed`. Ratios within one run; absolute times mean little on a shared machine. Each figure
is the median over rounds that interleave the contestants, compilation excluded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import comalgames as cg

# games x actions, and steps long enough for a few tenths of a second.
CASES = ((10, 10, 100_000), (10, 100, 20_000), (1, 1000, 4_000))
ROUNDS = 9
STEP_SIZE, TEMPERATURE = 0.3, 0.1


@partial(jax.jit, static_argnames="num_steps")
def scan_by_hand(skew: jax.Array, logp: jax.Array, num_steps: int) -> tuple[jax.Array, jax.Array]:
    """Online mirror descent that records the gap of the last policy, as one would write it."""
    reference = logp
    pull = STEP_SIZE * TEMPERATURE

    def step(logp: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        policy = jax.nn.softmax(logp)
        advantage = jnp.einsum("...ij,...j->...i", skew, policy, precision=jax.lax.Precision.HIGHEST)
        target = (1 - pull) * logp + pull * reference + STEP_SIZE * advantage
        return jax.nn.log_softmax(target), 2 * jnp.max(advantage, axis=-1)

    return jax.lax.scan(step, logp, None, num_steps)


def numpy_loop(skew: np.ndarray, logp: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The same in plain NumPy, recording the last policy's gap alone."""
    reference, gaps = logp, np.empty((num_steps, len(logp)))
    pull = STEP_SIZE * TEMPERATURE
    for t in range(num_steps):
        policy = np.exp(logp)
        advantage = (skew @ policy[..., None])[..., 0]
        gaps[t] = 2 * advantage.max(-1)
        scores = (1 - pull) * logp + pull * reference + STEP_SIZE * advantage
        scores -= scores.max(-1, keepdims=True)
        logp = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    return logp, gaps


def seconds(run: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(num_games: int, num_actions: int, num_steps: int) -> tuple[float, float, float]:
    """Seconds per step of `solve`, of the scan and of NumPy: medians over interleaved rounds."""
    game = cg.games.random(jax.random.key(0), num_actions, [num_games])
    rule = cg.MirrorDescent(STEP_SIZE, TEMPERATURE)
    skew, logp = game.skew, game.uniform()
    few = max(num_steps // 20, 50)
    ours = [
        (lambda: cg.solve(game, rule, num_steps).policy, num_steps),
        (lambda: jax.tree.map(np.asarray, scan_by_hand(skew, logp, num_steps)), num_steps),
    ]
    # On its own: the threads of its products go on spinning for a while, and would slow whoever comes next.
    loop = [(lambda: numpy_loop(np.asarray(skew), np.asarray(logp), few), few)]
    (solve, scan), (plain,) = rounds(ours), rounds(loop)
    return solve, scan, plain


def rounds(contestants: list[tuple[Callable[[], Any], int]]) -> list[float]:
    """Median seconds per step of each contestant over interleaved rounds, after one to warm up."""
    for run, _ in contestants:
        run()
    times = [[seconds(run) / steps for run, steps in contestants] for _ in range(ROUNDS)]
    return [float(middle) for middle in np.median(times, axis=0)]


def main() -> None:
    """Print one row per case and precision."""
    columns = ("dtype", "games x actions", "solve us/step", "scan us/step", "solve/scan", "NumPy/solve")
    print("".join(f"{column:>17}" for column in columns))
    for x64 in (False, True):
        with jax.enable_x64(x64):
            for num_games, num_actions, num_steps in CASES:
                ours, scan, loop = measure(num_games, num_actions, num_steps)
                cells = (
                    "float64" if x64 else "float32",
                    f"{num_games} x {num_actions}",
                    f"{1e6 * ours:.3g}",
                    f"{1e6 * scan:.3g}",
                    f"{ours / scan:.2f}",
                    f"{loop / ours:.1f}",
                )
                print("".join(f"{cell:>17}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
