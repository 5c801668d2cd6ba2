"""Conversion of a rule into the inputs of a language-model trainer: targets, anchors and a schedule."""

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
from comalgames.algorithms.contract import traced_queries
from comalgames.algorithms.schedules import AbstractSchedule
from comalgames.drivers.arguments import check_odds
from comalgames.feedback import Candidates, Recording, asked

# Fields of a state that are not policies.
OTHERS = {"step"}

# An arbitrary policy that is used to inspect rules.
PROBE = np.log([0.25, 0.75])


class Targets(NamedTuple):
    """Training targets for K answers per prompt; target and anchor are defined up to a constant per prompt.

    Attributes:
        target: the rule's proposal `[..., K]`, for losses that regress on it; None for a rule that fits
            labels (`IterativeDPO`), because a fit to a few answers need not be finite.
        anchor: the rule's proposal under zero advantage `[..., K]`, for losses that use the labels.
        beta: regularization strength for the logistic loss of DPO; None if the rule has none. It is the beta
            of `IterativeDPO`, and 1 / step_size for a mirror rule, with which the loss is a damped DPO and
            does not follow the rule (see `losses.logistic`).
    """

    target: Float[Array, "*prompts k"] | None
    anchor: Float[Array, "*prompts k"]
    beta: Any = None


class Pass(NamedTuple):
    """One training pass of the model, from the last policy towards a target.

    Attributes:
        round: number of the round, counted from 0; the `step` of `targets`.
        number: number of the pass within its round, counted from 0.
        stores: names of the stored policies that are replaced by the trained policy: ("logp",), or ("logp",
            "reference") when the reference moves. Empty if the pass trains an opponent that the next pass of
            the round queries; the next pass then starts from the last policy again.
    """

    round: int
    number: int
    stores: tuple[str, ...]


def policies_of(rule: AbstractUpdateRule[Any]) -> tuple[str, ...]:
    """Names of the policies that a trainer must store to follow a rule.

    `targets` needs the log-probabilities of the answers under each of them.

    Args:
        rule: any update rule.

    Raises:
        ValueError: the rule is not defined on sampled answers: its memory contains numbers per action that
            are not a policy, such as the last advantages, or its step needs the probabilities of all actions.
    """
    if not isinstance(rule, AbstractUpdateRule):
        raise ValueError(f"`rule` must be an update rule such as INPO(1.0, 0.1), got {rule!r}.")
    name = type(rule).__name__
    traced_queries(rule, PROBE.shape)
    if rule.form(0).needs_all_actions:
        raise ValueError(
            f"`rule` must be defined on sampled answers, got {rule!r}: {name} needs the probabilities of all "
            f"actions for its step. Use a rule such as MirrorDescent, INPO or Extragradient, or a COMAL with "
            f"a period around one of them."
        )
    with jax.ensure_compile_time_eval():
        policies = _policies(rule.init(jnp.asarray(PROBE), jnp.asarray(PROBE)))
    for field, value in policies.items():
        if not np.array_equal(value, PROBE.astype(value.dtype)):
            raise ValueError(
                f"`rule` must have a memory of policies only, got {rule!r}: {name} remembers {field!r} for "
                f"every action, but each round draws new answers. Use a rule such as MirrorDescent, COMAL or "
                f"Extragradient."
            )
    return tuple(field for field in policies if field != "reference" or not _ignores_reference(rule))


def _policies(state: Any) -> dict[str, np.ndarray]:
    """The fields of a concrete state that are policies."""
    names = [field.name for field in dataclasses.fields(state)]
    return {name: np.asarray(getattr(state, name)) for name in names if name not in OTHERS}


