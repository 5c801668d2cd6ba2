"""Learning rules, one file per family. Rules use the feedback interface and never a game itself."""

from comalgames.algorithms.averaged import Averaged, AveragedState
from comalgames.algorithms.base import (
    AbstractAlgorithm,
    AbstractMirrorRule,
    AbstractUpdateRule,
    State,
)
from comalgames.algorithms.comal import COMAL
from comalgames.algorithms.corrected import flip_corrected
from comalgames.algorithms.dpo import IterativeDPO, OnlineDPO
from comalgames.algorithms.extragradient import Extragradient
from comalgames.algorithms.form import Form
from comalgames.algorithms.history import HistoryMirrorDescent, HistoryState
from comalgames.algorithms.mirror_descent import INPO, MMD, MWU, SPPO, IterativeIPO, MirrorDescent
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
    MovingReference,
    NashMirrorProx,
    NashProx,
    OnlineIPO,
    OnlineIPOGradient,
)
from comalgames.algorithms.regularized import RegularizedMirrorDescent
from comalgames.algorithms.schedules import AbstractSchedule, Geometric, InverseTime, at
from comalgames.algorithms.spin import SPIN
from comalgames.algorithms.utilities import BCO, GPO, NCA
from comalgames.algorithms.when import AbstractWhen, Every, Follow, Near, NearState
from comalgames.algorithms.wrapper import AbstractRuleWrapper, AbstractWrapper

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
    "AbstractRuleWrapper",
    "AbstractSchedule",
    "AbstractUpdateRule",
    "AbstractWhen",
    "AbstractWrapper",
    "Averaged",
    "AveragedState",
    "EMAState",
    "Every",
    "ExactProx",
    "Extragradient",
    "Follow",
    "Form",
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
    "Near",
    "NearState",
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
