"""How a run ended, judged from its whole last part: at Nash, elsewhere, in a cycle, at the boundary."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# In the order of their codes.
OUTCOMES = ("Nash", "other fixed point", "cycle", "boundary", "undecided")

# The last part of a run, which decides; the part before it, to compare with, is as long.
LAST_PART = 0.25

# In units of the game's largest payoff: a gap below this all along is Nash.
AT_NASH = 1e-6

# Probabilities that vary by no more than this stay, unless it is more than this share of the gap: then they
# may be on their way. The former is also how near (in total variation) a fixed point is reached.
STAYS, STILL = 1e-6, 1e-3

# A probability below this, of an action that Nash uses, is at the boundary.
LOST = 1e-6

# A cycle's largest gap and spread are the same, up to this factor, in the last part and in the one before.
STEADY = 1.25


class Evidence(NamedTuple):
    """What of a run decides on how it ended; arrays where there are several runs.

    Attributes:
        gap: largest duality gap in the last quarter of the steps, in units of payoff; infinite if a policy
            stopped being finite.
        gap_before: largest in the quarter before.
        spread: by how much the probabilities vary in the last quarter: half the sum over the actions of
            largest minus smallest.
        spread_before: the same of the quarter before.
        lowest: smallest log-probability, in the last quarter, of an action that Nash uses; in the whole run,
            if a policy stopped being finite.
        distance: largest total variation, in the last quarter, to the fixed point that the rule aims at; nan
            where none is known, or where it is Nash: then the gap tells.
    """

    gap: Any
    gap_before: Any
    spread: Any
    spread_before: Any
    lowest: Any
    distance: Any


def outcome_codes(evidence: Evidence, payoff: float) -> np.ndarray:
    """How runs ended, as indices into `OUTCOMES`: the first that holds over the last quarter of the steps.

        Nash                 the gap stays below 1e-6 of the largest payoff
        other fixed point    the total variation to the rule's own fixed point stays below 1e-6
        boundary             an action that Nash uses falls below a probability of 1e-6 (and possibly further,
                             until its log-probability overflows)
        other fixed point    the probabilities vary by at most 1e-6 (and a thousandth of the gap)
        cycle                the largest gap, and by how much the probabilities vary, are those of the quarter
                             before, up to a factor of 1.25
        undecided            none of these: it still comes closer or goes off, or stopped being finite

    The gap of a moment decides nothing: in near-degenerate games it is small on the way, and rises again.

    Args:
        evidence: of the runs.
        payoff: the largest payoff of the game, in size.
    """
    gap, before = np.asarray(evidence.gap), np.asarray(evidence.gap_before)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.maximum(
            np.abs(np.log(gap) - np.log(before)),
            np.abs(np.log(evidence.spread) - np.log(evidence.spread_before)),
        )
    lost = np.asarray(evidence.lowest) < math.log(LOST)
    rules = [
        gap <= AT_NASH * payoff,
        np.asarray(evidence.distance) <= STAYS,
        lost,
        np.asarray(evidence.spread) <= np.minimum(STAYS, STILL * gap),
        change <= math.log(STEADY),
    ]
    found = np.select(rules, range(len(rules)), len(rules))
    words = ("Nash", "other fixed point", "boundary", "other fixed point", "cycle", "undecided")
    codes = np.asarray([OUTCOMES.index(word) for word in words])[found]
    broken = np.where(lost, OUTCOMES.index("boundary"), OUTCOMES.index("undecided"))
    return np.asarray(np.where(np.isfinite(gap), codes, broken))
