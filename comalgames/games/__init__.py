"""What is played: preference games and zero-sum games, made, drawn, disturbed or read from files."""

from comalgames.games.base import AbstractGame, PreferenceGame, ZeroSumGame
from comalgames.games.classic import comal_cycle, cycle, rock_paper_scissors
from comalgames.games.io import from_rankings, from_winrates, mariner, mariner_teams
from comalgames.games.noise import (
    add_cycle,
    annotator_mixture,
    estimated,
    flip_labels,
    flip_pairs,
    gaussian_noise,
    stack,
    unflip_labels,
)
from comalgames.games.social_choice import (
    Hodge,
    borda,
    condorcet_winner,
    copeland,
    hodge,
    majority_cycles,
    smith_set,
)
from comalgames.games.synthetic import bradley_terry, bradley_terry_mixture, random

__all__ = [
    "AbstractGame",
    "Hodge",
    "PreferenceGame",
    "ZeroSumGame",
    "add_cycle",
    "annotator_mixture",
    "borda",
    "bradley_terry",
    "bradley_terry_mixture",
    "comal_cycle",
    "condorcet_winner",
    "copeland",
    "cycle",
    "estimated",
    "flip_labels",
    "flip_pairs",
    "from_rankings",
    "from_winrates",
    "gaussian_noise",
    "hodge",
    "majority_cycles",
    "mariner",
    "mariner_teams",
    "random",
    "rock_paper_scissors",
    "smith_set",
    "stack",
    "unflip_labels",
]
