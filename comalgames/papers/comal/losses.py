"""Claim A10: the published losses with which COMAL's inner step can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import optax

from comalgames import games
from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.equilibria import nash
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Panel,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.feedback import AbstractFeedback, Exact
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.papers.reading import curve, late_swing, turns
from comalgames.papers.setting import (
    OURS,
    RLHF,
    START,
    TEMPERATURE,
    cycle_game,
    on_both,
    with_losing_answer,
)
from comalgames.parametric import Parametric, Tabular, objectives


def learner(rule: Any, loss: Any, learning_rate: float, num_fit_steps: int) -> Parametric:
    """Softmax of one logit per answer, following `rule` by plain gradient descent on `loss`."""
    return Parametric(rule, Tabular(), None, optax.sgd(learning_rate), num_fit_steps, loss)


# COMAL's inner step through each loss. A Bradley-Terry fit is four times as steep as a win rate near a tie,
# so DPO takes a quarter of the step, at four times the temperature. RLHF maximizes reward minus temperature *
# KL(policy || reference), one gradient step at a time, with the win rate against the current policy as its
# reward (pull 1); KTO has the same reference. One gradient step on uniform pairs, of size n / 4, goes the
# whole way to RLHF's maximum: its rounds are exact.
PLAIN = MirrorDescent(1.0, TEMPERATURE)
PERIOD, LONG_PERIOD = 20, 60
MANY: Mapping[str, Any] = {"learning_rate": 0.5, "num_fit_steps": 60}
ONE: Mapping[str, Any] = {"learning_rate": 3.0, "num_fit_steps": 1}

EXACT_ROUNDS, KTO = "RLHF, exact rounds", "KTO's gradient steps"
INNER_LOSSES: Mapping[str, Any] = {
    "IPO/INPO regression": partial(learner, COMAL(PLAIN, PERIOD), objectives.LabelledPairs(), **MANY),
    "damped on-policy DPO": partial(
        learner, COMAL(MirrorDescent(0.25, 0.4), PERIOD), objectives.Logistic(), **MANY
    ),
    "RSPO's squares": partial(learner, COMAL(PLAIN, PERIOD), objectives.Pointwise(), **MANY),
    "RLHF, reward refreshed": partial(learner, COMAL(RLHF, LONG_PERIOD), objectives.PolicyGradient(), **ONE),
    EXACT_ROUNDS: partial(
        learner, COMAL(RLHF, 1), objectives.Regression(), learning_rate=3 / 4, num_fit_steps=1
    ),
    KTO: partial(learner, COMAL(RLHF, LONG_PERIOD), objectives.KTO(), **ONE),
}

CONVERGING = ("IPO/INPO regression", "damped on-policy DPO", "RSPO's squares", "RLHF, reward refreshed")


def log_odds_game() -> PreferenceGame:
    """The game whose payoffs are the log-odds of the cycle, scaled to a maximum of 1/2."""
    skew = np.asarray(games.comal_cycle().skew)
    odds = np.log(0.5 + np.triu(skew)) - np.log(0.5 - np.triu(skew))
    odds = np.triu(odds, 1)
    return PreferenceGame.from_skew((odds - odds.T) / (2 * np.abs(odds).max()))


def log_odds_feedback(game: AbstractGame) -> AbstractFeedback:
    """Exact feedback from the log-odds of the cycle."""
    return Exact(log_odds_game())


@reads()
def late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The largest gap over the last twentieth of the records of a run; nan if it was not completed."""
    if str(data[experiment]["status"].sel(algorithm=algorithm, seed=0).values[0]) != "completed":
        return float("nan")
    row = curve(data, experiment, algorithm)
    return float(row[-max(1, len(row) // 20) :].max())


@reads("inner losses")
def difference_from_weights(data: Data, algorithm: str, step_size: float, num_records: int) -> float:
    """Largest difference of a probability from multiplicative weights in NumPy, over the first records."""
    runs = data["inner losses"].sel(algorithm=algorithm, seed=0).isel(game=0)
    skew, logp, path = np.asarray(games.comal_cycle().skew), np.log(START), []
    for _ in range(int(runs["steps"].values[num_records - 1]) + 1):
        p = np.exp(logp - logp.max())
        path.append(p / p.sum())
        logp = np.log(path[-1]) + step_size * skew @ path[-1]
    steps = runs["steps"].values[:num_records].astype(int)
    return float(np.abs(runs["policy"].values[:num_records] - np.array(path)[steps]).max())


@reads("inner losses")
def difference_from_kto(
    data: Data, step_size: float, period: int, learning_rate: float, num_records: int
) -> float:
    """Largest difference of a probability from gradient steps on KTO's loss in NumPy, over the first records.

    For answers y of the policy p, labelled as wins with the win rates P, the loss is the mean of

        P (1 - sigmoid(r - z)) + (1 - P) (1 - sigmoid(z - r)),    r = beta log(p / reference),

    with beta = 1 / step_size. The draws and z = beta KL(p || reference) are held fixed: the derivative with
    respect to r is -p (2 P - 1) sigmoid'(r - z), and r has beta times the derivative of log p.
    """
    runs = data["inner losses"].sel(algorithm=KTO, seed=0).isel(game=0)
    steps = runs["steps"].values[:num_records].astype(int)
    preference, path = np.asarray(games.comal_cycle().preference), [np.array(START)]
    logits = reference = np.log(START)
    for k in range(steps[-1]):
        p = path[-1]
        log_ratio = np.log(p) - reference
        margin = (log_ratio - p @ log_ratio) / step_size
        slope = 1 / (4 * np.cosh(margin / 2) ** 2)
        along = p * (2 * preference @ p - 1) * slope / step_size
        logits = logits + learning_rate * (along - p * along.sum())
        path.append(np.exp(logits - np.logaddexp.reduce(logits)))
        reference = np.log(path[-1]) if (k + 1) % period == 0 else reference
    return float(np.abs(runs["policy"].values[:num_records] - np.array(path)[steps]).max())


@reads("score reward")
def score_limit_error(data: Data) -> float:
    """Largest difference of a probability between COMAL on scores and the Nash policy of the score game."""
    reached = data["score reward"]["final_policy"].values.reshape(-1)
    return float(np.abs(reached - nash(log_odds_game()).policy).max())


SECTION = "COMAL, on the losses that an inner step may use"


EXPERIMENTS = (
    *with_losing_answer(
        Experiment(
            "inner losses",
            "With which losses can COMAL's inner step be trained?",
            cycle_game,
            INNER_LOSSES,
            {"num_queries": 5000, "init": START, "record_every": 10, "metrics": ["policy"]},
        ),
        {name: INNER_LOSSES[name] for name in (*CONVERGING, EXACT_ROUNDS)},
    ),
    Experiment(
        "score reward",
        "To which policy does COMAL converge if the reward is the log-odds of winning?",
        cycle_game,
        {"COMAL on scores": COMAL(PLAIN, PERIOD)},
        {"num_steps": 4000, "init": START, "feedback": log_odds_feedback, "record_every": 10},
    ),
)

STATEMENTS = (
    *(
        Statement(
            f"COMAL whose inner step is taken through {step} reaches the Nash policy of the three-answer "
            "cycle, and comes within a duality gap of 1e-3 of it with a fourth answer that loses 90% of the "
            "time.",
            Claim(
                id=f"A10.{label}",
                quantity="largest duality gap late in the run",
                source=SECTION,
                reading=late_gap("inner losses", name),
                bound=at_most(1e-11),
            ),
            Claim(
                id=f"A10.{label}.losing",
                quantity="largest duality gap late in the run with the losing answer",
                source=SECTION,
                reading=late_gap("inner losses, losing answer", name),
                bound=at_most(1e-3),
            ),
        )
        for label, name, step in (
            ("IPO", "IPO/INPO regression", "the squared loss of IPO and INPO on labelled pairs"),
            ("DPO", "damped on-policy DPO", "DPO's loss on on-policy pairs, with the reference mixed in"),
            ("RSPO", "RSPO's squares", "RSPO's squared loss with its term for the reference"),
            ("RLHF", "RLHF, reward refreshed", "policy gradient on win rate minus KL, with a current reward"),
        )
    ),
    Statement(
        "RLHF that is trained to its maximum before the reward is refreshed, with a reference that moves "
        "every round, is multiplicative weights.",
        Claim(
            id="A10.exact-RLHF",
            quantity="largest difference of a probability over 50 rounds on the three-answer cycle",
            source="folklore (RLHFlow/Online-RLHF, issue 18)",
            reading=difference_from_weights(EXACT_ROUNDS, 1 / TEMPERATURE, 6),
            bound=at_most(1e-9),
        ),
    ),
    Statement(
        "RLHF that is trained to its maximum before the reward is refreshed, with a reference that moves "
        "every round, does not reach the Nash policy of the three-answer cycle, with and without a fourth "
        "answer that loses 90% of the time: its duality gap rises and falls.",
        Claim(
            id="A10.exact-RLHF-gap",
            quantity="largest minus smallest duality gap in the second half of the run, two games",
            source=OURS,
            reading=late_swing(on_both("inner losses"), EXACT_ROUNDS),
            bound=at_least(0.3),
        ),
    ),
    Statement(
        "KTO's gradient steps with COMAL's moving reference, through the package's loss, are those of the "
        "published loss, differentiated in NumPy, on the three-answer cycle.",
        Claim(
            id="A10.KTO",
            quantity="largest difference of a probability over 500 steps",
            source=OURS,
            reading=difference_from_kto(1 / TEMPERATURE, LONG_PERIOD, ONE["learning_rate"], 51),
            bound=at_most(1e-9),
        ),
    ),
    Statement(
        "KTO's gradient steps with COMAL's moving reference cycle among the answers of the three-answer "
        "cycle.",
        Claim(
            id="A10.KTO-cycles",
            quantity="changes of the likeliest answer in the second half of the run; 6 are two rounds",
            source=OURS,
            reading=turns("inner losses", KTO, 0.5),
            bound=at_least(6),
        ),
    ),
    Statement(
        "COMAL whose reward is a score, the log-odds of winning, reaches the Nash policy of the game with "
        "these scores as payoffs.",
        Claim(
            id="A10.score",
            quantity="largest difference of a probability from the Nash policy of the score game",
            source=OURS,
            reading=score_limit_error(),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "COMAL whose reward is a score, the log-odds of winning, does not reach the Nash policy of the "
        "preferences of the three-answer cycle.",
        Claim(
            id="A10.score-gap",
            quantity="last duality gap in win rates",
            source=OURS,
            reading=late_gap("score reward", "COMAL on scores"),
            bound=between(0.03, 0.04),
        ),
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
                {"until": 3000},
            ),
        ),
    ),
)
