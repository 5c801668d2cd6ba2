"""Number of BLAS threads, which wait actively for one another and are slow on busy cores."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController

# Matrices with at most this number of rows are solved as fast by one thread on two idle cores, and two to
# five times as fast if the cores are busy.
ONE_THREAD = 600

# Where Linux writes the number of running threads: of the machine in "loadavg", as in "0.52 0.58 0.59 3/389
# 7712", and of this process in "self/task/*/stat", as in "7712 (python) R 7600 ...".
PROC = Path("/proc")


def blas_threads(size: int) -> AbstractContextManager[object]:
    """A context in which BLAS uses one thread for matrices of at most `ONE_THREAD` rows, else the idle cores.

    Args:
        size: number of rows of the matrices.
    """
    libraries = _libraries()
    present = min((library.num_threads for library in libraries.lib_controllers), default=1)
    most = 1 if size <= ONE_THREAD else min(present, max(_idle_cores(), 1))
    limit: AbstractContextManager[object] = libraries.limit(limits=most)
    return limit


# Looking for the loaded libraries takes milliseconds, setting their threads a hundredth of one.
@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _idle_cores() -> int:
    """Number of cores on which no other process runs; all cores where the system does not say."""
    cores = os.cpu_count() or 1
    try:
        # First those of this process, which may end in between.
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in PROC.glob("self/task/*/stat")]
        running = int((PROC / "loadavg").read_text().split()[3].partition("/")[0])
    except (OSError, IndexError, ValueError):
        return cores
    return cores - max(running - states.count("R"), 0)
