"""The exact Nash policy by linear programming, certified by its own duality gap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linprog

from comalgames.games.base import AbstractGame, PreferenceGame, ZeroSumGame

# A solution is certified when its gap is below this share of the largest payoff.
CERTIFIED = 1e-12

# Probabilities below this (of a solution with largest probability of order 1) are the linear program's
# rounding, and singular values below it (relative to the largest) are zeros.
ZERO = 1e-9

# Tried in turn until an answer is certified.
METHODS = ("highs-ds", "highs-ipm")


class NashSolution(NamedTuple):
    """What `nash` returns; float64 NumPy arrays with the game's leading axes.

    Attributes:
        policy: a Nash policy as probabilities `[..., n]`, exactly 0 off its support. Where there are several,
            the one returned has the largest support any of them has.
        gap: its duality gap, in units of payoff; the certificate.
        support: which actions it uses, bool `[..., n]`; no Nash policy uses any other.
        slack: how much each action loses against it, `[..., n]`, >= 0 up to rounding; 0 on the support.
        unique: whether it is the only one, bool `[...]`.
        status: "certified" if gap <= 1e-12 of the largest payoff, else "failed", `[...]`.
    """

    policy: np.ndarray
    gap: Any
    support: np.ndarray
    slack: np.ndarray
    unique: Any
    status: Any

    @property
    def logp(self) -> np.ndarray:
        """The policy as log-probabilities, -inf off its support."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.policy))


def nash(game: AbstractGame) -> NashSolution:
    """An exact Nash policy of `game`, its certificate, and whether it is the only one.

    Finds, by one linear program, the Nash policy of largest support, then solves for it exactly on that
    support. In a skew game with this support S, Nash is unique iff the kernel of the payoffs restricted to S
    is a line. Payoffs are scaled first, so any unit does. Takes milliseconds for tens of actions and seconds
    for a thousand.

    Args:
        game: a `PreferenceGame` (leading axes: one solution each) or a `ZeroSumGame`, whose solution has the
            players on axis -2. Its payoffs are taken as stored: make the game with x64 enabled.

    Returns:
        A `NashSolution`. Check `status`: it is "failed" where no method reached the certificate.

    Example:
        >>> cg.nash(cg.games.comal_cycle()).policy * 11
        array([4., 3., 4.])

    Reference: von Neumann's minimax theorem as a linear program, Dantzig, "A Proof of the Equivalence of the
    Programming Problem and the Game Problem", 1951; uniqueness: Goldman and Tucker, "Theory of Linear
    Programming", 1956.
    """
    if isinstance(game, PreferenceGame):
        payoffs = np.asarray(game.skew, np.float64)
        solutions = [_symmetric(matrix) for matrix in payoffs.reshape(-1, *payoffs.shape[-2:])]
    elif isinstance(game, ZeroSumGame):
        payoffs = np.asarray(game.payoff, np.float64)
        solutions = [_two_players(matrix) for matrix in payoffs.reshape(-1, *payoffs.shape[-2:])]
    else:
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}. A matrix of win "
            f"rates becomes one by cg.PreferenceGame(matrix)."
        )
    prompts = payoffs.shape[:-2]
    stacked = (np.stack(field) for field in zip(*solutions, strict=True))
    return NashSolution(*(field.reshape((*prompts, *field.shape[1:]))[()] for field in stacked))


def _symmetric(skew: np.ndarray) -> NashSolution:
    """The skew game, value 0: all of {p : skew p <= 0}."""
    scale = np.abs(skew).max() or 1.0
    best = None
    for method in METHODS:
        policy = _largest_support(skew / scale, method)
        if policy is None:
            continue
        support = policy > ZERO * policy.max()
        plain = np.where(support, policy, 0.0) / policy[support].sum()
        polished, kernel = _on_kernel(skew / scale, plain, support)
        for candidate in (polished, plain):
            gap = 2 * (skew @ candidate).max()
            if best is None or gap < best.gap:
                status = "certified" if gap <= CERTIFIED * scale else "failed"
                slack = np.where(support, 0.0, -(skew @ candidate))
                best = NashSolution(candidate, gap, support, slack, kernel == 1, status)
        if best is not None and best.status == "certified":
            return best
    if best is None:
        n = len(skew)
        blank = np.full(n, np.nan)
        return NashSolution(blank, np.nan, np.zeros(n, bool), blank, False, "failed")
    return best


def _largest_support(skew: np.ndarray, method: str) -> np.ndarray | None:
    """A point of the cone {q >= 0, skew q <= 0} that is positive wherever any of its points is.

    Maximises sum t subject to t <= 1 and t <= q: every coordinate that can be positive can be made at least 1
    by scaling, so the maximum counts them.
    """
    n = len(skew)
    constraints = np.block([[skew, np.zeros((n, n))], [-np.eye(n), np.eye(n)]])
    cost = np.concatenate([np.zeros(n), -np.ones(n)])
    bounds = [(0, None)] * n + [(0, 1)] * n
    answer = linprog(cost, A_ub=constraints, b_ub=np.zeros(2 * n), bounds=bounds, method=method)
    if not answer.success or answer.x[:n].max() <= 0:
        return None
    return np.asarray(np.maximum(answer.x[:n], 0))


def _on_kernel(skew: np.ndarray, policy: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, int]:
    """`policy` moved onto the kernel of the payoffs on its support, and that kernel's dimension.

    Every Nash policy p has skew_SS p_S = 0, S the largest support, for each action of S is used by some Nash
    policy and so never loses against another.
    """
    restricted = skew[np.ix_(support, support)]
    _, values, rows = np.linalg.svd(restricted)
    zero = values <= ZERO * max(values[0], ZERO) * len(values)
    basis = rows[zero]
    inside = basis.T @ (basis @ policy[support])
    if not (len(basis) and np.all(inside > 0)):
        return policy, len(basis)
    polished = np.zeros_like(policy)
    polished[support] = inside / inside.sum()
    return polished, len(basis)


def _two_players(payoff: np.ndarray) -> NashSolution:
    """Any zero-sum game, as the skew game of Gale, Kuhn and Tucker: row player, column player and a scale.

    With the payoff shifted to be positive, (p, q, t) solves [[0, M, -1], [-M', 0, 1], [1, -1, 0]] iff p / t
    and q / t are optimal for the two players.
    """
    scale = np.ptp(payoff) or 1.0
    positive = (payoff - payoff.min()) / scale + 1.0
    n = len(payoff)
    ones = np.ones((n, 1))
    zero = np.zeros((n, n))
    skew = np.block([[zero, positive, -ones], [-positive.T, zero, ones], [ones.T, -ones.T, np.zeros((1, 1))]])
    embedded = _symmetric(skew)
    players = embedded.policy[: 2 * n].reshape(2, n)
    policy = players / players.sum(-1, keepdims=True)
    row, column = payoff @ policy[1], -(policy[0] @ payoff)
    gap = row.max() + column.max()
    slack = np.stack([row.max() - row, column.max() - column])
    status = "certified" if gap <= CERTIFIED * np.abs(payoff).max(initial=scale) else "failed"
    support = embedded.support[: 2 * n].reshape(2, n)
    return NashSolution(policy, gap, support, np.where(support, 0.0, slack), embedded.unique, status)
