"""The result of `nash`, and its certification."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from comalgames.equilibria.ties import rank
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

# A solution is certified when its gap is below this share of the largest payoff.
CERTIFIED = 1e-12

# The statuses with which the set of Nash policies is known.
SETTLED = ("certified", "tied")


class NashSolution(NamedTuple):
    """The result of `nash`, as float64 NumPy arrays with the game's leading axes.

    Attributes:
        policy: a Nash policy as probabilities `[..., n]`, exactly 0 off its support. If there are several, it
            has the largest support, unless another one was selected.
        gap: duality gap of the policy, in units of payoff; the certificate.
        relative_gap: duality gap in units of the largest payoff, for two players of the larger of that and
            the range of payoffs.
        support: actions with positive probability in some Nash policy, bool `[..., n]`.
        slack: payoff that each action loses against the policy, `[..., n]`, >= 0 up to rounding errors; 0 on
            the support, and inf where a player has no such action.
        unique: whether the Nash policy is unique, bool `[...]`.
        dimension: dimension of the set of Nash policies, int `[...]`: 0 for a point, 1 for a segment, ...
        status: "certified" if the relative gap is at most 1e-12 and every probability and slack that decides
            on the support and the dimension exceeds its error, which grows with the condition number of the
            equations on the support, and ties are exact; "tied" if some ties hold only up to rounding, so
            that the set is that of a game whose payoffs differ by rounding errors; "undecided" if only the
            gap is certified; "failed" otherwise, `[...]`.
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
        clear: whether support and dimension depend only on numbers well above rounding error or, for ties,
            below it, per prompt.
    """
    if isinstance(game, PreferenceGame):
        payoff = np.asarray(game.skew, np.float64)
        advantage = np.einsum("...ij,...j->...i", payoff, policy)
        loss, gap = -advantage, 2 * advantage.max(-1)
        size = np.abs(payoff).max((-2, -1))
        together = support[..., :, None] & support[..., None, :]
    else:
        payoff = np.asarray(game.payoff, np.float64)
        row, column = game.players(policy)
        earned = np.full(policy.shape, -np.inf)  # of actions that a player does not have
        mine, theirs = game.players(earned)
        mine[...] = np.einsum("...ij,...j->...i", payoff, column)
        theirs[...] = -np.einsum("...ij,...i->...j", payoff, row)
        best = earned.max(-1)
        loss, gap = best[..., None] - earned, best.sum(-1)
        size = np.maximum(np.ptp(payoff, axis=(-2, -1)), np.abs(payoff).max((-2, -1)))
        rows, columns = game.players(support)
        together = rows[..., :, None] & columns[..., None, :]
    relative = gap / np.where(size > 0, size, 1.0)
    good = relative <= CERTIFIED  # False for nan
    # A huge payoff of an action that nobody plays must not make the gap look small.
    played = np.where(together, np.abs(payoff), 0.0).max((-2, -1))
    clear = np.asarray(clear) & ((gap <= CERTIFIED * played) | (played == 0))
    tied = np.where(clear & ~_exactly_tied(game, support, dimension, clear), "tied", "certified")
    status = np.where(good, np.where(clear, tied, "undecided"), "failed")
    unique = np.asarray(dimension == 0) & clear
    numbers = policy, gap, relative, support, np.where(support, 0.0, loss), unique, dimension, status
    return NashSolution(*(np.asarray(number)[()] for number in numbers))


# The policies on the support S of a skew game, times any number, are the kernel of A_SS. Those of two players
# with payoffs M on their supports, p and q, are the kernel of [[0, M, -1], [-M', 0, 1], [1, -1, 0]]: vectors
# (p, q, v) in which v is the value.
def _exactly_tied(
    game: PreferenceGame | ZeroSumGame, support: np.ndarray, dimension: Any, clear: Any
) -> np.ndarray:
    """Whether the equations on the support have as many solutions as the dimension says, without rounding."""
    dimension = np.asarray(dimension)
    exact = np.ones(dimension.shape, bool)
    for prompt in np.ndindex(dimension.shape):
        if not (clear[prompt] and dimension[prompt] > 0):
            continue
        if isinstance(game, PreferenceGame):
            inside = support[prompt]
            matrix = np.asarray(game.skew[prompt], np.float64)[np.ix_(inside, inside)]
        else:
            core = np.asarray(game.payoff[prompt], np.float64)[np.ix_(*game.players(support[prompt]))]
            (rows, columns), ones = core.shape, np.ones_like
            above = np.block([[np.zeros((rows, rows)), core, -ones(core[:, :1])]])
            last = np.concatenate([np.ones(rows), -np.ones(columns), [0.0]])
            below = np.block([-core.T, np.zeros((columns, columns)), ones(core[:1].T)])
            matrix = np.vstack([above, below, last])
        exact[prompt] = rank(matrix) == len(matrix) - 1 - dimension[prompt]
    return exact
