"""Experiments, the claims they must support, and the only code that writes files."""

from comalgames.experiments.run import Verdict, check_claims, run_experiments
from comalgames.experiments.spec import (
    Bound,
    Claim,
    Data,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    at_least,
    at_most,
    between,
)
from comalgames.experiments.store import DamagedRun, environment, load_run, save_run

__all__ = [
    "Bound",
    "Claim",
    "DamagedRun",
    "Data",
    "Experiment",
    "Figure",
    "Measurement",
    "Panel",
    "Paper",
    "Verdict",
    "at_least",
    "at_most",
    "between",
    "check_claims",
    "environment",
    "load_run",
    "run_experiments",
    "save_run",
]
