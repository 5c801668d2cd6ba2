"""What is played: preference games and two-player zero-sum games, made, drawn or read from files."""

from comalgames.games.base import AbstractGame, PreferenceGame, ZeroSumGame
from comalgames.games.classic import comal_cycle, cycle, rock_paper_scissors
from comalgames.games.io import from_rankings, from_winrates, mariner
from comalgames.games.synthetic import bradley_terry, bradley_terry_mixture, random

__all__ = [
    "AbstractGame",
    "PreferenceGame",
    "ZeroSumGame",
    "bradley_terry",
    "bradley_terry_mixture",
    "comal_cycle",
    "cycle",
    "from_rankings",
    "from_winrates",
    "mariner",
    "random",
    "rock_paper_scissors",
]
