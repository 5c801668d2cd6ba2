"""Social choice on preference games: winners, scores and cycles, as NumPy arrays with one result per prompt.

Nash policies are the maximal lotteries of social choice theory. Their support is contained in the Smith set,
and a Condorcet winner is the unique Nash policy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from comalgames.games.preference import PreferenceGame

# Largest margin of a tie, in units of the machine epsilon times the largest margin of the game: the size of
# rounding errors in averages of votes.
TIE_EPSILONS = 8


class Hodge(NamedTuple):
    """The result of `hodge`: two parts whose sum is the payoff matrix.

    Attributes:
        scores: mean payoff of each action, `[..., n]`; they sum to 0.
        transitive: the part `scores_i - scores_j`, `[..., n, n]`.
        cyclic: the remaining part, `[..., n, n]`; each row sums to 0.
    """

    scores: np.ndarray
    transitive: np.ndarray
    cyclic: np.ndarray

    @property
    def cyclic_share(self) -> Any:
        """Share of the cyclic part in the sum of squared payoffs, in [0, 1], `[...]`; nan without payoffs."""
        cyclic, transitive = ((part**2).sum((-2, -1)) for part in (self.cyclic, self.transitive))
        with np.errstate(invalid="ignore"):
            return cyclic / (cyclic + transitive)


def hodge(game: PreferenceGame) -> Hodge:
    """Decompose the payoffs of a game into a transitive part, given by scores, and an orthogonal cyclic part.

        P - 1/2 = transitive + cyclic,     transitive_ij = scores_i - scores_j,    cyclic 1 = 0

    The transitive part is the least-squares approximation of the payoffs by differences of scores. In the
    game with only the cyclic part the uniform policy is Nash. In a random game the cyclic part has (n - 2) /
    n of the sum of squares on average. The parts may leave [-1/2, 1/2], so they are arrays and not games.

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
    """Borda scores: the mean win rate of each action against the others, `[..., n]`, float64 in [0, 1].

    A Bradley-Terry reward fitted on uniformly drawn pairs ranks actions in this order.

    Args:
        game: a preference game; the score of a single action is 1/2.

    Raises:
        ValueError: the game is not a `PreferenceGame`.
    """
    skew = _payoffs(game)
    return np.asarray(0.5 + skew.sum(-1) / max(skew.shape[-1] - 1, 1))


def copeland(game: PreferenceGame) -> np.ndarray:
    """Copeland scores: the number of majority wins of each action, a tie counting 1/2; `[..., n]`, float64.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.
    """
    signs = _majorities(game)
    return np.asarray((signs.sum(-1) + signs.shape[-1] - 1) / 2)


def condorcet_winner(game: PreferenceGame) -> Any:
    """Index of the Condorcet winner, which beats every other action by majority, `[...]`; -1 without one.

    A tie is not a win. If there is a Condorcet winner, playing it is the unique Nash policy.

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
    """The Smith set: the smallest set whose members beat all actions outside by majority, bool `[..., n]`.

    A tie is not a win. The Smith set contains the support of every Nash policy. It is a single action iff
    there is a Condorcet winner.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.

    Reference: Smith, "Aggregation of Preferences with Variable Electorate", 1973.
    """
    # The transitive closure of "beats or ties" orders the actions in layers; the set is the top layer.
    reaches = _majorities(game) >= 0
    for _ in range(int(np.ceil(np.log2(max(game.num_actions, 2))))):
        reaches = (reaches.astype(np.float32) @ reaches.astype(np.float32)) > 0
    return np.asarray(reaches.all(-1))


def majority_cycles(game: PreferenceGame) -> Any:
    """Number of triples of actions that form a majority cycle, i beats j beats k beats i, int `[...]`.

    Triples with a tie are not counted. In a game without ties the number is 0 iff majorities are transitive.

    Args:
        game: a preference game.

    Raises:
        ValueError: the game is not a `PreferenceGame`.
    """
    beats = (_majorities(game) > 0).astype(np.float64)
    rounds = np.einsum("...ij,...ji->...", beats @ beats, beats)
    return np.rint(rounds / 3).astype(int)[()]


def _payoffs(game: Any) -> np.ndarray:
    """The payoffs P - 1/2 in float64."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}: majorities are defined only for "
            f"preferences between actions."
        )
    return np.asarray(game.skew, np.float64)


def _majorities(game: Any) -> np.ndarray:
    """Majorities: 1 if the row's action beats the column's, -1 if it loses, 0 if they tie."""
    skew = _payoffs(game)
    rounding = TIE_EPSILONS * float(np.finfo(game.dtype).eps)
    largest = np.abs(skew).max((-2, -1), keepdims=True)
    return np.sign(np.where(np.abs(skew) <= rounding * largest, 0.0, skew))
