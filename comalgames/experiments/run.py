"""Run a paper's experiments and check its claims against the measured numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from comalgames.experiments.claims import Claim, Data
from comalgames.experiments.spec import AbstractExperiment, Paper


class Verdict(NamedTuple):
    """A claim beside its measured number.

    Attributes:
        sentence: the statement that the claim decides.
        claim: the quantity, its source and its bound.
        measured: the number, nan if it was not run.
        status: "passed", "failed" or "not run" (`--quick` leaves its experiments out).
    """

    sentence: str
    claim: Claim
    measured: float
    status: str


class Silent:
    """A progress display that shows nothing; others have the same four methods."""

    def started(self, paper: str, experiment: str) -> None:
        """Called before an experiment runs.

        Args:
            paper: the name of the paper.
            experiment: the name of the experiment.
        """

    def finished(self, paper: str, experiment: str, seconds: float) -> None:
        """Called after an experiment has run.

        Args:
            paper: the name of the paper.
            experiment: the name of the experiment.
            seconds: how long it took.
        """

    def say(self, text: str) -> None:
        """Called with text for the reader.

        Args:
            text: one line or more.
        """

    def close(self) -> None:
        """Called once after the last experiment, or an interruption."""


def chosen_experiments(paper: Paper, quick: bool) -> list[AbstractExperiment]:
    """The experiments that a run of `paper` consists of.

    Args:
        paper: the paper to run.
        quick: leave out the experiments that are not marked quick.
    """
    return [experiment for experiment in paper.experiments if experiment.is_quick or not quick]


def run_experiments(
    paper: Paper,
    quick: bool = False,
    progress: Silent | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run every experiment in float64 and return the results and the seconds, both by name.

    Args:
        paper: the paper to run.
        quick: run only the experiments that are marked quick.
        progress: told before and after each experiment.
        clock: seconds since some moment.
    """
    progress = progress or Silent()
    data, seconds = {}, {}
    with jax.enable_x64(True):
        for experiment in chosen_experiments(paper, quick):
            progress.started(paper.name, experiment.name)
            began = clock()
            data[experiment.name] = experiment.run()
            seconds[experiment.name] = clock() - began
            progress.finished(paper.name, experiment.name, seconds[experiment.name])
    return data, seconds


def check_claims(paper: Paper, data: Data) -> list[Verdict]:
    """The measured number and verdict of each claim, which is "not run" without its experiments in `data`.

    Args:
        paper: whose claims.
        data: the results by experiment.
    """
    verdicts = []
    with jax.enable_x64(True):
        for statement in paper.statements:
            for claim in statement.claims:
                if all(need in data for need in claim.needs):
                    measured = claim.reading(data)
                    status = "passed" if claim.bound.holds(measured) else "failed"
                else:
                    measured, status = math.nan, "not run"
                verdicts.append(Verdict(statement.sentence, claim, measured, status))
    return verdicts
