"""What local theory predicts of COMAL and its inner solvers, measured beside the prediction."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from comalgames import games
from comalgames.algorithms import COMAL, INPO, MMD, ExactProx, MirrorDescent
from comalgames.diagnostics import rotation_frequencies, spectrum
from comalgames.drivers.sweep import sweep
from comalgames.equilibria import nash, qre
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.numerics import simplex
from comalgames.papers.comal_setting import START

TEMPERATURES = (0.01, 0.05, 0.1, 0.15, 0.25)

# Inner step sizes and temperatures of claim A8, and the numbers of inner steps tried.
INNER_STEP_SIZES, INNER_TEMPERATURES, MOST_INNER_STEPS = (0.2, 0.3, 1.0, 3.0), (0.05, 0.1, 0.3), 40

# Exact COMAL's rate is read at this temperature, over the last quarter of the steps before KL falls to this
# level (below it is rounding; before it faster modes still show).
RATE_TEMPERATURE, RATE_LEVEL = 0.03, 1e-24


def truth() -> Any:
    """The cycle's Nash policy and its win rates, and the equilibrium regularized around the start."""
    import xarray as xr

    game = games.comal_cycle()
    solution = nash(game)
    return xr.Dataset(
        {
            "nash_policy": ("answer", solution.policy),
            "win_rate_against_nash": ("answer", np.asarray(game.preference) @ solution.policy),
            "regularized_policy": ("answer", qre(game, 0.1, START)),
        },
        {"answer": list(game.names)},
        attrs={"unique": bool(solution.unique), "status": str(solution.status)},
    )


def step_size_thresholds() -> Any:
    """The step at which mirror descent and MMD lose stability, by the spectral radius, and as predicted.

    On the cycle (reference: COMAL's start) and one random game of ten answers (reference: uniform), at five
    temperatures each.
    """
    import xarray as xr

    settings = {"cycle": (games.comal_cycle(), START), "random": (games.random(jax.random.key(0), 10), None)}
    rows = []
    for (name, (game, reference)), tau in itertools.product(settings.items(), TEMPERATURES):
        limit = np.log(qre(game, tau, reference))
        anchor = game.uniform() if reference is None else jnp.log(jnp.asarray(reference))
        omega = rotation_frequencies(game, limit)[0]

        def growth(rule: Any, game: PreferenceGame = game, limit: Any = limit, anchor: Any = anchor) -> float:
            return float(np.abs(spectrum(game, rule, limit, reference=anchor))[0])

        explicit = 2 * tau / (tau**2 + omega**2)
        implicit = 2 * tau / (omega**2 - tau**2) if tau < omega else np.inf
        rows.append(
            {
                "game": name,
                "temperature": tau,
                "frequency": omega,
                "mirror descent predicted": explicit,
                "mirror descent measured": threshold(
                    growth, partial(MirrorDescent, temperature=tau), explicit
                ),
                "MMD predicted": implicit,
                "MMD measured": threshold(growth, partial(MMD, temperature=tau), implicit)
                if tau < omega
                else np.inf,
                "MMD largest growth": max(growth(MMD(step, tau)) for step in np.logspace(-1, 4, 11)),
            }
        )
    return xr.Dataset({name: ("setting", [row[name] for row in rows]) for name in rows[0]})


def threshold(growth: Callable[[Any], float], rule: Callable[[float], Any], predicted: float) -> float:
    """The step size, near the predicted one, up to which a rule contracts; nan if there is none."""

    def excess(step_size: float) -> float:
        return growth(rule(step_size)) - 1

    low, high = 0.5 * predicted, 1.5 * predicted
    return float(brentq(excess, low, high, rtol=1e-10)) if excess(low) < 0 < excess(high) else np.nan


def threshold_error(data: Data, rule: str) -> float:
    """Largest relative error of the predicted thresholds that are finite."""
    found = data["step sizes"]
    predicted, measured = found[f"{rule} predicted"].values, found[f"{rule} measured"].values
    finite = np.isfinite(predicted)
    return float(np.abs(measured[finite] / predicted[finite] - 1).max())


