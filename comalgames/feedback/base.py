"""Answers to the questions of a learning rule: advantages, pairwise preferences, comparisons."""

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
    """What is known of pairs that were drawn from a policy, independently for the two places.

    Attributes:
        skew: how often the row's action was preferred to the column's, minus 1/2, `[..., n, n]`.
        weights: how large a share of all pairs is (row, column), divided by the row's probability, `[..., n,
            n]`; for exact feedback the column's probability. (The share itself would underflow.)
        logp: the policy they were drawn from, log-probabilities `[..., n]`; not always the one asked about.
        num_pairs: how many pairs were drawn; infinite for exact feedback.
    """

    skew: Float[Array, "*batch n n"]
    weights: Float[Array, "*batch n n"]
    logp: Float[Array, "*batch n"]
    num_pairs: float | Float[Array, ""] = math.inf


class AbstractFeedback(eqx.Module):
    """Where a rule's information comes from; the rule need not know whether it is exact or sampled."""

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether answers depend on the key, so that a run needs one."""

    @abstractmethod
    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Each action's win rate against the opponent minus 1/2 (or its payoff), `[..., n]`; one query."""

    @abstractmethod
    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """How often the row's action is preferred to the column's, minus 1/2, `[..., n, n]`."""

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum over the players of one number per policy: twice it, for one policy plays both sides."""
        return 2.0 * each

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """Preferences on pairs drawn from a policy; by default all pairs, each with its exact weight."""
        skew, n = self.pairwise(key), logp.shape[-1]
        batch = np.broadcast_shapes(skew.shape[:-2], logp.shape[:-1])
        weights = jnp.broadcast_to(jnp.exp(logp)[..., None, :], (*batch, n, n))
        return Comparisons(skew, weights, jnp.broadcast_to(logp, (*batch, n)))


def check_game(name: str, game: Any) -> None:
    """Refuse a game without preferences."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` of {name} must be a PreferenceGame, whose preferences can be drawn, got a "
            f"{type(game).__name__}."
        )


def with_prompts(logp: Any, game: PreferenceGame) -> Array:
    """One policy per prompt."""
    n = game.num_actions
    return jnp.broadcast_to(logp, (*np.broadcast_shapes(logp.shape[:-1], game.policy_shape[:-1]), n))


def both_ways(logp: Any, margins: Any, shares: Any, num_pairs: Any) -> Comparisons:
    """Pairs (first, second), each seen from both of its sides.

    Args:
        logp: the policy they were drawn from.
        margins: share of all pairs that are these and won by the first, minus half their share.
        shares: share of all pairs that are these.
        num_pairs: how many there were.
    """
    won, seen = margins - margins.swapaxes(-1, -2), shares + shares.swapaxes(-1, -2)
    known = seen > 0
    p = jnp.exp(logp)[..., :, None]
    weights = jnp.where(known, seen / jnp.where(known, 2.0 * p, 1.0), 0.0)
    return Comparisons(won / jnp.where(known, seen, 1.0), weights, logp, num_pairs)
