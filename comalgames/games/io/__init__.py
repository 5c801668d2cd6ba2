"""Games from files and data sets."""

from comalgames.games.io.rankings import from_rankings
from comalgames.games.io.tables import from_winrates
from comalgames.games.io.voyager import mariner, mariner_teams

__all__ = ["from_rankings", "from_winrates", "mariner", "mariner_teams"]
