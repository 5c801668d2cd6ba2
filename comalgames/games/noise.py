"""Noisy versions of a game: flipped labels, finitely many comparisons, noisy payoffs, several annotators.

Each function maps a game to a game, exactly skew and with its names and prompt weights. To learn on the noisy
game and measure on the true one, use
`cg.solve(game, rule, 1000, feedback=cg.Exact(flip_labels(game, 0.2)))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.games.preference import PreferenceGame

# Tolerance on payoffs in [-1/2, 1/2] when flips are undone, in units of the machine epsilon.
EPSILONS = 4


def flip_labels(game: PreferenceGame, rate: Any) -> PreferenceGame:
    """The game of preference labels that are flipped with probability `rate`, independently of the pair.

        P' = (1 - rate) P + rate P.T,      that is      P' - 1/2 = (1 - 2 rate) (P - 1/2)

    It has the same Nash policies as `game`. Its regularized equilibrium at temperature tau is that of `game`
    at temperature tau / (1 - 2 rate): flips bias regularized rules, but not rules that converge to Nash.

    Args:
        game: a preference game.
        rate: in [0, 1/2); a number, or one for each of the game's leading axes (annotators, prompts).

    Raises:
        ValueError: `rate` is not in [0, 1/2) or has another shape, or the game is not a `PreferenceGame`.

    Example:
        >>> cg.games.flip_labels(cg.games.comal_cycle(), 0.25).preference[0]
        Array([0.5 , 0.3 , 0.65], dtype=float64)
    """
    return _with_skew(game, _shrinkage(game, rate) * game.skew)


def unflip_labels(game: PreferenceGame, rate: Any, clip: bool = False) -> PreferenceGame:
    """The game of the true labels, from the game of labels flipped with probability `rate`.

        P = (P' - rate) / (1 - 2 rate)

    which is the mean of the corrected soft labels (label - rate) / (1 - 2 rate). It is the inverse of
    `flip_labels`. It amplifies noise in P' by 1 / (1 - 2 rate): for a P' estimated from few comparisons, P
    may leave [0, 1]. To correct the rule instead of the game, see `cg.flip_corrected`.

    Args:
        game: the preference game of the flipped labels.
        rate: in [0, 1/2); a number, or one for each of the game's leading axes.
        clip: whether to clip win rates outside [0, 1] instead of raising an error.

    Raises:
        ValueError: as `flip_labels`, or a win rate would leave [0, 1] and `clip` is false.
    """
    shrinkage = _shrinkage(game, rate)
    skew = game.skew / shrinkage
    if validation.is_concrete(skew) and not clip:
        largest = float(jnp.max(jnp.abs(skew)))
        if largest > 0.5 * (1 + EPSILONS * float(np.finfo(skew.dtype).eps)):
            raise ValueError(
                f"`rate`={rate!r} cannot be the flip rate of this game: a corrected win rate would be "
                f"{0.5 + largest:.4g}. Labels flipped at this rate have win rates in [rate, 1 - rate]; pass "
                f"a smaller rate, or clip=True if the game was estimated from few comparisons."
            )
    return _with_skew(game, jnp.clip(skew, -0.5, 0.5))


def flip_pairs(game: PreferenceGame, rates: Any) -> PreferenceGame:
    """The game of preference labels that are flipped with a probability that depends on the pair.

        P'[i, j] - 1/2 = (1 - 2 rates[i, j]) (P[i, j] - 1/2)

    It models annotators who confuse similar answers more often. Unlike a common rate this may move the Nash
    policies, although no majority changes.

    Args:
        game: a preference game.
        rates: flip rates `[n, n]` or `[..., n, n]`, symmetric, in [0, 1/2).

    Raises:
        ValueError: `rates` is not symmetric, not in [0, 1/2) or has another shape, or the game is not a
            `PreferenceGame`.
    """
    _check_game(game)
    if validation.is_concrete(rates):
        rates = _rates("rates", rates)
        if rates.shape not in (game.skew.shape, game.skew.shape[-2:]):
            raise ValueError(
                f"`rates` must hold one rate for each pair, shape {game.skew.shape[-2:]}, got {rates.shape}."
            )
        if not np.array_equal(rates, rates.swapaxes(-1, -2)):
            worst = np.abs(rates - rates.swapaxes(-1, -2)).max()
            raise ValueError(
                f"`rates` must be symmetric, because pairs are unordered; the largest deviation is "
                f"{worst:.3g}. Pass (rates + rates.T) / 2."
            )
    return _with_skew(game, (1 - 2 * jnp.asarray(rates, game.dtype)) * game.skew)


def estimated(key: PRNGKeyArray | Any, game: PreferenceGame, num_comparisons: int) -> PreferenceGame:
    """The game estimated from `num_comparisons` independent comparisons of each pair.

        P'[i, j] = (comparisons that i won) / num_comparisons

    The estimate is unbiased, with variance P (1 - P) / num_comparisons. With probability 1 - d the errors of
    all n (n - 1) / 2 pairs are at most sqrt(log(n (n - 1) / d) / (2 num_comparisons)) (Hoeffding). Each
    comparison has a winner.

    Args:
        key: a JAX random key.
        game: a preference game.
        num_comparisons: number of comparisons of each pair, >= 1.

    Raises:
        ValueError: `num_comparisons` is not a whole number >= 1, `key` is not a JAX random key, or the game
            is not a `PreferenceGame`.
    """
    _check_game(game)
    validation.random_key("key", key)
    count = float(validation.count("num_comparisons", num_comparisons, minimum=1))
    wins = jax.random.binomial(key, count, game.preference, dtype=game.dtype)
    # The compiled division may be a product with a rounded 1 / count.
    return _with_skew(game, _from_lower(jnp.clip(wins / count - 0.5, -0.5, 0.5)))


def gaussian_noise(key: PRNGKeyArray | Any, game: PreferenceGame, scale: Any) -> PreferenceGame:
    """The game with independent N(0, scale^2) noise on the win rate of each pair, clipped to [0, 1].

        P'[i, j] = clip(P[i, j] + scale * noise_ij, 0, 1),      noise_ji = -noise_ij

    Clipping biases win rates near 0 and 1 inwards; elsewhere the noise is unbiased.

    Args:
        key: a JAX random key.
        game: a preference game.
        scale: standard deviation, >= 0, in units of win rate.

    Raises:
        ValueError: `scale` is not a finite number >= 0, `key` is not a JAX random key, or the game is not a
            `PreferenceGame`.
    """
    _check_game(game)
    validation.random_key("key", key)
    validation.non_negative("scale", scale)
    noise = jnp.asarray(scale, game.dtype) * jax.random.normal(key, game.skew.shape, game.dtype)
    return _with_skew(game, _from_lower(jnp.clip(game.skew + noise, -0.5, 0.5)))


def add_cycle(game: PreferenceGame, size: Any) -> PreferenceGame:
    """The game with a cycle added, in which each action gains `size` against the next (n - 1) // 2 actions.

        P'[i, j] = P[i, j] + size,      j = i + 1, ..., i + (n - 1) // 2 modulo n

    The rows of the cycle sum to 0, so that Borda scores and the transitive part of `hodge` do not change.

    Args:
        game: a preference game of at least 3 actions.
        size: the added win rate; a negative number reverses the cycle.

    Raises:
        ValueError: a win rate would leave [0, 1], there are fewer than 3 actions, or the game is not a
            `PreferenceGame`.
    """
    _check_game(game)
    n = game.num_actions
    if n < 3:
        raise ValueError(f"`game` must have at least 3 actions to form a cycle, got {n}.")
    ahead = np.subtract.outer(np.arange(n), np.arange(n)).T % n  # (j - i) modulo n
    wins = ((ahead > 0) & (ahead <= (n - 1) // 2)).astype(game.dtype)
    skew = game.skew + jnp.asarray(size, game.dtype) * (wins - wins.T)
    if validation.is_concrete(skew) and float(jnp.max(jnp.abs(skew))) > 0.5:
        raise ValueError(
            f"`size`={size!r} takes a win rate out of [0, 1], to {0.5 + float(jnp.max(jnp.abs(skew))):.4g}; "
            f"pass a smaller size."
        )
    return _with_skew(game, skew)


def stack(games: Sequence[PreferenceGame]) -> PreferenceGame:
    """Stack several games on the same actions, such as those of annotators, along a leading axis.

    `cg.duality_gap(stacked, logp)` is then one gap per annotator, and `flip_labels(stacked, [0.0, 0.1, 0.4])`
    applies a different flip rate to each.

    Args:
        games: preference games with the same names and shape.

    Raises:
        ValueError: `games` is empty, or games differ in names or shape.
    """
    games = list(games)
    for game in games:
        _check_game(game)
        if (game.names, game.skew.shape) != (games[0].names, games[0].skew.shape):
            raise ValueError(
                f"`games` must have the same names and shape, got {games[0].names}, {games[0].skew.shape} "
                f"and {game.names}, {game.skew.shape}."
            )
    if not games:
        raise ValueError("`games` must hold at least one game, got an empty list.")
    weights = [game.prompt_weights for game in games if game.prompt_weights is not None]
    return PreferenceGame.from_skew(
        jnp.stack([game.skew for game in games], axis=-3),
        games[0].names,
        jnp.stack(weights, axis=-1) if len(weights) == len(games) else None,
    )


def annotator_mixture(annotators: PreferenceGame, weights: Any = None) -> PreferenceGame:
    """The game in which one of several annotators is drawn at random for each comparison.

        P' = sum_k weights_k P_k

    To study a shift in the population of annotators, train with one choice of weights and measure with
    another. The duality gap of a policy in a mixture is at most the weighted mean of its gaps.

    Args:
        annotators: the games of the annotators, `[..., annotators, n, n]`, as returned by `stack` or
            `mariner_teams`, or a `PreferenceGame` of an array.
        weights: probability of each annotator, `[annotators]`, >= 0 and summing to 1; by default proportional
            to `prompt_weights` if they are given and annotators are the only leading axis, else equal.

    Raises:
        ValueError: `weights` is not as described, or `annotators` is not a `PreferenceGame` with a leading
            axis.
    """
    check_annotators(annotators)
    num_annotators = annotators.skew.shape[-3]
    prompt_weights = annotators.prompt_weights
    if weights is None:
        counts = jnp.ones(num_annotators, annotators.dtype)
        if prompt_weights is not None and prompt_weights.ndim == 1:
            counts = prompt_weights
        weights = counts / jnp.sum(counts)
    elif validation.is_concrete(weights):
        shares = validation.real_array("weights", weights)
        in_simplex = shares.min(initial=0) >= 0 and abs(shares.sum() - 1) <= validation.SUM_TOLERANCE
        if shares.shape != (num_annotators,) or not in_simplex:
            raise ValueError(
                f"`weights` must be {num_annotators} numbers >= 0 that sum to 1, one per annotator, got "
                f"{weights!r}."
            )
        weights = shares / shares.sum()
    weights = jnp.asarray(weights, annotators.dtype)
    skew = jnp.sum(weights[..., None, None] * annotators.skew, axis=-3)
    # The rounded weights may add up to slightly more than 1.
    within = _from_lower(jnp.clip(skew, -0.5, 0.5))
    if prompt_weights is not None:
        prompt_weights = jnp.mean(prompt_weights, axis=-1) if prompt_weights.ndim > 1 else None
    return PreferenceGame.from_skew(within, annotators.names, prompt_weights)


def _check_game(game: Any) -> None:
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}. Convert a matrix of win rates with "
            f"cg.PreferenceGame(matrix); a two-player game has no preference labels."
        )


def check_annotators(annotators: Any) -> None:
    """Raise a ValueError unless `annotators` is a stack of games, `[..., annotators, n, n]`."""
    if not isinstance(annotators, PreferenceGame) or annotators.skew.ndim < 3:
        got = type(annotators).__name__
        if isinstance(annotators, PreferenceGame):
            got = f"one of shape {annotators.skew.shape}"
        raise ValueError(
            f"`annotators` must be a PreferenceGame with annotators on a leading axis, "
            f"[..., annotators, n, n], got {got}; pass cg.games.stack([game, ...])."
        )


def _rates(name: str, value: Any) -> np.ndarray:
    rates = validation.real_array(name, value)
    if rates.size and (rates.min() < 0 or rates.max() >= 0.5):
        bad = rates.max() if rates.max() >= 0.5 else rates.min()
        raise ValueError(
            f"`{name}` must be in [0, 1/2), got {bad:g}: at 1/2 labels carry no information. Above 1/2, swap "
            f"the labels and pass 1 - {name}."
        )
    return rates


def _shrinkage(game: PreferenceGame, rate: Any) -> Array:
    """The factor 1 - 2 rate, with a shape that broadcasts against the payoffs of the game."""
    _check_game(game)
    if validation.is_concrete(rate):
        rate = _rates("rate", rate)
        if rate.shape not in ((), game.skew.shape[:-2]):
            raise ValueError(
                f"`rate` must be one number, or one for each leading axis of the game, shape "
                f"{game.skew.shape[:-2]}, got shape {rate.shape}."
            )
    return (1 - 2 * jnp.asarray(rate, game.dtype))[..., None, None]


def _from_lower(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The exactly skew matrix with the given lower triangle.

    Entries are gathered once and scattered twice: in a difference with the transpose, a compiler may compute
    an entry in two places and round it in two ways.
    """
    i, j = np.tril_indices(matrix.shape[-1], -1)
    payoffs = matrix[..., i, j]
    return jnp.zeros_like(matrix).at[..., i, j].set(payoffs).at[..., j, i].set(-payoffs)


def _with_skew(game: PreferenceGame, skew: Float[Array, "*batch n n"]) -> PreferenceGame:
    return PreferenceGame.from_skew(skew, game.names, game.prompt_weights)
