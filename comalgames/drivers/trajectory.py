"""The loop of all drivers: run an algorithm on a game and record metrics, as one pure function.

A record is taken of the policy that ENTERS a step. Then the payoff product of the gap and the rule's own are
the same expression, and the compiler computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm
from comalgames.drivers.arguments import (
    check_feedback,
    check_pair,
    check_queries,
    continued,
    starting_logp,
    with_reference,
)
from comalgames.drivers.records import GAPS, named, records_curves
from comalgames.feedback import AbstractFeedback, Exact
from comalgames.games.base import AbstractGame
from comalgames.measures.metrics import CURVES, Metric

Records = dict[str, Any]


class Carry(eqx.Module):
    """The part of a run that changes from step to step.

    Attributes:
        state: the state of the algorithm, with `logp`, `reference` and `step`.
        advantage_sum: sum over the steps so far of the policy's advantage against itself.
        last_above: per member, the number of the last policy that entered a step with a gap not below the
            tolerance, -1 if none did; None where the loop does not look.
    """

    state: Any
    advantage_sum: Float[Array, "*batch n"]
    last_above: Int[Array, "*prompts"] | None = None


class Run(eqx.Module):
    """The part of a run that does not change from step to step.

    A `feedback` of None means exact feedback from `game` itself. With a `tolerance` the loop looks at the gap
    of every policy, also of those that are not recorded. A `first_step` is the number of steps that were
    taken before this run; the keys of its steps go on from there.

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
    tolerance: Float[Array, ""] | None = None
    first_step: Int[Array, ""] | None = None

    def begin(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> Carry:
        """The carry before the first step."""
        return self.begin_at(self.algorithm.init(logp, reference))

    def begin_at(self, state: Any) -> Carry:
        """The carry before the first step from a state of the algorithm."""
        zeros = jnp.zeros_like(state.logp)
        last_above = None
        if self.tolerance is not None:
            last_above = jnp.full(jax.eval_shape(self.game.gap, zeros).shape, -1, jnp.int32)
        return Carry(state, zeros, last_above)

    def observe(self, progress: Carry) -> Records:
        """The record of the current policy, before the next step."""
        logp = progress.state.logp
        records = {name: jnp.asarray(metric(self.game, logp)) for name, metric in self.metrics.items()}
        if self.curves:
            # `named_curves` divides the gap of the sum by the number of policies in it, outside of the loop.
            advantage = self.game.advantage(logp)
            total = progress.advantage_sum + advantage
            records[GAPS] = jnp.stack([self.game.gap(advantage), self.game.gap(total)])
        return records

    def step(self, progress: Carry, step: Any) -> Carry:
        """The carry after the given step."""
        feedback = Exact(self.game) if self.feedback is None else self.feedback
        total, last_above = progress.advantage_sum, progress.last_above
        if self.curves:
            advantage = self.game.advantage(progress.state.logp)
            total = total + advantage
            if last_above is not None and self.tolerance is not None:
                last_above = jnp.where(self.game.gap(advantage) < self.tolerance, last_above, step)
        # fold_in, not a key carried along: that would cost many times a small game's step.
        number = step if self.first_step is None else self.first_step + step
        state = self.algorithm.step(jax.random.fold_in(self.key, number), progress.state, feedback)
        return Carry(state, total, last_above)

    def advance(
        self, progress: Carry, start: Any, num_steps: Any | np.int32, capacity: int
    ) -> tuple[Carry, Records]:
        """Take `num_steps` steps from step `start`; both may be known only at run time.

        JAX differentiates the loop backwards only where the number of steps is known when it is compiled.

        Returns the progress and a buffer of `capacity` records, filled from the front with those of the steps
        divisible by `record_every`.
        """
        shapes = jax.eval_shape(self.observe, progress)
        buffer = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)
        first_record = -(-start // self.record_every)

        def write(progress: Carry, buffer: Records, step: Any) -> Records:
            slot = step // self.record_every - first_record
            record = self.observe(progress)
            # Not rows.at[slot].set(row), which checks bounds at run time.
            put = jax.lax.dynamic_update_index_in_dim
            return {name: put(rows, record[name], slot, 0) for name, rows in buffer.items()}

        def body(i: Any, carry: tuple[Carry, Records]) -> tuple[Carry, Records]:
            progress, buffer = carry
            step = start + i
            if self.record_every == 1:
                buffer = write(progress, buffer, step)
            else:
                due = step % self.record_every == 0
                buffer = jax.lax.cond(due, write, lambda _, rows, __: rows, progress, buffer, step)
            return self.step(progress, step), buffer

        carry: tuple[Carry, Records] = jax.lax.fori_loop(0, num_steps, body, (progress, buffer))
        return carry

    def chunk(self, progress: Carry, start: Any, num_steps: Any, capacity: int) -> tuple[Carry, Records]:
        """As `advance`; a chunk of 0 steps records the current policy, in the first place of the buffer.

        One program takes steps and records the last policy: compiling two would take longer.
        """
        progress, buffer = self.advance(progress, start, num_steps, capacity)

        def current(progress: Carry, buffer: Records) -> Records:
            record = self.observe(progress)
            return {name: rows.at[0].set(record[name]) for name, rows in buffer.items()}

        return progress, jax.lax.cond(num_steps == 0, current, lambda _, rows: rows, progress, buffer)


def named_curves(records: Records, steps: Any, record_axis: int = 0, xp: Any = jnp) -> Records:
    """The records with the three curves of the gap under their names, in place of `GAPS`.

    Args:
        records: arrays whose axis `record_axis` counts the records.
        steps: the step number of each record, `[num_records]`.
        record_axis: that axis.
        xp: `jax.numpy`, or `numpy` on the host.
    """
    named_records = {name: rows for name, rows in records.items() if name != GAPS}
    if GAPS in records:
        before = (slice(None),) * (record_axis + 1)
        gap, summed = records[GAPS][(*before, 0)], records[GAPS][(*before, 1)]
        num_policies = xp.asarray(np.asarray(steps) + 1, gap.dtype)
        average = summed / num_policies.reshape(-1, *(1,) * (gap.ndim - record_axis - 1))
        if xp is np:
            best = np.fmin.accumulate(np.ascontiguousarray(gap), record_axis)  # strided, it is slow
        else:
            best = _running_minimum(gap, record_axis)
        named_records |= dict(zip(CURVES, (gap, average, best), strict=True))
    return named_records


@partial(jax.jit, static_argnums=1)
def _running_minimum(gap: Any, axis: int) -> Any:
    return jax.lax.associative_scan(jnp.fmin, gap, axis=axis)


def first_nonfinite(
    game: AbstractGame, records: Records, logp: Any, steps: Any, record_axis: int = 0, xp: Any = jnp
) -> Any:
    """Per member, the step of the first record whose policy was not finite; -1 if there was none.

    A policy that is not finite has a gap that is not. Where no gap was recorded the last policy is looked at.
    """
    if "duality_gap" not in records:
        members = game.gap(game.advantage(jnp.asarray(logp)))
        return xp.where(xp.isfinite(xp.asarray(members)), -1, steps[-1])
    bad = ~xp.isfinite(records["duality_gap"])
    return xp.where(bad.any(record_axis), xp.asarray(steps)[bad.argmax(record_axis)], -1)


class Trajectory(NamedTuple):
    """The result of `trajectory`.

    Attributes:
        state: the algorithm's last state; `state.logp` is the last policy.
        steps: the step number of each record, `[num_records]`, an array of JAX if `state` was traced.
        records: recorded values by name, each `[num_records, ...]`.
        first_nonfinite: per member, the step of the first record whose policy was not finite; -1 if none was.
    """

    state: Any
    steps: Any
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
    if feedback is not None:
        check_feedback(feedback, game)
    if isinstance(feedback, Exact) and feedback.game is game:
        feedback = None
    if key is not None:
        validation.random_key("key", key)
    else:
        draws = feedback is not None and feedback.is_random
        if draws or algorithm.form(0).is_random:
            name = type(feedback if draws else algorithm).__name__
            raise ValueError(f"`key` is needed: {name} is random. Pass key=jax.random.key(0).")
        key = jax.random.key(0)
    return Run(
        game.without_names(), algorithm, feedback, key, named(metrics), records_curves(metrics), record_every
    )


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
    state: Any = None,
    feedback: AbstractFeedback | None = None,
    key: PRNGKeyArray | None = None,
    metrics: Mapping[str, Metric] | Sequence[str | Metric] | None = None,
    record_every: int = 1,
) -> Trajectory:
    """Run `algorithm` on `game`: a pure function, for use under `jit`, `vmap`, `grad` or `shard_map`.

    `solve` is this with progress, early stopping and one compilation for every number of steps. It can be
    differentiated too: in forward mode (`jax.jvp`) through every rule, in reverse mode (`jax.grad`) through
    those that solve nothing by iteration (all but `ExactProx` and `IterativeDPO`).

    Args:
        game: what is played.
        algorithm: the rule that learns.
        num_steps: how many steps, a Python int (it sets the shape of the records).
        logp: the first policy, log-probabilities `[..., n]`; uniform by default.
        reference: the first reference, log-probabilities; `logp` by default.
        state: the `state` of an earlier run of this function, from which the run goes on to the bit, as in
            `solve`, in place of `logp` and `reference`.
        feedback: where the rule's information comes from; exact by default.
        key: random key; needed when `feedback` is random.
        metrics: what to record besides the curves of the gap: names, functions, or a dict of functions.
            Empty: nothing.
        record_every: number of steps between two records; the first and the last policy are always recorded.

    Raises:
        ValueError: random feedback without a key, an unknown metric, a wrong number of steps, or
            policies that are not log-probabilities (looked at only where they are concrete).
    """
    num_steps = validation.count("num_steps", num_steps)
    record_every = validation.count("record_every", record_every, minimum=1)
    check_pair(game, algorithm)
    if state is None:
        before, start = None, starting_logp("logp", logp, game)
        anchor = start if reference is None else starting_logp("reference", reference, game)
        start, anchor = with_reference(start, anchor)
    else:
        state, before = continued(state, game, algorithm, num_steps, logp=logp, reference=reference)
        start = anchor = state.logp
    check_queries(game, algorithm, start.shape)
    run = prepare(game, algorithm, feedback, key, metrics, record_every)
    taken = steps = record_steps(num_steps, record_every)
    if before is None:
        progress = run.begin(start, anchor)
    else:
        run = replace(run, first_step=jnp.asarray(before, jnp.int32))
        steps, progress = before + taken.astype(np.int32), run.begin_at(state)
    # NumPy's, for under jit a JAX array has no known value.
    zero, last = np.int32(0), np.int32(num_steps)
    progress, buffer = run.advance(progress, zero, last, len(taken))
    final = run.observe(progress)
    records = jax.tree.map(lambda rows, row: rows.at[-1].set(row), buffer, final)
    records = named_curves(records, taken)
    return Trajectory(
        progress.state, steps, records, first_nonfinite(game, records, progress.state.logp, steps)
    )
