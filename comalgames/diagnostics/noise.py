"""Stationary fluctuations of a rule around its fixed point under sampled feedback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, with_dtype
from comalgames.diagnostics.local import UNMOVED, both_policies, check_rule
from comalgames.feedback import AbstractFeedback, Sampled, asked
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.numerics import simplex

# Number of draws for the expected gap, over all steps of a period; its relative standard error is below 1%.
GAP_DRAWS = 20_000


class NoiseFloor(NamedTuple):
    """The result of `noise_floor`; each number is a mean over the steps of the period.

    Attributes:
        covariance: stationary covariance of the log-probabilities, in directions that sum to 0, `[n, n]`.
        kl: expected KL(fixed point || policy) in nats, to second order.
        gap: expected duality gap of the policy, estimated by draws from the Gaussian with that covariance.
    """

    covariance: Float[np.ndarray, "n n"]
    kl: float
    gap: float


class Disturbed(AbstractFeedback):
    """Exact feedback with a given error added to the advantages.

    Attributes:
        game: the game.
        error: the error, `[n]`.
    """

    game: AbstractGame
    error: Float[Array, " n"]

    @property
    def is_random(self) -> bool:
        """False: the error is fixed."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The exact advantages plus the error."""
        return self.game.advantage(opponent_logp) + self.error

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Raises a ValueError: only errors of advantages are modelled."""
        raise ValueError(
            "`algorithm` must query advantages, got one that queries all pairs, whose noise is not modelled; "
            "use a rule such as MirrorDescent."
        )


def noise_floor(
    game: PreferenceGame,
    algorithm: AbstractAlgorithm[Any],
    feedback: AbstractFeedback,
    logp: Any,
    *,
    reference: Any = None,
    period: int | None = None,
) -> NoiseFloor:
    """Stationary covariance, KL and duality gap of a rule around its fixed point under sampled advantages.

    Near the fixed point the deviation d of the state obeys `d' = J d + B e`, where e is the error of one
    query, with covariance C. Over a period this gives a linear map M with one noise term of covariance Q, and
    the stationary covariance solves the discrete Lyapunov equation `X = M X M.T + Q`. The result is accurate
    if the fluctuations are small compared to the smallest probability of the policy. They shrink with the
    step size and with the number of comparisons.

    Args:
        game: a preference game without prompts.
        algorithm: a rule that queries advantages against the current policy once per step.
        feedback: the feedback whose noise is modelled; its game may be another one.
        logp: the fixed point, normalized finite log-probabilities `[n]`.
        reference: the reference at the fixed point; `logp` by default.
        period: number of steps after which the steps repeat; by default the period of `COMAL`, and 1 for
            other rules.

    Raises:
        ValueError: a policy is not normalized, `period` is not a whole number >= 1, `algorithm` makes other
            queries, or `logp` is not an attracting fixed point.

    Example:
        >>> game = cg.games.comal_cycle()
        >>> rule = cg.COMAL(cg.MirrorDescent(step_size=0.3, temperature=0.1), period=50)
        >>> nash, feedback = cg.nash(game).logp, cg.Sampled(game, num_opponents=1000)
        >>> floor = cg.diagnostics.noise_floor(game, rule, feedback, nash)
        >>> round(floor.gap, 4)
        0.0096

    Reference: Mandt, Hoffman and Blei, "Stochastic Gradient Descent as Approximate Bayesian Inference", 2017,
    section 3 (the continuous-time form).
    """
    check_rule(algorithm)
    reference = logp if reference is None else reference
    for name, policy in (("logp", logp), ("reference", reference)):
        validation.log_policy(name, policy)
    if not isinstance(feedback, Sampled):
        raise ValueError(
            f"`feedback` must be Sampled(game, ...), whose noise covariance is known, got {feedback!r}."
        )
    own, queries = algorithm.form(0).period, asked(algorithm, game.num_actions)
    period = validation.count("period", own if period is None else period, minimum=1)
    if queries.cost != 1 or queries.pairs:
        raise ValueError(
            f"`algorithm` must query advantages exactly once per step, got {algorithm!r}; use a rule such as "
            f"MirrorDescent."
        )
    with jax.enable_x64(True):
        game, algorithm = with_dtype((game, algorithm), jnp.float64)
        starts = jnp.asarray(logp, jnp.float64), jnp.asarray(reference, jnp.float64)
        maps, noises = _noisy_steps(game, algorithm, algorithm.init(*starts), jnp.arange(period))
        noise = np.asarray(feedback.covariance(starts[0]))
    tangent = scipy.linalg.helmert(game.num_actions).T
    embed = scipy.linalg.block_diag(tangent, tangent, np.eye(maps.shape[-1] - 2 * len(tangent)))
    maps, noises = embed.T @ np.asarray(maps) @ embed, embed.T @ np.asarray(noises)
    size = tangent.shape[1]
    moves = not np.allclose(maps[:, size : 2 * size], np.eye(maps.shape[-1])[size : 2 * size], atol=UNMOVED)
    kept = np.ones(maps.shape[-1], bool)
    kept[size : 2 * size] = moves
    maps, noises = maps[:, kept][:, :, kept], noises[:, kept]

    whole, added = np.eye(kept.sum()), np.zeros((kept.sum(), kept.sum()))
    for step, gain in zip(maps, noises, strict=True):
        whole, added = step @ whole, step @ added @ step.T + gain @ noise @ gain.T
    if np.abs(np.linalg.eigvals(whole)).max() >= 1:
        raise ValueError(
            f"`logp` must be an attracting fixed point of {algorithm!r}, but its spectral radius there is at "
            f"least 1, so that the fluctuations have no stationary covariance; use a smaller step size."
        )
    now = scipy.linalg.solve_discrete_lyapunov(whole, added)
    covariances = []
    for step, gain in zip(maps, noises, strict=True):
        now = step @ now @ step.T + gain @ noise @ gain.T
        covariances.append(tangent @ now[:size, :size] @ tangent.T)
    p = np.exp(np.asarray(logp, np.float64))
    metric = np.diag(p) - np.outer(p, p)
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((period, max(GAP_DRAWS // period, 1), len(p)))
    gaps = [
        _expected_gap(np.asarray(game.skew), np.log(p), *pair)
        for pair in zip(covariances, draws, strict=True)
    ]
    mean = np.mean(covariances, axis=0)
    return NoiseFloor(mean, float(np.sum(metric * mean)) / 2, float(np.mean(gaps)))


def _expected_gap(skew: np.ndarray, logp: np.ndarray, covariance: np.ndarray, draws: np.ndarray) -> float:
    values, vectors = np.linalg.eigh(covariance)
    scores = logp + draws @ (vectors * np.sqrt(np.maximum(values, 0))).T
    policies = scipy.special.softmax(scores, axis=-1)
    return float(np.mean(2 * np.max(policies @ skew.T, axis=-1)))


@eqx.filter_jit
def _noisy_steps(
    game: AbstractGame, algorithm: AbstractAlgorithm[Any], state: Any, steps: Array
) -> tuple[Array, Array]:
    """Jacobians of each numbered step with respect to the state and to an error of the advantages."""
    others = eqx.tree_at(both_policies, jax.tree.map(eqx.is_inexact_array, state), (False, False))
    memory, rest = eqx.partition(state, others)
    flat, unravel = ravel_pytree((*both_policies(state), memory))

    def after(flat: Array, error: Array, step: Array) -> Array:
        logp, reference, memory = unravel(flat)
        now = eqx.combine(memory, replace(rest, step=step.astype(rest.step.dtype)))
        now = eqx.tree_at(both_policies, now, (simplex.log_normalize(logp), simplex.log_normalize(reference)))
        now = algorithm.step(jax.random.key(0), now, Disturbed(game, error))
        return ravel_pytree((*both_policies(now), eqx.filter(now, others)))[0]

    zero = jnp.zeros_like(state.logp)
    jacobians: tuple[Array, Array] = jax.vmap(lambda step: jax.jacfwd(after, (0, 1))(flat, zero, step))(steps)
    return jacobians
