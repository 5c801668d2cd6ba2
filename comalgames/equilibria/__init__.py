"""Exact equilibria: Nash policies, quantal response equilibria, robust policies."""

from comalgames.equilibria.distance import KLToNashSet, kl_to_nash_set
from comalgames.equilibria.exact import nash
from comalgames.equilibria.proof import Proof, prove
from comalgames.equilibria.quantal import QuantalSolution, qre
from comalgames.equilibria.robust import (
    RobustSolution,
    annotator_robust_nash,
    robust_nash,
    worst_annotator_gap,
    worst_case_gap,
)
from comalgames.equilibria.solution import NashSolution

__all__ = [
    "KLToNashSet",
    "NashSolution",
    "Proof",
    "QuantalSolution",
    "RobustSolution",
    "annotator_robust_nash",
    "kl_to_nash_set",
    "nash",
    "prove",
    "qre",
    "robust_nash",
    "worst_annotator_gap",
    "worst_case_gap",
]
