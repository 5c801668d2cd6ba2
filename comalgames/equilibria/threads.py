"""Number of BLAS threads, which wait actively for one another and are slow on busy cores."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

# Matrices with at most this number of rows are solved as fast by one thread on two idle cores, and two to
# five times as fast if the cores are busy.
ONE_THREAD = 600


def blas_threads(size: int) -> AbstractContextManager[object]:
    """A context in which BLAS uses one thread if the matrices have at most `ONE_THREAD` rows."""
    limit: AbstractContextManager[object] = _libraries().limit(
        limits=1 if size <= ONE_THREAD else None, user_api="blas"
    )
    return limit


# Looking for the loaded libraries takes milliseconds, setting their threads a hundredth of one.
@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
