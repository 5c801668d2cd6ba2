"""Claim A10: through which published losses COMAL's inner step can be taken."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import optax

from comalgames import games
from comalgames.algorithms import (
    COMAL,
    MWU,
    AbstractAlgorithm,
    MirrorDescent,
)
from comalgames.equilibria import nash
from comalgames.experiments import Claim, Experiment, Figure, Panel, at_least, at_most, between
from comalgames.experiments.spec import Data
from comalgames.feedback import AbstractFeedback, Exact
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.papers.comal_setting import NEW, RLHF, START, TEMPERATURE, cycle_game
from comalgames.parametric import Parametric, Tabular, objectives


def learner(rule: Any, loss: Any, learning_rate: float, num_fit_steps: int = 60) -> Parametric:
    """Softmax of one logit per answer, following `rule` by plain gradient descent on `loss`."""
    return Parametric(rule, Tabular(), None, optax.sgd(learning_rate), num_fit_steps, loss)


# COMAL's inner step through each loss. A Bradley-Terry fit is four times as steep as a win rate near a tie,
# so DPO takes a quarter of the step, at four times the temperature. RLHF maximizes reward minus temperature *
# KL(policy || reference), one gradient step at a time, with the win rate against the current policy as its
# reward (pull 1); KTO has the same reference. One gradient step on uniform pairs, of size n / 4, goes the
# whole way to RLHF's maximum: its rounds are exact.
PLAIN = MirrorDescent(1.0, TEMPERATURE)

INNER_LOSSES: Mapping[str, AbstractAlgorithm[Any]] = {
    "IPO/INPO regression": learner(COMAL(PLAIN, 20), objectives.LabelledPairs(), 0.5),
    "damped on-policy DPO": learner(COMAL(MirrorDescent(0.25, 0.4), 20), objectives.Logistic(), 0.5),
    "RSPO's squares": learner(COMAL(PLAIN, 20), objectives.Pointwise(), 0.5),
    "RLHF, reward refreshed": learner(COMAL(RLHF, 60), objectives.PolicyGradient(), 3.0, 1),
    "RLHF, exact rounds": learner(COMAL(RLHF, 1), objectives.Regression(), 3 / 4, 1),
    "MWU with RLHF's step": MWU(1 / TEMPERATURE),
    "KTO's gradient steps": learner(COMAL(RLHF, 60), objectives.KTO(), 3.0, 1),
}


def log_odds_game() -> PreferenceGame:
    """The cycle's log-odds of preferences as payoffs, scaled to a largest of 1/2: a score reward's game."""
    skew = np.asarray(games.comal_cycle().skew)
    odds = np.log(0.5 + np.triu(skew)) - np.log(0.5 - np.triu(skew))
    odds = np.triu(odds, 1)
    return PreferenceGame.from_skew((odds - odds.T) / (2 * np.abs(odds).max()))


def log_odds_feedback(game: AbstractGame) -> AbstractFeedback:
    """Exact feedback from the log-odds of the cycle."""
    return Exact(log_odds_game())


def late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The largest gap over the last twentieth of the records of a run on an experiment's only game."""
    run = data[experiment].sel(algorithm=algorithm, seed=0).isel(game=0)
    if str(run["status"].values) != "completed":
        return float("nan")
    row = run["duality_gap"].values
    row = row[np.isfinite(row)]  # what is not is padding
    return float(row[-max(1, len(row) // 20) :].max())


def smallest_later_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The smallest gap in the second half of a run on an experiment's only game, over its seeds."""
    runs = data[experiment].sel(algorithm=algorithm).isel(game=0)
    if not np.all(runs["status"].values == "completed"):
        return float("nan")
    rows = runs["duality_gap"].values
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    return float(rows[:, rows.shape[1] // 2 :].min())


def distance_to_mwu(data: Data) -> float:
    """Largest difference of a probability between RLHF's exact rounds and MWU, over 50 steps."""
    runs = data["inner losses"]["policy"].isel(game=0, seed=0)
    both = [runs.sel(algorithm=name).values[:6] for name in ("RLHF, exact rounds", "MWU with RLHF's step")]
    return float(np.abs(both[0] - both[1]).max())


def kto_turns(data: Data) -> float:
    """How often KTO's likeliest answer changes in the second half of the run."""
    path = data["inner losses"]["policy"].isel(game=0, seed=0).sel(algorithm="KTO's gradient steps").values
    likeliest = path[len(path) // 2 :].argmax(axis=-1)
    return float(np.count_nonzero(np.diff(likeliest)))


def score_limit_error(data: Data) -> float:
    """Largest difference of a probability between COMAL on scores and the Nash policy of the score game."""
    reached = data["score reward"]["final_policy"].values.reshape(-1)
    return float(np.abs(reached - nash(log_odds_game()).policy).max())


SECTION = "COMAL, on the losses that an inner step may use"


EXPERIMENTS = (
    Experiment(
        "inner losses",
        "Through which losses can COMAL's inner step be taken?",
        cycle_game,
        INNER_LOSSES,
        {"num_queries": 5000, "init": START, "record_every": 10, "metrics": ["policy"]},
    ),
    Experiment(
        "score reward",
        "Where does COMAL go if answers are rewarded by log-odds?",
        cycle_game,
        {"COMAL on scores": COMAL(PLAIN, 20)},
        {"num_steps": 4000, "init": START, "feedback": log_odds_feedback, "record_every": 10},
    ),
)

CLAIMS = (
    *(
        Claim(
            f"A10.{label}",
            f"COMAL's inner step can be {what}: it reaches Nash.",
            SECTION,
            "largest duality gap late in the run",
            partial(late_gap, experiment="inner losses", algorithm=name),
            at_most(1e-11),
            ("inner losses",),
        )
        for label, name, what in (
            ("IPO", "IPO/INPO regression", "the squared loss of IPO and INPO on labelled pairs"),
            ("DPO", "damped on-policy DPO", "DPO's loss on on-policy pairs, with the reference mixed in"),
            ("RSPO", "RSPO's squares", "RSPO's squared loss with its term for the reference"),
            ("RLHF", "RLHF, reward refreshed", "policy gradient on win rate minus KL, reward kept fresh"),
        )
    ),
    Claim(
        "A10.exact-RLHF",
        "RLHF trained to its maximum before the reward is refreshed, with a reference that moves every "
        "round, is multiplicative weights,",
        NEW,
        "largest difference of a probability over 50 rounds",
        distance_to_mwu,
        at_most(1e-9),
        ("inner losses",),
    ),
    Claim(
        "A10.exact-RLHF-gap",
        "and does not reach Nash.",
        NEW,
        "smallest duality gap in the second half of the run",
        partial(smallest_later_gap, experiment="inner losses", algorithm="RLHF, exact rounds"),
        at_least(0.2),
        ("inner losses",),
    ),
    Claim(
        "A10.KTO",
        "KTO's gradient steps stay away from Nash under the same moving reference,",
        NEW,
        "smallest duality gap in the second half of the run",
        partial(smallest_later_gap, experiment="inner losses", algorithm="KTO's gradient steps"),
        at_least(0.05),
        ("inner losses",),
    ),
    Claim(
        "A10.KTO-cycles",
        "and go round.",
        NEW,
        "changes of the likeliest answer in the second half of the run",
        kto_turns,
        at_least(6),
        ("inner losses",),
    ),
    Claim(
        "A10.score",
        "If the reward is a score, the log-odds of winning, COMAL reaches the Nash policy of another game,",
        NEW,
        "largest difference of a probability from the score game's Nash policy",
        score_limit_error,
        at_most(1e-12),
        ("score reward",),
    ),
    Claim(
        "A10.score-gap",
        "whose gap in win rates is not 0.",
        NEW,
        "last duality gap",
        partial(late_gap, experiment="score reward", algorithm="COMAL on scores"),
        between(0.03, 0.04),
        ("score reward",),
    ),
)

FIGURES = (
    Figure(
        "inner_losses",
        "COMAL with its inner step through each loss, all by gradient descent on one logit per answer. The "
        "squared losses, damped DPO and policy gradient with a fresh reward reach Nash; RLHF trained to its "
        "maximum in every round is multiplicative weights and jumps between answers; KTO's gradient steps "
        "cycle.",
        (
            Panel(
                "gap",
                "inner losses",
                "COMAL through six losses, three-answer cycle",
                {"until": 3000, "algorithms": tuple(name for name in INNER_LOSSES if "MWU" not in name)},
            ),
        ),
    ),
)
