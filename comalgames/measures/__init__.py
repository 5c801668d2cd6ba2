"""Measures of policies and of paths of policies: distances from equilibrium, regret, length, rotation."""

from comalgames.measures import metrics, paths

__all__ = ["metrics", "paths"]
