"""Training of language models with the package's rules, on log-probabilities of sampled answers.

The submodules `lm.tiny`, which trains with optax, and `lm.trl`, which needs torch and the other packages of
the extra `lm`, are imported at first use.
"""

import importlib
from typing import Any

from comalgames.lm import losses
from comalgames.lm.bridge import Pass, Targets, policies_of, schedule, targets
from comalgames.lm.judging import Judged, compare
from comalgames.lm.monitoring import Progress, fit_residual, progress

__all__ = [
    "Judged",
    "Pass",
    "Progress",
    "Targets",
    "compare",
    "fit_residual",
    "losses",
    "policies_of",
    "progress",
    "schedule",
    "targets",
    "tiny",
]


def __getattr__(name: str) -> Any:
    if name in ("tiny", "trl"):
        return importlib.import_module(f"comalgames.lm.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
