"""The exact Nash policy, with its certificate: how good it is, and whether it is the only one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from comalgames import validation
from comalgames.equilibria.face import METHODS, Face, face, face_by_linear_program
from comalgames.equilibria.interior_point import interior_point
from comalgames.games.base import AbstractGame, PreferenceGame, ZeroSumGame

# A solution is certified when its gap is below this share of the largest payoff.
CERTIFIED = 1e-12

SOLVERS = ("interior-point", *METHODS)


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


def nash(game: AbstractGame, select: Any = None, solver: str | None = None) -> NashSolution:
    """An exact Nash policy of `game`, its certificate, and whether it is the only one.

    An interior-point method guesses the support on its way and solves for the policy on it exactly; one that
    has a positive probability on all of it, against which all others lose, and which the equations determine,
    is the only Nash policy. In other games the path leads into the middle of the set of Nash policies, whose
    support S is the largest; the set is then `{p : skew_SS p = 0, skew p <= 0}`. Payoffs are scaled first, so
    any unit does. Where this cannot be certified, linear programs (HiGHS) are tried. A hundred actions take a
    few milliseconds, a thousand half a second, after about a second of compilation for each new n.

    Args:
        game: a `PreferenceGame` (leading axes: one solution each, solved together) or a `ZeroSumGame`, whose
            solution has the players on axis -2. Its payoffs are taken as stored: make the game with x64
            enabled.
        select: which Nash policy where there are several: None, one of largest support; "max-entropy"; or a
            reference `[..., n]` of positive probabilities, for the one with the smallest KL(policy ||
            reference).
        solver: None, or the only one to use: "interior-point", "highs-ds" or "highs-ipm".

    Returns:
        A `NashSolution`. Check `status`.

    Raises:
        ValueError: `game`, `select` or `solver` is none of the above.
        ArithmeticError: `select` was given, and there is no certified set to select from.

    Example:
        >>> cg.nash(cg.games.comal_cycle()).policy * 11
        array([4., 3., 4.])

    Reference: von Neumann's minimax theorem as a linear program, Dantzig, "A Proof of the Equivalence of the
    Programming Problem and the Game Problem", 1951; uniqueness: Goldman and Tucker, "Theory of Linear
    Programming", 1956; see `equilibria.interior_point` for the method.
    """
    if isinstance(game, PreferenceGame):
        payoffs = np.asarray(game.skew, np.float64)
    elif isinstance(game, ZeroSumGame):
        payoffs = np.asarray(game.payoff, np.float64)
    else:
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}. A matrix of win "
            f"rates becomes one by cg.PreferenceGame(matrix)."
        )
    if solver is not None:
        validation.known("solver", solver, SOLVERS)
    solve = _certified if isinstance(game, PreferenceGame) else _two_players
    prompts, n = payoffs.shape[:-2], payoffs.shape[-1]
    found = solve(payoffs.reshape(-1, n, n), SOLVERS if solver is None else (solver,))
    return NashSolution(*(field.reshape((*prompts, *field.shape[1:]))[()] for field in found))


def _certified(skews: np.ndarray, solvers: tuple[str, ...]) -> NashSolution:
    """Solutions of symmetric games, one after another, `[games, ...]`."""
    sizes = _positive(np.abs(skews).max((-2, -1)))
    faces = _faces(skews / sizes[:, None, None], solvers)
    policy, support, dimension, clear = (np.stack(field) for field in zip(*faces, strict=True))
    advantage = np.einsum("gij,gj->gi", skews, policy)
    gap = 2 * advantage.max(-1)
    slack = np.where(support, 0.0, -advantage)
    status = _status(gap / sizes, clear)
    return NashSolution(policy, gap, gap / sizes, support, slack, dimension == 0, dimension, status)


def _faces(skews: np.ndarray, solvers: tuple[str, ...]) -> list[Face]:
    """The Nash policies of games with payoffs of at most 1: of the first solver that is clear about them."""
    tried: list[list[Face]] = [[] for _ in skews]
    for solver in solvers:
        open_games = [k for k, found in enumerate(tried) if not (found and found[-1].clear)]
        if solver in METHODS:
            answers = [face_by_linear_program(skews[k], solver) for k in open_games]
        elif open_games:
            with jax.enable_x64(True):
                path = jax.tree.map(np.asarray, interior_point(skews[open_games]))
            answers = [
                Face(policy, policy > 0, 0, True) if exact else face(skew, policy, policy > slack)
                for skew, exact, policy, slack in zip(skews[open_games], *path[:3], strict=True)
            ]
        for k, answer in zip(open_games, answers, strict=True):
            tried[k] += [answer] if answer is not None else []
    n = skews.shape[-1]
    nothing = Face(np.full(n, np.nan), np.zeros(n, bool), 0, False)
    return [
        min(found, key=lambda each: (not each.clear, np.max(skew @ each.policy)), default=nothing)
        for skew, found in zip(skews, tried, strict=True)
    ]


def _two_players(payoffs: np.ndarray, solvers: tuple[str, ...]) -> NashSolution:
    """Any zero-sum game, as the skew game of Gale, Kuhn and Tucker: row player, column player and a scale.

    With the payoff shifted to be positive, (p, q, t) solves [[0, M, -1], [-M', 0, 1], [1, -1, 0]] iff p / t
    and q / t are optimal for the two players.
    """
    games, n, _ = payoffs.shape
    spread = _positive(np.ptp(payoffs, axis=(-2, -1)))
    shifted = (payoffs - payoffs.min((-2, -1), keepdims=True)) / spread[:, None, None] + 1.0
    skews = np.zeros((games, 2 * n + 1, 2 * n + 1))
    skews[:, :n, n:-1], skews[:, :n, -1], skews[:, n:-1, -1] = shifted, -1.0, 1.0
    embedded = _certified(skews - skews.swapaxes(-1, -2), solvers)
    players = embedded.policy[:, :-1].reshape(games, 2, n)
    policy = players / players.sum(-1, keepdims=True)
    row = np.einsum("gij,gj->gi", payoffs, policy[:, 1])
    column = -np.einsum("gij,gi->gj", payoffs, policy[:, 0])
    gap = row.max(-1) + column.max(-1)
    support = embedded.support[:, :-1].reshape(games, 2, n)
    slack = np.stack([row.max(-1, keepdims=True) - row, column.max(-1, keepdims=True) - column], axis=1)
    relative = gap / np.maximum(spread, np.abs(payoffs).max((-2, -1)))
    status = _status(relative, embedded.status == "certified")
    slack = np.where(support, 0.0, slack)
    return NashSolution(policy, gap, relative, support, slack, embedded.unique, embedded.dimension, status)


def _positive(sizes: np.ndarray) -> np.ndarray:
    """1 in place of 0."""
    return np.where(sizes > 0, sizes, 1.0)


def _status(relative_gap: np.ndarray, clear: np.ndarray) -> np.ndarray:
    certified = relative_gap <= CERTIFIED  # nan is not
    return np.where(certified & clear, "certified", np.where(certified, "undecided", "failed"))
