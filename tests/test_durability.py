"""A saved run survives a power cut: every file is on the disk before the folder has its name."""

import os
from pathlib import Path

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
