"""Drive a compiled loop from the host: chunks, early stopping, interruption, status of each member."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from comalgames.drivers.interrupt import NoticedInterrupt
from comalgames.drivers.records import GAPS
from comalgames.drivers.trajectory import Carry, Records, named_curves, record_steps

# A chunk is what runs between two looks at the clock and the keyboard. Its record buffer holds at most so
# many records and numbers. The first chunk has a few steps, whatever they cost; chunks are lengthened until
# they take about CHUNK_SECONDS.
MAX_RECORDS, MAX_NUMBERS, CHUNK_SECONDS = 16384, 1 << 22, 0.25
FIRST_CHUNK = 4

# Early stopping looks at the gap when the number of steps is a power of two from here on, so that where a run
# stops does not depend on how it was cut into chunks.
FIRST_LOOK = 1024

# Minimum number of last policies whose gaps must be below the tolerance: a cycle may pass below once.
FEWEST = 10


class Compiled(NamedTuple):
    """The compiled function that `host_loop` calls.

    Attributes:
        chunk: takes a chunk of steps, or records the current policy: `Run.chunk`.
        record: the shapes of one record.
        record_axis: which axis of a buffer counts the records.
    """

    chunk: Callable[[Carry, Any, Any, int], tuple[Carry, Records]]
    record: Records
    record_axis: int = 0


class Ran(NamedTuple):
    """The result of `host_loop`.

    Attributes:
        progress: after the last step.
        history: the records by name, NumPy, all chunks joined.
        taken: number of steps taken.
        converged: per member, whether its gap stayed below the tolerance; None if there was none to stay
            below, or no gap.
    """

    progress: Carry
    history: dict[str, np.ndarray]
    taken: int
    converged: np.ndarray | None


def host_loop(
    compiled: Compiled,
    progress: Carry,
    num_steps: int,
    record_every: int,
    *,
    tolerance: float | None = None,
    chunk_steps: int | None = None,
    tick: Callable[[int], Any] = lambda steps: None,
) -> Ran:
    """Take `num_steps` steps in compiled chunks. Ctrl-C ends them early; finished chunks are kept.

    Args:
        compiled: the compiled chunk.
        progress: before the first step.
        num_steps: how many steps to take.
        record_every: number of steps between two records.
        tolerance: stop early once the gap stayed below this, see `solve`.
        chunk_steps: length of the chunks; chosen by the clock by default.
        tick: called after each chunk with its number of steps.
    """
    axis = compiled.record_axis
    numbers = sum(leaf.size for leaf in compiled.record.values())
    capacity = max(1, min(MAX_RECORDS, MAX_NUMBERS // max(numbers, 1)))
    longest = capacity * record_every
    length = min(longest, FIRST_CHUNK if chunk_steps is None else chunk_steps)
    # One entry per finished chunk: an interruption finds either all of a chunk or nothing of it.
    done: list[tuple[Carry, int, dict[str, np.ndarray]]] = [(progress, 0, {})]

    def records() -> dict[str, np.ndarray]:
        """Those of all chunks, and that of the current policy."""
        _, buffer = compiled.chunk(done[-1][0], _int(done[-1][1]), _int(0), capacity)
        first = (slice(None),) * axis + (slice(1),)
        return {
            name: np.concatenate([*(rows[name] for _, _, rows in done[1:]), np.asarray(leaf)[first]], axis)
            for name, leaf in buffer.items()
        }

    try:
        with NoticedInterrupt() as interrupt:
            while (taken := done[-1][1]) < num_steps and not interrupt.noticed:
                began = time.perf_counter()
                size = min(length, num_steps - taken)
                look = _next_look(taken)
                if tolerance is not None:
                    size = min(size, look - taken)
                ahead, buffer = compiled.chunk(done[-1][0], _int(taken), _int(size), capacity)
                filled = -(-(taken + size) // record_every) - -(-taken // record_every)
                full = (slice(None),) * axis + (slice(filled),)
                # Copies: a view would keep the whole buffer of each chunk.
                rows = {name: np.array(np.asarray(leaf)[full]) for name, leaf in buffer.items()}
                done.append((ahead, taken + size, rows))
                tick(size)
                if tolerance is not None and taken + size == look < num_steps:
                    converged = _converged(records(), ahead, look, tolerance, axis)
                    if converged is not None and np.all(converged):
                        break
                if chunk_steps is None:
                    length = min(longest, length * _growth(time.perf_counter() - began))
    except KeyboardInterrupt:
        pass
    progress, taken, _ = done[-1]
    recorded = records()
    converged = None if tolerance is None else _converged(recorded, progress, taken, tolerance, axis)
    history = named_curves(recorded, record_steps(taken, record_every), axis, np)
    return Ran(progress, history, taken, converged)


def statuses(failed_at: np.ndarray, converged: np.ndarray | None, is_whole: bool) -> np.ndarray:
    """The status of each member's run, as an array of words of the shape of `failed_at`.

    Args:
        failed_at: the step of the first policy that was not finite; -1 if none was.
        converged: whether the gap stayed below the tolerance; None if nothing did.
        is_whole: whether all steps were taken.
    """
    status = np.full(failed_at.shape, "completed" if is_whole else "interrupted", dtype="<U11")
    if converged is not None:
        status[converged] = "converged"
    status[failed_at >= 0] = "nonfinite"
    return status


def _converged(
    records: Mapping[str, np.ndarray], progress: Carry, taken: int, tolerance: float, axis: int
) -> np.ndarray | None:
    """Per member, whether the gap was below `tolerance` over the last tenth of the steps.

    At least the last ten policies count (all of them, if there are fewer), the current one included. None if
    no gap was recorded.
    """
    if GAPS not in records:
        return None
    gaps = np.moveaxis(records[GAPS].take(0, axis + 1), axis, 0)
    if progress.last_above is None:  # every policy was recorded
        numbers = np.arange(len(gaps)).reshape(-1, *(1,) * (gaps.ndim - 1))
        last_above = np.where(gaps < tolerance, -1, numbers).max(0)
    else:
        last_above = np.where(gaps[-1] < tolerance, np.asarray(progress.last_above), taken)
    tail = min(taken + 1, max(FEWEST, (taken + 1) // 10))
    return np.asarray(taken - last_above >= tail)


def _growth(seconds: float) -> int:
    """Factor by which the next chunk is longer than one that took `seconds`."""
    if seconds < CHUNK_SECONDS / 8:
        return 8
    return 2 if seconds < CHUNK_SECONDS / 2 else 1


def _next_look(taken: int) -> int:
    """The next number of steps, above `taken`, at which early stopping looks at the gap."""
    return int(max(FIRST_LOOK, 2 ** taken.bit_length()))


def _int(value: int) -> Array:
    return jnp.asarray(value, jnp.int32)
