"""Classification of how a run ended, from the last half of its steps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# Names of the outcomes in the order of their codes.
OUTCOMES = ("Nash", "other fixed point", "cycle", "boundary", "undecided")

# Share of the steps in the last part of a run, which decides, and in the part before it.
LAST_PART = 0.25

# Largest duality gap at Nash, in units of the game's largest payoff.
AT_NASH = 1e-6

# Probabilities are at rest if they vary by at most STAYS and by at most STILL times the gap; beyond the
# latter they may still be converging slowly. STAYS is also the total variation at which a fixed point is
# reached.
STAYS, STILL = 1e-6, 1e-3

# Probability of an action of the Nash support below which the run is at the boundary.
LOST = 1e-6

# In a cycle the largest gap and the spread of the last two parts agree up to this factor.
STEADY = 1.25


class Evidence(NamedTuple):
    """The numbers that decide how a run ended; arrays for several runs.

    Attributes:
        gap: largest duality gap in the last quarter of the steps, in units of payoff; infinite if a policy
            became non-finite.
        gap_before: largest duality gap in the quarter before.
        spread: variation of the probabilities in the last quarter: half the sum over the actions of the
            largest minus the smallest probability.
        spread_before: variation of the probabilities in the quarter before.
        lowest: smallest log-probability of an action of the Nash support in the last quarter; in the whole
            run if a policy became non-finite.
        distance: largest total variation distance to the rule's fixed point in the last quarter; nan if none
            is known, or if it is Nash, where the gap decides.
    """

    gap: Any
    gap_before: Any
    spread: Any
    spread_before: Any
    lowest: Any
    distance: Any


def outcome_codes(evidence: Evidence, payoff: float) -> np.ndarray:
    """Outcomes of runs as indices into `OUTCOMES`: the first that holds over the last quarter of the steps.

        Nash                 the gap stays below 1e-6 of the largest payoff
        other fixed point    the total variation to the rule's fixed point stays below 1e-6
        boundary             the probability of an action of the Nash support falls below 1e-6 (its
                             log-probability may overflow later)
        other fixed point    the probabilities vary by at most 1e-6 and by at most a thousandth of the gap
        cycle                the largest gap and the variation of the probabilities equal those of the quarter
                             before, up to a factor of 1.25
        undecided            otherwise: the run still converges or diverges, or became non-finite

    A small gap at a single step is not sufficient: in near-degenerate games the gap can be small and rise
    again.

    Args:
        evidence: the evidence of one or several runs.
        payoff: the largest absolute payoff of the game.
    """
    gap, before = np.asarray(evidence.gap), np.asarray(evidence.gap_before)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.maximum(
            np.abs(np.log(gap) - np.log(before)),
            np.abs(np.log(evidence.spread) - np.log(evidence.spread_before)),
        )
    lost = np.asarray(evidence.lowest) < math.log(LOST)
    conditions = [
        gap <= AT_NASH * payoff,
        np.asarray(evidence.distance) <= STAYS,
        lost,
        np.asarray(evidence.spread) <= np.minimum(STAYS, STILL * gap),
        change <= math.log(STEADY),
    ]
    first = np.select(conditions, range(len(conditions)), len(conditions))
    words = ("Nash", "other fixed point", "boundary", "other fixed point", "cycle", "undecided")
    codes = np.asarray([OUTCOMES.index(word) for word in words])[first]
    broken = np.where(lost, OUTCOMES.index("boundary"), OUTCOMES.index("undecided"))
    return np.asarray(np.where(np.isfinite(gap), codes, broken))
