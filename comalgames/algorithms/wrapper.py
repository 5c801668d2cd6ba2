"""What every rule around another rule shares: it says of itself what the inner rule says."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import regularizers, validation
from comalgames.algorithms.base import AbstractUpdateRule, S
from comalgames.feedback import AbstractFeedback


class AbstractReferenceSchedule(AbstractUpdateRule[S]):
    """A rule that follows another rule, `inner`, and moves its reference.

    Everything is the inner rule's, but for `commit`, which moves the reference.
    """

    inner: AbstractUpdateRule[S]

    def _check_inner(self) -> None:
        """Refuse an inner rule without a reference that could be moved."""
        name = type(self).__name__
        if not isinstance(self.inner, AbstractUpdateRule):
            raise ValueError(
                f"`inner` must be an update rule such as MirrorDescent(1.0, 0.1), got {self.inner!r}. "
                f"To train a model, put {name} inside: Parametric({name}(rule, ...), ...)."
            )
        regularizer = getattr(self.inner, "regularizer", None)
        if regularizer is not None and regularizers.ignores_reference(regularizer):
            raise ValueError(
                f"`inner` must have a reference that {name} can move, but its regulariser "
                f"{regularizers.name(regularizer)!r} ignores the reference: the regularised equilibrium "
                f"would stay where it is. Use a divergence from the reference, such as regularizers.kl."
            )
        pull = self.inner.pull
        if validation.is_concrete(pull) and np.all(np.asarray(pull) == 0):
            raise ValueError(
                f"`inner` must have a reference that {name} can move, but {self.inner!r} has none (its pull "
                f"is 0). Use a regularised rule: MirrorDescent, MMD, INPO, Extragradient or "
                f"RegularizedMirrorDescent with a temperature above 0, or ExactProx. A rule of your own "
                f"needs the property `pull`."
            )

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The inner rule's."""
        return self.inner.init(logp, reference)

    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The inner rule's."""
        return self.inner.propose(key, state, feedback)

    @abstractmethod
    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The inner rule's, and then the reference moves."""

    def move_reference(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The inner rule's."""
        return self.inner.move_reference(state, logp)

    def queries(self, num_actions: int) -> int:
        """The inner rule's."""
        return self.inner.queries(num_actions)

    @property
    def pull(self) -> Any:
        """The inner rule's."""
        return self.inner.pull

    def advantage_weight(self, step: Any) -> Any:
        """The inner rule's."""
        return self.inner.advantage_weight(step)

    def logistic_beta(self, step: Any) -> Any:
        """The inner rule's."""
        return self.inner.logistic_beta(step)

    def kl_temperature(self, step: Any) -> Any:
        """The inner rule's."""
        return self.inner.kl_temperature(step)

    @property
    def queries_itself(self) -> bool:
        """Whether the inner rule does."""
        return self.inner.queries_itself

    @property
    def needs_all_actions(self) -> bool:
        """Whether the inner rule does."""
        return self.inner.needs_all_actions

    def lowest_logp(self, dtype: Any) -> float:
        """The inner rule's."""
        return self.inner.lowest_logp(dtype)

    @property
    def reads_pairs(self) -> bool:
        """The inner rule's."""
        return self.inner.reads_pairs

    @property
    def reads_odds(self) -> bool:
        """The inner rule's."""
        return self.inner.reads_odds

    @property
    def is_random(self) -> bool:
        """The inner rule's."""
        return self.inner.is_random

    @property
    def shortest_run(self) -> int:
        """The inner rule's."""
        return self.inner.shortest_run

    @property
    def shortest_period(self) -> float:
        """The inner rule's."""
        return self.inner.shortest_period

    def notes(self) -> tuple[str, ...]:
        """The inner rule's."""
        return self.inner.notes()
