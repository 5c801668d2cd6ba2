"""The exact Nash policy, with its certificate: how good it is, and whether it is the only one."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np

from comalgames import validation
from comalgames.equilibria.face import METHODS, Face, face, face_by_linear_program
from comalgames.equilibria.interior_point import interior_point
from comalgames.equilibria.nash_set import select_nash
from comalgames.equilibria.solution import NashSolution, certify
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

SOLVERS = ("interior-point", *METHODS)


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
    n = payoffs.shape[-1]
    solve = _one_player if isinstance(game, PreferenceGame) else _two_players
    found = solve(payoffs.reshape(-1, n, n), SOLVERS if solver is None else (solver,))
    fields = (field.reshape((*payoffs.shape[:-2], *field.shape[1:])) for field in found)
    solution = certify(game, *fields)
    return solution if select is None else select_nash(game, solution, select)


# Of several games, `[games, ...]`: a policy, the support, the set's dimension, and whether they are clear.
_Found: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _one_player(skews: np.ndarray, solvers: tuple[str, ...]) -> _Found:
    sizes = np.abs(skews).max((-2, -1), keepdims=True)
    faces = _faces(skews / np.where(sizes > 0, sizes, 1.0), solvers)
    policy, support, dimension, clear = (np.stack(field) for field in zip(*faces, strict=True))
    return policy, support, dimension, clear


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
        found[-1]
        if found and found[-1].clear
        else min(found, key=lambda each: np.max(skew @ each.policy), default=nothing)
        for skew, found in zip(skews, tried, strict=True)
    ]


def _two_players(payoffs: np.ndarray, solvers: tuple[str, ...]) -> _Found:
    """Any zero-sum game, as the skew game of Gale, Kuhn and Tucker: row player, column player and a scale.

    With the payoff shifted to be positive, (p, q, t) solves [[0, M, -1], [-M', 0, 1], [1, -1, 0]] iff p / t
    and q / t are optimal for the two players.
    """
    games, n, _ = payoffs.shape
    spread = np.ptp(payoffs, axis=(-2, -1), keepdims=True)
    shifted = (payoffs - payoffs.min((-2, -1), keepdims=True)) / np.where(spread > 0, spread, 1.0) + 1.0
    skews = np.zeros((games, 2 * n + 1, 2 * n + 1))
    skews[:, :n, n:-1], skews[:, :n, -1], skews[:, n:-1, -1] = shifted, -1.0, 1.0
    policy, support, dimension, clear = _one_player(skews - skews.swapaxes(-1, -2), solvers)
    players = policy[:, :-1].reshape(games, 2, n)
    policy = players / players.sum(-1, keepdims=True)
    return policy, support[:, :-1].reshape(games, 2, n), dimension, clear
