"""Policies for a game that is not known exactly: the worst case over payoffs, or over annotators."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog

from comalgames import validation
from comalgames.games.base import PRECISION
from comalgames.games.noise import check_annotators
from comalgames.games.preference import PreferenceGame
from comalgames.numerics.simplex import LogPolicy

# A solution is certified when no policy can be better by more than this, in units of payoff.
CERTIFIED = 1e-10

# Probabilities below this are the linear program's rounding.
ZERO = 1e-12

# Tried in turn until an answer is certified.
METHODS = ("highs-ds", "highs-ipm")


class RobustSolution(NamedTuple):
    """What `robust_nash` and `annotator_robust_nash` return; float64 NumPy with the game's leading axes.

    Attributes:
        policy: probabilities `[..., n]`.
        gap: its duality gap in the worst case, which it is guaranteed not to exceed.
        lower_bound: no policy's worst case is below this, proved by `response`.
        response: the certificate, a mixture of answers that the worst case may play against any policy:
            probabilities `[..., n]`, or `[..., annotators, n]` with the annotator who judges it.
        status: "certified" if gap - lower_bound <= 1e-10, else "failed", `[...]`.
    """

    policy: np.ndarray
    gap: Any
    lower_bound: Any
    response: np.ndarray
    status: Any

    @property
    def logp(self) -> np.ndarray:
        """The policy as log-probabilities, -inf off its support."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.policy))


def worst_case_gap(game: PreferenceGame, logp: LogPolicy, radius: Any) -> Float[Array, "*prompts"]:
    """The largest duality gap of `logp` in any game whose win rates are within `radius` of this one's.

        2 max_i sum_{j != i} min(P[i, j] - 1/2 + radius, 1/2) policy_j

    exactly: the answer i that beats the policy most may be given `radius` more against every other one, as
    far as win rates go. Radius 0 is `duality_gap`.

    Args:
        game: a preference game.
        logp: normalized log-probabilities `[..., n]`.
        radius: in [0, 1/2], how far each win rate may be off.

    Raises:
        ValueError: `radius` is not a number in [0, 1/2], `logp` is not normalized, or the game is not a
            `PreferenceGame`.
    """
    _check(game, radius)
    validation.log_policy("logp", logp)
    raised = jnp.minimum(game.skew + jnp.asarray(radius, game.dtype), 0.5)
    raised = jnp.where(jnp.eye(game.num_actions, dtype=bool), 0.0, raised)
    return 2 * jnp.max(jnp.einsum("...ij,...j->...i", raised, jnp.exp(logp), precision=PRECISION), axis=-1)


def robust_nash(game: PreferenceGame, radius: Any) -> RobustSolution:
    """The policy whose duality gap is smallest in the worst of all games within `radius` of this one.

    The worst case is over all preference games whose win rates differ from this one's by at most `radius`
    each. Radius 0 gives a Nash policy; a larger one may move the policy towards more even mixtures, whose
    opponents cannot be strong against all of it. Solved by linear programming; see `worst_case_gap`.

    Args:
        game: a preference game; leading axes are prompts.
        radius: in [0, 1/2], such as the half-width of the win rates' confidence intervals.

    Returns:
        A `RobustSolution`. Check `status`.

    Raises:
        ValueError: `radius` is not a number in [0, 1/2], or the game is not a `PreferenceGame`.
    """
    _check(game, radius)
    skew = np.asarray(game.skew, np.float64)
    raised = np.minimum(skew + float(radius), 0.5)
    np.einsum("...ii->...i", raised)[...] = 0.0
    return _over_prompts(raised, skew.shape[-1:])


