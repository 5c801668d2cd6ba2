"""The one formula that every mirror-type rule shares, for NumPy, JAX and torch arrays alike."""

from __future__ import annotations

from typing import Any


def mirror_target(base: Any, utility: Any, step_size: Any, reference: Any = None, pull: Any = 0.0) -> Any:
    """Log-policy, up to a constant per prompt, that one mirror step aims at.

        target = (1 - pull) * base + pull * reference + step_size * utility

    which is the maximizer over policies p of
    ``<p, utility> - (pull / step_size) KL(p || reference) - ((1 - pull) / step_size) KL(p || base)``.

    Args:
        base: log-probabilities of the policy stepped from, `[..., n]`; n actions on the last axis.
        utility: each action's utility `[..., n]`, a constant per prompt does not matter.
        step_size: the weight s of the utility (a number; unit 1 / utility).
        reference: log-probabilities `[..., n]` of the policy pulled towards; None for a rule without one,
            which then never reads it (a weight of 0 on a log-probability of -inf would be nan).
        pull: the weight m of the reference in one step, a number; 0 without a reference.

    Returns:
        An array like `base`. It is not normalized: on a set of sampled answers the constant is unknown.

    Reference: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
    Two-Player Zero-Sum Games", 2023, equation 5, in the explicit parametrization.
    """
    if reference is None:
        return base + step_size * utility
    return (1.0 - pull) * base + pull * reference + step_size * utility
