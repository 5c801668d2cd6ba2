"""EGPO and online IPO with the best step for each method and game."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import Extragradient, MirrorDescent
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_least, at_most, reads
from comalgames.feedback import Exact
from comalgames.games import PreferenceGame
from comalgames.measures.regularized_gap import RegularizedGap
from comalgames.papers.egpo.setting import DRAWS, TEMPERATURES, setting
from comalgames.papers.setting import OURS


@eqx.filter_jit
def _final_gaps(game: PreferenceGame, rules: Any, logp: Any, metric: Any, num_steps: int) -> Any:
    """Regularized gap after the given number of steps, for every step size and game."""

    def run(rule: Any) -> Any:
        state = rule.init(logp, logp)
        key, feedback = jax.random.key(0), Exact(game)
        state = jax.lax.fori_loop(0, num_steps, lambda _, now: rule.step(key, now, feedback), state)
        return metric(game, state.logp)

    return eqx.filter_vmap(run)(rules)


def best_steps(
    temperatures: tuple[float, ...],
    smallest_step: float,
    largest_step: float,
    num_step_sizes: int,
    num_queries: int,
    **draws: int,
) -> Any:
    """Each game's smallest gap over many step sizes, after the same number of queries.

    Runs with steps that are too large may end at nan; a game is nan if more than half of its runs do.
    """
    import xarray as xr

    step_sizes = np.geomspace(smallest_step, largest_step, num_step_sizes)
    methods = {"online IPO 1": (MirrorDescent, 1), "EGPO": (Extragradient, 2)}
    smallest = np.zeros((len(methods), len(temperatures), draws["num_games"]))
    with jax.enable_x64(True):
        game, reference = setting(**draws)
        logp = jnp.log(jnp.asarray(reference))
        for j, beta in enumerate(temperatures):
            metric = RegularizedGap(jnp.asarray(beta), logp)
            for i, (make, queries) in enumerate(methods.values()):
                many = eqx.filter_vmap(partial(make, temperature=beta))(jnp.asarray(step_sizes))
                gaps = np.asarray(_final_gaps(game, many, logp, metric, num_queries // queries))
                few = np.isnan(gaps).mean(0) > 0.5
                smallest[i, j] = np.where(few, np.nan, np.fmin.reduce(gaps, axis=0))
    return xr.Dataset(
        {"regularized gap": (("algorithm", "temperature", "game"), smallest)},
        {"algorithm": list(methods), "temperature": list(temperatures)},
    )


def median_best_gap(data: Data, temperature: float, method: str) -> float:
    """Median over games of the gap with each game's best step."""
    gaps = data["best steps"]["regularized gap"].sel(algorithm=method, temperature=temperature)
    return float(gaps.median(skipna=False))


@reads("best steps")
def lead_with_best_steps(data: Data, temperature: float, method: str, other: str) -> float:
    """The median best gap of the other method minus that of the method."""
    return median_best_gap(data, temperature, other) - median_best_gap(data, temperature, method)


@reads("best steps")
def larger_best_gap(data: Data, temperature: float, methods: tuple[str, ...]) -> float:
    """The largest median best gap of some methods."""
    return float(np.max([median_best_gap(data, temperature, name) for name in methods]))


EXPERIMENTS = (
    Measurement(
        "best steps",
        "Is EGPO still ahead with the best step for each method and game?",
        best_steps,
        {
            "temperatures": TEMPERATURES,
            "smallest_step": 0.01,
            "largest_step": 8.0,
            "num_step_sizes": 24,
            "num_queries": 10_000,
            **DRAWS,
        },
        is_quick=False,
    ),
)

STATEMENTS = (
    Statement(
        "EGPO has a smaller regularized gap than online IPO at temperature 0.001 in the median of ten random "
        "games of ten answers also with 10,000 queries and the best step for each method and game.",
        Claim(
            id="A19.best",
            quantity="median regularized gap of online IPO minus EGPO's, 10,000 queries",
            source=OURS,
            reading=lead_with_best_steps(0.001, "EGPO", "online IPO 1"),
            bound=at_least(1e-2),
        ),
    ),
    Statement(
        "EGPO and online IPO both reach the regularized equilibrium at temperature 0.1 in the median of ten "
        "random games of ten answers with 10,000 queries and the best step for each method and game.",
        Claim(
            id="A19.nothing",
            quantity="larger of the two median regularized gaps, 10,000 queries",
            source=OURS,
            reading=larger_best_gap(0.1, ("EGPO", "online IPO 1")),
            bound=at_most(1e-12),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
