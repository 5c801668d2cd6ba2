"""Maximum-likelihood Bradley-Terry scores of a preference matrix, for pairs drawn from a policy."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Preferences are clipped to [CLIP, 1 - CLIP], because preferences of 0 and 1 can have infinite scores.
CLIP = 1e-6

# Number of tied comparisons added to a sample, in which an action that always won would have an infinite
# score.
PSEUDO_COMPARISONS = 1.0

# Largest residual of a converged fit, in units of its rounding error.
TOLERANCE = 8.0

# Preferences further than this from 1/2 are compared by win and loss, which keeps small ones accurate.
FAR = 0.25

# Largest Newton step on a sample, in nats. Rows of a sample have different opponents, so that the start may
# be beyond the solution, where the sigmoid is flat.
LONGEST_STEP = 2.0

# Largest number of Newton steps; soft preferences take 1 to 6, hard ones about 16.
MAX_STEPS = 100


class BradleyTerryFit(NamedTuple):
    """The result of `fit`.

    Attributes:
        scores: scores in nats of log-odds, `[..., n]`; 0 for the most probable action.
        residual: largest `|sum_j p_j (P_ij - sigmoid(scores_i - scores_j))|`, in units of win rate.
        converged: whether every action's residual is of the size of its rounding errors. The scores solve
            the equations up to rounding; if these are ill-conditioned, the error of the scores is larger.
        num_solves: number of linear systems solved.
    """

    scores: Float[Array, "*batch n"]
    residual: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]
    num_solves: Int[Array, "*batch"]


def fit(
    skew: Float[Array, "*#batch n n"],
    logp: Float[Array, "*#batch n"],
    weights: Float[Array, "*#batch n n"] | None = None,
    num_pairs: float | Float[Array, ""] = math.inf,
) -> BradleyTerryFit:
    """Maximize the likelihood `sum_ij p_i p_j P_ij log sigmoid(f_i - f_j)` over scores f, by Newton's method.

    The scores are the reward learned from pairs drawn from the policy. With the uniform policy they rank
    actions like the Borda scores; near a tie they are 4 times the advantages.

    Args:
        skew: P - 1/2, `[..., n, n]`. Preferences are clipped to [1e-6, 1 - 1e-6].
        logp: normalized log-probabilities of the policy that draws the pairs, `[..., n]`; values as low as
            -1000 are accepted.
        weights: share of the pair (row, column) in all pairs, divided by the row's probability; None for the
            exact share, `p_j`.
        num_pairs: number of drawn pairs. To a finite sample `PSEUDO_COMPARISONS` ties are added, with the
            distribution of the pairs.

    Returns:
        A `BradleyTerryFit`; scores are defined up to a constant.

    Reference: Bradley and Terry, "Rank Analysis of Incomplete Block Designs", 1952.
    """
    if weights is not None:
        skew, weights = smoothed(skew, logp, weights, num_pairs)
        longest = jnp.where(jnp.isinf(num_pairs), jnp.inf, LONGEST_STEP).astype(skew.dtype)
    else:
        longest = jnp.asarray(jnp.inf, skew.dtype)
        weights = jnp.broadcast_to(jnp.exp(logp)[..., None, :], (*logp.shape, logp.shape[-1]))
    return BradleyTerryFit(
        *jnp.vectorize(_fit, signature="(n,n),(n),(n,n),()->(n),(),(),()")(skew, logp, weights, longest)
    )


def smoothed(
    skew: Float[Array, "*#batch n n"],
    logp: Float[Array, "*#batch n"],
    weights: Float[Array, "*#batch n n"],
    num_pairs: float | Float[Array, ""],
) -> tuple[Float[Array, "*batch n n"], Float[Array, "*batch n n"]]:
    """Comparisons with `PSEUDO_COMPARISONS` added ties, and weights whose rows sum to 1.

    Args:
        skew: P - 1/2 of the drawn pairs.
        logp: log-probabilities of the policy that draws the pairs.
        weights: share of the pair (row, column) in all pairs, divided by the row's probability.
        num_pairs: number of drawn pairs; infinite for exact preferences, which are unchanged.
    """
    expected = jnp.exp(logp)[..., None, :]
    total = weights + PSEUDO_COMPARISONS / num_pairs * expected
    skew = skew * weights / jnp.where(total > 0, total, 1.0)
    row = jnp.sum(total, axis=-1, keepdims=True)
    return skew, jnp.where(row > 0, total / jnp.where(row > 0, row, 1.0), expected)


_Carry: TypeAlias = tuple[Array, tuple[Array, Array], Array]


# The gradient of the likelihood in f_i is p_i r_i with r_i = sum_j p_j [P_ij - sigmoid(f_i - f_j)]: the win
# rate of action i against the policy, minus its prediction by the scores. The method solves r = 0, in which
# each row is already divided by p_i; otherwise an action of probability 1e-200 would have no score. Scores
# are defined up to a constant: that of the most probable action is fixed at 0, and its row, which follows
# from the others (sum_i p_i r_i = 0), is dropped.
#
# The start is the log-odds of the win rates, which is the solution if one action has probability 1, and near
# a tie. In general it lies roughly between 0 and the solution, where the sigmoid is steeper than at the
# solution: Newton steps are then too short rather than too long, and need no limit. (From 0 they need a limit
# of 2 nats.)
#
# Rounding: near 1/2, P - sigmoid(d) is computed as (P - 1/2) - tanh(d / 2) / 2. Near 0 and 1 that would lose
# the smaller of P and 1 - P, on which d depends, and it is computed as P sigmoid(-d) - (1 - P) sigmoid(d).
# Either way its error is epsilon times the sum of both sizes, and epsilon |f| times the slope for that of d.
def _fit(skew: Array, logp: Array, weights: Array, longest: Array) -> tuple[Array, Array, Array, Array]:
    target = jnp.clip(skew, CLIP - 0.5, 0.5 - CLIP)
    wins, losses = (jnp.clip(0.5 + side, CLIP, 1.0 - CLIP) for side in (skew, -skew))
    itself = jnp.eye(len(logp), dtype=bool)
    likeliest = jnp.argmax(logp)
    pinned = jnp.arange(len(logp)) == likeliest
    tolerance = TOLERANCE * float(np.finfo(skew.dtype).eps)

    def residual(scores: Array) -> tuple[Array, Array]:
        """The residual of every row, and its rounding error in units of epsilon."""
        odds = scores[:, None] - scores[None, :]
        won, lost = wins * jax.nn.sigmoid(-odds), losses * jax.nn.sigmoid(odds)
        expected = jnp.tanh(odds / 2.0) / 2.0
        is_far = jnp.abs(target) > FAR
        difference = jnp.where(is_far, won - lost, target - expected)
        size = jnp.where(is_far, won + lost, jnp.abs(target) + jnp.abs(expected))
        lengths = jnp.where(itself, 0.0, jnp.abs(scores)[:, None] + jnp.abs(scores)[None, :])
        error = size + lengths * jax.nn.sigmoid(odds) * jax.nn.sigmoid(-odds)
        rows = jnp.where(pinned, 0.0, jnp.sum(weights * difference, axis=1))
        return rows, jax.lax.stop_gradient(jnp.sum(weights * error, axis=1))

    def is_settled(r: Array, error: Array) -> Array:
        return jnp.all(jnp.abs(r) <= tolerance * error)

    def unfinished(carry: _Carry) -> Array:
        _, (r, error), count = carry
        # At least one step, because the derivative of the fit is that of its last step.
        return (~is_settled(r, error) | (count == 0)) & (count < MAX_STEPS)

    def newton(carry: _Carry) -> _Carry:
        scores, (r, _), count = carry
        odds = scores[:, None] - scores[None, :]
        slope = weights * jax.nn.sigmoid(odds) * jax.nn.sigmoid(-odds)
        jacobian = jnp.diag(jnp.sum(slope, axis=1)) - slope
        jacobian = jnp.where(pinned[:, None], jnp.eye(len(logp), dtype=logp.dtype), jacobian)
        change = jnp.linalg.solve(jacobian, r)
        size = jnp.max(jnp.abs(change))
        change = jnp.where(size > longest, change * (longest / size), change)
        scores = scores + change
        return scores, residual(scores), count + 1

    log_odds = 2.0 * jnp.arctanh(2.0 * jnp.clip(jnp.sum(weights * skew, axis=1), CLIP - 0.5, 0.5 - CLIP))
    start = log_odds - log_odds[likeliest]
    scores, (r, error), count = jax.lax.while_loop(
        unfinished, newton, (start, residual(start), jnp.zeros((), jnp.int32))
    )
    return scores, jnp.max(jnp.abs(r)), is_settled(r, error), count
