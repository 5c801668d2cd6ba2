"""The result of `nash`, and its certification."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

# A solution is certified when its gap is below this share of the largest payoff.
CERTIFIED = 1e-12


class NashSolution(NamedTuple):
    """The result of `nash`, as float64 NumPy arrays with the game's leading axes.

    Attributes:
        policy: a Nash policy as probabilities `[..., n]`, exactly 0 off its support. If there are several, it
            has the largest support, unless another one was selected.
        gap: duality gap of the policy, in units of payoff; the certificate.
        relative_gap: duality gap in units of the largest payoff (for two players, of the range of payoffs).
        support: actions with positive probability in some Nash policy, bool `[..., n]`.
        slack: payoff that each action loses against the policy, `[..., n]`, >= 0 up to rounding errors; 0 on
            the support.
        unique: whether the Nash policy is unique, bool `[...]`.
        dimension: dimension of the set of Nash policies, int `[...]`: 0 for a point, 1 for a segment, ...
        status: "certified" if the relative gap is at most 1e-12 and every probability and slack that decides
            on the support and the dimension exceeds its error, which grows with the condition number of the
            equations on the support; "undecided" if only the former holds; "failed" otherwise, `[...]`.
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
    """Measure the duality gap of policies, and return them as a `NashSolution`.

    Args:
        game: the game.
        policy: probabilities `[..., n]`, with the players of a two-player game on axis -2.
        support: bool mask of the support, with the shape of `policy`.
        dimension: dimension of the set of Nash policies, per prompt.
        clear: whether support and dimension depend only on numbers well above rounding error, per prompt.
    """
    if isinstance(game, PreferenceGame):
        payoff = np.asarray(game.skew, np.float64)
        advantage = np.einsum("...ij,...j->...i", payoff, policy)
        loss, gap = -advantage, 2 * advantage.max(-1)
        size = np.abs(payoff).max((-2, -1))
        together = support[..., :, None] & support[..., None, :]
    else:
        payoff = np.asarray(game.payoff, np.float64)
        row = np.einsum("...ij,...j->...i", payoff, policy[..., 1, :])
        column = -np.einsum("...ij,...i->...j", payoff, policy[..., 0, :])
        earned = np.stack([row, column], axis=-2)
        best = earned.max(-1)
        loss, gap = best[..., None] - earned, best.sum(-1)
        size = np.maximum(np.ptp(payoff, axis=(-2, -1)), np.abs(payoff).max((-2, -1)))
        together = support[..., 0, :, None] & support[..., 1, None, :]
    relative = gap / np.where(size > 0, size, 1.0)
    good = relative <= CERTIFIED  # False for nan
    # A huge payoff of an action that nobody plays must not make the gap look small.
    played = np.where(together, np.abs(payoff), 0.0).max((-2, -1))
    clear = np.asarray(clear) & ((gap <= CERTIFIED * played) | (played == 0))
    status = np.where(good, np.where(clear, "certified", "undecided"), "failed")
    unique = np.asarray(dimension == 0) & clear
    numbers = policy, gap, relative, support, np.where(support, 0.0, loss), unique, dimension, status
    return NashSolution(*(np.asarray(number)[()] for number in numbers))
