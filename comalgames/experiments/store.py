"""Save and load runs: one folder per run, complete or absent, that opens without this package.

    <paper>/<date-time>-<spec hash>/   spec.json  environment.json  run.json  records.npz  metrics.csv
                                       claims.json  report.html  figures/

No pickle anywhere: arrays are stored as plain npz members named `<experiment>/<variable>`.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import json
import math
import os
import platform
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from comalgames.experiments.claims import Data
from comalgames.experiments.run import Verdict
from comalgames.experiments.spec import Paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("comalgames", "jax", "jaxlib", "equinox", "numpy", "scipy", "xarray", "matplotlib")


# Exceptions that NumPy and zipfile raise on an archive that was cut short or changed somewhere.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


class DamagedRun(ValueError):  # noqa: N818 (the word users read, as in "damaged run")
    """A run folder whose files are missing, cut short or changed."""


def environment() -> dict[str, Any]:
    """Versions, platform and devices that the numbers were computed with."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        "packages": versions,
    }


def check_root(root: Path) -> None:
    """Raise an error before anything runs if no run folder can be written at the given place.

    Raises:
        ValueError: `root` cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {root}: {error.strerror}. Choose another folder.") from error


def save_run(
    root: Path,
    paper: Paper,
    data: Data,
    verdicts: Sequence[Verdict],
    finish: Callable[[Path], None],
    run: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run folder below `root` and return its path.

    Everything is written beside and then renamed: the folder is complete or absent.

    Args:
        root: the root of the run folders; made if need be.
        paper: what was run.
        data: the results by experiment, an `xarray.Dataset` each.
        verdicts: the claims beside what was measured.
        finish: called with the unfinished folder, to add figures and the report.
        run: JSON values about the run itself, for run.json: `quick`, and `seconds` by experiment.

    Raises:
        ValueError: an experiment's results hold Python objects.
        OSError: something could not be written; then nothing is left.
    """
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    parent = root / paper.name
    parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=parent))
    try:
        draft.chmod(0o755)
        _write_json(draft / "spec.json", {"schema": 2, **paper.spec()})
        _write_json(draft / "environment.json", environment())
        _write_json(draft / "run.json", dict(run or {}))
        _write_json(draft / "claims.json", claims_as_json(verdicts))
        _write_arrays(draft / "records.npz", data)
        _write_metrics(draft / "metrics.csv", data)
        finish(draft)
        for path in draft.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        final = parent / f"{stamp}-{paper.spec_hash()}"
        for attempt in range(1, 1000):
            try:
                draft.rename(final)
                return final
            except OSError:
                if not final.exists():
                    raise
                final = parent / f"{stamp}-{paper.spec_hash()}-{attempt}"
        raise FileExistsError(f"{final} exists.")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def load_run(folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """The spec, the results by experiment (each an `xarray.Dataset`) and the claims of a saved run.

    Args:
        folder: a run folder, such as `save_run` returned.

    Raises:
        FileNotFoundError: `folder` is not a run folder.
        DamagedRun: a file is missing, cut short or changed.
    """
    if not (folder / "spec.json").is_file():
        raise FileNotFoundError(
            f"{folder} is not a run folder: it has no spec.json. Run folders look like results/comal/<date>."
        )
    try:
        spec = json.loads((folder / "spec.json").read_text())
        claims = json.loads((folder / "claims.json").read_text())
        data = _read_arrays(folder / "records.npz")
        if not isinstance(spec["paper"], str) or not isinstance(claims, list):
            raise ValueError("spec.json or claims.json has another content than expected")
    except (TypeError, *UNREADABLE) as error:
        raise DamagedRun(f"{folder} is damaged ({error}); reproduce it again.") from error
    return spec, data, claims


def run_folders(root: Path, name: str) -> list[Path]:
    """The finished run folders of a paper below `root`, the newest first.

    Args:
        root: the root of the run folders.
        name: of the paper.
    """
    folders = [path.parent for path in (root / name).glob("[!.]*/report.html")]
    # A second run within one second ends in -1, a third in -2.
    return sorted(folders, key=lambda path: (path.name[:15], path.stat().st_mtime_ns), reverse=True)


def finished_run(root: Path, paper: Paper, quick: bool) -> Path | None:
    """The newest intact run of `paper` below `root` with the same settings, packages and `quick`; or None.

    Settings are compared by the spec hash, which knows numbers, names of functions and claims. It does not
    know the code of this package beyond its version.

    Args:
        root: the root of the run folders.
        paper: the paper to look for.
        quick: whether experiments that are not marked quick were left out.
    """
    now = environment()
    for folder in run_folders(root, paper.name):
        if paper.spec_hash() not in folder.name:
            continue
        then, run = _read_json(folder / "environment.json"), _read_json(folder / "run.json")
        same = all(then.get(key) == now[key] for key in ("python", "packages", "devices"))
        if same and run.get("quick") == quick:
            try:
                load_run(folder)
            except DamagedRun:
                continue
            return folder
    return None


def saved_seconds(root: Path, name: str) -> dict[str, float]:
    """Seconds that each experiment of a paper took in the newest run below `root` that ran it.

    Args:
        root: the root of the run folders.
        name: of the paper.
    """
    seconds: dict[str, float] = {}
    for folder in run_folders(root, name):
        seconds = {**_read_json(folder / "run.json").get("seconds", {}), **seconds}
    return seconds


def read_claims(folder: Path) -> list[dict[str, Any]]:
    """The claims of a saved run, without its records.

    Args:
        folder: a run folder.
    """
    claims: list[dict[str, Any]] = json.loads((folder / "claims.json").read_text())
    return claims


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where the file is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def claims_as_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Claims as JSON values; a number that was not measured is null."""
    return [
        {
            "id": claim.id,
            "sentence": sentence,
            "source": claim.source,
            "quantity": claim.quantity,
            "measured": measured if math.isfinite(measured) else None,
            "bound": str(claim.bound),
            "passed": None if status == "not run" else status == "passed",
            "status": status,
        }
        for sentence, claim, measured, status in verdicts
    ]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _write_arrays(path: Path, data: Data) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, dataset in data.items():
        dims = {}
        for variable in (*dataset.data_vars, *dataset.coords):
            array = dataset[variable]
            values = np.asarray(array.values)
            if values.dtype.hasobject:
                if not all(isinstance(value, str) for value in values.flat):
                    raise ValueError(
                        f"`{name}/{variable}` holds Python objects; only numbers and text are saved."
                    )
                values = values.astype(str)
            arrays[f"{name}/{variable}"] = values
            dims[str(variable)] = [str(dim) for dim in array.dims]
        coords = [str(coord) for coord in dataset.coords]
        layout = {"dims": dims, "coords": coords, "attrs": dict(dataset.attrs)}
        arrays[f"{name}/.layout"] = np.array(json.dumps(layout))
    with path.open("wb") as file:
        # Not allow_pickle=False, which NumPy before 2.2 stores as one more array. There are no objects here.
        # NumPy's stub takes the names of arrays for its own keyword `allow_pickle`.
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _read_arrays(path: Path) -> dict[str, Any]:
    import xarray as xr

    data = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in sorted({member.partition("/")[0] for member in archive.files}):
            layout = json.loads(str(archive[f"{name}/.layout"]))
            variables = {v: (dims, archive[f"{name}/{v}"]) for v, dims in layout["dims"].items()}
            coords = {v: variables.pop(v) for v in layout["coords"]}
            data[name] = xr.Dataset(variables, coords, attrs=layout["attrs"])
    return data


def _write_metrics(path: Path, data: Data) -> None:
    """The last record of every curve of every run: one row per (experiment, game, algorithm, seed)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["experiment", "game", "algorithm", "seed", "steps", "queries", "metric", "last"])
        for name, dataset in data.items():
            curves = [
                v for v in dataset.data_vars if dataset[v].dims == ("game", "algorithm", "seed", "record")
            ]
            if not curves:
                continue
            for game, algorithm in itertools.product(dataset["game"].values, dataset["algorithm"].values):
                run = dataset.sel(game=game, algorithm=algorithm)
                last = int(np.isfinite(run["steps"].values).sum()) - 1
                counts = (int(run["steps"][last]), int(run["queries"][last]))
                for seed, curve in itertools.product(dataset["seed"].values, curves):
                    value = float(run[curve].sel(seed=seed)[last])
                    writer.writerow([name, game, algorithm, seed, *counts, curve, repr(value)])


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write every figure as PDF and PNG into `folder` and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        for suffix in ("pdf", "png"):
            paths.append(folder / f"{name}.{suffix}")
            figure.savefig(paths[-1])
    return paths


def write_text(path: Path, text: str) -> None:
    """Write a text file, such as a report, so that readers see the old text or the new one.

    Args:
        path: of the file.
        text: all of it.
    """
    draft = path.with_name(f".unfinished-{path.name}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
