"""The results of a sweep as an xarray.Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from comalgames.measures.metrics import CURVES

# What a sweep records besides the metrics, and the first axes of each after game and algorithm.
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "steps": ("record",),
    "queries": ("record",),
    "status": ("seed",),
    "final_policy": ("seed",),
    **{f"final_{curve}": ("seed",) for curve in CURVES},
}


# The records that have actions, on the last axis.
POLICIES: Mapping[str, tuple[str, ...]] = dict.fromkeys(("policy", "logp", "final_policy"), ("action",))


def dataset(
    runs: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    games: list[str],
    algorithms: list[str],
    num_seeds: int,
    notes: tuple[str, ...],
) -> Any:
    """The runs of a sweep on common axes, padded with nan where runs are shorter or lack a metric."""
    import xarray as xr

    examples: dict[str, np.ndarray] = {}
    for run in runs.values():
        examples = {**run, **examples}
    variables = {}
    for metric, example in examples.items():
        having = {names: run[metric] for names, run in runs.items() if metric in run}
        first = OUTPUTS.get(metric, ("seed", "record"))
        last = POLICIES.get(metric, ()) if example.ndim > len(first) else ()
        others = tuple(f"{metric}_axis_{k}" for k in range(example.ndim - len(first) - len(last)))
        axes = (*first, *others, *last)
        shape = tuple(max(rows.shape[k] for rows in having.values()) for k in range(example.ndim))
        fill = "" if example.dtype.kind == "U" else np.nan
        dtype = example.dtype if example.dtype.kind in "Uf" else np.float64
        values = np.full((len(games), len(algorithms), *shape), fill, dtype)
        for (game, algorithm), rows in having.items():
            where: tuple[Any, ...] = (
                games.index(game),
                algorithms.index(algorithm),
                *(slice(0, size) for size in rows.shape),
            )
            values[where] = rows
        variables[metric] = (("game", "algorithm", *axes), values)
    coords = {"game": games, "algorithm": algorithms, "seed": np.arange(num_seeds)}
    coords |= {name: variables.pop(name) for name in ("steps", "queries")}
    return xr.Dataset(variables, coords, attrs={"notes": list(notes)})
