"""Claim N3: where answers off the support lose alike, four rules end at the Nash policy of least KL.

The KL is KL(Nash, start). To lose alike means to lose to all answers on the support of Nash by one margin.
Otherwise each rule may end at a Nash policy of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from comalgames.algorithms import COMAL, MNPO, Extragradient, MirrorDescent, OptimisticMWU
from comalgames.drivers.solve import solve
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_least, at_most, reads
from comalgames.games import PreferenceGame
from comalgames.papers.setting import OURS

RULES: Mapping[str, Any] = {
    "COMAL": COMAL(MirrorDescent(1.0, 0.1), period=20),
    "optimistic multiplicative weights": OptimisticMWU(1.5),
    "extragradient": Extragradient(2.0, 0.0),
    "MNPO": MNPO(1 / 3, 0.0, weights=(1 / 3, 1 / 3, 1 / 3)),
}

# The largest payoff of the random games; the losing answer loses to each other one by as much.
LARGEST = 0.4

# Singular values of the payoffs below this share of the largest are zero.
ZERO = 1e-10

# A rise of the dual by less is a rounding error, and no reason for a shorter step.
ROUNDING = 1e-14


def low_rank_skews(
    num_answers: int, ranks: tuple[int, ...], concentration: float, generator: np.random.Generator
) -> np.ndarray:
    """Payoffs of games with many Nash policies, one game for each rank, and a losing answer at the end.

    S = F.T J F with F p = 0, where p is a Dirichlet draw, J rotates pairs of rows and F has 2 r rows. Every
    policy in the kernel of S is Nash: these have n - 2 r - 1 dimensions around p.
    """
    skews = []
    for rank in ranks:
        root = np.sqrt(generator.dirichlet(np.full(num_answers, concentration)))
        rows = generator.normal(size=(2 * rank, num_answers))
        rows -= np.outer(rows @ root, root)
        turned = np.linalg.qr(rows.T)[0].T / root
        upper = np.triu(turned.T @ np.kron(np.eye(rank), [[0.0, 1.0], [-1.0, 0.0]]) @ turned, 1)
        skew = np.zeros((num_answers + 1, num_answers + 1))
        skew[:-1, :-1] = (upper - upper.T) * LARGEST / np.abs(upper).max()
        skew[:-1, -1], skew[-1, :-1] = LARGEST, -LARGEST
        skews.append(skew)
    return np.stack(skews)


def projection(skew: np.ndarray, start: np.ndarray, num_steps: int = 60) -> np.ndarray:
    """The policy q with S q = 0 of least KL(q, start), by Newton's method on its dual.

    It is q ~ start exp(R.T x), where the rows of R span those of S and x minimizes log sum start exp(R.T x).
    """
    _, sizes, rows = np.linalg.svd(skew)
    rows, logs = rows[sizes > ZERO * sizes[0]], np.log(start)
    x = np.zeros(len(rows))

    def dual(x: np.ndarray) -> float:
        return float(np.logaddexp.reduce(logs + rows.T @ x))

    for _ in range(num_steps):
        q = np.exp(logs + rows.T @ x - dual(x))
        slope = rows @ q
        step = np.linalg.solve((rows * q) @ rows.T - np.outer(slope, slope), slope)
        share = 1.0
        while dual(x - share * step) > dual(x) + ROUNDING:
            share /= 2
        x = x - share * step
    return np.asarray(np.exp(logs + rows.T @ x - dual(x)))


def limits(
    rules: Mapping[str, Any],
    num_answers: int,
    ranks: tuple[int, ...],
    concentration: float,
    num_starts: int,
    seed: int,
    num_steps: int,
) -> Any:
    """The last policy of each rule on each game from each start, and the projections of the starts.

    Every rule here adds multiples of S q, for policies q, to the logarithms of its policies and references,
    and mixes these. So log(policy / start) stays in the range of S, up to a constant, on the answers that
    win, because the losing answer adds the same number to all of them. A Nash policy for which this ratio is
    in the range of S satisfies the conditions of least KL(Nash, start), which is unique.
    """
    generator = np.random.default_rng(seed)
    skews = np.repeat(low_rank_skews(num_answers, ranks, concentration, generator), num_starts, axis=0)
    starts = generator.dirichlet(np.full(num_answers + 1, concentration), size=len(skews))
    game = np.repeat(np.arange(len(ranks)), num_starts)
    return _ends(rules, skews, starts, num_steps).assign(game=("run", game))


def uneven(
    rules: Mapping[str, Any],
    payoff: float,
    margins: tuple[float, ...],
    start: tuple[float, ...],
    num_steps: int,
) -> Any:
    """The same on a game of two pairs of answers and a fifth one, which loses to each by its own margin.

    Every policy with p_1 = p_2 and p_3 = p_4 that leaves out the fifth answer is Nash. While that answer has
    a probability, it adds unequal numbers to the logarithms of the others, and how long it has one differs
    from rule to rule.
    """
    skew = np.zeros((5, 5))
    skew[:2, 2:4] = [[payoff, -payoff], [-payoff, payoff]]
    skew[:4, 4] = margins
    return _ends(rules, (skew - skew.T)[None], np.array(start)[None], num_steps)


def _ends(rules: Mapping[str, Any], skews: np.ndarray, starts: np.ndarray, num_steps: int) -> Any:
    """The last policy of each rule in each run, and the Nash policies of least KL(Nash, start).

    The last answer of a game is off the support of Nash.
    """
    import xarray as xr

    expected = [
        np.append(projection(skew[:-1, :-1], start[:-1]), 0.0)
        for skew, start in zip(skews, starts, strict=True)
    ]
    with jax.enable_x64(True):
        game = PreferenceGame.from_skew(skews)
        last = [
            solve(game, rule, num_steps, init=starts, record_every=num_steps).policy
            for rule in rules.values()
        ]
    return xr.Dataset(
        {
            "policy": (("rule", "run", "answer"), np.asarray(last)),
            "gap": (("rule", "run"), 2 * np.einsum("gij,rgj->rgi", skews, np.asarray(last)).max(-1)),
            "projection": (("run", "answer"), np.asarray(expected)),
        },
        {"rule": list(rules)},
    )


@reads("which Nash policy")
def distance(data: Data, rule: str) -> float:
    """The largest difference of a probability between a rule's last policies and the projections."""
    runs = data["which Nash policy"]
    return float(np.abs(runs["policy"].sel(rule=rule) - runs["projection"]).max(skipna=False))


