"""EGPO on the original game, by a temperature that falls with the horizon, and under noise."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import EGPO
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.experiments import Claim, Data, Figure, Measurement, Panel, Statement, at_most, reads
from comalgames.feedback import Sampled
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import kl_to
from comalgames.papers.reading import largest
from comalgames.papers.setting import LOSING_START, TEMPERATURE, losing_answer_game

HORIZONS = (100, 1000, 10_000, 100_000)


def temperature_of(horizon: int) -> float:
    """The temperature 4 log T / T, for which T steps leave an error of the order of T^-2."""
    return 4 * math.log(horizon) / horizon


def bound(horizon: int, smallest: float) -> float:
    """Bound of the duality gap after T steps with step 1/(1 + beta): 2 beta L + sqrt(2 L) q^(T/2).

    exp(-L) is the smallest probability of the reference r, the first policy. The equilibrium p regularized
    at beta has a gap of at most 2 beta L: against it no policy x earns more than beta KL(x || r) <= beta L.
    KL to it falls by the factor q = 1 - beta/(1 + beta) per step, from at most L, and policies that differ by
    d in the sum of absolute differences have gaps that differ by at most d <= sqrt(2 KL).
    """
    beta, surprise = temperature_of(horizon), -math.log(smallest)
    contraction = 1 - beta / (1 + beta)
    return float(2 * beta * surprise + math.sqrt(2 * surprise) * contraction ** (horizon / 2))


def original_game(horizons: tuple[int, ...], num_games: int, num_answers: int, seed: int) -> Any:
    """The gap in the original game after T steps of EGPO at a temperature that falls with T; its bound."""
    import xarray as xr

    gaps, bounds = [], []
    with jax.enable_x64(True):
        many = games.random(jax.random.key(seed), num_answers, (num_games,))
        ((_, losing),) = losing_answer_game().items()
        for horizon in horizons:
            beta = temperature_of(horizon)
            rule = EGPO(1 / (1 + beta), beta)
            for game, start in ((many, None), (losing, LOSING_START)):
                run = solve(game, rule, horizon, init=start, record_every=horizon)
                gaps.append(np.atleast_1d(run.history["duality_gap"][-1]))
                smallest = 1 / num_answers if start is None else min(start)
                bounds.append(np.full(gaps[-1].shape, bound(horizon, smallest)))
    rows = {"duality_gap": gaps, "bound": bounds}
    shape = (len(horizons), num_games + 1)
    return xr.Dataset(
        {name: (("horizon", "game"), np.concatenate(row).reshape(shape)) for name, row in rows.items()},
        {"horizon": list(horizons)},
    )


def predicted_kl(step_size: float, temperature: float, num_opponents: int) -> float:
    """Mean KL from the equilibrium p of EGPO whose queries draw m opponents, in the linear approximation.

    With payoffs S, F = diag(p) - p p^T and pull m = step * temperature, an error d of the log-probabilities
    becomes M d, M = (1 - m) I + step S F ((1 - m) I + step S F). Each query adds noise with the covariance

        C = [Cov(P_.j) over opponents j + diag of the variances of the drawn winners] / num_opponents,

    the second times the step, the first times step^2 S F. The covariance of d solves X = M X M^T + Q, and KL
    is half of tr(F X) on average.
    """
    ((_, game),) = losing_answer_game().items()
    skew, preference = np.asarray(game.skew), np.asarray(game.preference)
    p, identity = qre(game, temperature, LOSING_START).policy, np.eye(game.num_actions)
    fisher, pull = np.diag(p) - np.outer(p, p), step_size * temperature
    turn, mean = step_size * skew @ fisher, preference @ p
    covariance = (preference * p) @ preference.T - np.outer(mean, mean)
    covariance += np.diag((preference * (1 - preference)) @ p)
    noise = step_size**2 * (covariance + turn @ covariance @ turn.T) / num_opponents
    step = (1 - pull) * identity + turn @ ((1 - pull) * identity + turn)
    system = np.eye(identity.size) - np.kron(step, step)
    return float(np.trace(fisher @ np.linalg.solve(system, noise.ravel()).reshape(noise.shape)) / 2)


def noise(
    temperature: float,
    step_sizes: tuple[float, ...],
    num_opponents: tuple[int, ...],
    num_runs: int,
    num_steps: int,
    record_every: int,
    seed: int,
) -> Any:
    """Late mean of KL to the regularized equilibrium under sampled preferences, and the prediction."""
    import xarray as xr

    shape = (len(step_sizes), len(num_opponents))
    measured, predicted = np.zeros(shape), np.zeros(shape)
    with jax.enable_x64(True):
        ((_, game),) = losing_answer_game().items()
        copies = PreferenceGame.from_skew(np.broadcast_to(game.skew, (num_runs, *game.skew.shape)))
        target = {"kl": kl_to(jnp.asarray(qre(game, temperature, LOSING_START).logp))}
        for i, k in np.ndindex(shape):
            run = solve(
                copies,
                EGPO(step_sizes[i], temperature),
                num_steps,
                init=np.broadcast_to(LOSING_START, copies.policy_shape),
                metrics=target,
                record_every=record_every,
                key=jax.random.key(seed),
                feedback=Sampled(copies, num_opponents[k]),
            )
            late = run.history["kl"]
            measured[i, k] = late[len(late) // 2 :].mean()
            predicted[i, k] = predicted_kl(step_sizes[i], temperature, num_opponents[k])
    axes = ("step_size", "num_opponents")
    return xr.Dataset(
        {
            "measured": (axes, measured),
            "predicted": (axes, predicted),
            "error": (axes, np.abs(measured / predicted - 1)),
        },
        {"step_size": list(step_sizes), "num_opponents": list(num_opponents)},
    )


@reads("original game")
def share_of_bound(data: Data) -> float:
    """The largest share of its bound that a gap reaches."""
    runs = data["original game"]
    return float((runs["duality_gap"] / runs["bound"]).max(skipna=False))


@reads("original game")
def error_of_exponent(data: Data) -> float:
    """Larger distance from 1 of the quartiles of the exponent of beta ~ log T / T, last two horizons."""
    runs = data["original game"]
    gaps, (*_, before, last) = runs["duality_gap"].values, runs["horizon"].values.tolist()
    exponents = np.log(gaps[-1] / gaps[-2]) / np.log(temperature_of(last) / temperature_of(before))
    return float(np.abs(np.quantile(exponents, [0.25, 0.75]) - 1).max())


EXPERIMENTS = (
    Measurement(
        "original game",
        "How fast does EGPO approach Nash of the original game if its temperature falls with the horizon?",
        original_game,
        {"horizons": HORIZONS, "num_games": 20, "num_answers": 10, "seed": 0},
    ),
    Measurement(
        "noise",
        "Where does EGPO stop if preferences are sampled?",
        noise,
        {
            "temperature": TEMPERATURE,
            "step_sizes": (0.1, 0.4),
            "num_opponents": (4, 16),
            "num_runs": 100,
            "num_steps": 2000,
            "record_every": 20,
            "seed": 0,
        },
        is_quick=False,
    ),
)

GAMES = (
    "on 20 random games of ten answers and on the three-answer cycle with a fourth answer that loses 90% of "
    "the time"
)

STATEMENTS = (
    Statement(
        "EGPO with T steps at the temperature beta = 4 log T / T and step 1/(1 + beta) has a duality gap in "
        "the original game of at most 2 beta L plus a term of the order of T^-2, where exp(-L) is the "
        f"smallest probability of the reference, for T from 100 to 100,000 {GAMES}.",
        Claim(
            id="A19.original",
            quantity="largest share of the bound, 21 games",
            source="EGPO, abstract (polynomial rate); the bound is ours",
            reading=share_of_bound(),
            bound=at_most(1.0),
        ),
    ),
    Statement(
        "The duality gap in the original game of EGPO with T steps at the temperature 4 log T / T falls like "
        f"log T / T from T = 10,000 to 100,000 in the middle half of the runs {GAMES}.",
        Claim(
            id="A19.polynomial",
            quantity="larger distance of the quartiles of the exponent of log T / T from 1, 21 games",
            source="EGPO, abstract (polynomial rate)",
            reading=error_of_exponent(),
            bound=at_most(0.1),
        ),
    ),
    Statement(
        "EGPO whose queries draw m opponents stops at a mean KL to the regularized equilibrium that linear "
        "theory predicts, proportional to the step over m for small steps, at temperature 0.1 on the "
        "three-answer cycle with a fourth answer that loses 90% of the time.",
        Claim(
            id="A19.noise",
            quantity="largest |measured / predicted - 1|, steps 0.1 and 0.4, m = 4 and 16, 100 runs each",
            source="EGPO, abstract (robust to noise); the value is ours",
            reading=largest("noise", "error"),
            bound=at_most(0.1),
        ),
    ),
)

FIGURES = (
    Figure(
        "egpo_original",
        "Duality gap in the original game after T steps of EGPO at the temperature 4 log T / T, median and "
        "quartiles over 20 random games and the cycle with a losing answer; dashed, the bound.",
        (
            Panel(
                "lines",
                "original game",
                "original game",
                {
                    "x": "horizon",
                    "y": {"duality_gap": "EGPO"},
                    "band": "game",
                    "bound": {"bound": "bound"},
                    "xlabel": "T",
                    "ylabel": "duality gap",
                    "logx": True,
                },
            ),
        ),
    ),
)
