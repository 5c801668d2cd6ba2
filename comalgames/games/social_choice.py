"""A preference game as an election: winners, scores and cycles; NumPy arrays, one result per prompt.

Nash policies are the maximal lotteries of social choice. Their support lies in the Smith set, and a Condorcet
winner is the only Nash policy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from comalgames.games.preference import PreferenceGame

# A margin of at most this many roundings of the game's largest one is a tie: averaging votes leaves as much.
TIE_ROUNDINGS = 8


class Hodge(NamedTuple):
    """What `hodge` returns; the two parts add up to the game's payoffs.

    Attributes:
        scores: each action's mean payoff, `[..., n]`; they sum to 0.
        transitive: `scores_i - scores_j`, `[..., n, n]`.
        cyclic: the rest, `[..., n, n]`; each row sums to 0.
    """

    scores: np.ndarray
    transitive: np.ndarray
    cyclic: np.ndarray

    @property
    def cyclic_share(self) -> Any:
        """How much of the squared payoffs is cyclic, in [0, 1]; nan for a game of ties, `[...]`."""
        cyclic, transitive = ((part**2).sum((-2, -1)) for part in (self.cyclic, self.transitive))
        with np.errstate(invalid="ignore"):
            return cyclic / (cyclic + transitive)


def hodge(game: PreferenceGame) -> Hodge:
    """The game's payoffs as a transitive part, given by scores, and a cyclic part orthogonal to it.

        P - 1/2 = transitive + cyclic,     transitive_ij = scores_i - scores_j,    cyclic 1 = 0

    The transitive part is the nearest one of its kind by least squares. The cyclic part alone has the uniform
    policy as a Nash policy. In a random game it holds (n - 2) / n of the squares on average. The parts may
    leave [-1/2, 1/2], so they are arrays and not games.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.

    Reference: Jiang, Lim, Yao and Ye, "Statistical Ranking and Combinatorial Hodge Theory", 2011.
    """
    skew = _payoffs(game)
    scores = skew.mean(-1)
    transitive = scores[..., :, None] - scores[..., None, :]
    return Hodge(scores, transitive, skew - transitive)


def borda(game: PreferenceGame) -> np.ndarray:
    """Each action's mean win rate against the others, `[..., n]`, float64 in [0, 1].

    A Bradley-Terry reward fitted on uniformly drawn pairs ranks actions in this order.

    Args:
        game: a preference game; one action alone scores 1/2.

    Raises:
        ValueError: the game is not a `PreferenceGame`.
    """
    skew = _payoffs(game)
    return np.asarray(0.5 + skew.sum(-1) / max(skew.shape[-1] - 1, 1))


def copeland(game: PreferenceGame) -> np.ndarray:
    """How many others each action beats by majority, a tie counting 1/2; `[..., n]`, float64.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.
    """
    signs = _majorities(game)
    return np.asarray((signs.sum(-1) + signs.shape[-1] - 1) / 2)


def condorcet_winner(game: PreferenceGame) -> Any:
    """The action that beats every other one by majority, by number; -1 where there is none, `[...]`.

    A tie is not a win. Where there is one it is the only Nash policy, played alone.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.

    Example:
        >>> cg.games.condorcet_winner(cg.games.comal_cycle()).item()
        -1
        >>> cg.games.condorcet_winner(cg.games.bradley_terry([0.0, 2.0, 1.0])).item()
        1
    """
    signs = _majorities(game)
    wins_all = (signs > 0).sum(-1) == signs.shape[-1] - 1
    return np.where(wins_all.any(-1), wins_all.argmax(-1), -1)[()]


def smith_set(game: PreferenceGame) -> np.ndarray:
    """The smallest set of actions each of which beats every one outside it by majority, bool `[..., n]`.

    With ties: a member must beat, not tie, those outside. It holds the support of every Nash policy, and is
    one action iff that is the Condorcet winner.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.

    Reference: Smith, "Aggregation of Preferences with Variable Electorate", 1973.
    """
    # "Beats or ties", followed along paths, ranks all actions in layers; the set is the top one.
    reaches = _majorities(game) >= 0
    for _ in range(int(np.ceil(np.log2(max(game.num_actions, 2))))):
        reaches = (reaches.astype(np.float32) @ reaches.astype(np.float32)) > 0
    return np.asarray(reaches.all(-1))


def majority_cycles(game: PreferenceGame) -> Any:
    """How many triples of actions cycle by majority, i beats j beats k beats i, int `[...]`.

    A triple with a tie does not count. Without ties 0 means that majorities rank the actions.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.
    """
    beats = (_majorities(game) > 0).astype(np.float64)
    rounds = np.einsum("...ij,...ji->...", beats @ beats, beats)
    return np.rint(rounds / 3).astype(int)[()]


def _payoffs(game: Any) -> np.ndarray:
    """P - 1/2 in float64."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}: a majority needs votes between two "
            f"actions of one set."
        )
    return np.asarray(game.skew, np.float64)


def _majorities(game: Any) -> np.ndarray:
    """1 where the row's action beats the column's, -1 where it loses and 0 where they tie."""
    skew = _payoffs(game)
    rounding = TIE_ROUNDINGS * float(np.finfo(game.dtype).eps)
    largest = np.abs(skew).max((-2, -1), keepdims=True)
    return np.sign(np.where(np.abs(skew) <= rounding * largest, 0.0, skew))
