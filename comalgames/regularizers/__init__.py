"""Regularizers: differentiable functions of the policy and the reference that a regularized game penalizes.

A regularizer is a function `(p, reference) -> number` of two probability vectors `[n]`.
"""

from comalgames.regularizers.checks import (
    check as check,
    curvature as curvature,
    ignores_reference as ignores_reference,
    is_separable as is_separable,
)
from comalgames.regularizers.divergences import (
    Regularizer,
    alpha_divergence,
    chi_squared,
    entropy,
    forward_kl,
    hellinger,
    jensen_shannon,
    kl,
    name as name,
    renyi,
    squared_l2,
    tsallis,
    weighted_sum,
)
from comalgames.regularizers.evaluation import (
    LOG_FLOOR,
    floored as floored,
    gradient as gradient,
    log_floor as log_floor,
    value as value,
)
from comalgames.regularizers.interior import (
    RegularizedSolution as RegularizedSolution,
    equilibrium as equilibrium,
)
from comalgames.regularizers.report import RegularizerReport, check_regularizer

__all__ = [
    "LOG_FLOOR",
    "Regularizer",
    "RegularizerReport",
    "alpha_divergence",
    "check_regularizer",
    "chi_squared",
    "entropy",
    "forward_kl",
    "hellinger",
    "jensen_shannon",
    "kl",
    "renyi",
    "squared_l2",
    "tsallis",
    "weighted_sum",
]
