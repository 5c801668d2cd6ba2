"""Runs of published rules on the tiny language model, each beside the table that predicts it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comalgames.algorithms import COMAL, INPO, SPPO, IterativeDPO, IterativeIPO
from comalgames.algorithms.base import AbstractUpdateRule
from comalgames.drivers.trajectory import trajectory
from comalgames.equilibria import nash, qre
from comalgames.games import PreferenceGame
from comalgames.lm import tiny
from comalgames.measures.metrics import duality_gap, kl_to

# INPO's limit is 2 tau / (tau^2 + w^2), above 3 with the rotation frequencies of these games (below 0.23).
ETA, TAU, PERIOD = 0.5, 0.1, 10

NUM_PROMPTS, NUM_NETWORKS, NUM_ROUNDS = 4, 5, 80

# By then networks that were late have arrived as well.
MANY_ROUNDS = 200

FIT_STEPS = (3, 10, 30, 100, 300)
NUM_FIT_STEPS = 100

# Each prompt has num_tokens^length answers, here 9: strings of 2 of 3 tokens; `num_good` of them are good.
GAMES: Mapping[str, int] = {"num_prompts": NUM_PROMPTS, "num_answers": 9, "num_good": 3, "game_seed": 0}

TRAINING: Mapping[str, Any] = {
    "eta": ETA,
    "tau": TAU,
    "period": PERIOD,
    "num_rounds": NUM_ROUNDS,
    "learning_rate": 1e-2,
    "num_networks": NUM_NETWORKS,
    "width": 16,
    "draw_seed": 1,
    **GAMES,
}

# A round of the sampled runs collects `num_sets` sets of five answers for each prompt, as SPPO does, all ten
# pairs of a set compared once. Gradient steps see `batch_size` sets each, all of them in four epochs.
DRAWN: Mapping[str, int] = {"num_sets": 512, "num_candidates": 5, "batch_size": 32}

FIVE = ("COMAL", "INPO", "iterative DPO", "iterative IPO", "SPPO")
SOMETIMES, NEVER, ALWAYS = f"moved every {PERIOD} rounds", "fixed", "moved every round"


class Method(NamedTuple):
    """A rule, and the loss that its authors train on."""

    rule: AbstractUpdateRule[Any]
    loss: str = "regression"


def method(name: str, eta: float, tau: float, period: int) -> Method:
    """A method by name, with the step 1/eta: one of `FIVE`, or a schedule of COMAL's reference."""
    inpo = INPO(eta=eta, tau=tau)
    if name in ("COMAL", SOMETIMES):
        return Method(COMAL(inpo, period))
    if name in ("INPO", NEVER):
        return Method(inpo)
    if name == ALWAYS:
        return Method(COMAL(inpo, 1))
    if name == "iterative DPO":
        return Method(IterativeDPO(beta=4 * eta), "logistic")  # near Nash DPO's step is 4 / beta
    if name == "iterative IPO":
        return Method(IterativeIPO(tau=eta))
    return Method(SPPO(step_size=1 / eta), "pointwise")


def answers_game(num_prompts: int, num_answers: int, num_good: int, game_seed: int) -> PreferenceGame:
    """One game for each prompt: good answers of its own that beat each other in a cycle.

    A good answer beats the next one of its cycle with 75% to 95%, and any other answer with 65% to 90%. The
    others beat each other with 20% to 80%. Which strings are good, and all numbers, differ between prompts.
    """
    rng = np.random.default_rng(game_seed)

    def skew() -> np.ndarray:
        matrix = np.zeros((num_answers, num_answers))
        matrix[num_good:, num_good:] = np.triu(rng.uniform(-0.3, 0.3, (num_answers - num_good,) * 2), 1)
        matrix[:num_good, num_good:] = rng.uniform(0.15, 0.4, (num_good, num_answers - num_good))
        cycle = np.arange(num_good)
        matrix[cycle, (cycle + 1) % num_good] = rng.uniform(0.25, 0.45, num_good)
        places = rng.permutation(num_answers)
        return (matrix - matrix.T)[places][:, places]

    return PreferenceGame.from_skew(np.stack([skew() for _ in range(num_prompts)]))


def networks(seed: int, num_networks: int, num_prompts: int, width: int) -> tiny.Transformer:
    """The first networks, drawn anew for each seed, on the leading axis."""
    keys = jax.random.split(jax.random.key(seed), num_networks)
    return jax.vmap(lambda key: tiny.Transformer(key, num_prompts, width=width))(keys)


