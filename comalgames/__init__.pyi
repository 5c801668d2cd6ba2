"""Every public name and where it is defined; see `__init__.py`."""

from . import (
    algorithms as algorithms,
    diagnostics as diagnostics,
    equilibria as equilibria,
    feedback as feedback,
    games as games,
    lm as lm,
    parametric as parametric,
    regularizers as regularizers,
)
from .algorithms import *
from .diagnostics.diagnose import Diagnosis as Diagnosis, diagnose as diagnose
from .diagnostics.phases import phase_diagram as phase_diagram
from .drivers.solve import Result as Result, solve as solve
from .drivers.sweep import grid as grid, sweep as sweep
from .drivers.trajectory import Trajectory as Trajectory, trajectory as trajectory
from .equilibria import (
    NashSolution as NashSolution,
    Proof as Proof,
    QuantalSolution as QuantalSolution,
    RobustSolution as RobustSolution,
    annotator_robust_nash as annotator_robust_nash,
    kl_to_nash_set as kl_to_nash_set,
    nash as nash,
    prove as prove,
    qre as qre,
    robust_nash as robust_nash,
    worst_annotator_gap as worst_annotator_gap,
    worst_case_gap as worst_case_gap,
)
from .feedback import (
    AbstractFeedback as AbstractFeedback,
    Candidates as Candidates,
    Exact as Exact,
    RegressedPairs as RegressedPairs,
    Reward as Reward,
    Sampled as Sampled,
)
from .games import AbstractGame as AbstractGame, PreferenceGame as PreferenceGame, ZeroSumGame as ZeroSumGame
from .measures import metrics as metrics, paths as paths
from .measures.metrics import (
    duality_gap as duality_gap,
    entropy as entropy,
    kl_to as kl_to,
    tangent_residual as tangent_residual,
    total_variation_to as total_variation_to,
    win_rates as win_rates,
    worst_win_rate as worst_win_rate,
)
from .measures.regularized_gap import regularized_gap as regularized_gap
from .numerics import losses as losses
from .parametric import (
    MLP as MLP,
    LogLinear as LogLinear,
    Parametric as Parametric,
    Tabular as Tabular,
    objectives as objectives,
)
from .plots import (
    plot_diagnosis as plot_diagnosis,
    plot_gap as plot_gap,
    plot_phase as plot_phase,
    plot_simplex as plot_simplex,
    plot_win_rates as plot_win_rates,
)
from .regularizers import (
    RegularizerReport as RegularizerReport,
    check_regularizer as check_regularizer,
    mirrors as mirrors,
)

__version__: str
__all__: list[str]
