"""Feedback that records its queries, and the cost of a step derived from the record."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.feedback.base import AbstractFeedback, Comparisons


class Question(NamedTuple):
    """One call of a feedback method by a rule.

    Attributes:
        kind: the method, "advantage", "comparisons" or "pairwise".
        about: the policy of the query, log-probabilities `[..., n]`; None for "pairwise".
    """

    kind: str
    about: Any = None


class Recording(AbstractFeedback):
    """Feedback that forwards all calls to another feedback and records them.

    The record belongs to one trace: create the object inside of a traced function, not as an argument.

    Attributes:
        feedback: the feedback that returns the results.
        questions: the record, a list that is extended by each call.
        opponents: log-probabilities that replace the opponents of the second and later queries.
    """

    feedback: AbstractFeedback
    questions: list[Question]
    opponents: tuple[Float[Array, "*batch n"], ...] = ()

    @property
    def is_random(self) -> bool:
        """Whether `feedback` is random."""
        return self.feedback.is_random

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The result of `feedback`, for the replaced opponent if there is one."""
        number = sum(question.kind == "advantage" for question in self.questions)
        self.questions.append(Question("advantage", opponent_logp))
        replaced = 0 < number <= len(self.opponents)
        return self.feedback.advantage(key, self.opponents[number - 1] if replaced else opponent_logp)

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """The result of `feedback`."""
        self.questions.append(Question("comparisons", logp))
        return self.feedback.comparisons(key, logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The result of `feedback`."""
        self.questions.append(Question("pairwise"))
        return self.feedback.pairwise(key)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum of one number per policy over the players, as in `feedback`."""
        return self.feedback.over_players(each)


class Known(AbstractFeedback):
    """Feedback that returns a stored advantage for one policy, and forwards all other calls.

    Attributes:
        feedback: the feedback to which all other calls are forwarded.
        about: the policy whose advantage is stored, compared by identity.
        answer: the stored advantage.
    """

    feedback: AbstractFeedback
    about: Float[Array, "*batch n"]
    answer: Float[Array, "*batch n"]

    @property
    def is_random(self) -> bool:
        """Whether `feedback` is random."""
        return self.feedback.is_random

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The stored advantage for the stored policy, otherwise the result of `feedback`."""
        return self.answer if opponent_logp is self.about else self.feedback.advantage(key, opponent_logp)

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """The result of `feedback`."""
        return self.feedback.comparisons(key, logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The result of `feedback`."""
        return self.feedback.pairwise(key)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum of one number per policy over the players, as in `feedback`."""
        return self.feedback.over_players(each)


class Ties(AbstractFeedback):
    """Feedback under which all actions tie, for traces in which only shapes matter.

    Attributes:
        num_actions: number n of actions.
    """

    num_actions: int = eqx.field(static=True)

    @property
    def is_random(self) -> bool:
        """False: the feedback is deterministic."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Zero for every action."""
        return jnp.zeros_like(opponent_logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Zero for every pair."""
        return jnp.zeros((self.num_actions, self.num_actions))


class Asked(NamedTuple):
    """The queries of one step of an algorithm.

    Attributes:
        cost: number of queries, each an evaluation of all actions against one opponent: 1 for an advantage or
            for comparisons, n for all pairs.
        itself: whether one of the queries has the current policy `state.logp` as its opponent.
        pairs: whether the step needs pairwise preferences, which two-player games do not have.
    """

    cost: int
    itself: bool
    pairs: bool


def asked(algorithm: Any, shape: int | tuple[int, ...]) -> Asked:
    """Determine the queries of one step of an algorithm by tracing the step.

    Args:
        algorithm: an object with methods `init(logp, reference)` and `step(key, state, feedback)`.
        shape: shape of a policy, `[..., n]`, or the number n of actions.

    Example:
        >>> from comalgames.feedback.recording import asked
        >>> asked(cg.Extragradient(1.0), 3)
        Asked(cost=2, itself=True, pairs=False)
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    numbers, static = eqx.partition(algorithm, eqx.is_array_like)
    leaves, structure = jax.tree.flatten(numbers)
    others, rest = jax.tree.flatten(static)
    arguments = (structure, tuple(map(_kind, leaves)), rest, tuple(others), shape, jnp.result_type(float))
    try:
        hash(arguments)
    except TypeError:
        return _asked(*arguments)
    return _remembered(*arguments)


def _kind(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of an array or number; floating-point numbers get the dtype of the policies."""
    kind = jax.typeof(leaf)
    is_number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
    # JAX ships this constructor without annotations. `jax.eval_shape` has them, but traces at every call.
    if is_number or jnp.issubdtype(kind.dtype, jnp.inexact):
        return jax.ShapeDtypeStruct(kind.shape, jnp.result_type(float))  # type: ignore[no-untyped-call]
    return jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type)  # type: ignore[no-untyped-call]


def _asked(
    structure: Any, kinds: Any, rest: Any, others: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Asked:
    static = jax.tree.unflatten(rest, others)
    questions: list[Question] = []
    itself = []

    def one_step(leaves: Any, logp: Any, reference: Any) -> Any:
        algorithm = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        state = algorithm.init(logp, reference)
        after = algorithm.step(jax.random.key(0), state, Recording(Ties(shape[-1]), questions))
        itself.append(any(question.about is state.logp for question in questions))
        return eqx.filter(after, eqx.is_array)

    policy: Any = jax.eval_shape(lambda: jnp.zeros(shape, dtype))
    jax.eval_shape(one_step, list(kinds), policy, policy)
    kinds_asked = [question.kind for question in questions]
    cost = sum(shape[-1] if kind == "pairwise" else 1 for kind in kinds_asked)
    return Asked(cost, itself[-1], any(kind != "advantage" for kind in kinds_asked))


_remembered = functools.lru_cache(maxsize=4096)(_asked)
