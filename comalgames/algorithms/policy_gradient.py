"""Policy gradients on the scores of a softmax policy: a Euclidean step, not a mirror step."""

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
from comalgames.numerics import simplex

# `shortest_period` is for policies whose least likely action has about this probability.
UNLIKELY = 0.05


@guaranteed(
    REGULARIZED,
    "share 0 and a small step; with any other share the limit is biased",
    "Calandriello et al. 2024",
)
class NashMDPG(AbstractUpdateRule[State]):
    """Nash-MD by policy gradient: one gradient step on the scores, against a mixture with the reference.

        mixture ~ policy^(1 - mixture_share) * reference^mixture_share
        reward   = advantage(mixture) - tau log(policy / reference)
        policy' ~ policy * exp(eta * policy * (reward - <policy, reward>))

    The step of an action is proportional to its probability: steps of unlikely actions are small. At its
    fixed point, the policy is the best response to the mixture in the game regularized by tau, and the
    mixture is the equilibrium at temperature tau / (1 - mixture_share). With share 0 the fixed point is
    therefore the equilibrium itself. This case is self-play policy gradient, whose expected step is that of
    online IPO in its second version (pairs of the policy itself, not differentiated).

    Args:
        step_size: eta > 0, a learning rate: in units of 1 / payoff, before the factor of the probability.
        temperature: tau >= 0, in units of payoff.
        mixture_share: of the reference in the opponent, in [0, 1).

    Raises:
        ValueError: a number is not finite or out of range.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7; Calandriello et al., "Human
    Alignment of Large Language Models through Online Preference Optimisation", 2024, proposition 4.2.
    """

    step_size: Number
    temperature: Number
    mixture_share: Any = 0.0

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)
        validation.non_negative("mixture_share", self.mixture_share)
        if validation.is_concrete(self.mixture_share) and float(self.mixture_share) >= 1:
            raise ValueError(
                f"`mixture_share` must be in [0, 1), got {self.mixture_share!r}: at 1 the opponent is the "
                f"reference alone."
            )

    def form(self, step: Any) -> Form:
        """The pull is eta tau times the probability of the action; a mixture changes the limit."""
        # Under a transformation the share is not known; COMAL has looked at it when it was made.
        mixes = validation.is_concrete(self.mixture_share) and float(self.mixture_share) != 0
        temperature = at(self.temperature, step)
        return Form(
            pull=at(self.step_size, step) * temperature,
            temperature=None if mixes else temperature,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
            needs_all_actions=True,
        )

    @property
    def shortest_period(self) -> float:
        """The period of a mirror rule divided by a small probability, the factor that shortens the steps."""
        return super().shortest_period / UNLIKELY

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply the formulas in the docstring of the class."""
        mixture = simplex.mix(state.logp, state.reference, self.mixture_share)
        tilt = state.logp - state.reference
        reward = feedback.advantage(key, mixture) - at(self.temperature, state.step) * tilt
        p = jnp.exp(state.logp)
        centred = reward - jnp.sum(p * reward, axis=-1, keepdims=True)
        return state.logp + at(self.step_size, state.step) * p * centred, state
