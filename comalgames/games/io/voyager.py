"""The rankings of the Mariner Jupiter/Saturn 1977 trajectories, which the package ships."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from comalgames.games.io.rankings import from_rankings
from comalgames.games.preference import PreferenceGame


def mariner(exclude: Sequence[str | int] = ()) -> PreferenceGame:
    """Ten science teams' rankings of 32 trajectories for the Mariner Jupiter/Saturn 1977 (Voyager) mission.

    Trajectory 22 beats every other one in a majority of teams, and so is the Nash policy, although 35 triples
    cycle. Without 22, 25, 23 and 27 the Nash policy is mixed, on trajectories 4, 5 and 21.

    Args:
        exclude: numbers or names of trajectories to leave out, such as ("22", "25").

    Raises:
        ValueError: `exclude` names a trajectory that is not there.

    Reference: Dyer and Miles, "An Actual Application of Collective Choice Theory to the Selection of
    Trajectories for the Mariner Jupiter/Saturn 1977 Project", 1976; PrefLib data set 00003.
    """
    with resources.as_file(resources.files("comalgames") / "data" / "mariner.toc") as path:
        return from_rankings(path, exclude)


def mariner_teams(exclude: Sequence[str | int] = ()) -> PreferenceGame:
    """The ten science teams behind `mariner` as annotators, each with its own game, `[10, n, n]`.

    A team prefers what it ranks higher, always; between trajectories that it ties it is undecided, 1/2.
    `annotator_mixture(mariner_teams())` is `mariner()`.

    Args:
        exclude: numbers or names of trajectories to leave out, such as ("22", "25").

    Raises:
        ValueError: `exclude` names a trajectory that is not there.

    Reference: as `mariner`.
    """
    with resources.as_file(resources.files("comalgames") / "data" / "mariner.toc") as path:
        return from_rankings(path, exclude, by_ballot=True)
