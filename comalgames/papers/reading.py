"""What the smaller papers share: distances to the cycle's equilibria, and ways to read a sweep's results."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from comalgames.equilibria import qre
from comalgames.experiments.spec import Data
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import Metric, kl_to
from comalgames.papers.comal_setting import START

NEW = "not in the paper"


def distances(temperature: float) -> Any:
    """For `game_metrics`: KL from the equilibrium regularized around COMAL's start."""

    def of_game(game: PreferenceGame) -> dict[str, Metric]:
        regularized = jnp.log(jnp.asarray(qre(game, temperature, START)))
        return {"kl_to_regularized": kl_to(regularized)}

    return of_game


def curve(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> np.ndarray:
    """What was recorded along a run on an experiment's first game, without padding."""
    row = data[experiment][variable].sel(algorithm=algorithm, seed=0).values[0]
    return np.asarray(row[np.isfinite(row)])


def last(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> float:
    """The last record."""
    return float(curve(data, experiment, algorithm, variable)[-1])


def largest_late(data: Data, experiment: str, algorithm: str, variable: str = "duality_gap") -> float:
    """The largest record of the last quarter of a run."""
    row = curve(data, experiment, algorithm, variable)
    return float(row[-len(row) // 4 :].max())
