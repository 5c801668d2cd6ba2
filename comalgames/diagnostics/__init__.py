"""Prediction and measurement of a rule's convergence: fixed points, spectra, stability, rates, outcomes."""

from comalgames.diagnostics.fixed_points import FixedPoint
from comalgames.diagnostics.local import rotation_frequencies, spectrum
from comalgames.diagnostics.noise import Disturbed, NoiseFloor, noise_floor
from comalgames.diagnostics.outcomes import OUTCOMES, Evidence, outcome_codes
from comalgames.diagnostics.periods import best_period
from comalgames.diagnostics.prediction import Prediction, predict
from comalgames.diagnostics.rates import RateFit, fit_rate
from comalgames.diagnostics.sensitivity import Conditioning, conditioning
from comalgames.diagnostics.stability import StablePeriods, StableSteps

__all__ = [
    "OUTCOMES",
    "Conditioning",
    "Disturbed",
    "Evidence",
    "FixedPoint",
    "NoiseFloor",
    "Prediction",
    "RateFit",
    "StablePeriods",
    "StableSteps",
    "best_period",
    "conditioning",
    "fit_rate",
    "noise_floor",
    "outcome_codes",
    "predict",
    "rotation_frequencies",
    "spectrum",
]
