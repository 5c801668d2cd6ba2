"""Games from tables of win rates: arrays, data frames and CSV files."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from comalgames import validation
from comalgames.games.io.files import read, without
from comalgames.games.preference import PreferenceGame

# How far P + P.T is from 1 by the rounding of decimals such as 0.9 and 0.1 alone: not worth a warning.
ROUNDING = 4 * float(np.finfo(np.float64).eps)


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
    return without(PreferenceGame(table, names), exclude)


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
    reader = csv.reader(io.StringIO(read(path), newline=""), strict=True)
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
