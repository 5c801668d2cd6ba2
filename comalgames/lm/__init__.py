"""The bridge to language models: the same rules, on the log-probabilities of sampled answers.

`lm.trl`, which needs the extra `lm`, is imported when it is first asked for: it brings torch.
"""

import importlib
from typing import Any

from comalgames.lm import losses, tiny
from comalgames.lm.bridge import Pass, Targets, policies_of, schedule, targets
from comalgames.lm.judging import Judged, compare
from comalgames.lm.progress import Progress, fit_residual, progress

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
    if name == "trl":
        return importlib.import_module("comalgames.lm.trl")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
