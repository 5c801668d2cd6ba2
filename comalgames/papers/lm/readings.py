"""Readings of the runs on the tiny language model: medians or extremes over networks and prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames.experiments.claims import Data, reads
from comalgames.papers.lm.lm_runs import NUM_ROUNDS, PERIOD

# The end of a run: the records of COMAL's last period.
LATE = slice(-PERIOD, None)

SECOND_HALF = slice(NUM_ROUNDS // 2, None)


def gaps_of(data: Data, experiment: str, algorithm: str, records: slice) -> Any:
    """Duality gaps of a rule's networks over some records."""
    return data[experiment]["duality_gap"].sel(algorithm=algorithm).isel(record=records)


@reads()
def smallest_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The smallest gap in the second half of the run, over all networks and prompts."""
    return float(gaps_of(data, experiment, algorithm, SECOND_HALF).min(skipna=False))


@reads()
def smallest_swing(data: Data, experiment: str, algorithm: str) -> float:
    """The largest minus the smallest gap in the second half, the smallest over networks and prompts."""
    gaps = gaps_of(data, experiment, algorithm, SECOND_HALF)
    return float((gaps.max("record", skipna=False) - gaps.min("record", skipna=False)).min(skipna=False))


@reads("exact")
def growth_of_kl(data: Data, algorithm: str, first_record: int) -> float:
    """KL(Nash, last policy) over KL(Nash, policy after some rounds), median over networks and prompts."""
    kl = data["exact"]["kl_to_nash"].sel(algorithm=algorithm)
    return float((kl.isel(record=-1) / kl.isel(record=first_record)).median(skipna=False))


@reads()
def share_of_small_late_gaps(data: Data, experiment: str, algorithm: str, level: float) -> float:
    """The share of pairs of network and prompt whose largest gap in the last period is at most a level."""
    late = gaps_of(data, experiment, algorithm, LATE).max("record", skipna=False)
    return float((late <= level).mean())


@reads()
def late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The largest gap in the last period of the run, median over networks and prompts."""
    return float(gaps_of(data, experiment, algorithm, LATE).max("record", skipna=False).median(skipna=False))


@reads()
def mean_late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The mean gap in the last period of the run, median over networks and prompts."""
    return float(gaps_of(data, experiment, algorithm, LATE).mean("record", skipna=False).median(skipna=False))


@reads()
def distance_to_regularized(data: Data, experiment: str, algorithm: str) -> float:
    """Largest |last gap / the regularized equilibrium's - 1|, over networks and prompts."""
    runs = data[experiment]
    ratio = runs["duality_gap"].sel(algorithm=algorithm).isel(record=-1) / runs["regularized_gap"]
    return float(np.abs(ratio - 1).max(skipna=False))


@reads("sampled")
def bias_ratio(data: Data) -> float:
    """The mean late gap of INPO on drawn answers over the regularized equilibrium's, median."""
    late = gaps_of(data, "sampled", "INPO", LATE).mean("record", skipna=False)
    return float((late / data["sampled"]["regularized_gap"]).median(skipna=False))


@reads()
def regularized_over(data: Data, experiment: str, algorithm: str) -> float:
    """The regularized equilibrium's gap over a rule's largest late gap, median over networks and prompts."""
    late = gaps_of(data, experiment, algorithm, LATE).max("record", skipna=False)
    return float((data[experiment]["regularized_gap"] / late).median(skipna=False))


@reads("exact")
def distance_to_table(data: Data, algorithm: str, num_records: int | None = None) -> float:
    """Largest difference of a network's gap from its table's over the first records (None: all), median."""
    runs = data["exact"].sel(algorithm=algorithm).isel(record=slice(None, num_records))
    largest = np.abs(runs["duality_gap"] - runs["table_gap"]).max("record", skipna=False)
    return float(largest.median(skipna=False))


@reads("exact")
def median_residual(data: Data, algorithm: str, first: int, last: int | None) -> float:
    """Fit residual, median over the rounds from `first` to before `last`, networks and prompts."""
    residual = data["exact"]["fit_residual"].sel(algorithm=algorithm)
    return float(residual.isel(record=slice(first, last)).median(skipna=False))


@reads("exact")
def way_left(data: Data, algorithm: str) -> float:
    """Distance to the target at the start of the last round, nats, the largest over networks and prompts."""
    return float(data["exact"]["distance"].sel(algorithm=algorithm).isel(record=-1).max(skipna=False))


@reads("sampled")
def sampled_ratio(data: Data) -> float:
    """INPO's mean late gap over COMAL's, on drawn answers: the median over networks and prompts."""
    late = data["sampled"]["duality_gap"].isel(record=LATE).mean("record", skipna=False)
    return float((late.sel(algorithm="INPO") / late.sel(algorithm="COMAL")).median(skipna=False))


@reads("fit steps")
def gap_after_fits(data: Data, algorithm: str, num_fit_steps: int) -> float:
    """A rule's largest late gap with a number of gradient steps a round, median over networks and prompts."""
    gaps = data["fit steps"]["gap"].sel(algorithm=algorithm, fit_steps=num_fit_steps)
    return float(gaps.median(skipna=False))
