"""Grouping of the runs of a sweep that share one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms.base import AbstractAlgorithm
from comalgames.drivers.dataset import OUTPUTS
from comalgames.drivers.records import named
from comalgames.measures.metrics import Metric


def all_metrics(metrics: Mapping[str, Metric], of_game: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of the sweep and of one game; refuses names that occur twice or are recorded by default."""
    of_game = named(of_game)
    for name in (*metrics, *of_game):
        if name in OUTPUTS or (name in metrics and name in of_game):
            raise ValueError(f"`metrics` must not reuse the name {name!r}; choose another.")
    return {**metrics, **of_game}


def check_same_functions(metrics: Sequence[Mapping[str, Metric]]) -> None:
    """Refuse metrics of games whose functions differ: the games run together, with those of the first."""
    first = metrics[0]
    for other in metrics[1:]:
        for name in {**first, **other}:
            (mine, kind), (theirs, other_kind) = map(_functions, (first.get(name), other.get(name)))
            if kind != other_kind or any(a is not b for a, b in zip(mine, theirs, strict=True)):
                raise ValueError(
                    f"`game_metrics` must give all games of one shape the same functions, but {name!r} is "
                    f"another one for each. Keep a game's data in a field of an eqx.Module, as cg.kl_to does."
                )


def _functions(tree: Any) -> tuple[list[Any], Any]:
    """The functions in it, and its structure."""
    leaves, structure = jax.tree.flatten(tree)
    return [leaf for leaf in leaves if callable(leaf)], structure


def structure(tree: Any) -> tuple[Any, ...]:
    """The shapes and types of all numbers in a pytree, without their values."""
    return tuple((np.shape(leaf), str(getattr(leaf, "dtype", "number"))) for leaf in jax.tree.leaves(tree))


def kind(rule: AbstractAlgorithm[Any]) -> tuple[Any, ...]:
    """Classes, static fields and shapes of a rule: rules that share them run together."""
    return jax.tree.structure(rule), structure(rule)


def groups(things: Mapping[str, Any], structure: Callable[[Any], Any]) -> Iterable[list[str]]:
    """Groups of the names of objects with equal structure."""
    names: dict[Any, list[str]] = {}
    for name, thing in things.items():
        names.setdefault(structure(thing), []).append(name)
    return names.values()


def stack(trees: Sequence[Any]) -> Any:
    """Stack pytrees along a new leading axis; functions and static fields are those of the first."""
    leaves = [jax.tree.leaves(tree) for tree in trees]
    stacked = [
        same[0] if callable(same[0]) else jnp.stack([jnp.asarray(leaf) for leaf in same])
        for same in zip(*leaves, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(trees[0]), stacked)
