"""Computation of the fixed point of a rule, and its verification with the rule's own steps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, with_dtype
from comalgames.diagnostics.local import both_policies, linearize, on_support, settled_state, tangent_basis
from comalgames.equilibria import nash, qre
from comalgames.feedback import Exact
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.numerics.proximal import regularized_equilibrium

# Log-probability of actions off the support; its effect on the other actions is far below rounding error.
FAINT = -200.0

# Equilibrium probabilities below this are taken for 0 (general regularizers; see `qre`).
NO_WEIGHT = 1e-12

# Largest change of a log-probability on the support in one round at a fixed point.
HELD = 1e-8

# Numbers of the rule's own steps, and of Newton steps after them, in the search for an unknown fixed point.
APPROACH, NEWTON_STEPS = 4096, 60

WORDS = {"nash": "Nash", "regularized": "the regularized equilibrium", "own": "a fixed point of its own"}


class FixedPoint(NamedTuple):
    """A policy that the steps of a rule do not change.

    Attributes:
        kind: "nash", "regularized" (the equilibrium of the game regularized around the reference) or "own".
        logp: finite log-probabilities `[n]`; -200 for actions off the support.
        reference: finite log-probabilities `[n]` of the reference.
        support: bool mask of the actions with positive probability, `[n]`.
        dimension: dimension of the set of fixed points around it, 0 if isolated; computed only for Nash.
        gap: duality gap of the fixed point, in units of payoff.
        moves: largest change of a log-probability on the support in one round.
    """

    kind: str
    logp: np.ndarray
    reference: np.ndarray
    support: np.ndarray
    dimension: int
    gap: float
    moves: float

    @property
    def policy(self) -> np.ndarray:
        """Probabilities `[n]`, 0 off the support."""
        return np.where(self.support, np.exp(self.logp), 0.0)


def fixed_point(
    game: PreferenceGame, rule: AbstractUpdateRule[Any], logp: np.ndarray, reference: np.ndarray
) -> FixedPoint | None:
    """The fixed point of a rule, verified with the rule's own steps; None if no fixed point is found.

    The candidate is the Nash policy for a rule without a reference or with a moving one, and the regularized
    equilibrium around the reference for a rule with a temperature. If the rule's steps change the candidate,
    and for all other rules, Newton's method on the rule's map is used, started from the end of a long run and
    from `logp`.

    Args:
        game: a preference game without prompts.
        rule: an update rule.
        logp: the first policy, log-probabilities `[n]`.
        reference: the first reference, log-probabilities `[n]`.
    """
    form = rule.form(0)
    follows = form.moves_reference
    candidate: FixedPoint | None
    if follows or float(np.asarray(form.pull)) == 0:
        candidate = _nash(game, None if follows else reference)
    else:
        candidate = _regularized(game, rule, reference)
    if candidate is not None:
        candidate = candidate._replace(moves=_moves(game, rule, candidate))
        if candidate.moves <= HELD:
            return candidate
    starts = [np.asarray(_run(game, rule, logp, reference)), logp]
    return None if follows else _own(game, rule, starts, reference)


def _nash(game: PreferenceGame, reference: np.ndarray | None) -> FixedPoint:
    solution = nash(game)
    logp = np.where(solution.support, np.log(np.where(solution.support, solution.policy, 1.0)), FAINT)
    return FixedPoint(
        "nash", logp, logp if reference is None else reference, np.asarray(solution.support),
        int(solution.dimension), float(solution.gap), math.nan,
    )  # fmt: skip


def _regularized(game: PreferenceGame, rule: Any, reference: np.ndarray) -> FixedPoint | None:
    form = rule.form(0)
    if form.kl_temperature is not None:
        logp, converged = regularized_equilibria(game, np.asarray([form.temperature], float), reference)
        if not converged[0]:
            return None
        return _point("regularized", game, logp[0], reference, np.ones(len(reference), bool))
    if form.temperature is None:
        return None
    solution = qre(game, float(form.temperature), np.exp(reference), form.regularizer)
    if solution.status != "certified":
        return None
    policy = solution.policy
    support = policy > NO_WEIGHT
    policy = np.where(support, policy, 0.0) / policy[support].sum()
    logp = np.where(support, np.log(np.where(support, policy, 1.0)), FAINT)
    return _point("regularized", game, logp, reference, support)


def regularized_equilibria(
    game: PreferenceGame, temperatures: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """KL-regularized equilibria at several temperatures, log-probabilities, and whether each converged.

    Args:
        game: a preference game without prompts.
        temperatures: each > 0.
        reference: log-probabilities `[n]`.
    """
    with jax.enable_x64(True):
        skew, tau = np.asarray(game.skew, np.float64), np.asarray(temperatures, np.float64)
        solution = _equilibria(jnp.asarray(skew), jnp.asarray(reference, jnp.float64), jnp.asarray(tau))
        return np.asarray(solution.logp), np.asarray(solution.converged)


@jax.jit
def _equilibria(skew: Array, reference: Array, temperatures: Array) -> Any:
    return jax.vmap(lambda tau: regularized_equilibrium(skew, reference, tau))(temperatures)


def _point(
    kind: str, game: PreferenceGame, logp: np.ndarray, reference: np.ndarray, support: np.ndarray
) -> FixedPoint:
    gap = 2 * float(np.max(np.asarray(game.skew, np.float64) @ np.where(support, np.exp(logp), 0.0)))
    return FixedPoint(kind, logp, reference, support, 0, gap, math.nan)


def _moves(game: PreferenceGame, rule: Any, point: FixedPoint) -> float:
    """Largest change of the point in one round, or in one step if rounds have no fixed length."""
    with jax.enable_x64(True):
        num = jnp.asarray(rule.form(0).period or 1)
        game64, rule64, logp, reference = _float64(game, rule, point.logp, point.reference)
        after = _after(game64, rule64, logp, reference, num)
    shift = np.abs(np.asarray(after) - point.logp)[point.support]
    # Log-probabilities of very small probabilities carry rounding errors of large numbers: they are
    # discounted.
    return float(np.max(shift * np.minimum(1.0, np.exp(point.logp[point.support]) / NO_WEIGHT), initial=0.0))


@eqx.filter_jit
def _after(
    game: AbstractGame, rule: AbstractAlgorithm[Any], logp: Array, reference: Array, num: Any
) -> Array:
    after: Array = _stepped(game, rule, settled_state(game, rule, logp, reference), num).logp
    return after


def _stepped(game: AbstractGame, rule: AbstractAlgorithm[Any], state: Any, num: Any) -> Any:
    key, exact = jax.random.key(0), Exact(game)
    end: Any = jax.lax.fori_loop(0, num, lambda _, now: rule.step(key, now, exact), state)
    return end


def _float64(game: Any, rule: Any, *logps: np.ndarray) -> Any:
    game, rule = with_dtype((game.without_names(), rule), jnp.float64)
    return game, rule, *(jnp.asarray(logp, jnp.float64) for logp in logps)


# A fixed point that no theory names -------------------------------------------------------------------------


@eqx.filter_jit
def _final(game: AbstractGame, rule: AbstractAlgorithm[Any], logp: Array, reference: Array) -> Array:
    end: Array = _stepped(game, rule, rule.init(logp, reference), APPROACH).logp
    return end


def _run(game: PreferenceGame, rule: Any, logp: np.ndarray, reference: np.ndarray) -> Any:
    with jax.enable_x64(True):
        return np.asarray(_final(*_float64(game, rule, logp, reference)))


@eqx.filter_jit
def _newton_parts(game: AbstractGame, rule: AbstractAlgorithm[Any], state: Any) -> tuple[Any, Array]:
    return rule.step(jax.random.key(0), state, Exact(game)), linearize(game, rule, state, jnp.asarray(1))


def _own(
    game: PreferenceGame, rule: Any, starts: list[np.ndarray], reference: np.ndarray
) -> FixedPoint | None:
    """The limit of Newton's method on the map of the whole state with a fixed reference; None if it fails."""
    everything = np.ones(len(reference), bool)
    for start in starts:
        if not np.all(np.isfinite(start)):
            continue
        with jax.enable_x64(True):
            game64, rule64, *logps = _float64(game, rule, start, reference)
            state = eqx.filter_jit(settled_state)(game64, rule64, *logps)
            for _ in range(NEWTON_STEPS):
                state, size = _newton_step(game64, rule64, state)
                if not size > HELD**2:  # converged, or nan
                    break
        point = _point("own", game, np.asarray(state.logp), reference, everything)
        if np.all(np.isfinite(point.logp)):
            point = point._replace(moves=_moves(game, rule, point))
            if point.moves <= HELD:
                return point
    return None


