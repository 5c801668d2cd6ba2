"""From a rule to numbers that a language-model trainer can use: targets, anchors and when to do what."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import regularizers, validation
from comalgames.algorithms.base import AbstractUpdateRule, with_dtype
from comalgames.algorithms.contract import questions_of
from comalgames.algorithms.schedules import AbstractSchedule
from comalgames.drivers.arguments import check_odds
from comalgames.feedback import Candidates, Recording, asked

# Fields of a state that are not policies.
OTHERS = {"step"}

# A policy that stands for any, to see what a rule does with policies.
PROBE = np.log([0.25, 0.75])


class Targets(NamedTuple):
    """What to train towards, for K answers per prompt; target and anchor up to a constant per prompt.

    Attributes:
        target: the rule's proposal `[..., K]`, for losses that regress on it; None for a rule that fits
            labels (`IterativeDPO`): a fit to few answers need not be finite.
        anchor: its proposal under zero advantage `[..., K]`, for losses that use labels themselves.
        beta: what DPO's logistic loss is to be trained with, a number; None where there is none.
            `IterativeDPO`'s own; of a mirror rule 1 / step_size, with which the loss is damped DPO, not that
            rule (see `losses.logistic`).
    """

    target: Float[Array, "*prompts k"] | None
    anchor: Float[Array, "*prompts k"]
    beta: Any = None


class Pass(NamedTuple):
    """One training of the model: from the last policy towards a target.

    Attributes:
        round: number of the round it belongs to, counted from 0; the `step` of `targets`.
        number: which pass of its round it is, counted from 0.
        stores: which of the stored policies become the policy that it reached: ("logp",), or ("logp",
            "reference") when the reference moves. Empty if it reached an opponent that the next pass of the
            round asks about; that one starts from the last policy again.
    """

    round: int
    number: int
    stores: tuple[str, ...]


def policies_of(rule: AbstractUpdateRule[Any]) -> tuple[str, ...]:
    """The policies a trainer must keep, and log the answers' log-probabilities of, to follow a rule.

    Args:
        rule: any update rule.

    Raises:
        ValueError: the rule makes no sense on sampled answers: it remembers something per action that is no
            policy, such as the last advantages, or its step needs the probabilities of all actions.
    """
    if not isinstance(rule, AbstractUpdateRule):
        raise ValueError(f"`rule` must be an update rule such as INPO(1.0, 0.1), got {rule!r}.")
    name = type(rule).__name__
    questions_of(rule, PROBE.shape)
    if rule.form(0).needs_all_actions:
        raise ValueError(
            f"{name} needs the probabilities of all actions for a step at any of them, and a few sampled "
            f"answers do not have them; use a rule such as MirrorDescent, INPO or Extragradient, or COMAL "
            f"around it with a period."
        )
    with jax.ensure_compile_time_eval():
        policies = _policies(rule.init(jnp.asarray(PROBE), jnp.asarray(PROBE)))
    for field, value in policies.items():
        if not np.array_equal(value, PROBE.astype(value.dtype)):
            raise ValueError(
                f"{name} remembers {field!r} for every action, which makes no sense for answers that are "
                f"drawn afresh; use a rule whose memory is policies, such as MirrorDescent, COMAL or "
                f"Extragradient."
            )
    return tuple(field for field in policies if field != "reference" or not _ignores_reference(rule))


def _policies(state: Any) -> dict[str, np.ndarray]:
    """The fields of a concrete state, but for those that are no policies."""
    names = [field.name for field in dataclasses.fields(state)]
    return {name: np.asarray(getattr(state, name)) for name in names if name not in OTHERS}


def _ignores_reference(rule: AbstractUpdateRule[Any]) -> bool:
    """Whether its pull is 0, and stays so: that of a rule with a schedule may not."""
    pull = rule.form(0).pull
    if isinstance(pull, float):  # written in the rule, whatever its numbers are
        return pull == 0.0

    def is_schedule(leaf: Any) -> bool:
        return isinstance(leaf, AbstractSchedule)

    changes = any(map(is_schedule, jax.tree.leaves(rule, is_leaf=is_schedule)))
    return not changes and validation.is_concrete(pull) and bool(np.all(np.asarray(pull) == 0))


def targets(
    rule: AbstractUpdateRule[Any],
    key: PRNGKeyArray | None,
    policies: Mapping[str, Any],
    feedback: Candidates,
    step: Any = 0,
    opponents: Sequence[Any] | None = None,
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
        opponents: for a rule with several queries (`Extragradient`), whom the second and later ones meet.
            None, the default: what the rule computes on the answers, so that one pass of training is enough.
            A sequence: log-probabilities `[..., K]` under the policies that earlier passes of this round
            trained; where it is too short, the target is the opponent to train next. `schedule` with
            `train_opponents=True` says which pass that is.

    Raises:
        ValueError: a policy is missing or unknown, a log-probability is above 0, nan or of the wrong shape
            (the message names the row), the rule makes no sense on sampled answers, or it draws something and
            there is no key.
    """
    names = policies_of(rule)
    if not isinstance(feedback, Candidates):
        raise ValueError(
            f"`feedback` must be Candidates(preference, behaviour_logp), got a {type(feedback).__name__}."
        )
    form = rule.form(step)
    if key is None and form.is_random:
        raise ValueError(
            f"`key` is needed: {rule!r} draws something. Pass jax.random.key(0), another one a round."
        )
    if not isinstance(policies, Mapping):
        raise ValueError(
            f"`policies` must be a dict of log-probabilities by name, {', '.join(names)}; got a "
            f"{type(policies).__name__}."
        )
    for name in policies:
        validation.known("policies", name, {*names, "reference"})
    for name in names:
        if name not in policies:
            raise ValueError(f"`policies` must hold {name!r}: {rule!r} needs {', '.join(names)}.")
    shape, dtype = feedback.behaviour_logp.shape, feedback.skew.dtype

    lowest = regularizers.log_floor(dtype) if form.is_floored else -math.inf

    def column(name: str, value: Any) -> Array:
        return jnp.asarray(validation.log_probabilities(name, value, shape, lowest), dtype)

    columns = {name: column(f"policies[{name!r}]", value) for name, value in policies.items()}
    rule = with_dtype(rule, dtype)
    state = rule.init(columns["logp"], columns.get("reference", columns["logp"]))
    state = dataclasses.replace(state, **columns, step=jnp.asarray(step, jnp.int32))
    form = rule.form(state.step)
    if form.reads_log_odds:
        check_odds("feedback", rule, feedback.skew)
    key = jax.random.key(0) if key is None else key
    nothing = eqx.tree_at(lambda it: it.skew, feedback, jnp.zeros_like(feedback.skew))
    anchor, _ = rule.propose(key, state, nothing)
    beta = form.logistic_beta
    if fits_labels(rule):
        return Targets(None, anchor, beta)
    if opponents is None:
        target, _ = rule.propose(key, state, feedback)
        return Targets(target, anchor, beta)
    trained = tuple(column(f"opponents[{k}]", value) for k, value in enumerate(opponents))
    in_passes = Recording(feedback, [], trained)
    target, _ = rule.propose(key, state, in_passes)
    others = max(len(in_passes.questions) - 1, 0)
    if len(trained) > others:
        raise ValueError(
            f"`opponents` holds {len(trained)} policies, but {type(rule).__name__} asks about {others} "
            f"besides the first one."
        )
    later = in_passes.questions[len(trained) + 1 :]
    if later:
        # Rules normalize whom they ask about; over a few answers that shifts it by a constant that
        # `pointwise` would see. A policy has no advantage against itself: unshifted, this mean is 0.
        weights = jnp.exp(feedback.weights_logp(columns["logp"]))
        wanted = later[0].about
        target = wanted - jnp.sum(weights * (wanted - anchor), axis=-1, keepdims=True)
    return Targets(target, anchor, beta)


