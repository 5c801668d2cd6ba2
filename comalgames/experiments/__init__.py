"""Experiments, the claims they must support, and the only code that writes files."""

from comalgames.experiments.claims import (
    Bound,
    Claim,
    Data,
    Reading,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.experiments.run import Silent, Verdict, check_claims, run_experiments
from comalgames.experiments.spec import Experiment, Figure, Measurement, Panel, Paper
from comalgames.experiments.store import DamagedRun, environment, finished_run, load_run, save_run

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
    "Reading",
    "Silent",
    "Statement",
    "Verdict",
    "at_least",
    "at_most",
    "between",
    "check_claims",
    "environment",
    "finished_run",
    "load_run",
    "reads",
    "run_experiments",
    "save_run",
]
