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

# Largest deviation of P + P.T from 1 by rounding errors of decimals such as 0.9 and 0.1, without a warning.
ROUNDING = 4 * float(np.finfo(np.float64).eps)


def from_winrates(
    source: str | Path | Any,
    symmetrize: bool = False,
    exclude: Sequence[str | int] = (),
    names: Sequence[str] | None = None,
) -> PreferenceGame:
    """The game of a table of win rates: an array, a data frame or a CSV file.

    The entry in row i and column j is the win rate of i against j. A CSV file may name the actions in a
    header row, in its first column, or in both; names that look like numbers must be given in both, with an
    empty top-left cell. Diagonal cells of a CSV file may be empty, which counts as 1/2; all other cells must
    be filled.

    Args:
        source: path of a CSV file, or win rates `[n, n]` in [0, 1]: an array, or a data frame whose columns
            are named after the actions (and whose rows, if named, are in the same order).
        symmetrize: whether to replace P by (P + 1 - P.T) / 2 for any deviation of P + P.T from 1, with a
            warning that reports the change. Without it a deviation of more than 1e-6 is an error.
        exclude: names (or row numbers, for tables without names) of actions to leave out.
        names: names of the actions of an array, all different; "0", "1", ... by default.

    Raises:
        ValueError: the file cannot be parsed (the message names the line), a pair is missing, or P is not a
            preference matrix.
        FileNotFoundError: the file does not exist.

    Example:
        >>> cg.games.from_winrates([[0.5, 0.7], [0.3, 0.5]], names=["old", "new"]).names
        ('old', 'new')
    """
    if isinstance(source, (str, Path)):
        if names is not None:
            raise ValueError(
                f"`names` is only accepted with an array, got {names!r} with a file; put the names into the "
                f"CSV file."
            )
        names, table = _read_csv(Path(source))
    else:
        if hasattr(source, "columns") and hasattr(source, "to_numpy"):
            rows, columns = list(getattr(source, "index", ())), list(source.columns)
            if set(rows) == set(columns) and rows != columns:
                raise ValueError(
                    f"`source` must have its rows in the order of its columns, {columns}, got {rows}; "
                    f"reorder the rows."
                )
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
    """The names of the actions and the win rates of a CSV file; empty diagonal cells are 1/2."""
    rows = _csv_rows(path)
    header_line, header = rows.pop(0) if _has_header(rows) else (0, [])
    if not rows:
        raise ValueError(f"{path.name} contains no win rates; expected a square table of win rates.")
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
                f"{path.name}, line {line}: expected {len(rows)} win rates, one per row, got {len(cells)}."
            )
        for j, cell in enumerate(cells):
            if cell or i != j:
                what = f"{path.name}, line {line}: the win rate of {names[i]} against {names[j]}"
                table[i, j] = _win_rate(cell, what)
    return names, table


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of each non-blank row."""
    reader = csv.reader(io.StringIO(read(path), newline=""), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {reader.line_num}: not a CSV, {error}.") from error
    return [(line, cells) for line, cells in rows if any(cells)]


def _has_header(rows: list[tuple[int, list[str]]]) -> bool:
    """Whether the first row contains names: all cells are text, or the first cell, the corner, is empty.

    An empty first cell may also be the diagonal of a table without names. In that case no other cell of the
    row is text, and the first column does not repeat the first row.
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
        i, j = divmod(int(np.argmax(size)), len(table))
        warnings.warn(
            f"symmetrize=True changed {np.count_nonzero(size > ROUNDING)} of {size.size} win rates, by at "
            f"most {size.max():.3g} ({names[i]} against {names[j]}: {table[i, j]:.4g} became "
            f"{table[i, j] + change[i, j]:.4g}).",
            stacklevel=3,
        )
    changed: np.ndarray = table + change
    return changed
