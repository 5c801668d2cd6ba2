"""Measurements on an accelerator: precision, memory bandwidth, batches of games, exact Nash, a large sweep.

Run from the repository's root. Needed are JAX for the accelerator, equinox, optax, xarray, SciPy, matplotlib,
tqdm, jaxtyping and lazy_loader:

    PYTHONPATH=. python benchmarks/gpu.py            about four minutes on one GPU
    PYTHONPATH=. python benchmarks/gpu.py --small    under a minute on a CPU, to try it

Each row is printed and saved when it is measured. A run that is cut off keeps the rows up to there.
The file is benchmarks/results/<name of the card>.json.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import comalgames as cg

# Some of JAX's functions are not annotated: hence the marks for mypy.
RESULTS = Path(__file__).parent / "results"
START = [0.2, 0.5, 0.3]


class Rows:
    """The measured rows, printed and saved one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def add(self, check: str, **values: Any) -> None:
        """Print one row, and save all rows so far."""
        self.rows.append({"check": check, **values})
        told = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
        print(f"{check}: {'  '.join(told)}", flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n")

    def guarded(self, check: str, measure: Callable[[], None]) -> None:
        """Run one measurement; an error becomes a row, and the next measurement runs."""
        try:
            measure()
        except Exception as error:  # whatever an accelerator raises, out of memory included
            self.add(check, error=f"{type(error).__name__}: {str(error)[:200]}")


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Median time of a call, after one call that compiles."""
    jax.block_until_ready(function())  # type: ignore[no-untyped-call]
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def on_cpu(array: Any) -> Any:
    """The array on the host."""
    return jax.device_put(array, jax.devices("cpu")[0])


def precision(rows: Rows) -> None:
    """COMAL's gap in float64, and policies against those of the CPU."""
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1), period=20)
    here = cg.solve(cg.games.comal_cycle(), rule, 2000, init=START)
    rows.add("COMAL, float64", gap=float(here.duality_gap))
    skew, inner = np.asarray(cg.games.random(jax.random.key(0), 300).skew), cg.MirrorDescent(1.0, 0.1)
    double = cg.solve(cg.PreferenceGame.from_skew(skew), inner, 500).policy
    with jax.default_device(jax.devices("cpu")[0]):
        host = cg.solve(cg.PreferenceGame.from_skew(on_cpu(skew)), inner, 500).policy
    rows.add("same policy as the CPU, float64", difference=float(np.abs(double - host).max()))
    single = cg.solve(cg.PreferenceGame.from_skew(skew.astype(np.float32)), inner, 500).policy
    rows.add("float32 against float64 (TF32 gives 1e-3)", difference=float(np.abs(single - host).max()))


def copy_bandwidth(dtype: Any, num_rows: int) -> float:
    """Bytes per second of a copy of a square array, the memory's own speed."""
    x = jnp.ones((num_rows, num_rows), dtype)
    copy = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / seconds(lambda: copy(x))


def loops(rows: Rows, small: bool) -> None:
    """Time of a step with its three curves, and its share of the copy bandwidth."""
    peaks = {dtype: copy_bandwidth(dtype, 2000 if small else 20_000) for dtype in (jnp.float32, jnp.float64)}
    for dtype, peak in peaks.items():
        rows.add("copy bandwidth", dtype=jnp.dtype(dtype).name, GB_per_s=peak / 1e9)
    sizes = [(1, 1000, 2000), (1, 3000, 500), (10, 100, 2000), (1000, 10, 2000)]
    if not small:
        sizes = [(1, 10_000, 2000), (1, 30_000, 300), (100, 1000, 2000), (10, 10, 20_000), (10, 100, 20_000)]
        sizes += [(1, 1000, 20_000), (100_000, 10, 2000)]
    for num_games, n, num_steps in sizes:
        for dtype, peak in peaks.items():
            if n == 30_000 and dtype is jnp.float64:
                continue  # 7.2 GB of payoffs, and as much again while they are drawn
            prompts = [num_games] if num_games > 1 else ()

            def measure(n: int = n, num_steps: int = num_steps, dtype: Any = dtype, peak: float = peak,
                        num_games: int = num_games, prompts: Any = prompts) -> None:  # fmt: skip
                game = cg.PreferenceGame.from_skew(
                    cg.games.random(jax.random.key(1), n, prompts).skew.astype(dtype)
                )
                rule = cg.MirrorDescent(0.3, 0.1)
                step = seconds(lambda: cg.solve(game, rule, num_steps, progress=False).policy, 3) / num_steps
                rows.add(
                    "a step with three curves", games=num_games, actions=n, dtype=dtype.__name__,
                    us=1e6 * step, share_of_copy_bandwidth=game.skew.nbytes / step / peak,
                )  # fmt: skip

            rows.guarded(f"steps of {num_games} games of {n} actions", measure)


def exact_nash(rows: Rows, small: bool) -> None:
    """Time of exact Nash policies, here and on the host."""

    def milliseconds(game: cg.PreferenceGame) -> float:
        return 1e3 * seconds(lambda: cg.nash(game).policy, 1)

    for n in (10, 100, 300) if small else (10, 100, 300, 1000, 2000):
        game = cg.games.random(jax.random.key(2), n)
        gap = float(np.max(cg.nash(game).gap))
        with jax.default_device(jax.devices("cpu")[0]):
            there = milliseconds(cg.PreferenceGame.from_skew(on_cpu(game.skew)))
        rows.add("exact Nash", actions=n, ms=milliseconds(game), ms_on_host=there, gap=gap)
    many = cg.games.random(jax.random.key(3), 10, [1000])
    rows.add("exact Nash, 1000 games of 10 actions", us_per_game=milliseconds(many))


def large_sweep(rows: Rows, small: bool) -> None:
    """A sweep of many step sizes, games and seeds, first with and then without compilation."""
    games = {f"game {k}": cg.games.random(jax.random.key(k), 10) for k in range(20)}
    rules = cg.grid(
        cg.MirrorDescent, step_size=list(np.geomspace(0.05, 2, 10 if small else 50)), temperature=0.1
    )
    num_seeds, times = 2 if small else 10, []
    for _ in range(2):
        began = time.perf_counter()
        cg.sweep(games, rules, 1000, num_seeds=num_seeds, record_every=100, progress=False)
        times.append(time.perf_counter() - began)
    rows.add("sweep of 1000 steps", runs=20 * len(rules) * num_seeds, first_s=times[0], again_s=times[1])


def main() -> None:
    """Measure everything and save it under the card's name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--json", type=Path, help="where to save the rows")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    device = jax.devices()[0]
    slug = re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")
    rows = Rows(arguments.json or RESULTS / f"{slug}{'-small' if arguments.small else ''}.json")
    rows.add("device", platform=device.platform, kind=device.device_kind, jax=jax.__version__)
    rows.guarded("precision", lambda: precision(rows))
    rows.guarded("steps", lambda: loops(rows, arguments.small))
    rows.guarded("exact Nash", lambda: exact_nash(rows, arguments.small))
    rows.guarded("sweep", lambda: large_sweep(rows, arguments.small))
    print(f"{len(rows.rows)} rows in {rows.path}")


if __name__ == "__main__":
    main()
