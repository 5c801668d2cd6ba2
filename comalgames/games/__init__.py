"""Preference games and zero-sum games: classic, random, designed, noisy, and from files."""

from comalgames.games.base import AbstractGame
from comalgames.games.classic import comal_cycle, cycle, near_degenerate_cycle, rock_paper_scissors
from comalgames.games.combinatorial import blotto, n_ary_rock_paper_scissors, tournament, weighted_cycle
from comalgames.games.embedded import (
    RoleSymmetrized,
    clones,
    delta_game,
    many_equilibria,
    regret_matching_cycle,
    role_marginals,
    role_symmetrized,
)
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
from comalgames.games.preference import PreferenceGame
from comalgames.games.prescribed import DesignedGame, designed
from comalgames.games.social_choice import (
    Hodge,
    borda,
    condorcet_winner,
    copeland,
    hodge,
    majority_cycles,
    smith_set,
)
from comalgames.games.structured import (
    cyclic_annotators,
    disc,
    game_of_skill,
    general_preference,
    multidimensional_elo,
    transitive_plus_cyclic,
)
from comalgames.games.synthetic import bradley_terry, bradley_terry_mixture, random
from comalgames.games.zero_sum import ZeroSumGame

__all__ = [
    "AbstractGame",
    "DesignedGame",
    "Hodge",
    "PreferenceGame",
    "RoleSymmetrized",
    "ZeroSumGame",
    "add_cycle",
    "annotator_mixture",
    "blotto",
    "borda",
    "bradley_terry",
    "bradley_terry_mixture",
    "clones",
    "comal_cycle",
    "condorcet_winner",
    "copeland",
    "cycle",
    "cyclic_annotators",
    "delta_game",
    "designed",
    "disc",
    "estimated",
    "flip_labels",
    "flip_pairs",
    "from_rankings",
    "from_winrates",
    "game_of_skill",
    "gaussian_noise",
    "general_preference",
    "hodge",
    "majority_cycles",
    "many_equilibria",
    "mariner",
    "mariner_teams",
    "multidimensional_elo",
    "n_ary_rock_paper_scissors",
    "near_degenerate_cycle",
    "random",
    "regret_matching_cycle",
    "rock_paper_scissors",
    "role_marginals",
    "role_symmetrized",
    "smith_set",
    "stack",
    "tournament",
    "transitive_plus_cyclic",
    "unflip_labels",
    "weighted_cycle",
]
