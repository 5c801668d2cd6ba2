"""Claim N5: comparisons against an old policy shorten the largest stable step."""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames.algorithms import HistoryMirrorDescent
from comalgames.drivers.sweep import sweep
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.games import PreferenceGame
from comalgames.papers.setting import LOSING_START, NASH, TEMPERATURE, losing_answer_game

DELAYS = (0, 1, 2, 4, 8)
BELOW, ABOVE = 0.8, 1.2
SMALL_TEMPERATURE = 0.01

# Steps between two records: no divisor of the steps of a turn, so that a swing is seen.
RECORDED = 7

# Bisections of an interval: until its ends agree to rounding errors.
HALVINGS = 60


def frequency(skew: np.ndarray, policy: np.ndarray) -> float:
    """The largest rotation frequency: the eigenvalues of diag(p) S on the simplex are +-i w."""
    return float(np.linalg.eigvals((np.diag(policy) - np.outer(policy, policy)) @ skew).imag.max())


def regularized(
    skew: np.ndarray, temperature: float, start: tuple[float, ...], num_steps: int = 2000
) -> np.ndarray:
    """The regularized equilibrium p ~ start exp(S p / tau), by small steps of mirror descent in NumPy."""
    step_size = temperature / (temperature**2 + 1 / 4)
    p = np.array(start)
    for _ in range(num_steps):
        logs = np.log(p) + step_size * (skew @ p - temperature * (np.log(p) - np.log(start)))
        p = np.exp(logs) / np.exp(logs).sum()
    return p


def growth(step_size: float, temperature: float, frequency: float, delay: int) -> float:
    """The largest modulus of the roots z of z^(d + 1) = (1 - eta tau) z^d + i eta w.

    It is the factor by which a step multiplies an error near the regularized equilibrium, if the advantage
    is that against the policy d steps before.
    """
    coefficients = np.zeros(delay + 2, complex)
    coefficients[0] = 1.0
    coefficients[1] -= 1 - step_size * temperature
    coefficients[-1] -= 1j * step_size * frequency
    return float(np.abs(np.roots(coefficients)).max())


