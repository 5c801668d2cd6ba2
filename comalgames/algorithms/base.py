"""The protocol of a learning rule: `propose` returns the next policy, `commit` records the one reached."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Generic, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from typing_extensions import TypeVar

from comalgames import validation
from comalgames.algorithms.form import Form
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import simplex
from comalgames.numerics.updates import mirror_target


class State(eqx.Module):
    """The state that every rule has. Extend it by inheritance, change it with `dataclasses.replace`.

    Attributes:
        logp: the current policy, normalized log-probabilities `[..., n]`.
        reference: the policy that the rule is pulled towards, normalized log-probabilities `[..., n]`.
        step: number of steps committed so far.
    """

    logp: Float[Array, "*batch n"]
    reference: Float[Array, "*batch n"]
    step: Int[Array, ""]


# Any type with the three fields: the state of a wrapper has them without being a `State`. That they are there
# is what mypy is told to accept below.
S = TypeVar("S", default=Any)


class AbstractAlgorithm(eqx.Module, Generic[S]):
    """Base class of algorithms: a first state, and the state after one more step.

    Every field of an algorithm is either a leaf (a number, an array, a schedule) or static
    (`eqx.field(static=True)`: functions, integers that set shapes), so an algorithm is an ordinary pytree:
    `jax.vmap(lambda s: MWU(s))(step_sizes)` is many algorithms in one.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse a misspelt keyword, and suggest the nearest one."""
        parameters = inspect.signature(cls.__init__).parameters
        known = [name for name in parameters if name != "self"]
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            for name in kwargs:
                try:
                    validation.known("argument", name, known)
                except ValueError as error:
                    raise TypeError(f"{cls.__name__}: {error}") from None
        return super().__new__(cls)

    @abstractmethod
    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The state before the first step.

        Args:
            logp: the first policy, normalized log-probabilities `[..., n]`.
            reference: the first reference, likewise.
        """

    @abstractmethod
    def step(self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback) -> S:
        """The state after one more step.

        Args:
            key: random key of this step.
            state: the state before it.
            feedback: the source of advantages and preferences.
        """

    def form(self, step: Any) -> Form:
        """The numbers of the given step, as a `Form`.

        Args:
            step: number of the step, counted from 0.
        """
        return Form()

    def notes(self, num_steps: int | None = None) -> tuple[str, ...]:
        """Warnings for a user who is about to run this algorithm.

        Args:
            num_steps: number of steps of the run; None if that is not known.
        """
        return ()


def with_dtype(tree: Any, dtype: Any) -> Any:
    """Convert the numbers of a pytree to arrays of `dtype`, so that other values need no recompilation.

    Args:
        tree: an algorithm, or any other pytree.
        dtype: a floating-point type.

    Raises:
        ValueError: a number would become infinite or 0 in `dtype`.
    """

    def convert(path: Any, leaf: Any) -> Any:
        is_number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
        if not is_number and not eqx.is_inexact_array(leaf):
            return leaf
        validation.fits(jax.tree_util.keystr(path, simple=True, separator="."), leaf, dtype)
        return jnp.asarray(leaf, dtype)

    return jax.tree_util.tree_map_with_path(convert, tree)


