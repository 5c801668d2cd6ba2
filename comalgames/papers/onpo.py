"""ONPO is optimistic multiplicative weights, and its last iterate converges without regularization.

Zhang et al., "Improving LLM General Preference Alignment via Optimistic Online Mirror Descent", 2025, arXiv
2502.16852.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import MWU, ONPO, OptimisticMWU
from comalgames.experiments import (
    Claim,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    between,
)
from comalgames.feedback import Exact
from comalgames.numerics import simplex
from comalgames.papers.reading import largest, last, late_swing
from comalgames.papers.setting import NEW, START, cycle_game, on_both, with_losing_answer

ETAS, NUM_STEPS = (0.5, 1 / 0.3), 2000
RULES: dict[str, Any] = {
    "ONPO, step 2": ONPO(0.5),
    "ONPO, step 0.3": ONPO(1 / 0.3),
    "ONPO, step 2.9": ONPO(1 / 2.9),
    "MWU, step 2": MWU(2.0),
}


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
            source=NEW,
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
            source=NEW,
            reading=late_swing(on_both("dynamics"), "ONPO, step 2.9"),
            bound=at_least(0.01),
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
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