def largest_stable_step(temperature: float, frequency: float, delay: int) -> float:
    """The step size at which the growth crosses 1, by bisection."""
    low, high = 0.0, 4 * temperature / (temperature**2 + frequency**2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        stable = growth(middle, temperature, frequency, delay) < 1
        low, high = (middle, high) if stable else (low, middle)
    return low


def stale_labels(
    delays: tuple[int, ...],
    temperature: float,
    small_temperature: float,
    shares: tuple[float, ...],
    num_steps: int,
    nash: tuple[float, ...],
    start: tuple[float, ...],
) -> Any:
    """Runs of INPO against its policy of d steps ago, at shares of the largest stable step.

    For small temperatures that step is 2 tau / ((2 d + 1) w^2). With z = exp(x) and a small step,
    x + x^2 / 2 = -eta tau + i eta w (1 - d x). The largest term is x = i eta w, so the real part of x is
    -eta tau + (d + 1/2) (eta w)^2, which is negative below the step stated. Relative corrections are of
    order (tau / w)^2.
    """
    import xarray as xr

    (game,) = losing_answer_game().values()
    error, swing = _ends(game, start, delays, temperature, shares, num_steps)
    # A small temperature leaves the equilibrium at Nash.
    rotation = frequency(np.asarray(game.skew), np.append(nash, 0.0))
    limits = np.array([largest_stable_step(small_temperature, rotation, delay) for delay in delays])
    formula = 2 * small_temperature / ((2 * np.array(delays) + 1) * rotation**2)
    return xr.Dataset(
        {
            "error": (("share", "delay"), error),
            "swing": (("share", "delay"), swing),
            "limit": ("delay", limits),
            "formula": ("delay", formula),
            "excess": ("delay", np.abs(limits / formula - 1) * (rotation / small_temperature) ** 2),
        },
        {"share": list(shares), "delay": list(delays)},
    )


def _ends(
    game: PreferenceGame,
    start: tuple[float, ...],
    delays: tuple[int, ...],
    temperature: float,
    shares: tuple[float, ...],
    num_steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the last policy from the equilibrium, and swing of the gap in the second half."""
    equilibrium = regularized(np.asarray(game.skew), temperature, start)
    rotation = frequency(np.asarray(game.skew), equilibrium)
    rules = {
        f"{share} {delay}": HistoryMirrorDescent(
            share * largest_stable_step(temperature, rotation, delay),
            temperature,
            opponent_weights=tuple(float(d == delay) for d in range(max(delays) + 1)),
        )
        for share in shares
        for delay in delays
    }
    runs = sweep({"game": game}, rules, num_steps, init=start, record_every=RECORDED)
    gaps = runs["duality_gap"].values.reshape(len(rules), -1)
    last = runs["final_policy"].values.reshape(len(rules), -1)
    shape = len(shares), len(delays)
    return (
        np.abs(last - equilibrium).max(-1).reshape(shape),
        np.ptp(gaps[:, gaps.shape[1] // 2 :], axis=-1).reshape(shape),
    )


@reads("stale labels")
def largest_error(data: Data, share: float) -> float:
    """The largest difference of a probability from the equilibrium at a share of the limit."""
    return float(data["stale labels"]["error"].sel(share=share).max(skipna=False))


@reads("stale labels")
def smallest_swing(data: Data, share: float) -> float:
    """The smallest swing of the gap at a share of the limit."""
    return float(data["stale labels"]["swing"].sel(share=share).min(skipna=False))


@reads("stale labels")
def largest_excess(data: Data) -> float:
    """The largest relative error of the formula for small temperatures, in units of (tau / w)^2."""
    return float(data["stale labels"]["excess"].max(skipna=False))


EXPERIMENTS = (
    Measurement(
        "stale labels",
        "How large may a step be if answers are compared with an old policy?",
        stale_labels,
        {
            "delays": DELAYS,
            "temperature": TEMPERATURE,
            "small_temperature": SMALL_TEMPERATURE,
            "shares": (BELOW, ABOVE),
            "num_steps": 7_000,
            "nash": NASH,
            "start": LOSING_START,
        },
    ),
)

SUBJECT = "INPO with comparisons against its policy of 0, 1, 2, 4 or 8 steps ago"
# A paper of February 2026 has rates for delayed feedback in bilinear games, without regularization.
SOURCE = "ours; delays without regularization: arXiv 2602.17486"
GAME = "on the three-answer cycle with a fourth answer that loses 90% of the time"

STATEMENTS = (
    Statement(
        f"{SUBJECT} converges to the regularized equilibrium with a step of {BELOW} times the step at which "
        f"a root of its delay polynomial reaches the unit circle, {GAME}.",
        Claim(
            id="N5.below",
            quantity="largest difference of a probability, five delays",
            source=SOURCE,
            reading=largest_error(BELOW),
            bound=at_most(1e-8),
        ),
    ),
    Statement(
        f"{SUBJECT} keeps swinging with a step of {ABOVE} times the step at which a root of its delay "
        f"polynomial reaches the unit circle, {GAME}.",
        Claim(
            id="N5.above",
            quantity="largest minus smallest duality gap in the second half, smallest of five delays",
            source=SOURCE,
            reading=smallest_swing(ABOVE),
            bound=at_least(0.1),
        ),
    ),
    Statement(
        "The step at which a root of INPO's delay polynomial z^(d + 1) = (1 - s tau) z^d + i s w, for "
        "comparisons against its policy of d steps ago, reaches the unit circle is 2 tau/((2d + 1) w^2) for "
        "small temperatures tau, up to relative errors of order (tau/w)^2, where s is the step and w the "
        f"rotation frequency at Nash, {GAME}.",
        Claim(
            id="N5.formula",
            quantity="largest relative error divided by (tau/w)^2, temperature 0.01, delays from 0 to 8",
            source=SOURCE,
            reading=largest_excess(),
            bound=at_most(2.0),
        ),
    ),
)

FIGURES = (
    Figure(
        "stale",
        "The largest stable step of INPO at temperature 0.01 on the three-answer cycle, by the age of the "
        "policy with which answers are compared. It falls as 1/(2d + 1).",
        (
            Panel(
                "lines",
                "stale labels",
                "stale comparisons",
                {
                    "x": "delay",
                    "y": {"limit": "root of the delay polynomial"},
                    "bound": {"formula": "2 tau/((2d + 1) w^2)"},
                    "xlabel": "age d of the opponent, in steps",
                    "ylabel": "largest stable step",
                },
            ),
        ),
    ),
)
