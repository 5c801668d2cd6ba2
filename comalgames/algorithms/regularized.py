"""Mirror descent on a game regularized by any differentiable function."""

from __future__ import annotations

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import regularizers, validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import REGULARIZED, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.regularizers import Regularizer, mirrors
from comalgames.regularizers.mirrors import Mirror


@guaranteed(REGULARIZED, "a small step; the regularizer is the given one", "Tang et al. 2025; measured")
class RegularizedMirrorDescent(AbstractUpdateRule[State]):
    """Mirror descent on the game with payoff minus `temperature * regularizer(policy, reference)`.

        policy' = argmax <p, utility> - Bregman(p, policy) / step_size
        utility = advantage - temperature * grad regularizer

    With the mirror map of entropy, the default, this is `policy' ~ policy * exp(step_size * utility)`.
    With `regularizers.kl` it is `MirrorDescent`. For a strictly convex divergence from the reference its
    fixed points inside `COMAL` are the Nash policies; it converges there where the step is stable and the
    period long enough (measured for the built-in divergences at step 1, temperature 0.1, period 50).

    Args:
        step_size: eta > 0, in units of 1 / payoff.
        temperature: tau >= 0, in units of payoff.
        regularizer: a differentiable function `(p, reference) -> number` of two probability vectors (1-D),
            such as `lambda p, r: jnp.sum((p - r) ** 2 / r)`. The gradient is taken by JAX, with both
            arguments floored at `regularizers.LOG_FLOOR`. What `check_regularizer` says of it is worth
            reading.
        mirror: which distance a step is measured by: `mirrors.entropy`, `mirrors.euclidean`,
            `mirrors.log_barrier`, `mirrors.tsallis(q)` or `mirrors.separable(potential)`.

    Raises:
        ValueError: a number is not finite or out of range; `regularizer` is not a function of two policies
            with one finite real value; or `mirror` is not a mirror map.

    Reference: Tang et al., "RSPO: Regularized Self-Play Alignment of Large Language Models", 2025; Sokota et
    al., 2023, section 3.
    """

    step_size: Number
    temperature: Number
    regularizer: Regularizer = eqx.field(static=True)
    mirror: Mirror = eqx.field(static=True, default=mirrors.entropy)

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)
        regularizers.check(self.regularizer)
        mirrors.check(self.mirror)

    def form(self, step: Any) -> Form:
        """The pull is step_size * temperature * curvature near the reference for the entropic mirror map.

        The curvature is the regularizer's at a uniform reference relative to that of KL; the pull is 0 for a
        regularizer that ignores the reference.
        """
        step_size, temperature = at(self.step_size, step), at(self.temperature, step)
        is_entropic = self.mirror is mirrors.entropy
        pull: Any = 0.0
        if not regularizers.ignores_reference(self.regularizer):
            pull = step_size * temperature * regularizers.curvature(self.regularizer)
        return Form(
            pull=pull,
            advantage_weight=step_size if is_entropic else None,
            temperature=temperature,
            regularizer=self.regularizer,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
            needs_all_actions=not (is_entropic and regularizers.is_separable(self.regularizer)),
            is_floored=True,
        )

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Step along the regularized payoff's gradient at the current policy."""
        penalty = regularizers.gradient(self.regularizer, state.logp, state.reference)
        utility = feedback.advantage(key, state.logp) - at(self.temperature, state.step) * penalty
        return self.mirror(state.logp, utility, at(self.step_size, state.step)), state
