"""Self-play against data: imitation in the form of a game, without any preference."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import OWN, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import simplex


@guaranteed(
    OWN,
    "lambda > 1/2; the limit is the data, reached at rate 1 - 1 / lambda",
    "Chen et al. 2024",
    queries="0",
)
class SPIN(AbstractUpdateRule[State]):
    """Self-play fine-tuning: a classifier separates data from the policy, which follows the classifier.

        policy' ~ policy^(1 - 1/lambda) * data^(1/lambda)

    The distribution of the data is the rule's reference: pass it as `reference` (by default it is the first
    policy, and nothing moves). The rule makes no queries. It imitates the data, and reaches their
    distribution at the rate 1 - 1/lambda per step, for lambda above 1/2.

    Args:
        regularization: lambda > 0.

    Raises:
        ValueError: `regularization` is not a finite number above 0.

    Reference: Chen et al., "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models",
    2024, theorem 5.4.
    """

    regularization: Number

    def __check_init__(self) -> None:
        validation.positive("regularization", self.regularization)

    def form(self, step: Any) -> Form:
        """The pull is 1 / lambda."""
        return Form(pull=1.0 / at(self.regularization, step))

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Minimize the logistic loss with data as winners and answers of the policy as losers."""
        return simplex.mix(state.logp, state.reference, 1.0 / at(self.regularization, state.step)), state
