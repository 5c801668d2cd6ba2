"""Reading of text files, and exclusion of actions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comalgames import validation
from comalgames.games.preference import PreferenceGame

# Largest size of a file; larger files are not read.
MAX_BYTES = 1 << 28


def read(path: Path) -> str:
    """The text of a file; raises an error if it is missing, too large or not text."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{path.name} has {path.stat().st_size} bytes; the largest accepted size is {MAX_BYTES} bytes."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not a text file: {error.reason} at byte {error.start}.") from error


def without(game: PreferenceGame, exclude: Sequence[str | int], labels: Sequence[str] = ()) -> PreferenceGame:
    """The game without the actions in `exclude`, which are given by label or by name."""
    if isinstance(exclude, (str, int)):
        raise ValueError(f"`exclude` must be a list of names, got {exclude!r}; pass [{exclude!r}].")
    index = {label: i for known in (game.names, labels) for i, label in enumerate(known)}
    dropped = {index[validation.known("exclude", str(label).strip(), index)] for label in exclude}
    kept = [i for i in range(game.num_actions) if i not in dropped]
    if not kept:
        raise ValueError(f"`exclude` must leave at least one action, got all {game.num_actions} actions.")
    if not dropped:
        return game
    skew = game.skew[..., kept, :][..., kept]
    return PreferenceGame.from_skew(skew, [game.names[i] for i in kept], game.prompt_weights)
