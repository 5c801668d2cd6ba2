"""The ground truth: exact equilibria, to measure learning rules against."""

from comalgames.equilibria.nash import NashSolution, nash
from comalgames.equilibria.qre import qre

__all__ = ["NashSolution", "nash", "qre"]
