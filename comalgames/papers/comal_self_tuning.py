"""Claim A30: COMAL without a period never moves away from Nash, and costs little more than a good period."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, MirrorDescent
from comalgames.algorithms.when import Near
from comalgames.drivers.trajectory import trajectory
from comalgames.equilibria import nash
from comalgames.experiments import Claim, Figure, Measurement, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.games import PreferenceGame
from comalgames.numerics.simplex import kl_divergence
from comalgames.papers.comal_setting import NEW, START

RELATIVE_ERROR = Near().relative_error

# Step sizes and temperatures inside the stable range of mirror descent on every preference game, and one step
# far outside.
SETTINGS = ((0.3, 0.03), (0.3, 0.1), (1.0, 0.1), (1.7, 0.1), (1.0, 0.3), (3.0, 0.3))
BEYOND = (15.0, 0.1)
NUM_STEPS = 2000

# Fixed periods that it is compared with, for these settings, until the gap stays below these levels.
PERIODS = (5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100)
COMPARED = ((1.0, 0.1), (1.0, 0.03), (0.3, 0.1), (2.0, 0.1))
LEVELS, NUM_QUERIES = (1e-2, 1e-4), 20_000


def _random_games() -> PreferenceGame:
    """Twenty random games of ten answers, as prompts."""
    return games.random(jax.random.key(0), 10, [20])


def moves() -> Any:
    """KL(Nash || reference) around every step, on the cycle and twenty random games, by setting.

    `rise` is its largest increase in a step; `excess` the largest amount by which a move gains less than
    (1 - e^2) KL(policy || reference), e the relative error; `moved` the smallest number of moves.
    """
    import xarray as xr

    cycle, many = games.comal_cycle().without_names(), _random_games()
    starts = jnp.log(jnp.asarray(START)), many.uniform()
    found: dict[str, list[list[float]]] = {"rise": [], "excess": [], "moved": []}
    for step_size, temperature in (*SETTINGS, BEYOND):
        rule = COMAL(MirrorDescent(step_size, temperature))
        rows = []
        for game, start in zip((cycle, many), starts, strict=True):
            before, after, way, moving = _walk(game, rule, start, jnp.asarray(nash(game).logp))
            promised = np.where(moving, (1 - RELATIVE_ERROR**2) * way, 0.0)
            rows.append(((after - before).max(), (after - before + promised).max(), moving.sum(0).min()))
        for name, values in zip(found, zip(*rows, strict=True), strict=True):
            found[name].append([float(value) for value in values])
    labels = [f"step {s:g}, temperature {t:g}" for s, t in (*SETTINGS, BEYOND)]
    return xr.Dataset(
        {name: (("setting", "games"), values) for name, values in found.items()},
        {"setting": labels, "games": ["cycle", "random"]},
    )


@jax.jit
def _walked(game: PreferenceGame, rule: Any, logp: Any, nash_logp: Any) -> Any:
    def body(state: Any, _: Any) -> Any:
        after = rule.step(jax.random.key(0), state, Exact(game))
        distances = (kl_divergence(nash_logp, each.reference) for each in (state, after))
        return after, (*distances, kl_divergence(state.logp, state.reference), after.near)

    return jax.lax.scan(body, rule.init(logp, logp), None, NUM_STEPS)[1]


def _walk(game: PreferenceGame, rule: Any, logp: Any, nash_logp: Any) -> Any:
    """KL(Nash || reference) before and after each step, KL(policy || reference), and whether it moved."""
    return [np.asarray(rows) for rows in _walked(game, rule, logp, nash_logp)]


def cost() -> Any:
    """Queries after which the gap stays below a level: without a period, and with each of many periods.

    Medians over twenty random games; infinite where the median game does not get there.
    """
    import xarray as xr

    game = _random_games()
    shape = (len(COMPARED), len(LEVELS))
    tuned, fixed = np.zeros(shape), np.zeros((*shape, len(PERIODS)))

    def gaps(rule: Any) -> Any:
        return trajectory(game, rule, NUM_QUERIES).records["duality_gap"]

    without = jax.jit(lambda s, t: gaps(COMAL(MirrorDescent(s, t))))
    with_period = jax.jit(lambda s, t, period: gaps(COMAL(MirrorDescent(s, t), period)))
    for k, setting in enumerate(COMPARED):
        tuned[k] = _stays_below(np.asarray(without(*setting)))
        for j, period in enumerate(PERIODS):
            fixed[k, :, j] = _stays_below(np.asarray(with_period(*setting, period)))
    axes = {"setting": [f"step {s:g}, temperature {t:g}" for s, t in COMPARED], "level": list(LEVELS)}
    return xr.Dataset(
        {"tuned": (("setting", "level"), tuned), "fixed": (("setting", "level", "period"), fixed)},
        {**axes, "period": list(PERIODS)},
    )


def _stays_below(gaps: np.ndarray) -> list[float]:
    """The median game's number of queries for each level."""
    found = []
    for level in LEVELS:
        above = ~(gaps < level)
        first = np.where(above.any(0), len(gaps) - above[::-1].argmax(0), 0).astype(float)
        first[first == len(gaps)] = np.inf
        found.append(float(np.quantile(first, 0.5, method="higher")))
    return found