@reads("which Nash policy")
def distance_between_starts(data: Data, rule: str, largest_gap: float) -> float:
    """The smallest distance, over games, of the last policies from two starts; nan if one is not Nash."""
    runs = data["which Nash policy"]
    policy, game = runs["policy"].sel(rule=rule).values, runs["game"].values
    if not runs["gap"].sel(rule=rule).max(skipna=False) <= largest_gap:
        return float("nan")
    pairs = [policy[game == number][:2] for number in np.unique(game)]
    return float(np.min([np.abs(first - second).max() for first, second in pairs]))


@reads("which Nash policy, uneven margins")
def least_distance(data: Data, largest_gap: float) -> float:
    """The smallest distance, over rules, of the last policy from the projection; nan if one is not Nash."""
    runs = data["which Nash policy, uneven margins"]
    if not runs["gap"].max(skipna=False) <= largest_gap:
        return float("nan")
    differences = np.abs(runs["policy"] - runs["projection"]).max(("run", "answer"), skipna=False)
    return float(differences.min(skipna=False))


SETTINGS = {
    "num_answers": 6,
    "ranks": (1, 1, 2, 2),
    "concentration": 10.0,
    "num_starts": 2,
    "seed": 0,
    "num_steps": 20_000,
}

EXPERIMENTS = (
    Measurement(
        "which Nash policy",
        "Which of many Nash policies do rules reach, by their start?",
        limits,
        {"rules": RULES, **SETTINGS},
    ),
    Measurement(
        "which Nash policy, uneven margins",
        "Which of many Nash policies do rules reach if an answer loses to the others by unequal margins?",
        uneven,
        {
            "rules": RULES,
            "payoff": LARGEST,
            "margins": (0.4, 0.1, 0.3, 0.05),
            "start": (0.1, 0.3, 0.2, 0.1, 0.3),
            "num_steps": SETTINGS["num_steps"],
        },
    ),
)

FAMILY = (
    "on four random games whose sets of Nash policies have one or three dimensions, and in which a seventh "
    "answer loses 90% of the time against each other one"
)

# A paper of June 2026 has the statement for magnetic mirror descent and R-NaD with a uniform reference.
KNOWN_FOR_MAGNETS = "ours; for regularized rules from uniform: arXiv 2606.28308"

STATEMENTS = (
    *(
        Statement(
            f"{name[0].upper()}{name[1:]}{detail} ends after 20,000 steps at the Nash policy of least "
            f"KL(Nash, start), where start is its first policy, {FAMILY}.",
            Claim(
                id=f"N3.{label}",
                quantity="largest difference of a probability, four games from two starts each",
                source=KNOWN_FOR_MAGNETS if name == "COMAL" else OURS,
                reading=distance(name),
                bound=at_most(1e-9),
            ),
        )
        for label, name, detail in (
            ("COMAL", "COMAL", ""),
            ("OMWU", "optimistic multiplicative weights", ""),
            ("EG", "extragradient", " without a temperature"),
            ("MNPO", "MNPO", " without a temperature and with three equal players"),
        )
    ),
    Statement(
        f"COMAL ends after 20,000 steps at different Nash policies from two random starts, {FAMILY}.",
        Claim(
            id="N3.starts",
            quantity="largest difference of a probability between two Nash policies, smallest of four games",
            source=OURS,
            reading=distance_between_starts("COMAL", 1e-9),
            bound=at_least(1e-3),
        ),
    ),
    Statement(
        "COMAL, optimistic multiplicative weights, extragradient without a temperature and MNPO with three "
        "equal players end after 20,000 steps at Nash policies other than that of least KL(Nash, start), on "
        "a game of two pairs of answers and a fifth answer, which loses to the others by 0.4, 0.1, 0.3 and "
        "0.05.",
        Claim(
            id="N3.uneven",
            quantity="largest difference of a probability from the least KL, smallest of four rules",
            source=OURS,
            reading=least_distance(1e-9),
            bound=at_least(0.005),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
