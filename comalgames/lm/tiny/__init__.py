"""Training of a tiny language model, whose answers can be enumerated, on the targets of `lm.targets`."""

from comalgames.lm.tiny.model import Transformer
from comalgames.lm.tiny.rounds import Drawn, Fit
from comalgames.lm.tiny.training import Run, train

__all__ = ["Drawn", "Fit", "Run", "Transformer", "train"]
