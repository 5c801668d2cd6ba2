"""What is known of a game's Nash policies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

# A solution is certified when its gap is below this share of the largest payoff.
CERTIFIED = 1e-12


class NashSolution(NamedTuple):
    """What `nash` returns; float64 NumPy arrays with the game's leading axes.

    Attributes:
        policy: a Nash policy as probabilities `[..., n]`, exactly 0 off its support. Where there are several,
            the one returned has the largest support any of them has, unless another was selected.
        gap: its duality gap, in units of payoff; the certificate.
        relative_gap: the same in units of the largest payoff (of two players: of the range of payoffs).
        support: which actions Nash policies use, bool `[..., n]`; no Nash policy uses any other.
        slack: how much each action loses against it, `[..., n]`, >= 0 up to rounding; 0 on the support.
        unique: whether it is the only one, bool `[...]`.
        dimension: of the set of all Nash policies, int `[...]`: 0 for a point, 1 for a segment, ...
        status: "certified" if gap <= 1e-12 of the largest payoff and numbers well above rounding decide on
            the support and the dimension; "undecided" if only the former holds, and "failed" if that does
            not, `[...]`.
    """

    policy: np.ndarray
    gap: Any
    relative_gap: Any
    support: np.ndarray
    slack: np.ndarray
    unique: Any
    dimension: Any
    status: Any

    @property
    def logp(self) -> np.ndarray:
        """The policy as log-probabilities, -inf off its support."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.policy))


def certify(
    game: PreferenceGame | ZeroSumGame, policy: Any, support: Any, dimension: Any, clear: Any
) -> NashSolution:
    """The solution with these policies, after measuring how good they are.

    Args:
        game: what was solved.
        policy: probabilities `[..., n]`, with the players of a two-player game on axis -2.
        support: the actions that Nash policies use, likewise.
        dimension: of the set of Nash policies, per prompt.
        clear: whether numbers well above rounding decide on support and dimension, per prompt.
    """
    if isinstance(game, PreferenceGame):
        payoff = np.asarray(game.skew, np.float64)
        advantage = np.einsum("...ij,...j->...i", payoff, policy)
        loss, gap = -advantage, 2 * advantage.max(-1)
        size = np.abs(payoff).max((-2, -1))
    else:
        payoff = np.asarray(game.payoff, np.float64)
        row = np.einsum("...ij,...j->...i", payoff, policy[..., 1, :])
        column = -np.einsum("...ij,...i->...j", payoff, policy[..., 0, :])
        earned = np.stack([row, column], axis=-2)
        best = earned.max(-1)
        loss, gap = best[..., None] - earned, best.sum(-1)
        size = np.maximum(np.ptp(payoff, axis=(-2, -1)), np.abs(payoff).max((-2, -1)))
    relative = gap / np.where(size > 0, size, 1.0)
    good = relative <= CERTIFIED  # nan is not
    status = np.where(good, np.where(clear, "certified", "undecided"), "failed")
    unique = np.asarray(dimension == 0) & clear
    numbers = policy, gap, relative, support, np.where(support, 0.0, loss), unique, dimension, status
    return NashSolution(*(np.asarray(number)[()] for number in numbers))
