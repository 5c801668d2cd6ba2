"""Softmax policies with parameters that follow any update rule by gradient steps on a published loss."""

from comalgames.parametric import models, objectives
from comalgames.parametric.learner import Parametric, ParametricState
from comalgames.parametric.models import MLP, LogLinear, Tabular

__all__ = ["MLP", "LogLinear", "Parametric", "ParametricState", "Tabular", "models", "objectives"]
