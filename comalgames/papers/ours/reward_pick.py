"""Claim N8: how often the answer with the best reward is beaten, by how far judges' scores spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.experiments import (
    Bound,
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Reading,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.numerics import bradley_terry
from comalgames.papers.setting import OURS

SPREADS = (0.5, 1.0, 2.0, 4.0)
FIVE, TWO = "five judges", "two judges"
JUDGES = {FIVE: 5, TWO: 2}

# The pick is beaten clearly if another answer wins more than this share above one half.
POINTS = 0.02

# A margin is above 0 if it exceeds rounding errors.
ROUNDING = 1e-12

# Standard errors within which a claim about a share must hold.
ERRORS = 3.0


def _scores(num_games: int, num_judges: int, num_answers: int, seed: int) -> np.ndarray:
    """Standard normal scores of random judges."""
    return np.random.default_rng(seed).normal(size=(num_games, num_judges, num_answers))


def _skews(scores: np.ndarray) -> np.ndarray:
    """Preferences minus 1/2 of the mean of Bradley-Terry judges: sigmoid(x) - 1/2 = tanh(x / 2) / 2."""
    return np.asarray(np.tanh((scores[..., :, None] - scores[..., None, :]) / 2).mean(1) / 2)


def _picks(skews: np.ndarray) -> np.ndarray:
    """The answer with the highest mean win rate in each game."""
    return np.asarray(skews.sum(-1).argmax(-1))


@jax.jit
def _rewards(skews: Any) -> Any:
    """Bradley-Terry rewards fitted on pairs drawn uniformly, for payoffs `[games, n, n]`."""
    return bradley_terry.fit(skews, jnp.full(skews.shape[:-1], -jnp.log(skews.shape[-1]))).scores


def reward_picks(
    judges: Mapping[str, int],
    spreads: tuple[float, ...],
    points: float,
    num_games: int,
    num_answers: int,
    seed: int,
    num_fitted: int,
) -> Any:
    """Share of random games in which RLHF's pick loses to another answer, by judges and spread of scores.

    The pick is the answer with the highest Bradley-Terry reward. If all pairs are compared alike, fitted
    rewards s satisfy sum_j sigmoid(s_i - s_j) = sum_j P_ij for every answer i (Zermelo 1929). The left side
    grows with s_i, so that the best reward is that of the highest mean win rate. On the first games the
    package's fit is compared with it. All spreads share one draw, so that errors of differences are paired.
    """
    import xarray as xr

    shape = len(judges), len(spreads), num_games
    beaten, clearly = np.zeros(shape, bool), np.zeros(shape, bool)
    others = np.zeros(shape[:2], int)
    for k, number in enumerate(judges.values()):
        scores = _scores(num_games, number, num_answers, seed + k)
        for j, spread in enumerate(spreads):
            skews = _skews(spread * scores)
            picks = _picks(skews)
            margins = np.take_along_axis(skews, picks[:, None, None], axis=-1)[..., 0].max(-1)
            beaten[k, j], clearly[k, j] = margins > ROUNDING, margins > points
            with jax.enable_x64(True):
                rewards = np.asarray(_rewards(jnp.asarray(skews[:num_fitted])))
            others[k, j] = np.count_nonzero(rewards.argmax(-1) != picks[:num_fitted])
    axes = "judges", "spread"
    changes = np.diff(beaten.astype(int), axis=1)
    return xr.Dataset(
        {
            "beaten": (axes, beaten.mean(-1)),
            "clearly": (axes, clearly.mean(-1)),
            "beaten error": (axes, beaten.std(-1) / np.sqrt(num_games)),
            "clearly error": (axes, clearly.std(-1) / np.sqrt(num_games)),
            "rise": (("judges", "from"), changes.mean(-1)),
            "rise error": (("judges", "from"), changes.std(-1) / np.sqrt(num_games)),
            "other rewards": (axes, others),
        },
        {"judges": list(judges), "spread": list(spreads), "from": list(spreads[:-1])},
    )


def _share(data: Data, name: str, judges: str, spread: float) -> tuple[float, float]:
    """A share of games, and its standard error."""
    cell = data["reward picks"].sel(judges=judges, spread=spread)
    return float(cell[name]), float(cell[f"{name} error"])


@reads("reward picks")
def share_at_least(data: Data, name: str, judges: str, spread: float, errors: float) -> float:
    """A share of games less some standard errors."""
    share, error = _share(data, name, judges, spread)
    return share - errors * error


@reads("reward picks")
def share_at_most(data: Data, name: str, judges: str, spread: float, errors: float) -> float:
    """A share of games plus some standard errors."""
    share, error = _share(data, name, judges, spread)
    return share + errors * error


@reads("reward picks")
def smallest_rise(data: Data, judges: str) -> float:
    """The smallest rise of the share from one spread to the next, in standard errors of the paired change."""
    runs = data["reward picks"].sel(judges=judges)
    return float((runs["rise"] / runs["rise error"]).min(skipna=False))


@reads("reward picks")
def num_other_rewards(data: Data) -> float:
    """Number of games in which the fitted reward is largest for another answer than the mean win rate is."""
    return float(data["reward picks"]["other rewards"].sum(skipna=False))


FITTED = 200
DRAWS = {"num_games": 2000, "num_answers": 10, "seed": 0, "num_fitted": FITTED}

EXPERIMENTS = (
    Measurement(
        "reward picks",
        "How often does the answer with the best reward lose to another, by how far judges' scores spread?",
        reward_picks,
        {"judges": JUDGES, "spreads": SPREADS, "points": POINTS, **DRAWS},
    ),
)

PICK = "The answer with the best Bradley-Terry reward, RLHF's pick,"
FAMILY = "random games of ten answers"
MARGIN = "three standard errors, of 2,000 games"


def _claim(name: str, quantity: str, reading: Reading, bound: Bound) -> Claim:
    return Claim(id=f"N8.{name}", quantity=quantity, source=OURS, reading=reading, bound=bound)


STATEMENTS = (
    Statement(
        f"{PICK} is beaten by another answer in at most a "
        f"tenth of {FAMILY} with five judges whose scores have a standard deviation of 0.5 nats.",
        _claim(
            "agreeing",
            f"share of the games plus {MARGIN}",
            share_at_most("beaten", FIVE, 0.5, ERRORS),
            at_most(0.1),
        ),
    ),
    Statement(
        f"{PICK} is beaten by another answer in at least three tenths of {FAMILY} with five judges "
        "whose scores have a standard deviation of 4 nats.",
        _claim(
            "disagreeing",
            f"share of the games minus {MARGIN}",
            share_at_least("beaten", FIVE, 4.0, ERRORS),
            at_least(0.3),
        ),
    ),
    Statement(
        f"{PICK} is beaten more often the further five judges' scores spread, in {FAMILY} with standard "
        "deviations of 0.5, 1, 2 and 4 nats.",
        _claim(
            "rises",
            "smallest rise of the share of games, in standard errors of the paired change",
            smallest_rise(FIVE),
            at_least(ERRORS),
        ),
    ),
    Statement(
        f"{PICK} is beaten by an answer with a win rate above 52% in at most one of a hundred {FAMILY} with "
        "five judges whose scores have a standard deviation of 0.5 nats.",
        _claim(
            "points.agreeing",
            f"share of the games plus {MARGIN}",
            share_at_most("clearly", FIVE, 0.5, ERRORS),
            at_most(0.01),
        ),
    ),
    Statement(
        f"{PICK} is beaten by an answer with a win rate above 52% in at least a fifth of {FAMILY} with five "
        "judges whose scores have a standard deviation of 4 nats.",
        _claim(
            "points.disagreeing",
            f"share of the games minus {MARGIN}",
            share_at_least("clearly", FIVE, 4.0, ERRORS),
            at_least(0.2),
        ),
    ),
    Statement(
        f"{PICK} is beaten in at least a tenth of {FAMILY} with two equal judges whose scores have a "
        "standard deviation of 2 nats, although majorities of two equal judges never cycle.",
        _claim(
            "two",
            f"share of the games minus {MARGIN}",
            share_at_least("beaten", TWO, 2.0, ERRORS),
            at_least(0.1),
        ),
    ),
    Statement(
        "The answer with the best Bradley-Terry reward, fitted on all pairs alike, is that with the highest "
        f"mean win rate, on {FITTED} {FAMILY} with two judges and with five and for each of four standard "
        "deviations of their scores.",
        _claim(
            "fit",
            f"number of games in which they differ, of {len(JUDGES) * len(SPREADS) * FITTED:,}",
            num_other_rewards(),
            at_most(0),
        ),
    ),
)

FIGURES = (
    Figure(
        "reward_picks",
        "Share of 2,000 random games of ten answers in which the answer with the best reward loses to "
        "another one, by the standard deviation of the judges' scores.",
        tuple(
            Panel(
                "lines",
                "reward picks",
                title,
                {
                    "x": "spread",
                    "y": {variable: "pick"},
                    "series": "judges",
                    "xlabel": "standard deviation of scores, nats",
                    "ylabel": "share of games",
                    "logy": False,
                },
            )
            for variable, title in (("beaten", "beaten"), ("clearly", "beaten with a win rate above 52%"))
        ),
    ),
)
