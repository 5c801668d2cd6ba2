"""The bridge to language models: the same rules, on the log-probabilities of sampled answers."""

from comalgames.lm import losses
from comalgames.lm.bridge import Pass, Targets, policies_of, schedule, targets

__all__ = ["Pass", "Targets", "losses", "policies_of", "schedule", "targets"]
