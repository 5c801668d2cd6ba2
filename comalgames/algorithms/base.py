"""What a learning rule is: `propose` where to go, let someone realise it, `commit` where one landed.

Write a rule by subclassing `AbstractUpdateRule` and giving it `propose`; everything else has a default.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Generic, TypeAlias, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, Real
from typing_extensions import TypeVar

from comalgames.feedback import AbstractFeedback
from comalgames.numerics import simplex
from comalgames.numerics.updates import mirror_target


class State(eqx.Module):
    """What every rule remembers. Extend it by inheritance, change it with `dataclasses.replace`.

    Attributes:
        logp: the current policy, normalised log-probabilities `[..., n]`.
        reference: the policy pulled towards, normalised log-probabilities `[..., n]`.
        step: how many steps were committed.
        moving: whether the reference moves with the next commit, where a rule decides that by itself; None
            for the others.
    """

    logp: Float[Array, "*batch n"]
    reference: Float[Array, "*batch n"]
    step: Int[Array, ""]
    moving: Bool[Array, "*batch"] | None = eqx.field(default=None, kw_only=True)


S = TypeVar("S", bound=State, default=State)


class AbstractSchedule(eqx.Module):
    """A number that changes with the step: usable wherever a rule takes a step size or a temperature."""

    @abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at the given step, counted from 0."""


Number: TypeAlias = Real[ArrayLike, ""] | AbstractSchedule


def at(value: Number, step: Any) -> Any:
    """The value itself, or its value at `step` if it is a schedule.

    Args:
        value: a number, or an `AbstractSchedule`.
        step: counted from 0.
    """
    return value(jnp.asarray(step, jnp.int32)) if isinstance(value, AbstractSchedule) else value


class AbstractAlgorithm(eqx.Module, Generic[S]):
    """What the loop needs of anything that learns: a first state, and the next one.

    Every field of an algorithm is either a leaf (a number, an array, a schedule) or static
    (`eqx.field(static=True)`: functions, integers that set shapes), so an algorithm is an ordinary pytree:
    `jax.vmap(lambda s: MWU(s))(step_sizes)` is many algorithms in one.
    """

    @abstractmethod
    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The state before the first step."""

    @abstractmethod
    def step(self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback) -> S:
        """The state after one more step."""

    @abstractmethod
    def queries(self, num_actions: int) -> int:
        """How many queries (evaluations of all actions against one opponent) a step costs."""

    @property
    def reads_pairs(self) -> bool:
        """Whether the algorithm asks for `pairwise` preferences, which two-player games do not have."""
        return False

    @property
    def reads_odds(self) -> bool:
        """Whether the algorithm needs the log-odds of preferences, which must then not be 0 or 1."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether steps draw random numbers of their own, so that a run needs a key."""
        return False

    @property
    def shortest_run(self) -> int:
        """With how many steps a run first shows what the algorithm is about; a shorter one is refused."""
        return 0

    def notes(self) -> tuple[str, ...]:
        """What a user should be warned of before running this algorithm with these numbers."""
        return ()


def with_dtype(tree: Any, dtype: Any) -> Any:
    """The pytree with its numbers as arrays of `dtype`, so that other numbers need no compilation."""

    def convert(leaf: Any) -> Any:
        is_number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
        return jnp.asarray(leaf, dtype) if is_number or eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(convert, tree)


