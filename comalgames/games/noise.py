"""Games seen through noise: flipped labels, few comparisons, noisy payoffs, several annotators.

Each function maps a game to a game, exactly skew and with its names and prompt weights. To learn on the noisy
one and measure on the true one, `cg.solve(game, rule, 1000, feedback=cg.Exact(flip_labels(game, 0.2)))`.
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

# By how many roundings of the dtype a payoff may leave [-1/2, 1/2] when a flip is undone.
ROUNDINGS = 4


def flip_labels(game: PreferenceGame, rate: Any) -> PreferenceGame:
    """The game that labels show when each is flipped with probability `rate`, whatever it compares.

        P' = (1 - rate) P + rate P.T,      that is      P' - 1/2 = (1 - 2 rate) (P - 1/2)

    Its Nash policies are those of `game`. The equilibrium regularized at temperature tau is that of `game` at
    temperature tau / (1 - 2 rate): regularized rules are biased by flips, and rules that reach Nash are not.

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
    """The game whose labels, flipped with probability `rate`, show `game`; the inverse of `flip_labels`.

        P = (P' - rate) / (1 - 2 rate)

    which is the mean of the corrected soft labels (label - rate) / (1 - 2 rate). It divides noise in P' by
    1 - 2 rate too: from few comparisons P leaves [0, 1]. Rules of known step size can be corrected instead of
    the game, `cg.flip_corrected`.

    Args:
        game: a preference game, as flipped labels show it.
        rate: in [0, 1/2); a number, or one for each of the game's leading axes.
        clip: bring win rates outside [0, 1] back to its ends, rather than refuse them.

    Raises:
        ValueError: as `flip_labels`, or a win rate would leave [0, 1] and `clip` is false: flips at this rate
            never show so clear a preference.
    """
    shrinkage = _shrinkage(game, rate)
    skew = game.skew / shrinkage
    if validation.is_concrete(skew) and not clip:
        largest = float(jnp.max(jnp.abs(skew)))
        if largest > 0.5 * (1 + ROUNDINGS * float(np.finfo(skew.dtype).eps)):
            raise ValueError(
                f"`rate`={rate!r} cannot be the game's: without such flips a win rate would be "
                f"{0.5 + largest:.4g}. Labels flipped at this rate show win rates in [rate, 1 - rate]; pass "
                f"a smaller rate, or clip=True if the game was estimated from few comparisons."
            )
    return _with_skew(game, jnp.clip(skew, -0.5, 0.5))


def flip_pairs(game: PreferenceGame, rates: Any) -> PreferenceGame:
    """The game that labels show when those of each pair are flipped at a rate of the pair's own.

        P'[i, j] - 1/2 = (1 - 2 rates[i, j]) (P[i, j] - 1/2)

    Close answers are confused more often than others. Unlike a common rate this may move Nash
    policies, though no majority changes.

    Args:
        game: a preference game.
        rates: `[n, n]` or `[..., n, n]` as the game's payoffs, symmetric, in [0, 1/2).

    Raises:
        ValueError: `rates` is not symmetric, not in [0, 1/2) or has another shape, or the game is not a
            `PreferenceGame`.
    """
    _check(game)
    if validation.is_concrete(rates):
        rates = _rates("rates", rates)
        if rates.shape not in (game.skew.shape, game.skew.shape[-2:]):
            raise ValueError(
                f"`rates` must hold one rate for each pair, shape {game.skew.shape[-2:]}, got {rates.shape}."
            )
        if not np.array_equal(rates, rates.swapaxes(-1, -2)):
            worst = np.abs(rates - rates.swapaxes(-1, -2)).max()
            raise ValueError(
                f"`rates` must be symmetric (a pair is compared in either order), it is off by {worst:.3g}."
            )
    return _with_skew(game, (1 - 2 * jnp.asarray(rates, game.dtype)) * game.skew)