def _ignores_reference(rule: AbstractUpdateRule[Any]) -> bool:
    """Whether the pull of a rule towards its reference is 0 at all steps."""
    pull = rule.form(0).pull
    if isinstance(pull, float):  # a constant of the rule, independent of its parameters
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
    """Compute a rule's proposal for the log-probabilities of sampled answers.

    The same rule is used for tabular policies; here its `propose` is called on a game between the K answers.
    With two answers and a hard label, the target margin of COMAL and INPO is the margin of the anchor plus
    the published 1 / (2 eta); with K answers the target of SPPO is the published `eta (win rate - 1/2)`.

    Args:
        rule: any rule whose memory consists of policies; `policies_of(rule)` lists them.
        key: a random key, for rules that draw random numbers; None for all others.
        policies: log-probabilities `[..., K]` of the answers under each stored policy, by name ("logp", the
            current policy; "reference"; ...), summed over the tokens of an answer.
        feedback: the preferences between the answers and the policy that drew them.
        step: number of the round, for rules whose parameters change over time.
        opponents: the opponents of the second and later queries of a rule with several queries
            (`Extragradient`). None, the default: the opponents that the rule computes on the answers, so that
            one training pass suffices. A sequence: log-probabilities `[..., K]` under the policies that
            earlier passes of this round trained; if it is too short, the target is the opponent to train
            next. See `schedule` with `train_opponents=True`.

    Raises:
        ValueError: a policy is missing or unknown, a log-probability is above 0, nan or of the wrong shape
            (the message names the row), the rule is not defined on sampled answers, or it draws random
            numbers and there is no key.
    """
    names = policies_of(rule)
    if not isinstance(feedback, Candidates):
        raise ValueError(
            f"`feedback` must be Candidates(preference, behaviour_logp), got a {type(feedback).__name__}."
        )
    form = rule.form(step)
    if key is None and form.is_random:
        raise ValueError(
            f"`key` must be a random key for {rule!r}, which draws random numbers, got None. Pass a new key "
            f"each round, such as jax.random.fold_in(jax.random.key(0), step)."
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
            raise ValueError(
                f"`policies` must hold {name!r}, got {', '.join(policies) or 'none'}: {rule!r} needs "
                f"{', '.join(names)}."
            )
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
            f"`opponents` must hold at most {others} policies, got {len(trained)}: {type(rule).__name__} "
            f"asks about {others} besides the current policy."
        )
    later = in_passes.questions[len(trained) + 1 :]
    if later:
        # Rules normalize their opponents; over a few answers that adds a constant, which affects `pointwise`.
        # The mean below is 0 without the constant, because a policy has no advantage against itself.
        weights = jnp.exp(feedback.weights_logp(columns["logp"]))
        wanted = later[0].about
        target = wanted - jnp.sum(weights * (wanted - anchor), axis=-1, keepdims=True)
    return Targets(target, anchor, beta)


def schedule(rule: AbstractUpdateRule[Any], num_rounds: int, train_opponents: bool = False) -> Iterator[Pass]:
    """Iterate over the training passes that follow a rule, as derived from the rule's own `commit`.

        for todo in schedule(rule, num_rounds):
            draw answers, compare them, compute their log-probabilities under the stored policies
            train from the last policy towards targets(rule, key, policies, feedback, todo.round)
            store the trained policy under each of the names in todo.stores

    It issues the same warnings as `solve`, for example for a period of COMAL that is too short.

    Args:
        rule: any update rule.
        num_rounds: number of rounds.
        train_opponents: whether to train each opponent of a rule with several queries (`Extragradient`) in a
            pass of its own, instead of computing it on the sampled answers. This doubles the cost and removes
            the bias from using few answers.

    Raises:
        ValueError: `num_rounds` is not a whole number >= 0, or the rule is not defined on sampled answers.

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
        # The trained policy differs from round to round, so that the fields that store it can be identified.
        reached = np.asarray(jax.nn.log_softmax(jnp.array([0.0, 1.0 + number])))
        before, state = _policies(state), rule.commit(state, jnp.asarray(reached))
        after = _policies(state)
        stores = tuple(name for name, value in after.items() if np.array_equal(value, reached))
        for name, value in after.items():
            if name not in stores and not np.array_equal(value, before[name]):
                raise ValueError(
                    f"`rule` must store trained policies only, got {rule!r}: {type(rule).__name__} makes "
                    f"{name!r} a policy that is neither the trained policy nor its previous value, such as a "
                    f"mean of both, and no model of it exists. Use a rule such as MirrorDescent or COMAL."
                )
        yield from (Pass(number, k, stores=()) for k in range(num_passes - 1))
        yield Pass(number, num_passes - 1, stores)


def fits_labels(rule: AbstractUpdateRule[Any]) -> bool:
    """Whether the proposal is a fit to labels; such a fit may be infinite for a few answers."""
    return asked(rule, PROBE.shape).pairs and rule.form(0).logistic_beta is not None


def _num_queries(rule: AbstractUpdateRule[Any]) -> int:
    """Number of queries per round on two answers; raises a ValueError if `propose` changes the state."""
    probe = Recording(Candidates([[0.5, 0.8], [0.2, 0.5]], PROBE), [])
    state = rule.init(jnp.asarray(PROBE), jnp.asarray(PROBE))
    _, after = rule.propose(jax.random.key(0), state, probe)
    if not eqx.tree_equal(state, after):
        raise ValueError(
            f"`rule` must change its state in `commit` only, got {rule!r}: {type(rule).__name__} changes its "
            f"state in `propose`, which a trainer cannot store. Use a rule whose memory consists of policies."
        )
    return max(len(probe.questions), 1)
