"""Pairs of actions: draw them, tally them, and fit scores to them by least squares, whatever their law."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

# With more draws than this many times the outcomes, counts are drawn (about as dear as so many draws each).
MANY = 8


def draw(
    key: PRNGKeyArray, logp: Float[Array, "*batch n"], shape: tuple[int, ...]
) -> Int[Array, "*batch_and_shape"]:
    """Actions drawn independently from each policy: `[..., *shape]` for policies `[..., n]`."""
    batch, n = logp.shape[:-1], logp.shape[-1]
    spread = jnp.broadcast_to(logp.reshape(*batch, *(1,) * len(shape), n), (*batch, *shape, n))
    return jax.random.categorical(key, spread)


def wins(key: PRNGKeyArray, skew: Float[Array, "*shape"], num_comparisons: int = 1) -> Float[Array, "*shape"]:
    """Share won of `num_comparisons` independent comparisons, each won with probability `skew + 1/2`.

    Not `uniform < skew + 1/2`: in float32 that would lose what `skew` knows of a small advantage.
    """
    uniform = jax.random.uniform(key, (*skew.shape, num_comparisons), skew.dtype)
    return jnp.mean((uniform - 0.5 < skew[..., None]).astype(skew.dtype), axis=-1)


def are_many(num_draws: int, num_outcomes: int) -> bool:
    """Whether it is cheaper to draw how often each outcome occurs than to draw one after another."""
    return num_draws > MANY * num_outcomes


def counts(
    key: PRNGKeyArray, logp: Float[Array, "*batch k"], num_draws: Float[Array, ""]
) -> Float[Array, "*batch k"]:
    """How often each outcome occurs in so many independent draws from each law: a multinomial count."""
    drawn: Array = jax.random.multinomial(key, num_draws.astype(logp.dtype), jnp.exp(logp))
    return drawn.astype(logp.dtype)


def counted_wins(
    key: PRNGKeyArray, skew: Float[Array, "*shape"], num_comparisons: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Number won of so many independent comparisons, each won with probability `skew + 1/2`."""
    return jax.random.binomial(key, num_comparisons, skew + 0.5, dtype=skew.dtype)


def entries(
    matrix: Float[Array, "*#batch n n"], rows: Int[Array, "*batch pairs"], columns: Int[Array, "*batch pairs"]
) -> Float[Array, "*batch pairs"]:
    """Entries (row, column) of each matrix."""
    n = matrix.shape[-1]
    flat = matrix.reshape(*matrix.shape[:-2], n * n)
    flat = jnp.broadcast_to(flat, (*rows.shape[:-1], n * n))
    found: Array = jnp.take_along_axis(flat, rows * n + columns, axis=-1)
    return found


def tally(
    rows: Int[Array, "*batch pairs"],
    columns: Int[Array, "*batch pairs"],
    amounts: Float[Array, "*batch pairs"],
    num_actions: int,
) -> Float[Array, "*batch n n"]:
    """Matrices of zeros, with each amount added at its (row, column)."""

    def scatter(index: Any, amount: Any) -> Any:
        return jnp.zeros(num_actions**2, amount.dtype).at[index].add(amount)

    flat = jnp.vectorize(scatter, signature="(k),(k)->(m)")(rows * num_actions + columns, amounts)
    matrices: Array = flat.reshape(*flat.shape[:-1], num_actions, num_actions)
    return matrices


def least_squares(
    weights: Float[Array, "*#batch n n"], targets: Float[Array, "*#batch n n"]
) -> Float[Array, "*batch n"]:
    """Scores h that minimize `sum_ij share_ij (h_i - h_j - targets_ij)^2`, share_ij that of the pair (i, j).

    The minimizer of every squared loss on pairs, as a table, whatever law the pairs have. Its gradient in h_i
    is 0 where h_i is the mean over i's opponents j of `h_j + targets_ij`; each such equation is divided by
    how often i is seen at all, else an action of probability 1e-20 would drop out. Under a product law,
    share_ij = p_i p_j, h is the mean of each row of targets under p.

    Args:
        weights: share_ij, each row times any positive number; >= 0.
        targets: what h_i - h_j should be, skew-symmetric.

    Returns:
        The solution of smallest norm; scores matter up to a constant in each set of actions that pairs
        connect, and an action that was never seen has 0.
    """
    rows = jnp.sum(weights, axis=-1, keepdims=True)
    shares = jnp.where(rows > 0, weights / jnp.where(rows > 0, rows, 1.0), 0.0)
    identity = jnp.eye(weights.shape[-1], dtype=weights.dtype)
    system = jnp.where(rows > 0, identity, 0.0) - shares
    right = jnp.sum(shares * targets, axis=-1)
    solution: Array = jnp.einsum("...ij,...j->...i", jnp.linalg.pinv(system), right)
    return solution
