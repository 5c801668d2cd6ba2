"""Games from files and measured win rates; the only code that reads users' files."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from comalgames import validation
from comalgames.games.base import PreferenceGame

# A file larger than this is refused before it is read: a mistake, or an attack.
MAX_BYTES = 1 << 28

# How far P + P.T is from 1 by the rounding of decimals such as 0.9 and 0.1 alone: not worth a warning.
ROUNDING = 4 * float(np.finfo(np.float64).eps)

# A line of a PrefLib file, best first: "multiplicity: 3,{1,2},4", where braces mark ties.
GROUP = r"[0-9]{1,9}|\{\s*[0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*\s*\}"
BALLOT = re.compile(rf"\s*([0-9]{{1,9}})\s*:\s*((?:{GROUP})(?:\s*,\s*(?:{GROUP}))*)\s*")


def from_winrates(
    source: str | Path | Any,
    symmetrize: bool = False,
    exclude: Sequence[str | int] = (),
    names: Sequence[str] | None = None,
) -> PreferenceGame:
    """The game given by a table of win rates: an array, a data frame or a CSV file.

    Row i, column j holds how often i beats j. A CSV may name the actions in a header row, in its first
    column, or in both; names that look like numbers need both, and an empty top-left cell. The diagonal of
    a CSV may be empty, which counts as 1/2. Nothing else may.

    Args:
        source: path of a CSV file, or win rates `[n, n]` in [0, 1]: an array, or a data frame whose columns
            are named after the actions (and whose rows, if named, are in the same order).
        symmetrize: replace P by (P + 1 - P.T) / 2 however far P + P.T is from 1, and warn with what changed.
            Without it a P + P.T off by more than 1e-6 is an error.
        exclude: names (or row numbers, where there are no names) of actions to leave out.
        names: what to call the actions of an array, all different; "0", "1", ... by default.

    Raises:
        ValueError: the file cannot be parsed (the message names the line), a pair is missing, or P is not a
            preference matrix.
        FileNotFoundError: there is no such file.

    Example:
        >>> cg.games.from_winrates([[0.5, 0.7], [0.3, 0.5]], names=["old", "new"]).names
        ('old', 'new')
    """
    if isinstance(source, (str, Path)):
        if names is not None:
            raise ValueError("`names` goes with an array; a CSV file names its actions itself.")
        names, table = _read_csv(Path(source))
    else:
        if hasattr(source, "columns") and hasattr(source, "to_numpy"):
            rows, columns = list(getattr(source, "index", ())), list(source.columns)
            if set(rows) == set(columns) and rows != columns:
                raise ValueError(f"`source` must have its rows in the order of its columns, {columns}.")
            names, source = columns if names is None else names, source.to_numpy()
        table = validation.win_rates("source", source)
        if table.ndim != 2:
            raise ValueError(f"`source` must be one table of win rates, [n, n], got shape {table.shape}.")
        names = [str(name) for name in (range(len(table)) if names is None else names)]
        if len(names) != len(table) or len(set(names)) != len(table):
            raise ValueError(f"`names` must name {len(table)} actions, all different, got {names}.")
    if symmetrize:
        table = _symmetrized(table, names)
    return _without(PreferenceGame(table, names), exclude)


def from_rankings(
    path: str | Path, exclude: Sequence[str | int] = (), by_ballot: bool = False
) -> PreferenceGame:
    """The game given by complete rankings: P[i, j] = share of voters who rank i above j, a tie counting 1/2.

    Reads PrefLib files of complete orders, with ties (`.toc`) or without (`.soc`): header lines
    `# ALTERNATIVE NAME 1: ...`, then lines `multiplicity: 3,{1,2},4`, best first.

    Args:
        path: the file.
        exclude: numbers or names of alternatives to leave out; P is then that of the others.
        by_ballot: give each ballot's own P instead of their mean, `[ballots, n, n]`, with `prompt_weights`
            how many voters cast it. `annotator_mixture` of it is the mean.

    Raises:
        ValueError: a line cannot be parsed or ranks not every alternative exactly once (the message names the
            line), or `exclude` names an alternative that is not there.
        FileNotFoundError: there is no such file.

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
    return _without(game, exclude, ballots.labels)


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


