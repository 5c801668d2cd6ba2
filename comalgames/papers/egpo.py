"""EGPO against online IPO, Nash-MD and their policy gradients, in its authors' own simulation.

Zhou et al., "Extragradient Preference Optimization (EGPO)", 2025, arXiv 2503.08942. Ten random games of ten
answers; references with standard normal scores; policies begin at them. Temperatures,
steps of SGD and numbers of
iterations are those of its public code; the games are our own draws.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import (
    EGPO,
    AbstractAlgorithm,
    Extragradient,
    MirrorDescent,
    NashMD,
    NashMDPG,
    OnlineIPO,
    OnlineIPOGradient,
)
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Figure, Measurement, Panel, Paper, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import kl_to
from comalgames.measures.regularized_gap import RegularizedGap
from comalgames.numerics import simplex
from comalgames.papers.reading import NEW

NUM_GAMES, NUM_ACTIONS, MIXTURE_SHARE = 10, 10, 0.125

# Temperature: iterations, and the learning rate of SGD on the loss with uniform pairs. (The published
# number of iterations at 0.001 is 1e5.)
SETTINGS = {0.1: (1000, 0.1), 0.01: (5000, 0.02), 0.001: (30_000, 2e-4)}
NUM_RECORDS = 100

# Each game's best of these steps, as many queries for both.
STEP_SIZES, NUM_QUERIES = np.geomspace(0.01, 8.0, 24), 10_000


def step_of(learning_rate: float, temperature: float) -> float:
    """The mirror step that an SGD step on uniform pairs is: 4 lr / (n beta)."""
    return 4 * learning_rate / (NUM_ACTIONS * temperature)


def rules(temperature: float) -> dict[str, AbstractAlgorithm[Any]]:
    """The five methods with the steps of the public code (whose Nash-MD mixes half as much as this)."""
    _, learning_rate = SETTINGS[temperature]
    step = step_of(learning_rate, temperature)
    return {
        "online IPO 1": OnlineIPO(step, temperature),
        # The gradient of its loss, on pairs of the policy, is 4 / beta times that of the payoff.
        "online IPO 2": OnlineIPOGradient(4 * learning_rate / temperature, temperature),
        "Nash-MD": NashMD(step, temperature),
        "Nash-MD-PG": NashMDPG(learning_rate, temperature, MIXTURE_SHARE),
        "EGPO": EGPO(step, temperature),
    }


def setting() -> tuple[PreferenceGame, np.ndarray]:
    """The ten games, one for each prompt, and their references `[10, 10]`."""
    game_key, reference_key = jax.random.split(jax.random.key(0))
    game = games.random(game_key, NUM_ACTIONS, (NUM_GAMES,))
    scores = jax.random.normal(reference_key, (NUM_GAMES, NUM_ACTIONS))
    return game, np.exp(np.asarray(simplex.log_normalize(scores)))


def published(temperature: float) -> Any:
    """The regularized duality gap along the five methods with the published steps."""
    import xarray as xr

    num_steps, _ = SETTINGS[temperature]
    with jax.enable_x64(True):
        game, reference = setting()
        metric = {"gap": RegularizedGap(jnp.asarray(temperature), jnp.log(jnp.asarray(reference)))}
        every = num_steps // NUM_RECORDS
        rows = [
            solve(game, rule, num_steps, init=reference, metrics=metric, record_every=every).history["gap"]
            for rule in rules(temperature).values()
        ]
    return xr.Dataset(
        {"regularized gap": (("algorithm", "iteration", "game"), np.stack(rows))},
        {"algorithm": list(rules(temperature)), "iteration": np.arange(0, num_steps + 1, every)},
    )


def contraction() -> Any:
    """Largest KL+ / ((1 - eta beta) KL) along EGPO's runs, until KL is rounding, by temperature."""
    import xarray as xr

    worst = []
    with jax.enable_x64(True):
        game, reference = setting()
        for beta in SETTINGS:
            step = min(1 / (1 + beta), step_of(SETTINGS[beta][1], beta))
            target = {"kl": kl_to(jnp.log(jnp.asarray(qre(game, beta, reference))))}
            kl = solve(game, EGPO(step, beta), 2000, init=reference, metrics=target).history["kl"]
            known = kl[:-1] > 1e-20
            ratio = np.where(known, kl[1:], 0.0) / np.where(known, kl[:-1], 1.0)
            worst.append(ratio.max() / (1 - step * beta))
    return xr.Dataset({"share of the bound": ("temperature", worst)}, {"temperature": list(SETTINGS)})


@eqx.filter_jit
def _final_gaps(game: PreferenceGame, rules: Any, logp: Any, metric: Any, num_steps: int) -> Any:
    """Regularized gap after so many steps, for every step size and game."""

    def run(rule: Any) -> Any:
        state = rule.init(logp, logp)
        key, feedback = jax.random.key(0), Exact(game)
        state = jax.lax.fori_loop(0, num_steps, lambda _, now: rule.step(key, now, feedback), state)
        return metric(game, state.logp)

    return eqx.filter_vmap(run)(rules)


