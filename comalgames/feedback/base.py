"""The interface of feedback: advantages, pairwise preferences and comparisons."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.games.preference import PreferenceGame


class Comparisons(NamedTuple):
    """Preferences on pairs of actions, both drawn independently from a policy.

    Attributes:
        skew: frequency with which the row's action was preferred to the column's, minus 1/2, `[..., n, n]`.
        weights: share of the pair (row, column) in all pairs, divided by the row's probability,
            `[..., n, n]`; the column's probability for exact feedback. (The share itself could underflow.)
        logp: log-probabilities of the policy that drew the pairs, `[..., n]`; it may differ from the policy
            of the query.
        num_pairs: number of drawn pairs; infinite for exact feedback.
    """

    skew: Float[Array, "*batch n n"]
    weights: Float[Array, "*batch n n"]
    logp: Float[Array, "*batch n"]
    num_pairs: float | Float[Array, ""] = math.inf


class AbstractFeedback(eqx.Module):
    """Base class of feedback; rules use it without knowing whether it is exact or sampled."""

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether results depend on the key, so that a run needs one."""

    @abstractmethod
    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Win rate of each action against the opponent minus 1/2 (or its payoff), `[..., n]`; one query."""

    @abstractmethod
    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Probability that the row's action is preferred to the column's, minus 1/2, `[..., n, n]`."""

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum of one number per policy over the players: twice the number, as both use the same policy."""
        return 2.0 * each

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """Preferences on pairs drawn from a policy; by default all pairs with their exact weights."""
        skew, n = self.pairwise(key), logp.shape[-1]
        batch = np.broadcast_shapes(skew.shape[:-2], logp.shape[:-1])
        weights = jnp.broadcast_to(jnp.exp(logp)[..., None, :], (*batch, n, n))
        return Comparisons(skew, weights, jnp.broadcast_to(logp, (*batch, n)))


def check_game(name: str, game: Any) -> None:
    """Raise a ValueError unless `game` is a `PreferenceGame`."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` of {name} must be a PreferenceGame, whose preference labels can be drawn, got a "
            f"{type(game).__name__}; use cg.Exact for other games."
        )


def with_prompts(logp: Any, game: PreferenceGame) -> Array:
    """The policy, broadcast to one policy per prompt."""
    n = game.num_actions
    return jnp.broadcast_to(logp, (*np.broadcast_shapes(logp.shape[:-1], game.policy_shape[:-1]), n))


def both_ways(logp: Any, margins: Any, shares: Any, num_pairs: Any) -> Comparisons:
    """Comparisons from ordered pairs (first, second), symmetrized over both orders.

    Args:
        logp: log-probabilities of the policy that drew the pairs.
        margins: share of the pair in all pairs with a win of the first, minus half of `shares`.
        shares: share of the pair in all pairs.
        num_pairs: number of pairs.
    """
    won, seen = margins - margins.swapaxes(-1, -2), shares + shares.swapaxes(-1, -2)
    known = seen > 0
    p = jnp.exp(logp)[..., :, None]
    weights = jnp.where(known, seen / jnp.where(known, 2.0 * p, 1.0), 0.0)
    return Comparisons(won / jnp.where(known, seen, 1.0), weights, logp, num_pairs)
