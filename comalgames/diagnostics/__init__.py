"""What a rule will do, told in advance: how the game turns policies, and what a step makes of a deviation."""

from comalgames.diagnostics.local import rotation_frequencies, spectrum
from comalgames.diagnostics.noise import Disturbed, NoiseFloor, noise_floor

__all__ = ["Disturbed", "NoiseFloor", "noise_floor", "rotation_frequencies", "spectrum"]
