"""SPPO: what its published loss is least at, and where self-play by it goes.

Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024, arXiv 2405.00675.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import SPPO
from comalgames.experiments import (
    Claim,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    at_least,
    at_most,
    between,
)
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.papers.comal_setting import START, cycle_game
from comalgames.papers.reading import NEW, curve, largest_late

STEP_SIZES = np.geomspace(1e-3, 30.0, 28)
SMALL = 0.1  # below it the difference is its leading term


def minimizers() -> Any:
    """One step from COMAL's start by the exact minimizer and by exponential weights, and the loss at both."""
    import xarray as xr

    with jax.enable_x64(True):
        game = games.comal_cycle()
        logp, key = jnp.log(jnp.asarray(START)), jax.random.key(0)
        p, advantage = np.array(START), np.asarray(game.advantage(logp))

        @jax.jit
        def steps(step_sizes: Any) -> Any:
            def both(step_size: Any) -> Any:
                rules = SPPO(step_size, exact=True), SPPO(step_size)
                return [rule.step(key, rule.init(logp, logp), Exact(game)).logp for rule in rules]

            return jax.vmap(both)(step_sizes)

        exact, weights = (np.asarray(each) for each in steps(jnp.asarray(STEP_SIZES)))
    aim = np.log(p) + STEP_SIZES[:, None] * advantage
    difference = np.abs(exact - weights).max(-1)
    least, other = (((each - aim) ** 2) @ p for each in (exact, weights))
    return xr.Dataset(
        {
            "difference": ("step_size", difference),
            "loss at its minimum": ("step_size", least),
            "loss at the step": ("step_size", other),
        },
        {"step_size": STEP_SIZES},
    )


def order(data: Data) -> float:
    """The exponent with which the difference grows, over small steps."""
    found = data["minimizers"]
    small = found["step_size"].values < SMALL
    x, y = np.log(found["step_size"].values[small]), np.log(found["difference"].values[small])
    return float(np.polyfit(x, y, 1)[0])


def lower_everywhere(data: Data) -> float:
    """The largest ratio of the loss at the claimed minimum to that at the step, over steps from 0.1 on."""
    found = data["minimizers"].sel(step_size=slice(SMALL, None))
    return float((found["loss at its minimum"] / found["loss at the step"]).max())


RULES = {"intended step": SPPO(1.0), "minimizer of the loss": SPPO(1.0, exact=True)}

PAPER = Paper(
    "sppo",
    "SPPO: the minimum of its loss is not the step it intends",
    "Wu et al. 2024, arXiv 2405.00675",
    (
        Measurement("minimizers", "How far is the loss's minimum from the intended step?", minimizers),
        Experiment(
            "dynamics", "Where does self-play by either go?", cycle_game, RULES,
            {"num_queries": 4000, "init": START},
        ),
    ),
    (
        Claim(
            "A17.order", "The minimizer of SPPO's published loss is not the multiplicative-weights step: "
            "they differ at third order in the step size,", NEW,
            "exponent of the difference, steps below 0.1",
            order, between(2.95, 3.05), ("minimizers",),
        ),
        Claim(
            "A17.loss", "for at the step the loss is not least.", NEW,
            "largest ratio of the loss at its minimum to the loss at the step", lower_everywhere,
            at_most(1 - 1e-7), ("minimizers",),
        ),
        *(
            Claim(
                f"A17.{label}.last", f"Self-play by the {name} does not converge: its last policy goes to "
                "the boundary,", "SPPO claims the average only", "largest gap in the last quarter",
                partial(largest_late, experiment="dynamics", algorithm=name), at_least(0.7), ("dynamics",),
            )
            for label, name in (("step", "intended step"), ("loss", "minimizer of the loss"))
        ),
        Claim(
            "A17.average", "while the average of the intended steps approaches Nash.", "SPPO, theorem 4.1",
            "last gap of the average", lambda data: float(
                curve(data, "dynamics", "intended step", "average_duality_gap")[-1]
            ), at_most(0.02), ("dynamics",),
        ),
    ),
    (
        Figure(
            "sppo",
            "Left: one step from (.2, .5, .3) on the three-answer cycle; the exact minimizer of SPPO's loss "
            "and exponential weights differ like the third power of the step size. Right: self-play by "
            "either spirals away from Nash.",
            (
                Panel(
                    "lines", "minimizers", "two steps called SPPO",
                    {
                        "x": "step_size", "y": "difference", "logx": True, "xlabel": "step size",
                        "ylabel": "largest difference, nats",
                    },
                ),
                Panel("gap", "dynamics", "duality gap of the last policy", {"until": 800}),
            ),
        ),
    ),
)  # fmt: skip
