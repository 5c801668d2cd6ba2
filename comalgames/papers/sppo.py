"""SPPO: the policy that minimizes its published loss, and the limit of self-play with it.

Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024, arXiv 2405.00675.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import SPPO
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
from comalgames.papers.reading import last, late_swing
from comalgames.papers.setting import OURS, START, cycle_game, on_both, with_losing_answer

STEP_SIZES = {"smallest_step": 1e-3, "largest_step": 30.0, "num_step_sizes": 28}
SMALL = 0.1  # below it the difference is its leading term


def minimizers(
    init: tuple[float, ...], smallest_step: float, largest_step: float, num_step_sizes: int
) -> Any:
    """One step by the exact minimizer of the loss and by exponential weights, and the loss at both."""
    import xarray as xr

    step_sizes = np.geomspace(smallest_step, largest_step, num_step_sizes)
    with jax.enable_x64(True):
        game = games.comal_cycle()
        logp, key = jnp.log(jnp.asarray(init)), jax.random.key(0)
        p, advantage = np.array(init), np.asarray(game.advantage(logp))

        @jax.jit
        def steps(step_sizes: Any) -> Any:
            def both(step_size: Any) -> Any:
                rules = SPPO(step_size, exact=True), SPPO(step_size)
                return [rule.step(key, rule.init(logp, logp), Exact(game)).logp for rule in rules]

            return jax.vmap(both)(step_sizes)

        exact, weights = (np.asarray(each) for each in steps(jnp.asarray(step_sizes)))
    aim = np.log(p) + step_sizes[:, None] * advantage
    difference = np.abs(exact - weights).max(-1)
    smallest, other = (((each - aim) ** 2) @ p for each in (exact, weights))
    return xr.Dataset(
        {
            "difference": ("step_size", difference),
            "loss at its minimum": ("step_size", smallest),
            "loss at the step": ("step_size", other),
        },
        {"step_size": step_sizes},
    )


@reads("minimizers")
def order(data: Data, largest_step: float) -> float:
    """The exponent with which the difference grows, over smaller steps."""
    steps = data["minimizers"]
    small = steps["step_size"].values < largest_step
    x, y = np.log(steps["step_size"].values[small]), np.log(steps["difference"].values[small])
    return float(np.polyfit(x, y, 1)[0])


@reads("minimizers")
def largest_ratio_of_losses(data: Data, smallest_step: float) -> float:
    """The largest ratio of the loss at the claimed minimum to that at the step, over larger steps."""
    larger = data["minimizers"].sel(step_size=slice(smallest_step, None))
    return float((larger["loss at its minimum"] / larger["loss at the step"]).max(skipna=False))


RULES = {"intended step": SPPO(1.0), "minimizer of the loss": SPPO(1.0, exact=True)}

STATEMENTS = (
    Statement(
        "The minimizer of SPPO's published loss is not the multiplicative-weights step: the two policies "
        "differ at third order in the step size.",
        Claim(
            id="A17.order",
            quantity="exponent of the difference in the step size, steps below 0.1",
            source=OURS,
            reading=order(SMALL),
            bound=between(2.95, 3.05),
        ),
    ),
    Statement(
        "The published loss of SPPO is smaller at its exact minimizer than at the multiplicative-weights "
        "step.",
        Claim(
            id="A17.loss",
            quantity="largest ratio of the loss at its minimum to the loss at the step, steps from 0.1",
            source=OURS,
            reading=largest_ratio_of_losses(SMALL),
            bound=at_most(1 - 1e-7),
        ),
    ),
    *(
        Statement(
            f"Self-play by the {name} of SPPO does not converge on the three-answer cycle, with and without "
            "a fourth answer that loses 90% of the time: its duality gap rises and falls.",
            Claim(
                id=f"A17.{label}.last",
                quantity="largest minus smallest duality gap in the second half of the run, two games",
                source="SPPO claims the average only",
                reading=late_swing(on_both("dynamics"), rule),
                bound=at_least(0.4),
            ),
        )
        for label, rule, name in (
            ("step", "intended step", "intended step"),
            ("loss", "minimizer of the loss", "exact minimizer of the loss"),
        )
    ),
    Statement(
        "The average of the policies in self-play by the intended step of SPPO with step 1 approaches the "
        "Nash policy of the three-answer cycle, with and without a fourth answer that loses 90% of the time.",
        Claim(
            id="A17.average",
            quantity="last duality gap of the average policy, step 1, the larger of two games",
            source="SPPO, theorem 4.1, for a step of order T^-1/2; step 1 is ours",
            reading=last(on_both("dynamics"), "intended step", "average_duality_gap"),
            bound=at_most(0.02),
        ),
    ),
)

FIGURES = (
    Figure(
        "sppo",
        "Left: one step from (.2, .5, .3) on the three-answer cycle; the exact minimizer of SPPO's loss and "
        "exponential weights differ in proportion to the third power of the step size. Right: self-play by "
        "either spirals away from Nash.",
        (
            Panel(
                "lines",
                "minimizers",
                "two steps called SPPO",
                {
                    "x": "step_size",
                    "y": "difference",
                    "logx": True,
                    "xlabel": "step size",
                    "ylabel": "largest difference, nats",
                },
            ),
            Panel("gap", "dynamics", "duality gap of the last policy", {"until": 800}),
        ),
    ),
)

PAPER = Paper(
    name="sppo",
    title="SPPO: the minimum of its loss is not the step it intends",
    source="Wu et al. 2024, arXiv 2405.00675",
    experiments=(
        Measurement(
            "minimizers",
            "How far is the minimum of the loss from the intended step?",
            minimizers,
            {"init": START, **STEP_SIZES},
        ),
        *with_losing_answer(
            Experiment(
                "dynamics",
                "To which policies does self-play with either step lead?",
                cycle_game,
                RULES,
                {"num_queries": 4000, "init": START},
            )
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
