"""ONPO is optimistic multiplicative weights, and its last iterate converges without regularization.

Zhang et al., "Improving LLM General Preference Alignment via Optimistic Online Mirror Descent", 2025, arXiv
2502.16852.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import MWU, ONPO, OptimisticMWU
from comalgames.experiments import Claim, Experiment, Figure, Measurement, Panel, Paper, at_least, at_most
from comalgames.feedback import Exact
from comalgames.numerics import simplex
from comalgames.papers.comal_setting import START, cycle_game
from comalgames.papers.reading import NEW, largest_late, last

ETAS, NUM_STEPS = (0.5, 1 / 0.3), 2000
RULES: dict[str, Any] = {
    "ONPO, step 2": ONPO(0.5),
    "ONPO, step 0.3": ONPO(1 / 0.3),
    "ONPO, step 2.9": ONPO(1 / 2.9),
    "MWU, step 2": MWU(2.0),
}


def two_sequences() -> Any:
    """The paper's two sequences, written out, beside the package's one, from the same start."""
    import xarray as xr

    with jax.enable_x64(True):
        feedback, key = Exact(games.comal_cycle()), jax.random.key(0)
        start = jnp.log(jnp.asarray(START))
        differences = []
        for eta in ETAS:
            rule = OptimisticMWU(1 / eta)

            def body(carry: Any, _: Any, rule: Any = rule, eta: float = eta) -> Any:
                state, anchor, before = carry
                logp = simplex.log_normalize(anchor + before / eta)
                now = feedback.advantage(key, logp)
                anchor = simplex.log_normalize(anchor + now / eta)
                return (rule.step(key, state, feedback), anchor, now), jnp.abs(logp - state.logp).max()

            carry = rule.init(start, start), start, jnp.zeros(3)
            differences.append(float(jax.lax.scan(body, carry, None, NUM_STEPS)[1].max()))
    return xr.Dataset({"difference": ("step_size", differences)}, {"step_size": 1 / np.array(ETAS)})


PAPER = Paper(
    "onpo",
    "ONPO is optimistic multiplicative weights",
    "Zhang et al. 2025, arXiv 2502.16852",
    (
        Measurement("two sequences", "Are ONPO's two sequences those of optimistic weights?", two_sequences),
        Experiment(
            "dynamics", "Does its last policy converge?", cycle_game, RULES,
            {"num_queries": 4000, "init": START},
        ),
    ),
    (
        Claim(
            "A22.one", "ONPO is optimistic multiplicative weights whose advantage before the first step is "
            "0.",
            NEW, "largest difference of a log-probability over 2,000 steps, two step sizes",
            lambda data: float(data["two sequences"]["difference"].max()), at_most(1e-12),
            ("two sequences",),
        ),
        Claim(
            "A22.last", "Without any regularization its last iterate reaches Nash,",
            "Wei et al. 2021; arXiv 2512.24818", "last duality gap, step 2",
            partial(last, experiment="dynamics", algorithm="ONPO, step 2"), at_most(1e-13), ("dynamics",),
        ),
        Claim(
            "A22.slow", "slowly with a small step,", "Wei et al. 2021", "last duality gap, step 0.3",
            partial(last, experiment="dynamics", algorithm="ONPO, step 0.3"), at_most(1e-3), ("dynamics",),
        ),
        Claim(
            "A22.large", "and not beyond the step 1/(3^1/2 w) = 2.76.", NEW,
            "largest gap in the last quarter, step 2.9",
            partial(largest_late, experiment="dynamics", algorithm="ONPO, step 2.9"), at_least(0.01),
            ("dynamics",),
        ),
    ),
    (
        Figure(
            "onpo",
            "ONPO on the three-answer cycle: one guess that the next advantage is like the last is enough "
            "for the last iterate to converge, up to a step of 2.76.",
            (Panel("gap", "dynamics", "duality gap of the last policy"),),
        ),
    ),
)  # fmt: skip
