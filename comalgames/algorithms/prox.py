"""The exact proximal step: jump to the equilibrium of the game regularized around the reference."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import REGULARIZED, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import proximal


@guaranteed(REGULARIZED, "every temperature", "Liu et al. 2024", queries="n", anywhere="every temperature")
class ExactProx(AbstractUpdateRule[State]):
    """Solve the game regularized by `temperature * KL(policy || reference)` exactly, in one step.

        policy' ~ reference * exp(advantage(policy') / temperature)

    by Newton's method, to machine precision. On its own it stays at that equilibrium;
    `COMAL(ExactProx(t), period=1)` is COMAL as the theorem states it. It reads the whole matrix, and so
    counts n queries a step.

    Args:
        temperature: tau > 0, in units of payoff. Outside COMAL smaller is closer to Nash; inside it, faster.

    Raises:
        ValueError: `temperature` is not a finite number above 0.

    Reference: COMAL, arXiv 2410.23223, algorithm 1; Martinet, "Régularisation d'inéquations variationnelles
    par approximations successives", 1970.
    """

    temperature: Number

    def __check_init__(self) -> None:
        validation.positive("temperature", self.temperature)

    def form(self, step: Any) -> Form:
        """The pull is 1: the step reads the whole game and does not depend on the current policy."""
        return Form(
            pull=1.0,
            temperature=at(self.temperature, step),
            payoff_powers={"temperature": 1},
            needs_all_actions=True,
        )

    @property
    def shortest_period(self) -> float:
        """Number of steps to the regularized equilibrium: 1, because the step is exact."""
        return 1.0

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """The equilibrium around the reference; nan where Newton fails, never a wrong policy."""
        solution = proximal.regularized_equilibrium(
            feedback.pairwise(key), state.reference, at(self.temperature, state.step), start_logp=state.logp
        )
        return jnp.where(solution.converged[..., None], solution.logp, jnp.nan), state
