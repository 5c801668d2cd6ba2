"""Games from random win rates and from Bradley-Terry scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.games.preference import PreferenceGame


def random(key: PRNGKeyArray | Any, num_actions: int, prompts: Sequence[int] | int = ()) -> PreferenceGame:
    """A random game whose win rates are drawn independently and uniformly from [0, 1].

    The Nash policy is almost surely unique, and every subset of actions of odd size is equally likely to be
    its support: with an even number of actions it is never interior.

    Args:
        key: a JAX random key, `jax.random.key(seed)`.
        num_actions: n >= 1.
        prompts: shape of the leading axes (or a number of prompts), one independent game each; none by
            default.

    Raises:
        ValueError: `key` is not a JAX random key, or `num_actions` or a number of prompts not a whole number
            >= 1.

    Reference: Zhou et al., "Extragradient Preference Optimization", 2025 (the generator); Brandl, "The
    Distribution of Optimal Strategies in Symmetric Zero-Sum Games", 2017 (the support).
    """
    num_actions = validation.count("num_actions", num_actions, minimum=1)
    sizes = [prompts] if isinstance(prompts, int) else prompts
    shape = tuple(validation.count("prompts", size, minimum=1) for size in sizes)
    validation.random_key("key", key)
    draws = jax.random.uniform(key, (*shape, num_actions, num_actions)) - 0.5
    return PreferenceGame.from_skew(_skew(draws))


def bradley_terry(
    scores: Float[Array, "*prompts n"] | Any, names: Sequence[str] | None = None
) -> PreferenceGame:
    """The transitive game P[i, j] = sigmoid(scores_i - scores_j); the highest score is the Nash policy.

    Args:
        scores: rewards `[..., n]`, finite; unit: nats of log-odds. Leading axes are prompts.
        names: names of the actions.

    Raises:
        ValueError: `scores` is not a finite array with at least one axis.

    Reference: Bradley and Terry, "Rank Analysis of Incomplete Block Designs", 1952.
    """
    return PreferenceGame.from_skew(_judge(_scores(scores, 1)), names)


def bradley_terry_mixture(
    scores: Float[Array, "*prompts judges n"] | Any, weights: Float[Array, " judges"] | Any = None
) -> PreferenceGame:
    """A mixture of Bradley-Terry judges, P[i, j] = sum_k weights_k sigmoid(s_ki - s_kj).

    One judge is drawn for each comparison. Each judge is transitive, but the mixture need not be: three
    judges with equal weights often form a cycle. Two judges with equal weights never do, because their
    majorities follow the sum of their scores.

    Args:
        scores: rewards `[..., judges, n]`, finite; unit: nats of log-odds.
        weights: probability of each judge, `[judges]`, >= 0 and summing to 1; equal by default.

    Raises:
        ValueError: `scores` or `weights` is not as described.
    """
    values = _scores(scores, 2)
    judges = values.shape[-2]
    if weights is None:
        weights = [1 / judges] * judges
    shares = validation.real_array("weights", weights)
    if shares.shape != (judges,) or shares.min() < 0 or abs(shares.sum() - 1) > validation.SUM_TOLERANCE:
        raise ValueError(
            f"`weights` must be {judges} numbers >= 0 that sum to 1, one per judge, got {weights!r}."
        )
    shared = jnp.asarray(shares, values.dtype)[:, None, None]
    return PreferenceGame.from_skew(_skew(jnp.sum(shared * _judge(values), axis=-3)))


def _scores(scores: Any, min_axes: int) -> Float[Array, "*batch n"]:
    if validation.is_concrete(scores):
        scores = validation.real_array("scores", scores)
    if scores.ndim < min_axes or scores.size == 0:
        raise ValueError(
            f"`scores` must have at least {min_axes} axes, none empty and actions on the last, got shape "
            f"{scores.shape}."
        )
    return jnp.asarray(scores)


def _judge(scores: Float[Array, "*batch n"]) -> Float[Array, "*batch n n"]:
    """Payoffs sigmoid(x) - 1/2 = tanh(x / 2) / 2, accurate also for close scores."""
    return _skew(jnp.tanh((scores[..., :, None] - scores[..., None, :]) / 2) / 2)


def _skew(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The exactly skew matrix with the given lower triangle."""
    lower = jnp.tril(matrix, -1)
    return lower - lower.swapaxes(-1, -2)
