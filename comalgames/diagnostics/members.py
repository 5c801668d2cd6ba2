"""Members of a set of Nash policies, far apart from each other."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from comalgames.games.preference import PreferenceGame

# Number of members, of which half are near ends of the set.
NUM_MEMBERS = 64

# Largest payoff against a member, in units of the game's largest: a rounding error.
EXACT = 1e-13

# Share of the given policy in every member, which keeps its probabilities away from 0.
SHARE = 1e-3


def nash_members(game: PreferenceGame, policy: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Members of the set of Nash policies with the support of one of them, `[members, n]`.

    Half of them are near vertices of the set, found by linear programs with random objectives, and half are
    random mixtures of those. They are members of the set and not a bound on it.

    Args:
        game: a preference game without prompts.
        policy: a Nash policy of largest support, `[n]`.
        support: its support, bool `[n]`.
    """
    # A Nash policy q has A_SS q_S = 0 for the support S of `policy`, and no payoff off S exceeds 0. Mixed
    # with `policy`, whose payoffs off S are below 0, it is Nash and has the same support.
    skew, used = np.asarray(game.skew, np.float64), int(support.sum())
    equal = np.vstack([skew[np.ix_(support, support)] / (np.abs(skew).max() or 1.0), np.ones(used)])
    outside = skew[np.ix_(~support, support)]
    rng, ends = np.random.default_rng(0), []
    for _ in range(NUM_MEMBERS // 2):
        program = linprog(
            rng.normal(size=used), A_ub=outside, b_ub=np.zeros(len(outside)), A_eq=equal,
            b_eq=np.append(np.zeros(used), 1.0),
        )  # fmt: skip
        end = (
            np.maximum(program.x, 0.0) / np.maximum(program.x, 0.0).sum()
            if program.status == 0
            else policy[support]
        )
        # The solver's tolerance is 1e-7, at which an action off the support could win.
        is_nash = np.max(skew[:, support] @ end) <= EXACT * np.abs(skew).max()
        ends.append(end if is_nash else policy[support])
    inside = rng.dirichlet(np.full(len(ends), 0.2), NUM_MEMBERS - len(ends)) @ np.stack(ends)
    members = np.zeros((NUM_MEMBERS, len(policy)))
    members[:, support] = np.vstack([ends, inside])
    return np.asarray((1 - SHARE) * members + SHARE * policy)