def estimated(key: PRNGKeyArray | Any, game: PreferenceGame, num_comparisons: int) -> PreferenceGame:
    """The game estimated from `num_comparisons` independent comparisons of each pair.

        P'[i, j] = (comparisons that i won) / num_comparisons

    Unbiased, with variance P (1 - P) / num_comparisons. With probability 1 - d all n (n - 1) / 2 pairs are
    within sqrt(log(n (n - 1) / d) / (2 num_comparisons)) of the truth (Hoeffding). A comparison has a winner;
    ties in P' are pairs won equally often.

    Args:
        key: a JAX random key.
        game: a preference game.
        num_comparisons: of each pair, >= 1.

    Raises:
        ValueError: `num_comparisons` is not a whole number >= 1, `key` is not a JAX random key, or the game
            is not a `PreferenceGame`.
    """
    _check(game)
    _check_key(key)
    count = float(validation.count("num_comparisons", num_comparisons, minimum=1))
    wins = jax.random.binomial(key, count, game.preference, dtype=game.dtype)
    # Compiled, the division may be a product with a rounded 1 / count.
    return _with_skew(game, _from_lower(jnp.clip(wins / count - 0.5, -0.5, 0.5)))


def gaussian_noise(key: PRNGKeyArray | Any, game: PreferenceGame, scale: Any) -> PreferenceGame:
    """The game with independent N(0, scale^2) noise on the win rate of each pair, clipped to [0, 1].

        P'[i, j] = clip(P[i, j] + scale * noise_ij, 0, 1),      noise_ji = -noise_ij

    Clipping pulls win rates near 0 and 1 inwards; far from them the noise is unbiased.

    Args:
        key: a JAX random key.
        game: a preference game.
        scale: standard deviation, >= 0, as a win rate.

    Raises:
        ValueError: `scale` is not a finite number >= 0, `key` is not a JAX random key, or the game is not a
            `PreferenceGame`.
    """
    _check(game)
    _check_key(key)
    validation.non_negative("scale", scale)
    noise = jnp.asarray(scale, game.dtype) * jax.random.normal(key, game.skew.shape, game.dtype)
    return _with_skew(game, _from_lower(jnp.clip(game.skew + noise, -0.5, 0.5)))


