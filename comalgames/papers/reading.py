"""Readings that several papers share: numbers read from the results of sweeps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from comalgames.equilibria import qre
from comalgames.experiments.claims import Data, reads
from comalgames.games import PreferenceGame
from comalgames.papers.setting import STARTS, cycle_game, losing_answer_game


def curve(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> np.ndarray:
    """The records of a run on an experiment's first game with seed 0, without padding.

    Records that are nan are kept: a padded one is known by its number of steps, which is nan.
    """
    run = data[experiment].isel(game=0).sel(algorithm=algorithm, seed=0)
    return np.asarray(run[variable].values[np.isfinite(run["steps"].values)])


def each_of(experiment: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of one or several experiments."""
    return (experiment,) if isinstance(experiment, str) else experiment


def curves(
    data: Data, experiment: str | tuple[str, ...], algorithm: str, variable: str = "duality_gap"
) -> list[np.ndarray]:
    """The records of a run on the first game of one or several experiments."""
    return [curve(data, name, algorithm, variable) for name in each_of(experiment)]


def finals(
    data: Data, experiment: str | tuple[str, ...], algorithm: str
) -> Iterator[tuple[PreferenceGame, str, np.ndarray]]:
    """The game of each experiment, its name, and the final policy of a run on it."""
    known = cycle_game() | losing_answer_game()
    for each in each_of(experiment):
        (name,) = data[each]["game"].values
        yield known[name], name, data[each]["final_policy"].sel(game=name, algorithm=algorithm, seed=0).values


def ratios_per_step(kl: np.ndarray, smallest: float, axis: int = 0) -> np.ndarray:
    """KL after each step divided by KL before it; 0 where the latter shows rounding errors.

    Args:
        kl: of every policy along `axis`.
        smallest: KL from which on rounding errors are negligible.
        axis: that of the steps.
    """
    before, after = (np.take(kl, np.arange(kl.shape[axis] - 1) + k, axis) for k in (0, 1))
    rounded = before <= smallest
    return np.asarray(np.where(rounded, 0.0, after) / np.where(rounded, 1.0, before))


def queries_until(gaps: np.ndarray, level: float) -> np.ndarray:
    """The median, over games, of the queries after which the gap stays below a level; inf if it does not.

    Args:
        gaps: of the policy that enters each step, `[steps, ..., games]`.
        level: above 0.
    """
    above = ~(gaps < level)
    first = np.where(above.any(0), len(gaps) - above[::-1].argmax(0), 0).astype(float)
    first[first == len(gaps)] = np.inf
    return np.asarray(np.quantile(first, 0.5, axis=-1, method="higher"))


@reads()
def last(
    data: Data, experiment: str | tuple[str, ...], algorithm: str, variable: str = "duality_gap"
) -> float:
    """The last record, the largest over several experiments."""
    return float(np.max([row[-1] for row in curves(data, experiment, algorithm, variable)]))


@reads()
def largest_late(data: Data, experiment: str | tuple[str, ...], algorithm: str) -> float:
    """The largest duality gap in the last quarter of a run, the largest over several experiments."""
    return float(np.max([row[-len(row) // 4 :].max() for row in curves(data, experiment, algorithm)]))


@reads()
def late_swing(data: Data, experiment: str | tuple[str, ...], algorithm: str) -> float:
    """The largest minus the smallest duality gap in the second half of a run, the smallest over experiments.

    It is 0 for a policy that does not move, wherever it is.
    """
    return float(np.min([np.ptp(row[len(row) // 2 :]) for row in curves(data, experiment, algorithm)]))


@reads()
def turns(data: Data, experiment: str | tuple[str, ...], algorithm: str, share: float = 1.0) -> float:
    """Number of changes of the likeliest answer in the last share of a run, the smallest over experiments.

    It is nan if a policy is.
    """
    counts: list[float] = []
    for path in curves(data, experiment, algorithm, "policy"):
        likeliest = path[len(path) - int(share * len(path)) :].argmax(-1)
        counts.append(float(np.count_nonzero(np.diff(likeliest))) if np.isfinite(path).all() else np.nan)
    return float(np.min(counts))


@reads()
def swing(
    data: Data,
    experiment: str | tuple[str, ...],
    algorithm: str,
    num_records: int,
    variable: str = "duality_gap",
) -> float:
    """The largest minus the smallest of the last records, the smallest over experiments."""
    rows = curves(data, experiment, algorithm, variable)
    return float(np.min([np.ptp(row[-num_records:]) for row in rows]))


@reads()
def error_of_exponent(
    data: Data, experiment: str | tuple[str, ...], algorithm: str, variable: str, exponent: float
) -> float:
    """Largest error of the exponent of the number of steps, from a tenth of the run to its end."""
    errors = []
    for row in curves(data, experiment, algorithm, variable):
        first, end = (len(row) - 1) // 10, len(row) - 1
        errors.append(abs(np.log(row[end] / row[first]) / np.log(end / first) - exponent))
    return float(np.max(errors))


@reads()
def regularized_error(
    data: Data, experiment: str | tuple[str, ...], algorithm: str, temperature: float
) -> float:
    """The largest difference of a probability between final policies and regularized equilibria.

    The equilibria are regularized around the first policy of the game, by `qre`.
    """
    return float(
        np.max(
            [
                np.abs(final - qre(game, temperature, STARTS[name]).policy).max()
                for game, name, final in finals(data, experiment, algorithm)
            ]
        )
    )


@reads()
def attribute(data: Data, experiment: str, name: str) -> float:
    """A number that a measurement gave as an attribute."""
    return float(data[experiment].attrs[name])


@reads()
def largest(data: Data, experiment: str, variable: str) -> float:
    """The largest value of a variable."""
    return float(data[experiment][variable].max(skipna=False))


@reads()
def mixture_error(
    data: Data, experiment: str | tuple[str, ...], algorithm: str, temperature: float, share: float
) -> float:
    """The largest difference of a probability between final mixtures and the equilibria claimed for them.

    The mixture is policy^(1 - share) * start^share, normalized; the claimed equilibrium is regularized
    at temperature / (1 - share).
    """
    errors = []
    for game, name, policy in finals(data, experiment, algorithm):
        mixture = policy ** (1 - share) * np.array(STARTS[name]) ** share
        expected = qre(game, temperature / (1 - share), STARTS[name]).policy
        errors.append(np.abs(mixture / mixture.sum() - expected).max())
    return float(np.max(errors))
