"""Factors by which rules shrink errors near Nash, and KL near the regularized equilibrium of the cycle.

On three answers all errors rotate with one frequency w, where the eigenvalues of S (diag(p) - p p^T) are
+-i w at the equilibrium p. In the norm of KL every step multiplies them by the same number, so that KL
shrinks by the square of its absolute value from the first step on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import AbstractAlgorithm
from comalgames.drivers.solve import solve
from comalgames.equilibria import qre
from comalgames.games import comal_cycle
from comalgames.measures.metrics import kl_to
from comalgames.papers.setting import START

# Distance of the first policy from the equilibrium, in units of that of COMAL's start: the next order of KL
# is about this share of it.
NEAR = 1e-6


def round_factor(step_size: Any, temperature: float, period: Any, frequency: Any) -> np.ndarray:
    """|g|: the factor by which a round of COMAL multiplies a small error that turns at a frequency.

    A step multiplies the error of the policy by u = 1 - eta tau + i eta w and adds eta tau times that of the
    reference. After K steps from the reference g is z + (1 - z) u^K with z = tau / (tau - i w). Arguments
    are broadcast.
    """
    ends = temperature / (temperature - 1j * frequency)
    turn = 1 - step_size * temperature + 1j * step_size * frequency
    return np.asarray(np.abs(ends + turn**period * (1 - ends)))


def error_of_factor(
    rule: AbstractAlgorithm[Any], temperature: float, num_steps: int, multiplier: Callable[[float], complex]
) -> float:
    """Relative error of log(factor of KL per step) against |multiplier(w)|^2; the reference is the start."""
    game = comal_cycle()
    with jax.enable_x64(True):
        p = qre(game, temperature, START).policy
        near = p + NEAR * (np.array(START) - p)
        metric = {"kl": kl_to(jnp.log(jnp.asarray(p)))}
        kl = solve(game, rule, num_steps, init=near, reference=START, metrics=metric).history["kl"]
    frequency = np.abs(np.linalg.eigvals(np.asarray(game.skew) @ (np.diag(p) - np.outer(p, p)))).max()
    measured, predicted = np.log(kl[-1] / kl[0]) / num_steps, 2 * np.log(abs(multiplier(float(frequency))))
    return float(abs(measured / predicted - 1))


def errors_of_factor(
    temperatures: tuple[float, ...],
    num_steps: int,
    rule: Callable[[float], AbstractAlgorithm[Any]],
    multiplier: Callable[[float, float], complex],
) -> Any:
    """Error of the factor by temperature; the rule and the multiplier at a frequency depend on it."""
    import xarray as xr

    errors = [error_of_factor(rule(t), t, num_steps, partial(multiplier, t)) for t in temperatures]
    return xr.Dataset({"error": ("temperature", errors)}, {"temperature": list(temperatures)})
