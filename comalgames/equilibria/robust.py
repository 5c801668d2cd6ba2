"""Robust policies: minimal worst-case duality gap over perturbed payoffs or over annotators."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog

from comalgames import validation
from comalgames.equilibria.linear_program import METHODS, limits
from comalgames.games.base import PRECISION
from comalgames.games.noise import check_annotators
from comalgames.games.preference import PreferenceGame
from comalgames.numerics.simplex import LogPolicy

# Largest difference between gap and lower bound of a certified solution, as a share of the largest payoff.
CERTIFIED = 1e-10

# Probabilities below this are rounding errors of the linear program.
ZERO = 1e-12


class RobustSolution(NamedTuple):
    """The result of `robust_nash` and `annotator_robust_nash`, in float64 with the game's leading axes.

    Attributes:
        policy: the robust policy, probabilities `[..., n]`.
        gap: worst-case duality gap of the policy.
        lower_bound: lower bound on the worst-case duality gap of every policy, certified by `response`.
        response: the certificate, a mixture of actions for the worst-case opponent: probabilities `[..., n]`,
            or `[..., annotators, n]` over pairs of an annotator and an action.
        status: "certified" if gap - lower_bound is at most 1e-10 times the largest payoff, else "failed",
            `[...]`.
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
    """The largest duality gap of `logp` over all games whose win rates are within `radius` of this game.

        2 max_i sum_{j != i} min(P[i, j] - 1/2 + radius, 1/2) policy_j

    The formula is exact: in the worst case the win rates of the best response i against all other actions are
    larger by `radius`, up to 1. Radius 0 gives `duality_gap`.

    Args:
        game: a preference game.
        logp: normalized log-probabilities `[..., n]`.
        radius: largest error of each win rate, in [0, 1/2].

    Raises:
        ValueError: `radius` is not a number in [0, 1/2], `logp` is not normalized, or the game is not a
            `PreferenceGame`.
    """
    _check_radius(game, radius)
    validation.log_policy("logp", logp)
    raised = jnp.minimum(game.skew + jnp.asarray(radius, game.dtype), 0.5)
    raised = jnp.where(jnp.eye(game.num_actions, dtype=bool), 0.0, raised)
    return 2 * jnp.max(jnp.einsum("...ij,...j->...i", raised, jnp.exp(logp), precision=PRECISION), axis=-1)


def robust_nash(game: PreferenceGame, radius: Any) -> RobustSolution:
    """The policy that minimizes the worst-case duality gap over all games within `radius` of this game.

    The worst case is over all preference games whose win rates differ by at most `radius` each. Radius 0
    gives a Nash policy; a larger radius favours more even mixtures, against which no opponent can be strong.
    The policy is computed by linear programming; see `worst_case_gap`.

    Args:
        game: a preference game; leading axes are prompts.
        radius: largest error of each win rate, in [0, 1/2], such as the half-width of a confidence interval.

    Returns:
        A `RobustSolution`. Check its `status`.

    Raises:
        ValueError: `radius` is not a number in [0, 1/2], or the game is not a `PreferenceGame`.
    """
    _check_radius(game, radius)
    skew = np.asarray(game.skew, np.float64)
    raised = np.minimum(skew + float(radius), 0.5)
    np.einsum("...ii->...i", raised)[...] = 0.0
    return _over_prompts(raised, skew.shape[-1:])


def worst_annotator_gap(annotators: PreferenceGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
    """The largest duality gap of `logp` over the games of all annotators.

    It is an upper bound on the gap in every mixture of the annotators, `games.annotator_mixture`.

    Args:
        annotators: the games of the annotators, `[..., annotators, n, n]`, as made by `games.stack`.
        logp: normalized log-probabilities `[..., n]`, one policy for all annotators.

    Raises:
        ValueError: `logp` is not normalized, or `annotators` is not a `PreferenceGame` with a leading axis.
    """
    check_annotators(annotators)
    validation.log_policy("logp", logp)
    shared = jnp.expand_dims(jnp.asarray(logp), -2)
    return jnp.max(annotators.gap(annotators.advantage(shared)), axis=-1)


def annotator_robust_nash(annotators: PreferenceGame) -> RobustSolution:
    """The policy that minimizes the largest duality gap over the games of all annotators.

        min_policy max_k gap_k(policy),      gap_k in the game of annotator k

    It does not depend on weights of the annotators. If two annotators have opposite preferences, its
    worst-case win rates are close to chance. It is computed by linear programming; see `worst_annotator_gap`.

    Args:
        annotators: the games of the annotators, `[..., annotators, n, n]`, as made by `games.stack`.

    Returns:
        A `RobustSolution`. Check its `status`.

    Raises:
        ValueError: `annotators` is not a `PreferenceGame` with a leading axis.
    """
    check_annotators(annotators)
    skew = np.asarray(annotators.skew, np.float64)
    *prompts, num_annotators, n, _ = skew.shape
    return _over_prompts(skew.reshape(*prompts, num_annotators * n, n), (num_annotators, n))


def _check_radius(game: Any, radius: Any) -> None:
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}. Convert a matrix of win rates with "
            f"cg.PreferenceGame(matrix)."
        )
    validation.non_negative("radius", radius)
    if validation.is_concrete(radius) and float(radius) > 0.5:
        raise ValueError(
            f"`radius` must be in [0, 1/2], got {radius!r}: no win rate differs from 1/2 by more."
        )


def _over_prompts(payoffs: np.ndarray, response_shape: tuple[int, ...]) -> RobustSolution:
    """The robust solution of each payoff matrix in `[..., responses, n]`."""
    prompts = payoffs.shape[:-2]
    solutions = [_least_worst(matrix, response_shape) for matrix in payoffs.reshape(-1, *payoffs.shape[-2:])]
    stacked = (np.stack(field) for field in zip(*solutions, strict=True))
    return RobustSolution(*(field.reshape((*prompts, *field.shape[1:]))[()] for field in stacked))


def _least_worst(payoffs: np.ndarray, response_shape: tuple[int, ...]) -> RobustSolution:
    """The policy x that minimizes max_r (payoffs x)_r, with a mixture of responses as certificate.

    The linear program minimizes t subject to payoffs x <= t. Its dual solution y, a mixture of responses,
    gains at least min_j (y payoffs)_j against every policy.
    """
    num_responses, n = payoffs.shape
    # By a power of 2, which is exact; the tolerances of linear programs are absolute.
    _, exponent = np.frexp(np.abs(payoffs).max())
    payoffs = np.ldexp(payoffs, -exponent)
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
            options=limits(constraints),
        )
        if not answer.success:
            continue
        policy, response = _on_simplex(answer.x[:n]), _on_simplex(-answer.ineqlin.marginals)
        gap, lower_bound = 2 * (payoffs @ policy).max(), 2 * (response @ payoffs).min()
        status = "certified" if gap - lower_bound <= CERTIFIED else "failed"
        solution = RobustSolution(policy, gap, lower_bound, response.reshape(response_shape), status)
        if status == "certified" or not gap - lower_bound >= best.gap - best.lower_bound:
            best = solution
        if status == "certified":
            break
    return best._replace(gap=np.ldexp(best.gap, exponent), lower_bound=np.ldexp(best.lower_bound, exponent))


def _on_simplex(weights: np.ndarray) -> np.ndarray:
    kept = np.where(weights > ZERO, weights, 0.0)
    return np.asarray(kept / kept.sum())