def worst_annotator_gap(annotators: PreferenceGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
    """The duality gap of `logp` under the annotator who likes it least: the largest of their own gaps.

    It bounds the gap in every mixture of the annotators, `games.annotator_mixture`.

    Args:
        annotators: their own games, `[..., annotators, n, n]`, as `games.stack` makes them.
        logp: normalized log-probabilities `[..., n]`, one policy for all of them.

    Raises:
        ValueError: `logp` is not normalized, or `annotators` is not a `PreferenceGame` with a leading axis.
    """
    check_annotators(annotators)
    validation.log_policy("logp", logp)
    shared = jnp.expand_dims(jnp.asarray(logp), -2)
    return jnp.max(annotators.gap(annotators.advantage(shared)), axis=-1)


def annotator_robust_nash(annotators: PreferenceGame) -> RobustSolution:
    """The policy whose duality gap under the annotator who likes it least is smallest.

        min_policy max_k gap_k(policy),      gap_k in annotator k's own game

    It asks for no weights of the annotators, and is hardly worth more than chance where two of them want
    opposite things. Solved by linear programming; see `worst_annotator_gap`.

    Args:
        annotators: their own games, `[..., annotators, n, n]`, as `games.stack` makes them.

    Returns:
        A `RobustSolution`. Check `status`.

    Raises:
        ValueError: `annotators` is not a `PreferenceGame` with a leading axis.
    """
    check_annotators(annotators)
    skew = np.asarray(annotators.skew, np.float64)
    *prompts, num_annotators, n, _ = skew.shape
    return _over_prompts(skew.reshape(*prompts, num_annotators * n, n), (num_annotators, n))


def _check(game: Any, radius: Any) -> None:
    if not isinstance(game, PreferenceGame):
        raise ValueError(f"`game` must be a PreferenceGame, got {type(game).__name__}.")
    validation.non_negative("radius", radius)
    if validation.is_concrete(radius) and float(radius) > 0.5:
        raise ValueError(f"`radius` must be at most 1/2, got {radius!r}: no win rate is further from 1/2.")


def _over_prompts(payoffs: np.ndarray, response_shape: tuple[int, ...]) -> RobustSolution:
    """One solution for each of the payoffs `[..., responses, n]`."""
    prompts = payoffs.shape[:-2]
    solutions = [_least_worst(matrix, response_shape) for matrix in payoffs.reshape(-1, *payoffs.shape[-2:])]
    stacked = (np.stack(field) for field in zip(*solutions, strict=True))
    return RobustSolution(*(field.reshape((*prompts, *field.shape[1:]))[()] for field in stacked))


def _least_worst(payoffs: np.ndarray, response_shape: tuple[int, ...]) -> RobustSolution:
    """The policy x that minimizes max_r (payoffs x)_r, and the mixture of responses that says so.

    Linear program: minimize t subject to payoffs x <= t. Its dual solution y, a mixture of responses, gains
    at least min_j (y payoffs)_j against every policy: the certificate.
    """
    num_responses, n = payoffs.shape
    constraints = np.hstack([payoffs, -np.ones((num_responses, 1))])
    best = RobustSolution(np.full(n, np.nan), np.nan, np.nan, np.full(response_shape, np.nan), "failed")
    for method in METHODS:
        answer = linprog(
            np.eye(n + 1)[-1],
            A_ub=constraints,
            b_ub=np.zeros(num_responses),
            A_eq=[[1.0] * n + [0.0]],
            b_eq=[1.0],
            bounds=[(0, None)] * n + [(None, None)],
            method=method,
        )
        if not answer.success:
            continue
        policy, response = _on_simplex(answer.x[:n]), _on_simplex(-answer.ineqlin.marginals)
        gap, lower_bound = 2 * (payoffs @ policy).max(), 2 * (response @ payoffs).min()
        status = "certified" if gap - lower_bound <= CERTIFIED else "failed"
        found = RobustSolution(policy, gap, lower_bound, response.reshape(response_shape), status)
        if status == "certified":
            return found
        if not gap - lower_bound >= best.gap - best.lower_bound:
            best = found
    return best


def _on_simplex(weights: np.ndarray) -> np.ndarray:
    kept = np.where(weights > ZERO, weights, 0.0)
    return np.asarray(kept / kept.sum())
