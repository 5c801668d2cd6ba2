"""Show which experiment runs now, how many are left, and about how long they take."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from comalgames.experiments.run import Silent

# Before the finished experiments took this many seconds, their speed says little about the machine.
ENOUGH = 5.0


class Remaining:
    """The experiments that are left, and the seconds they take if the machine keeps its speed.

    Args:
        expected: seconds that each experiment is expected to take, by (paper, experiment).
    """

    def __init__(self, expected: Mapping[tuple[str, str], float]) -> None:
        self.expected = dict(expected)
        self.total = len(self.expected)
        self.done_expected = self.done_seconds = 0.0

    def finish(self, paper: str, experiment: str, seconds: float) -> None:
        """Count an experiment as finished.

        Args:
            paper: the name of the paper.
            experiment: the name of the experiment.
            seconds: how long it took.
        """
        self.done_expected += self.expected.pop((paper, experiment), 0.0)
        self.done_seconds += seconds

    @property
    def seconds(self) -> float:
        """The expected seconds of the rest, scaled by how slow the finished ones were."""
        rest = sum(self.expected.values())
        if self.done_seconds < ENOUGH or self.done_expected <= 0:
            return rest
        return rest * self.done_seconds / self.done_expected


def about(seconds: float) -> str:
    """A duration in words, to one or two digits.

    Args:
        seconds: at least 0.
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 95:
        return f"about {10 * max(1, round(seconds / 10))} s"
    return f"about {round(seconds / 60)} min"


class Log(Silent):
    """A line before and after each experiment, for files and pipes.

    Args:
        remaining: what is left to run.
        stream: where lines go.
    """

    def __init__(self, remaining: Remaining, stream: Any) -> None:
        self.remaining, self.stream = remaining, stream

    def started(self, paper: str, experiment: str) -> None:
        """Say what runs now, how many experiments are left including it, and about how long they take."""
        left = len(self.remaining.expected)
        self.say(f"running {paper}: {experiment} ({left} left, {about(self.remaining.seconds)})")

    def finished(self, paper: str, experiment: str, seconds: float) -> None:
        """Say how long the experiment took."""
        self.remaining.finish(paper, experiment, seconds)
        self.say(f"  ran {experiment}: {seconds:.1f} s")

    def say(self, text: str) -> None:
        """Print the text."""
        print(text, file=self.stream, flush=True)


class Bar(Silent):
    """A progress bar on one line of a terminal, drawn by tqdm.

    Args:
        remaining: what is left to run.
        stream: the terminal.
        disable: whether tqdm shows nothing; by default as the variable TQDM_DISABLE says.
    """

    def __init__(self, remaining: Remaining, stream: Any, disable: bool | None = None) -> None:
        from tqdm import tqdm

        form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
        options = {} if disable is None else {"disable": disable}
        self.remaining, self.stream = remaining, stream
        self.bar: Any = tqdm(
            total=remaining.total, bar_format=form, file=stream, dynamic_ncols=True, leave=False, **options
        )

    def started(self, paper: str, experiment: str) -> None:
        """Show what runs now, how many experiments are left including it, and about how long they take."""
        self.bar.set_description_str(f"{paper}: {experiment}", refresh=False)
        self._show_left()

    def finished(self, paper: str, experiment: str, seconds: float) -> None:
        """Move the bar by one experiment."""
        self.remaining.finish(paper, experiment, seconds)
        self.bar.update(1)
        self._show_left()

    def _show_left(self) -> None:
        self.bar.set_postfix_str(f"{len(self.remaining.expected)} left, {about(self.remaining.seconds)}")

    def say(self, text: str) -> None:
        """Print the text above the bar."""
        self.bar.write(text, file=self.stream)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()


def display(expected: Mapping[tuple[str, str], float], stream: Any = None) -> Silent:
    """A bar on a terminal; lines elsewhere, if nothing is to be run, or if TQDM_DISABLE is set.

    Args:
        expected: seconds that each experiment is expected to take, by (paper, experiment).
        stream: where it is shown; `sys.stdout` by default.
    """
    stream = sys.stdout if stream is None else stream
    if expected and stream.isatty():
        bar = Bar(Remaining(expected), stream)
        if not bar.bar.disable:
            return bar
    return Log(Remaining(expected), stream)
