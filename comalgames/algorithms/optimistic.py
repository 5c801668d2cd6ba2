"""Optimistic multiplicative weights: one query per step, extrapolated from the last two advantages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import NASH, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics.updates import mirror_target


class OptimisticState(State):
    """The state of `OptimisticMWU`: `State` and the advantage of the previous step.

    Attributes:
        previous: last step's advantage `[..., n]`, 0 before the first.
    """

    previous: Float[Array, "*batch n"]


@guaranteed(NASH, "step < 1 / (3^1/2 w)", "Wei et al. 2021; measured", anywhere="step <= 1; proved for 1/4")
class OptimisticMWU(AbstractUpdateRule[OptimisticState]):
    """Multiplicative weights on the advantage extrapolated one step ahead (OMWU).

        policy' ~ policy * exp(step_size * (2 advantage - previous advantage))

    Without regularization and with one query a step its last policy reaches Nash, linearly where Nash is
    unique (locally iff step_size * w < 1/sqrt(3), w the largest rotation frequency), but with no rate that
    holds for every game. The advantage before the first step is 0, so it equals ONPO.

    Args:
        step_size: eta > 0, in units of 1 / payoff; the theory asks for at most 1/4 on preferences.

    Raises:
        ValueError: `step_size` is not a finite number above 0.

    Reference: Daskalakis and Panageas, "Last-Iterate Convergence: Zero-Sum Games and Constrained Min-Max
    Optimization", 2019; Wei et al., "Linear Last-Iterate Convergence in Constrained Saddle-Point
    Optimization", 2021. For preference games without a unique Nash policy: arXiv 2512.24818.
    """

    step_size: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> OptimisticState:
        """The first state, with advantage 0 before the first step."""
        return OptimisticState(logp, reference, jnp.zeros((), jnp.int32), previous=jnp.zeros_like(logp))

    def form(self, step: Any) -> Form:
        """The rule has no reference; its target is not linear in the current advantage alone."""
        return Form(step="step_size", payoff_powers={"step_size": -1})

    def propose(
        self, key: PRNGKeyArray, state: OptimisticState, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], OptimisticState]:
        """Step along twice the advantage minus the previous advantage."""
        advantage = feedback.advantage(key, state.logp)
        target = mirror_target(state.logp, 2.0 * advantage - state.previous, at(self.step_size, state.step))
        return target, replace(state, previous=advantage)
