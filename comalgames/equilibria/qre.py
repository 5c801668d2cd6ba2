"""The quantal response equilibrium: the unique equilibrium of the KL-regularised game."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import validation
from comalgames.games.base import PreferenceGame
from comalgames.proximal import regularized_equilibrium

# Compiled once per shape: the solver's loops would otherwise be compiled at every call.
_equilibrium = jax.jit(regularized_equilibrium)


def qre(game: PreferenceGame, temperature: float, reference: Any = None) -> np.ndarray:
    """The policy that is its own best response in the KL-regularised game, the one equilibrium it has.

        policy ~ reference * exp(advantage(policy) / temperature)

    The regularised payoff is the advantage minus `temperature * KL(policy || reference)`. This is where
    `MirrorDescent`, `MMD`, `INPO` and EGPO stop. Solved by Newton's method in float64.

    Args:
        game: a preference game; leading axes are prompts.
        temperature: tau > 0, in units of payoff.
        reference: positive probabilities `[..., n]`; uniform by default.

    Returns:
        The equilibrium as probabilities `[..., n]`, float64 NumPy.

    Raises:
        ValueError: `temperature` is not a finite number above 0, `reference` is not a policy without zeros,
            or the game is not a `PreferenceGame`.
        ArithmeticError: Newton's method did not converge.

    Example:
        >>> policy = cg.qre(cg.games.comal_cycle(), temperature=0.1, reference=[0.2, 0.5, 0.3])
        >>> cg.duality_gap(cg.games.comal_cycle(), np.log(policy))
        Array(0.05882774, dtype=float64)

    Reference: McKelvey and Palfrey, "Quantal Response Equilibria for Normal Form Games", 1995.
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(f"`game` must be a PreferenceGame, got {type(game).__name__}.")
    validation.positive("temperature", temperature)
    n = game.num_actions
    policy = np.full(n, 1 / n) if reference is None else validation.policy("reference", reference, n)
    with jax.enable_x64(True):
        skew = jnp.asarray(np.asarray(game.skew, np.float64))
        solution = _equilibrium(skew, jnp.asarray(np.log(policy)), temperature)
        if not bool(jnp.all(solution.converged)):
            raise ArithmeticError(
                f"the equilibrium at temperature {temperature:g} was not found: residual "
                f"{float(jnp.max(solution.residual)):.2g}. Raise the temperature, or move the reference "
                f"closer."
            )
        return np.asarray(np.exp(np.asarray(solution.logp)))
