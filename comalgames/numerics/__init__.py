"""Numerical methods on arrays: mirror steps, policies, losses, fits and fixed points."""
