"""EGPO against online IPO, Nash-MD and their policy gradients, in its authors' own simulation.

Zhou et al., "Extragradient Preference Optimization (EGPO)", 2025, arXiv 2503.08942. Ten random games of ten
answers; references with standard normal scores; policies begin at them. Temperatures, steps of SGD and
numbers of iterations are those of its public simulation, except for fewer iterations at temperature 0.001;
the games are our own draws. The mixture share of Nash-MD-PG is that of its language-model script, and Nash-MD
mixes twice as much as in its simulation: see docs/deviations.md.
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
from comalgames.feedback import Exact
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import kl_to
from comalgames.measures.regularized_gap import RegularizedGap
from comalgames.numerics import simplex
from comalgames.papers.reading import largest
from comalgames.papers.setting import NEW

DRAWS = {"num_games": 10, "num_answers": 10, "seed": 0}
METHODS = ("online IPO 1", "online IPO 2", "Nash-MD", "Nash-MD-PG", "EGPO")
OTHERS = METHODS[:-1]

# Temperature: iterations, and the learning rate of SGD on the loss with uniform pairs. (The published number
# of iterations at 0.001 is 1e5.)
NUM_STEPS = {0.1: 1000, 0.01: 5000, 0.001: 30_000}
LEARNING_RATES = {0.1: 0.1, 0.01: 0.02, 0.001: 2e-4}
TEMPERATURES = tuple(NUM_STEPS)


def step_of(learning_rate: float, temperature: float, num_answers: int) -> float:
    """Step size of the mirror step that equals an SGD step on uniform pairs: 4 lr / (n beta)."""
    return 4 * learning_rate / (num_answers * temperature)


def rules(
    temperature: float, learning_rate: float, num_answers: int, mixture_share: float
) -> dict[str, AbstractAlgorithm[Any]]:
    """The five methods with the steps of the public simulation, in which Nash-MD mixes half as much."""
    step = step_of(learning_rate, temperature, num_answers)
    # The gradient of online IPO's loss, on pairs of the policy, is 4 / beta times that of the payoff.
    made = (
        OnlineIPO(step, temperature),
        OnlineIPOGradient(4 * learning_rate / temperature, temperature),
        NashMD(step, temperature),
        NashMDPG(learning_rate, temperature, mixture_share),
        EGPO(step, temperature),
    )
    return dict(zip(METHODS, made, strict=True))


def setting(num_games: int, num_answers: int, seed: int) -> tuple[PreferenceGame, np.ndarray]:
    """The games, one for each prompt, and their references `[games, answers]`."""
    game_key, reference_key = jax.random.split(jax.random.key(seed))
    game = games.random(game_key, num_answers, (num_games,))
    scores = jax.random.normal(reference_key, (num_games, num_answers))
    return game, np.exp(np.asarray(simplex.log_normalize(scores)))


def published(
    temperature: float,
    learning_rate: float,
    mixture_share: float,
    num_steps: int,
    num_records: int,
    **draws: int,
) -> Any:
    """The regularized duality gap along runs of the five methods with the published steps."""
    import xarray as xr

    with jax.enable_x64(True):
        game, reference = setting(**draws)
        metric = {"gap": RegularizedGap(jnp.asarray(temperature), jnp.log(jnp.asarray(reference)))}
        every = num_steps // num_records
        rows = [
            solve(game, rule, num_steps, init=reference, metrics=metric, record_every=every).history["gap"]
            for rule in rules(temperature, learning_rate, draws["num_answers"], mixture_share).values()
        ]
    return xr.Dataset(
        {"regularized gap": (("algorithm", "iteration", "game"), np.stack(rows))},
        {"algorithm": list(METHODS), "iteration": np.arange(0, num_steps + 1, every)},
    )


def contraction(learning_rates: dict[float, float], num_steps: int, smallest_kl: float, **draws: int) -> Any:
    """Largest KL+ / ((1 - eta beta) KL) along EGPO's runs by temperature, while KL exceeds rounding error."""
    import xarray as xr

    worst = []
    with jax.enable_x64(True):
        game, reference = setting(**draws)
        for beta, learning_rate in learning_rates.items():
            step = min(1 / (1 + beta), step_of(learning_rate, beta, draws["num_answers"]))
            target = {"kl": kl_to(jnp.asarray(qre(game, beta, reference).logp))}
            kl = solve(game, EGPO(step, beta), num_steps, init=reference, metrics=target).history["kl"]
            known = kl[:-1] > smallest_kl
            ratio = np.where(known, kl[1:], 0.0) / np.where(known, kl[:-1], 1.0)
            worst.append(np.max(ratio) / (1 - step * beta))
    return xr.Dataset({"share of the bound": ("temperature", worst)}, {"temperature": list(learning_rates)})


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
    """Each game's smallest gap over many step sizes, after the same number of queries."""
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
                smallest[i, j] = np.nanmin(gaps, axis=0)
    return xr.Dataset(
        {"regularized gap": (("algorithm", "temperature", "game"), smallest)},
        {"algorithm": list(methods), "temperature": list(temperatures)},
    )


def name_of(temperature: float) -> str:
    """Name of the experiment with the published step at a temperature."""
    return f"temperature {temperature:g}"


def median_last_gap(data: Data, experiment: str, method: str) -> float:
    """Median over the games of the last regularized gap."""
    return float(data[experiment]["regularized gap"].sel(algorithm=method).isel(iteration=-1).median())


