"""COMAL's synthetic result: its experiments, what must hold, and what to look at.

Liu et al., "COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences", arXiv 2410.23223.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.algorithms import (
    COMAL,
    INPO,
    MMD,
    SPPO,
    AbstractAlgorithm,
    ExactProx,
    Extragradient,
    IterativeDPO,
    IterativeIPO,
    MirrorDescent,
    OptimisticMWU,
)
from comalgames.equilibria import nash
from comalgames.experiments import (
    Claim,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    at_least,
    at_most,
    between,
)
from comalgames.experiments.spec import Data
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import kl_to, win_rates
from comalgames.papers import (
    comal_losses,
    comal_noise,
    comal_optimizer,
    comal_phase,
    comal_samples,
    comal_self_tuning,
    comal_theory,
    reward_models,
)
from comalgames.papers.comal_setting import NEW, START, TEMPERATURE, cycle_game

NASH = (4 / 11, 3 / 11, 4 / 11)

BASELINES: Mapping[str, AbstractAlgorithm[Any]] = {
    "INPO": INPO(eta=1.0, tau=TEMPERATURE),
    "iterative DPO": IterativeDPO(beta=1.0),
    "iterative IPO": IterativeIPO(tau=1.0),
    "SPPO": SPPO(step_size=1.0),
}
FIVE = {"COMAL": COMAL(MirrorDescent(1.0, TEMPERATURE), period=20), **BASELINES}
OTHERS: Mapping[str, AbstractAlgorithm[Any]] = {
    "COMAL, exact": COMAL(ExactProx(TEMPERATURE), period=1),
    "optimistic MWU": OptimisticMWU(step_size=2.0),
    "extragradient": Extragradient(step_size=2.0),
}
SLOW: Mapping[str, AbstractAlgorithm[Any]] = {
    "iterative DPO": IterativeDPO(beta=1 / 0.3),
    "iterative IPO": IterativeIPO(tau=1 / 0.3),
    "SPPO": SPPO(step_size=0.3),
}
THREE_NAMES: Mapping[str, AbstractAlgorithm[Any]] = {
    "INPO": INPO(eta=1.3, tau=TEMPERATURE),
    "MMD": MMD(step_size=1 / (1.3 - TEMPERATURE), temperature=TEMPERATURE),
    "mirror descent": MirrorDescent(step_size=1 / 1.3, temperature=TEMPERATURE),
}
HEADLINE: Mapping[str, Any] = {"num_queries": 2000, "init": START, "metrics": ["policy"]}
PERIODS = (1, 3, 5, 6, 20, 100)
PROX_TEMPERATURES = (0.03, 0.1, 0.3, 1.0, 3.0)


def ten_random_games() -> dict[str, PreferenceGame]:
    """Ten random games of ten answers."""
    return {f"random {seed}": games.random(jax.random.key(seed), 10) for seed in range(10)}


def cycle_and_random_games() -> dict[str, PreferenceGame]:
    """The three-answer cycle and twenty random games of ten answers."""
    return cycle_game() | {
        f"random {seed}": games.random(jax.random.key(100 + seed), 10) for seed in range(20)
    }


def kl_to_nash(game: PreferenceGame) -> dict[str, Any]:
    """KL from the game's Nash policy."""
    return {"kl_to_nash": kl_to(nash(game).logp)}


def win_rates_of_final_policies() -> Any:
    """Who wins how often among the final policies of all methods and the three answers, on the cycle."""
    import xarray as xr

    from comalgames.drivers.sweep import sweep

    game = games.comal_cycle()
    runs = sweep(cycle_game(), {**FIVE, **OTHERS}, **HEADLINE)  # the same runs: compiled once
    finals = runs["final_policy"].sel(game="cycle", seed=0).values
    answers = np.eye(3)
    names = [*(str(name) for name in runs["algorithm"].values), *(f"always {name}" for name in game.names)]
    with np.errstate(divide="ignore"):
        matrix = win_rates(game, jax.numpy.log(jax.numpy.asarray(np.vstack([finals, answers]))))
    return xr.Dataset({"win_rate": (("policy_name", "opponent"), np.asarray(matrix))}, {"policy_name": names})