def trained(
    methods: tuple[str, ...],
    num_fit_steps: int,
    network_seed: int,
    eta: float,
    tau: float,
    period: int,
    num_rounds: int,
    learning_rate: float,
    num_networks: int,
    width: int,
    draw_seed: int,
    num_prompts: int,
    num_answers: int,
    num_good: int,
    game_seed: int,
    drawn: Mapping[str, int] | None = None,
) -> Any:
    """Every method's networks beside the table that follows the same rule from the same first policy.

    An `xarray.Dataset` over (game, algorithm, seed, record), as a sweep gives it; the games are the prompts
    and a record is taken after every round. `fit_residual` and `distance` are those of the round that led to
    the record. All answers and pairs are used with exact preferences as labels, or, with `drawn`, answers
    that the network draws and one comparison of every pair in a set.
    """
    import xarray as xr

    game = answers_game(num_prompts, num_answers, num_good, game_seed)
    models = networks(network_seed, num_networks, num_prompts, width)
    keys = jax.random.split(jax.random.key(draw_seed), num_networks)
    sets = None if drawn is None else tiny.Drawn(**drawn)
    nash_logp = nash(game).logp
    records: dict[str, list[np.ndarray]] = {}
    for name in methods:
        rule, loss = method(name, eta, tau, period)
        fit = tiny.Fit(loss, learning_rate, num_fit_steps)

        def learn(model: Any, key: Any, rule: Any = rule, fit: Any = fit) -> tiny.Run:
            return tiny.train(game, rule, model, num_rounds, fit, sets, key)

        def follow(logp: Any, rule: Any = rule) -> Any:
            return trajectory(game, rule, num_rounds, logp=logp, metrics=["logp"]).records["logp"]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one period is too short on purpose
            run = jax.vmap(learn)(models, keys)
        table_logp = jax.jit(jax.vmap(follow))(run.logp[:, 0])
        for variable, rows in {
            "duality_gap": run.duality_gap,
            "table_gap": duality_gap(game, table_logp),
            "kl_to_nash": kl_to(nash_logp)(game, run.logp),
            "fit_residual": _from_record_one(run.fit_residual),
            "distance": _from_record_one(run.distance),
        }.items():
            records.setdefault(variable, []).append(np.asarray(rows))
    regularized = np.stack([qre(game, tau, policy).policy for policy in np.exp(run.logp[:, 0])])
    dims = ("game", "algorithm", "seed", "record")
    data: dict[str, Any] = {
        # [algorithm, seed, record, prompt]
        variable: (dims, np.moveaxis(np.stack(rows), -1, 0))
        for variable, rows in records.items()
    }
    data["regularized_gap"] = (("game", "seed"), np.asarray(duality_gap(game, jnp.log(regularized))).T)
    rounds = np.broadcast_to(np.arange(num_rounds + 1), (num_prompts, len(methods), num_rounds + 1))
    return xr.Dataset(
        data,
        {
            "game": [f"prompt {k}" for k in range(num_prompts)],
            "algorithm": list(methods),
            "seed": np.arange(num_networks),
            # Each of these rules makes one query per round.
            "steps": (("game", "algorithm", "record"), rounds),
            "queries": (("game", "algorithm", "record"), rounds),
        },
        attrs={"parameters": sum(leaf[0].size for leaf in jax.tree.leaves(models))},
    )


def _from_record_one(rows: Any) -> Any:
    """Numbers of rounds, `[seeds, rounds, prompts]`, at the records that the rounds led to."""
    return jnp.pad(rows, ((0, 0), (1, 0), (0, 0)), constant_values=jnp.nan)


def fit_steps(methods: tuple[str, ...], num_fit_steps: tuple[int, ...], period: int, **training: Any) -> Any:
    """The late gaps of COMAL and INPO, by the number of gradient steps per round."""
    import xarray as xr

    runs = [trained(methods, num, period=period, **training) for num in num_fit_steps]
    late = [run["duality_gap"].isel(record=slice(-period, None)).max("record", skipna=False) for run in runs]
    gaps = np.stack([each.values for each in late])
    left = np.stack([run["fit_residual"].sel(algorithm="INPO").isel(record=1).values for run in runs])
    return xr.Dataset(
        {
            "gap": (("fit_steps", "game", "algorithm", "seed"), gaps),
            "first_residual": (("fit_steps", "game", "seed"), left),
            "regularized_gap": runs[0]["regularized_gap"],
        },
        {"fit_steps": list(num_fit_steps), "algorithm": list(methods)},
    )
