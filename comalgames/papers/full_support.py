"""Optimistic multiplicative weights where Nash is not unique: a linear rate, and an escape from rare answers.

Chen et al., "Unregularized Linear Convergence in Zero-Sum Game from Preference Feedback", 2025, arXiv
2512.24818. Only the abstract was seen: with a Nash policy of full support, unique or not, the last iterate
converges linearly after a burn-in, and the probability of a rarely played answer grows exponentially.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.algorithms import OptimisticMWU
from comalgames.drivers.solve import solve
from comalgames.equilibria import nash
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_most,
    reads,
)
from comalgames.games import PreferenceGame
from comalgames.papers.setting import LOSING_START, OURS, losing_answer_game

NUM_ANSWERS, EVERY = 7, 10

# Relative rotation frequencies: games of rank 2 and of rank 4, whose Nash policies have dimensions 4 and 2.
FREQUENCIES = ((1.0,), (1.0, 0.8))

# A rate is fitted where the gap is below this share of the first, and above rounding errors.
BURN_IN, SMALLEST_GAP, FEWEST = 1e-2, 1e-12, 20


def low_rank_payoffs(num_games: int, num_answers: int, frequencies: tuple[float, ...], seed: int) -> Any:
    """Payoffs of low rank with a Nash policy p of full support, `[games, answers, answers]`.

    D^(1/2) S D^(1/2), D = diag(p), is a sum of rotations in planes that are orthogonal to each other and to
    p^(1/2), so that S p = 0. Policies q with S q = 0 are Nash: near p they have dimension n - 1 - rank.
    """
    rng, payoffs = np.random.default_rng(seed), []
    for _ in range(num_games):
        root = np.sqrt(rng.dirichlet(np.full(num_answers, 3.0)))
        draws = rng.standard_normal((num_answers, 2 * len(frequencies)))
        basis, _ = np.linalg.qr(np.column_stack([root, draws]))
        planes = [(basis[:, 2 * k + 1], basis[:, 2 * k + 2]) for k in range(len(frequencies))]
        half = np.sum([w * np.outer(a, b) for w, (a, b) in zip(frequencies, planes, strict=True)], axis=0)
        skew = (half - half.T) / np.outer(root, root)
        payoffs.append(skew / (2 * np.abs(skew).max()))
    return np.stack(payoffs)


def slowest_rate(skew: np.ndarray, policy: np.ndarray, step_size: float) -> float:
    """Rate of decrease per step of the slowest mode of optimistic multiplicative weights at a Nash policy.

    A mode of frequency w, +-i w being eigenvalues of diag(policy) S, has the multipliers z of
    z^2 - z (1 + 2 i s w) + i s w = 0, where s is the step.
    """
    frequencies = np.linalg.eigvals(policy[:, None] * skew).imag
    rotating = frequencies[frequencies > np.sqrt(np.finfo(float).eps)]
    roots = [np.roots([1, -1 - 2j * step_size * w, 1j * step_size * w]) for w in rotating]
    return float(-np.log(np.abs(roots).max()))


def without_uniqueness(
    frequencies: tuple[tuple[float, ...], ...],
    num_games: int,
    num_answers: int,
    seed: int,
    step_size: float,
    num_steps: int,
    record_every: int,
) -> Any:
    """Gaps along optimistic multiplicative weights from the uniform policy; rates at the last policies."""
    import xarray as xr

    skews = np.concatenate([low_rank_payoffs(num_games, num_answers, each, seed) for each in frequencies])
    with jax.enable_x64(True):
        game = PreferenceGame.from_skew(skews)
        run = solve(game, OptimisticMWU(step_size), num_steps, record_every=record_every)
        dimensions = nash(game).dimension
    rank = 2 * np.repeat([len(each) for each in frequencies], num_games)
    rates = [slowest_rate(*each, step_size) for each in zip(skews, np.asarray(run.policy), strict=True)]
    return xr.Dataset(
        {
            "duality_gap": (("step", "game"), run.history["duality_gap"]),
            "predicted": ("game", rates),
            "dimension": ("game", np.asarray(dimensions)),
            "rank": ("game", rank),
        },
        {"step": np.arange(0, num_steps + 1, record_every)},
        {"answers": num_answers},
    )


def rare_answers(smallest: tuple[float, ...], step_size: float, num_steps: int, init: Any) -> Any:
    """Steps until an answer of the cycle, with a tiny first probability, is played half of the time."""
    import xarray as xr

    ((_, game),) = losing_answer_game().items()
    starts = np.zeros((3, len(smallest), game.num_actions))
    for rare, each in np.ndindex(starts.shape[:2]):
        others = np.where(np.arange(game.num_actions) == rare, 0.0, init)
        starts[rare, each] = others / others.sum() * (1 - smallest[each])
        starts[rare, each, rare] = smallest[each]
    stacked = PreferenceGame.from_skew(np.broadcast_to(game.skew, (*starts.shape, game.num_actions)))
    with jax.enable_x64(True):
        run = solve(stacked, OptimisticMWU(step_size), num_steps, init=starts, metrics=["policy"])
    path = np.stack([run.history["policy"][:, rare, :, rare] for rare in range(3)])
    return xr.Dataset(
        {"steps": (("answer", "probability"), (path > 0.5).argmax(1).astype(float))},
        {"answer": list(game.names[:3]), "probability": list(smallest)},
    )


@reads("without uniqueness")
def error_of_dimension(data: Data) -> float:
    """Largest difference between the dimension of the Nash set and n - 1 - rank."""
    runs = data["without uniqueness"]
    return float(np.abs(runs["dimension"] - (runs.attrs["answers"] - 1 - runs["rank"])).max(skipna=False))


@reads("without uniqueness")
def upper_quartile_of_last_gap(data: Data) -> float:
    """The upper quartile of the last gap over the games."""
    return float(data["without uniqueness"]["duality_gap"].isel(step=-1).quantile(0.75, skipna=False))


@reads("without uniqueness")
def error_of_rate(data: Data) -> float:
    """Larger relative error of the quartiles of the fitted rate, in two halves of the decrease.

    A rate is 0 in a game with too few records between burn-in and rounding errors.
    """
    runs = data["without uniqueness"]
    ratios = np.zeros((2, runs.sizes["game"]))
    for game in range(runs.sizes["game"]):
        gaps, predicted = runs["duality_gap"].values[:, game], float(runs["predicted"][game])
        (fitted,) = np.nonzero((gaps > SMALLEST_GAP) & (gaps < BURN_IN * gaps[0]))
        if len(fitted) >= FEWEST:
            for half, records in enumerate(np.array_split(fitted, 2)):
                slope = np.polyfit(runs["step"].values[records], np.log(gaps[records]), 1)[0]
                ratios[half, game] = -slope / predicted
    return float(np.abs(np.quantile(ratios, [0.25, 0.75], axis=1) - 1).max())


@reads("rare answers")
def error_of_growth(data: Data, step_size: float) -> float:
    """Largest relative error of the growth of log probability per step, which is step * advantage.

    It is read from two first probabilities; an answer that is never likely has growth 0. While an answer is
    rare, the others play the better of the two, against which the rare one has its advantage.
    """
    steps = data["rare answers"]["steps"]
    nats = float(np.log(steps["probability"][0] / steps["probability"][1]))
    skew, errors = np.asarray(games.comal_cycle().skew), []
    for k, (first, second) in enumerate(steps.values):
        growth = nats / (second - first) if min(first, second) > 0 and second != first else 0.0
        errors.append(abs(growth / (step_size * skew[k].max()) - 1))
    return float(np.max(errors))


STEP, RARE_STEP = 1.0, 0.25
CHEN = "Chen et al. 2025, arXiv 2512.24818, abstract"
GAMES = "20 random games of seven answers whose payoffs have rank 2 or 4"

STATEMENTS = (
    Statement(
        f"The Nash policies of each of {GAMES}, and in which every answer earns 0 against some policy of "
        "full support, form a set of dimension 6 - rank: they are not unique.",
        Claim(
            id="A35.dimension",
            quantity="largest difference of the dimension, 20 games",
            source=OURS,
            reading=error_of_dimension(),
            bound=at_most(0.0),
        ),
    ),
    Statement(
        "Optimistic multiplicative weights with step 1 from the uniform policy reaches Nash in the last "
        f"iterate, without regularization, on three quarters of {GAMES} and whose Nash policies of full "
        "support are not unique.",
        Claim(
            id="A35.nash",
            quantity="upper quartile of the duality gap after 20,000 steps",
            source=CHEN,
            reading=upper_quartile_of_last_gap(),
            bound=at_most(1e-8),
        ),
    ),
    Statement(
        "The duality gap of optimistic multiplicative weights with step 1 falls linearly, at the rate of the "
        f"slowest mode at the Nash policy that it reaches, on the middle half of {GAMES} and whose Nash "
        "policies of full support are not unique.",
        Claim(
            id="A35.rate",
            quantity="larger relative error of the quartiles of the rate, in two halves of the decrease",
            source=f"{CHEN} (linear); the value is ours",
            reading=error_of_rate(),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        "An answer of the three-answer cycle with a losing answer, with a first probability of 1e-24 or "
        "1e-48, grows exponentially under optimistic multiplicative weights with step 1/4: its "
        "log-probability rises by the step times its advantage over the answer that is played meanwhile.",
        Claim(
            id="A35.rare",
            quantity="largest relative error of the growth per step, three answers",
            source=f"{CHEN} (exponential); the value is ours",
            reading=error_of_growth(RARE_STEP),
            bound=at_most(0.01),
        ),
    ),
)

FIGURES = (
    Figure(
        "full_support",
        "Duality gap of optimistic multiplicative weights with step 1 on 20 games of seven answers whose "
        "Nash policies of full support are not unique: median and quartiles.",
        (
            Panel(
                "lines",
                "without uniqueness",
                "last policy",
                {"x": "step", "y": {"duality_gap": "OMWU"}, "band": "game", "ylabel": "duality gap"},
            ),
        ),
    ),
)

PAPER = Paper(
    name="full_support",
    title="Optimistic multiplicative weights converges linearly where Nash is not unique",
    source="Chen et al. 2025, arXiv 2512.24818",
    experiments=(
        Measurement(
            "without uniqueness",
            "Does the last policy converge linearly if Nash policies of full support are not unique?",
            without_uniqueness,
            {
                "frequencies": FREQUENCIES,
                "num_games": 10,
                "num_answers": NUM_ANSWERS,
                "seed": 0,
                "step_size": STEP,
                "num_steps": 20_000,
                "record_every": EVERY,
            },
        ),
        Measurement(
            "rare answers",
            "How fast does an answer of tiny probability grow?",
            rare_answers,
            {"smallest": (1e-24, 1e-48), "step_size": RARE_STEP, "num_steps": 1600, "init": LOSING_START},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
