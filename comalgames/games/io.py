"""Games from files and measured win rates; the only code that reads users' files."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from comalgames import validation
from comalgames.games.base import PreferenceGame

# A file larger than this is refused before it is read: a mistake, or an attack.
MAX_BYTES = 1 << 28


def from_winrates(
    source: str | Path | Any,
    symmetrize: bool = False,
    exclude: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> PreferenceGame:
    """The game given by a table of win rates, an array or a CSV file.

    A CSV may have a header row and a first column with the actions' names; row i, column j holds how often i beats
    j. The diagonal may be empty. Nothing else may.

    Args:
        source: path of a CSV file, or an array `[n, n]` of probabilities.
        symmetrize: replace P by (P + 1 - P.T) / 2 however far P + P.T is from 1, and warn with what changed. Without it
            a P + P.T off by more than 1e-6 is an error.
        exclude: names (or row numbers, where the file has no names) of actions to leave out.
        names: what to call the actions of an array; a file names its own.

    Raises:
        ValueError: the file cannot be parsed (the message names the line), a pair is missing, or P is not a
            preference matrix.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, (str, Path)):
        if names is not None:
            raise ValueError("`names` goes with an array; a CSV file names its actions in its header.")
        names, table = _read_csv(Path(source))
    else:
        table = validation.real_array("source", source)
        if table.ndim != 2 or table.shape[0] != table.shape[1] or table.shape[0] == 0:
            raise ValueError(f"`source` must be square, [n, n] with n >= 1, got shape {table.shape}.")
        names = [str(i) for i in range(len(table))] if names is None else list(names)
    if symmetrize:
        table = _symmetrized(table, names)
    return _without(PreferenceGame(table, names), exclude)


def from_rankings(path: str | Path, exclude: Sequence[str] = ()) -> PreferenceGame:
    """The game given by complete rankings: P[i, j] = share of voters who rank i above j, a tie counting one half.

    Reads PrefLib files of complete orders, with ties (`.toc`) or without (`.soc`): header lines
    `# ALTERNATIVE NAME 1: ...`, then lines `multiplicity: 3,{1,2},4`, best first.

    Args:
        path: the file.
        exclude: numbers or names of alternatives to leave out; P is then that of the others.

    Raises:
        ValueError: a line cannot be parsed or ranks not every alternative exactly once (the message names the
            line), or `exclude` names an alternative that is not there.
        FileNotFoundError: there is no such file.

    Reference: Mattei and Walsh, "PrefLib: A Library for Preferences", 2013.
    """
    path = Path(path)
    named: dict[int, str] = {}
    ballots: list[tuple[int, int, list[list[int]]]] = []
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith("#"):
            if match := re.match(r"#\s*ALTERNATIVE NAME (\d+):\s*(.*\S)", line):
                named[int(match[1])] = match[2]
        elif line.strip():
            ballots.append((number, *_parse_ballot(line, f"{path.name}, line {number}")))
    if not ballots:
        raise ValueError(f"{path.name} holds no rankings: no line of the form 'multiplicity: 1,2,{{3,4}}'.")
    alternatives = sorted(named) or sorted(a for group in ballots[0][2] for a in group)

    wins = np.zeros((len(alternatives), len(alternatives)))
    for number, multiplicity, groups in ballots:
        ranked = [a for group in groups for a in group]
        if sorted(ranked) != alternatives:
            odd = sorted(set(ranked) ^ set(alternatives)) or sorted(
                {a for a in ranked if ranked.count(a) > 1}
            )
            raise ValueError(
                f"{path.name}, line {number}: the ranking must hold each of the {len(alternatives)} alternatives "
                f"exactly once; see {', '.join(map(str, odd))}."
            )
        place = {a: k for k, group in enumerate(groups) for a in group}
        rank = np.array([place[a] for a in alternatives])
        wins += multiplicity * ((rank[:, None] < rank[None, :]) + 0.5 * (rank[:, None] == rank[None, :]))
    voters = sum(multiplicity for _, multiplicity, _ in ballots)
    game = PreferenceGame(wins / voters, [named.get(a, str(a)) for a in alternatives])
    return _without(game, exclude, labels=[str(a) for a in alternatives])


def mariner(exclude: Sequence[str] = ()) -> PreferenceGame:
    """Ten science teams' rankings of 32 trajectories for the Mariner Jupiter/Saturn 1977 (Voyager) mission.

    Trajectory 22 beats every other one in a majority of teams, and so is the Nash policy, although 35 triples
    cycle. Without 22, 25, 23 and 27 the Nash policy is mixed, on trajectories 4, 5 and 21.

    Args:
        exclude: numbers or names of trajectories to leave out, such as ("22", "25").

    Raises:
        ValueError: `exclude` names a trajectory that is not there.

    Reference: Dyer and Miles, "An Actual Application of Collective Choice Theory to the Selection of Trajectories
    for the Mariner Jupiter/Saturn 1977 Project", 1976; PrefLib data set 00003.
    """
    with resources.as_file(resources.files("comalgames") / "data" / "mariner.toc") as path:
        return from_rankings(path, exclude)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; files up to {MAX_BYTES} are read.")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not a text file: {error.reason} at byte {error.start}.") from error


