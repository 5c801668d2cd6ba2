"""Learning rules, one file per family, all on the feedback interface; none of them knows a game."""

from comalgames.algorithms.averaged import Averaged, AveragedState
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
from comalgames.algorithms.dpo import IterativeDPO, OnlineDPO
from comalgames.algorithms.extragradient import Extragradient
from comalgames.algorithms.history import HistoryMirrorDescent, HistoryState
from comalgames.algorithms.mirror_descent import INPO, MMD, MWU, SPPO, IterativeIPO, MirrorDescent
from comalgames.algorithms.moving import MovingReference
from comalgames.algorithms.nash_md import EMAState, NashEMA, NashMD
from comalgames.algorithms.optimistic import OptimisticMWU, OptimisticState
from comalgames.algorithms.policy_gradient import NashMDPG
from comalgames.algorithms.prox import ExactProx
from comalgames.algorithms.published import (
    DNO,
    EGPO,
    MNPO,
    MPO,
    ONPO,
    REBEL,
    RLHF,
    RSPO,
    SPO,
    IterativeRLHF,
    NashMirrorProx,
    NashProx,
    OnlineIPO,
    OnlineIPOGradient,
)
from comalgames.algorithms.regularized import RegularizedMirrorDescent
from comalgames.algorithms.schedules import Geometric, InverseTime
from comalgames.algorithms.spin import SPIN
from comalgames.algorithms.utilities import BCO, GPO, NCA
from comalgames.algorithms.wrapper import AbstractReferenceSchedule

__all__ = [
    "BCO",
    "COMAL",
    "DNO",
    "EGPO",
    "GPO",
    "INPO",
    "MMD",
    "MNPO",
    "MPO",
    "MWU",
    "NCA",
    "ONPO",
    "REBEL",
    "RLHF",
    "RSPO",
    "SPIN",
    "SPO",
    "SPPO",
    "AbstractAlgorithm",
    "AbstractMirrorRule",
    "AbstractReferenceSchedule",
    "AbstractSchedule",
    "AbstractUpdateRule",
    "Averaged",
    "AveragedState",
    "EMAState",
    "ExactProx",
    "Extragradient",
    "Geometric",
    "HistoryMirrorDescent",
    "HistoryState",
    "InverseTime",
    "IterativeDPO",
    "IterativeIPO",
    "IterativeRLHF",
    "MirrorDescent",
    "MovingReference",
    "NashEMA",
    "NashMD",
    "NashMDPG",
    "NashMirrorProx",
    "NashProx",
    "OnlineDPO",
    "OnlineIPO",
    "OnlineIPOGradient",
    "OptimisticMWU",
    "OptimisticState",
    "RegularizedMirrorDescent",
    "State",
    "at",
    "flip_corrected",
]
