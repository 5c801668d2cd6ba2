"""The Bradley-Terry scores that fit a preference matrix, when pairs are drawn with probability p_i p_j."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Preferences are clipped to [CLIP, 1 - CLIP]: a pair always decided one way would ask for infinite scores.
CLIP = 1e-6

# Without any, a sample in which an action won always would ask for infinite scores.
PSEUDO_COMPARISONS = 1.0

# The residual is at most this many roundings of the dtype.
TOLERANCE = 8.0

# The longest step of Newton's method on a sample, in nats. Rows of a sample know different opponents, so the
# start may be beyond the answer, where the sigmoid is flat.
LONGEST_STEP = 2.0

# Soft preferences take 1 to 6 steps, hard ones about 16; a fit that needs more than this is not converging.
MAX_STEPS = 100


class BradleyTerryFit(NamedTuple):
    """What `fit` returns.

    Attributes:
        scores: in nats of log-odds `[..., n]`; 0 for the likeliest action.
        residual: largest `|sum_j p_j (P_ij - sigmoid(scores_i - scores_j))|`, a win rate.
        converged: whether the residual is at rounding.
        num_solves: how many linear systems were solved.
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

    What a reward model learns from pairs drawn from the policy. With the uniform policy it ranks like Borda
    count; near a tie the scores are 4 times the win rates.

    Args:
        skew: P - 1/2, `[..., n, n]`. Preferences within 1e-6 of 0 or 1 count as 1e-6 away from it.
        logp: normalized log-probabilities of the policy that pairs are drawn from, `[..., n]`; -1000 is fine.
        weights: share of the pairs seen that are (row, column), divided by the row's probability; None for
            `p_j`, all pairs as often as the policy draws them.
        num_pairs: how many pairs were drawn. A finite sample is fitted with `PSEUDO_COMPARISONS` more, all
            tied, spread as the policy draws pairs.

    Returns:
        A `BradleyTerryFit`; scores matter up to a constant.

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
    """The comparisons with `PSEUDO_COMPARISONS` more, all tied, and weights whose rows sum to 1.

    Args:
        skew: P - 1/2 of the pairs seen.
        logp: the policy that they are drawn from.
        weights: share of the pairs seen that are (row, column), divided by the row's probability.
        num_pairs: how many pairs were drawn; infinite for exact preferences, which stay as they are.
    """
    expected = jnp.exp(logp)[..., None, :]
    total = weights + PSEUDO_COMPARISONS / num_pairs * expected
    skew = skew * weights / jnp.where(total > 0, total, 1.0)
    row = jnp.sum(total, axis=-1, keepdims=True)
    return skew, jnp.where(row > 0, total / jnp.where(row > 0, row, 1.0), expected)


_Carry: TypeAlias = tuple[Array, Array, Array]


# The likelihood's gradient in f_i is p_i r_i with r_i = sum_j p_j [P_ij - sigmoid(f_i - f_j)]: action i's win
# rate against the policy, minus what the scores say it is. So solve r = 0, each row already divided by p_i;
# otherwise an action of probability 1e-200 would get no score. Only differences of scores matter: the
# likeliest action is pinned at 0 and its row, which follows from the others (sum_i p_i r_i = 0), is dropped.
#
# Start from the log-odds of the win rates: the answer where one action has all the weight, and near a tie.
# They lie between 0 and the answer, more or less, where the sigmoid is steeper than at the answer: so
# Newton's steps fall short rather than overshoot, and need no limit. (From 0 they need one, of 2 nats.)
def _fit(skew: Array, logp: Array, weights: Array, longest: Array) -> tuple[Array, Array, Array, Array]:
    target = jnp.clip(skew, CLIP - 0.5, 0.5 - CLIP)
    likeliest = jnp.argmax(logp)
    pinned = jnp.arange(len(logp)) == likeliest
    tolerance = TOLERANCE * float(np.finfo(skew.dtype).eps)

    def residual(scores: Array) -> Array:
        expected = jnp.tanh((scores[:, None] - scores[None, :]) / 2.0) / 2.0  # exact near ties, as P - 1/2 is
        return jnp.where(pinned, 0.0, jnp.sum(weights * (target - expected), axis=1))

    def unfinished(carry: _Carry) -> Array:
        _, r, count = carry
        # One step at least: the fit's derivative is that of its last step, also where the start solves it.
        return ((jnp.max(jnp.abs(r)) > tolerance) | (count == 0)) & (count < MAX_STEPS)

    def newton(carry: _Carry) -> _Carry:
        scores, r, count = carry
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
    scores, r, count = jax.lax.while_loop(
        unfinished, newton, (start, residual(start), jnp.zeros((), jnp.int32))
    )
    worst = jnp.max(jnp.abs(r))
    return scores, worst, worst <= tolerance, count
