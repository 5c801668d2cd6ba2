"""Nash mirror prox: two proximal steps, a linear rate to the regularized equilibrium, and its exact value.

Tiapkin et al., "Accelerating Nash Learning from Human Feedback via Mirror Prox", 2025, arXiv 2505.19731,
version 1. Only its abstract was seen: KL to the regularized equilibrium falls like (1 + 2 beta)^(-N/2) in the
number N of queries, and the span of log-probabilities converges linearly too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from comalgames import games
from comalgames.algorithms import NashMirrorProx
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
    at_most,
    reads,
)
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import kl_to
from comalgames.papers.reading import ratios_per_step
from comalgames.papers.setting import LOSING_START, OURS, losing_answer_game

# Temperatures beta; the step is eta = 2 beta, the largest that the paper allows. At the smallest, KL falls by
# (1 + 2 beta)^(-2 steps) = e^-47.
TEMPERATURES, NUM_STEPS = (0.02, 0.1, 0.5), 600

# KL below which rounding errors show, and the KL at which the early steps are over, relative to the first.
SMALLEST_KL, LATE = 1e-24, 1e-6


class SpanTo(eqx.Module):
    """The metric span(log policy - log target), the largest minus the smallest difference."""

    target_logp: Any

    def __call__(self, game: PreferenceGame, logp: Any) -> Any:
        """The span, per prompt."""
        return jnp.ptp(logp - self.target_logp, axis=-1)


def settings(num_games: int, num_answers: int, seed: int) -> Iterator[tuple[PreferenceGame, Any]]:
    """Games as prompts, with first policies: random games, and the cycle with a losing answer."""
    yield games.random(jax.random.key(seed), num_answers, (num_games,)), None
    ((_, game),) = losing_answer_game().items()
    yield PreferenceGame.from_skew(game.skew[None]), np.array([LOSING_START])


def runs(temperatures: tuple[float, ...], num_steps: int, **draws: int) -> Any:
    """KL and span of log-probabilities to the regularized equilibrium along runs with eta = 2 beta."""
    import xarray as xr

    rows: dict[str, list[np.ndarray]] = {"kl": [], "span": []}
    with jax.enable_x64(True):
        for beta in temperatures:
            history = []
            for game, start in settings(**draws):
                target = jnp.asarray(qre(game, beta, start).logp)
                metrics: dict[str, Any] = {"kl": kl_to(target), "span": SpanTo(target)}
                rule = NashMirrorProx(2 * beta, beta)
                history.append(solve(game, rule, num_steps, init=start, metrics=metrics).history)
            for name, row in rows.items():
                row.append(np.concatenate([run[name] for run in history], axis=1))
    return xr.Dataset(
        {name: (("temperature", "step", "game"), np.stack(row)) for name, row in rows.items()},
        {"temperature": list(temperatures), "step": np.arange(num_steps + 1)},
    )


def published_steps(temperatures: tuple[float, ...], num_steps: int, init: tuple[float, ...]) -> Any:
    """Largest difference of a log-probability between the package and the paper's two steps in NumPy.

    Both are policy' = argmax win rate(opponent) - beta KL(. || reference) - (beta / eta) KL(. || policy). Its
    logarithm is (win rate / beta + log reference + log policy / eta) / (1 + 1 / eta), up to a constant. The
    opponent is the policy in the first step, and the result of the first in the second.
    """
    import xarray as xr

    ((_, game),) = losing_answer_game().items()
    preference, differences = np.asarray(game.preference), []
    with jax.enable_x64(True):
        for beta in temperatures:
            eta, logp, path = 2 * beta, np.log(init), [np.log(init)]
            for _ in range(num_steps):
                opponent = logp
                for _ in "ab":
                    win_rate = preference @ np.exp(opponent)
                    base = win_rate / beta + np.log(init) + logp / eta
                    opponent = log_softmax(base / (1 + 1 / eta))
                logp = opponent
                path.append(logp)
            run = solve(game, NashMirrorProx(eta, beta), num_steps, init=init, metrics=["policy"])
            differences.append(np.abs(np.log(run.history["policy"]) - np.array(path)).max())
    return xr.Dataset({"difference": ("temperature", differences)}, {"temperature": list(temperatures)})


def late_rates(data: Data, name: str, power: int) -> np.ndarray:
    """Late rates of decrease of the log over power * log(1 + 2 beta), `[temperatures, games]`.

    Near the equilibrium a step multiplies the modes of the error by z = a + i x (a + i x), where a is
    1/(1 + 2 beta), x = s w with the step s = 2 a and the mode's rotation frequency w <= 1/2. |z|^2 is
    a^2 - x^2 (2 a - a^2 - x^2), which is at most a^2, for x^2 <= a^2 <= 2 a - a^2. With an even number of
    answers one mode has w = 0 and is the slowest: KL falls by a^2, and the span by a.
    """
    records = data["runs"]
    rates = np.full((records.sizes["temperature"], records.sizes["game"]), np.nan)
    for k, game in np.ndindex(rates.shape):
        kl, row = (records[each].values[k, :, game] for each in ("kl", name))
        (late,) = np.nonzero((kl > SMALLEST_KL) & (kl < LATE * kl[0]))
        first, last = late[len(late) // 2], late[-1]
        beta = float(records["temperature"][k])
        rates[k, game] = np.log(row[first] / row[last]) / (last - first) / (power * np.log1p(2 * beta))
    return rates


@reads("runs")
def share_of_contraction(data: Data) -> float:
    """Largest KL+ (1 + 2 beta) / KL over all steps whose KL is above rounding error."""
    kl, beta = data["runs"]["kl"].values, data["runs"]["temperature"].values[:, None, None]
    return float(np.max(ratios_per_step(kl, SMALLEST_KL, axis=1) * (1 + 2 * beta)))


@reads("runs")
def error_of_rate(data: Data, name: str, power: int) -> float:
    """Larger relative error of the quartiles of the late rates over games and temperatures."""
    return float(np.abs(np.quantile(late_rates(data, name, power), [0.25, 0.75]) - 1).max())


@reads("published steps")
def largest_difference(data: Data) -> float:
    """The largest difference over the temperatures."""
    return float(data["published steps"]["difference"].max(skipna=False))


FAMILY = (
    "on 20 random games of ten answers and on the three-answer cycle with a fourth answer that loses 90% of "
    "the time, at temperatures beta = 0.02, 0.1 and 0.5"
)

STATEMENTS = (
    Statement(
        "Nash mirror prox with its step eta is extragradient with step eta/(beta (1 + eta)): both of its "
        "proximal steps, written out in NumPy, give the package's policies.",
        Claim(
            id="A33.one",
            quantity="largest difference of a log-probability over 100 steps, three temperatures",
            source=OURS,
            reading=largest_difference(),
            bound=at_most(1e-10),
        ),
    ),
    Statement(
        "Every step of Nash mirror prox, which takes two queries, with eta = 2 beta multiplies KL to the "
        f"equilibrium regularized at temperature beta by at most 1/(1 + 2 beta), {FAMILY}.",
        Claim(
            id="A33.contraction",
            quantity="largest share of the bound",
            source="Nash mirror prox, abstract of version 1 (order of the rate)",
            reading=share_of_contraction(),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "Nash mirror prox with eta = 2 beta converges near the regularized equilibrium with twice the "
        "published exponent: KL falls by the factor (1 + 2 beta)^2 per step, "
        f"in the middle half of the runs {FAMILY}.",
        Claim(
            id="A33.rate",
            quantity="larger relative error of the quartiles of the late rate, 21 games, three temperatures",
            source=OURS,
            reading=error_of_rate("kl", 2),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        "The span of log-probabilities under Nash mirror prox with eta = 2 beta, the largest minus the "
        "smallest log-ratio to the regularized equilibrium, falls late in a run by the factor 1 + 2 beta per "
        f"step, in the middle half of the runs {FAMILY}.",
        Claim(
            id="A33.span",
            quantity="larger relative error of the quartiles of the late rate, 21 games, three temperatures",
            source="Nash mirror prox, abstract of version 1 (linear); the factor is ours",
            reading=error_of_rate("span", 1),
            bound=at_most(0.05),
        ),
    ),
)

FIGURES = (
    Figure(
        "nash_mirror_prox",
        "KL to the regularized equilibrium along Nash mirror prox with eta = 2 beta, by temperature beta: "
        "median and quartiles over 20 random games of ten answers and the cycle with a losing answer. Every "
        "step takes two queries.",
        (
            Panel(
                "lines",
                "runs",
                "linear convergence",
                {
                    "x": "step",
                    "y": "kl",
                    "series": "temperature",
                    "band": "game",
                    "ylabel": "KL from the equilibrium",
                },
            ),
        ),
    ),
)

PAPER = Paper(
    name="nash_mirror_prox",
    title="Nash mirror prox: a linear rate to the regularized equilibrium, and its exact value",
    source="Tiapkin et al. 2025, arXiv 2505.19731, version 1",
    experiments=(
        Measurement(
            "published steps",
            "Is Nash mirror prox extragradient with another step size?",
            published_steps,
            {"temperatures": TEMPERATURES, "num_steps": 100, "init": LOSING_START},
        ),
        Measurement(
            "runs",
            "How fast does Nash mirror prox converge to the regularized equilibrium?",
            runs,
            {
                "temperatures": TEMPERATURES,
                "num_steps": NUM_STEPS,
                "num_games": 20,
                "num_answers": 10,
                "seed": 0,
            },
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
