"""A rule to start from: copy it to comalgames/algorithms/<family>.py and change what is yours."""

from __future__ import annotations

from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, Number, State, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics.updates import mirror_target


class SkeletonRule(AbstractUpdateRule[State]):
    """What it computes, as a sentence.

        policy' ~ policy * exp(step_size * advantage)

    What it converges to, under which condition, and when it is a bad choice.

    Args:
        step_size: eta > 0, in units of 1 / payoff.

    Raises:
        ValueError: `step_size` is not a finite number above 0.

    Reference: author, title, year, equation.
    """

    step_size: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Ask as often as needed, and then say so in `queries`; the target may lack a constant per prompt."""
        advantage = feedback.advantage(key, state.logp)
        target = mirror_target(state.logp, advantage, at(self.step_size, state.step))
        return target, state
