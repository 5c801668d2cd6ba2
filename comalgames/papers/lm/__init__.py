"""From table to language model: a network trained by the losses of rules follows them as tables do."""

from comalgames.papers.lm.lm import PAPER

__all__ = ["PAPER"]
