"""The only loop: run an algorithm on a game and record what was asked, as one pure function.

A record is taken of the policy that ENTERS a step. Then the payoff product of the gap and the rule's own are
the same expression, and the compiler computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, State
from comalgames.feedback import AbstractFeedback, Exact
from comalgames.games.base import AbstractGame
from comalgames.metrics import Metric, named, records_curves

Records = dict[str, Array]


class Progress(eqx.Module):
    """What a run carries from step to step.

    Attributes:
        state: the algorithm's.
        advantage_sum: sum over the steps so far of the policy's advantage against itself, for the average's
            gap.
        best_gap: the smallest duality gap recorded so far.
        first_nonfinite: per member, the first step whose policy was not finite; -1 if there was none.
    """

    state: State
    advantage_sum: Float[Array, "*batch n"]
    best_gap: Float[Array, "*prompts"]
    first_nonfinite: Int[Array, "*prompts"]


class Run(eqx.Module):
    """What stays the same during a run. `feedback` None means exact feedback from `game` itself.

    (Two arguments that hold one matrix are two matrices to the compiler: were `Exact(game)` passed in beside
    `game`, every product would be computed twice.)
    """

    game: AbstractGame
    algorithm: AbstractAlgorithm[Any]
    feedback: AbstractFeedback | None
    key: PRNGKeyArray
    metrics: dict[str, Metric]
    curves: bool = eqx.field(static=True)
    record_every: int = eqx.field(static=True)

    def begin(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> Progress:
        """Progress before the first step."""
        members = self.game.over_players(logp[..., 0])
        return Progress(
            state=self.algorithm.init(logp, reference),
            advantage_sum=jnp.zeros_like(logp),
            best_gap=jnp.full_like(members, jnp.inf),
            first_nonfinite=jnp.full(members.shape, -1, jnp.int32),
        )

    def observe(self, progress: Progress, step: Any) -> tuple[Records, Progress]:
        """The record of the current policy, the one that enters the given step."""
        logp = progress.state.logp
        records = {name: jnp.asarray(metric(self.game, logp)) for name, metric in self.metrics.items()}
        if self.curves:
            advantage = self.game.advantage(logp)
            gap = self.game.gap(advantage)
            # The gap of the average policy: advantages are linear, so their mean is the mean policy's
            # advantage.
            mean = (progress.advantage_sum + advantage) / (step + 1).astype(advantage.dtype)
            progress = replace(progress, best_gap=jnp.fmin(progress.best_gap, gap))
            records["duality_gap"] = gap
            records["average_duality_gap"] = self.game.gap(mean)
            records["best_duality_gap"] = progress.best_gap
        return records, progress

    def step(self, progress: Progress, step: Any) -> Progress:
        """Progress after the given step."""
        feedback = Exact(self.game) if self.feedback is None else self.feedback
        total = progress.advantage_sum
        if self.curves:
            total = total + self.game.advantage(progress.state.logp)
        # fold_in, not a key carried along: that would cost many times a small game's step.
        state = self.algorithm.step(jax.random.fold_in(self.key, step), progress.state, feedback)
        # The maximum is the one that softmax needs anyway; nan and +inf show in it, a lone -inf does not.
        finite = jnp.isfinite(self.game.over_players(jnp.max(state.logp, axis=-1)))
        first = jnp.where(~finite & (progress.first_nonfinite < 0), step + 1, progress.first_nonfinite)
        return replace(progress, state=state, advantage_sum=total, first_nonfinite=first)

    def advance(
        self, progress: Progress, start: Int[Array, ""], num_steps: Int[Array, ""] | np.int32, capacity: int
    ) -> tuple[Progress, Records]:
        """Take `num_steps` steps from step `start`; both may be known only at run time.

        JAX differentiates the loop backwards only where the number of steps is known when it is compiled.

        Returns the progress and a buffer of `capacity` records, filled from the front with those of the steps
        divisible by `record_every`.
        """
        shapes = jax.eval_shape(lambda p: self.observe(p, start)[0], progress)
        buffer = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)
        first_record = -(-start // self.record_every)

        def write(step: Any, progress: Progress, buffer: Records) -> tuple[Progress, Records]:
            records, progress = self.observe(progress, step)
            slot = step // self.record_every - first_record
            return progress, jax.tree.map(lambda rows, row: rows.at[slot].set(row), buffer, records)

        def body(i: Any, carry: tuple[Progress, Records]) -> tuple[Progress, Records]:
            step = start + i
            if self.record_every == 1:
                carry = write(step, *carry)
            else:
                due = step % self.record_every == 0
                carry = jax.lax.cond(due, write, lambda step, *carry: carry, step, *carry)
            progress, buffer = carry
            return self.step(progress, step), buffer

        return jax.lax.fori_loop(0, num_steps, body, (progress, buffer))  # type: ignore[no-any-return]


class Trajectory(NamedTuple):
    """What `trajectory` returns.

    Attributes:
        state: the algorithm's last state; `state.logp` is the last policy.
        steps: the step number of each record, `[num_records]`.
        records: recorded values by name, each `[num_records, ...]`.
        first_nonfinite: per member, the first step whose policy was not finite; -1 if there was none.
    """

    state: Any
    steps: np.ndarray
    records: Records
    first_nonfinite: Int[Array, "*prompts"]


def prepare(
    game: AbstractGame,
    algorithm: AbstractAlgorithm[Any],
    feedback: AbstractFeedback | None,
    key: PRNGKeyArray | None,
    metrics: Mapping[str, Metric] | Sequence[str | Metric] | None,
    record_every: int,
) -> Run:
    """The `Run` of these arguments."""
    if not (feedback is None or isinstance(feedback, AbstractFeedback)):
        raise ValueError(f"`feedback` must be an AbstractFeedback such as Exact(game), got {feedback!r}.")
    if isinstance(feedback, Exact) and feedback.game is game:
        feedback = None
    if key is None:
        if feedback is not None and feedback.is_random:
            raise ValueError(
                f"`key` is needed: {type(feedback).__name__} is random. Pass key=jax.random.key(0)."
            )
        key = jax.random.key(0)
    return Run(game, algorithm, feedback, key, named(metrics), records_curves(metrics), record_every)


def record_steps(num_steps: int, record_every: int) -> np.ndarray:
    """The steps that are recorded: every `record_every`-th from 0, and the last."""
    return np.append(np.arange(0, num_steps, record_every), num_steps)


def trajectory(
    game: AbstractGame,
    algorithm: AbstractAlgorithm[Any],
    num_steps: int,
    *,
    logp: Float[Array, "*batch n"] | None = None,
    reference: Float[Array, "*batch n"] | None = None,
    feedback: AbstractFeedback | None = None,
    key: PRNGKeyArray | None = None,
    metrics: Mapping[str, Metric] | Sequence[str | Metric] | None = None,
    record_every: int = 1,
) -> Trajectory:
    """Run `algorithm` on `game` for `num_steps` steps: pure, for use under `jit`, `vmap`, `grad` or
    `shard_map`.

    `solve` is this with checks, progress, early stopping and one compilation for every number of steps.

    Args:
        game: what is played.
        algorithm: the rule that learns.
        num_steps: how many steps, a Python int (it sets the shape of the records).
        logp: the first policy, log-probabilities `[..., n]`; uniform by default.
        reference: the first reference, log-probabilities; `logp` by default.
        feedback: where the rule's information comes from; exact by default.
        key: random key; needed when `feedback` is random.
        metrics: what to record besides the curves of the gap: names, functions, or a dict of functions.
            Empty: nothing.
        record_every: record every so many steps, and always the first and last policy.

    Raises:
        ValueError: random feedback without a key, an unknown metric, or a number of steps that is none.
    """
    num_steps = validation.count("num_steps", num_steps)
    record_every = validation.count("record_every", record_every, minimum=1)
    run = prepare(game, algorithm, feedback, key, metrics, record_every)
    logp = game.uniform() if logp is None else logp
    steps = record_steps(num_steps, record_every)
    zero, last = (
        jnp.zeros((), jnp.int32),
        np.int32(num_steps),
    )  # NumPy's: under jit a JAX array has no known value
    progress = run.begin(logp, logp if reference is None else reference)
    progress, buffer = run.advance(progress, zero, last, len(steps))
    final, progress = run.observe(progress, last)
    records = jax.tree.map(lambda rows, row: rows.at[-1].set(row), buffer, final)
    return Trajectory(progress.state, steps, records, progress.first_nonfinite)
