"""Arithmetic on arrays: mirror steps, distributions, losses, fits and fixed points."""

from comalgames.numerics import losses

__all__ = ["losses"]