def schedule(rule: AbstractUpdateRule[Any], num_rounds: int, train_opponents: bool = False) -> Iterator[Pass]:
    """What a trainer does one after the other: asked of the rule's own `commit`, not written down twice.

        for todo in schedule(rule, num_rounds):
            draw answers, have them compared, look up their log-probabilities under the stored policies
            train from the last policy towards targets(rule, key, policies, feedback, todo.round)
            store what was reached as each of the policies that todo.stores names

    It warns of what `solve` warns of, such as a period of COMAL that is too short.

    Args:
        rule: any update rule.
        num_rounds: how many rounds.
        train_opponents: whether a rule with several queries (`Extragradient`) gets a pass of training for
            each of its opponents, instead of computing them on the sampled answers: twice the cost, and no
            bias from few answers.

    Raises:
        ValueError: `num_rounds` is not a whole number >= 0, or the rule makes no sense on sampled answers.

    Example:
        >>> rule = cg.COMAL(cg.INPO(eta=1.0, tau=0.2), period=5)
        >>> [todo.round for todo in cg.lm.schedule(rule, 12) if "reference" in todo.stores]
        [4, 9]
        >>> [todo.stores for todo in cg.lm.schedule(cg.Extragradient(1.0), 2, train_opponents=True)]
        [(), ('logp',), (), ('logp',)]
    """
    num_rounds = validation.count("num_rounds", num_rounds)
    policies_of(rule)
    for note in rule.notes(num_rounds):
        warnings.warn(note, stacklevel=2)
    num_queries = _num_queries(rule)
    return _passes(rule, num_rounds, num_queries if train_opponents and not fits_labels(rule) else 1)


def _passes(rule: AbstractUpdateRule[Any], num_rounds: int, num_passes: int) -> Iterator[Pass]:
    state = rule.init(jnp.asarray(PROBE), jnp.asarray(PROBE))
    for number in range(num_rounds):
        # Policies that differ from round to round, so that it shows where they are stored.
        reached = np.asarray(jax.nn.log_softmax(jnp.array([0.0, 1.0 + number])))
        before, state = _policies(state), rule.commit(state, jnp.asarray(reached))
        after = _policies(state)
        stores = tuple(name for name, value in after.items() if np.array_equal(value, reached))
        for name, value in after.items():
            if name not in stores and not np.array_equal(value, before[name]):
                raise ValueError(
                    f"{type(rule).__name__} makes {name!r} a policy that is neither the one reached nor the "
                    f"one it was, such as a mean of both: a trainer has no model of it to keep."
                )
        yield from (Pass(number, k, stores=()) for k in range(num_passes - 1))
        yield Pass(number, num_passes - 1, stores)


def fits_labels(rule: AbstractUpdateRule[Any]) -> bool:
    """Whether the proposal is a fit to labels, which for a few answers need not be finite."""
    return asked(rule, PROBE.shape).pairs and rule.form(0).logistic_beta is not None


def _num_queries(rule: AbstractUpdateRule[Any]) -> int:
    """Number of questions of a round, on two answers; a rule that learns by asking is refused."""
    probe = Recording(Candidates([[0.5, 0.8], [0.2, 0.5]], PROBE), [])
    state = rule.init(jnp.asarray(PROBE), jnp.asarray(PROBE))
    _, learnt = rule.propose(jax.random.key(0), state, probe)
    if not eqx.tree_equal(state, learnt):
        raise ValueError(
            f"{type(rule).__name__} changes its state in `propose`, and a trainer has nowhere to keep that; "
            f"use a rule whose memory is policies and changes in `commit`."
        )
    return max(len(probe.questions), 1)