def growth_where_always_stable(data: Data) -> float:
    """Largest growth of MMD over steps from 0.1 to 1e4 where the temperature is at least the frequency."""
    found = data["step sizes"]
    calm = found["temperature"].values >= found["frequency"].values
    return float(found["MMD largest growth"].values[calm].max())


def inner_steps() -> Any:
    """Growth per round of COMAL with K inner mirror-descent steps at Nash, and the largest |g(K, w)|.

    On the cycle, which has one frequency, and on a random game of five answers with an interior Nash policy
    and two.
    """
    import xarray as xr

    chosen = {"cycle": games.comal_cycle(), "five answers": games.random(jax.random.key(24), 5)}
    periods = np.arange(1, MOST_INNER_STEPS + 1)
    axes: dict[str, list[Any]] = {
        "game": list(chosen),
        "step_size": list(INNER_STEP_SIZES),
        "temperature": list(INNER_TEMPERATURES),
    }
    shape = (*(len(values) for values in axes.values()), len(periods))
    measured, predicted, limit = np.zeros(shape), np.zeros(shape), np.zeros(shape[:-1])
    for where in np.ndindex(shape):
        name, step, tau = (values[k] for values, k in zip(axes.values(), where, strict=False))
        period, game = int(periods[where[-1]]), chosen[str(name)]
        solution = nash(game).logp
        omega = rotation_frequencies(game, solution)
        rule = COMAL(MirrorDescent(step, tau), period=period)
        measured[where] = np.abs(spectrum(game, rule, solution, num_steps=period))[0]
        prox, inner = tau / (tau - 1j * omega), 1 - step * tau + 1j * step * omega
        predicted[where] = np.abs(prox + inner**period * (1 - prox)).max()
        limit[where[:-1]] = 2 * tau / (tau**2 + omega.max() ** 2)
    variables = {"measured": ((*axes, "period"), measured), "predicted": ((*axes, "period"), predicted)}
    return xr.Dataset({**variables, "largest_stable_step": (tuple(axes), limit)}, {**axes, "period": periods})


def growth_below_necessary(data: Data) -> float:
    """Smallest growth, minus 1, with fewer inner steps than sqrt(3 / (eta tau)) - 0.3."""
    found = data["inner steps"]
    few = found["period"] < np.sqrt(3 / (found["step_size"] * found["temperature"])) - 0.3
    return float(found["measured"].where(few).min()) - 1


def growth_above_sufficient(data: Data) -> float:
    """Largest growth, minus 1, with at least 2 / sqrt(eta tau) inner steps of at most 0.7 of their limit."""
    found = data["inner steps"]
    many = found["period"] >= 2 / np.sqrt(found["step_size"] * found["temperature"])
    small = found["step_size"] <= 0.7 * found["largest_stable_step"]
    return float(found["measured"].where(many & small).max()) - 1


def growth_error(data: Data) -> float:
    """Largest relative difference between the measured and the predicted growth."""
    found = data["inner steps"]
    return float(np.abs(found["measured"] / found["predicted"] - 1).max())


def growth_at_counterexample(data: Data) -> float:
    """Growth, minus 1, with step 1, temperature 0.05 and 8 inner steps on the cycle."""
    return (
        float(data["inner steps"]["measured"].sel(game="cycle", step_size=1.0, temperature=0.05, period=8))
        - 1
    )


class DistanceOnAndOff(eqx.Module):
    """KL on Nash's support, and the log of the policy's mass off it."""

    target_logp: Any
    on: Any

    def __call__(self, game: PreferenceGame, logp: Any) -> Any:
        """`[KL on the support, log mass off it]`."""
        inside = jnp.where(self.on, logp, -jnp.inf)
        outside = jax.nn.logsumexp(jnp.where(self.on, -jnp.inf, logp))
        return jnp.stack([simplex.kl_divergence(self.target_logp, simplex.log_normalize(inside)), outside])


