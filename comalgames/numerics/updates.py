"""The mirror step, shared by all rules of mirror type, for NumPy, JAX and torch arrays."""

from __future__ import annotations

from typing import Any


def mirror_target(base: Any, utility: Any, step_size: Any, reference: Any = None, pull: Any = 0.0) -> Any:
    """The target of one mirror step, a log-policy up to a constant per prompt.

        target = (1 - pull) * base + pull * reference + step_size * utility

    which is the maximizer over policies p of
    ``<p, utility> - (pull / step_size) KL(p || reference) - ((1 - pull) / step_size) KL(p || base)``.

    Args:
        base: log-probabilities of the current policy, `[..., n]`; n actions on the last axis.
        utility: utility of each action, `[..., n]`; a constant per prompt has no effect.
        step_size: weight of the utility, a number, in units of 1 / utility.
        reference: log-probabilities of the reference, `[..., n]`; None for a rule without one (a weight of 0
            times a log-probability of -inf would be nan).
        pull: weight of the reference, a number; 0 without a reference.

    Returns:
        An array like `base`. It is not normalized, because on a set of sampled answers the constant is
        unknown.

    Reference: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
    Two-Player Zero-Sum Games", 2023, equation 5, in the explicit parametrization.
    """
    if reference is None:
        return base + step_size * utility
    return (1.0 - pull) * base + pull * reference + step_size * utility
