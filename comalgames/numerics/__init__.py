"""Numerical methods on arrays: mirror steps, policies, losses, fits and fixed points."""

from comalgames.numerics import losses

__all__ = ["losses"]
