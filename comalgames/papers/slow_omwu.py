"""Optimistic multiplicative weights is slow near the boundary, where optimistic gradient is fast.

Cai et al., "Fast Last-Iterate Convergence of Learning in Games Requires Forgetful Algorithms", 2024, arXiv
2406.10631: for every delta there is a 2 x 2 game on which the duality gap is still constant after 1/delta
rounds. The preference game with three answers is ours. arXiv 2605.13242 (2026; only its abstract was seen)
proves a linear rate where Nash is unique and interior, which vanishes near the boundary.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import OptimisticMWU
from comalgames.drivers.solve import solve
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.games import PreferenceGame
from comalgames.papers.full_support import BURN_IN, SMALLEST_GAP, slowest_rate
from comalgames.papers.reading import largest
from comalgames.papers.setting import OURS

DELTAS = (0.1, 0.03, 0.01, 0.003)
STEP = 0.25

# Gaps are recorded every 0.1 / delta rounds, and read between these numbers of rounds times delta.
RESOLUTION, FROM, UNTIL = 10, 10, 20

OMWU, IN_NUMPY, GRADIENT = RULES = ("OMWU", "OMWU in NumPy", "optimistic gradient")
GAMES = {"delta game": "2 x 2 delta game of two players", "cycle": "near-degenerate three-answer cycle"}


def payoffs(name: str, delta: float) -> np.ndarray:
    """The payoffs of the player of rows, written out."""
    if name == "delta game":
        return -np.array([[0.5 + delta, 0.5], [0.0, 1.0]])
    return np.array([[0.0, delta, -0.5], [-delta, 0.0, 0.5], [0.5, -0.5, 0.0]])


def cycles(deltas: tuple[float, ...]) -> PreferenceGame:
    """The near-degenerate cycles as prompts."""
    return PreferenceGame.from_skew(np.stack([games.near_degenerate_cycle(delta).skew for delta in deltas]))


def projected(point: np.ndarray) -> np.ndarray:
    """The nearest policy to a point in the Euclidean norm."""
    falling = np.sort(point)[::-1]
    shifts = (np.cumsum(falling) - 1) / np.arange(1, len(point) + 1)
    return np.asarray(np.maximum(point - shifts[np.nonzero(falling > shifts)[0][-1]], 0.0))


def gaps_in_numpy(matrix: np.ndarray, step_size: float, num_steps: int, is_euclidean: bool) -> np.ndarray:
    """The duality gap along optimistic gradient (Euclidean) or optimistic multiplicative weights in NumPy.

    Each player has an anchor z, moved by the advantage u against the other player's policy. The policy is z
    after one more step along the last advantage:

        z[t+1] = Proj(z[t] + step u[t]),    p[t+1] = Proj(z[t+1] + step u[t]),

    where Proj is the nearest policy, or the softmax of log-probabilities.
    """
    to_policy = projected if is_euclidean else (lambda z: np.exp(z - np.logaddexp.reduce(z)))
    policies = [np.full(n, 1 / n) for n in matrix.shape]
    anchors = list(policies) if is_euclidean else [np.log(p) for p in policies]
    gaps = []
    for _ in range(num_steps + 1):
        rows, columns = policies
        advantages = matrix @ columns, -matrix.T @ rows
        gaps.append(sum(each.max() for each in advantages))
        moved = [z + step_size * u for z, u in zip(anchors, advantages, strict=True)]
        anchors = [to_policy(z) for z in moved] if is_euclidean else moved
        policies = [to_policy(z + step_size * u) for z, u in zip(anchors, advantages, strict=True)]
    return np.array(gaps)


def near_the_boundary(deltas: tuple[float, ...], step_size: float, resolution: int, until: int) -> Any:
    """Gaps of optimistic multiplicative weights, by the package and in NumPy, and of optimistic gradient."""
    import xarray as xr

    time = np.arange(resolution * until + 1) / resolution
    with jax.enable_x64(True):
        stacked = {
            "delta game": jax.vmap(games.delta_game)(jnp.asarray(deltas)),
            "cycle": cycles(deltas),
        }
        runs = {
            name: solve(game, OptimisticMWU(step_size), round(until / min(deltas))).history["duality_gap"]
            for name, game in stacked.items()
        }
    gaps = np.zeros((len(stacked), len(RULES), len(deltas), len(time)))
    for i, name in enumerate(stacked):
        for k, delta in enumerate(deltas):
            rounds, matrix = np.rint(time / delta).astype(int), payoffs(name, delta)
            num_steps = int(rounds[-1])
            gaps[i, 0, k] = runs[name][rounds, k]
            for j, is_euclidean in enumerate((False, True), 1):
                gaps[i, j, k] = gaps_in_numpy(matrix, step_size, num_steps, is_euclidean)[rounds]
    return xr.Dataset(
        {name: (("algorithm", "delta", "time"), gaps[i]) for i, name in enumerate(stacked)},
        {"algorithm": list(RULES), "delta": list(deltas), "time": time},
    )


def linear_rate(deltas: tuple[float, ...], step_size: float, num_steps: int, record_every: int) -> Any:
    """The rate of decrease of the gap on the near-degenerate cycle, fitted late in a run, and predicted.

    The prediction is that of the slowest mode at Nash; for small delta the frequency is w = sqrt(delta) / 2,
    and the rate (step w)^2 / 2 is proportional to delta.
    """
    import xarray as xr

    with jax.enable_x64(True):
        run = solve(cycles(deltas), OptimisticMWU(step_size), num_steps, record_every=record_every)
    measured, predicted = [], []
    for k, delta in enumerate(deltas):
        gaps = run.history["duality_gap"][:, k]
        (fitted,) = np.nonzero((gaps > SMALLEST_GAP) & (gaps < delta * BURN_IN))
        measured.append(-np.polyfit(record_every * fitted, np.log(gaps[fitted]), 1)[0])
        policy = np.array([0.5, 0.5, delta]) / (1 + delta)
        predicted.append(slowest_rate(payoffs("cycle", delta), policy, step_size))
    errors = np.abs(np.array(measured) / predicted - 1)
    return xr.Dataset({"rate": ("delta", measured), "error": ("delta", errors)}, {"delta": list(deltas)})


def late_gaps(data: Data, game: str, algorithm: str) -> np.ndarray:
    """Gaps between FROM / delta and UNTIL / delta rounds, `[deltas, records]`."""
    runs = data["near the boundary"]
    return np.asarray(runs[game].sel(algorithm=algorithm).isel(time=runs["time"].values >= FROM).values)


@reads("near the boundary")
def smallest_swing(data: Data, game: str) -> float:
    """The largest minus the smallest late gap of optimistic multiplicative weights, minimized over delta."""
    return float(np.ptp(late_gaps(data, game, OMWU), axis=1).min())


@reads("near the boundary")
def largest_late_gap_of_gradient(data: Data, game: str) -> float:
    """The largest late gap of optimistic gradient divided by delta, maximized over delta."""
    deltas = data["near the boundary"]["delta"].values
    return float((late_gaps(data, game, GRADIENT).max(1) / deltas).max())


@reads("near the boundary")
def difference_from_numpy(data: Data) -> float:
    """Largest difference of a gap between the package and NumPy, over the games and deltas."""
    runs = data["near the boundary"]
    return float(
        np.max(
            [
                np.abs(runs[name].sel(algorithm=OMWU) - runs[name].sel(algorithm=IN_NUMPY)).values
                for name in GAMES
            ]
        )
    )


@reads("linear rate")
def error_of_proportion(data: Data) -> float:
    """Error of the exponent 1 of delta in the rate, between the largest and the smallest delta."""
    rates = data["linear rate"]["rate"]
    delta = rates["delta"].values
    return float(abs(np.log(rates[0] / rates[-1]) / np.log(delta[0] / delta[-1]) - 1))


CAI = "Cai et al. 2024, abstract (a constant gap after 1/delta rounds)"

STATEMENTS = (
    *(
        Statement(
            "The duality gap of optimistic multiplicative weights with step 1/4 from the uniform policy "
            "still varies by more than 0.25 between 10/delta and 20/delta rounds on the "
            f"{GAMES[name]}, for every delta of 0.1, 0.03, 0.01 and 0.003.",
            Claim(
                id=f"A34.slow.{label}",
                quantity="largest minus smallest gap from 10/delta to 20/delta rounds, smallest over delta",
                source=source,
                reading=smallest_swing(name),
                bound=at_least(0.25),
            ),
        )
        for label, name, source in (("delta", "delta game", CAI), ("cycle", "cycle", OURS))
    ),
    *(
        Statement(
            "Optimistic gradient with Euclidean projections and step 1/4 from the uniform policy has a "
            f"duality gap of at most delta after 10/delta rounds on the {GAMES[name]}, for every delta of "
            "0.1, 0.03, 0.01 and 0.003.",
            Claim(
                id=f"A34.fast.{label}",
                quantity="largest gap from 10/delta to 20/delta rounds / delta, largest over delta",
                source=source,
                reading=largest_late_gap_of_gradient(name),
                bound=at_most(1.0),
            ),
        )
        for label, name, source in (
            ("delta", "delta game", "Cai et al. 2024, abstract (a rate of T^-1/2 for every game)"),
            ("cycle", "cycle", OURS),
        )
    ),
    Statement(
        "Optimistic multiplicative weights with step 1 converges linearly on the near-degenerate "
        "three-answer cycle, at the rate of its slowest mode at the Nash policy, for delta of 0.1, 0.03 and "
        "0.01.",
        Claim(
            id="A34.rate",
            quantity="largest relative error of the fitted rate of the duality gap, three deltas",
            source="arXiv 2605.13242, abstract (linear); the value is ours",
            reading=largest("linear rate", "error"),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        "The rate at which optimistic multiplicative weights with step 1 converges on the near-degenerate "
        "three-answer cycle vanishes in proportion to delta, from 0.1 to 0.01.",
        Claim(
            id="A34.proportional",
            quantity="error of the exponent 1 of delta in the rate",
            source=OURS,
            reading=error_of_proportion(),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        "Optimistic multiplicative weights of the package has the duality gaps of its two published "
        "sequences, anchor and policy, written out in NumPy, on the delta game and on the near-degenerate "
        "cycle.",
        Claim(
            id="A34.path",
            quantity="largest difference of a gap over 20/delta rounds, four deltas on two games",
            source=OURS,
            reading=difference_from_numpy(),
            bound=at_most(1e-8),
        ),
    ),
)

FIGURES = (
    Figure(
        "slow_omwu",
        "Duality gap with step 1/4 from the uniform policy over rounds times delta: median and quartiles "
        "over delta from 0.003 to 0.1. Left: the delta game of two players. Right: the near-degenerate "
        "three-answer cycle. Optimistic multiplicative weights, whose curves by the package and in NumPy "
        "coincide, comes near Nash and leaves it again after a number of rounds proportional to 1/delta; "
        "optimistic gradient converges.",
        tuple(
            Panel(
                "lines",
                "near the boundary",
                name,
                {
                    "x": "time",
                    "y": name,
                    "series": "algorithm",
                    "band": "delta",
                    "xlabel": "rounds * delta",
                    "ylabel": "duality gap",
                },
            )
            for name in GAMES
        ),
    ),
)

PAPER = Paper(
    name="slow_omwu",
    title="Optimistic multiplicative weights is slow near the boundary, optimistic gradient is fast there",
    source="Cai et al. 2024, arXiv 2406.10631",
    experiments=(
        Measurement(
            "near the boundary",
            "How long do optimistic rules take if the Nash policy is near the boundary?",
            near_the_boundary,
            {"deltas": DELTAS, "step_size": STEP, "resolution": RESOLUTION, "until": UNTIL},
        ),
        Measurement(
            "linear rate",
            "At which rate does optimistic multiplicative weights converge in the end?",
            linear_rate,
            {"deltas": (0.1, 0.03, 0.01), "step_size": 1.0, "num_steps": 20_000, "record_every": 10},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