def _parse_ballot(line: str, where: str) -> tuple[int, list[list[int]]]:
    head, colon, body = line.partition(":")
    tokens = re.findall(r"\{([^{}]*)\}|([^,{}]+)", body)
    try:
        if not colon or "".join(re.sub(r"\{[^{}]*\}", "", body).split()).count("{") or int(head) < 1:
            raise ValueError
        groups = [
            [int(a) for a in (tied or single).split(",")]
            for tied, single in tokens
            if (tied + single).strip()
        ]
    except ValueError as error:
        raise ValueError(
            f"{where}: expected 'multiplicity: 1,2,{{3,4}}', got {line.strip()[:60]!r}."
        ) from error
    return int(head), groups


def _read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(_lines(path)), start=1)
        if any(cell.strip() for cell in row)
    ]
    if not rows:
        raise ValueError(f"{path.name} is empty; expected a square table of win rates.")
    names: list[str] | None = None
    first = rows[0][1]
    if any(cell and not _is_number(cell) for cell in first[1:]) or (
        len(first) == 1 and not _is_number(first[0])
    ) or (len(rows) == len(first) and not first[0]):
        names, rows = first, rows[1:]
    row_names = None
    if rows and (
        any(not _is_number(row[0]) and row[0] for _, row in rows) or len(rows[0][1]) == len(rows) + 1
    ):
        row_names, rows = [row[0] for _, row in rows], [(number, row[1:]) for number, row in rows]
        if names is not None and len(names) == len(rows) + 1:
            names = names[1:]
    size = len(rows)
    for number, row in rows:
        if len(row) != size:
            raise ValueError(
                f"{path.name}, line {number}: expected {size} win rates, one per row, got {len(row)}."
            )
    if names is not None and row_names is not None and names != row_names:
        raise ValueError(
            f"{path.name}: the header names {names}, the first column {row_names}; they must agree."
        )
    names = names or row_names or [str(i) for i in range(size)]
    if len(names) != size or len(set(names)) != size:
        raise ValueError(f"{path.name}, line 1: expected {size} different names, got {names}.")

    table = np.full((size, size), 0.5)
    for i, (number, row) in enumerate(rows):
        for j, cell in enumerate(row):
            if not cell and i == j:
                continue
            if not cell:
                raise ValueError(
                    f"{path.name}, line {number}: the win rate of {names[i]} against {names[j]} is missing."
                )
            if not _is_number(cell):
                raise ValueError(
                    f"{path.name}, line {number}: the win rate of {names[i]} against {names[j]} must be a number in "
                    f"[0, 1], got {cell!r}."
                )
            table[i, j] = float(cell)
            if not 0 <= table[i, j] <= 1:
                raise ValueError(
                    f"{path.name}, line {number}: the win rate of {names[i]} against {names[j]} must be in [0, 1], "
                    f"got {cell}."
                )
    return names, table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _symmetrized(table: np.ndarray, names: Sequence[str]) -> np.ndarray:
    change = (1 - table - table.T) / 2
    if np.any(change):
        i, j = np.unravel_index(np.abs(change).argmax(), change.shape)
        warnings.warn(
            f"symmetrize=True changed {np.count_nonzero(change)} of {change.size} win rates, by at most "
            f"{np.abs(change).max():.3g} ({names[i]} against {names[j]}: {table[i, j]:.4g} became "
            f"{table[i, j] + change[i, j]:.4g}).",
            stacklevel=3,
        )
    return table + change


def _without(game: PreferenceGame, exclude: Sequence[str], labels: Sequence[str] = ()) -> PreferenceGame:
    if isinstance(exclude, str):
        raise ValueError(
            f"`exclude` must be a list of names, got the string {exclude!r}; pass [{exclude!r}]."
        )
    index = dict(zip(game.names, range(game.num_actions), strict=True))
    index |= dict(zip(labels, range(len(labels)), strict=True))
    dropped = {index[validation.known("exclude", str(label).strip(), index)] for label in exclude}
    kept = [i for i in range(game.num_actions) if i not in dropped]
    if not kept:
        raise ValueError("`exclude` leaves no action.")
    if not dropped:
        return game
    return PreferenceGame.from_skew(game.skew[np.ix_(kept, kept)], [game.names[i] for i in kept])
