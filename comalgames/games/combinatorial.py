"""Combinatorial games: tournaments, Colonel Blotto, and generalizations of rock, paper, scissors."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from comalgames import validation
from comalgames.games.preference import PreferenceGame


def tournament(key: PRNGKeyArray | Any, num_actions: int) -> PreferenceGame:
    """A random tournament: P[i, j] is 0 or 1, and all such games are equally likely.

    The Nash policy is unique. Its support, the bipartisan set, has an odd number of actions, and its
    probabilities are ratios of odd integers.

    Args:
        key: a JAX random key.
        num_actions: n >= 1.

    Raises:
        ValueError: `key` is not a JAX random key, or `num_actions` not a whole number >= 1.

    Reference: Fisher and Ryan, "Optimal Strategies for a Generalized Scissors, Paper, and Stone Game", 1992;
    Laffond, Laslier and Le Breton, "The Bipartisan Set of a Tournament Game", 1993.
    """
    num_actions = validation.count("num_actions", num_actions, minimum=1)
    validation.random_key("key", key)
    wins = jax.random.bernoulli(key, 0.5, (num_actions, num_actions))
    half = jnp.asarray(0.5, jnp.result_type(float))
    lower = jnp.tril(jnp.where(wins, half, -half), -1)
    return PreferenceGame.from_skew(lower - lower.swapaxes(-1, -2))


def blotto(num_coins: int, num_fields: int) -> PreferenceGame:
    """Colonel Blotto: players distribute coins over fields, and the majority of fields wins.

        P[i, j] - 1/2 = sign(fields that i wins - fields that j wins) / 2

    Actions are all distributions, n = (num_coins + num_fields - 1 choose num_fields - 1), named by their
    coins, such as "3-1-1". The Nash policy is not unique: with 5 coins and 3 fields there are 21 actions, and
    the Nash set has dimension 4 and uses 9 of them; with 10 coins and 3 fields there are 66 actions, and it
    has dimension 29 and uses 48. There is a Nash policy that is invariant under permutations of the fields.

    Args:
        num_coins: number of coins of each player, >= 1.
        num_fields: number of fields, >= 1.

    Raises:
        ValueError: an argument is not a whole number >= 1.

    Reference: Borel, "La theorie du jeu et les equations integrales a noyau symetrique", 1921; Gross and
    Wagner, "A Continuous Colonel Blotto Game", 1950.
    """
    coins = validation.count("num_coins", num_coins, minimum=1)
    fields = validation.count("num_fields", num_fields, minimum=1)
    # Stars and bars: the positions of the bars in a row of coins determine the distribution.
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

    By symmetry the uniform policy is Nash. The rotation frequencies there are

        (2 / n) |sum_k payoffs_k sin(2 pi j k / n)|,      j = 1, ..., (n - 1) / 2.

    Each frequency of 0 adds 2 to the dimension of the Nash set. With equal payoffs all frequencies are
    positive, and the uniform policy is the unique Nash policy. With payoffs `[c, 0, ..., 0]` only neighbours
    on a circle beat each other.

    Args:
        num_actions: n, odd and >= 3.
        payoffs: win rates minus 1/2, in [-1/2, 1/2]; (n - 1) / 2 numbers, nearest first, or one for all.

    Raises:
        ValueError: `num_actions` is not odd and >= 3, or `payoffs` is not as described.
    """
    n = _odd("num_actions", validation.count("num_actions", num_actions, minimum=3))
    values = validation.real_array("payoffs", payoffs).astype(np.float64)
    if values.shape not in ((), (n // 2,)) or np.abs(values).max() > 0.5:
        raise ValueError(
            f"`payoffs` must be one number or {n // 2} numbers in [-1/2, 1/2], nearest action first, got "
            f"{payoffs!r}."
        )
    values = np.broadcast_to(values, n // 2)
    # Payoffs by the distance (i - j) modulo n: 0, then wins, then losses.
    by_distance = np.concatenate([[0.0], values, -values[::-1]])
    return PreferenceGame.from_skew(by_distance[np.subtract.outer(np.arange(n), np.arange(n)) % n])


def weighted_cycle(edges: Any) -> PreferenceGame:
    """A cycle of an odd number of actions, in which all pairs but neighbours tie.

        P[i, i + 1] - 1/2 = edges_i,      indices modulo n

    The Nash policy is unique and interior. It satisfies

        policy_{i + 2} = policy_i edges_i / edges_{i + 1}.

    Args:
        edges: n win rates minus 1/2, n odd and >= 3, all in (0, 1/2] or all in [-1/2, 0).

    Raises:
        ValueError: `edges` is not as described.
    """
    values = validation.real_array("edges", edges).astype(np.float64)
    if values.ndim != 1 or len(values) < 3:
        raise ValueError(f"`edges` must be at least 3 numbers, got shape {values.shape}.")
    n = _odd("edges", len(values))
    if np.max(np.abs(values)) > 0.5 or not (np.min(values) > 0 or np.max(values) < 0):
        raise ValueError(
            f"`edges` must be in [-1/2, 1/2], all > 0 or all < 0, so that they form a cycle, got {edges!r}."
        )
    skew = np.zeros((n, n))
    skew[np.arange(n), (np.arange(n) + 1) % n] = values
    return PreferenceGame.from_skew(skew - skew.T)


def _odd(name: str, number: int) -> int:
    if number % 2 == 0:
        raise ValueError(
            f"`{name}` must give an odd number of actions (no game with an even number has a unique interior "
            f"Nash policy), got {number}."
        )
    return number
