"""What is run on the tiny language model, and beside it on the table that predicts it."""

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

# Each prompt has 9 answers, strings of 2 of 3 tokens. GOOD of them are good.
NUM_PROMPTS, NUM_ANSWERS, GOOD = 4, 9, 3

WIDTH, NUM_SEEDS = 16, 5

# INPO's limit is 2 tau / (tau^2 + w^2), above 3 with the rotation frequencies of these games (below 0.23).
STEP, TEMPERATURE, PERIOD = 2.0, 0.1, 10

NUM_ROUNDS, NUM_FIT_STEPS, LEARNING_RATE = 80, 100, 1e-2

FIT_STEPS = (3, 10, 30, 100, 300)

# The end of a run: the records of COMAL's last period.
LATE = slice(-PERIOD, None)


class Method(NamedTuple):
    """A rule, and the loss that its authors train on."""

    rule: AbstractUpdateRule[Any]
    loss: str = "regression"


INPO_RULE = INPO(eta=1 / STEP, tau=TEMPERATURE)

FIVE: Mapping[str, Method] = {
    "COMAL": Method(COMAL(INPO_RULE, PERIOD)),
    "INPO": Method(INPO_RULE),
    # Near Nash DPO's step is 4 / beta.
    "iterative DPO": Method(IterativeDPO(beta=4 / STEP), "logistic"),
    "iterative IPO": Method(IterativeIPO(tau=1 / STEP)),
    "SPPO": Method(SPPO(step_size=STEP), "pointwise"),
}

SOMETIMES, NEVER, ALWAYS = f"moved every {PERIOD} rounds", "fixed", "moved every round"

SCHEDULES: Mapping[str, Method] = {
    SOMETIMES: Method(COMAL(INPO_RULE, PERIOD)),
    NEVER: Method(INPO_RULE),
    ALWAYS: Method(COMAL(INPO_RULE, 1)),
}

# What a round of the sampled runs collects for each prompt: so many sets of five answers, as SPPO does, all
# ten pairs of a set compared once. Gradient steps see 32 sets each, all of them in four epochs.
DRAWN = tiny.Drawn(num_sets=512, num_candidates=5, batch_size=32)
NUM_DRAWN_FIT_STEPS, DRAWN_LEARNING_RATE = 64, 5e-3


def answers_game() -> PreferenceGame:
    """One game for each prompt: three good answers of its own that beat each other in a cycle.

    A good answer beats the next one of its cycle with 75% to 95%, and any other answer with 65% to 90%. The
    others beat each other with 20% to 80%. Which strings are good, and all numbers, differ between prompts.
    """
    rng = np.random.default_rng(0)

    def skew() -> np.ndarray:
        matrix = np.zeros((NUM_ANSWERS, NUM_ANSWERS))
        matrix[GOOD:, GOOD:] = np.triu(rng.uniform(-0.3, 0.3, (NUM_ANSWERS - GOOD,) * 2), 1)
        matrix[:GOOD, GOOD:] = rng.uniform(0.15, 0.4, (GOOD, NUM_ANSWERS - GOOD))
        matrix[np.arange(GOOD), (np.arange(GOOD) + 1) % GOOD] = rng.uniform(0.25, 0.45, GOOD)
        places = rng.permutation(NUM_ANSWERS)
        return (matrix - matrix.T)[places][:, places]

    return PreferenceGame.from_skew(np.stack([skew() for _ in range(NUM_PROMPTS)]))


def networks(seed: int = 0) -> tiny.Transformer:
    """The first networks, drawn anew for each seed, on the leading axis."""
    keys = jax.random.split(jax.random.key(seed), NUM_SEEDS)
    return jax.vmap(lambda key: tiny.Transformer(key, NUM_PROMPTS, width=WIDTH))(keys)


