"""Games from complete rankings in PrefLib files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from comalgames.games.io.files import read, without
from comalgames.games.preference import PreferenceGame

# A line of a PrefLib file lists alternatives, best first: "multiplicity: 3,{1,2},4", where braces mark ties.
GROUP = r"[0-9]{1,9}|\{\s*[0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*\s*\}"


BALLOT = re.compile(rf"\s*([0-9]{{1,9}})\s*:\s*((?:{GROUP})(?:\s*,\s*(?:{GROUP}))*)\s*")


def from_rankings(
    path: str | Path, exclude: Sequence[str | int] = (), by_ballot: bool = False
) -> PreferenceGame:
    """The game of complete rankings: P[i, j] is the share of voters who rank i above j, a tie counting 1/2.

    Accepts PrefLib files of complete orders, with ties (`.toc`) or without (`.soc`): header lines
    `# ALTERNATIVE NAME 1: ...`, then lines `multiplicity: 3,{1,2},4`, best first.

    Args:
        path: path of the file.
        exclude: numbers or names of alternatives to leave out.
        by_ballot: whether to return the game of each ballot, `[ballots, n, n]`, instead of their mean; the
            `prompt_weights` are then the numbers of voters. `annotator_mixture` of it is the mean.

    Raises:
        ValueError: a line cannot be parsed or does not rank every alternative exactly once (the message names
            the line), or `exclude` names an unknown alternative.
        FileNotFoundError: the file does not exist.

    Reference: Mattei and Walsh, "PrefLib: A Library for Preferences", 2013.
    """
    ballots = _read_ballots(Path(path))
    if by_ballot:
        tables = np.stack([_wins(places) for places in ballots.places])
        game = PreferenceGame(tables, ballots.names, prompt_weights=ballots.voters)
    else:
        wins = sum(
            count * _wins(places) for count, places in zip(ballots.voters, ballots.places, strict=True)
        )
        game = PreferenceGame(wins / sum(ballots.voters), ballots.names)
    return without(game, exclude, ballots.labels)


class Ballots(NamedTuple):
    """The content of a file of rankings.

    Attributes:
        names: names of the alternatives.
        labels: numbers of the alternatives in the file.
        voters: number of voters of each ballot.
        places: place of each alternative in each ballot, 0 is the best, `[n]`.
    """

    names: list[str]
    labels: list[str]
    voters: list[int]
    places: list[np.ndarray]


def _read_ballots(path: Path) -> Ballots:
    names: dict[int, str] = {}  # of alternatives, by their numbers
    alternatives: list[int] = []
    voters: list[int] = []
    places: list[np.ndarray] = []
    for number, line in enumerate(read(path).splitlines(), start=1):
        where = f"{path.name}, line {number}"
        if header := re.match(r"# *ALTERNATIVE NAME ([0-9]+): *(.*)", line):
            name = header[2].strip()
            if name in names.values() or int(header[1]) in names:
                raise ValueError(f"{where}: alternative {header[1]}, {name!r}, was named before.")
            names[int(header[1])] = name
        elif line.strip() and not line.startswith("#"):
            multiplicity, groups = _parse_ballot(line, where)
            alternatives = alternatives or sorted(names or {a for group in groups for a in group})
            voters.append(multiplicity)
            places.append(_ranks(groups, alternatives, where))
    if not voters:
        raise ValueError(
            f"{path.name} contains no rankings; expected lines of the form 'multiplicity: 1,2,{{3,4}}'."
        )
    labels = [str(a) for a in alternatives]
    return Ballots([names.get(a, str(a)) for a in alternatives], labels, voters, places)


def _wins(places: np.ndarray) -> np.ndarray:
    """The win rates of one ballot: 1 if the row's alternative is ranked above the column's, 1/2 for a tie."""
    above: np.ndarray = (places[:, None] < places) + 0.5 * (places[:, None] == places)
    return above


def _parse_ballot(line: str, where: str) -> tuple[int, list[list[int]]]:
    """The number of voters of a ballot, and its groups of tied alternatives, best first."""
    ballot = BALLOT.fullmatch(line)
    if ballot is None or int(ballot[1]) == 0:
        raise ValueError(f"{where}: expected 'multiplicity: 1,2,{{3,4}}', got {line.strip()[:60]!r}.")
    groups = re.findall(GROUP, ballot[2])
    return int(ballot[1]), [[int(a) for a in group.strip("{}").split(",")] for group in groups]


def _ranks(groups: list[list[int]], alternatives: list[int], where: str) -> np.ndarray:
    """The place of each alternative in a ballot, 0 is the best."""
    ranked = [a for group in groups for a in group]
    if sorted(ranked) != alternatives:
        odd = set(ranked) ^ set(alternatives) or {a for a in ranked if ranked.count(a) > 1}
        raise ValueError(
            f"{where}: the ranking must hold each of the {len(alternatives)} alternatives exactly once; "
            f"see {', '.join(map(str, sorted(odd)))}."
        )
    place = {a: k for k, group in enumerate(groups) for a in group}
    return np.array([place[a] for a in alternatives])
