"""Preference games, their Nash policies, and the self-play rules that learn them, in JAX.

import comalgames as cg

game = cg.games.comal_cycle()
result = cg.solve(game, cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1)), 2_000)
"""

import importlib
import importlib.util
from typing import Any

import lazy_loader

__version__ = "0.1.0"

# Names are loaded when they are first used, so that an import costs little. `__init__.pyi` is the same list
# for type checkers. The names of algorithms are those that `comalgames.algorithms` exports.
_FOLDERS = [
    "algorithms",
    "diagnostics",
    "equilibria",
    "feedback",
    "games",
    "lm",
    "parametric",
    "regularizers",
]
_NAMES = {
    "diagnostics.diagnose": ["Diagnosis", "diagnose"],
    "diagnostics.phases": ["phase_diagram"],
    "drivers.solve": ["Result", "solve"],
    "drivers.sweep": ["grid", "sweep"],
    "drivers.trajectory": ["Trajectory", "trajectory"],
    "equilibria": [
        "NashSolution",
        "Proof",
        "QuantalSolution",
        "RobustSolution",
        "annotator_robust_nash",
        "kl_to_nash_set",
        "nash",
        "prove",
        "qre",
        "robust_nash",
        "worst_annotator_gap",
        "worst_case_gap",
    ],
    "feedback": ["AbstractFeedback", "Candidates", "Exact", "RegressedPairs", "Reward", "Sampled"],
    "games": ["AbstractGame", "PreferenceGame", "ZeroSumGame"],
    "measures.metrics": [
        "duality_gap",
        "entropy",
        "kl_to",
        "tangent_residual",
        "total_variation_to",
        "win_rates",
        "worst_win_rate",
    ],
    "measures.regularized_gap": ["regularized_gap"],
    "parametric": ["LogLinear", "MLP", "Parametric", "Tabular"],
    "plots": ["plot_diagnosis", "plot_gap", "plot_phase", "plot_simplex", "plot_win_rates"],
    "regularizers": ["RegularizerReport", "check_regularizer"],
}
# Modules of folders that are public under their own names.
_MODULES = {
    "losses": "numerics.losses",
    "metrics": "measures.metrics",
    "mirrors": "regularizers.mirrors",
    "objectives": "parametric.objectives",
    "paths": "measures.paths",
}
_load, _, _others = lazy_loader.attach(__name__, _FOLDERS, _NAMES)
_others = [*_others, *_MODULES]


def __getattr__(name: str) -> Any:
    # `from comalgames import validation` asks here before it looks for a module, also while a folder loads.
    # The algorithms may need that folder, so a module is found without them.
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name == "__all__" or (name not in _others and not name.startswith("__")):
        algorithms = importlib.import_module("comalgames.algorithms")
        if name == "__all__":
            return sorted({*_others, *algorithms.__all__})
        if name in algorithms.__all__:
            return getattr(algorithms, name)
    return _load(name)


def __dir__() -> list[str]:
    return [*__getattr__("__all__"), "__version__"]
