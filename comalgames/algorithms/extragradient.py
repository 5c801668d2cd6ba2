"""Entropic extragradient: a half step, and a full step along the advantage against its result."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import NASH, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import simplex
from comalgames.numerics.updates import mirror_target


@guaranteed(
    NASH,
    "step < 1 / w; for tau > 0 the limit is the regularized equilibrium",
    "Korpelevich 1976; Nemirovski 2004; tau > 0: Cen, Wei and Chi 2021",
    queries="2",
    anywhere="step <= 2; for tau > 0: step <= 1 / (1 + tau)",
)
class Extragradient(AbstractUpdateRule[State]):
    """Entropic extragradient (mirror prox): step along the advantage against the policy half a step ahead.

        half    ~ policy^(1 - eta tau) * reference^(eta tau) * exp(eta * advantage(policy))
        policy' ~ policy^(1 - eta tau) * reference^(eta tau) * exp(eta * advantage(half))

    With temperature 0 the last policy reaches Nash, locally iff eta w < 1, w the largest rotation frequency.
    With temperature > 0 it is EGPO: it reaches the equilibrium of the regularized game, and each step
    multiplies KL by at most (1 - eta tau) for eta <= 1 / (1 + tau). A step takes two queries.

    Args:
        step_size: eta > 0, in units of 1 / payoff. Without temperature, 2 is safe for every preference game.
        temperature: tau >= 0, in units of payoff.

    Raises:
        ValueError: `step_size` is not a finite number above 0, or `temperature` not one of at least 0.

    Reference: temperature 0: Korpelevich, "The Extragradient Method for Finding Saddle Points", 1976;
    Nemirovski, "Prox-Method with Rate of Convergence O(1/t)", 2004. Temperature > 0: Cen, Wei and Chi, "Fast
    Policy Extragradient Methods", 2021; Zhou et al., "Extragradient Preference Optimization", 2025.
    """

    step_size: Number
    temperature: Number = 0.0

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)

    def form(self, step: Any) -> Form:
        """The pull is eta tau."""
        step_size, temperature = at(self.step_size, step), at(self.temperature, step)
        return Form(
            pull=step_size * temperature,
            temperature=temperature,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
        )

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Both steps start from the current policy; only the opponent differs."""
        here_key, half_key = jax.random.split(key)
        step_size = at(self.step_size, state.step)
        pull = step_size * at(self.temperature, state.step)

        def aim(advantage: Float[Array, "*batch n"]) -> Any:
            return mirror_target(state.logp, advantage, step_size, state.reference, pull)

        half = simplex.log_normalize(aim(feedback.advantage(here_key, state.logp)))
        return aim(feedback.advantage(half_key, half)), state
