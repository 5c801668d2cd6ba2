"""Run a paper's experiments and check its claims against what was measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from comalgames.experiments.spec import Claim, Data, Paper


class Verdict(NamedTuple):
    """A claim beside what was measured.

    Attributes:
        claim: what was claimed.
        measured: the number, nan if it was not run.
        status: "passed", "failed" or "not run" (`--quick` leaves its experiments out).
    """

    claim: Claim
    measured: float
    status: str


def run_experiments(
    paper: Paper, quick: bool = False, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Results of every experiment by name, computed in float64.

    Args:
        paper: what to run.
        quick: run only the experiments that are marked quick.
        tell: called with a line of text after each experiment.
    """
    data = {}
    with jax.enable_x64(True):
        for experiment in paper.experiments:
            if quick and not experiment.is_quick:
                continue
            began = time.perf_counter()
            data[experiment.name] = experiment.run()
            tell(f"{experiment.name}: {time.perf_counter() - began:.1f} s")
    return data


def check_claims(paper: Paper, data: Data) -> list[Verdict]:
    """Every claim's measured number and verdict; one whose experiments are not in `data` was not run.

    Args:
        paper: whose claims.
        data: the results by experiment.
    """
    verdicts = []
    with jax.enable_x64(True):
        for claim in paper.claims:
            if not all(need in data for need in claim.needs):
                verdicts.append(Verdict(claim, math.nan, "not run"))
                continue
            measured = float(claim.measure(data))
            verdicts.append(Verdict(claim, measured, "passed" if claim.bound.holds(measured) else "failed"))
    return verdicts
