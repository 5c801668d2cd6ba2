"""The bridge to language models: the same rules, on the log-probabilities of sampled answers.

`lm.tiny`, which trains by optax, and `lm.trl`, which needs the extra `lm` for torch, load when first used.
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