def outer_rate() -> Any:
    """Exact COMAL's factors per step near Nash, measured and predicted, on two cycles and ten random games.

    Off the support an answer's mass shrinks by exp(-slack / tau). On it, KL shrinks by the largest of
    tau^2 / (tau^2 + w^2) over the frequencies w, or by the square of the former factor where that is larger,
    for the mass off the support pushes the policy on it, and KL is quadratic in that push.
    """
    import xarray as xr

    tau = RATE_TEMPERATURE
    chosen = {"cycle": games.comal_cycle(), "biased rps": games.rock_paper_scissors(3, 1, 1)}
    chosen |= {f"random {seed}": games.random(jax.random.key(seed), 10) for seed in range(10)}
    solutions = {name: nash(game) for name, game in chosen.items()}

    def distance(game: AbstractGame) -> dict[str, Any]:
        solution = nash(game)
        return {"distance": DistanceOnAndOff(jnp.asarray(solution.logp), jnp.asarray(solution.support))}

    uneven = {name: START if game.num_actions == 3 else np.full(10, 0.1) for name, game in chosen.items()}
    rule = {"COMAL": COMAL(ExactProx(tau), period=1)}
    runs = sweep(chosen, rule, 4000, init=uneven, game_metrics=distance)
    rows: dict[str, list[float]] = {
        "predicted on": [],
        "measured on": [],
        "predicted off": [],
        "measured off": [],
    }
    for name, game in chosen.items():
        solution, path = solutions[name], runs["distance"].sel(game=name, algorithm="COMAL", seed=0).values
        off = float(np.exp(-solution.slack[~solution.support].min(initial=np.inf) / tau))
        rotation = float(
            (tau**2 / (tau**2 + rotation_frequencies(game, solution.logp) ** 2)).max(initial=0.0)
        )
        last = int(np.argmax(path[:, 0] < RATE_LEVEL)) or len(path) - 1
        first = 3 * last // 4
        half = len(path) // 2
        rows["predicted on"].append(max(rotation, off**2))
        rows["measured on"].append((path[last, 0] / path[first, 0]) ** (1 / (last - first)))
        rows["predicted off"].append(off)
        rows["measured off"].append(
            float(np.exp((path[-1, 1] - path[half, 1]) / (len(path) - 1 - half))) if off > 0 else 0.0
        )
    return xr.Dataset(
        {name: ("game", values) for name, values in rows.items()},
        {"game": list(chosen)},
        {"temperature": tau},
    )


def outer_rate_error(data: Data, part: str) -> float:
    """Largest relative error of log(factor per step), `part` "on" or "off" the support."""
    predicted, measured = (data["outer rate"][f"{kind} {part}"].values for kind in ("predicted", "measured"))
    there = predicted > 0
    return float(np.abs(np.log(measured[there]) / np.log(predicted[there]) - 1).max())


def published_loss() -> Any:
    """One INPO step against the least-squares minimizer of INPO's and COMAL's loss over all labelled pairs.

    The loss, for pairs (y, y') drawn independently from the policy and labelled by the preference, is the
    mean of `(h(winner) - h(loser) - 1/(2 eta))^2`, `h = log policy' - (tau/eta) log reference - (1 - tau/eta)
    log policy`.
    """
    import xarray as xr

    eta, tau = 1.3, 0.2
    rng = np.random.default_rng(0)
    differences = []
    for seed in range(5):
        game = games.random(jax.random.key(seed), 6)
        policy, reference = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
        preference = np.asarray(game.preference)
        rows, targets, weights = [], [], []
        for winner, loser in itertools.permutations(range(6), 2):
            row = np.zeros(6)
            row[winner], row[loser] = 1, -1
            rows.append(row)
            targets.append(1 / (2 * eta))
            weights.append(policy[winner] * policy[loser] * preference[winner, loser])
        root = np.sqrt(weights)
        h = np.linalg.lstsq(np.array(rows) * root[:, None], np.array(targets) * root, rcond=None)[0]
        minimizer = h + (tau / eta) * np.log(reference) + (1 - tau / eta) * np.log(policy)
        rule = INPO(eta, tau)
        state = rule.init(jnp.log(jnp.asarray(policy)), jnp.log(jnp.asarray(reference)))
        stepped = np.asarray(rule.step(jax.random.key(0), state, Exact(game)).logp)
        difference = minimizer - stepped
        differences.append(np.ptp(difference))
    return xr.Dataset({"difference": ("game", differences)})
