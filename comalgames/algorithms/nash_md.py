"""Nash-MD and Nash-EMA: mirror descent against an opponent other than the current policy."""

from __future__ import annotations

from dataclasses import replace
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
from comalgames.numerics.updates import mirror_target

# 2 / tau / 2 times tau may exceed 1 by a rounding.
ROUNDING = 1e-6


@guaranteed(
    REGULARIZED,
    "step 2 / (tau (t + 2)); the limit of a constant step is biased",
    "Munos et al. 2023",
    anywhere="the same",
)
class NashMD(AbstractUpdateRule[State]):
    """Nash mirror descent: step from a mixture with the reference, along the advantage against it.

        mixture ~ policy^(1 - eta tau) * reference^(eta tau)
        policy' ~ mixture * exp(eta * advantage(mixture))

    With a constant step its limit is biased: there the mixture is the equilibrium at temperature
    tau / (1 - eta tau), and the policy its best response. With `InverseTime(2 / tau, 2)`, the step
    2 / (tau (t + 2)), it reaches the equilibrium at tau: KL is at most 8 / (tau^2 (T + 1)).

    Args:
        step_size: eta > 0, in units of 1 / payoff; eta tau, the reference's share, is at most 1.
        temperature: tau >= 0, in units of payoff.

    Raises:
        ValueError: a number is not finite or out of range, or their product is above 1.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 6, theorem 1.
    """

    step_size: Number
    temperature: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)
        share: Any = self.form(0).pull
        if validation.is_concrete(share) and float(share) > 1 + ROUNDING:
            raise ValueError(
                f"`step_size` times `temperature` must be at most 1, got {self.step_size!r} and "
                f"{self.temperature!r}: it is the reference's share in a mixture. Use a smaller step, or "
                f"MirrorDescent, which has no mixture."
            )

    def form(self, step: Any) -> Form:
        """The pull is eta tau. No temperature is stated, because a constant step has a biased limit."""
        return Form(
            pull=at(self.step_size, step) * at(self.temperature, step),
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
        )

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply the formula in the docstring of the class."""
        step_size = at(self.step_size, state.step)
        mixture = simplex.mix(state.logp, state.reference, step_size * at(self.temperature, state.step))
        return mirror_target(mixture, feedback.advantage(key, mixture), step_size), state


class EMAState(State):
    """The state of `NashEMA`: `State` and a moving average of the policies.

    Attributes:
        average: exponential moving average of the log-probabilities, normalized, `[..., n]`.
    """

    average: Float[Array, "*batch n"]


@guaranteed(
    REGULARIZED,
    "temperature > 0 and a small step; at 0 the policy spirals away from Nash",
    "measured; no proof is known",
)
class NashEMA(AbstractUpdateRule[EMAState]):
    """Mirror descent against an exponential moving average of its own past.

        policy' ~ policy^(1 - eta tau) * reference^(eta tau) * exp(eta * advantage(average))
        average' ~ average^(1 - decay) * policy'^decay

    The average is taken over log-probabilities, like an average of parameters. There is no proof of
    convergence. Its fixed point is that of `MirrorDescent`; without a temperature it spirals away from Nash,
    faster than `MWU` if the average is slow, because its opponent is then an old policy.

    Args:
        step_size: eta > 0, in units of 1 / payoff.
        temperature: tau >= 0, in units of payoff.
        decay: the share of the newest policy, above 0 and at most 1; at 1 this is `MirrorDescent`.

    Raises:
        ValueError: a number is not finite or out of range.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7.
    """

    step_size: Number
    temperature: Number
    decay: Any

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)
        validation.share("decay", self.decay)

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> EMAState:
        """The first state, whose average is the first policy."""
        return EMAState(logp, reference, jnp.zeros((), jnp.int32), average=logp)

    def form(self, step: Any) -> Form:
        """The pull is eta tau; a step leaves policy and average unchanged at the regularized equilibrium."""
        step_size, temperature = at(self.step_size, step), at(self.temperature, step)
        return Form(
            pull=step_size * temperature,
            temperature=temperature,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
        )

    def propose(
        self, key: PRNGKeyArray, state: EMAState, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], EMAState]:
        """Apply the first formula in the docstring of the class."""
        step_size = at(self.step_size, state.step)
        pull = step_size * at(self.temperature, state.step)
        advantage = feedback.advantage(key, state.average)
        return mirror_target(state.logp, advantage, step_size, state.reference, pull), state

    def commit(self, state: EMAState, logp: Float[Array, "*batch n"]) -> EMAState:
        """Apply the second formula in the docstring of the class."""
        return replace(super().commit(state, logp), average=simplex.mix(state.average, logp, self.decay))
