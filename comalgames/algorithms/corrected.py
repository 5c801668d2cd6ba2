"""Correction of a rule for flipped labels, so that it follows the path that true labels give."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm
from comalgames.algorithms.schedules import AbstractSchedule, Number, Scaled
from comalgames.algorithms.wrapper import AbstractWrapper, innermost

Rule = TypeVar("Rule", bound=AbstractAlgorithm[Any])


def flip_corrected(rule: Rule, rate: float) -> Rule:
    """The same rule with its numbers corrected for labels that are flipped with probability `rate`.

        step_size / (1 - 2 rate),    temperature * (1 - 2 rate)

    Flips multiply every advantage by 1 - 2 rate. A step that is larger by this factor, with a temperature
    that is smaller by it, corrects for the flips: on `games.flip_labels(game, rate)` the corrected rule takes
    the same steps as `rule` on `game`. INPO's `eta` and IPO's `tau` are inverse step sizes, and decrease. The
    sampling noise is not corrected: it grows by 1 / (1 - 2 rate), so that more labels are needed.

    Args:
        rule: a rule that reads step size times advantage only: `MWU`, `SPPO`, `MirrorDescent`, `NashMD` and
            most others, also inside `COMAL` or `Averaged`. Rules on Bradley-Terry scores or log-odds
            (`IterativeDPO`, `OnlineDPO`, `GPO`, `NCA`, `BCO`) and `SPIN`, which reads no labels, are refused.
            A rule of your own states its fields by `Form(payoff_powers=...)`.
        rate: probability of a flip, in [0, 1/2), known.

    Raises:
        ValueError: `rate` is not a number in [0, 1/2), or `rule` has no such numbers.

    Example:
        >>> cg.flip_corrected(cg.COMAL(cg.MirrorDescent(1.0, 0.1), period=20), rate=0.25).inner
        MirrorDescent(step_size=2.0, temperature=0.05)
    """
    validation.non_negative("rate", rate)
    if validation.is_concrete(rate) and float(rate) >= 0.5:
        raise ValueError(f"`rate` must be below 1/2, got {rate!r}: at 1/2 labels carry no information.")
    powers = rule.form(0).payoff_powers if isinstance(rule, AbstractAlgorithm) else None
    if powers is None:
        raise ValueError(
            f"`rule` must be one whose step is linear in the advantage, got "
            f"{type(innermost(rule)).__name__}; correct the game or its labels by cg.games.unflip_labels. A "
            f"rule of your own states it in `form`: Form(payoff_powers=...)."
        )
    return _rescaled(rule, powers, 1 - 2 * rate)


def _rescaled(rule: Rule, powers: Mapping[str, int], factor: Any) -> Rule:
    """The rule for payoffs that are `factor` times as large."""
    if isinstance(rule, AbstractWrapper):
        return dataclasses.replace(rule, inner=_rescaled(rule.inner, powers, factor))
    changes = {name: _times(getattr(rule, name), factor**power) for name, power in powers.items()}
    return dataclasses.replace(rule, **changes)


def _times(value: Number, factor: Any) -> Number:
    return Scaled(value, factor) if isinstance(value, AbstractSchedule) else value * factor
