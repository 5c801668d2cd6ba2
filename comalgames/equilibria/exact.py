"""Exact Nash policies with certificates."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np

from comalgames import validation
from comalgames.equilibria.dominance import rescaled, undominated
from comalgames.equilibria.face import Face, face, face_by_linear_program
from comalgames.equilibria.interior_point import interior_point
from comalgames.equilibria.linear_program import METHODS
from comalgames.equilibria.nash_set import select_nash
from comalgames.equilibria.refinement import refined
from comalgames.equilibria.solution import NashSolution, certify
from comalgames.equilibria.threads import blas_threads
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

SOLVERS = ("interior-point", *METHODS)


def nash(game: AbstractGame, select: Any = None, solver: str | None = None) -> NashSolution:
    """Compute an exact Nash policy of `game`, its certificate, and whether it is unique.

    An interior-point method estimates the support in every step and solves for the policy on it exactly. If
    the equations determine the policy, it is positive on the support and all other actions lose against it,
    then it is the unique Nash policy. In other games the method converges to the relative interior of the set
    of Nash policies, whose support S is the largest; the set is then `{p : skew_SS p = 0, skew p <= 0}`.
    Payoffs are scaled first, so that any unit may be used. If the result cannot be certified, linear programs
    (HiGHS) are tried, and then the game without strictly dominated actions. A hundred actions take a few
    milliseconds, a thousand half a second, after about a second of compilation for each new n.

    Args:
        game: a `PreferenceGame` (one solution for each leading index, solved together) or a `ZeroSumGame`,
            of m x n payoffs, whose solution has the players on axis -2. Payoffs are used in the precision in
            which they are stored: make the game with x64 enabled.
        select: the Nash policy to return if it is not unique: None for one of largest support; "max-entropy";
            or a reference `[..., n]` of positive probabilities, for the one that minimizes KL(policy ||
            reference). If the set of Nash policies is not certified, the status is "failed".
        solver: None, or the only solver to use: "interior-point", "highs-ds" or "highs-ipm".

    Returns:
        A `NashSolution`. Check its `status`.

    Raises:
        ValueError: `game`, `select` or `solver` is not as described.

    Example:
        >>> cg.nash(cg.games.comal_cycle()).policy * 11
        array([4., 3., 4.])

    Reference: Dantzig, "A Proof of the Equivalence of the Programming Problem and the Game Problem", 1951,
    for the minimax theorem as a linear program; Goldman and Tucker, "Theory of Linear Programming", 1956, for
    uniqueness; see `equilibria.interior_point` for the method.
    """
    if isinstance(game, PreferenceGame):
        payoffs = np.asarray(game.skew, np.float64)
    elif isinstance(game, ZeroSumGame):
        payoffs = np.asarray(game.payoff, np.float64)
    else:
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}. Convert a matrix of "
            f"win rates with cg.PreferenceGame(matrix)."
        )
    if solver is not None:
        validation.known("solver", solver, SOLVERS)
    size = game.num_actions if isinstance(game, PreferenceGame) else sum(payoffs.shape[-2:])
    with blas_threads(size):
        solution = _solution(game, payoffs, SOLVERS if solver is None else (solver,))
    return solution if select is None else select_nash(game, solution, select)


def _solution(
    game: PreferenceGame | ZeroSumGame, payoffs: np.ndarray, solvers: tuple[str, ...]
) -> NashSolution:
    """The solution of largest support."""
    solve = _one_player if isinstance(game, PreferenceGame) else _two_players
    flat = payoffs.reshape(-1, *payoffs.shape[-2:])
    solved = solve(flat, solvers)

    def certified() -> NashSolution:
        return certify(game, *(field.reshape((*payoffs.shape[:-2], *field.shape[1:])) for field in solved))

    solution = certified()
    unsettled = np.flatnonzero(np.isin(solution.status, ("undecided", "failed")))
    for each in unsettled:
        kept = undominated(flat[each])
        if not all(actions.all() for actions in kept):
            again = solve(rescaled(flat[each], *kept)[None], solvers)
            for field, value in zip(solved, again, strict=True):
                field[each] = value[0]
    return certified() if len(unsettled) else solution


# Policy, support, dimension of the Nash set, and whether they are clear, of several games, `[games, ...]`.
_Solved: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _one_player(skews: np.ndarray, solvers: tuple[str, ...]) -> _Solved:
    # By powers of 2, which is exact.
    _, exponents = np.frexp(np.abs(skews).max((-2, -1), keepdims=True))
    faces = _faces(np.ldexp(skews, -exponents), solvers)
    policy, support, dimension, clear = (np.stack(field) for field in zip(*faces, strict=True))
    return policy, support, dimension, clear


def _faces(skews: np.ndarray, solvers: tuple[str, ...]) -> list[Face]:
    """The Nash sets of games with payoffs of at most 1, from the first solver whose result is clear."""
    tried: list[list[Face]] = [[] for _ in skews]
    for solver in solvers:
        open_games = [k for k, results in enumerate(tried) if not (results and results[-1].clear)]
        if solver in METHODS:
            answers = [face_by_linear_program(skews[k], solver) for k in open_games]
        elif open_games:
            path = jax.tree.map(np.asarray, interior_point(skews[open_games]))
            answers = [
                Face(refined(skew, policy, error), policy > 0, 0, True)
                if exact
                else face(skew, policy, policy > slack)
                for skew, exact, policy, slack, error in zip(skews[open_games], *path[:4], strict=True)
            ]
        for k, answer in zip(open_games, answers, strict=True):
            tried[k] += [answer] if answer is not None else []
    n = skews.shape[-1]
    nothing = Face(np.full(n, np.nan), np.zeros(n, bool), 0, False)
    return [
        results[-1]
        if results and results[-1].clear
        else min(results, key=lambda each: np.max(skew @ each.policy), default=nothing)
        for skew, results in zip(skews, tried, strict=True)
    ]


def _two_players(payoffs: np.ndarray, solvers: tuple[str, ...]) -> _Solved:
    """Solutions of two-player zero-sum games by the skew game of Gale, Kuhn and Tucker.

    Its actions are those of the row player, those of the column player and a scale. With the payoff M shifted
    to be positive, (p, q, t) solves [[0, M, -1], [-M', 0, 1], [1, -1, 0]] iff p / t and q / t are optimal for
    the two players.
    """
    games, m, n = payoffs.shape
    spread = np.ptp(payoffs, axis=(-2, -1), keepdims=True)
    shifted = (payoffs - payoffs.min((-2, -1), keepdims=True)) / np.where(spread > 0, spread, 1.0) + 1.0
    skews = np.zeros((games, m + n + 1, m + n + 1))
    skews[:, :m, m:-1], skews[:, :m, -1], skews[:, m:-1, -1] = shifted, -1.0, 1.0
    policy, support, dimension, clear = _one_player(skews - skews.swapaxes(-1, -2), solvers)
    joint, used = np.zeros((games, 2, max(m, n))), np.zeros((games, 2, max(m, n)), bool)
    for player, (size, of_player) in enumerate(((m, slice(m)), (n, slice(m, -1)))):
        weights = policy[:, of_player]
        joint[:, player, :size] = weights / weights.sum(-1, keepdims=True)
        used[:, player, :size] = support[:, of_player]
    return joint, used, dimension, clear
