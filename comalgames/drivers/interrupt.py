"""Handling of Ctrl-C between two compiled chunks."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class NoticedInterrupt:
    """A context in which the first Ctrl-C is only recorded, so that the current chunk can finish.

    A second one raises `KeyboardInterrupt`. Outside of the main thread, and where another handler is
    installed, Ctrl-C does what it did before.

    Attributes:
        noticed: whether it was pressed.
    """

    def __init__(self) -> None:
        self.noticed = False
        self._before: Any = None

    def __enter__(self) -> NoticedInterrupt:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._notice)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        if self.noticed:
            raise KeyboardInterrupt
        self.noticed = True
