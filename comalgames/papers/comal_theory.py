"""What local theory predicts of COMAL and its inner solvers, measured beside the prediction."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from comalgames import games, simplex
from comalgames.algorithms import COMAL, INPO, MMD, ExactProx, MirrorDescent
from comalgames.diagnostics import rotation_frequencies, spectrum
from comalgames.equilibria import nash, qre
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.games import AbstractGame, PreferenceGame
from comalgames.sweep import sweep

START = (0.2, 0.5, 0.3)
TEMPERATURES = (0.01, 0.05, 0.1, 0.15, 0.25)

# Inner step sizes and temperatures of claim A8, and the numbers of inner steps tried.
INNER_STEP_SIZES, INNER_TEMPERATURES, MOST_INNER_STEPS = (0.2, 0.3, 1.0, 3.0), (0.05, 0.1, 0.3), 40

# Exact COMAL's rate is read at this temperature, over the last quarter of the steps before KL falls to this
# level (below it is rounding; before it faster modes still show).
RATE_TEMPERATURE, RATE_LEVEL = 0.03, 1e-24


def step_size_thresholds() -> Any:
    """The step at which mirror descent and MMD lose stability, by root finding on the spectral radius, and
    predicted.

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

        def threshold(
            rule: Callable[[float, float], Any], predicted: float, tau: float = tau, growth: Any = growth
        ) -> float:
            return float(
                brentq(lambda step: growth(rule(step, tau)) - 1, 0.5 * predicted, 1.5 * predicted, rtol=1e-10)
            )

        explicit = 2 * tau / (tau**2 + omega**2)
        implicit = 2 * tau / (omega**2 - tau**2) if tau < omega else np.inf
        rows.append(
            {
                "game": name,
                "temperature": tau,
                "frequency": omega,
                "mirror descent predicted": explicit,
                "mirror descent measured": threshold(MirrorDescent, explicit),
                "MMD predicted": implicit,
                "MMD measured": threshold(MMD, implicit) if tau < omega else np.inf,
                "MMD growth at step 1e4": growth(MMD(1e4, tau)),
            }
        )
    return xr.Dataset({name: ("setting", [row[name] for row in rows]) for name in rows[0]})


def threshold_error(data: Data, rule: str) -> float:
    """Largest relative error of the predicted thresholds that are finite."""
    found = data["step sizes"]
    predicted, measured = found[f"{rule} predicted"].values, found[f"{rule} measured"].values
    finite = np.isfinite(predicted)
    return float(np.abs(measured[finite] / predicted[finite] - 1).max())


def growth_of_large_steps(data: Data) -> float:
    """Largest growth of MMD at step 1e4 where the temperature is at least the frequency."""
    found = data["step sizes"]
    calm = found["temperature"].values >= found["frequency"].values
    return float(found["MMD growth at step 1e4"].values[calm].max())


def inner_steps() -> Any:
    """Growth per round of COMAL with K inner mirror-descent steps at the cycle's Nash policy, and |g(K,
    w)|."""
    import xarray as xr

    game = games.comal_cycle()
    solution = nash(game).logp
    omega = rotation_frequencies(game, solution)[0]
    periods = np.arange(1, MOST_INNER_STEPS + 1)
    shape = (len(INNER_STEP_SIZES), len(INNER_TEMPERATURES), len(periods))
    measured, predicted = np.zeros(shape), np.zeros(shape)
    for (i, step), (j, tau), (k, period) in itertools.product(
        enumerate(INNER_STEP_SIZES), enumerate(INNER_TEMPERATURES), enumerate(periods)
    ):
        rule = COMAL(MirrorDescent(step, tau), period=int(period))
        measured[i, j, k] = np.abs(spectrum(game, rule, solution, num_steps=int(period)))[0]
        prox = tau / (tau - 1j * omega)
        inner = 1 - step * tau + 1j * step * omega
        predicted[i, j, k] = abs(prox + inner**period * (1 - prox))
    axes = ("step_size", "temperature", "period")
    return xr.Dataset(
        {"measured": (axes, measured), "predicted": (axes, predicted)},
        {"step_size": list(INNER_STEP_SIZES), "temperature": list(INNER_TEMPERATURES), "period": periods},
        attrs={"frequency": float(omega)},
    )


def _growths(data: Data, chosen: Callable[[Any, Any, Any, float], Any]) -> np.ndarray:
    found = data["inner steps"]
    step, tau, period = (found[name] for name in ("step_size", "temperature", "period"))
    return np.asarray(found["measured"].where(chosen(step, tau, period, found.attrs["frequency"])).values)


def growth_below_necessary(data: Data) -> float:
    """Smallest growth with fewer inner steps than sqrt(3 / (eta tau)) - 0.3."""
    return float(
        np.nanmin(_growths(data, lambda step, tau, period, w: period < (3 / (step * tau)) ** 0.5 - 0.3))
    )


def growth_above_sufficient(data: Data) -> float:
    """Largest growth with at least 2 / sqrt(eta tau) inner steps of at most 0.7 of their limit."""
    return float(
        np.nanmax(
            _growths(
                data,
                lambda step, tau, period, w: (
                    (period >= 2 / (step * tau) ** 0.5) & (step <= 0.7 * 2 * tau / (tau**2 + w**2))
                ),
            )
        )
    )


def growth_error(data: Data) -> float:
    """Largest difference between the measured and the predicted growth, relative."""
    found = data["inner steps"]
    return float(np.abs(found["measured"].values / found["predicted"].values - 1).max())


def growth_at_counterexample(data: Data) -> float:
    """Growth with step 1, temperature 0.05 and 8 inner steps."""
    return float(data["inner steps"]["measured"].sel(step_size=1.0, temperature=0.05, period=8))


class DistanceOnAndOff(eqx.Module):
    """KL(Nash || policy given that it plays on Nash's support), and the log of the policy's mass off the
    support."""

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
    """One INPO step against the least-squares minimiser of INPO's and COMAL's loss over all labelled pairs.

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
        minimiser = h + (tau / eta) * np.log(reference) + (1 - tau / eta) * np.log(policy)
        rule = INPO(eta, tau)
        state = rule.init(jnp.log(jnp.asarray(policy)), jnp.log(jnp.asarray(reference)))
        stepped = np.asarray(rule.step(jax.random.key(0), state, Exact(game)).logp)
        difference = minimiser - stepped
        differences.append(np.ptp(difference))
    return xr.Dataset({"difference": ("game", differences)})
