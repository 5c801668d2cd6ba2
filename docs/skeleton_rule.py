"""A rule to start from: copy it to comalgames/algorithms/<family>.py and change what is yours."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics.updates import mirror_target


class SkeletonRule(AbstractUpdateRule[State]):
    """The rule's name and its idea, in one sentence.

        policy' ~ policy * exp(step_size * advantage)

    The limit of the rule, the condition under which it is reached, and when the rule is a bad choice.

    Args:
        step_size: eta > 0, in units of 1 / payoff.

    Raises:
        ValueError: `step_size` is not a finite number above 0.

    Reference: author, title, year, equation.
    """

    step_size: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)

    def form(self, step: Any) -> Form:
        """The numbers of a step; leave out what does not apply."""
        return Form(
            advantage_weight=at(self.step_size, step), step="step_size", payoff_powers={"step_size": -1}
        )

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """The formula above; the target may lack a constant per prompt."""
        advantage = feedback.advantage(key, state.logp)
        return mirror_target(state.logp, advantage, at(self.step_size, state.step)), state
