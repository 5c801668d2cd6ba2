"""Mirror descent with memory: opponents and bases that are mixtures of the last policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import REGULARIZED, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import simplex
from comalgames.numerics.updates import mirror_target


class HistoryState(State):
    """The state of `HistoryMirrorDescent`: `State` and its last policies.

    Attributes:
        past: the policies before the current one, the newest first, log-probabilities `[..., n]` each.
        known: how many of those there have been; the others stand for the first.
    """

    past: tuple[Float[Array, "*batch n"], ...]
    known: Int[Array, ""]


@guaranteed(
    REGULARIZED,
    "temperature > 0 and a small step; at 0 the limit is Nash if the opponent is the current policy, the "
    "base weights satisfy sum_j j^2 b_j > 1, the numbers j + 1 with b_j > 0 have no common divisor above 2, "
    "and the step is small",
    "measured; derived",
)
class HistoryMirrorDescent(AbstractUpdateRule[HistoryState]):
    """Mirror descent from a mixture of its last policies, against another mixture of them.

        base    ~ prod_j policy[t - j]^base_weights[j]
        policy' ~ base^(1 - eta tau) * reference^(eta tau) * exp(eta * advantage(opponent))
        opponent = sum_j opponent_weights[j] policy[t - j]

    The opponent is a mean of probabilities: its advantage is the mean of the advantages. As long as there are
    fewer policies than weights, the existing policies share the weight. `SPO` with a queue and both readings
    of `MNPO` are this rule. With a temperature its fixed point is that of `MirrorDescent`.

    Without a temperature the base decides. Near an interior Nash policy an error of frequency w is multiplied
    in each step by the roots z of

        z = sum_j base_weights[j] z^-j + i eta w sum_j opponent_weights[j] z^-j.

    With small steps against the current policy these are inside the unit circle, so that the last policy
    converges to Nash, iff `sum_j j^2 base_weights[j] > 1` and the numbers j + 1 with base_weights[j] > 0 have
    no common divisor above 2. If all are multiples of 3, for example, a root near exp(2 pi i / 3) leaves the
    circle at once. The sum is 0 for weights (1,), which are `MWU`, and 1/2 for (1/2, 1/2): both spiral away.
    For three equal weights it is 5/3; they converge for eta w < 4/3, and are fastest at eta w = 1.18, by .911
    a step. Two weights are never enough. Among four, (0, .93, 0, .07) are faster, by .789 at eta w = 1.8,
    near their largest step, 1.86 (`OptimisticMWU`: .722 at .5). A queue of opponents spirals away faster than
    `MWU`.

    Args:
        step_size: eta > 0, in units of 1 / payoff.
        temperature: tau >= 0, in units of payoff.
        base_weights: of the current policy, the one before, ..., numbers >= 0 that sum to 1.
        opponent_weights: likewise; the two may differ in length.

    Raises:
        ValueError: a number is not finite or out of range, or weights do not sum to 1.

    Reference: Wu et al., "Multiplayer Nash Preference Optimization", 2025; Swamy et al., "A Minimaximalist
    Approach to Reinforcement Learning from Human Feedback", 2024.
    """

    step_size: Number
    temperature: Number
    base_weights: tuple[Any, ...] = (1.0,)
    opponent_weights: tuple[Any, ...] = (1.0,)

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)
        for name in ("base_weights", "opponent_weights"):
            weights = getattr(self, name)
            if not isinstance(weights, tuple) or not weights:
                raise ValueError(f"`{name}` must be a tuple of numbers such as (0.5, 0.5), got {weights!r}.")
            if all(validation.is_concrete(weight) for weight in weights):
                numbers = validation.real_array(name, weights)
                if numbers.min() < 0 or not np.isclose(numbers.sum(), 1, rtol=0, atol=1e-6):
                    raise ValueError(f"`{name}` must be numbers >= 0 that sum to 1, got {weights!r}.")

    @property
    def memory(self) -> int:
        """Number of policies in memory, the current one included."""
        return max(len(self.base_weights), len(self.opponent_weights))

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> HistoryState:
        """The first state, whose memory contains only the first policy."""
        none = jnp.zeros((), jnp.int32)
        return HistoryState(logp, reference, none, past=(logp,) * (self.memory - 1), known=none)

    def form(self, step: Any) -> Form:
        """The pull is eta tau; a step keeps a memory that holds only the regularized equilibrium."""
        step_size, temperature = at(self.step_size, step), at(self.temperature, step)
        return Form(
            pull=step_size * temperature,
            advantage_weight=step_size if len(self.opponent_weights) == 1 else None,
            temperature=temperature,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
        )

    def notes(self, num_steps: int | None = None) -> tuple[str, ...]:
        """A warning if the run is too short for all of its weights to be used."""
        if num_steps is None or not 0 < num_steps < self.memory:
            return ()
        return (
            f"{type(self).__name__} with {self.memory} weights runs for {num_steps} steps only: it never "
            f"uses the mixtures of {self.memory} policies. Run longer, or with fewer weights.",
        )

    def propose(
        self, key: PRNGKeyArray, state: HistoryState, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], HistoryState]:
        """Apply the formula of the class; mixtures are computed from logarithms, which do not underflow."""
        step_size = at(self.step_size, state.step)
        pull = step_size * at(self.temperature, state.step)
        policies = (state.logp, *state.past)
        weights = _of_those_there(self.base_weights, state)
        base = sum(weight * logp for weight, logp in zip(weights, policies, strict=False))
        opponent = state.logp
        if len(self.opponent_weights) > 1:
            opponent = simplex.mean(policies, _of_those_there(self.opponent_weights, state))
        advantage = feedback.advantage(key, opponent)
        return mirror_target(base, advantage, step_size, state.reference, pull), state

    def commit(self, state: HistoryState, logp: Float[Array, "*batch n"]) -> HistoryState:
        """The state after the current policy has been added to the memory."""
        past = (state.logp, *state.past)[: len(state.past)]
        return replace(super().commit(state, logp), past=past, known=state.known + 1)


def _of_those_there(weights: tuple[Any, ...], state: HistoryState) -> list[Array]:
    """The weights of the policies that there have been, made to sum to 1; as they are if those have none."""
    given = jnp.stack([jnp.asarray(weight, state.logp.dtype) for weight in weights])
    there = jnp.where(jnp.arange(len(weights), dtype=state.known.dtype) <= state.known, given, 0.0)
    total = jnp.sum(there)
    return list(jnp.where(total > 0, there / jnp.where(total > 0, total, 1.0), given))
