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

# If both grow, or both shrink, by more than this factor, the run still diverges or converges.
DRIFT = 1.01

# Fewest steps in the last part, and fewest rounds in it for a run that rests or cycles.
FEWEST_STEPS, FEWEST_ROUNDS = 4, 2

# In a part that contains a whole turn, the path is at least this many times as long as the spread.
WHOLE_TURN = 2.0

# Changes of the probabilities below ROUNDING are rounding errors, as are relative ones of factors within
# NEUTRAL of 1.
ROUNDING, NEUTRAL = 1e-12, 1e-11


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
        path: total variation distance that the policy covers in the last quarter, step by step.
        num_steps: number of steps in the last quarter.
        period: number of steps per round, 1 if rounds have no fixed length.
        rate: predicted factor of the error per step at the fixed point; nan if none is predicted.
    """

    gap: Any
    gap_before: Any
    spread: Any
    spread_before: Any
    lowest: Any
    distance: Any
    path: Any
    num_steps: Any
    period: Any
    rate: Any


def outcome_codes(evidence: Evidence, payoff: float) -> np.ndarray:
    """Outcomes of runs as indices into `OUTCOMES`: the first that holds over the last quarter of the steps.

        undecided            the quarter has fewer than 4 steps
        Nash                 the gap stays below 1e-6 of the largest payoff
        other fixed point    the total variation to the rule's fixed point stays below 1e-6
        boundary             the probability of an action of the Nash support falls below 1e-6 (its
                             log-probability may overflow later)
        undecided            the quarter has fewer than 2 rounds
        other fixed point    the probabilities vary by at most 1e-6 and by at most a thousandth of the gap,
                             and will do so if they keep slowing down as they did since the quarter before
        cycle                the largest gap and the variation of the probabilities equal those of the quarter
                             before up to a factor of 1.25, do not both grow or both shrink by more than 1%,
                             and the policy turns around: its path is at least twice as long as its variation.
                             Where the predicted factor over the quarter is within 1.25 of 1, but not 1, slow
                             convergence and slow divergence look the same: such runs are undecided
        undecided            otherwise: the run still converges or diverges, or became non-finite

    A small gap at a single step is not sufficient: in near-degenerate games the gap can be small and rise
    again.

    Args:
        evidence: the evidence of one or several runs.
        payoff: the largest absolute payoff of the game.
    """
    gap, before = np.asarray(evidence.gap), np.asarray(evidence.gap_before)
    spread, spread_before = np.asarray(evidence.spread), np.asarray(evidence.spread_before)
    num_steps, rate = np.asarray(evidence.num_steps), np.asarray(evidence.rate)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        changes = np.stack([np.log(gap) - np.log(before), np.log(spread) - np.log(spread_before)])
        predicted = np.abs(num_steps * np.log(rate))
        # The variation still to come if each quarter multiplies it by the same factor.
        to_come = np.where(spread < spread_before, spread**2 / (spread_before - spread), np.inf)
    drifts = np.all(changes > math.log(DRIFT), 0) | np.all(changes < -math.log(DRIFT), 0)
    slow = (predicted > num_steps * NEUTRAL) & (predicted < math.log(STEADY))
    turns = np.asarray(evidence.path) >= WHOLE_TURN * spread
    returns = (np.abs(changes).max(0) <= math.log(STEADY)) & ~drifts & ~slow & turns
    still = np.minimum(STAYS, STILL * gap)
    lost = np.asarray(evidence.lowest) < math.log(LOST)
    conditions = [
        num_steps < FEWEST_STEPS,
        gap <= AT_NASH * payoff,
        np.asarray(evidence.distance) <= STAYS,
        lost,
        num_steps < FEWEST_ROUNDS * np.asarray(evidence.period),
        (spread <= still) & ((to_come <= still) | (spread <= np.minimum(ROUNDING, still))),
        returns,
    ]
    first = np.select(conditions, range(len(conditions)), len(conditions))
    words = (
        "undecided", "Nash", "other fixed point", "boundary", "undecided", "other fixed point", "cycle",
        "undecided",
    )  # fmt: skip
    codes = np.asarray([OUTCOMES.index(word) for word in words])[first]
    broken = np.where(
        lost & (num_steps >= FEWEST_STEPS), OUTCOMES.index("boundary"), OUTCOMES.index("undecided")
    )
    return np.asarray(np.where(np.isfinite(gap), codes, broken))
