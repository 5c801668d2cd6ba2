"""Claim A32: exact COMAL whose steps have errors reaches Nash if the errors vanish or are relative."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import COMAL, ExactProx
from comalgames.equilibria import nash
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_most,
    between,
    reads,
)
from comalgames.feedback import Exact
from comalgames.numerics import simplex
from comalgames.papers.setting import LOSING_START, OURS, TEMPERATURE, losing_answer_game

# Sizes of the errors of step k = 1, 2, ..., by name: uniform in [-size, size] for each log-probability.
LARGE, SMALL, SQUARE, INVERSE, GEOMETRIC = "0.01", "0.0001", "0.1/k^2", "0.1/k", "0.1 * 0.9^k"
RELATIVE, RELATIVE_ERROR = "0.2 of the step", 0.2


def sizes(num_steps: int) -> dict[str, np.ndarray]:
    """The absolute errors of every step by schedule."""
    k = np.arange(1.0, num_steps + 1)
    return {
        LARGE: np.full(num_steps, 1e-2),
        SMALL: np.full(num_steps, 1e-4),
        SQUARE: 0.1 / k**2,
        INVERSE: 0.1 / k,
        GEOMETRIC: 0.1 * 0.9**k,
        RELATIVE: np.zeros(num_steps),
    }


def inexact_steps(
    temperature: float, num_steps: int, num_draws: int, seed: int, relative_error: float, init: Any
) -> Any:
    """Gap and KL to Nash along exact COMAL whose steps have errors, on the cycle with a losing answer.

    After each exact step uniform numbers in [-1, 1], times the size, are added to the log-probabilities, and
    the reference moves to the result. A relative error has the size `relative_error` times the length of the
    step, sqrt(2 KL(policy || reference)).
    """
    import xarray as xr

    ((_, game),) = losing_answer_game().items()
    by_name = sizes(num_steps)
    names, table = list(by_name), jnp.asarray(np.stack(list(by_name.values())))
    relative = jnp.asarray([relative_error if name == RELATIVE else 0.0 for name in names])
    start, target = jnp.log(jnp.asarray(init)), jnp.asarray(nash(game).logp)
    key, feedback = jax.random.key(seed), Exact(game)
    rule = COMAL(ExactProx(temperature), period=1)

    def run(each: Any, share: Any, draw: Any) -> Any:
        def body(state: Any, step: Any) -> Any:
            number, size = step
            after = rule.step(key, state, feedback)
            noise = jax.random.uniform(jax.random.fold_in(draw, number), start.shape, minval=-1.0)
            size = size + share * jnp.sqrt(2 * simplex.kl_divergence(after.logp, state.logp))
            logp = simplex.log_normalize(after.logp + size * noise)
            after = eqx.tree_at(lambda each: each.logp, rule.move_reference(after, logp), logp)
            return after, (2 * jnp.max(game.advantage(logp)), simplex.kl_divergence(target, logp))

        return jax.lax.scan(body, rule.init(start, start), (jnp.arange(num_steps), each))[1]

    draws = eqx.filter_vmap(run, in_axes=(None, None, 0))
    schedules = eqx.filter_vmap(draws, in_axes=(0, 0, None))
    gaps, kl = eqx.filter_jit(schedules)(table, relative, jax.random.split(key, num_draws))
    return xr.Dataset(
        {
            "duality_gap": (("errors", "draw", "step"), np.asarray(gaps)),
            "kl": (("errors", "draw", "step"), np.asarray(kl)),
            "size": (("errors", "step"), np.asarray(table)),
        },
        {"errors": names, "step": np.arange(1, num_steps + 1)},
        dict(zip(("worst_case", "mean_kl"), linear_theory(temperature), strict=True)),
    )


def linear_theory(temperature: float) -> tuple[float, float]:
    """Largest gap and mean KL near Nash of exact COMAL whose errors have size 1, in the linear approximation.

    Let S be the payoffs, F = diag(p) - p p^T at Nash, and d an error of the log-probabilities before a step.
    The step solves x = reference + S p / tau up to a constant, so that the error after it is M d with
    M = (I - S F / tau)^-1. Errors z_k of every step add up to d = sum_k M^k z_k, and the gap is
    2 max_i (S F d)_i. With |z| <= 1 it is at most 2 max_i sum_k sum_j |(S F M^k)_ij|. If z is uniform in
    [-1, 1], of variance 1/3, then d^T F d / 2, which is KL, has the mean sum_k |B^T M^k|^2 / 6, F = B B^T.
    """
    ((_, game),) = losing_answer_game().items()
    skew, policy = np.asarray(game.skew), nash(game).policy
    root = np.diag(np.sqrt(policy)) - np.outer(policy, np.sqrt(policy))
    step = np.linalg.inv(np.eye(len(policy)) - skew @ root @ root.T / temperature)
    gain, length = skew @ root @ root.T, root.T
    worst, mean_kl = np.zeros(len(policy)), 0.0
    while np.abs(gain).max() > np.finfo(float).eps:
        worst += 2 * np.abs(gain).sum(1)
        mean_kl += float(np.sum(length**2)) / 6
        gain, length = gain @ step, length @ step
    return float(worst.max()), mean_kl


@reads("inexact steps")
def error_of_mean_kl(data: Data, errors: str) -> float:
    """|mean KL / prediction - 1| with errors of a constant size, over draws and the second half of steps."""
    runs = data["inexact steps"].sel(errors=errors)
    late = runs["kl"].values[:, runs.sizes["step"] // 2 :].mean()
    return float(abs(late / (runs.attrs["mean_kl"] * float(runs["size"][-1]) ** 2) - 1))


@reads("inexact steps")
def late_share(data: Data, errors: str, num_late: int) -> float:
    """The largest gap / worst case over the draws and the last steps.

    The worst case is that of errors of a constant size, the current one.
    """
    runs = data["inexact steps"]
    late = runs.sel(errors=errors).isel(step=slice(-num_late, None))
    return float((late["duality_gap"] / (runs.attrs["worst_case"] * late["size"])).max(skipna=False))


@reads("inexact steps")
def largest_last_gap(data: Data, errors: str) -> float:
    """The largest last gap over the draws."""
    return float(data["inexact steps"]["duality_gap"].sel(errors=errors).isel(step=-1).max(skipna=False))


NUM_STEPS, NUM_LATE = 400, 100

# Four standard errors of a mean KL over 20 draws and 200 steps. In the linear approximation the standard
# deviation of KL is 0.83 times its mean, and about 0.63 of the records count as independent (both simulated):
# 4 * 0.83 / sqrt(0.63 * 4000) = 0.066.
FOUR_ERRORS = 0.07

EXPERIMENTS = (
    Measurement(
        "inexact steps",
        "Which errors of its steps may exact COMAL have?",
        inexact_steps,
        {
            "temperature": TEMPERATURE,
            "num_steps": NUM_STEPS,
            "num_draws": 20,
            "seed": 0,
            "relative_error": RELATIVE_ERROR,
            "init": LOSING_START,
        },
    ),
)

GAME = "on the three-answer cycle with a fourth answer that loses 90% of the time, at temperature 0.1"
ROCKAFELLAR = "known for summable errors (Rockafellar 1976; Eckstein 1998)"

STATEMENTS = (
    *(
        Statement(
            f"COMAL whose exact steps have random errors of constant size {size} in every log-probability "
            f"does not reach Nash {GAME}: it stops at the mean KL that linear theory predicts, which is "
            "proportional to the square of the size.",
            Claim(
                id=f"A32.constant.{size}",
                quantity="|mean KL(Nash, policy) / prediction - 1| in the last 200 of 400 steps, 20 draws",
                source=OURS,
                reading=error_of_mean_kl(size),
                bound=at_most(FOUR_ERRORS),
            ),
        )
        for size in (LARGE, SMALL)
    ),
    Statement(
        f"COMAL whose exact step k has random errors of size {GEOMETRIC} in every log-probability, which are "
        f"summable, reaches the Nash policy {GAME}.",
        Claim(
            id="A32.summable",
            quantity="largest duality gap after 400 steps, 20 draws of the errors",
            source=ROCKAFELLAR,
            reading=largest_last_gap(GEOMETRIC),
            bound=at_most(1e-12),
        ),
    ),
    *(
        Statement(
            f"COMAL whose exact step k has random errors of size {schedule} in every log-probability, which "
            f"are {kind}, approaches the Nash policy as fast as the errors vanish {GAME}.",
            Claim(
                id=f"A32.{label}",
                quantity=(
                    "largest gap in the last 100 of 400 steps / worst case for the current size, 20 draws"
                ),
                source=source,
                reading=late_share(schedule, NUM_LATE),
                bound=between(0.2, 1.0),
            ),
        )
        for label, schedule, kind, source in (
            ("square", SQUARE, "summable", ROCKAFELLAR),
            ("inverse", INVERSE, "not summable", OURS),
        )
    ),
    Statement(
        "COMAL whose exact steps have random errors of 20% of their length sqrt(2 KL(policy, reference)) in "
        f"every log-probability reaches the Nash policy {GAME}, although the share never falls.",
        Claim(
            id="A32.relative",
            quantity="largest duality gap after 400 steps, 20 draws of the errors",
            source="beside Solodov and Svaiter 2000, whose relative errors have another criterion",
            reading=largest_last_gap(RELATIVE),
            bound=at_most(1e-12),
        ),
    ),
)

FIGURES = (
    Figure(
        "inexact",
        "Exact COMAL whose steps have random errors, on the three-answer cycle with a losing answer, by the "
        "size of the errors in log-probabilities at step k: median and quartiles over 20 draws. With "
        "constant errors the gap stops at their size; otherwise it vanishes with them.",
        (
            Panel(
                "lines",
                "inexact steps",
                "exact steps with errors",
                {
                    "x": "step",
                    "y": "duality_gap",
                    "series": "errors",
                    "band": "draw",
                    "ylabel": "duality gap",
                    "legend": "center right",
                },
            ),
        ),
    ),
)
