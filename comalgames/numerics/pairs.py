"""Pairs of actions from any distribution: drawing, tallying, and least-squares scores."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

# With more than this many draws per outcome, counts are drawn, whose cost per outcome is about that of this
# many single draws.
MANY = 8


def draw(
    key: PRNGKeyArray, logp: Float[Array, "*batch n"], shape: tuple[int, ...]
) -> Int[Array, "*batch_and_shape"]:
    """Draw actions independently from each policy, `[..., *shape]` for policies `[..., n]`."""
    batch, n = logp.shape[:-1], logp.shape[-1]
    spread = jnp.broadcast_to(logp.reshape(*batch, *(1,) * len(shape), n), (*batch, *shape, n))
    return jax.random.categorical(key, spread)


def wins(key: PRNGKeyArray, skew: Float[Array, "*shape"], num_comparisons: int = 1) -> Float[Array, "*shape"]:
    """Share of wins in `num_comparisons` independent comparisons, each won with probability `skew + 1/2`.

    The comparison is not `uniform < skew + 1/2`, which in float32 would round small advantages.
    """
    uniform = jax.random.uniform(key, (*skew.shape, num_comparisons), skew.dtype)
    return jnp.mean((uniform - 0.5 < skew[..., None]).astype(skew.dtype), axis=-1)


def are_many(num_draws: int, num_outcomes: int) -> bool:
    """Whether drawing the count of each outcome is cheaper than drawing outcomes one by one."""
    return num_draws > MANY * num_outcomes


def counts(
    key: PRNGKeyArray, logp: Float[Array, "*batch k"], num_draws: Float[Array, ""]
) -> Float[Array, "*batch k"]:
    """Multinomial counts: the number of times each outcome occurs in `num_draws` independent draws."""
    drawn: Array = jax.random.multinomial(key, num_draws.astype(logp.dtype), jnp.exp(logp))
    return drawn.astype(logp.dtype)


def counted_wins(
    key: PRNGKeyArray, skew: Float[Array, "*shape"], num_comparisons: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Number of wins in `num_comparisons` independent comparisons, each won with probability `skew + 1/2`."""
    return jax.random.binomial(key, num_comparisons, skew + 0.5, dtype=skew.dtype)


def entries(
    matrix: Float[Array, "*#batch n n"], rows: Int[Array, "*batch pairs"], columns: Int[Array, "*batch pairs"]
) -> Float[Array, "*batch pairs"]:
    """Entries (row, column) of each matrix."""
    n = matrix.shape[-1]
    flat = matrix.reshape(*matrix.shape[:-2], n * n)
    flat = jnp.broadcast_to(flat, (*rows.shape[:-1], n * n))
    selected: Array = jnp.take_along_axis(flat, rows * n + columns, axis=-1)
    return selected


def tally(
    rows: Int[Array, "*batch pairs"],
    columns: Int[Array, "*batch pairs"],
    amounts: Float[Array, "*batch pairs"],
    num_actions: int,
) -> Float[Array, "*batch n n"]:
    """Matrices of the sums of `amounts` over pairs with the same (row, column)."""

    def scatter(index: Any, amount: Any) -> Any:
        return jnp.zeros(num_actions**2, amount.dtype).at[index].add(amount)

    flat = jnp.vectorize(scatter, signature="(k),(k)->(m)")(rows * num_actions + columns, amounts)
    matrices: Array = flat.reshape(*flat.shape[:-1], num_actions, num_actions)
    return matrices


def least_squares(
    weights: Float[Array, "*#batch n n"], targets: Float[Array, "*#batch n n"]
) -> Float[Array, "*batch n"]:
    """Least-squares scores h, which minimize `sum_ij share_ij (h_i - h_j - targets_ij)^2` over pairs (i, j).

    They are the tabular minimizer of a squared loss on pairs with any distribution `share`. The gradient in
    h_i is 0 if h_i is the mean of `h_j + targets_ij` over the opponents j of i. Each equation is divided by
    the total share of i, because otherwise an action of probability 1e-20 would be ignored. For a product
    distribution, share_ij = p_i p_j, h is the mean of each row of targets under p.

    Args:
        weights: share_ij >= 0, each row up to a positive factor.
        targets: target of h_i - h_j, skew-symmetric.

    Returns:
        The solution of smallest norm. Scores are determined up to a constant in each connected set of
        actions; actions without pairs have score 0.
    """
    rows = jnp.sum(weights, axis=-1, keepdims=True)
    shares = jnp.where(rows > 0, weights / jnp.where(rows > 0, rows, 1.0), 0.0)
    identity = jnp.eye(weights.shape[-1], dtype=weights.dtype)
    system = jnp.where(rows > 0, identity, 0.0) - shares
    right = jnp.sum(shares * targets, axis=-1)
    solution: Array = jnp.einsum("...ij,...j->...i", jnp.linalg.pinv(system), right)
    return solution
