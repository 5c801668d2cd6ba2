"""The set of all Nash policies of a skew game, from a Nash policy of largest support."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from comalgames.equilibria.interior_point import EPSILONS
from comalgames.equilibria.linear_program import limits

# Sums of n products of payoffs of at most 1 are ties below n times this multiple of the machine epsilon,
# which allows for rounded payoffs. Numbers between that and the multiple `EPSILONS` are not decisive.
TIE = 4.0

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
def face(skew: np.ndarray, near: np.ndarray, support: np.ndarray) -> Face:
    """The face of Nash policies with the given support, from an approximation of one of them.

    Args:
        skew: payoffs `[n, n]`, antisymmetric, at most 1 in size.
        near: a policy near the relative interior of the face, `[n]`.
        support: bool mask of the support, `[n]`; empty if unknown.
    """
    n = len(skew)
    if not support.any():
        return Face(near, near > 0, 0, False)
    _, values, rows = np.linalg.svd(skew[np.ix_(support, support)])
    tie, rounding = (factor * n * float(np.finfo(np.float64).eps) for factor in (TIE, EPSILONS))
    kernel = values <= tie
    for zero in (tie, rounding, ZERO):
        kernel = values <= zero
        inside = rows[kernel].T @ (rows[kernel] @ near[support])
        if kernel.any() and np.all(inside > 0):
            policy = np.zeros(n)
            policy[support] = inside / inside.sum()
            advantage = skew @ policy
            clear = zero == tie and policy[support].min() > rounding
            if clear and np.all(advantage[~support] < -rounding):
                return Face(policy, support, int(kernel.sum()) - 1, True)
            if advantage.max() <= (skew @ near).max():
                return Face(policy, support, int(kernel.sum()) - 1, False)
    # The approximation may have a smaller gap than its projection onto the face.
    return Face(near / near.sum(), near > 0, max(int(kernel.sum()) - 1, 0), False)


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
