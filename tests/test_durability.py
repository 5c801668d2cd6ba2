"""Files that are not written to their end: no saved run has any, and the cache of the tests may have some."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from comalgames.experiments import Paper, save_run


def test_every_file_is_synced_before_the_folder_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, unsynced, renamed = set(), [], []
    sync, rename = os.fsync, Path.rename

    def fsync(number: int) -> None:
        synced.add(os.fstat(number).st_ino)
        sync(number)

    def named(path: Path, target: Path) -> Path:
        files = [file for file in path.rglob("*") if file.is_file()]
        unsynced.extend(file.name for file in files if file.stat().st_ino not in synced)
        renamed.append(len(files))
        return rename(path, target)

    def finish(folder: Path) -> None:
        (folder / "report.html").write_text("done")
        (folder / "figures").mkdir()
        (folder / "figures" / "gap.csv").write_text("0")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", named)
    data = {"m": xr.Dataset({"x": ("n", np.arange(3.0))})}
    folder = save_run(tmp_path, Paper("tiny", "A tiny paper", "nobody, 1900", (), (), ()), data, [], finish)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {"spec.json", "environment.json", "records.npz", "metrics.csv", "claims.json"}
    assert renamed == [len(names)]
    assert unsynced == []
    assert (folder / "figures" / "gap.csv").read_text() == "0"


def test_a_cache_entry_that_is_not_written_to_its_end_is_compiled_again() -> None:
    """As when another process is still writing it."""

    @jax.jit
    def half_written(x: jax.Array) -> jax.Array:
        return jnp.tanh(x) + 20261128.0

    expected = half_written(jnp.arange(3.0))
    entries = list(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("jit_half_written-*-cache"))
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:100])
    half_written.clear_cache()
    np.testing.assert_array_equal(half_written(jnp.arange(3.0)), expected)
    for entry in entries:
        entry.unlink()
