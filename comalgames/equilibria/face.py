"""The set of all Nash policies of a skew game, from a Nash policy of largest support."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from comalgames.equilibria.interior_point import EPSILONS, TIE
from comalgames.equilibria.linear_program import limits
from comalgames.equilibria.refinement import refined

EPS = float(np.finfo(np.float64).eps)

# Probabilities below this in the solution of a linear program are rounding errors.
ZERO = 1e-9


class Face(NamedTuple):
    """The set of Nash policies of a skew game with payoffs of at most 1.

    Attributes:
        policy: a Nash policy with the whole support, `[n]`.
        support: actions with positive probability in some Nash policy, bool `[n]`.
        dimension: dimension of the set.
        clear: whether support and dimension depend only on numbers well above rounding error.
    """

    policy: np.ndarray
    support: np.ndarray
    dimension: int
    clear: bool


# Let p be Nash, S its support and s = -A p > 0 off S. Every Nash q has q.T A p = 0, so q is 0 off S, and
# p.T A q = 0 with p_S > 0, so A_SS q_S = 0. As p satisfies all other conditions strictly, the set has the
# dimension of the kernel of A_SS, less one for sum q = 1.
#
# Singular values up to the bound `TIE` on rounding errors count as ties, those above `EPSILONS` do not, and
# those between are not decisive. Residuals of that size move the projection of a policy on the kernel by the
# pseudoinverse of A_SS, and with it the payoffs. If the set is larger than a point it depends on ties; then
# all other numbers must be farther from the ties than from 1, above the square root of the machine epsilon.
def face(skew: np.ndarray, near: np.ndarray, support: np.ndarray) -> Face:
    """The face of Nash policies with the given support, from an approximation of one of them.

    Args:
        skew: payoffs `[n, n]`, antisymmetric, at most 1 in size.
        near: a policy near the relative interior of the face, `[n]`.
        support: bool mask of the support, `[n]`; empty if unknown.
    """
    n, near = len(skew), near / near.sum()
    if not support.any():
        return Face(near, near > 0, 0, False)
    _, values, rows = np.linalg.svd(skew[np.ix_(support, support)])
    tie, rounding = (factor * n * EPS for factor in (TIE, EPSILONS))
    dimension = 0
    for zero in (tie, rounding, ZERO):
        kernel = values <= zero
        dimension = max(int(kernel.sum()) - 1, 0)
        inside = rows[kernel].T @ (rows[kernel] @ near[support])
        if kernel.any() and np.all(inside > 0):
            policy = np.zeros(n)
            policy[support] = inside / inside.sum()
            advantage = skew @ policy
            moves = np.zeros((n, len(values) - int(kernel.sum())))
            moves[support] = tie * rows[~kernel].T / values[~kernel]
            margin = np.where(support, policy, -advantage)
            margin -= np.linalg.norm(np.where(support[:, None], moves, skew @ moves), axis=1)
            least = min(margin.min(), values[~kernel].min(initial=np.inf))
            if zero == tie and least > (np.sqrt(EPS) if dimension else rounding):
                exact = policy if dimension else refined(skew, policy, np.inf)
                return Face(exact, support, dimension, True)
            if np.max(advantage) <= np.max(skew @ near):
                return Face(policy, support, dimension, False)
    # The approximation may have a smaller gap than its projection onto the face.
    return Face(near, near > 0, dimension, False)


def face_by_linear_program(skew: np.ndarray, method: str) -> Face | None:
    """The face of Nash policies from a linear program; None if it fails or reaches a limit.

    The program maximizes sum t subject to q >= 0, skew q <= 0, t <= 1 and t <= q. Every coordinate that can
    be positive can be made at least 1 by scaling, so that the maximum is the size of the largest support.

    Args:
        skew: payoffs `[n, n]`, antisymmetric, at most 1 in size.
        method: one of `METHODS`.
    """
    n = len(skew)
    constraints = np.block([[skew, np.zeros((n, n))], [-np.eye(n), np.eye(n)]])
    cost = np.concatenate([np.zeros(n), -np.ones(n)])
    bounds = [(0, None)] * n + [(0, 1)] * n
    answer = linprog(
        cost,
        A_ub=constraints,
        b_ub=np.zeros(2 * n),
        bounds=bounds,
        method=method,
        options=limits(constraints),
    )
    if not answer.success or answer.x[:n].max() <= 0:
        return None
    policy = np.maximum(answer.x[:n], 0) / answer.x[:n].max()
    return face(skew, policy, policy > ZERO)