class AbstractUpdateRule(AbstractAlgorithm[S]):
    """A rule that says where the policy should go, and leaves it to others to bring it there.

    A table goes there exactly; a softmax model takes gradient steps towards it; a language model trains. So
    one rule object serves all of them.
    """

    @abstractmethod
    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The log-policy to go to, up to a constant per prompt, and the state with what was learnt."""

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The state before the first step. A rule that remembers more than `State` holds overrides this."""
        return cast(S, State(logp=logp, reference=reference, step=jnp.zeros((), jnp.int32)))

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The state after the policy has moved to `logp`: the policy reached, not the one aimed at."""
        return replace(state, logp=logp, step=state.step + 1)

    def step(self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback) -> S:
        """Propose, normalise, commit: the exact tabular step."""
        proposal = self.propose(key, state, feedback)
        name = type(self).__name__
        if not (isinstance(proposal, tuple) and len(proposal) == 2):
            raise ValueError(f"{name}.propose must return (target, state), got {type(proposal).__name__}.")
        target, state = proposal
        if target.shape != state.logp.shape:
            raise ValueError(
                f"{name}.propose must return a target of the policy's shape {state.logp.shape}, "
                f"got {target.shape}."
            )
        return self.commit(state, simplex.log_normalize(target))

    def queries(self, num_actions: int) -> int:
        """One query a step, unless a rule says otherwise."""
        return 1

    @property
    def pull(self) -> Any:
        """The weight m of the reference in the first step; 0 for a rule that has no reference."""
        return 0.0

    def advantage_weight(self, step: Any) -> Any:
        """The weight s of the advantage, if the target is the anchor plus s times the policy's own advantage.

        None, the default, for any other rule. The published losses on labelled pairs and on win rates need
        it.
        """
        return None

    def logistic_beta(self, step: Any) -> Any:
        """DPO's beta, with which its logistic loss on labels trains this rule; None where that loss cannot.

        1 / `advantage_weight`, unless a rule has a beta of its own.
        """
        weight = self.advantage_weight(step)
        return None if weight is None else 1.0 / weight

    @property
    def fits_labels(self) -> bool:
        """Whether its proposal is a fit to labels, which for a few answers need not be finite."""
        return self.reads_pairs and self.logistic_beta(0) is not None

    def kl_temperature(self, step: Any) -> Any:
        """tau, if the rule seeks the equilibrium of the game regularised by tau KL(policy || reference).

        None, the default, where it seeks something else or does not say. COMAL without a period needs it.
        """
        return None

    @property
    def queries_itself(self) -> bool:
        """Whether one of its queries is about the current policy, `state.logp` as it is."""
        return not self.reads_pairs

    @property
    def needs_all_actions(self) -> bool:
        """Whether a step at one action needs the probabilities of all others, so that no sample will do."""
        return False

    def lowest_logp(self, dtype: Any) -> float:
        """Log-probabilities below this are all one to the rule; -inf for rules that compute with any."""
        return -math.inf

    def move_reference(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The state with the reference at `logp` and everything else, momentum included, as it was."""
        return replace(state, reference=logp)

    @property
    def shortest_period(self) -> float:
        """How many steps COMAL should let this rule take before it moves the reference.

        Linearised at an interior Nash policy with rotation frequency w -> 0, COMAL with N inner steps of pull
        m contracts iff sinh(-N log(1 - m)) > N m / (1 - m), about N > sqrt(3 / m); larger frequencies ask for
        more. max(4, 0.6 / m, 2 / sqrt(m)) does for every frequency a preference game can have, as long as the
        inner step is at most 0.7 of its own limit (measured for m from 0.05 to 0.6).
        """
        pull = float(self.pull)
        return max(4.0, 0.6 / pull, 2.0 / math.sqrt(pull)) if pull > 0 else 1.0


class AbstractMirrorRule(AbstractUpdateRule[State]):
    """Mirror rules that query the current policy once: they differ only in their two weights.

    target = (1 - pull) * logp + pull * reference + step_size * advantage(logp)
    """

    @abstractmethod
    def weights(self, step: Any) -> tuple[Any, Any]:
        """(pull, step_size) of the given step; pull is None for a rule without a reference."""

    @property
    def pull(self) -> Any:
        """The weight of the reference in the first step."""
        pull, _ = self.weights(0)
        return 0.0 if pull is None else pull

    def advantage_weight(self, step: Any) -> Any:
        """The step size."""
        return self.weights(step)[1]

    def kl_temperature(self, step: Any) -> Any:
        """pull / step_size: with it the policy's own best response stays where it is."""
        pull, step_size = self.weights(step)
        return None if pull is None else pull / step_size

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """The formula above."""
        pull, step_size = self.weights(state.step)
        advantage = feedback.advantage(key, state.logp)
        if pull is None:
            return mirror_target(state.logp, advantage, step_size), state
        return mirror_target(state.logp, advantage, step_size, state.reference, pull), state
