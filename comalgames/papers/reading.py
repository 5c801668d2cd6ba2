"""Readings that several papers share: numbers read from the results of sweeps."""

from __future__ import annotations

import numpy as np

from comalgames import games
from comalgames.equilibria import qre
from comalgames.experiments.claims import Data, reads
from comalgames.papers.setting import START


def curve(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> np.ndarray:
    """The records of a run on an experiment's first game with seed 0, without padding."""
    row = data[experiment][variable].sel(algorithm=algorithm, seed=0).values[0]
    return np.asarray(row[np.isfinite(row)])


@reads()
def last(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> float:
    """The last record."""
    return float(curve(data, experiment, algorithm, variable)[-1])


@reads()
def largest_late(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> float:
    """The largest record of the last quarter of a run."""
    row = curve(data, experiment, algorithm, variable)
    return float(row[-len(row) // 4 :].max())


@reads()
def smallest_later(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> float:
    """The smallest record of the second half of a run: large only if the run stays away from Nash."""
    row = curve(data, experiment, algorithm, variable)
    return float(row[len(row) // 2 :].min())


@reads()
def swing(data: Data, experiment: str, algorithm: str, num_records: int) -> float:
    """The largest minus the smallest duality gap of the last records."""
    return float(np.ptp(curve(data, experiment, algorithm)[-num_records:]))


@reads()
def attribute(data: Data, experiment: str, name: str) -> float:
    """A number that a measurement gave as an attribute."""
    return float(data[experiment].attrs[name])


@reads()
def largest(data: Data, experiment: str, variable: str) -> float:
    """The largest value of a variable."""
    return float(data[experiment][variable].max())


@reads()
def difference_of_final(data: Data, experiment: str, algorithm: str, other: str) -> float:
    """The largest difference of a probability between the final policies of two rules on the cycle."""
    finals = data[experiment]["final_policy"].sel(game="cycle", seed=0)
    return float(np.abs(finals.sel(algorithm=algorithm).values - finals.sel(algorithm=other).values).max())


@reads()
def mixture_error(data: Data, experiment: str, algorithm: str, temperature: float, share: float) -> float:
    """The largest difference of a probability between a final mixture and the equilibrium claimed for it.

    The mixture is policy^(1 - share) * start^share, normalized; the claimed equilibrium is regularized
    at temperature / (1 - share), on the three-answer cycle.
    """
    policy = data[experiment]["final_policy"].sel(game="cycle", algorithm=algorithm, seed=0).values
    mixture = policy ** (1 - share) * np.array(START) ** share
    expected = qre(games.comal_cycle(), temperature / (1 - share), START).policy
    return float(np.abs(mixture / mixture.sum() - expected).max())