def add_cycle(game: PreferenceGame, size: Any) -> PreferenceGame:
    """The game with a cycle added: each action beats the next (n - 1) // 2 by `size` more, going round.

        P'[i, j] = P[i, j] + size,      j = i + 1, ..., i + (n - 1) // 2 modulo n

    The cycle's rows sum to 0: Borda scores and the transitive part of `hodge` stay as they are.

    Args:
        game: a preference game of at least 3 actions.
        size: how much is added, as a win rate; negative turns the cycle round.

    Raises:
        ValueError: a win rate would leave [0, 1], there are fewer than 3 actions, or the game is not a
            `PreferenceGame`.
    """
    _check(game)
    n = game.num_actions
    if n < 3:
        raise ValueError(f"`game` must have at least 3 actions to cycle, got {n}.")
    ahead = np.subtract.outer(np.arange(n), np.arange(n)).T % n  # how far j is after i
    wins = ((ahead > 0) & (ahead <= (n - 1) // 2)).astype(game.dtype)
    skew = game.skew + jnp.asarray(size, game.dtype) * (wins - wins.T)
    if validation.is_concrete(skew) and float(jnp.max(jnp.abs(skew))) > 0.5:
        raise ValueError(
            f"`size`={size!r} takes a win rate out of [0, 1], to {0.5 + float(jnp.max(jnp.abs(skew))):.4g}; "
            f"pass a smaller one."
        )
    return _with_skew(game, skew)


def stack(games: Sequence[PreferenceGame]) -> PreferenceGame:
    """Several games of the same actions, such as annotators' own, as one with them on a leading axis.

    `cg.duality_gap(stacked, logp)` is then one gap per annotator, and `flip_labels(stacked, [0.0, 0.1, 0.4])`
    gives each a noise of their own.

    Args:
        games: preference games with the same names and shape.

    Raises:
        ValueError: there is no game, or games differ in names or shape.
    """
    games = list(games)
    for game in games:
        _check(game)
        if (game.names, game.skew.shape) != (games[0].names, games[0].skew.shape):
            raise ValueError(
                f"`games` must have the same names and shape, got {games[0].names}, {games[0].skew.shape} "
                f"and {game.names}, {game.skew.shape}."
            )
    if not games:
        raise ValueError("`games` must hold at least one game.")
    weights = [game.prompt_weights for game in games if game.prompt_weights is not None]
    return PreferenceGame.from_skew(
        jnp.stack([game.skew for game in games], axis=-3),
        games[0].names,
        jnp.stack(weights, axis=-1) if len(weights) == len(games) else None,
    )


def annotator_mixture(annotators: PreferenceGame, weights: Any = None) -> PreferenceGame:
    """The game of asking one of several annotators, drawn anew for each comparison.

        P' = sum_k weights_k P_k

    Train on one choice of weights and measure on another to see what a shift of the annotators does: the gap
    of a policy in any mixture is at most the mixture of its gaps.

    Args:
        annotators: their own games, `[..., annotators, n, n]`, as `stack`, `mariner_teams` or
            `PreferenceGame` of an array make them.
        weights: how often each is asked, `[annotators]`, >= 0 and summing to 1; by default in proportion
            to `prompt_weights` where annotators are the only leading axis and it is given, else equal.

    Raises:
        ValueError: `weights` is not as above, or `annotators` not a `PreferenceGame` with a leading axis.
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
    # Rounded, the weights may add up to a little more than 1.
    within = _from_lower(jnp.clip(skew, -0.5, 0.5))
    if prompt_weights is not None:
        prompt_weights = jnp.mean(prompt_weights, axis=-1) if prompt_weights.ndim > 1 else None
    return PreferenceGame.from_skew(within, annotators.names, prompt_weights)


def _check(game: Any) -> None:
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}. A matrix of win rates becomes one "
            f"by cg.PreferenceGame(matrix); a two-player game has no labels to disturb."
        )


def check_annotators(annotators: Any) -> None:
    """Refuse what is no stack of annotators' games, `[..., annotators, n, n]`."""
    if not isinstance(annotators, PreferenceGame) or annotators.skew.ndim < 3:
        got = type(annotators).__name__
        if isinstance(annotators, PreferenceGame):
            got = f"one of shape {annotators.skew.shape}"
        raise ValueError(
            f"`annotators` must be a PreferenceGame with annotators on a leading axis, "
            f"[..., annotators, n, n], got {got}; pass cg.games.stack([game, ...])."
        )


def _check_key(key: Any) -> None:
    if isinstance(key, (int, float)):
        raise ValueError(f"`key` must be a JAX random key, got {key!r}; pass jax.random.key({key!r}).")


def _rates(name: str, value: Any) -> np.ndarray:
    rates = validation.real_array(name, value)
    if rates.size and (rates.min() < 0 or rates.max() >= 0.5):
        bad = rates.max() if rates.max() >= 0.5 else rates.min()
        raise ValueError(
            f"`{name}` must be in [0, 1/2), got {bad:g}: at 1/2 labels say nothing, above it they say the "
            f"opposite: then swap the labels and pass 1 - {name}."
        )
    return rates


def _shrinkage(game: PreferenceGame, rate: Any) -> Array:
    """1 - 2 rate, shaped to multiply the game's payoffs."""
    _check(game)
    if validation.is_concrete(rate):
        rate = _rates("rate", rate)
        if rate.shape not in ((), game.skew.shape[:-2]):
            raise ValueError(
                f"`rate` must be one number, or one for each leading axis of the game, shape "
                f"{game.skew.shape[:-2]}, got shape {rate.shape}."
            )
    return (1 - 2 * jnp.asarray(rate, game.dtype))[..., None, None]


def _from_lower(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The exactly skew matrix with the given lower triangle."""
    lower = jnp.tril(matrix, -1)
    return lower - lower.swapaxes(-1, -2)


def _with_skew(game: PreferenceGame, skew: Float[Array, "*batch n n"]) -> PreferenceGame:
    return PreferenceGame.from_skew(skew, game.names, game.prompt_weights)