EXPERIMENTS = (
    Experiment(
        "headline",
        "Who reaches the Nash policy of the three-answer cycle, who stops short and who cycles?",
        cycle_game,
        {**FIVE, **OTHERS},
        HEADLINE,
    ),
    Experiment(
        "small steps",
        "Do the baselines also diverge with a step of 0.3, given time?",
        cycle_game,
        SLOW,
        {"num_queries": 5000, "init": START},
        is_quick=False,
    ),
    Experiment(
        "periods",
        "How often may COMAL move its reference?",
        cycle_game,
        {
            f"every {K} steps" if K > 1 else "every step": COMAL(MirrorDescent(1.0, TEMPERATURE), period=K)
            for K in PERIODS
        }
        | {"no period: when it is near": COMAL(MirrorDescent(1.0, TEMPERATURE))},
        {"num_queries": 600, "init": START},
    ),
    Experiment(
        "random games",
        "Is the picture the same on random games of ten answers, from uniform?",
        ten_random_games,
        FIVE,
        {"num_queries": 20_000, "record_every": 20},
        is_quick=False,
    ),
    Experiment(
        "exact steps",
        "Does exact COMAL come closer to Nash with every step, at every temperature?",
        cycle_and_random_games,
        {f"temperature {t}": COMAL(ExactProx(t), period=1) for t in PROX_TEMPERATURES},
        {"num_steps": 150, "init": None, "game_metrics": kl_to_nash},
    ),
    Experiment(
        "exact steps from the start",
        "The same on the cycle from COMAL's own start, where rotation shows.",
        cycle_game,
        {f"temperature {t}": COMAL(ExactProx(t), period=1) for t in PROX_TEMPERATURES},
        {"num_steps": 150, "init": START, "game_metrics": kl_to_nash},
    ),
    Experiment(
        "one algorithm",
        "Are INPO, magnetic mirror descent and online mirror descent one algorithm?",
        cycle_and_random_games,
        THREE_NAMES,
        {"num_steps": 500, "metrics": ["policy"], "record_every": 10},
        is_quick=False,
    ),
    Measurement("truth", "What are the exact answers on the cycle?", comal_theory.truth),
    Measurement("final policies", "Which final policy beats which?", win_rates_of_final_policies),
    Measurement("published loss", "Does one step minimize the published loss?", comal_theory.published_loss),
    Measurement(
        "step sizes",
        "Beyond which step size is a rule unstable?",
        comal_theory.step_size_thresholds,
        is_quick=False,
    ),
    Measurement(
        "inner steps",
        "With how many inner steps does COMAL contract?",
        comal_theory.inner_steps,
        is_quick=False,
    ),
    Measurement("outer rate", "How fast is exact COMAL near Nash?", comal_theory.outer_rate, is_quick=False),
    Measurement(
        "mariner", "What does a reward model pick from real votes, what does Nash?", reward_models.mariner
    ),
    Measurement(
        "five judges",
        "How often does a reward model miss a Condorcet winner?",
        reward_models.five_judges,
        is_quick=False,
    ),
)


def last_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The last recorded gap of a run on an experiment's first game."""
    row = data[experiment]["duality_gap"].sel(algorithm=algorithm, seed=0).values[0]
    return float(row[np.isfinite(row)][-1])


