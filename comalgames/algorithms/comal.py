"""COMAL: run any rule that has a reference, and repeatedly move the reference towards the policy."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import regularizers, validation
from comalgames.algorithms.base import AbstractUpdateRule, S
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import NASH, guaranteed
from comalgames.algorithms.when import AbstractWhen, Every, Near
from comalgames.algorithms.wrapper import AbstractRuleWrapper
from comalgames.feedback import AbstractFeedback, asked


@guaranteed(NASH, "any temperature; an inner rule that converges", "Liu et al. 2024", queries="inner")
class COMAL(AbstractRuleWrapper[S]):
    """Convergent meta-alignment: a proximal-point loop around a solver of regularized games.

        whenever the policy is near the equilibrium of `inner`:   reference <- policy

    Each round brings the policy near the equilibrium of the game regularized around the reference. Moving the
    reference there and repeating converges, in the last iterate, to an exact Nash policy. A step of COMAL is
    one step of `inner`, and costs as much.

    `when` decides when the policy is near enough:

    - `Near()`, the default, tests the policy. KL(Nash || reference) then never increases by more than its
      rounding error, for every game, temperature and inner step size, and there is no period to choose.
    - `Every(period)` moves the reference every `period` steps. Trainers of language models need it, because
      they see only a few answers of a policy. With an exact inner solve, `COMAL(ExactProx(t), period=1)`, KL
      to Nash never increases either; with too few inner steps the loop diverges, and a period of 1 around
      `MirrorDescent` is `MWU`.
    - `Follow(rate)` moves the reference a little with every step.

    Args:
        inner: an update rule with a reference (its `form` has a pull above 0), such as
            `MirrorDescent(1.0, 0.1)`, `Extragradient`, `RegularizedMirrorDescent` or `ExactProx`. With `Near`
            its regularizer must be KL.
        period: short for `when=Every(period)`.
        when: when the reference moves; `Near()` by default.

    Raises:
        ValueError: `inner` is not an update rule, makes no query, or has no reference that `when` can move;
            `period` is not a whole number >= 1; or both `period` and `when` are given.

    Example:
        >>> rule = cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1), period=20)
        >>> cg.solve(cg.games.comal_cycle(), rule, 1000, init=[0.2, 0.5, 0.3]).policy
        array([0.36363636, 0.27272727, 0.36363636])

    Reference: Liu et al., "COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences",
    arXiv 2410.23223, algorithm 1.
    """

    inner: AbstractUpdateRule[Any]
    when: AbstractWhen

    def __init__(
        self, inner: AbstractUpdateRule[Any], period: Any = None, *, when: AbstractWhen | None = None
    ) -> None:
        self.inner = inner
        if isinstance(period, str) and period == "auto":
            period = None
        if period is not None and when is not None:
            raise ValueError(
                f"`period` and `when` exclude each other, got {period!r} and {when!r}: `period` is short for "
                f"`when=Every(period)`."
            )
        if period is not None:
            when = Every(period)
        self.when = Near() if when is None else when

    def __check_init__(self) -> None:
        if not isinstance(self.when, AbstractWhen):
            raise ValueError(
                f"`when` must be a strategy such as Every(20), Near() or Follow(0.03), got {self.when!r}."
            )
        check_inner(self.inner)
        self.when.check(self.inner)

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The first state of the inner rule, with what `when` remembers."""
        state: S = self.when.init(self.inner.init(logp, reference))
        return state

    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The proposal of the inner rule, unless `when` moves the policy too."""
        proposal: tuple[Any, S] = self.when.propose(self.inner, key, state, feedback)
        return proposal

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """Commit with the inner rule, and move its reference where a move is due."""
        after: S = self.when.commit(self.inner, state, logp)
        return after

    def move_reference(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The state with another reference."""
        after: S = self.when.move_reference(self.inner, state, logp)
        return after

    def form(self, step: Any) -> Form:
        """The form of the inner rule, with the reference moving."""
        return self.when.form(self.inner.form(step))

    def notes(self, num_steps: int | None = None) -> tuple[str, ...]:
        """The notes of the inner rule and of `when`."""
        return (*self.inner.notes(num_steps), *self.when.notes(self.inner, num_steps))


def check_inner(inner: Any) -> None:
    """Refuse an inner rule without a reference that could be moved."""
    if not isinstance(inner, AbstractUpdateRule):
        raise ValueError(
            f"`inner` must be an update rule such as MirrorDescent(1.0, 0.1), got {inner!r}. To train a "
            f"model, put COMAL inside: Parametric(COMAL(rule, ...), ...)."
        )
    form = inner.form(0)
    if form.regularizer is not regularizers.kl and regularizers.ignores_reference(form.regularizer):
        raise ValueError(
            f"`inner` must have a reference that COMAL can move, but its regularizer "
            f"{regularizers.name(form.regularizer)!r} ignores the reference, so the regularized equilibrium "
            f"would not move. Use a divergence from the reference, such as regularizers.kl."
        )
    if validation.is_concrete(form.pull) and np.all(np.asarray(form.pull) == 0):
        raise ValueError(
            f"`inner` must have a reference that COMAL can move, but {inner!r} has none (its pull is 0). "
            f"Use a rule with a temperature above 0, such as MirrorDescent, MMD, INPO, Extragradient or "
            f"RegularizedMirrorDescent, or ExactProx. A rule of your own states it in `form`: Form(pull=...)."
        )
    if _makes_no_query(inner):
        raise ValueError(
            f"`inner` must ask about the game, but {inner!r} makes no query: it goes to its reference for "
            f"all preferences, so moving the reference cannot lead to Nash. Use a rule that queries "
            f"preferences, such as MirrorDescent or Extragradient."
        )


def _makes_no_query(inner: AbstractUpdateRule[Any]) -> bool:
    """Whether a step of the rule makes no query; False if it cannot be traced."""
    try:
        return asked(inner, 3).cost == 0
    # A user's rule may raise any exception when it is traced. It is not hidden: the checks before a run call
    # the rule again and report it with the user's file and line.
    except Exception:
        return False
