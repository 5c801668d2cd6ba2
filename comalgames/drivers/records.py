"""Names of recorded quantities: the curves of the gap, and the metrics that a user asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from comalgames import validation
from comalgames.measures.metrics import CURVES, METRICS, Metric

# What the loop calls the gaps of the last policy and of the sum of all, one array `[2, ...]`, before they
# become those curves: in a small game's loop every array that is written costs as much as the arithmetic.
GAPS = "gaps of the last policy and of the sum"


def named(metrics: Mapping[str, Metric] | Sequence[str | Metric] | None) -> dict[str, Metric]:
    """The metrics that a user asked for besides the curves of the gap, as a dict of functions by name.

    Raises:
        ValueError: a name is not known, or something is neither a name nor a function.
    """
    if metrics is None:
        return {}
    if isinstance(metrics, str) or not isinstance(metrics, Collection):
        raise ValueError(f"`metrics` must be a list or a dict, got {metrics!r}; pass [{metrics!r}].")
    pairs = (
        metrics.items() if isinstance(metrics, Mapping) else [(_name(metric), metric) for metric in metrics]
    )
    functions: dict[str, Metric] = {}
    for name, metric in pairs:
        if isinstance(metric, str):
            validation.known("metrics", metric, {*METRICS, *CURVES})
            if metric == name and name in CURVES:
                continue
        elif not callable(metric):
            raise ValueError(
                f"`metrics` must hold names or functions (game, logp) -> number, got {metric!r}."
            )
        if name in (*CURVES, GAPS) or metric in CURVES:
            name = metric if metric in CURVES else name
            raise ValueError(f"`metrics` must not reuse the name {name!r}, which is recorded anyway.")
        if name in functions:
            raise ValueError(f"`metrics` has two metrics named {name!r}; pass a dict to name them yourself.")
        functions[name] = METRICS[metric] if isinstance(metric, str) else metric
    return functions


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else str(getattr(metric, "__name__", type(metric).__name__))


def records_curves(metrics: Any) -> bool:
    """Whether the curves of the gap are to be recorded: always, unless `metrics` is empty."""
    return metrics is None or len(metrics) > 0