# Largest change of a log-probability in one Newton step; the linearization is not valid beyond it.
LONGEST = 1.0


def _newton_step(game: Any, rule: Any, state: Any) -> tuple[Any, float]:
    """The state after a Newton step and the size of the step; nan where the map is not finite."""
    after, jacobian = _newton_parts(game, rule, state)
    others = eqx.tree_at(both_policies, jax.tree.map(eqx.is_inexact_array, state), (False, False))
    flat, unravel = ravel_pytree((*both_policies(state), eqx.filter(state, others)))
    moved, _ = ravel_pytree((*both_policies(after), eqx.filter(after, others)))
    n = state.logp.size
    everything = np.ones(n, bool)
    basis = tangent_basis(everything)
    inside, directions = on_support(np.asarray(jacobian), everything)
    free = np.delete(np.arange(len(inside)), np.s_[directions : 2 * directions])  # the reference stays
    difference = np.asarray(moved - flat)
    if not (np.all(np.isfinite(inside)) and np.all(np.isfinite(difference))):
        return state, np.nan
    residual = np.concatenate([basis.T @ difference[:n], difference[2 * n :]])
    move = np.linalg.lstsq(np.eye(len(free)) - inside[np.ix_(free, free)], residual, rcond=None)[0]
    size = float(np.max(np.abs(move), initial=0.0))
    move *= min(1.0, LONGEST / size) if size > 0 else 1.0
    logp = jax.nn.log_softmax(state.logp + basis @ move[:directions])
    _, _, memory = unravel(flat + np.concatenate([np.zeros(2 * n), move[directions:]]))
    return eqx.combine(memory, eqx.tree_at(lambda s: s.logp, state, logp)), size
