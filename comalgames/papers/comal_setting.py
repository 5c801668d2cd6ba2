"""What the parts of COMAL's synthetic experiment share: its game, its start, its temperature."""

from __future__ import annotations

from comalgames import games
from comalgames.algorithms import MirrorDescent
from comalgames.games import PreferenceGame

START = (0.2, 0.5, 0.3)
TEMPERATURE = 0.1

# RLHF's round: maximize reward minus temperature * KL(policy || reference), from the reference (pull 1).
RLHF = MirrorDescent(1 / TEMPERATURE, TEMPERATURE)

# The source of a claim that no paper makes.
NEW = "not in the paper"


def cycle_game() -> dict[str, PreferenceGame]:
    """The three-answer cycle."""
    return {"cycle": games.comal_cycle()}