class AbstractUpdateRule(AbstractAlgorithm[S]):
    """A learning rule: it proposes a policy, and the caller moves to it and commits the policy reached.

    A tabular policy is set to the proposal, a softmax model takes gradient steps towards it, and a language
    model is trained towards it. One rule object serves all of them, and `propose` is the only method that a
    rule must have:

        class MyRule(cg.AbstractUpdateRule):
            step_size: float

            def propose(self, key, state, feedback):
                advantage = feedback.advantage(key, state.logp)
                return state.logp + self.step_size * advantage, state

    `propose` takes a random key, the state and the feedback, and returns two things: the log-policy of the
    next step, up to a constant per prompt, and the state with updated memory. It must be a pure JAX function:
    `jax.numpy` instead of NumPy, `jnp.where` instead of `if` on values, no assignment to `self`.

    `State` holds `logp` (the current policy), `reference` (the policy that the rule is pulled towards), both
    normalized log-probabilities `[..., n]` with actions on the last axis, and `step`. A rule with memory
    extends it and overrides `init`, and `commit` if the memory changes with the policy reached:

        class MyState(cg.State):
            previous: jax.Array

        class Optimistic(cg.AbstractUpdateRule[MyState]):
            step_size: float

            def init(self, logp, reference):
                return MyState(logp, reference, jnp.zeros((), jnp.int32), previous=jnp.zeros_like(logp))

            def propose(self, key, state, feedback):
                advantage = feedback.advantage(key, state.logp)
                target = state.logp + self.step_size * (2 * advantage - state.previous)
                return target, dataclasses.replace(state, previous=advantage)

    `feedback.advantage(key, opponent)` is the win rate of every action against the policy `opponent`, minus
    1/2. An opponent must be a normalized log-policy: pass a mixture through `jax.nn.log_softmax` first.

    `form` states the numbers of the rule that other parts of the package read: the weight of the reference
    for `COMAL`, the field that sets the step size for `diagnose`, and so on. See `Form` for all of them.

    Example:
        >>> class MyRule(cg.AbstractUpdateRule):
        ...     step_size: float
        ...
        ...     def propose(self, key, state, feedback):
        ...         advantage = feedback.advantage(key, state.logp)
        ...         return state.logp + self.step_size * advantage, state
        >>> cg.solve(cg.games.comal_cycle(), MyRule(0.1), 100, init=[0.2, 0.5, 0.3]).policy.round(3)
        array([0.256, 0.139, 0.605])
    """

    @abstractmethod
    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The log-policy of the next step, up to a constant per prompt, and the state with updated memory.

        Args:
            key: random key of this step; split it if it is used twice.
            state: the current state.
            feedback: the source of advantages and preferences.
        """

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The state before the first step; a rule with memory overrides this.

        Args:
            logp: the first policy, normalized log-probabilities `[..., n]`.
            reference: the first reference, likewise.
        """
        return cast(S, State(logp=logp, reference=reference, step=jnp.zeros((), jnp.int32)))

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The state after the policy has moved: to the policy reached, which need not be the proposal.

        Args:
            state: the state that `propose` returned.
            logp: the policy reached, normalized log-probabilities `[..., n]`.
        """
        return replace(state, logp=logp, step=state.step + 1)  # type: ignore[type-var, attr-defined]

    def move_reference(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """The state with another reference and everything else, momentum included, unchanged.

        Args:
            state: the state.
            logp: the new reference, normalized log-probabilities `[..., n]`.
        """
        return replace(state, reference=logp)  # type: ignore[type-var]

    def step(self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback) -> S:
        """The exact tabular step: propose, normalize, commit.

        Args:
            key: random key of this step.
            state: the state before it.
            feedback: the source of advantages and preferences.
        """
        proposal = self.propose(key, state, feedback)
        name = type(self).__name__
        if not (isinstance(proposal, tuple) and len(proposal) == 2):
            raise ValueError(f"{name}.propose must return (target, state), got {type(proposal).__name__}.")
        target, state = proposal
        shape = state.logp.shape  # type: ignore[attr-defined]
        if jnp.shape(target) != shape:
            raise ValueError(
                f"{name}.propose must return a target of the policy's shape {shape}, got {jnp.shape(target)}."
            )
        return self.commit(state, simplex.log_normalize(target))

    @property
    def shortest_period(self) -> float:
        """Number of steps that COMAL should let this rule take before it moves the reference.

        Linearized at an interior Nash policy with rotation frequency w -> 0, COMAL with N inner steps of pull
        m contracts iff sinh(-N log(1 - m)) > N m / (1 - m), about N > sqrt(3 / m); larger frequencies need
        more. max(4, 0.6 / m, 2 / sqrt(m)) suffices for every frequency of a preference game, as long as the
        inner step is at most 0.7 of its own limit (measured for m from 0.05 to 0.6).
        """
        pull = float(self.form(0).pull)
        return max(4.0, 0.6 / pull, 2.0 / math.sqrt(pull)) if pull > 0 else 1.0


class AbstractMirrorRule(AbstractUpdateRule[State]):
    """Base class of mirror rules with one query, of the current policy; `form` determines the rule.

    target = (1 - pull) * logp + pull * reference + advantage_weight * advantage(logp)
    """

    @abstractmethod
    def form(self, step: Any) -> Form:
        """The two weights of the step, and the names of the fields that determine them."""

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply the formula in the docstring of the class."""
        form = self.form(state.step)
        advantage = feedback.advantage(key, state.logp)
        if form.temperature is None:  # a rule without a reference
            return mirror_target(state.logp, advantage, form.advantage_weight), state
        target = mirror_target(state.logp, advantage, form.advantage_weight, state.reference, form.pull)
        return target, state
