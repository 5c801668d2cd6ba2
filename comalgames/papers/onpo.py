"""ONPO is optimistic multiplicative weights: its average converges like 1/T, and its last iterate converges.

Zhang et al., "Improving LLM General Preference Alignment via Optimistic Online Mirror Descent", 2025, arXiv
2502.16852.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import MWU, ONPO, OptimisticMWU
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.feedback import Exact
from comalgames.numerics import simplex
from comalgames.papers.reading import largest, last, late_swing
from comalgames.papers.setting import (
    OURS,
    START,
    STARTS,
    cycle_game,
    on_both,
    random_games,
    with_losing_answer,
)

ETAS, NUM_STEPS = (0.5, 1 / 0.3), 2000
RULES: dict[str, Any] = {
    "ONPO, step 2": ONPO(0.5),
    "ONPO, step 0.3": ONPO(1 / 0.3),
    "ONPO, step 2.9": ONPO(1 / 2.9),
    "MWU, step 2": MWU(2.0),
}

# The step of the average policy that the theory asks for; Hedge with sqrt(8 log n / T), best for the longest
# run.
STEP, HORIZON, EVERY, NUM_ANSWERS = 0.25, 100_000, 1000, 10
AVERAGES = {"ONPO, step 1/4": ONPO(1 / STEP)}
HEDGE = {"Hedge, matching step": MWU(math.sqrt(8 * math.log(NUM_ANSWERS) / HORIZON))}
ON_RANDOM = "averages, random games"


def average_bound(smallest: float) -> float:
    """Bound of gap * T for the average of T policies: 2 (L / s + s / 4).

    The duality gap of the average is 2/T times the regret, since no policy earns anything against itself.
    With step s, advantages u and L = -log(smallest), optimistic mirror descent has a regret of at most

        L / s + s sum_t |u[t] - u[t-1]|_max^2 - sum_t |p[t] - p[t-1]|_1^2 / (8 s)

    (Syrgkanis et al. 2015, proposition 5). Advantages are averages of numbers of at most 1/2, so
    |u[t] - u[t-1]|_max <= |p[t] - p[t-1]|_1 / 2. For s^2 <= 1/2 the last sum outweighs all of the first but
    its first term, s |u[1]|_max^2 <= s / 4.
    """
    return 2 * (-math.log(smallest) / STEP + STEP / 4)


def average_gaps(data: Data, experiment: str, algorithm: str) -> tuple[Any, Any]:
    """Gaps of average policies `[games, records]`, and the numbers of policies averaged."""
    runs = data[experiment].sel(seed=0, algorithm=algorithm)
    return runs["average_duality_gap"].values, EVERY * np.arange(runs.sizes["record"]) + 1


@reads(*on_both("averages"), ON_RANDOM)
def share_of_average_bound(data: Data) -> float:
    """Largest share of its bound that the gap of an average policy reaches, over all games and records."""
    smallest = {name: min(start) for name, start in zip(on_both("averages"), STARTS.values(), strict=True)}
    shares = []
    for name, probability in (smallest | {ON_RANDOM: 1 / NUM_ANSWERS}).items():
        gaps, num_policies = average_gaps(data, name, *AVERAGES)
        shares.append(np.max(gaps * num_policies) / average_bound(probability))
    return float(np.max(shares))


@reads(ON_RANDOM)
def error_of_exponent(data: Data) -> float:
    """Larger distance from -1 of the quartiles of the exponent of T, from a tenth of the run to its end."""
    gaps, num_policies = average_gaps(data, ON_RANDOM, *AVERAGES)
    first = gaps.shape[1] // 10
    exponents = np.log(gaps[:, -1] / gaps[:, first]) / np.log(num_policies[-1] / num_policies[first])
    return float(np.abs(np.quantile(exponents, [0.25, 0.75]) + 1).max())


@reads(ON_RANDOM)
def lead_over_hedge(data: Data) -> float:
    """Lower quartile of Hedge's last gap of the average divided by that of ONPO."""
    ours, hedges = (average_gaps(data, ON_RANDOM, *names)[0][:, -1] for names in (AVERAGES, HEDGE))
    return float(np.quantile(hedges / ours, 0.25))


def two_sequences(etas: tuple[float, ...], num_steps: int, init: tuple[float, ...]) -> Any:
    """The paper's two sequences, written out, beside the package's one, from the same start."""
    import xarray as xr

    with jax.enable_x64(True):
        feedback, key = Exact(games.comal_cycle()), jax.random.key(0)
        start = jnp.log(jnp.asarray(init))
        differences = []
        for eta in etas:
            rule = OptimisticMWU(1 / eta)

            def body(carry: Any, _: Any, rule: Any = rule, eta: float = eta) -> Any:
                state, anchor, before = carry
                logp = simplex.log_normalize(anchor + before / eta)
                now = feedback.advantage(key, logp)
                anchor = simplex.log_normalize(anchor + now / eta)
                return (rule.step(key, state, feedback), anchor, now), jnp.abs(logp - state.logp).max()

            carry = rule.init(start, start), start, jnp.zeros(3)
            differences.append(float(jax.lax.scan(body, carry, None, num_steps)[1].max()))
    return xr.Dataset({"difference": ("step_size", differences)}, {"step_size": 1 / np.array(etas)})


