"""Learning rules, one file per family, all on the feedback interface; none of them knows a game."""

from comalgames.algorithms.base import (
    AbstractAlgorithm,
    AbstractMirrorRule,
    AbstractSchedule,
    AbstractUpdateRule,
    State,
    at,
)
from comalgames.algorithms.comal import COMAL
from comalgames.algorithms.corrected import flip_corrected
from comalgames.algorithms.dpo import IterativeDPO
from comalgames.algorithms.extragradient import Extragradient
from comalgames.algorithms.mirror_descent import INPO, MMD, MWU, SPPO, IterativeIPO, MirrorDescent
from comalgames.algorithms.optimistic import OptimisticMWU, OptimisticState
from comalgames.algorithms.prox import ExactProx
from comalgames.algorithms.regularized import RegularizedMirrorDescent
from comalgames.algorithms.schedules import Geometric

__all__ = [
    "COMAL",
    "INPO",
    "MMD",
    "MWU",
    "SPPO",
    "AbstractAlgorithm",
    "AbstractMirrorRule",
    "AbstractSchedule",
    "AbstractUpdateRule",
    "ExactProx",
    "Extragradient",
    "Geometric",
    "IterativeDPO",
    "IterativeIPO",
    "MirrorDescent",
    "OptimisticMWU",
    "OptimisticState",
    "RegularizedMirrorDescent",
    "State",
    "at",
    "flip_corrected",
]