def trained(
    methods: Mapping[str, Method],
    num_fit_steps: int = NUM_FIT_STEPS,
    learning_rate: float = LEARNING_RATE,
    drawn: tiny.Drawn | None = None,
    seed: int = 0,
) -> Any:
    """Every method's networks beside the table that follows the same rule from the same first policy.

    An `xarray.Dataset` over (game, algorithm, seed, record), as a sweep gives it; the games are the prompts
    and a record is taken after every round. `fit_residual` and `distance` are those of the round that led to
    the record.
    """
    import xarray as xr

    game, models = answers_game(), networks(seed)
    keys = jax.random.split(jax.random.key(1), NUM_SEEDS)
    nash_logp = nash(game).logp
    found: dict[str, list[np.ndarray]] = {}
    for rule, loss in methods.values():
        fit = tiny.Fit(loss, learning_rate, num_fit_steps)

        def learn(model: Any, key: Any, rule: Any = rule, fit: Any = fit) -> tiny.Run:
            return tiny.train(game, rule, model, NUM_ROUNDS, fit, drawn, key)

        def follow(logp: Any, rule: Any = rule) -> Any:
            return trajectory(game, rule, NUM_ROUNDS, logp=logp, metrics=["logp"]).records["logp"]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a period that is too short is a point made
            run = jax.vmap(learn)(models, keys)
        table_logp = jax.jit(jax.vmap(follow))(run.logp[:, 0])
        for name, rows in {
            "duality_gap": run.duality_gap,
            "table_gap": duality_gap(game, table_logp),
            "kl_to_nash": kl_to(nash_logp)(game, run.logp),
            "fit_residual": _from_record_one(run.fit_residual),
            "distance": _from_record_one(run.distance),
        }.items():
            found.setdefault(name, []).append(np.asarray(rows))
    regularized = np.stack([qre(game, TEMPERATURE, policy) for policy in np.exp(run.logp[:, 0])])
    dims = ("game", "algorithm", "seed", "record")
    data: dict[str, Any] = {
        # [algorithm, seed, record, prompt]
        name: (dims, np.moveaxis(np.stack(rows), -1, 0))
        for name, rows in found.items()
    }
    data["regularized_gap"] = (("game", "seed"), np.asarray(duality_gap(game, jnp.log(regularized))).T)
    rounds = np.broadcast_to(np.arange(NUM_ROUNDS + 1), (NUM_PROMPTS, len(methods), NUM_ROUNDS + 1))
    return xr.Dataset(
        data,
        {
            "game": [f"prompt {k}" for k in range(NUM_PROMPTS)],
            "algorithm": list(methods),
            "seed": np.arange(NUM_SEEDS),
            # Each of these rules asks once a round.
            "steps": (("game", "algorithm", "record"), rounds),
            "queries": (("game", "algorithm", "record"), rounds),
        },
        attrs={"parameters": sum(leaf[0].size for leaf in jax.tree.leaves(models))},
    )


def _from_record_one(rows: Any) -> Any:
    """Numbers of rounds, `[seeds, rounds, prompts]`, at the records that the rounds led to."""
    return jnp.pad(rows, ((0, 0), (1, 0), (0, 0)), constant_values=jnp.nan)


def exact() -> Any:
    """All answers, all pairs, the preferences themselves as labels."""
    return trained(FIVE)


def sampled() -> Any:
    """Answers that the network draws, and one comparison of every pair in a set."""
    return trained(FIVE, NUM_DRAWN_FIT_STEPS, DRAWN_LEARNING_RATE, DRAWN)


def reference_schedules() -> Any:
    """The same loss, with the reference fixed, moved every round, or moved after some rounds.

    The first networks are others than those of `exact`, of which two of these would be copies.
    """
    return trained(SCHEDULES, seed=2)


def fit_steps() -> Any:
    """Where COMAL and INPO end, by the number of gradient steps a round."""
    import xarray as xr

    methods = {name: FIVE[name] for name in ("COMAL", "INPO")}
    runs = [trained(methods, num) for num in FIT_STEPS]
    late = [run["duality_gap"].isel(record=LATE).max("record", skipna=False) for run in runs]
    gaps = np.stack([each.values for each in late])
    left = np.stack([run["fit_residual"].sel(algorithm="INPO").isel(record=1).values for run in runs])
    return xr.Dataset(
        {
            "gap": (("fit_steps", "game", "algorithm", "seed"), gaps),
            "first_residual": (("fit_steps", "game", "seed"), left),
            "regularized_gap": runs[0]["regularized_gap"],
        },
        {"fit_steps": list(FIT_STEPS), "algorithm": list(methods)},
    )
