"""From table to language model: a network trained on the losses of rules follows them as a table does."""

from comalgames.papers.lm.lm import PAPER

__all__ = ["PAPER"]