def median_best_gap(data: Data, temperature: float, method: str) -> float:
    """Median over games of the gap with each game's best step."""
    return float(
        data["best steps"]["regularized gap"].sel(algorithm=method, temperature=temperature).median()
    )


@reads()
def larger_last_gap(data: Data, experiment: str, methods: tuple[str, ...]) -> float:
    """The largest median last gap of some methods."""
    return max(median_last_gap(data, experiment, name) for name in methods)


@reads()
def ratio_to_others(data: Data, experiment: str, method: str, others: tuple[str, ...]) -> float:
    """A method's median last gap, divided by the smallest one of the others."""
    return median_last_gap(data, experiment, method) / min(
        median_last_gap(data, experiment, name) for name in others
    )


@reads("best steps")
def lead_with_best_steps(data: Data, temperature: float, method: str, other: str) -> float:
    """The median best gap of the other method minus that of the method."""
    return median_best_gap(data, temperature, other) - median_best_gap(data, temperature, method)


@reads("best steps")
def larger_best_gap(data: Data, temperature: float, methods: tuple[str, ...]) -> float:
    """The largest median best gap of some methods."""
    return max(median_best_gap(data, temperature, name) for name in methods)


STATEMENTS = (
    Statement(
        "Every step of EGPO with a step size eta of at most 1/(1 + beta) multiplies KL to the equilibrium "
        "regularized at temperature beta by at most 1 - eta beta.",
        Claim(
            id="A19.contraction",
            quantity="largest share of the bound, steps of the public code at three temperatures",
            source="EGPO, theorem 1; Cen, Wei and Chi 2021",
            reading=largest("contraction", "share of the bound"),
            bound=at_most(1 + 1e-9),
        ),
    ),
    Statement(
        "EGPO and online IPO with the published steps both reach the regularized equilibrium at "
        "temperature 0.1 on random games of ten answers.",
        Claim(
            id="A19.warm",
            quantity="larger of the two median last regularized gaps",
            source="EGPO, simulations",
            reading=larger_last_gap(name_of(0.1), ("EGPO", "online IPO 1")),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "EGPO is the only one of five methods with the published steps that comes near the regularized "
        "equilibrium at temperature 0.01 on random games of ten answers.",
        Claim(
            id="A19.cool",
            quantity="EGPO's median last regularized gap divided by the smallest of the others",
            source="EGPO, simulations",
            reading=ratio_to_others(name_of(0.01), "EGPO", OTHERS),
            bound=at_most(1e-3),
        ),
    ),
    Statement(
        "EGPO has a smaller regularized gap than four other methods with the published steps at temperature "
        "0.001 on random games "
        "of ten answers.",
        Claim(
            id="A19.cold",
            quantity="EGPO's median last regularized gap divided by the smallest of the others",
            source="EGPO, simulations",
            reading=ratio_to_others(name_of(0.001), "EGPO", OTHERS),
            bound=at_most(0.2),
        ),
    ),
    Statement(
        "EGPO has a smaller regularized gap than online IPO at temperature 0.001 also with the best step for "
        "each method and game "
        "and equally many queries.",
        Claim(
            id="A19.best",
            quantity="median regularized gap of online IPO minus EGPO's, 10,000 queries",
            source=NEW,
            reading=lead_with_best_steps(0.001, "EGPO", "online IPO 1"),
            bound=at_least(1e-2),
        ),
    ),
    Statement(
        "EGPO and online IPO both reach the regularized equilibrium at temperature 0.1 with the best step "
        "for each method and game and equally many queries.",
        Claim(
            id="A19.nothing",
            quantity="larger of the two median regularized gaps, 10,000 queries",
            source=NEW,
            reading=larger_best_gap(0.1, ("EGPO", "online IPO 1")),
            bound=at_most(1e-12),
        ),
    ),
)

FIGURES = tuple(
    Figure(
        f"egpo_{label}",
        f"Regularized duality gap at temperature {beta:g} with the published steps, median and quartiles "
        "over ten random games of ten answers. (Where the curves of Nash-MD and online IPO 1 coincide, only "
        "that of Nash-MD is visible.)",
        (
            Panel(
                "lines",
                name_of(beta),
                f"temperature {beta:g}",
                {
                    "x": "iteration",
                    "y": "regularized gap",
                    "series": "algorithm",
                    "band": "game",
                    "ylabel": "regularized duality gap",
                },
            ),
        ),
    )
    for label, beta in (("warm", 0.1), ("cool", 0.01), ("cold", 0.001))
)

PAPER = Paper(
    name="egpo",
    title="EGPO against online IPO, Nash-MD and policy gradients",
    source="Zhou et al. 2025, arXiv 2503.08942",
    experiments=(
        *(
            Measurement(
                name_of(beta),
                f"Which methods reach the equilibrium at temperature {beta:g} with the published steps?",
                published,
                {
                    "temperature": beta,
                    "learning_rate": LEARNING_RATES[beta],
                    "mixture_share": 0.125,
                    "num_steps": num_steps,
                    "num_records": 100,
                    **DRAWS,
                },
                is_quick=beta == 0.1,
            )
            for beta, num_steps in NUM_STEPS.items()
        ),
        Measurement(
            "contraction",
            "Does every step contract as the theorem says?",
            contraction,
            {"learning_rates": LEARNING_RATES, "num_steps": 2000, "smallest_kl": 1e-20, **DRAWS},
            is_quick=False,
        ),
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
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
