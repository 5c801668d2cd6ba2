"""From a rule to numbers that a language-model trainer can use: targets, anchors and when to do what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, with_dtype
from comalgames.feedback import Candidates

# Fields of a state that are not policies.
OTHERS = {"step"}


class Targets(NamedTuple):
    """What to train towards, for K answers per prompt; both up to a constant per prompt.

    Attributes:
        target: the rule's proposal `[..., K]`, for losses that regress on it; None for a rule that fits
            labels (`IterativeDPO`): a fit to few answers need not be finite.
        anchor: its proposal under zero advantage `[..., K]`, for losses that use labels themselves.
    """

    target: Float[Array, "*prompts k"] | None
    anchor: Float[Array, "*prompts k"]


class Round(NamedTuple):
    """One round of training.

    Attributes:
        number: counted from 0.
        moves_reference: whether, after it, the reference becomes the policy it reached.
    """

    number: int
    moves_reference: bool


def policies_of(rule: AbstractUpdateRule[Any]) -> tuple[str, ...]:
    """The policies a trainer must keep, and log the answers' log-probabilities of, to follow a rule.

    Args:
        rule: any update rule.

    Raises:
        ValueError: the rule remembers something per action that is no policy, such as the last advantages,
            which fresh answers do not have.
    """
    logp = jnp.log(jnp.array([0.25, 0.75]))
    state = rule.init(logp, logp)
    names = []
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if field.name in OTHERS or np.ndim(value) == 0:
            continue
        if not np.array_equal(np.asarray(value), np.asarray(logp)):
            raise ValueError(
                f"{type(rule).__name__} remembers {field.name!r} for every action, which makes no sense for "
                f"answers that are drawn afresh; use a rule whose memory is policies, such as MirrorDescent, "
                f"COMAL or Extragradient."
            )
        names.append(field.name)
    uses_reference = not np.all(np.asarray(rule.pull) == 0)
    return tuple(name for name in names if name != "reference" or uses_reference)


def targets(
    rule: AbstractUpdateRule[Any],
    key: PRNGKeyArray | None,
    policies: Mapping[str, Any],
    feedback: Candidates,
    step: int | Array = 0,
) -> Targets:
    """Where a rule would move the log-probabilities of sampled answers.

    The rule is the object that a table follows; its `propose` is called on a game of the K answers. With two
    answers and a hard label, COMAL's and INPO's target margin is their published 1 / (2 eta) beside the
    anchor; with K answers SPPO's is the published `eta (win rate - 1/2)`.

    Args:
        rule: any rule whose memory is policies; `policies_of(rule)` names them.
        key: a random key, for rules that draw something; None for the others.
        policies: log-probabilities `[..., K]` of the answers under each stored policy, by name ("logp", the
            policy stepped from; "reference"; ...). Summed over an answer's tokens.
        feedback: the answers' preferences among each other, and who drew them.
        step: number of the round, for rules whose numbers change with it.

    Raises:
        ValueError: a policy is missing or too many, a log-probability is above 0, nan or of the wrong shape
            (the message names the row), or the rule remembers something else.
    """
    names = policies_of(rule)
    for name in policies:
        validation.known("policies", name, {*names, "reference"})
    for name in names:
        if name not in policies:
            raise ValueError(f"`policies` must hold {name!r}: {rule!r} needs {', '.join(names)}.")
    shape = feedback.behaviour_logp.shape
    dtype = feedback.skew.dtype
    columns = {name: _column(name, value, shape, dtype) for name, value in policies.items()}
    rule = with_dtype(rule, dtype)
    state = rule.init(columns["logp"], columns.get("reference", columns["logp"]))
    state = dataclasses.replace(state, **columns, step=jnp.asarray(step, jnp.int32))
    key = jax.random.key(0) if key is None else key
    nothing = eqx.tree_at(lambda it: it.skew, feedback, jnp.zeros_like(feedback.skew))
    anchor, _ = rule.propose(key, state, nothing)
    if rule.reads_pairs:
        return Targets(None, anchor)
    target, _ = rule.propose(key, state, feedback)
    return Targets(target, anchor)


def schedule(rule: AbstractUpdateRule[Any], num_rounds: int) -> Iterator[Round]:
    """What a trainer does around each round: asked of the rule's own `commit`, not written down twice.

    Args:
        rule: any update rule.
        num_rounds: how many rounds.

    Raises:
        ValueError: `num_rounds` is not a whole number >= 0.

    Example:
        >>> rule = cg.COMAL(cg.INPO(eta=1.0, tau=0.1), period=3)
        >>> [round.moves_reference for round in cg.lm.schedule(rule, 6)]
        [False, False, True, False, False, True]
    """
    num_rounds = validation.count("num_rounds", num_rounds)
    start = jnp.log(jnp.array([0.25, 0.75]))
    state = rule.init(start, start)
    for number in range(num_rounds):
        # Policies that differ in every round, so that a moved reference shows.
        reached = jax.nn.log_softmax(jnp.array([0.0, 1.0 + number]))
        state = rule.commit(state, reached)
        yield Round(number, bool(np.array_equal(np.asarray(state.reference), np.asarray(reached))))


def _column(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    if not validation.is_concrete(value):
        return jnp.asarray(value, dtype)
    array = np.asarray(value, np.float64)
    if array.shape != shape:
        raise ValueError(
            f"`policies[{name!r}]` must have the shape {shape} of the answers, got {array.shape}."
        )
    bad = ~((array <= 0) & np.isfinite(array))
    if bad.any():
        row = tuple(int(k) for k in np.argwhere(bad)[0])
        raise ValueError(
            f"`policies[{name!r}]` must hold finite log-probabilities, at most 0; at {row} (answers on "
            f"the last axis) it has {array[row]:g}."
        )
    return jnp.asarray(array, dtype)
