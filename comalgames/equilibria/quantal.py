"""Equilibria of regularized games; with KL, quantal response equilibria."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import regularizers, validation
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame
from comalgames.numerics import simplex
from comalgames.numerics.proximal import regularized_equilibrium
from comalgames.regularizers import Regularizer

# Compiled once per shape; otherwise the loops of the solver would be compiled at every call.
_equilibrium = jax.jit(regularized_equilibrium, static_argnames="num_players")

# The largest regularized gap of a certified equilibrium, as a share of the largest payoff plus temperature.
CERTIFIED = 1e-12


class QuantalSolution(NamedTuple):
    """The result of `qre`, as float64 NumPy arrays with the game's leading axes after those of temperatures.

    Attributes:
        logp: the equilibrium as log-probabilities `[..., n]`, with the players of a two-player game on axis
            -2.
        regularized_gap: sum over both players of what each gains at most, in the regularized game, by
            another policy, `[...]`; 0 at the equilibrium. An upper bound for regularizers other than KL.
        status: "certified" if the regularized gap is at most 1e-12 times the sum of the largest payoff and
            the temperature, and, with KL, all log-probabilities satisfy the equation up to rounding; "failed"
            otherwise, `[...]`.
    """

    logp: np.ndarray
    regularized_gap: Any
    status: Any

    @property
    def policy(self) -> np.ndarray:
        """The equilibrium as probabilities."""
        return np.asarray(np.exp(self.logp))


def qre(
    game: AbstractGame,
    temperature: Any,
    reference: Any = None,
    regularizer: Regularizer = regularizers.kl,
) -> QuantalSolution:
    """Compute the unique equilibrium of the regularized game.

        policy ~ reference * exp(advantage(policy) / temperature)    if the regularizer is KL

    The regularized payoff is the advantage minus `temperature * regularizer(policy, reference)`. With KL the
    equilibrium is the limit of `MirrorDescent`, `MMD`, `INPO` and EGPO; it is computed by Newton's method in
    float64, to rounding error in each log-probability. With another regularizer it is the limit of
    `RegularizedMirrorDescent`, computed by an interior-point method, in which probabilities of 0 come out as
    about 1e-16.

    Args:
        game: a `PreferenceGame`, whose symmetric equilibrium is computed, or, with KL, a `ZeroSumGame`;
            leading axes are prompts.
        temperature: tau > 0, in units of payoff. A sequence of temperatures gives one equilibrium each, along
            the first axis of the result.
        reference: positive probabilities `[..., n]`; uniform by default.
        regularizer: a function `(p, reference) -> number` of two probability vectors, convex in p and twice
            differentiable.

    Returns:
        A `QuantalSolution`. Check its `status`. For a regularizer other than KL it may be "failed" because
        the regularizer is not convex or not smooth (see `check_regularizer`), or because the reference is
        close to the boundary.

    Raises:
        ValueError: `temperature` is not a finite number above 0 or a sequence of them, `reference` is not a
            policy without zeros, the game is not as described, or `regularizer` is not a function of two
            policies with one finite real value.

    Example:
        >>> game = cg.games.comal_cycle()
        >>> equilibrium = cg.qre(game, temperature=0.1, reference=[0.2, 0.5, 0.3])
        >>> print(equilibrium.status, cg.duality_gap(game, equilibrium.logp))
        certified 0.058827738278260266

    Reference: McKelvey and Palfrey, "Quantal Response Equilibria for Normal Form Games", 1995.
    """
    if not isinstance(game, PreferenceGame | ZeroSumGame):
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}. Convert a matrix of "
            f"win rates with cg.PreferenceGame(matrix)."
        )
    regularizers.check(regularizer)
    if isinstance(game, PreferenceGame):
        payoffs, players = np.asarray(game.skew, np.float64), 1
    elif regularizer is regularizers.kl:
        payoffs, players = _between_players(game), 2
    else:
        raise ValueError(
            f"`regularizer` must be KL, the default, for a ZeroSumGame, got "
            f"{regularizers.name(regularizer)!r}."
        )
    tau = _temperatures(temperature)
    tau = tau.reshape(tau.shape + (1,) * (payoffs.ndim - 2))
    logp = game.uniform() if reference is None else game.log_probabilities("reference", reference)
    size = np.abs(payoffs).max((-2, -1)) + tau
    with jax.enable_x64(True):
        skew, strength = jnp.asarray(payoffs), jnp.asarray(tau)
        anchor = simplex.log_normalize(jnp.asarray(np.asarray(logp, np.float64)))
        anchor = anchor.reshape(*anchor.shape[: anchor.ndim - players], -1)
        if regularizer is regularizers.kl:
            solution = _equilibrium(skew, anchor, strength, num_players=players)
            flat_logp, converged = np.asarray(solution.logp), np.asarray(solution.converged)
            with np.errstate(over="ignore", invalid="ignore"):  # then the gap is nan, and the status failed
                best = anchor + np.einsum("...ij,...j->...i", payoffs, np.exp(flat_logp)) / tau[..., None]
            mine, theirs = jnp.stack([solution.logp, best]).reshape(2, *flat_logp.shape[:-1], players, -1)
            loss = simplex.kl_divergence(mine, simplex.log_normalize(theirs))
            gap = 2 / players * tau * np.asarray(jnp.sum(loss, axis=-1))
        else:
            zeros = jnp.zeros(skew.shape[-1])
            policy, excess = regularizers.equilibrium(regularizer, skew, zeros, strength, anchor)
            flat_logp, gap = np.log(np.asarray(policy)), 2 * np.asarray(excess)
            converged = np.isfinite(gap)
    status = np.where(converged & (gap <= CERTIFIED * size), "certified", "failed")
    policies = flat_logp.reshape(*flat_logp.shape[:-1], *game.policy_shape[-players:])
    return QuantalSolution(policies, gap[()], status[()])


def _temperatures(temperature: Any) -> np.ndarray:
    """One temperature `[]`, or a sequence of them `[temperatures]`."""
    several = np.ndim(temperature) == 1 and np.size(temperature) > 0
    for each in temperature if several else [temperature]:
        validation.positive("temperature", each)
    return np.asarray(temperature, np.float64)


def _between_players(game: ZeroSumGame) -> np.ndarray:
    """The payoffs of every action of a player against every one of the other's, antisymmetric."""
    payoff = np.asarray(game.payoff, np.float64)
    (m, n), k = payoff.shape[-2:], game.num_actions
    upper = np.zeros((*payoff.shape[:-2], 2 * k, 2 * k))
    upper[..., :m, k : k + n] = payoff
    return upper - upper.swapaxes(-1, -2)
