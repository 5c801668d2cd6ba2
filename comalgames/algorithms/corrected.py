"""A rule's own numbers, changed so that it learns from flipped labels what it would learn from true ones."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from jaxtyping import Array, Float, Int

from comalgames import validation
from comalgames.algorithms.averaged import Averaged
from comalgames.algorithms.base import AbstractAlgorithm, AbstractSchedule, Number
from comalgames.algorithms.comal import COMAL
from comalgames.algorithms.extragradient import Extragradient
from comalgames.algorithms.history import HistoryMirrorDescent
from comalgames.algorithms.mirror_descent import INPO, MMD, MWU, SPPO, IterativeIPO, MirrorDescent
from comalgames.algorithms.moving import MovingReference
from comalgames.algorithms.nash_md import NashEMA, NashMD
from comalgames.algorithms.optimistic import OptimisticMWU
from comalgames.algorithms.policy_gradient import NashMDPG
from comalgames.algorithms.prox import ExactProx
from comalgames.algorithms.regularized import RegularizedMirrorDescent

Rule = TypeVar("Rule", bound=AbstractAlgorithm[Any])

# In rules that read step size times advantage only, payoffs c times as large change nothing if these fields
# are multiplied by c to this power.
POWERS = {"step_size": -1, "temperature": 1, "eta": 1, "tau": 1}
LINEAR = (
    Averaged, COMAL, ExactProx, Extragradient, HistoryMirrorDescent, INPO, IterativeIPO, MMD, MWU,
    MirrorDescent, MovingReference, NashEMA, NashMD, NashMDPG, OptimisticMWU, RegularizedMirrorDescent, SPPO,
)  # fmt: skip


class Scaled(AbstractSchedule):
    """A schedule times a number.

    Attributes:
        schedule: what is scaled.
        factor: by how much.
    """

    schedule: AbstractSchedule
    factor: Any

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """`factor * schedule(step)`."""
        scaled: Array = self.factor * self.schedule(step)
        return scaled


def flip_corrected(rule: Rule, rate: float) -> Rule:
    """The same rule with numbers for labels flipped with probability `rate`: it walks as if there were none.

        step_size / (1 - 2 rate),    temperature * (1 - 2 rate)

    Flips multiply every advantage by 1 - 2 rate; a step larger by as much, towards a game regularised less by
    as much, undoes it: on `games.flip_labels(game, rate)` the corrected rule takes step for step the path of
    `rule` on `game`. INPO's `eta` and IPO's `tau` are inverse steps, and shrink. Sampling noise is not
    undone: it grows by 1 / (1 - 2 rate), so more labels are needed.

    Args:
        rule: one that reads step size times advantage only: `MWU`, `SPPO`, `MirrorDescent`, `NashMD` and
            most others, also inside `COMAL`, `MovingReference` or `Averaged`. Not those on Bradley-Terry
            scores or log-odds (`IterativeDPO`, `OnlineDPO`, `GPO`, `NCA`, `BCO`), nor `SPIN`, which reads no
            labels.
        rate: in [0, 1/2), known.

    Raises:
        ValueError: `rate` is not a number in [0, 1/2), or `rule` has no such numbers.

    Example:
        >>> cg.flip_corrected(cg.COMAL(cg.MirrorDescent(1.0, 0.1), period=20), rate=0.25)
        COMAL(inner=MirrorDescent(step_size=2.0, temperature=0.05), period=20)
    """
    validation.non_negative("rate", rate)
    if validation.is_concrete(rate) and float(rate) >= 0.5:
        raise ValueError(f"`rate` must be below 1/2, got {rate!r}: from there on labels cannot be trusted.")
    if type(rule) not in LINEAR:  # a subclass may propose something else
        raise ValueError(
            f"`rule` must be one whose step is linear in the advantage, got {type(rule).__name__}; correct "
            f"the rule inside it, or the game or its labels, by cg.games.unflip_labels."
        )
    shrinkage = 1 - 2 * rate
    changes: dict[str, Any] = {
        name: _scaled(getattr(rule, name), shrinkage if power > 0 else 1 / shrinkage)
        for name, power in POWERS.items()
        if hasattr(rule, name)
    }
    if hasattr(rule, "inner"):
        changes["inner"] = flip_corrected(rule.inner, rate)
    return dataclasses.replace(rule, **changes)


def _scaled(value: Number, factor: Any) -> Number:
    return Scaled(value, factor) if isinstance(value, AbstractSchedule) else value * factor
