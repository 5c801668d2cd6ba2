"""How a rule moves near a policy: the game's rotation frequencies, and the multipliers of the rule's step."""

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

# Rows of a Jacobian that are the identity's up to rounding belong to something that the step leaves alone.
UNMOVED = 1e-12

# So many steps with the policies held fill what a rule remembers besides them.
SETTLING_STEPS = 32


def rotation_frequencies(game: PreferenceGame, logp: Any) -> Float[np.ndarray, " pairs"]:
    """The speeds, in radians per unit of step size, at which the game turns deviations from a policy.

    The eigenvalues of `skew (diag p - p p.T)` are 0 and +-i w_k; these are the w_k >= 0, largest first, one
    per pair. Actions of probability 0 drop out, so k actions that have weight give (k - 1) // 2 frequencies.

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
    # times i it is Hermitian, and no frequency acquires a real part by rounding.
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
    """Eigenvalues of the linearized map that exact steps of a rule make of its state, largest modulus first.

    At a fixed point the first modulus is the factor by which deviations shrink (< 1) or grow (> 1) over
    `num_steps` steps. The map starts from `algorithm.init(logp, reference)`, in logits and float64. A
    constant added to a policy's log-probabilities changes nothing and is left out; so is a reference that the
    steps do not move. The step counter starts at 0: for `COMAL`, a `num_steps` of its period is one round.

    Args:
        game: what is played.
        algorithm: an update rule; not a `Parametric`, whose parameters have other coordinates.
        logp: the policy to linearize at, normalized finite log-probabilities `[..., n]`.
        reference: the reference's, likewise; `logp` by default.
        num_steps: how many steps make the map, >= 1.

    Raises:
        ValueError: `algorithm` is no update rule, `logp` or `reference` is not normalized, or `num_steps` is
            not a whole number >= 1.
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
    """The Jacobian's part on the actions that have weight, constants quotiented; and a policy's directions.

    Log-probabilities of actions without weight move nobody else, so the rest of the map is theirs alone.

    Args:
        jacobian: of a state's numbers as `linearize` orders them, `[..., size, size]`.
        support: which actions have weight, bool `[policies, n]` or `[n]`.
    """
    # Deviations of a policy, in an orthonormal basis of the vectors on its support that sum to 0.
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
    """The map `[..., size, size]` without the reference's rows and columns, if no step moves it.

    Args:
        jacobian: what `on_support` returns, of one map or of several.
        directions: how many directions a policy has.
    """
    held = slice(directions, 2 * directions)
    if np.allclose(jacobian[..., held, :], np.eye(jacobian.shape[-1])[held], rtol=0, atol=UNMOVED):
        jacobian = np.delete(np.delete(jacobian, held, axis=-2), held, axis=-1)
    return jacobian


def eigenvalues(jacobian: np.ndarray) -> np.ndarray:
    """Eigenvalues of matrices `[..., size, size]`, largest modulus first; inf where one overflowed."""
    finite = np.isfinite(jacobian).all((-2, -1))[..., None, None]
    found = np.linalg.eigvals(np.where(finite, jacobian, 0.0)).astype(complex)
    found = np.where(finite[..., 0], found, np.inf)
    return np.asarray(np.take_along_axis(found, np.argsort(-np.abs(found), axis=-1), axis=-1))


def check_rule(algorithm: Any) -> None:
    """Refuse what is not an update rule."""
    if not isinstance(algorithm, AbstractUpdateRule):
        raise ValueError(
            f"`algorithm` must be an update rule, whose state is policies and numbers, got a "
            f"{type(algorithm).__name__}."
        )
    if algorithm.form(0).period is None:
        raise ValueError(
            "`algorithm` must be a COMAL with a period: without one its rounds have no fixed length, and are "
            "no one map. `diagnose` says what can be said of it."
        )


def policies_of(state: Any) -> tuple[Any, Any]:
    """The two policies of a state."""
    return state.logp, state.reference


def settled_state(
    game: AbstractGame, algorithm: AbstractAlgorithm[Any], logp: Array, reference: Array
) -> Any:
    """The state at a fixed point: both policies as given, and what else the rule remembers as steps leave it.

    Args:
        game: what is played.
        algorithm: an update rule.
        logp: the policy, finite log-probabilities.
        reference: the reference.
    """
    start: Any = algorithm.init(logp, reference)
    if sum(map(eqx.is_inexact_array, jax.tree.leaves(start))) == 2:
        return start  # nothing but the two policies

    def hold(_: Any, state: Any) -> Any:
        moved: Any = algorithm.step(jax.random.key(0), state, Exact(game))
        return eqx.tree_at(lambda s: (s.logp, s.reference, s.step), moved, (logp, reference, start.step))

    settled: Any = jax.lax.fori_loop(0, SETTLING_STEPS, hold, start)
    return settled


def linearize(
    game: AbstractGame, algorithm: AbstractAlgorithm[Any], state: Any, num: Array, moves: bool = False
) -> Array:
    """Jacobian of the state's numbers in the order log-policy, reference, what else the rule remembers.

    Args:
        game: what is played.
        algorithm: an update rule.
        state: where.
        num: how many steps make the map.
        moves: whether the reference is moved to the policy after them.
    """
    others = eqx.tree_at(policies_of, jax.tree.map(eqx.is_inexact_array, state), (False, False))
    memory, rest = eqx.partition(state, others)
    flat, unravel = ravel_pytree((*policies_of(state), memory))

    def after(flat: Array) -> Array:
        logp, reference, memory = unravel(flat)
        now = eqx.combine(memory, rest)
        now = eqx.tree_at(policies_of, now, (simplex.log_normalize(logp), simplex.log_normalize(reference)))
        key, exact = jax.random.key(0), Exact(game)  # exact feedback never uses the key
        now = jax.lax.fori_loop(0, num, lambda _, now: algorithm.step(key, now, exact), now)
        if moves:
            now = algorithm.move_reference(now, now.logp)  # type: ignore[attr-defined]
        return ravel_pytree((*policies_of(now), eqx.filter(now, others)))[0]

    jacobian: Array = jax.jacfwd(after)(flat)
    return jacobian


_jacobian = eqx.filter_jit(linearize)
