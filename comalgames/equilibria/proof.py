"""Proof of a Nash solution in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from comalgames.equilibria.exact import nash
from comalgames.equilibria.interior_point import TIE
from comalgames.equilibria.solution import NashSolution
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame

PROVED, REFUTED, UNKNOWN = "proved", "refuted", "needs more than float64 knows"


class Proof(NamedTuple):
    """The result of `prove`.

    Attributes:
        verdict: "proved" if support and dimension of the solution are those of the game with exactly the
            stored payoffs; "refuted" if they are not; "needs more than float64 knows" if ties decide that
            hold only up to the rounding of the payoffs, or if the solution's policy is too inexact.
        reason: what decided, in a sentence.
        policy: a Nash policy with the whole support, as an object array of fractions with the shape of the
            solution's policy; the only Nash policy if the dimension is 0. None unless proved.
        unique: whether the Nash policy is unique; None unless proved.
        dimension: dimension of the set of Nash policies; None unless proved.
        error: the largest difference between a probability of `policy` and of the solution's policy; nan
            unless proved. In a set of several Nash policies, the two may be different members.
    """

    verdict: str
    reason: str
    policy: np.ndarray | None = None
    unique: bool | None = None
    dimension: int | None = None
    error: float = np.nan


def prove(game: PreferenceGame | ZeroSumGame, solution: NashSolution | None = None) -> Proof:
    """Check in rational arithmetic what a solution says about the support and the set of Nash policies.

    The payoffs are taken exactly as they are stored, as binary fractions. The equations on the solution's
    support are solved without rounding, and all signs are decided exactly. A hundred actions take a fraction
    of a second. Needs python-flint, which the extra `exact` installs.

    Args:
        game: a `PreferenceGame` or a `ZeroSumGame` without prompts.
        solution: what `nash(game)` returned, whatever its status; computed by default.

    Returns:
        A `Proof`. Check its `verdict`.

    Raises:
        ImportError: python-flint is not installed.
        ValueError: `game` is not as described, or `solution` is not one of this game.

    Example:
        >>> proof = cg.prove(cg.games.comal_cycle())
        >>> proof.verdict, proof.unique
        ('proved', True)

    Reference: Goldman and Tucker, "Theory of Linear Programming", 1956, for strict complementarity.
    """
    if not isinstance(game, PreferenceGame | ZeroSumGame):
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}. Convert a matrix of "
            f"win rates with cg.PreferenceGame(matrix)."
        )
    payoff = np.asarray(game.skew if isinstance(game, PreferenceGame) else game.payoff, np.float64)
    if payoff.ndim != 2:
        raise ValueError(
            f"`game` must have no prompts, got payoffs of shape {payoff.shape}. Prove one game at a time."
        )
    _flint()
    solution = nash(game) if solution is None else solution
    if np.shape(solution.support) != game.policy_shape:
        raise ValueError(
            f"`solution` must be that of `game`, with a policy of shape {game.policy_shape}, got shape "
            f"{np.shape(solution.support)}."
        )
    support, near, dimension = solution.support, solution.policy, int(solution.dimension)
    if not np.any(support):
        return Proof(UNKNOWN, "The solution has no support.")
    if not np.all(near[support] > 0):  # at the boundary of the set, where `select` may take it
        near = nash(game).policy
    numbers = _whole(payoff)
    if isinstance(game, PreferenceGame):
        sizes: tuple[int, ...] = (len(payoff),)
    else:
        sizes = payoff.shape
        numbers, scale = _symmetric(numbers, *near)
        near, support = (
            np.concatenate([field[0, : sizes[0]], field[1, : sizes[1]], [last]])
            for field, last in ((near, scale), (support, True))
        )
    verdict, reason, exact = _verdict(numbers, support, near, dimension)
    if exact is None:
        return Proof(verdict, reason)
    policy = np.full(game.policy_shape, Fraction(0))
    for player, size in zip(policy.reshape(-1, game.num_actions), sizes, strict=True):
        total, own, exact = sum(exact[:size]), exact[:size], exact[size:]
        player[:size] = [Fraction(x, total) for x in own]
    error = float(np.max(np.abs(np.asarray(solution.policy - policy, np.float64))))
    return Proof(verdict, reason, policy, dimension == 0, dimension, error)


# Let S be the support, A the skew payoffs and p a policy that is positive exactly on S, with A_SS p_S = 0 and
# A p < 0 off S. Then the Nash policies are {q : q = 0 off S, A_SS q_S = 0, A q <= 0}, p is in the relative
# interior of this set, and its dimension is that of the kernel of A_SS, less one. A game has exactly one S
# with such a p (Goldman and Tucker): if the kernel is {0}, or a line without such a p, then S is another set.
def _verdict(
    skew: list[list[int]], support: np.ndarray, near: np.ndarray, dimension: int
) -> tuple[str, str, list[int] | None]:
    """The verdict on a skew game, the reason, and a multiple of the exact policy if it is "proved"."""
    inside = [int(i) for i in np.flatnonzero(support)]
    core = [[skew[i][j] for j in inside] for i in inside]
    size, solved = _solution(core, near[inside])
    exact = [0] * len(skew)
    for i, x in zip(inside, solved, strict=True):
        exact[i] = x
    earned = [sum(a * x for a, x in zip(row, exact, strict=True) if x) for row in skew]
    interior = all(x > 0 for x in solved)
    interior = interior and all(x < 0 for x, played in zip(earned, support, strict=True) if not played)
    if interior and dimension == size - 1:
        return PROVED, "All signs are right, and the equations on the support have these solutions.", exact
    if dimension > size - 1 and _ties(skew, inside) == dimension + 1:
        return UNKNOWN, "The payoffs are tied only up to their rounding.", None
    if interior:
        return REFUTED, f"The dimension of the set of Nash policies is {size - 1}.", None
    if size == 0:
        return REFUTED, "No policy makes all actions of the support equal.", None
    if size == 1:
        return REFUTED, "The policy that makes all actions of the support equal is not strictly Nash.", None
    return UNKNOWN, "The policy is too far from the solutions of the equations on its support.", None


def _solution(core: list[list[int]], near: np.ndarray) -> tuple[int, list[int]]:
    """Dimension of the kernel of a matrix, and its vector with numbers of `near` where free, up to scale."""
    reduced, scale, rank = _flint().fmpz_mat(core).rref()
    rows, scale = [[int(x) for x in row] for row in reduced.tolist()[:rank]], int(scale)
    pivots = [next(j for j, x in enumerate(row) if x) for row in rows]
    free = sorted(set(range(len(core))) - set(pivots))
    chosen = _whole(near[None, free])[0] if len(free) > 1 else [1] * len(free)
    vector = [0] * len(core)
    for j, x in zip(free, chosen, strict=True):
        vector[j] = scale * x
    for row, pivot in zip(rows, pivots, strict=True):
        vector[pivot] = -sum(row[j] * x for j, x in zip(free, chosen, strict=True))
    return len(free), vector if sum(vector) >= 0 else [-x for x in vector]


def _ties(skew: list[list[int]], inside: list[int]) -> int:
    """Number of singular values that `nash` counts as 0: those below the rounding errors of the payoffs."""
    top = 1 << max(abs(x) for row in skew for x in row).bit_length()
    core = np.array([[skew[i][j] / top for j in inside] for i in inside])
    values = np.linalg.svd(core, compute_uv=False)
    return int(np.sum(values <= TIE * len(skew) * np.finfo(np.float64).eps))


def _whole(payoff: np.ndarray) -> list[list[int]]:
    """The payoffs times the power of 2 that makes them whole."""
    ratios = [[Fraction(x).as_integer_ratio() for x in row] for row in payoff.tolist()]
    scale = max(below for row in ratios for _, below in row)
    return [[above * (scale // below) for above, below in row] for row in ratios]


def _symmetric(
    payoff: list[list[int]], row: np.ndarray, column: np.ndarray
) -> tuple[list[list[int]], Fraction]:
    """The skew game of Gale, Kuhn and Tucker (see `exact`), and the weight of its last action beside 1, 1."""
    low, high = min(map(min, payoff)), max(map(max, payoff))
    shift = (high - low or 1) - low
    positive = [[x + shift for x in each] for each in payoff]
    rows, columns = len(payoff), len(payoff[0])
    left, right = ([Fraction(x) for x in player.tolist()] for player in (row[:rows], column[:columns]))
    met = [sum((x * q for x, q in zip(each, right, strict=True)), Fraction(0)) for each in positive]
    scale = sum((p * x for p, x in zip(left, met, strict=True)), Fraction(0))
    above = [[0] * rows + each + [-1] for each in positive]
    below = [[-each[j] for each in positive] + [0] * columns + [1] for j in range(columns)]
    return [*above, *below, [1] * rows + [-1] * columns + [0]], scale


def _flint() -> Any:
    try:
        import flint
    except ImportError:
        raise ImportError(
            "cg.prove needs python-flint, which is not installed: pip install python-flint, or the extra "
            '`exact` with pip install ".[exact]" in a checkout.'
        ) from None
    return flint
