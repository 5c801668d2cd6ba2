"""A language model so small that all its answers can be listed, trained on the bridge's targets."""

from comalgames.lm.tiny.model import Transformer
from comalgames.lm.tiny.rounds import Drawn, Fit
from comalgames.lm.tiny.training import Run, train

__all__ = ["Drawn", "Fit", "Run", "Transformer", "train"]
