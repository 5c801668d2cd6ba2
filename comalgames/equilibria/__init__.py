"""The ground truth: exact equilibria, to measure learning rules against."""

from comalgames.equilibria.nash import NashSolution, nash
from comalgames.equilibria.qre import qre
from comalgames.equilibria.robust import (
    RobustSolution,
    annotator_robust_nash,
    robust_nash,
    worst_annotator_gap,
    worst_case_gap,
)

__all__ = [
    "NashSolution",
    "RobustSolution",
    "annotator_robust_nash",
    "nash",
    "qre",
    "robust_nash",
    "worst_annotator_gap",
    "worst_case_gap",
]
