"""Numbers that describe policies and runs: distances from equilibrium, and properties of whole paths."""

from comalgames.measures import metrics, paths

__all__ = ["metrics", "paths"]
