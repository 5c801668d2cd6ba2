"""COMAL: run any rule that has a reference, and move the reference to the policy reached, every so often."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import regularizers, validation
from comalgames.algorithms.base import AbstractUpdateRule, S
from comalgames.feedback import AbstractFeedback


class COMAL(AbstractUpdateRule[S]):
    """Convergent meta-alignment: a proximal-point loop around a solver of regularised games.

        every `period` steps of `inner`:   reference <- policy

    Each round brings the policy near the equilibrium of the game regularised around the reference; moving the
    reference there and going on converges, in the last iterate, to an exact Nash policy. With an exact inner
    solve, `COMAL(ExactProx(t), period=1)`, KL(Nash, policy) never increases, for every temperature. With too
    few inner steps it diverges; period 1 around `MirrorDescent` is `MWU`. A step of COMAL is one step of
    `inner`, and costs as much.

    Args:
        inner: any update rule with a reference (its `pull` is above 0), such as `MirrorDescent(1.0, 0.1)`,
            `Extragradient`, `RegularizedMirrorDescent` or `ExactProx`.
        period: steps of `inner` between two moves of the reference, >= 1. `inner.shortest_period` is a value
            that will do for steps measured by entropy that a table takes (a softmax policy that goes part of
            the way, or another mirror map, asks for more); below it `solve` warns.

    Raises:
        ValueError: `inner` is not an update rule, has no reference or ignores it, or `period` is not a whole
            number >= 1.

    Reference: Liu et al., "COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences",
    arXiv 2410.23223, algorithm 1.
    """

    inner: AbstractUpdateRule[S]
    period: Any

    def __check_init__(self) -> None:
        if not isinstance(self.inner, AbstractUpdateRule):
            raise ValueError(
                f"`inner` must be an update rule such as MirrorDescent(1.0, 0.1), got {self.inner!r}. "
                f"To train a model, put COMAL inside: Parametric(COMAL(rule, period), ...)."
            )
        regularizer = getattr(self.inner, "regularizer", None)
        if regularizer is not None and regularizers.ignores_reference(regularizer):
            raise ValueError(
                f"`inner` must have a reference that COMAL can move, but its regulariser "
                f"{regularizers.name(regularizer)!r} ignores the reference: the regularised equilibrium "
                f"would stay where it is. Use a divergence from the reference, such as regularizers.kl."
            )
        pull = self.inner.pull
        if validation.is_concrete(pull) and np.all(np.asarray(pull) == 0):
            raise ValueError(
                f"`inner` must have a reference that COMAL can move, but {self.inner!r} has none (its pull "
                f"is 0). Use a regularised rule: MirrorDescent, MMD, INPO, Extragradient or "
                f"RegularizedMirrorDescent with a temperature above 0, or ExactProx. A rule of your own "
                f"needs the property `pull`."
            )
        if validation.is_concrete(self.period) and np.ndim(self.period) == 0:
            validation.count("period", self.period, minimum=1)
        elif validation.is_concrete(self.period):
            validation.positive("period", self.period)

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The inner rule's state: COMAL itself remembers nothing."""
        return self.inner.init(logp, reference)

    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The inner rule's proposal."""
        return self.inner.propose(key, state, feedback)

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """After every `period`-th step, move the inner rule's reference to the policy reached."""
        state = self.inner.commit(state, logp)
        moved = self.inner.move_reference(state, logp)
        due = state.step % jnp.asarray(self.period, state.step.dtype) == 0
        after: S = jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, state)
        return after

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

    @property
    def needs_all_actions(self) -> bool:
        """The inner rule's."""
        return self.inner.needs_all_actions

    def lowest_logp(self, dtype: Any) -> float:
        """The inner rule's."""
        return self.inner.lowest_logp(dtype)

    def move_reference(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The inner rule's."""
        return self.inner.move_reference(state, logp)

    @property
    def reads_pairs(self) -> bool:
        """The inner rule's."""
        return self.inner.reads_pairs

    @property
    def is_random(self) -> bool:
        """The inner rule's."""
        return self.inner.is_random

    @property
    def shortest_period(self) -> float:
        """The inner rule's."""
        return self.inner.shortest_period

    def notes(self) -> tuple[str, ...]:
        """The inner rule's, and a warning if the period is too short for it to come near its equilibrium."""
        enough = math.ceil(self.shortest_period)
        if float(self.period) >= enough:
            return self.inner.notes()
        return (
            *self.inner.notes(),
            f"COMAL's period of {self.period} is short for {type(self.inner).__name__} with pull "
            f"{float(self.pull):.3g}: it may diverge; period={enough} would do.",
        )
