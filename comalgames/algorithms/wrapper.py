"""Rules that wrap another rule, `inner`, and forward to it everything that they do not change."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, S
from comalgames.algorithms.form import Form
from comalgames.feedback import AbstractFeedback


class AbstractWrapper(AbstractAlgorithm[S]):
    """An algorithm that wraps another one: `form` and `notes` are forwarded.

    Attributes:
        inner: the algorithm inside.
    """

    inner: Any

    def form(self, step: Any) -> Form:
        """The form of the inner algorithm; override it by `super().form(step)._replace(...)`."""
        form: Form = self.inner.form(step)
        return form

    def notes(self, num_steps: int | None = None) -> tuple[str, ...]:
        """The notes of the inner algorithm."""
        notes: tuple[str, ...] = self.inner.notes(num_steps)
        return notes


class AbstractRuleWrapper(AbstractWrapper[S], AbstractUpdateRule[S]):
    """An update rule that wraps another one: every member is forwarded."""

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The first state of the inner rule."""
        state: S = self.inner.init(logp, reference)
        return state

    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The proposal of the inner rule."""
        proposal: tuple[Any, S] = self.inner.propose(key, state, feedback)
        return proposal

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The commit of the inner rule."""
        after: S = self.inner.commit(state, logp)
        return after

    def move_reference(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The state of the inner rule with another reference."""
        after: S = self.inner.move_reference(state, logp)
        return after

    @property
    def shortest_period(self) -> float:
        """The shortest period of the inner rule."""
        return float(self.inner.shortest_period)


def innermost(algorithm: Any) -> Any:
    """The algorithm inside all wrappers, whose own fields its `form` names.

    Args:
        algorithm: any algorithm.
    """
    while isinstance(algorithm, AbstractWrapper):
        algorithm = algorithm.inner
    return algorithm
