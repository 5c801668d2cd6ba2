"""One round of training: get answers, ask the rule where to go, take gradient steps, see how far one got."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule
from comalgames.feedback import Candidates, Exact
from comalgames.games import PreferenceGame
from comalgames.lm import losses
from comalgames.lm.bridge import Targets, targets
from comalgames.lm.monitoring import fit_residual
from comalgames.lm.tiny.model import Transformer
from comalgames.numerics import pairs

# One object: each call of optax makes functions of its own, which are compiled anew.
ADAM = optax.scale_by_adam()

# What a round's key is folded with, so that its draws differ.
GENERATE, COMPARE, RULE = range(3)


class Fit(eqx.Module):
    """How a round trains: Adam from a fresh start, its learning rate falling along a cosine to 0.

    Args:
        loss: which of `lm.losses`: "regression" (INPO's, COMAL's and IPO's), "pointwise" (SPPO's) or
            "logistic" (DPO's).
        learning_rate: at the beginning of each round, > 0.
        num_steps: gradient steps in a round, >= 1.

    Raises:
        ValueError: `loss` is not one of these, or a number not as above.
    """

    loss: str = eqx.field(static=True, default="regression")
    learning_rate: Any = 3e-3
    num_steps: Any = 100

    def __check_init__(self) -> None:
        validation.known("loss", self.loss, losses.NAMES)
        validation.positive("learning_rate", self.learning_rate)
        if validation.is_concrete(self.num_steps):
            validation.count("num_steps", self.num_steps, minimum=1)


class Drawn(eqx.Module):
    """Answers drawn by the model and compared once, as a pipeline collects them.

    Args:
        num_sets: sets of answers that a round draws for each prompt.
        num_candidates: answers in a set, K >= 2. All its pairs are compared, once each, with a winner drawn.
        batch_size: sets for each prompt that a gradient step sees, in turn; divides `num_sets`. None, the
            default, is all.

    Raises:
        ValueError: a number is not as above.
    """

    num_sets: int = eqx.field(static=True)
    num_candidates: int = eqx.field(static=True, default=2)
    batch_size: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        validation.count("num_sets", self.num_sets, minimum=1)
        validation.count("num_candidates", self.num_candidates, minimum=2)
        if self.batch_size is not None:
            validation.count("batch_size", self.batch_size, minimum=1)
            if self.num_sets % self.batch_size:
                raise ValueError(
                    f"`batch_size` must divide `num_sets` = {self.num_sets}, got {self.batch_size}."
                )


class Lesson(NamedTuple):
    """What stays the same while a round trains.

    Attributes:
        answers: numbers of the compared answers, `[prompts, sets, K]`.
        goal: the rule's target and anchor for them, `[prompts, sets, K]`, and its beta.
        preference: their preferences or labels, `[prompts, sets, K, K]`.
        weights: what each counts in an expectation over the last policy, `[prompts, sets, K]`.
    """

    answers: Int[Array, "prompts sets k"]
    goal: Targets
    preference: Float[Array, "prompts sets k k"]
    weights: Float[Array, "prompts sets k"]


@jax.jit
def answers_logp(model: Transformer) -> Array:
    """The network's policy."""
    return model.answers_logp()


@jax.jit
def lesson(
    key: PRNGKeyArray,
    game: PreferenceGame,
    rule: AbstractUpdateRule[Any],
    last: Transformer,
    reference: Transformer,
    number: Any,
    drawn: Drawn | None,
) -> Lesson:
    """Get answers, have them compared, look up their log-probabilities, and ask the rule where to go."""
    logp = last.answers_logp()
    if drawn is None:
        answers = jnp.broadcast_to(jnp.arange(logp.shape[-1]), (logp.shape[0], 1, logp.shape[-1]))
        skew = game.skew[:, None]
        behaviour_logp = jnp.full(answers.shape, -jnp.log(logp.shape[-1]), logp.dtype)
    else:
        shape = (logp.shape[0], drawn.num_sets, drawn.num_candidates)
        strings = last.generate(jax.random.fold_in(key, GENERATE), shape[1] * shape[2])
        answers = last.index(strings).reshape(shape)
        skew = _labels(jax.random.fold_in(key, COMPARE), game.skew, answers)
        behaviour_logp = _of(answers, logp)
    feedback = Candidates(skew + 0.5, behaviour_logp)
    policies = {"logp": _of(answers, logp), "reference": _of(answers, reference.answers_logp())}
    goal = targets(rule, jax.random.fold_in(key, RULE), policies, feedback, number)
    weights = jnp.exp(feedback.weights_logp(policies["logp"]))
    return Lesson(answers, goal, skew + 0.5, weights)


def _of(answers: Int[Array, "prompts sets k"], logp: Float[Array, "prompts answers"]) -> Array:
    """Log-probabilities of the numbered answers."""
    rows = jnp.broadcast_to(logp[:, None], (*answers.shape[:2], logp.shape[-1]))
    found: Array = jnp.take_along_axis(rows, answers, axis=-1)
    return found


def _labels(key: PRNGKeyArray, skew: Array, answers: Int[Array, "prompts sets k"]) -> Array:
    """Who won each pair's one comparison, minus 1/2: `[prompts, sets, K, K]`; equal answers tie."""
    size = answers.shape[-1]
    grid = (*answers.shape, size)
    rows = jnp.broadcast_to(answers[..., :, None], grid).reshape(answers.shape[0], -1)
    columns = jnp.broadcast_to(answers[..., None, :], grid).reshape(answers.shape[0], -1)
    won = pairs.wins(key, pairs.entries(skew, rows, columns)).reshape(grid) - 0.5
    once = jnp.triu(jnp.where(answers[..., :, None] == answers[..., None, :], 0.0, won), 1)
    return once - once.swapaxes(-1, -2)


@jax.jit
def fitted(fit: Fit, model: Transformer, lesson: Lesson, drawn: Drawn | None) -> Transformer:
    """The network after a round's gradient steps."""
    num_sets = lesson.answers.shape[1]
    size = num_sets if drawn is None or drawn.batch_size is None else drawn.batch_size

    def loss(model: Transformer, k: Any) -> Array:
        start = (k % (num_sets // size)) * size
        batch = jax.tree.map(  # the rule's beta has no rows
            lambda rows: jax.lax.dynamic_slice_in_dim(rows, start, size, axis=1) if jnp.ndim(rows) else rows,
            lesson,
        )
        logp = _of(batch.answers, model.answers_logp())
        return jnp.mean(losses.named(fit.loss, logp, batch.goal, batch.preference, batch.weights))

    def step(k: Any, carry: tuple[Transformer, Any]) -> tuple[Transformer, Any]:
        model, memory = carry
        gradient = jax.grad(loss)(model, k)
        # optax mixes integers with floats.
        with jax.numpy_dtype_promotion("standard"):
            share = k / fit.num_steps
            rate = fit.learning_rate * (1 + jnp.cos(jnp.pi * share)) / 2
            updates, memory = ADAM.update(gradient, memory)
            model = jax.tree.map(lambda p, u: p - (rate * u).astype(p.dtype), model, updates)
        return model, memory

    num = jnp.asarray(fit.num_steps).astype(jnp.int32)
    trained: Transformer = jax.lax.fori_loop(0, num, step, (model, ADAM.init(model)))[0]
    return trained


@jax.jit
def distance_and_residual(
    key: PRNGKeyArray,
    game: PreferenceGame,
    rule: Any,
    before: Array,
    after: Array,
    reference: Array,
    step: Any,
) -> tuple[Array, Array]:
    """How far a round had to go to the exact target, and the share of that which it left, per prompt."""
    state = replace(rule.init(before, reference), step=jnp.asarray(step, jnp.int32))
    target, _ = rule.propose(jax.random.fold_in(key, RULE), state, Exact(game))
    weights = jnp.exp(before)
    distance = jnp.sqrt(losses.regression(before, target, weights))
    return distance, fit_residual(after, target, before, weights)
