"""Games whose payoffs are computed from points, vectors, ratings and skills."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.games.noise import stack
from comalgames.games.preference import PreferenceGame
from comalgames.games.synthetic import bradley_terry

READINGS = ("preference", "logit")


def disc(points: Float[Array, "*prompts n 2"] | Any) -> PreferenceGame:
    """The disc game: points in the plane, where each beats those less than half a turn clockwise from it.

        P[i, j] - 1/2 proportional to y_i x_j - x_i y_j,      the largest payoff 1/2

    The payoff matrix has rank 2. If the origin is inside the convex hull of the points, the Nash policies are
    those whose mean point is the origin, `sum_i policy_i points_i = 0`: a set of dimension n - 3 that
    contains interior policies. If the origin is outside, the point furthest counter-clockwise beats all
    others and is the Nash policy.

    Args:
        points: (x, y) of each action, `[..., n, 2]`, finite, in any unit. Leading axes are prompts.

    Raises:
        ValueError: `points` is not as described.

    Reference: Balduzzi et al., "Open-Ended Learning in Symmetric Zero-Sum Games", 2019.
    """
    vectors = _array("points", points, "[..., n, 2], x and y of each action", lambda shape: shape[-1] == 2)
    return PreferenceGame.from_skew(_to_half(-_rotation(vectors)))


def general_preference(
    vectors: Float[Array, "*prompts n d"] | Any, temperature: Any = 1.0, reading: str = "preference"
) -> PreferenceGame:
    """The General Preference Model (GPM), whose scores are skew-symmetric bilinear forms of vectors.

        score_ij = sum_k v_i[2k] v_j[2k + 1] - v_i[2k + 1] v_j[2k]
        P[i, j] = sigmoid(score_ij / temperature)                          reading "preference"
        P[i, j] - 1/2 proportional to score_ij, the largest 1/2            reading "logit"

    The two readings are different games. The score matrix has rank at most d. If the origin is inside the
    convex hull of the vectors, the Nash policies of "logit" are those whose mean vector is 0: a set of
    dimension n - 1 - d. The sigmoid raises the rank to n, or n - 1 for odd n: the Nash policy of "preference"
    is in general unique and not a Nash policy of "logit". At a high temperature the sigmoid is almost linear,
    and payoffs far below the largest determine the Nash policy. The readings have the same majorities, hence
    the same Condorcet winner if there is one.

    Args:
        vectors: one vector per action, `[..., n, d]` with d even, finite. Leading axes are prompts.
        temperature: scale of the scores, > 0; without effect on the reading "logit".
        reading: the interpretation of the scores, "preference" or "logit".

    Raises:
        ValueError: an argument is not as described.

    Reference: Zhang et al., "Beyond Bradley-Terry Models: A General Preference Model for Language Model
    Alignment", arXiv 2410.02197.
    """
    validation.positive("temperature", temperature)
    scores = _rotation(_vectors(vectors))
    return _read(scores / jnp.asarray(temperature, scores.dtype), reading)


def multidimensional_elo(
    ratings: Float[Array, "*prompts n"] | Any,
    vectors: Float[Array, "*prompts n d"] | Any,
    reading: str = "preference",
) -> PreferenceGame:
    """Multidimensional Elo (mElo): scores with a transitive part from ratings and a cyclic part from vectors.

        score_ij = ratings_i - ratings_j + sum_k v_i[2k] v_j[2k + 1] - v_i[2k + 1] v_j[2k]

    with the readings of `general_preference`. The score matrix has rank at most d + 2. If all vectors are 0,
    the reading "preference" is `bradley_terry(ratings)`; with equal ratings it is
    `general_preference(vectors)`. An action with positive scores against all others is the Nash policy in
    both readings.

    Args:
        ratings: one rating per action, `[..., n]`, finite; in nats of log-odds for the reading "preference".
        vectors: one vector per action, `[..., n, d]` with d even, finite.
        reading: the interpretation of the scores, "preference" or "logit".

    Raises:
        ValueError: an argument is not as described, or `ratings` and `vectors` differ in number.

    Reference: Balduzzi, Tuyls, Perolat and Graepel, "Re-evaluating Evaluation", 2018.
    """
    turned = _vectors(vectors)
    levels = _array("ratings", ratings, "[..., n]", lambda shape: True, min_axes=1).astype(turned.dtype)
    if levels.shape != turned.shape[:-1]:
        raise ValueError(
            f"`ratings` must have one rating for each of the vectors, shape {turned.shape[:-1]}, got "
            f"{levels.shape}."
        )
    return _read(levels[..., :, None] - levels[..., None, :] + _rotation(turned), reading)


def game_of_skill(key: PRNGKeyArray | Any, num_actions: int, skill: Any) -> PreferenceGame:
    """A random game of skill: a random cyclic part plus differences of skills.

        P[i, j] - 1/2 proportional to (W_ij - W_ji) / 2 + skill (s_i - s_j),      the largest payoff 1/2

    with W_ij and s_i independent N(0, 1). The Nash policy is almost surely unique, with an odd number of
    actions in its support. With skill 0 every support of odd size is equally likely (n / 2 actions on
    average); larger skills make it smaller. With 30 actions its mean size is 15 at skill 0, 4.7 at 0.5, 2.4
    at 1 and 1.4 at 2.

    Args:
        key: a JAX random key.
        num_actions: n >= 1.
        skill: standard deviation of the skills, relative to that of W, >= 0.

    Raises:
        ValueError: `key` is not a JAX random key, `num_actions` not a whole number >= 1, or `skill` not a
            finite number >= 0.

    Reference: Czarnecki et al., "Real World Games Look Like Spinning Tops", 2020; Brandl, "The Distribution
    of Optimal Strategies in Symmetric Zero-Sum Games", 2017 (the support without skill).
    """
    num_actions = validation.count("num_actions", num_actions, minimum=1)
    validation.random_key("key", key)
    validation.non_negative("skill", skill)
    chance_key, skill_key = jax.random.split(key)
    chance = jax.random.normal(chance_key, (num_actions, num_actions))
    skills = jnp.asarray(skill, chance.dtype) * jax.random.normal(skill_key, (num_actions,))
    return PreferenceGame.from_skew(_to_half((chance - chance.T) / 2 + skills[:, None] - skills))


def cyclic_annotators(slope: Any) -> PreferenceGame:
    """Three annotators with the rankings 0 > 1 > 2, 1 > 2 > 0 and 2 > 0 > 1, whose mixture is a cycle.

    Each is a Bradley-Terry judge whose scores decrease by `slope` from rank to rank. In the mixture with
    equal weights, `annotator_mixture(cyclic_annotators(slope))`, 0 beats 1, 1 beats 2 and 2 beats 0 by

        (2 sigmoid(slope) + sigmoid(-2 slope)) / 3 - 1/2 > 0,      1/6 for slope -> inf,

    and the uniform policy is the unique Nash policy, although each annotator has a best action: 0, 1 and 2.

    Args:
        slope: difference of neighbouring scores, in nats of log-odds, > 0.

    Returns:
        The games of the annotators on a leading axis, as in `stack`.

    Raises:
        ValueError: `slope` is not a finite number > 0.

    Reference: Condorcet, "Essai sur l'application de l'analyse a la probabilite des decisions", 1785.
    """
    validation.positive("slope", slope)
    scores = jnp.asarray(slope, jnp.result_type(float)) * jnp.arange(3.0)[::-1]
    return stack([bradley_terry(jnp.roll(scores, k)) for k in range(3)])


def transitive_plus_cyclic(scores: Any, cyclic: Any) -> PreferenceGame:
    """The game with a given transitive part and a given cyclic part; the inverse of `hodge`.

        P[i, j] - 1/2 = scores_i - scores_j + cyclic_ij,      cyclic 1 = 0

    With equal scores the uniform policy is Nash. For three actions, if the payoffs of 0 against 1, 1 against
    2 and 2 against 0 have the same sign, the Nash policy is that of `cycle`; if one action beats both others,
    it is the Nash policy. To add a cycle to any game, such as a Bradley-Terry game, use `add_cycle`.

    Args:
        scores: payoffs `[n]`, finite; a constant added to all scores has no effect.
        cyclic: payoffs `[n, n]`, skew and with rows that sum to 0, both within 1e-6 (it is made exactly
            skew); `hodge(game).cyclic` of some game, or a multiple of it.

    Raises:
        ValueError: `cyclic` is not as described, shapes differ, or a win rate would leave [0, 1].

    Reference: Jiang, Lim, Yao and Ye, "Statistical Ranking and Combinatorial Hodge Theory", 2011.
    """
    levels = validation.real_array("scores", scores).astype(np.float64)
    turning = validation.real_array("cyclic", cyclic).astype(np.float64)
    if levels.ndim != 1 or not len(levels) or turning.shape != (len(levels), len(levels)):
        raise ValueError(
            f"`scores` and `cyclic` must have shapes [n] and [n, n], got {levels.shape} and {turning.shape}."
        )
    off = max(np.abs(turning + turning.T).max(), np.abs(turning.sum(-1)).max())
    if off > validation.SUM_TOLERANCE:
        raise ValueError(
            f"`cyclic` must be skew with rows that sum to 0; the largest deviation is {off:.3g}. Pass the "
            f"`cyclic` part that games.hodge returns, and its `scores`."
        )
    skew = np.subtract.outer(levels, levels) + (turning - turning.T) / 2
    if np.abs(skew).max() > 0.5:
        raise ValueError(
            f"`scores` and `cyclic` take a win rate out of [0, 1], to {0.5 + np.abs(skew).max():.4g}; "
            f"multiply both by at most {0.5 / np.abs(skew).max() * (1 - 1e-5):.6g}."  # rounded down
        )
    return PreferenceGame.from_skew(skew)


def _array(name: str, value: Any, accepted: str, fits: Any, min_axes: int = 2) -> Float[Array, ...]:
    if validation.is_concrete(value):
        value = validation.real_array(name, value)
    if value.ndim < min_axes or 0 in value.shape or not fits(value.shape):
        raise ValueError(f"`{name}` must have the shape {accepted}, got {value.shape}.")
    return jnp.asarray(value)


def _vectors(vectors: Any) -> Float[Array, "*batch n d"]:
    accepted = "[..., n, d] with d even, one vector per action"
    return _array("vectors", vectors, accepted, lambda shape: shape[-1] % 2 == 0)


def _rotation(vectors: Float[Array, "*batch n d"]) -> Float[Array, "*batch n n"]:
    """The skew-symmetric bilinear form of each pair of vectors, summed over pairs of coordinates."""
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("...id,...jd->...ij", even, odd, precision=highest) - jnp.einsum(
        "...id,...jd->...ij", odd, even, precision=highest
    )


def _read(scores: Float[Array, "*batch n n"], reading: str) -> PreferenceGame:
    if validation.known("reading", reading, READINGS) == "logit":
        return PreferenceGame.from_skew(_to_half(scores))
    # sigmoid(x) - 1/2, accurate also for close scores
    return PreferenceGame.from_skew(_skew(jnp.tanh(scores / 2) / 2))


def _to_half(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """A skew matrix scaled to a largest entry of 1/2, exactly skew; a zero matrix is unchanged."""
    largest = jnp.max(jnp.abs(jnp.tril(matrix, -1)), axis=(-2, -1), keepdims=True)
    # The compiled division may be a product with a rounded reciprocal.
    return _skew(jnp.clip(matrix / jnp.where(largest > 0, 2 * largest, 1), -0.5, 0.5))


def _skew(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The exactly skew matrix with the given lower triangle."""
    lower = jnp.tril(matrix, -1)
    return lower - lower.swapaxes(-1, -2)
