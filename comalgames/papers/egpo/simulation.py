"""The published simulation: EGPO against online IPO, Nash-MD and their policy gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import EGPO, AbstractAlgorithm, NashMD, NashMDPG, OnlineIPO, OnlineIPOGradient
from comalgames.drivers.solve import solve
from comalgames.experiments import Claim, Data, Figure, Measurement, Panel, Statement, at_most, reads
from comalgames.measures.regularized_gap import RegularizedGap
from comalgames.papers.egpo.setting import DRAWS, LEARNING_RATES, NUM_STEPS, setting, step_of

METHODS = ("online IPO 1", "online IPO 2", "Nash-MD", "Nash-MD-PG", "EGPO")
OTHERS = METHODS[:-1]


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


def name_of(temperature: float) -> str:
    """Name of the experiment with the published step at a temperature."""
    return f"temperature {temperature:g}"


def median_last_gap(data: Data, experiment: str, method: str) -> float:
    """Median over the games of the last regularized gap."""
    gaps = data[experiment]["regularized gap"].sel(algorithm=method).isel(iteration=-1)
    return float(gaps.median(skipna=False))


@reads()
def larger_last_gap(data: Data, experiment: str, methods: tuple[str, ...]) -> float:
    """The largest median last gap of some methods."""
    return float(np.max([median_last_gap(data, experiment, name) for name in methods]))


@reads()
def ratio_to_others(data: Data, experiment: str, method: str, others: tuple[str, ...]) -> float:
    """A method's median last gap, divided by the smallest one of the others."""
    smallest = np.min([median_last_gap(data, experiment, name) for name in others])
    return float(median_last_gap(data, experiment, method) / smallest)


EXPERIMENTS = (
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
)

STATEMENTS = (
    Statement(
        "EGPO and online IPO with the published steps both reach the regularized equilibrium at "
        "temperature 0.1 in the median of ten random games of ten answers.",
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
        "equilibrium at temperature 0.01 in the median of ten random games of ten answers.",
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
        "0.001 in the median of ten random games of ten answers.",
        Claim(
            id="A19.cold",
            quantity="EGPO's median last regularized gap divided by the smallest of the others",
            source="EGPO, simulations",
            reading=ratio_to_others(name_of(0.001), "EGPO", OTHERS),
            bound=at_most(0.2),
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
