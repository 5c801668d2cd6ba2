"""Games of counting: tournaments, contests over fields, and games of rock, paper, scissors of any size."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from comalgames import validation
from comalgames.games.preference import PreferenceGame
from comalgames.games.prescribed import check_key


def tournament(key: PRNGKeyArray | Any, num_actions: int) -> PreferenceGame:
    """A random game in which one of any two actions always wins; all such games are equally likely.

        P[i, j] is 0 or 1

    The Nash policy is unique. Its support, the bipartisan set, is odd, and its probabilities are fractions of
    odd whole numbers.

    Args:
        key: a JAX random key.
        num_actions: n >= 1.

    Raises:
        ValueError: `key` is not a JAX random key, or `num_actions` not a whole number >= 1.

    Reference: Fisher and Ryan, "Optimal Strategies for a Generalized Scissors, Paper, and Stone Game", 1992;
    Laffond, Laslier and Le Breton, "The Bipartisan Set of a Tournament Game", 1993.
    """
    num_actions = validation.count("num_actions", num_actions, minimum=1)
    check_key(key)
    wins = jax.random.bernoulli(key, 0.5, (num_actions, num_actions))
    half = jnp.asarray(0.5, jnp.result_type(float))
    lower = jnp.tril(jnp.where(wins, half, -half), -1)
    return PreferenceGame.from_skew(lower - lower.swapaxes(-1, -2))


def blotto(num_coins: int, num_fields: int) -> PreferenceGame:
    """Colonel Blotto: split coins over fields; who has more coins on more fields wins.

        P[i, j] - 1/2 = sign(fields that i wins - fields that j wins) / 2

    Actions are all ways to split, n = (num_coins + num_fields - 1 choose num_fields - 1), named by their
    coins such as "3-1-1". There are many Nash policies: 5 coins on 3 fields make 21 actions, of which Nash
    policies use 9, in a set of dimension 4; 10 coins on 3 fields make 66, of which they use 48, in dimension
    29. Some Nash policy gives splits that differ in the order of fields alone the same probability.

    Args:
        num_coins: of each player, >= 1.
        num_fields: >= 1.

    Raises:
        ValueError: an argument is not a whole number >= 1.

    Reference: Borel, "La theorie du jeu et les equations integrales a noyau symetrique", 1921; Gross and
    Wagner, "A Continuous Colonel Blotto Game", 1950.
    """
    coins = validation.count("num_coins", num_coins, minimum=1)
    fields = validation.count("num_fields", num_fields, minimum=1)
    # Coins in a row, with bars between fields: the places of the bars make the split.
    places = list(combinations(range(coins + fields - 1), fields - 1))
    bars = np.array(places, int).reshape(len(places), fields - 1)
    ends = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, coins + fields - 1)))
    splits = np.diff(ends) - 1
    won = sum(np.sign(np.subtract.outer(column, column)) for column in splits.T)
    names = ["-".join(map(str, split)) for split in splits]
    return PreferenceGame.from_skew(np.sign(won) / 2.0, names)


def n_ary_rock_paper_scissors(num_actions: int, payoffs: Any = 0.5) -> PreferenceGame:
    """Rock, paper, scissors with an odd number of actions, each of which beats the (n - 1) / 2 before it.

        P[i, i - k] - 1/2 = payoffs_k,      k = 1, ..., (n - 1) / 2,      indices modulo n

    All actions are alike, so the uniform policy is Nash. The game's rotation frequencies there are

        (2 / n) |sum_k payoffs_k sin(2 pi j k / n)|,      j = 1, ..., (n - 1) / 2.

    Each that is 0 adds 2 to the dimension of the Nash set; none is with equal payoffs, so that the uniform
    policy is then the only Nash policy. `[c, 0, ..., 0]` makes a circle in which neighbours alone compare.

    Args:
        num_actions: n, odd and >= 3.
        payoffs: win rates minus 1/2, in [-1/2, 1/2]; (n - 1) / 2 numbers, nearest first, or one for all.

    Raises:
        ValueError: `num_actions` is not odd and >= 3, or `payoffs` is not as above.
    """
    n = _odd("num_actions", validation.count("num_actions", num_actions, minimum=3))
    values = validation.real_array("payoffs", payoffs).astype(np.float64)
    if values.shape not in ((), (n // 2,)) or np.abs(values).max() > 0.5:
        raise ValueError(
            f"`payoffs` must be one number or {n // 2} numbers in [-1/2, 1/2], nearest action first, got "
            f"{payoffs!r}."
        )
    values = np.broadcast_to(values, n // 2)
    # By how far row i is after column j: 0, then the payoffs of winning, then those of losing.
    by_distance = np.concatenate([[0.0], values, -values[::-1]])
    return PreferenceGame.from_skew(by_distance[np.subtract.outer(np.arange(n), np.arange(n)) % n])


def weighted_cycle(edges: Any) -> PreferenceGame:
    """An odd number of actions in a circle, where each compares with its neighbours alone: a longer `cycle`.

        P[i, i + 1] - 1/2 = edges_i,      indices modulo n

    The Nash policy is unique and interior. Going round in steps of two,

        policy_{i + 2} = policy_i edges_i / edges_{i + 1}.

    Args:
        edges: n win rates minus 1/2, n odd and >= 3, all in (0, 1/2] or all in [-1/2, 0).

    Raises:
        ValueError: `edges` is not as above.
    """
    values = validation.real_array("edges", edges).astype(np.float64)
    if values.ndim != 1 or len(values) < 3:
        raise ValueError(f"`edges` must be at least 3 numbers, got shape {values.shape}.")
    n = _odd("edges", len(values))
    if np.abs(values).max() > 0.5 or not (values.min() > 0 or values.max() < 0):
        raise ValueError(
            f"`edges` must be in [-1/2, 1/2], all > 0 or all < 0, so that they go round one way, got "
            f"{edges!r}."
        )
    skew = np.zeros((n, n))
    skew[np.arange(n), (np.arange(n) + 1) % n] = values
    return PreferenceGame.from_skew(skew - skew.T)


def _odd(name: str, number: int) -> int:
    if number % 2 == 0:
        raise ValueError(
            f"`{name}` must make an odd number of actions (an even number has no unique interior Nash "
            f"policy), got {number}."
        )
    return number