def gap_of_later_half(data: Data, experiment: str, algorithm: str) -> float:
    """The smallest gap in the second half of a run: large only if the run stays away from Nash."""
    row = data[experiment]["duality_gap"].sel(algorithm=algorithm, seed=0).values[0]
    row = row[np.isfinite(row)]
    return float(row[len(row) // 2 :].min())


def largest_rise(data: Data, experiment: str, quantity: str, temperatures: tuple[float, ...]) -> float:
    """By how much a recorded quantity rises at most from one step to the next, over all games."""
    runs = data[experiment][quantity].sel(algorithm=[f"temperature {t}" for t in temperatures], seed=0)
    return float(np.diff(runs.values, axis=-1).max())


def share(data: Data, name: str, *others: str) -> np.ndarray:
    """Win rates of the named final policy against others (all, if none is named)."""
    matrix = data["final policies"]["win_rate"]
    names = list(matrix["policy_name"].values)
    columns = [names.index(other) for other in others] if others else slice(None)
    return np.asarray(matrix.values[names.index(name), columns])


def nash_error(data: Data) -> float:
    """Largest error of the cycle's Nash policy and its win rates; inf unless certified the only one."""
    truth = data["truth"]
    if not (truth.attrs["unique"] and truth.attrs["status"] == "certified"):
        return float("inf")
    rates = truth["win_rate_against_nash"].values
    return float(max(np.abs(truth["nash_policy"].values - NASH).max(), np.abs(rates - 0.5).max()))


def distance_to_regularized(data: Data) -> float:
    """Largest difference between INPO's last policy and the regularized game's equilibrium."""
    last = data["headline"]["final_policy"].sel(game="cycle", algorithm="INPO", seed=0).values
    return float(np.abs(last - data["truth"]["regularized_policy"].values).max())


def growth_of_kl(data: Data, experiment: str, algorithm: str) -> float:
    """KL(Nash || last policy) over KL(Nash || start)."""
    with np.errstate(divide="ignore"):
        last = np.log(data[experiment]["final_policy"].sel(game="cycle", algorithm=algorithm, seed=0).values)
    nash_policy = np.array(NASH)
    return float(
        nash_policy @ (np.log(nash_policy) - last) / (nash_policy @ (np.log(nash_policy) - np.log(START)))
    )


def least_fall_of_kl(data: Data) -> float:
    """KL(Nash || start) over KL(Nash || last policy), the smallest over games and temperatures."""
    falls = []
    for name in EXACT_STEPS:
        kl = data[name]["kl_to_nash"].sel(seed=0).values
        falls.append((kl[..., 0] / np.maximum(kl[..., -1], np.finfo(float).tiny)).min())
    return float(min(falls))


def disagreement(data: Data) -> float:
    """Largest difference of a probability between the three rules; inf if a run was not completed."""
    runs = data["one algorithm"]
    if not np.all(runs["status"].values == "completed"):
        return float("inf")
    return float(np.nanmax(runs["policy"].max("algorithm") - runs["policy"].min("algorithm")))


def condorcet_and_nash(data: Data) -> float:
    """The number of the trajectory that Nash plays alone and that beats every other; else nan."""
    found = data["mariner"]
    k = int(found["nash_policy"].values.argmax())
    beaten = np.delete(found["against_nash"].values, k) < 0.5
    alone = float(found["nash_policy"][k]) == 1.0
    return float(found.attrs["nash_pick"]) if alone and beaten.all() else float("nan")


EXACT_STEPS = ("exact steps", "exact steps from the start")
SECTION = "COMAL, synthetic experiment"

CLAIMS = (
    Claim(
        "A1",
        "The unique Nash policy is (4, 3, 4)/11 and wins exactly half of the time against every answer.",
        SECTION, "largest error of a probability or win rate", nash_error, at_most(1e-14), ("truth",),
    ),
    *(
        Claim(
            f"A2.{name.split()[-1]}.{label}",
            f"{name[0].upper()}{name[1:]} does not converge: its gap stays large (step {label}).",
            SECTION, "smallest duality gap in the second half of the run",
            partial(gap_of_later_half, experiment=where, algorithm=name), at_least(0.2), (where,),
        )
        for where, label in (("headline", "1"), ("small steps", "0.3"))
        for name in ("iterative DPO", "iterative IPO", "SPPO")
    ),
    *(
        Claim(
            f"A2.{name.split()[-1]}.{label}.kl",
            f"{name[0].upper()}{name[1:]} moves away from Nash (step {label}).",
            SECTION, "KL(Nash, last policy) / KL(Nash, start)",
            partial(growth_of_kl, experiment=where, algorithm=name), at_least(2.0), (where,),
        )
        for where, label in (("headline", "1"), ("small steps", "0.3"))
        for name in ("iterative DPO", "iterative IPO", "SPPO")
    ),
    Claim(
        "A3.limit",
        "INPO, with a step of 1, below the limit 2 tau/(tau^2 + w^2) of 3.9, converges to the equilibrium "
        "of the regularized game.",
        f"{SECTION}; INPO", "largest difference of a probability",
        distance_to_regularized, at_most(1e-12), ("headline", "truth"),
    ),
    Claim(
        "A3.gap", "and that equilibrium is not Nash: INPO's gap stops at a positive constant.",
        f"{SECTION}; INPO", "last duality gap", partial(last_gap, experiment="headline", algorithm="INPO"),
        between(0.05, 0.07), ("headline",),
    ),
    *(
        Claim(
            f"A4.{label}", f"COMAL reaches Nash in the last iterate, with {label} inner solves.",
            "COMAL, theorem 1 and synthetic experiment", "last duality gap",
            partial(last_gap, experiment="headline", algorithm=name), at_most(1e-11), ("headline",),
        )
        for label, name in (("finite", "COMAL"), ("exact", "COMAL, exact"))
    ),
    Claim(
        "A5",
        "KL(Nash, COMAL's policy) never increases, for any of five temperatures, on the cycle and 20 "
        "random games.",
        "COMAL, theorem 1", "largest increase of KL in one step, nats",
        lambda data: max(largest_rise(data, name, "kl_to_nash", PROX_TEMPERATURES) for name in EXACT_STEPS),
        at_most(1e-12), EXACT_STEPS,
    ),
    Claim(
        "A5.falls", "and it falls.", "COMAL, theorem 1", "smallest KL(Nash, start) / KL(Nash, last policy)",
        least_fall_of_kl, at_least(1.1), EXACT_STEPS,
    ),
    Claim(
        "A7.on",
        "Near Nash exact COMAL shrinks KL per step by the largest tau^2/(tau^2 + w^2) over the rotation "
        "frequencies w (or by the square of the factor off the support, where that is larger),",
        NEW, "largest |measured / predicted - 1| of log(factor), 12 games",
        lambda data: comal_theory.outer_rate_error(data, "on"), at_most(0.02), ("outer rate",),
    ),
    Claim(
        "A7.off", "and the mass off the support by exp(-slack/tau).",
        NEW, "largest |measured / predicted - 1| of log(factor), 10 games",
        lambda data: comal_theory.outer_rate_error(data, "off"), at_most(0.02), ("outer rate",),
    ),
    Claim(
        "A8.necessary", "COMAL diverges with fewer inner steps than sqrt(3/(eta tau)) - 0.3.",
        NEW, "smallest growth factor per round minus 1, 12 settings on each of two games",
        comal_theory.growth_below_necessary, at_least(0.0), ("inner steps",),
    ),
    Claim(
        "A8.sufficient", "2/sqrt(eta tau) inner steps suffice when the step is at most 0.7 of its own limit.",
        NEW, "largest growth factor per round minus 1", comal_theory.growth_above_sufficient, at_most(-1e-9),
        ("inner steps",),
    ),
    Claim(
        "A8.exact", "The growth per round is |g(K, w)|, g = tau/(tau - iw) + lambda^K (1 - tau/(tau - iw)), "
        "lambda = 1 - eta tau + i eta w.",
        NEW, "largest error of the growth factor", comal_theory.growth_error, at_most(1e-9), ("inner steps",),
    ),
    Claim(
        "A8.counterexample",
        "The first bound does not suffice: step 1, temperature 0.05 and 8 > sqrt(60) inner steps diverge.",
        NEW,
        "growth factor per round minus 1", comal_theory.growth_at_counterexample, at_least(0.0),
        ("inner steps",),
    ),
    Claim(
        "A9", "COMAL's KL is monotone but its gap is not, at each temperature from 0.3 on the cycle.",
        NEW, "largest increase of the duality gap in one step, smallest over the temperatures",
        lambda data: min(largest_rise(data, EXACT_STEPS[1], "duality_gap", (t,)) for t in (0.3, 1.0, 3.0)),
        at_least(1e-3), EXACT_STEPS[1:],
    ),
    *(
        Claim(
            f"A11.{name.split()[0]}", f"COMAL is not the only one: {name}, unregularized, reaches Nash too.",
            NEW, "last duality gap", partial(last_gap, experiment="headline", algorithm=name),
            at_most(1e-11), ("headline",),
        )
        for name in ("optimistic MWU", "extragradient")
    ),
    Claim(
        "A13.comal",
        "COMAL's final policy wins at least half of the time against every other final policy and every "
        "answer.",
        "COMAL, cross-policy comparison", "its lowest win rate", lambda data: share(data, "COMAL").min(),
        at_least(0.5 - 1e-6), ("final policies",),
    ),
    Claim(
        "A13.baselines", "Each of the four baselines has an opponent that beats it.",
        "COMAL, cross-policy comparison", "highest of the baselines' lowest win rates",
        lambda data: max(share(data, name).min() for name in BASELINES),
        at_most(0.5 - 1e-3), ("final policies",),
    ),
    Claim(
        "A13.all", "No method's lowest win rate is above COMAL's.",
        "COMAL, cross-policy comparison", "highest lowest win rate of all methods minus COMAL's",
        lambda data: max(share(data, name).min() for name in (*FIVE, *OTHERS)) - share(data, "COMAL").min(),
        at_most(1e-6), ("final policies",),
    ),
    Claim(
        "A15.one",
        "INPO(eta, tau), MMD(1/(eta - tau), tau) and mirror descent with step 1/eta are one algorithm.",
        NEW, "largest difference of a probability over 500 steps on 21 games",
        disagreement, at_most(1e-12), ("one algorithm",),
    ),
    Claim(
        "A15.loss", "and its step is the minimizer of the loss that INPO and COMAL publish.",
        "INPO, equation 8; COMAL's repository", "largest difference of a log-probability, nats",
        lambda data: float(data["published loss"]["difference"].max()), at_most(1e-10), ("published loss",),
    ),
    Claim(
        "A16.OMD",
        "Mirror descent (INPO, where its step is at most 1/tau) is locally stable exactly below the step "
        "2 tau/(tau^2 + w^2), w the largest frequency at its limit.",
        NEW, "largest relative error of the threshold over 10 settings",
        lambda data: comal_theory.threshold_error(data, "mirror descent"), at_most(1e-6), ("step sizes",),
    ),
    Claim(
        "A16.MMD", "MMD is locally stable exactly below the step 2 tau/(w^2 - tau^2) if tau < w,",
        NEW, "largest relative error of the threshold over the settings with tau < w",
        lambda data: comal_theory.threshold_error(data, "MMD"), at_most(1e-6), ("step sizes",),
    ),
    Claim(
        "A16.always", "and for every step if tau >= w.",
        NEW, "largest growth factor per step over steps from 0.1 to 1e4, tau >= w",
        comal_theory.growth_where_always_stable, at_most(1.0 - 1e-9), ("step sizes",),
    ),
    Claim(
        "A29.reward", "On ten science teams' votes a Bradley-Terry reward picks trajectory 27,",
        NEW, "number of the trajectory with the highest reward",
        lambda data: float(data["mariner"].attrs["reward_pick"]), between(27, 27), ("mariner",),
    ),
    Claim(
        "A29.nash", "while the Nash policy, and Condorcet winner, is trajectory 22,",
        NEW, "number of the trajectory that is both", condorcet_and_nash, between(22, 22), ("mariner",),
    ),
    Claim(
        "A29.beats", "which beats it with 55%.",
        NEW, "win rate of the Nash policy against the reward's pick",
        lambda data: float(data["mariner"].attrs["nash_beats_reward"]),
        between(0.55 - 1e-12, 0.55 + 1e-12), ("mariner",),
    ),
    Claim(
        "A29.judges",
        "With five equal Bradley-Terry judges and ten answers the two disagree in at least a tenth of the "
        "random games that have a Condorcet winner.",
        NEW, "share of such games", lambda data: float(data["five judges"].attrs["share"]), at_least(0.1),
        ("five judges",),
    ),
)  # fmt: skip

FIGURES = (
    Figure(
        "headline",
        "Left: the first 200 steps of five rules on the simplex of the three-answer cycle; squares mark "
        "where each then is. Right: the duality gap of the last policy against queries. The three rules "
        "without a reference spiral to the boundary (SPPO as a table is iterative IPO, so its line lies on "
        "the other), INPO stops at the equilibrium of the regularized game, COMAL reaches Nash.",
        (
            Panel(
                "simplex", "headline", "policies, first 200 steps",
                {"algorithms": tuple(FIVE), "game": "cycle", "nash": NASH, "names": ("a", "b", "c"), "until":
                200},
            ),
            Panel("gap", "headline", "three-answer cycle, step 1", {"algorithms": tuple(FIVE), "until":
            1000}),
        ),
    ),
    Figure(
        "periods",
        "COMAL around mirror descent (step 1, temperature 0.1) that moves its reference every so many "
        "steps. Up to every fifth it diverges, every step being multiplicative weights; from every sixth on "
        "it heads for Nash. Without a period it moves when the policy is near the inner equilibrium, and "
        "cannot diverge.",
        (Panel("gap", "periods", "how often the reference moves"),),
    ),
    Figure(
        "win_rates",
        "How often the row's final policy is preferred to the column's, after 3,000 queries on the cycle. "
        "COMAL, optimistic and extragradient policies lose to nobody; each baseline loses to somebody.",
        (Panel("win_rates", "final policies"),),
    ),
    Figure(
        "random_games",
        "The same five rules on ten random games of ten answers, from uniform: median and quartiles over "
        "the games. COMAL goes on to Nash, on some games slowly; INPO stops at the regularized equilibrium; "
        "the others keep cycling.",
        (Panel("gap", "random games", "ten random games of 10 answers"),),
    ),
    Figure(
        "mariner",
        "Ten science teams ranked 32 trajectories. Each trajectory's win rate against the Nash policy "
        "(trajectory 22: nobody is above 50%) and against trajectory 27, which a Bradley-Terry reward picks "
        "and 22 beats.",
        (Panel("picks", "mariner", "", {"names": {"against_nash": "against the Nash policy (22)",
        "against_reward": "against the reward's pick (27)"}, "prefix": "Trajectory "}),),
    ),
)  # fmt: skip

# Each holds the experiments, claims and figures of one question.
PARTS = (comal_losses, comal_samples, comal_optimizer, comal_noise, comal_self_tuning, comal_phase)

PAPER = Paper(
    "comal",
    "COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences",
    "Liu et al., arXiv 2410.23223",
    (*EXPERIMENTS, *(experiment for part in PARTS for experiment in part.EXPERIMENTS)),
    (*CLAIMS, *(claim for part in PARTS for claim in part.CLAIMS)),
    (*FIGURES, *(figure for part in PARTS for figure in part.FIGURES)),
)
