"""Rankings of trajectories for the Mariner Jupiter/Saturn 1977 mission, included in the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from comalgames.games.io.rankings import from_rankings
from comalgames.games.preference import PreferenceGame


def mariner(exclude: Sequence[str | int] = ()) -> PreferenceGame:
    """Ten science teams' rankings of 32 trajectories for the Mariner Jupiter/Saturn 1977 (Voyager) mission.

    A majority of teams prefers trajectory 22 to every other one, so that it is the Nash policy, although 35
    triples form majority cycles. Without 22, 25, 23 and 27 the Nash policy is mixed, with support on
    trajectories 4, 5 and 21.

    Args:
        exclude: numbers or names of trajectories to leave out, such as ("22", "25").

    Raises:
        ValueError: `exclude` names an unknown trajectory.

    Reference: Dyer and Miles, "An Actual Application of Collective Choice Theory to the Selection of
    Trajectories for the Mariner Jupiter/Saturn 1977 Project", 1976; PrefLib data set 00003.
    """
    with resources.as_file(resources.files("comalgames") / "data" / "mariner.toc") as path:
        return from_rankings(path, exclude)


def mariner_teams(exclude: Sequence[str | int] = ()) -> PreferenceGame:
    """The games of the ten science teams in `mariner` as annotators, `[10, n, n]`.

    A team prefers the trajectory that it ranks higher with probability 1, and tied trajectories with
    probability 1/2. `annotator_mixture(mariner_teams())` is `mariner()`.

    Args:
        exclude: numbers or names of trajectories to leave out, such as ("22", "25").

    Raises:
        ValueError: `exclude` names an unknown trajectory.

    Reference: see `mariner`.
    """
    with resources.as_file(resources.files("comalgames") / "data" / "mariner.toc") as path:
        return from_rankings(path, exclude, by_ballot=True)