def _read(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; files up to {MAX_BYTES} are read.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not a text file: {error.reason} at byte {error.start}.") from error


def _read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    """The actions' names and the win rates of a CSV file, 1/2 where the diagonal is empty."""
    rows = _csv_rows(path)
    header_line, header = rows.pop(0) if _has_header(rows) else (0, [])
    if not rows:
        raise ValueError(f"{path.name} holds no win rates; expected a square table of them.")
    first_column = [cells[0] for _, cells in rows]
    names = header or [str(i) for i in range(len(rows))]
    if (header and not header[0]) or all(map(_is_text, first_column)):
        names, rows = first_column, [(line, cells[1:]) for line, cells in rows]
        if header and names not in (header, header[1:]):  # without or with a cell in the corner
            raise ValueError(
                f"{path.name}, line {header_line}: the header {header} and the first column {names} disagree."
            )
    if len(names) != len(rows) or len(set(names)) != len(names) or "" in names:
        raise ValueError(
            f"{path.name}, line {header_line or rows[0][0]}: expected {len(rows)} different names, one for "
            f"each row of win rates, got {names}."
        )

    table = np.full((len(rows), len(rows)), 0.5)
    for i, (line, cells) in enumerate(rows):
        if len(cells) != len(rows):
            raise ValueError(
                f"{path.name}, line {line}: expected {len(rows)} win rates, one a row, got {len(cells)}."
            )
        for j, cell in enumerate(cells):
            if cell or i != j:
                what = f"{path.name}, line {line}: the win rate of {names[i]} against {names[j]}"
                table[i, j] = _win_rate(cell, what)
    return names, table


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The line number and the cells of each row that is not blank."""
    reader = csv.reader(io.StringIO(_read(path), newline=""), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {reader.line_num}: not a CSV, {error}.") from error
    return [(line, cells) for line, cells in rows if any(cells)]


def _has_header(rows: list[tuple[int, list[str]]]) -> bool:
    """Whether the first row holds names: all of it is text, or its first cell, the table's corner, is empty.

    An empty first cell may also be the diagonal of a table without names. Then no cell beside it is text, and
    the first column does not repeat the first row.
    """
    first = rows[0][1] if rows else []
    if not first or first[0]:
        return bool(first) and all(map(_is_text, first))
    return any(map(_is_text, first)) or (len(first) > 2 and first == [cells[0] for _, cells in rows])


def _is_text(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell != ""
    return False


def _win_rate(cell: str, what: str) -> float:
    if not cell:
        raise ValueError(f"{what} is missing.")
    if _is_text(cell) or not 0 <= float(cell) <= 1:
        raise ValueError(f"{what} must be a number in [0, 1], got {cell!r}.")
    return float(cell)


def _symmetrized(table: np.ndarray, names: Sequence[str]) -> np.ndarray:
    change: np.ndarray = (1 - table - table.T) / 2
    size = np.abs(change)
    if size.max() > ROUNDING:
        i, j = np.unravel_index(size.argmax(), size.shape)
        warnings.warn(
            f"symmetrize=True changed {np.count_nonzero(size > ROUNDING)} of {size.size} win rates, by at "
            f"most {size.max():.3g} ({names[i]} against {names[j]}: {table[i, j]:.4g} became "
            f"{table[i, j] + change[i, j]:.4g}).",
            stacklevel=3,
        )
    changed: np.ndarray = table + change
    return changed


class Ballots(NamedTuple):
    """What a file of rankings says.

    Attributes:
        names: of the alternatives.
        labels: their numbers in the file.
        voters: how many cast each ballot.
        places: each ballot's place of each alternative, 0 the best, `[n]`.
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
    for number, line in enumerate(_read(path).splitlines(), start=1):
        where = f"{path.name}, line {number}"
        if named := re.match(r"# *ALTERNATIVE NAME ([0-9]+): *(.*)", line):
            name = named[2].strip()
            if name in names.values() or int(named[1]) in names:
                raise ValueError(f"{where}: alternative {named[1]}, {name!r}, was named before.")
            names[int(named[1])] = name
        elif line.strip() and not line.startswith("#"):
            multiplicity, groups = _parse_ballot(line, where)
            alternatives = alternatives or sorted(names or {a for group in groups for a in group})
            voters.append(multiplicity)
            places.append(_ranks(groups, alternatives, where))
    if not voters:
        raise ValueError(f"{path.name} holds no rankings: no line of the form 'multiplicity: 1,2,{{3,4}}'.")
    labels = [str(a) for a in alternatives]
    return Ballots([names.get(a, str(a)) for a in alternatives], labels, voters, places)


def _wins(places: np.ndarray) -> np.ndarray:
    """1 where the row's alternative is above the column's, 1/2 where they tie."""
    above: np.ndarray = (places[:, None] < places) + 0.5 * (places[:, None] == places)
    return above


def _parse_ballot(line: str, where: str) -> tuple[int, list[list[int]]]:
    """How many voters cast this ballot, and the groups of alternatives that they tie, best first."""
    ballot = BALLOT.fullmatch(line)
    if ballot is None or int(ballot[1]) == 0:
        raise ValueError(f"{where}: expected 'multiplicity: 1,2,{{3,4}}', got {line.strip()[:60]!r}.")
    groups = re.findall(GROUP, ballot[2])
    return int(ballot[1]), [[int(a) for a in group.strip("{}").split(",")] for group in groups]


def _ranks(groups: list[list[int]], alternatives: list[int], where: str) -> np.ndarray:
    """The place of each alternative in a ballot, 0 the best."""
    ranked = [a for group in groups for a in group]
    if sorted(ranked) != alternatives:
        odd = set(ranked) ^ set(alternatives) or {a for a in ranked if ranked.count(a) > 1}
        raise ValueError(
            f"{where}: the ranking must hold each of the {len(alternatives)} alternatives exactly once; "
            f"see {', '.join(map(str, sorted(odd)))}."
        )
    place = {a: k for k, group in enumerate(groups) for a in group}
    return np.array([place[a] for a in alternatives])


def _without(
    game: PreferenceGame, exclude: Sequence[str | int], labels: Sequence[str] = ()
) -> PreferenceGame:
    """The game among the actions that `exclude` does not mention, by label or else by name."""
    if isinstance(exclude, (str, int)):
        raise ValueError(f"`exclude` must be a list of names, got {exclude!r}; pass [{exclude!r}].")
    index = {label: i for known in (game.names, labels) for i, label in enumerate(known)}
    dropped = {index[validation.known("exclude", str(label).strip(), index)] for label in exclude}
    kept = [i for i in range(game.num_actions) if i not in dropped]
    if not kept:
        raise ValueError("`exclude` leaves no action.")
    if not dropped:
        return game
    skew = game.skew[..., kept, :][..., kept]
    return PreferenceGame.from_skew(skew, [game.names[i] for i in kept], game.prompt_weights)