STATEMENTS = (
    Statement(
        "ONPO is optimistic multiplicative weights whose advantage before the first step is 0.",
        Claim(
            id="A22.one",
            quantity="largest difference of a log-probability over 2,000 steps, two step sizes",
            source=OURS,
            reading=largest("two sequences", "difference"),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "ONPO with step 2 reaches the Nash policy of the three-answer cycle in the last iterate, without any "
        "regularization, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A22.last",
            quantity="last duality gap, step 2, the larger of two games",
            source="Wei et al. 2021; arXiv 2512.24818",
            reading=last(on_both("dynamics"), "ONPO, step 2"),
            bound=at_most(1e-13),
        ),
    ),
    Statement(
        "ONPO with the small step 0.3 comes close to Nash but does not reach it in 4,000 queries on the "
        "three-answer cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A22.slow",
            quantity="last duality gap, step 0.3, the larger of two games",
            source="Wei et al. 2021",
            reading=last(on_both("dynamics"), "ONPO, step 0.3"),
            bound=between(1e-5, 1e-3),
        ),
    ),
    Statement(
        "ONPO does not converge on the three-answer cycle with step 2.9, above the largest stable step "
        "1/(sqrt(3) w) = 2.76, where w is the rotation frequency.",
        Claim(
            id="A22.large",
            quantity="largest minus smallest duality gap in the second half of the run, two games",
            source="known (optimistic gradient: Zhang and Yu 2019, arXiv 1908.05699)",
            reading=late_swing(on_both("dynamics"), "ONPO, step 2.9"),
            bound=at_least(0.01),
        ),
    ),
    Statement(
        "The average of T policies of ONPO with step s = 1/4 has a duality gap of at most "
        "2 (L/s + s/4)/T for every T that was recorded up to 100,000, where exp(-L) is the smallest "
        "probability of the first policy, on the three-answer cycle, with and without a fourth answer that "
        "loses 90% of the time, and on 20 random games of ten answers.",
        Claim(
            id="A22.average",
            quantity="largest share of the bound, 22 games",
            source="ONPO, abstract (O(1/T)); the constant from Syrgkanis et al. 2015, proposition 5",
            reading=share_of_average_bound(),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "The duality gap of the average policy of ONPO with step 1/4 falls like 1/T between 10,000 and "
        "100,000 steps on the middle half of 20 random games of ten answers.",
        Claim(
            id="A22.exponent",
            quantity="larger distance of the quartiles of the exponent from -1",
            source="ONPO, abstract (O(1/T))",
            reading=error_of_exponent(),
            bound=at_most(0.1),
        ),
    ),
    Statement(
        "The average policy of Hedge after 100,000 steps, with the step that matches this number, has at "
        "least ten times the duality gap of the average policy of ONPO on three quarters of 20 random games "
        "of ten answers.",
        Claim(
            id="A22.Hedge",
            quantity="lower quartile of Hedge's gap divided by ONPO's",
            source=OURS,
            reading=lead_over_hedge(),
            bound=at_least(10.0),
        ),
    ),
)

FIGURES = (
    Figure(
        "onpo",
        "ONPO on the three-answer cycle: the guess that the next advantage equals the last one is enough for "
        "the last iterate to converge, up to a step of 2.76.",
        (Panel("gap", "dynamics", "duality gap of the last policy"),),
    ),
    Figure(
        "onpo_average",
        "Duality gap of the average policy on 20 random games of ten answers: median and quartiles. The "
        "average of ONPO with step 1/4 falls like 1/T, that of Hedge with the step that matches the last T "
        "more slowly.",
        (
            Panel(
                "gap",
                ON_RANDOM,
                "average policies",
                {"curve": "average_duality_gap", "ylabel": "duality gap of the average"},
            ),
        ),
    ),
)

PAPER = Paper(
    name="onpo",
    title="ONPO is optimistic multiplicative weights",
    source="Zhang et al. 2025, arXiv 2502.16852",
    experiments=(
        Measurement(
            "two sequences",
            "Are the two sequences of ONPO those of optimistic multiplicative weights?",
            two_sequences,
            {"etas": ETAS, "num_steps": NUM_STEPS, "init": START},
        ),
        *with_losing_answer(
            Experiment(
                "dynamics",
                "Does the last policy of ONPO converge?",
                cycle_game,
                RULES,
                {"num_queries": 4000, "init": START},
            )
        ),
        *with_losing_answer(
            Experiment(
                "averages",
                "How fast does the average policy of ONPO converge?",
                cycle_game,
                AVERAGES,
                {"num_steps": HORIZON, "init": START, "record_every": EVERY},
            )
        ),
        Experiment(
            ON_RANDOM,
            "How fast do the average policies of ONPO and of Hedge converge on random games?",
            partial(random_games, num_games=20, num_answers=NUM_ANSWERS, first_seed=0),
            {**AVERAGES, **HEDGE},
            {"num_steps": HORIZON, "record_every": EVERY},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
