"""Distances from equilibrium: duality gap, KL, total variation, win rates.

A metric is a function `(game, logp) -> one number per prompt`. It raises a ValueError for concrete numbers
that are not log-probabilities; under `jit` they are not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.games.base import PRECISION, AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.measures.regularized_gap import RegularizedGap, regularized_gap
from comalgames.numerics import simplex
from comalgames.numerics.simplex import LogPolicy

Metric: TypeAlias = Callable[[Any, Any], Any]


def duality_gap(game: AbstractGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
    """Duality gap: the total gain of both players from deviating from `logp`; 0 exactly at an equilibrium.

        preference game:   max_p P(p > policy) - min_p P(policy > p) = 2 max_i advantage_i,   in [0, 1]
        zero-sum game:     max_i (payoff q)_i - min_j (p payoff)_j,                           in payoffs

    The exploitability is half of it. In a preference game the win rate of the policy against any opponent is
    at least 1/2 - gap/2.

    Args:
        game: the game.
        logp: normalized log-probabilities `[..., n]` (`[..., 2, n]` in a two-player game).

    Raises:
        ValueError: `logp` holds concrete numbers whose exponentials do not sum to 1.

    Reference: COMAL, arXiv 2410.23223, section 2.
    """
    validation.log_policy("logp", logp)
    return game.gap(game.advantage(logp))


def worst_win_rate(game: PreferenceGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
    """Smallest win rate of the policy against any action: `1/2 - duality_gap / 2`, 1/2 at Nash.

    Args:
        game: a preference game.
        logp: normalized log-probabilities `[..., n]`.

    Raises:
        ValueError: the game has payoffs, not win rates.
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` of worst_win_rate must be a PreferenceGame, got a {type(game).__name__}; use "
            f"duality_gap for other games."
        )
    return 0.5 - duality_gap(game, logp) / 2


def entropy(game: AbstractGame, logp: LogPolicy) -> Float[Array, "*batch"]:
    """Shannon entropy of the policy in nats, between 0 and log n.

    Args:
        game: not used.
        logp: normalized log-probabilities `[..., n]`.

    Raises:
        ValueError: `logp` holds concrete numbers whose exponentials do not sum to 1.
    """
    validation.log_policy("logp", logp)
    return -jnp.sum(jnp.where(logp == -jnp.inf, 0.0, jnp.exp(logp) * logp), axis=-1)


class KLTo(eqx.Module):
    """The metric KL(target || policy) in nats, summed over players; made by `kl_to`.

    Attributes:
        target_logp: log-probabilities of the target, `[..., n]`; -inf marks actions off its support.
    """

    target_logp: Float[Array, "*batch n"]

    def __call__(self, game: AbstractGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
        """KL(target || policy), per prompt."""
        validation.log_policy("logp", logp)
        validation.comparable("logp", logp, self.target_logp)
        divergence = simplex.kl_divergence(self.target_logp.astype(logp.dtype), logp)
        return divergence if isinstance(game, PreferenceGame) else game.over_players(divergence)


def kl_to(logp: LogPolicy) -> KLTo:
    """The metric KL(target || policy) in nats from a fixed target, such as `nash(game).logp`.

    It is infinite if the policy gives probability 0 to an action of the target's support. If the Nash policy
    is not unique, the distance to one of them is an upper bound on the distance to the set; see
    `kl_to_nash_set`.

    Args:
        logp: normalized log-probabilities of the target, `[..., n]`; -inf marks actions off its support.

    Raises:
        ValueError: `logp` holds concrete numbers whose exponentials do not sum to 1.

    Example:
        >>> result = cg.solve(game, cg.MWU(0.1), 100, metrics={"kl": cg.kl_to(cg.nash(game).logp)})
    """
    validation.log_policy("logp", logp)
    return KLTo(jnp.asarray(logp))


class TotalVariationTo(eqx.Module):
    """The metric |policy - target|_1 / 2, summed over players; made by `total_variation_to`.

    Attributes:
        target_logp: log-probabilities of the target, `[..., n]`; -inf marks actions off its support.
    """

    target_logp: Float[Array, "*batch n"]

    def __call__(self, game: AbstractGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
        """Total variation distance between policy and target, per prompt."""
        validation.log_policy("logp", logp)
        validation.comparable("logp", logp, self.target_logp)
        difference = jnp.exp(logp) - jnp.exp(self.target_logp.astype(logp.dtype))
        distance = 0.5 * jnp.sum(jnp.abs(difference), axis=-1)
        return distance if isinstance(game, PreferenceGame) else game.over_players(distance)


def total_variation_to(logp: LogPolicy) -> TotalVariationTo:
    """The metric |policy - target|_1 / 2, the total variation distance to a target, in [0, 1] per player.

    It is the largest difference between the probabilities of any set of actions, and finite for every
    support. Its rounding errors are about 1e-16 (1e-7 in float32); those of `kl_to` near 0 are their square.

    Args:
        logp: normalized log-probabilities of the target, `[..., n]`; -inf marks actions off its support.

    Raises:
        ValueError: `logp` holds concrete numbers whose exponentials do not sum to 1.

    Example:
        >>> target = cg.nash(game).logp
        >>> result = cg.solve(game, cg.MWU(0.1), 100, metrics={"tv": cg.total_variation_to(target)})
    """
    validation.log_policy("logp", logp)
    return TotalVariationTo(jnp.asarray(logp))


def tangent_residual(game: AbstractGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
    """Tangent residual: the norm of the projected advantage, 0 exactly at an equilibrium.

        residual = |d|_2,  d = the vector of {d : sum d = 0, d_i >= 0 where p_i = 0} nearest to the advantage
                             = advantage - theta where p_i > 0, max(advantage - theta, 0) elsewhere

    For an interior policy theta is the mean advantage. The duality gap is at most `2 sqrt(2)` times the
    residual in a preference game, and at most twice the residual in a zero-sum game, where d has the
    directions of both players. There is no bound in the other direction, because the residual is
    discontinuous at the boundary of the simplex: along interior policies that converge to a Nash policy, it
    converges to 0 only if no action loses to the Nash policy.

    Args:
        game: the game.
        logp: normalized log-probabilities `[..., n]` (`[..., 2, n]` in a two-player game). An action is off
            the support if its probability is 0 in floating point.

    Raises:
        ValueError: `logp` holds concrete numbers whose exponentials do not sum to 1.

    Reference: Cai, Oikonomou and Zheng, "Tight Last-Iterate Convergence of the Extragradient and the
    Optimistic Gradient Descent-Ascent Algorithm for Constrained Monotone Variational Inequalities",
    arXiv 2204.09228.
    """
    validation.log_policy("logp", logp)
    advantage = game.advantage(logp)
    on = jnp.broadcast_to(jnp.exp(logp) > 0, advantage.shape)
    # theta is the maximum over k of the mean advantage of the support and the k best actions off it: for
    # given k the sum of d is a decreasing linear function of theta; the sum is the maximum of these
    # functions, and its root the maximum of their roots. If fewer than k actions are off the support, the
    # smallest advantage is used instead, which increases no mean.
    lowest = jnp.min(advantage, axis=-1, keepdims=True)
    others = jnp.sort(jnp.where(on, lowest, advantage), axis=-1, descending=True)
    size = jnp.sum(on, axis=-1, keepdims=True, dtype=advantage.dtype)
    within = jnp.sum(jnp.where(on, advantage, 0.0), axis=-1, keepdims=True)
    means = (within + jnp.cumsum(others, axis=-1)) / (
        size + jnp.arange(1, advantage.shape[-1] + 1, dtype=size.dtype)
    )
    theta = jnp.maximum(within / size, jnp.max(means, axis=-1, keepdims=True))
    direction = advantage - theta
    squared = jnp.sum(jnp.where(on, direction, jnp.maximum(direction, 0.0)) ** 2, axis=-1)
    return jnp.sqrt(squared if isinstance(game, PreferenceGame) else game.over_players(squared))


def win_rates(
    game: PreferenceGame, logps: Float[Array | np.ndarray, "policies n"]
) -> Float[Array, "policies policies"]:
    """Win rates of several policies against each other; the diagonal is 1/2.

    Args:
        game: a preference game without prompts.
        logps: normalized log-probabilities, one policy per row, `[policies, n]`.
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(f"`game` of win_rates must be a PreferenceGame, got a {type(game).__name__}.")
    validation.log_policy("logps", logps)
    policies = jnp.exp(logps)
    return 0.5 + jnp.einsum("ai,ij,bj->ab", policies, game.skew, policies, precision=PRECISION)


METRICS: Mapping[str, Metric] = {
    "worst_win_rate": worst_win_rate,
    "entropy": entropy,
    "policy": lambda game, logp: jnp.exp(logp),
    "logp": lambda game, logp: logp,
}


# The three curves of the gap, recorded together because they share one payoff product per step.
CURVES = ("duality_gap", "average_duality_gap", "best_duality_gap")

__all__ = [
    "CURVES",
    "METRICS",
    "KLTo",
    "Metric",
    "RegularizedGap",
    "TotalVariationTo",
    "duality_gap",
    "entropy",
    "kl_to",
    "regularized_gap",
    "tangent_residual",
    "total_variation_to",
    "win_rates",
    "worst_win_rate",
]