def largest(data: Data, name: str, beyond: bool = False) -> float:
    """Largest `rise` or `excess` over the settings inside the stable range, or in the one beyond it."""
    rows = data["self-tuning"][name].values
    return float((rows[-1] if beyond else rows[:-1]).max())


def fewest_moves(data: Data) -> float:
    """Fewest moves of the reference over the settings inside the stable range, and the games."""
    return float(data["self-tuning"]["moved"].values[:-1].min())


def dearest(data: Data) -> float:
    """Queries without a period over those with the best period in hindsight, largest over the settings."""
    found = data["cost of no period"]
    return float((found["tuned"] / found["fixed"].min("period")).max())


def gain_over_a_wrong_period(data: Data) -> float:
    """Queries with the worst of the periods over those without one, smallest over the settings."""
    found = data["cost of no period"]
    return float((found["fixed"].max("period") / found["tuned"]).min())


EXPERIMENTS = (
    Measurement("self-tuning", "Does COMAL without a period ever move away from Nash?", moves),
    Measurement(
        "cost of no period", "How much do good periods save, and bad ones cost?", cost, is_quick=False
    ),
)

CLAIMS = (
    Claim(
        "A30.monotone",
        "COMAL that moves its reference when KL(z || x+) <= e^2 KL(z || reference), to x+, never moves away "
        "from Nash.",
        NEW, "largest rise of KL(Nash, reference) in a step, six settings on 21 games",
        lambda data: largest(data, "rise"), at_most(1e-12), ("self-tuning",),
    ),
    Claim(
        "A30.gain", "Each move gains at least (1 - e^2) KL(z || reference),",
        NEW, "largest shortfall of a move's gain", lambda data: largest(data, "excess"), at_most(1e-12),
        ("self-tuning",),
    ),
    Claim(
        "A30.finite", "after finitely many inner steps.",
        NEW, "fewest moves in 2,000 steps", fewest_moves, at_least(1), ("self-tuning",),
    ),
    Claim(
        "A30.beyond", "With an inner step far beyond its limit, too, KL does not rise: the reference stays.",
        NEW, "largest rise of KL(Nash, reference) with step 15", lambda data: largest(data, "rise", True),
        at_most(1e-12), ("self-tuning",),
    ),
    Claim(
        "A30.cost", "On random games it costs at most four times the best single period known in hindsight,",
        NEW, "median queries over those with the best period, largest over four settings and two levels",
        dearest, at_most(4.0), ("cost of no period",),
    ),
    Claim(
        "A30.saves", "and saves at least half against a bad one.",
        NEW, "median queries with the worst period over those without, smallest over the same",
        gain_over_a_wrong_period, at_least(2.0), ("cost of no period",),
    ),
)  # fmt: skip

FIGURES: tuple[Figure, ...] = ()
