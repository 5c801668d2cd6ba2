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

from comalgames import simplex, validation
from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, State, with_dtype
from comalgames.feedback import Exact
from comalgames.games.base import AbstractGame, PreferenceGame

# Rows of a Jacobian that are the identity's up to rounding belong to something that the step leaves alone.
UNMOVED = 1e-12


def rotation_frequencies(game: PreferenceGame, logp: Any) -> Float[np.ndarray, " pairs"]:
    """The speeds, in radians per unit of step size, at which the game turns deviations from a policy.

    The eigenvalues of `skew (diag p - p p.T)` are 0 and +-i w_k; these are the w_k >= 0, largest first, one
    per pair. Actions of probability 0 drop out, so k actions that have weight give (k - 1) // 2 frequencies.

    Args:
        game: a preference game without prompts.
        logp: normalised log-probabilities `[n]`; -inf marks actions off the support.

    Raises:
        ValueError: `game` has prompts, or `logp` is not one normalised policy.
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
    """Eigenvalues of the linearised map that exact steps of a rule make of its state, largest modulus first.

    At a fixed point the first modulus is the factor by which deviations shrink (< 1) or grow (> 1) over
    `num_steps` steps. The map starts from `algorithm.init(logp, reference)`, in logits and float64. A
    constant added to a policy's log-probabilities changes nothing and is left out; so is a reference that the
    steps do not move. The step counter starts at 0: for `COMAL`, a `num_steps` of its period is one round.

    Args:
        game: what is played.
        algorithm: an update rule; not a `Parametric`, whose parameters have other coordinates.
        logp: the policy to linearise at, normalised finite log-probabilities `[..., n]`.
        reference: the reference's, likewise; `logp` by default.
        num_steps: how many steps make the map, >= 1.

    Raises:
        ValueError: `algorithm` is no update rule, `logp` or `reference` is not normalised, or `num_steps` is
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
    # Deviations of a policy, in an orthonormal basis of the vectors that sum to 0 over the actions.
    policies = starts[0].size // game.num_actions
    tangent = np.kron(np.eye(policies), scipy.linalg.helmert(game.num_actions).T)
    embed = scipy.linalg.block_diag(tangent, tangent, np.eye(len(jacobian) - 2 * len(tangent)))
    jacobian = embed.T @ jacobian @ embed
    held = slice(tangent.shape[1], 2 * tangent.shape[1])
    if np.allclose(jacobian[held], np.eye(len(jacobian))[held], rtol=0, atol=UNMOVED):
        jacobian = np.delete(np.delete(jacobian, held, axis=0), held, axis=1)
    multipliers = np.linalg.eigvals(jacobian).astype(complex)
    return multipliers[np.argsort(-np.abs(multipliers))]


def check_rule(algorithm: Any) -> None:
    """Refuse what is not an update rule."""
    if not isinstance(algorithm, AbstractUpdateRule):
        raise ValueError(
            f"`algorithm` must be an update rule, whose state is policies and numbers, got a "
            f"{type(algorithm).__name__}."
        )


def policies_of(state: State) -> tuple[Any, Any]:
    """The two policies of a state."""
    return state.logp, state.reference


@eqx.filter_jit
def _jacobian(game: AbstractGame, algorithm: AbstractAlgorithm[Any], state: State, num: Array) -> Array:
    """Jacobian of the state's numbers in the order log-policy, reference, what else the rule remembers."""
    others = eqx.tree_at(policies_of, jax.tree.map(eqx.is_inexact_array, state), (False, False))
    memory, rest = eqx.partition(state, others)
    flat, unravel = ravel_pytree((*policies_of(state), memory))

    def after(flat: Array) -> Array:
        logp, reference, memory = unravel(flat)
        now = eqx.combine(memory, rest)
        now = eqx.tree_at(policies_of, now, (simplex.log_normalize(logp), simplex.log_normalize(reference)))
        key, exact = jax.random.key(0), Exact(game)  # exact feedback never uses the key
        now = jax.lax.fori_loop(0, num, lambda _, now: algorithm.step(key, now, exact), now)
        return ravel_pytree((*policies_of(now), eqx.filter(now, others)))[0]

    jacobian: Array = jax.jacfwd(after)(flat)
    return jacobian
