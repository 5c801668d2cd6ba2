"""The period with which COMAL converges fastest, from the local theory of mirror steps at Nash."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from comalgames.algorithms.base import AbstractMirrorRule, AbstractUpdateRule
from comalgames.algorithms.schedules import AbstractSchedule
from comalgames.diagnostics.local import rotation_frequencies
from comalgames.equilibria import nash
from comalgames.games.preference import PreferenceGame

# Periods are tried up to this number divided by the pull. The best one is at 2.73 for slow rotation, below it
# for frequencies up to 14 times the temperature, and rises with the logarithm of faster ones.
LONGEST = 8.0

# Payoffs lost below this are ties with Nash, which no linear rate describes.
TIE = 1e-12


def best_period(game: PreferenceGame, rule: AbstractUpdateRule[Any]) -> int:
    """The period with which `COMAL(rule, period)` converges fastest per step near the game's Nash policy.

    A step multiplies the error of the policy at frequency w by u = 1 - m + i s w and adds m times that of the
    reference, where m is the pull and s the step size. So a round of K steps multiplies it by

        g = z + (1 - z) u^K,    z = m / (m - i s w),

    and the logarithm of the probability of an action that loses c against Nash falls by
    c s (1 - (1 - m)^K) / m. The result is the K that maximizes the slowest rate per step over all frequencies
    of the game at Nash and all actions off its support. For one frequency, a small pull m and no action off
    the support it is about 2.73 / m if w is much smaller than the temperature tau, 2.42 / m at w = tau and
    1.91 / m at w = 2 tau. From w = 4 tau on, the error has then made k + 3/4 turns around the inner
    equilibrium when the reference moves. Actions that lose little shorten the best period.

    Args:
        game: a preference game without prompts. If it has several Nash policies, the rate is that near the
            one that `nash` returns.
        rule: a rule with one query per step, a pull above 0 and no schedules, such as `MirrorDescent` or
            `MMD`: the inner rule of COMAL.

    Raises:
        ValueError: `game` has prompts, `rule` is no such rule, or COMAL around it converges with no period;
            take a smaller step then.

    Example:
        >>> cg.diagnostics.best_period(game, cg.MirrorDescent(step_size=1.0, temperature=0.1))
        19
    """
    if game.policy_shape[:-1]:
        raise ValueError(
            f"`game` must have no prompts, got leading axes {game.policy_shape[:-1]}. Select one prompt, as "
            f"in PreferenceGame.from_skew(game.skew[0])."
        )
    if not isinstance(rule, AbstractMirrorRule):
        raise ValueError(
            f"`rule` must be a mirror rule with one query per step, such as MirrorDescent, got a "
            f"{type(rule).__name__}. For other rules, see `periods` in `predict(game, COMAL(rule, period))`."
        )
    leaves = jax.tree.leaves(rule, is_leaf=lambda leaf: isinstance(leaf, AbstractSchedule))
    if any(isinstance(leaf, AbstractSchedule) for leaf in leaves):
        raise ValueError(
            f"`rule` must take all steps alike, got a schedule in {rule!r}. Give it numbers, such as the "
            f"schedule's value at one step."
        )
    form = rule.form(0)
    pull = float(form.pull)
    if pull <= 0 or form.advantage_weight is None:
        raise ValueError(f"`rule` must be pulled to its reference, got {rule!r}. Give it a temperature.")
    periods = np.arange(1, math.ceil(LONGEST / min(pull, 1.0)) + 1)
    slowest = _rates(game, pull, float(form.advantage_weight), periods).min(axis=0, initial=math.inf)
    best = int(np.argmax(slowest))
    if not slowest[best] > 0:
        raise ValueError(
            f"`rule` must have a smaller step: COMAL around {rule!r} converges on this game with no period "
            f"up to {periods[-1]}."
        )
    return int(periods[best])


def _rates(game: PreferenceGame, pull: float, step_size: float, periods: np.ndarray) -> np.ndarray:
    """Rate per step of each mode with each period, `[modes, periods]`."""
    solution = nash(game)
    directions = int(np.count_nonzero(solution.support)) - 1 - int(solution.dimension)
    turns = 1j * step_size * rotation_frequencies(game, solution.logp)[: directions // 2, None]
    ends = pull / (pull - turns)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        factors = np.abs(ends + (1 - ends) * (1 - pull + turns) ** periods)
    lost = solution.slack[~solution.support & (solution.slack > TIE)]
    shares = (1 - (1 - pull) ** periods) / pull
    rates = np.concatenate([-np.log(factors), lost[:, None] * step_size * shares]) / periods
    return np.asarray(np.where(np.isnan(rates), -math.inf, rates))
