"""Softmax policies: a model's scores, trained by an optimizer on a published loss, following any rule."""

from comalgames.parametric import models, objectives
from comalgames.parametric.learner import Parametric, ParametricState
from comalgames.parametric.models import MLP, LogLinear, Tabular

__all__ = ["MLP", "LogLinear", "Parametric", "ParametricState", "Tabular", "models", "objectives"]
