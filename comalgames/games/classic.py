"""Small games from the literature whose Nash policy has a closed form."""

from __future__ import annotations

import numpy as np

from comalgames import validation
from comalgames.games.preference import PreferenceGame


def cycle(a: float, b: float, c: float) -> PreferenceGame:
    """A cycle of three actions where 0 beats 1 by `a`, 1 beats 2 by `b` and 2 beats 0 by `c`.

    If a, b and c have the same sign, the Nash policy is unique and interior,
    (|b|, |c|, |a|) / (|a| + |b| + |c|), and the rotation frequency around it is
    sqrt(|abc| / (|a| + |b| + |c|)) radians per unit of step size.

    Args:
        a: win rate of action 0 against 1, minus 1/2; in [-1/2, 1/2].
        b: win rate of action 1 against 2, minus 1/2.
        c: win rate of action 2 against 0, minus 1/2.

    Raises:
        ValueError: an edge is not a number in [-1/2, 1/2].
    """
    edges = validation.real_array("a, b, c", [a, b, c])
    if edges.shape != (3,) or np.abs(edges).max() > 0.5:
        raise ValueError(
            f"`a`, `b` and `c` must be numbers in [-1/2, 1/2], win rates minus 1/2, got {a!r}, {b!r} and "
            f"{c!r}."
        )
    skew = np.zeros((3, 3))
    skew[0, 1], skew[1, 2], skew[2, 0] = edges
    return PreferenceGame.from_skew(skew - skew.T)


def near_degenerate_cycle(delta: float) -> PreferenceGame:
    """A cycle of three actions in which 0 beats 1 by a small `delta`; learning slows down as delta decreases.

        P[0, 1] = 1/2 + delta,      P[1, 2] = P[2, 0] = 1

    The Nash policy is (1/2, 1/2, delta) / (1 + delta), unique and interior, and the rotation frequency around
    it is sqrt(delta / (1 + delta)) / 2. It is the preference game that corresponds to the two-player
    `delta_game`.

    Args:
        delta: in (0, 1/2].

    Raises:
        ValueError: `delta` is not a number in (0, 1/2].
    """
    validation.positive("delta", delta)
    if delta > 0.5:
        raise ValueError(f"`delta` must be in (0, 1/2], got {delta!r}.")
    return cycle(delta, 0.5, 0.5)


def comal_cycle() -> PreferenceGame:
    """The three-answer cycle of COMAL's synthetic experiment, with answers named a, b, c.

    P[b beats a] = P[c beats b] = 0.9 and P[a beats c] = 0.8. The Nash policy is (4, 3, 4) / 11, unique and
    interior; its rotation frequency is sqrt(5.28) / 11 = 0.2089. The experiment starts from (0.2, 0.5, 0.3).

    Reference: COMAL, arXiv 2410.23223, section 5.1.
    """
    return PreferenceGame([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]], names=("a", "b", "c"))


def rock_paper_scissors(rock: float = 1.0, paper: float = 1.0, scissors: float = 1.0) -> PreferenceGame:
    """Rock, paper, scissors with a different payoff for winning with each action.

    Payoffs are scaled so that the largest is 1/2 (a certain win). The Nash policy is
    (scissors, rock, paper) / (rock + paper + scissors). `rock_paper_scissors(3, 1, 1)` is the biased game
    [[0, -1, 3], [1, 0, -1], [-3, 1, 0]] / 6 with Nash policy (1, 3, 1) / 5.

    Args:
        rock: payoff of rock against scissors, > 0.
        paper: payoff of paper against rock, > 0.
        scissors: payoff of scissors against paper, > 0.

    Raises:
        ValueError: a payoff is not a finite number above 0.

    Reference: Abe et al., "Mutation-Driven Follow the Regularized Leader for Last-Iterate Convergence", 2022.
    """
    for name, payoff in (("rock", rock), ("paper", paper), ("scissors", scissors)):
        validation.positive(name, payoff)
    wins = np.array([[0.0, 0.0, rock], [paper, 0.0, 0.0], [0.0, scissors, 0.0]]) / (
        2 * max(rock, paper, scissors)
    )
    return PreferenceGame.from_skew(wins - wins.T, names=("rock", "paper", "scissors"))
