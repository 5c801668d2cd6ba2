"""The bridge to language models: the same rules, on the log-probabilities of sampled answers.

`comalgames.lm.trl`, which needs the extra `lm`, is imported by name only: it brings torch.
"""

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
