"""Read users' text files, and leave out actions that they exclude."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comalgames import validation
from comalgames.games.preference import PreferenceGame

# A file larger than this is refused before it is read: a mistake, or an attack.
MAX_BYTES = 1 << 28


def read(path: Path) -> str:
    """The text of a file, refused if it is missing, too large or not text."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; files up to {MAX_BYTES} are read.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not a text file: {error.reason} at byte {error.start}.") from error


def without(game: PreferenceGame, exclude: Sequence[str | int], labels: Sequence[str] = ()) -> PreferenceGame:
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
