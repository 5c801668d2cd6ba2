"""Claims A5 and A9: with exact inner solves KL from Nash never rises in a step of COMAL, but its gap may."""

from __future__ import annotations

from functools import partial

import numpy as np

from comalgames.algorithms import COMAL, ExactProx
from comalgames.experiments import Claim, Data, Experiment, Figure, Statement, at_least, at_most, reads
from comalgames.games import comal_cycle
from comalgames.papers.setting import OURS, START, cycle_and_random_games, cycle_game, kl_to_nash

TEMPERATURES = (0.03, 0.1, 0.3, 1.0, 3.0)
HIGH = (0.3, 1.0, 3.0)

# Newton's method is quadratic and starts at the last policy: at temperature 0.3 it needs 6 steps.
NEWTON_STEPS = 12

ON_GAMES, ON_CYCLE = "exact steps", "exact steps from the start"
BOTH = (ON_GAMES, ON_CYCLE)

RULES = {f"temperature {t}": COMAL(ExactProx(t), period=1) for t in TEMPERATURES}


def rise(data: Data, experiment: str, quantity: str, temperatures: tuple[float, ...]) -> float:
    """The largest rise of a recorded quantity from one step to the next, over all games."""
    runs = data[experiment][quantity].sel(algorithm=[f"temperature {t}" for t in temperatures], seed=0)
    return float(np.diff(runs.values, axis=-1).max())


@reads(*BOTH)
def largest_rise_of_kl(data: Data, temperatures: tuple[float, ...]) -> float:
    """The largest rise of KL to Nash in a step."""
    return float(np.max([rise(data, name, "kl_to_nash", temperatures) for name in BOTH]))


@reads(ON_CYCLE)
def smallest_rise_of_gap(data: Data, temperatures: tuple[float, ...]) -> float:
    """The largest rise of the duality gap in a step, minimized over the temperatures."""
    return float(np.min([rise(data, ON_CYCLE, "duality_gap", (t,)) for t in temperatures]))


@reads(*BOTH)
def smallest_fall_of_kl(data: Data) -> float:
    """KL(Nash || start) / KL(Nash || last policy), minimized over games and temperatures."""
    falls = []
    for name in BOTH:
        kl = data[name]["kl_to_nash"].sel(seed=0).values
        falls.append((kl[..., 0] / np.maximum(kl[..., -1], np.finfo(float).tiny)).min())
    return float(np.min(falls))


def gaps_in_numpy(temperature: float, num_steps: int) -> np.ndarray:
    """The duality gap along exact COMAL on the cycle; each step is solved by Newton's method in NumPy.

    With x = log p - log reference and the payoffs S, the step solves x = S p / temperature up to a constant.
    """
    skew, logp, gaps = np.asarray(comal_cycle().skew), np.log(START), []
    for _ in range(num_steps + 1):
        p = np.exp(logp) / np.exp(logp).sum()
        gaps.append(2 * np.max(skew @ p))
        reference, logp = np.log(p), np.log(p)
        for _ in range(NEWTON_STEPS):
            p = np.exp(logp) / np.exp(logp).sum()
            covariance = np.diag(p) - np.outer(p, p)
            error = logp - reference - skew @ p / temperature
            logp = logp - np.linalg.solve(np.eye(len(p)) - skew @ covariance / temperature, error)
    return np.array(gaps)


@reads(ON_CYCLE)
def error_of_gap(data: Data, temperatures: tuple[float, ...]) -> float:
    """The largest difference of a gap from exact COMAL in NumPy."""
    runs = data[ON_CYCLE]["duality_gap"].isel(game=0).sel(seed=0)
    errors = []
    for t in temperatures:
        gaps = runs.sel(algorithm=f"temperature {t}").values
        errors.append(np.abs(gaps - gaps_in_numpy(t, len(gaps) - 1)).max())
    return float(np.max(errors))


EXPERIMENTS = (
    Experiment(
        ON_GAMES,
        "Does exact COMAL come closer to Nash with every step, at every temperature?",
        partial(cycle_and_random_games, num_games=20, num_answers=10, first_seed=100),
        RULES,
        {"num_steps": 150, "init": None, "game_metrics": kl_to_nash},
    ),
    Experiment(
        ON_CYCLE,
        "Does exact COMAL come closer to Nash from COMAL's own start on the cycle, where rotation is "
        "visible?",
        cycle_game,
        RULES,
        {"num_steps": 150, "init": START, "game_metrics": kl_to_nash},
    ),
)

STATEMENTS = (
    Statement(
        "KL(Nash, policy) never increases in a step of exact COMAL, for any of five temperatures, on the "
        "three-answer cycle and 20 random games.",
        Claim(
            id="A5",
            quantity="largest increase of KL in one step, nats",
            source="COMAL, theorem 1",
            reading=largest_rise_of_kl(TEMPERATURES),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "KL(Nash, policy) falls along every run of exact COMAL, at five temperatures, on the three-answer "
        "cycle and 20 random games.",
        Claim(
            id="A5.falls",
            quantity="smallest KL(Nash, start) / KL(Nash, last policy) over runs of 150 steps",
            source="COMAL, theorem 1",
            reading=smallest_fall_of_kl(),
            bound=at_least(1.1),
        ),
    ),
    Statement(
        "The duality gap of exact COMAL is not monotone: it rises in some step on the three-answer cycle, at "
        "each temperature from 0.3 to 3.",
        Claim(
            id="A9",
            quantity="largest increase of the duality gap in one step, smallest over three temperatures",
            source=OURS,
            reading=smallest_rise_of_gap(HIGH),
            bound=at_least(1e-3),
        ),
        Claim(
            id="A9.path",
            quantity="largest difference of the gap from Newton's method in NumPy over 150 steps",
            source=OURS,
            reading=error_of_gap(HIGH),
            bound=at_most(1e-9),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