def best_steps() -> Any:
    """Each game's smallest gap over many step sizes after equally many queries."""
    import xarray as xr

    methods = {"online IPO 1": (MirrorDescent, 1), "EGPO": (Extragradient, 2)}
    found = np.zeros((len(methods), len(SETTINGS), NUM_GAMES))
    with jax.enable_x64(True):
        game, reference = setting()
        logp = jnp.log(jnp.asarray(reference))
        for j, beta in enumerate(SETTINGS):
            metric = RegularizedGap(jnp.asarray(beta), logp)
            for i, (make, queries) in enumerate(methods.values()):
                many = eqx.filter_vmap(partial(make, temperature=beta))(jnp.asarray(STEP_SIZES))
                gaps = np.asarray(_final_gaps(game, many, logp, metric, NUM_QUERIES // queries))
                found[i, j] = np.nanmin(gaps, axis=0)
    return xr.Dataset(
        {"regularized gap": (("algorithm", "temperature", "game"), found)},
        {"algorithm": list(methods), "temperature": list(SETTINGS)},
    )


def name_of(temperature: float) -> str:
    """The experiment with the published step at a temperature."""
    return f"temperature {temperature:g}"


def last_gap(data: Data, temperature: float, method: str) -> float:
    """Median over the games of the last regularized gap."""
    return float(
        data[name_of(temperature)]["regularized gap"].sel(algorithm=method).isel(iteration=-1).median()
    )


def smallest_of_others(data: Data, temperature: float) -> float:
    """The smallest median last gap of the other methods."""
    return min(last_gap(data, temperature, name) for name in rules(temperature) if name != "EGPO")


def best_gap(data: Data, temperature: float, method: str) -> float:
    """Median over games of the gap with each game's best step."""
    return float(
        data["best steps"]["regularized gap"].sel(algorithm=method, temperature=temperature).median()
    )


PAPER = Paper(
    "egpo",
    "EGPO against online IPO, Nash-MD and policy gradients",
    "Zhou et al. 2025, arXiv 2503.08942",
    (
        *(
            Measurement(
                name_of(beta), f"Who reaches the equilibrium at temperature {beta:g}, with the published "
                "steps?",
                partial(published, beta), is_quick=beta == 0.1,
            )
            for beta in SETTINGS
        ),
        Measurement("contraction", "Does every step contract as the theorem says?", contraction,
        is_quick=False),
        Measurement(
            "best steps", "And with the best step for each method and game?", best_steps, is_quick=False
        ),
    ),
    (
        Claim(
            "A19.contraction", "EGPO contracts KL to the regularized equilibrium by 1 - eta beta a step, for "
            "steps up to 1/(1 + beta).", "EGPO, theorem 1; Cen, Wei and Chi 2021",
            "largest share of the bound",
            lambda data: float(data["contraction"]["share of the bound"].max()), at_most(1 + 1e-9),
            ("contraction",),
        ),
        Claim(
            "A19.warm", "With the published steps EGPO and online IPO both arrive at temperature 0.1;",
            "EGPO, simulations", "larger of the two median last gaps",
            lambda data: max(last_gap(data, 0.1, name) for name in ("EGPO", "online IPO 1")), at_most(1e-12),
            (name_of(0.1),),
        ),
        Claim(
            "A19.cool", "at 0.01 only EGPO does,", "EGPO, simulations",
            "EGPO's median last gap over the smallest of the others",
            lambda data: last_gap(data, 0.01, "EGPO") / smallest_of_others(data, 0.01), at_most(1e-3),
            (name_of(0.01),),
        ),
        Claim(
            "A19.cold", "and at 0.001 it is ahead.", "EGPO, simulations",
            "EGPO's median last gap over the smallest of the others",
            lambda data: last_gap(data, 0.001, "EGPO") / smallest_of_others(data, 0.001), at_most(0.2),
            (name_of(0.001),),
        ),
        Claim(
            "A19.best", "Not only because the published step is too large for online IPO: with each game's "
            "best step and equal queries it is ahead at 0.001.", NEW,
            "median gap of online IPO minus EGPO's, 10,000 queries",
            lambda data: best_gap(data, 0.001, "online IPO 1") - best_gap(data, 0.001, "EGPO"),
            at_least(1e-2),
            ("best steps",),
        ),
        Claim(
            "A19.nothing", "At 0.1 there is then nothing to choose.", NEW,
            "larger of the two median gaps, 10,000 queries",
            lambda data: max(best_gap(data, 0.1, name) for name in ("EGPO", "online IPO 1")), at_most(1e-12),
            ("best steps",),
        ),
    ),
    tuple(
        Figure(
            f"egpo_{label}",
            f"Regularized duality gap at temperature {beta:g} with the published steps, median and quartiles "
            "over ten random games of ten answers. (Nash-MD covers online IPO 1 where they agree.)",
            (
                Panel(
                    "lines", name_of(beta), f"temperature {beta:g}",
                    {
                        "x": "iteration", "y": "regularized gap", "series": "algorithm", "band": "game",
                        "ylabel": "regularized duality gap",
                    },
                ),
            ),
        )
        for label, beta in (("warm", 0.1), ("cool", 0.01), ("cold", 0.001))
    ),
)  # fmt: skip
