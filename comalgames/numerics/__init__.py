"""Arithmetic on arrays: mirror steps, distributions, losses, fits and fixed points."""
