"""Drive a compiled loop from the host: chunks, early stopping, interruption, and how each member ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from comalgames.drivers.records import GAPS
from comalgames.drivers.trajectory import Carry, Records, named_curves, record_steps

# A chunk is what runs between two looks at the clock and the keyboard. Its record buffer holds at most so
# many records and numbers; a chunk is lengthened until it takes about CHUNK_SECONDS.
MAX_RECORDS, MAX_NUMBERS, CHUNK_SECONDS = 16384, 1 << 22, 0.25
FIRST_CHUNK = 64

# Early stopping looks at the gap when the number of steps is a power of two from here on, so that where a run
# stops does not depend on how it was cut into chunks.
FIRST_LOOK = 1024


class Compiled(NamedTuple):
    """The two compiled functions that `host_loop` calls.

    Attributes:
        advance: takes a chunk of steps: (progress, start, num_steps, capacity) -> (progress, buffer of
            records).
        observe: records the current policy: (progress) -> record.
        record_axis: which axis of a buffer counts the records.
    """

    advance: Callable[[Carry, Any, Any, int], tuple[Carry, Records]]
    observe: Callable[[Carry], Records]
    record_axis: int = 0


def host_loop(
    functions: Compiled,
    progress: Carry,
    num_steps: int,
    record_every: int,
    *,
    tolerance: float | None = None,
    chunk_steps: int | None = None,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[Carry, dict[str, np.ndarray], int, bool]:
    """Take `num_steps` steps in compiled chunks.

    Args:
        functions: the compiled chunk and record.
        progress: before the first step.
        num_steps: how many steps to take.
        record_every: number of steps between two records.
        tolerance: stop early once the gap stayed below this, see `solve`.
        chunk_steps: length of the chunks; chosen by the clock by default.
        tick: called after each chunk with its number of steps.

    Returns:
        The progress, the records by name (NumPy, all chunks joined), the number of steps taken, and whether
        Ctrl-C ended them early (what had not finished then is dropped).
    """
    axis = functions.record_axis
    example = jax.eval_shape(functions.observe, progress)
    numbers = sum(math.prod(leaf.shape) for leaf in example.values())
    capacity = max(1, min(MAX_RECORDS, MAX_NUMBERS // max(numbers, 1)))
    longest = capacity * record_every
    length = min(longest, FIRST_CHUNK * record_every)
    # One entry per finished chunk: an interruption finds either all of a chunk or nothing of it.
    done: list[tuple[Carry, int, dict[str, np.ndarray]]] = [(progress, 0, {})]
    interrupted = False
    try:
        while (taken := done[-1][1]) < num_steps:
            began = time.perf_counter()
            # Chunks end on a multiple of record_every where they can; the last may end anywhere.
            size = min(length if chunk_steps is None else min(chunk_steps, longest), num_steps - taken)
            look = _next_look(taken)
            if tolerance is not None:
                size = min(size, look - taken)
            ahead, buffer = functions.advance(done[-1][0], _int(taken), _int(size), capacity)
            filled = -(-(taken + size) // record_every) - -(-taken // record_every)
            full = (slice(None),) * axis + (slice(filled),)
            rows = {name: np.asarray(leaf)[full] for name, leaf in buffer.items()}
            done.append((ahead, taken + size, rows))
            tick(size)
            if tolerance is not None and taken + size == look < num_steps and GAPS in rows:
                gaps = _joined(done, axis)[GAPS].take(0, axis + 1)
                if np.all(stayed_below(gaps, tolerance, axis)):
                    break
            if chunk_steps is None and time.perf_counter() - began < CHUNK_SECONDS:
                length = min(longest, 8 * length)
    except KeyboardInterrupt:
        interrupted = True
    progress, taken, _ = done[-1]
    record = functions.observe(progress)
    last = {name: np.expand_dims(np.asarray(row), axis) for name, row in record.items()}
    records = _joined([*done, (progress, taken, last)], axis)
    history = named_curves(records, record_steps(taken, record_every), axis, np)
    return progress, history, taken, interrupted


def statuses(
    gaps: np.ndarray | None,
    failed_at: np.ndarray,
    tolerance: float | None,
    interrupted: bool,
    axis: int = 0,
) -> np.ndarray:
    """The status of each member's run, as an array of words of the shape of `failed_at`."""
    status = np.full(failed_at.shape, "interrupted" if interrupted else "completed", dtype="<U11")
    if tolerance is not None and gaps is not None:
        status[stayed_below(gaps, tolerance, axis)] = "converged"
    status[failed_at >= 0] = "nonfinite"
    return status


def _joined(done: Sequence[tuple[Any, int, Mapping[str, np.ndarray]]], axis: int) -> dict[str, np.ndarray]:
    """The records of all chunks; the first entry is the start, which has none."""
    return {name: np.concatenate([rows[name] for _, _, rows in done[1:]], axis) for name in done[-1][2]}


def stayed_below(gaps: np.ndarray, tolerance: float, axis: int) -> np.ndarray:
    """Per member, whether the gap was below `tolerance` over the last tenth of the records."""
    num_records = gaps.shape[axis]
    tail = gaps.take(range(num_records - max(1, num_records // 10), num_records), axis)
    return np.asarray(np.all(tail < tolerance, axis=axis))


def _next_look(taken: int) -> int:
    """The next number of steps, above `taken`, at which early stopping looks at the gap."""
    return int(max(FIRST_LOOK, 2 ** taken.bit_length()))


def _int(value: int) -> Array:
    return jnp.asarray(value, jnp.int32)
