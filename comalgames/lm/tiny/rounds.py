"""One round of training: answers, the rule's targets, gradient steps, and distance to the exact target."""

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

# A single object, because each call of optax creates new functions, which would be compiled again.
ADAM = optax.scale_by_adam()

# Numbers folded into the key of a round for its independent draws.
GENERATE, COMPARE, RULE = range(3)


class Fit(eqx.Module):
    """Optimization of one round: Adam, initialized each round, with a cosine decay of the learning rate to 0.

    Args:
        loss: name of a loss in `lm.losses`: "regression" (INPO, COMAL, IPO), "pointwise" (SPPO) or "logistic"
            (DPO).
        learning_rate: learning rate at the beginning of each round, > 0.
        num_steps: number of gradient steps per round, >= 1.

    Raises:
        ValueError: `loss` is not one of these, or a number is not as described.
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
    """Sampling of answers: the model draws answers, and each pair is compared once, with a drawn winner.

    Args:
        num_sets: number of sets of answers drawn for each prompt in a round.
        num_candidates: number of answers in a set, K >= 2. All pairs within a set are compared.
        batch_size: number of sets per prompt in a gradient step, in cyclic order; must divide `num_sets`.
            None, the default, uses all sets in each step.

    Raises:
        ValueError: a number is not as described.
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


class RoundData(NamedTuple):
    """The training data of one round.

    Attributes:
        answers: indices of the compared answers, `[prompts, sets, K]`.
        goal: the rule's target and anchor for the answers, `[prompts, sets, K]`, and its beta.
        preference: preferences or labels between the answers, `[prompts, sets, K, K]`.
        weights: weight of each answer in an expectation over the last policy, `[prompts, sets, K]`.
    """

    answers: Int[Array, "prompts sets k"]
    goal: Targets
    preference: Float[Array, "prompts sets k k"]
    weights: Float[Array, "prompts sets k"]


@jax.jit
def answers_logp(model: Transformer) -> Array:
    """The policy of the network: log-probabilities of all answers."""
    return model.answers_logp()


@jax.jit
def round_data(
    key: PRNGKeyArray,
    game: PreferenceGame,
    rule: AbstractUpdateRule[Any],
    last: Transformer,
    reference: Transformer,
    number: Any,
    drawn: Drawn | None,
) -> RoundData:
    """Draw or enumerate answers, compare them, and compute the rule's targets for them."""
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
    return RoundData(answers, goal, skew + 0.5, weights)


def _of(answers: Int[Array, "prompts sets k"], logp: Float[Array, "prompts answers"]) -> Array:
    """Log-probabilities of the answers with the given indices."""
    rows = jnp.broadcast_to(logp[:, None], (*answers.shape[:2], logp.shape[-1]))
    selected: Array = jnp.take_along_axis(rows, answers, axis=-1)
    return selected


def _labels(key: PRNGKeyArray, skew: Array, answers: Int[Array, "prompts sets k"]) -> Array:
    """Drawn results, minus 1/2, of one comparison per pair, `[prompts, sets, K, K]`; equal answers tie."""
    size = answers.shape[-1]
    grid = (*answers.shape, size)
    rows = jnp.broadcast_to(answers[..., :, None], grid).reshape(answers.shape[0], -1)
    columns = jnp.broadcast_to(answers[..., None, :], grid).reshape(answers.shape[0], -1)
    won = pairs.wins(key, pairs.entries(skew, rows, columns)).reshape(grid) - 0.5
    once = jnp.triu(jnp.where(answers[..., :, None] == answers[..., None, :], 0.0, won), 1)
    return once - once.swapaxes(-1, -2)


@jax.jit
def fitted(fit: Fit, model: Transformer, data: RoundData, drawn: Drawn | None) -> Transformer:
    """The network after the gradient steps of a round."""
    num_sets = data.answers.shape[1]
    size = num_sets if drawn is None or drawn.batch_size is None else drawn.batch_size

    def loss(model: Transformer, k: Any) -> Array:
        start = (k % (num_sets // size)) * size
        batch = jax.tree.map(  # beta is a scalar
            lambda rows: jax.lax.dynamic_slice_in_dim(rows, start, size, axis=1) if jnp.ndim(rows) else rows,
            data,
        )
        logp = _of(batch.answers, model.answers_logp())
        return jnp.mean(losses.named(fit.loss, logp, batch.goal, batch.preference, batch.weights))

    def step(k: Any, carry: tuple[Transformer, Any]) -> tuple[Transformer, Any]:
        model, memory = carry
        gradient = jax.grad(loss)(model, k)
        # optax adds integers to floats, which strict promotion forbids.
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
    """Distance from the start of a round to the exact target, and its remaining share, per prompt."""
    state = replace(rule.init(before, reference), step=jnp.asarray(step, jnp.int32))
    target, _ = rule.propose(jax.random.fold_in(key, RULE), state, Exact(game))
    weights = jnp.exp(before)
    distance = jnp.sqrt(losses.regression(before, target, weights))
    return distance, fit_residual(after, target, before, weights)
