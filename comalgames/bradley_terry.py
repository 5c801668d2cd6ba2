"""The Bradley-Terry scores that fit a preference matrix, when pairs are drawn with probability p_i p_j."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# Preferences are clipped to [CLIP, 1 - CLIP]: a pair that is always decided one way would ask for infinite
# scores.
CLIP = 1e-6

# Newton's steps are scaled down to this length, in nats: far out the curvature of the likelihood vanishes.
LONGEST_STEP = 2.0

# Scores lie within log(1 / CLIP) nats per rank of one another; the iteration count only guards against a bug.
MAX_STEPS = 500

# The residual is at most this many roundings of the dtype.
TOLERANCE = 64.0


class BradleyTerryFit(NamedTuple):
    """What `fit` returns.

    Attributes:
        scores: in nats of log-odds `[..., n]`; 0 for the likeliest action.
        residual: largest `|sum_j p_j (P_ij - sigmoid(scores_i - scores_j))|`, a win rate.
        converged: whether the residual is at rounding.
    """

    scores: Float[Array, "*batch n"]
    residual: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def fit(skew: Float[Array, "*prompts n n"], logp: Float[Array, "*batch n"]) -> BradleyTerryFit:
    """Maximise the likelihood `sum_ij p_i p_j P_ij log sigmoid(f_i - f_j)` over scores f, by Newton's method.

    What a reward model learns from pairs drawn from the policy. With the uniform policy it ranks like Borda
    count.

    Args:
        skew: P - 1/2, `[..., n, n]`.
        logp: normalised log-probabilities of the policy that pairs are drawn from, `[..., n]`.

    Returns:
        A `BradleyTerryFit`; scores matter up to a constant.

    Reference: Bradley and Terry, "Rank Analysis of Incomplete Block Designs", 1952.
    """
    solution: tuple[Any, ...] = jnp.vectorize(_fit, signature="(n,n),(n)->(n),(),()")(skew, logp)
    return BradleyTerryFit(*solution)


# The likelihood's gradient in f_i is p_i r_i with r_i = sum_j p_j [P_ij - sigmoid(f_i - f_j)]: action i's win
# rate against the policy, minus what the scores say it is. So solve r = 0, each row already divided by p_i;
# otherwise an action of probability 1e-200 would get no score. Only differences of scores matter: the
# likeliest action is pinned at 0 and its row, which follows from the others (sum_i p_i r_i = 0), is dropped.
def _fit(skew: Array, logp: Array) -> tuple[Array, Array, Array]:
    p = jnp.exp(logp)
    target = jnp.clip(skew, CLIP - 0.5, 0.5 - CLIP)
    pinned = jnp.arange(len(p)) == jnp.argmax(p)
    tolerance = TOLERANCE * float(np.finfo(skew.dtype).eps)

    def residual(scores: Array) -> Array:
        expected = jnp.tanh((scores[:, None] - scores[None, :]) / 2) / 2
        return jnp.where(pinned, 0.0, jnp.sum(p * (target - expected), axis=1))

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, r, count = carry
        # One step at least: the fit's derivative is that of its last step, also where 0 already solves it.
        return ((jnp.max(jnp.abs(r)) > tolerance) | (count == 0)) & (count < MAX_STEPS)

    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        scores, r, count = carry
        slope = (
            p
            * jax.nn.sigmoid(scores[:, None] - scores[None, :])
            * jax.nn.sigmoid(scores[None, :] - scores[:, None])
        )
        jacobian = jnp.diag(jnp.sum(slope, axis=1)) - slope
        jacobian = jnp.where(pinned[:, None], jnp.eye(len(p), dtype=p.dtype), jacobian)
        step = jnp.linalg.solve(jacobian, r)
        step = step * jnp.minimum(1.0, LONGEST_STEP / jnp.maximum(jnp.max(jnp.abs(step)), LONGEST_STEP))
        scores = scores + step
        return scores, residual(scores), count + 1

    start = jnp.zeros_like(logp)
    scores, r, _ = jax.lax.while_loop(unfinished, newton, (start, residual(start), jnp.zeros((), jnp.int32)))
    worst = jnp.max(jnp.abs(r))
    return scores, worst, worst <= tolerance
