"""Preference games, their Nash policies, and the self-play rules that do or do not reach them, in JAX.

import comalgames as cg

game = cg.games.comal_cycle()
result = cg.solve(game, cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1)), 2_000)
"""

from comalgames import diagnostics, games, lm, metrics, mirrors, paths, regularizers
from comalgames.algorithms import (
    COMAL,
    INPO,
    MMD,
    MWU,
    SPPO,
    AbstractAlgorithm,
    AbstractSchedule,
    AbstractUpdateRule,
    ExactProx,
    Extragradient,
    Geometric,
    IterativeDPO,
    IterativeIPO,
    MirrorDescent,
    OptimisticMWU,
    RegularizedMirrorDescent,
    State,
    at,
    flip_corrected,
)
from comalgames.diagnose import Diagnosis, diagnose
from comalgames.equilibria import (
    NashSolution,
    RobustSolution,
    annotator_robust_nash,
    kl_to_nash_set,
    nash,
    qre,
    robust_nash,
    worst_annotator_gap,
    worst_case_gap,
)
from comalgames.feedback import AbstractFeedback, Candidates, Exact, RegressedPairs, Sampled
from comalgames.games import AbstractGame, PreferenceGame, ZeroSumGame
from comalgames.metrics import (
    duality_gap,
    entropy,
    kl_to,
    regularized_gap,
    tangent_residual,
    total_variation_to,
    win_rates,
    worst_win_rate,
)
from comalgames.parametric import MLP, LogLinear, Parametric, Tabular, objectives
from comalgames.phases import phase_diagram
from comalgames.plots import plot_diagnosis, plot_gap, plot_phase, plot_simplex, plot_win_rates
from comalgames.regularizers import RegularizerReport, check_regularizer
from comalgames.solve import Result, solve
from comalgames.sweep import grid, sweep
from comalgames.trajectory import Trajectory, trajectory

__version__ = "0.1.0"

__all__ = [
    "COMAL",
    "INPO",
    "MLP",
    "MMD",
    "MWU",
    "SPPO",
    "AbstractAlgorithm",
    "AbstractFeedback",
    "AbstractGame",
    "AbstractSchedule",
    "AbstractUpdateRule",
    "Candidates",
    "Diagnosis",
    "Exact",
    "ExactProx",
    "Extragradient",
    "Geometric",
    "IterativeDPO",
    "IterativeIPO",
    "LogLinear",
    "MirrorDescent",
    "NashSolution",
    "OptimisticMWU",
    "Parametric",
    "PreferenceGame",
    "RegressedPairs",
    "RegularizedMirrorDescent",
    "RegularizerReport",
    "Result",
    "RobustSolution",
    "Sampled",
    "State",
    "Tabular",
    "Trajectory",
    "ZeroSumGame",
    "annotator_robust_nash",
    "at",
    "check_regularizer",
    "diagnose",
    "diagnostics",
    "duality_gap",
    "entropy",
    "flip_corrected",
    "games",
    "grid",
    "kl_to",
    "kl_to_nash_set",
    "lm",
    "metrics",
    "mirrors",
    "nash",
    "objectives",
    "paths",
    "phase_diagram",
    "plot_diagnosis",
    "plot_gap",
    "plot_phase",
    "plot_simplex",
    "plot_win_rates",
    "qre",
    "regularized_gap",
    "regularizers",
    "robust_nash",
    "solve",
    "sweep",
    "tangent_residual",
    "total_variation_to",
    "trajectory",
    "win_rates",
    "worst_annotator_gap",
    "worst_case_gap",
    "worst_win_rate",
]
