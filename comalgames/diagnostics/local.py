"""Local analysis at a policy: rotation frequencies of the game, eigenvalues of a rule's linearized step."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, with_dtype
from comalgames.feedback import Exact
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.numerics import simplex

# Rows of a Jacobian that equal those of the identity up to this belong to numbers that the step does not
# change.
UNMOVED = 1e-12

# Number of steps with fixed policies after which the memory of a rule is stationary.
SETTLING_STEPS = 32


def rotation_frequencies(game: PreferenceGame, logp: Any) -> Float[np.ndarray, " pairs"]:
    """Frequencies, in radians per unit of step size, at which the game rotates deviations from a policy.

    The eigenvalues of `skew (diag p - p p.T)` are 0 and +-i w_k; the result lists the w_k >= 0, one per pair,
    largest first. A policy with k actions in its support has (k - 1) // 2 frequencies.

    Args:
        game: a preference game without prompts.
        logp: normalized log-probabilities `[n]`; -inf marks actions off the support.

    Raises:
        ValueError: `game` has prompts, or `logp` is not one normalized policy.
    """
    validation.log_policy("logp", logp)
    skew, p = np.asarray(game.skew, np.float64), np.exp(np.asarray(logp, np.float64))
    if skew.ndim != 2 or p.ndim != 1:
        raise ValueError(f"`game` and `logp` must have no prompts, got shapes {skew.shape} and {p.shape}.")
    # diag p - p p.T = B B.T with this B, and skew B B.T has the eigenvalues of B.T skew B, which is skew too:
    # i times it is Hermitian, so that rounding errors cannot give a frequency an imaginary part.
    factor = np.diag(np.sqrt(p)) - np.outer(p, np.sqrt(p))
    frequencies = np.linalg.eigvalsh(1j * (factor.T @ skew @ factor))[::-1]
    return np.maximum(frequencies[: (np.count_nonzero(p) - 1) // 2], 0.0)


def spectrum(
    game: AbstractGame,
    algorithm: AbstractAlgorithm[Any],
    logp: Any,
    *,
    reference: Any = None,
    num_steps: int = 1,
) -> Complex[np.ndarray, " directions"]:
    """Eigenvalues of the Jacobian of a rule's exact steps with respect to its state, largest modulus first.

    At a fixed point the first modulus is the factor by which deviations shrink (< 1) or grow (> 1) over
    `num_steps` steps. The state is `algorithm.init(logp, reference)`, in log-probabilities and float64.
    Constants added to a policy's log-probabilities are quotiented out, and a reference that the steps do not
    move is left out. The step counter starts at 0: for `COMAL`, a `num_steps` of its period is one round.

    Args:
        game: the game.
        algorithm: an update rule; not a `Parametric`, whose parameters have other coordinates.
        logp: the policy to linearize at, normalized finite log-probabilities `[..., n]`.
        reference: the reference, normalized finite log-probabilities; `logp` by default.
        num_steps: number of steps to linearize, >= 1.

    Raises:
        ValueError: `algorithm` is not an update rule, `logp` or `reference` is not normalized, or `num_steps`
            is not a whole number >= 1.
    """
    check_rule(algorithm)
    reference = logp if reference is None else reference
    for name, policy in (("logp", logp), ("reference", reference)):
        validation.log_policy(name, policy)
    with jax.enable_x64(True):
        num = jnp.asarray(validation.count("num_steps", num_steps, minimum=1), jnp.int32)
        game, algorithm = with_dtype((game, algorithm), jnp.float64)
        starts = jnp.broadcast_arrays(jnp.asarray(logp, jnp.float64), jnp.asarray(reference, jnp.float64))
        jacobian = np.asarray(_jacobian(game, algorithm, algorithm.init(*starts), num))
    used = np.ones(starts[0].shape, bool).reshape(-1, game.num_actions)
    return eigenvalues(without_held_reference(*on_support(jacobian, used)))


def on_support(jacobian: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, int]:
    """The Jacobian restricted to the support, modulo constants, and the number of directions that remain.

    Log-probabilities off the support do not affect the others, so that the map is block triangular.

    Args:
        jacobian: Jacobian of a state in the order of `linearize`, `[..., size, size]`.
        support: bool mask of the actions with positive probability, `[policies, n]` or `[n]`.
    """
    # Orthonormal basis of the deviations of a policy: vectors on its support that sum to 0.
    tangent = scipy.linalg.block_diag(*(tangent_basis(used) for used in np.atleast_2d(support)))
    memory = jacobian.shape[-1] - 2 * len(tangent)
    embed = scipy.linalg.block_diag(tangent, tangent, np.eye(memory))
    return embed.T @ jacobian @ embed, tangent.shape[1]


def tangent_basis(used: np.ndarray) -> np.ndarray:
    """Orthonormal columns `[n, k - 1]` that span the vectors on the k used actions that sum to 0."""
    k = int(np.count_nonzero(used))
    tangent = np.zeros((len(used), k - 1))
    if k > 1:
        tangent[used] = scipy.linalg.helmert(k).T
    return tangent


def without_held_reference(jacobian: np.ndarray, directions: int) -> np.ndarray:
    """The map `[..., size, size]` without the rows and columns of the reference, if no step moves it.

    Args:
        jacobian: one or several Jacobians as returned by `on_support`.
        directions: number of directions of a policy.
    """
    held = slice(directions, 2 * directions)
    if np.allclose(jacobian[..., held, :], np.eye(jacobian.shape[-1])[held], rtol=0, atol=UNMOVED):
        jacobian = np.delete(np.delete(jacobian, held, axis=-2), held, axis=-1)
    return jacobian


def eigenvalues(jacobian: np.ndarray) -> np.ndarray:
    """Eigenvalues of matrices `[..., size, size]`, largest modulus first; inf for a non-finite matrix."""
    finite = np.isfinite(jacobian).all((-2, -1))[..., None, None]
    values = np.linalg.eigvals(np.where(finite, jacobian, 0.0)).astype(complex)
    values = np.where(finite[..., 0], values, np.inf)
    return np.asarray(np.take_along_axis(values, np.argsort(-np.abs(values), axis=-1), axis=-1))


def check_rule(algorithm: Any) -> None:
    """Raise a ValueError unless `algorithm` is an update rule whose rounds have a fixed length."""
    if not isinstance(algorithm, AbstractUpdateRule):
        raise ValueError(
            f"`algorithm` must be an update rule, whose state consists of policies and numbers, got a "
            f"{type(algorithm).__name__}."
        )
    if algorithm.form(0).period is None:
        raise ValueError(
            "`algorithm` must be a COMAL with a period: the rounds of a self-tuning COMAL have no fixed "
            "length, so that they cannot be linearized as one map. Pass `period`, or use `diagnose`."
        )


def both_policies(state: Any) -> tuple[Any, Any]:
    """The policy and the reference of a state."""
    return state.logp, state.reference


def settled_state(
    game: AbstractGame, algorithm: AbstractAlgorithm[Any], logp: Array, reference: Array
) -> Any:
    """The state of a rule at a fixed point: the given policies, and the stationary value of its memory.

    Args:
        game: the game.
        algorithm: an update rule.
        logp: the policy, finite log-probabilities.
        reference: the reference, finite log-probabilities.
    """
    start: Any = algorithm.init(logp, reference)
    if sum(map(eqx.is_inexact_array, jax.tree.leaves(start))) == 2:
        return start  # the state has no memory besides the two policies

    def hold(_: Any, state: Any) -> Any:
        moved: Any = algorithm.step(jax.random.key(0), state, Exact(game))
        return eqx.tree_at(lambda s: (s.logp, s.reference, s.step), moved, (logp, reference, start.step))

    settled: Any = jax.lax.fori_loop(0, SETTLING_STEPS, hold, start)
    return settled


def linearize(
    game: AbstractGame, algorithm: AbstractAlgorithm[Any], state: Any, num: Array, moves: bool = False
) -> Array:
    """Jacobian of `num` steps with respect to the state, in the order policy, reference, other memory.

    Args:
        game: the game.
        algorithm: an update rule.
        state: the state to linearize at.
        num: number of steps.
        moves: whether the reference is moved to the policy after the steps.
    """
    others = eqx.tree_at(both_policies, jax.tree.map(eqx.is_inexact_array, state), (False, False))
    memory, rest = eqx.partition(state, others)
    flat, unravel = ravel_pytree((*both_policies(state), memory))

    def after(flat: Array) -> Array:
        logp, reference, memory = unravel(flat)
        now = eqx.combine(memory, rest)
        now = eqx.tree_at(both_policies, now, (simplex.log_normalize(logp), simplex.log_normalize(reference)))
        key, exact = jax.random.key(0), Exact(game)  # exact feedback ignores the key
        now = jax.lax.fori_loop(0, num, lambda _, now: algorithm.step(key, now, exact), now)
        if moves:
            now = algorithm.move_reference(now, now.logp)  # type: ignore[attr-defined]
        return ravel_pytree((*both_policies(now), eqx.filter(now, others)))[0]

    jacobian: Array = jax.jacfwd(after)(flat)
    return jacobian


_jacobian = eqx.filter_jit(linearize)
