"""Equilibria of regularized games; with KL, quantal response equilibria."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import regularizers, validation
from comalgames.games.preference import PreferenceGame
from comalgames.numerics.proximal import regularized_equilibrium
from comalgames.regularizers import Regularizer

# Compiled once per shape; otherwise the loops of the solver would be compiled at every call.
_equilibrium = jax.jit(regularized_equilibrium)

# The largest regularized gap at which a policy counts as the equilibrium, in units of payoff.
SOLVED = 1e-12


def qre(
    game: PreferenceGame,
    temperature: float,
    reference: Any = None,
    regularizer: Regularizer = regularizers.kl,
) -> np.ndarray:
    """Compute the unique symmetric equilibrium of the regularized game.

        policy ~ reference * exp(advantage(policy) / temperature)    if the regularizer is KL

    The regularized payoff is the advantage minus `temperature * regularizer(policy, reference)`. With KL the
    equilibrium is the limit of `MirrorDescent`, `MMD`, `INPO` and EGPO; it is computed by Newton's method in
    float64, to rounding error in each log-probability. With another regularizer it is the limit of
    `RegularizedMirrorDescent`, computed by an interior-point method, in which probabilities of 0 come out as
    about 1e-16.

    Args:
        game: a preference game; leading axes are prompts.
        temperature: tau > 0, in units of payoff.
        reference: positive probabilities `[..., n]`; uniform by default.
        regularizer: a function `(p, reference) -> number` of two probability vectors, convex in p and twice
            differentiable.

    Returns:
        The equilibrium as probabilities `[..., n]`, float64 NumPy.

    Raises:
        ValueError: `temperature` is not a finite number above 0, `reference` is not a policy without zeros,
            the game is not a `PreferenceGame`, or `regularizer` is not a function of two policies with one
            finite real value.
        ArithmeticError: the solver did not converge. For regularizers other than KL this means a regularized
            gap above 1e-12, which is possible if the regularizer is not convex or not smooth.

    Example:
        >>> policy = cg.qre(cg.games.comal_cycle(), temperature=0.1, reference=[0.2, 0.5, 0.3])
        >>> cg.duality_gap(cg.games.comal_cycle(), np.log(policy))
        Array(0.05882774, dtype=float64)

    Reference: McKelvey and Palfrey, "Quantal Response Equilibria for Normal Form Games", 1995.
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}. Convert a matrix of win rates with "
            f"cg.PreferenceGame(matrix)."
        )
    validation.positive("temperature", temperature)
    regularizers.check(regularizer)
    n = game.num_actions
    policy = np.full(n, 1 / n) if reference is None else validation.policy("reference", reference, n)
    with jax.enable_x64(True):
        skew = jnp.asarray(np.asarray(game.skew, np.float64))
        if regularizer is not regularizers.kl:
            return _general_qre(skew, temperature, jnp.asarray(np.log(policy)), regularizer)
        solution = _equilibrium(skew, jnp.asarray(np.log(policy)), temperature)
        if not bool(jnp.all(solution.converged)):
            raise ArithmeticError(
                f"the equilibrium at temperature {temperature:g} was not found: residual "
                f"{float(jnp.max(solution.residual)):.2g}. Increase the temperature, or use a reference "
                f"closer to uniform."
            )
        return np.asarray(np.exp(np.asarray(solution.logp)))


def _general_qre(
    skew: jax.Array, temperature: float, reference_logp: jax.Array, regularizer: Regularizer
) -> np.ndarray:
    policy, excess = regularizers.equilibrium(
        regularizer, skew, jnp.zeros(skew.shape[-1]), jnp.asarray(temperature, float), reference_logp
    )
    # Both players use the policy, and each may gain by deviating.
    worst = 2 * float(jnp.max(excess))
    if not worst <= SOLVED:
        raise ArithmeticError(
            f"the equilibrium at temperature {temperature:g} regularized by "
            f"{regularizers.name(regularizer)!r} was not found: the regularized gap is {worst:.2g}. Check "
            f"with check_regularizer that the regularizer is convex and smooth; if it is, use a reference "
            f"further from the boundary."
        )
    return np.asarray(policy)
