"""What wrong labels, few comparisons and disagreeing annotators do to what is learnt, on the true game."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from comalgames import games
from comalgames.algorithms import COMAL, INPO, ExactProx, MirrorDescent
from comalgames.algorithms.corrected import flip_corrected
from comalgames.drivers.solve import Result, solve
from comalgames.equilibria import annotator_robust_nash, nash, qre, robust_nash, worst_annotator_gap
from comalgames.experiments import Claim, Figure, Measurement, Panel, at_least, at_most
from comalgames.experiments.spec import Data
from comalgames.feedback import Exact
from comalgames.games import PreferenceGame
from comalgames.measures.metrics import duality_gap, win_rates
from comalgames.papers.comal_setting import NEW, START, TEMPERATURE

PERIOD = 20

# At a flip rate of 0.45 advantages are a tenth of the true ones, and COMAL needs some 3000 rounds.
FLIP_RATES = tuple(np.arange(10) / 20)
NUM_STEPS, NUM_INPO_STEPS = 80_000, 2000

# Random games of ten answers; how far each win rate is moved, and how often each pair is compared.
NUM_GAMES, NUM_ANSWERS = 10, 10
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
NUM_COMPARISONS = (10, 30, 100, 300, 1000, 3000)

# All pairs of a game together are estimated to within the band but with this probability.
BAND_FAILS = 0.05

# Exact COMAL, and how many rounds it needs on these games for a gap that no longer matters.
PROX_TEMPERATURE, NUM_ROUNDS = 0.003, 300

TEAMS = tuple(f"team {k}" for k in range(1, 11))

NASH, LEARNT = "Nash of the noisy game", "COMAL on the noisy game"
REGULARIZED, ROBUST = "INPO on the noisy game", "robust policy of the noisy game"


def label_flips() -> Any:
    """The true gap of what is learnt on the cycle from labels flipped at a rate, and the predicted gap.

    `predicted` is the gap of the equilibrium regularized at temperature tau / (1 - 2 rate) on the true game,
    and `error` how far INPO's last policy is from it.
    """
    import xarray as xr

    game = games.comal_cycle()
    inpo = INPO(1.0, TEMPERATURE)
    gaps: dict[str, list[float]] = {"COMAL": [], "INPO": [], "INPO, corrected": []}
    predicted, errors = [], []
    for rate in FLIP_RATES:
        source = Exact(games.flip_labels(game, rate))
        comal = _learnt(COMAL(MirrorDescent(1.0, TEMPERATURE), PERIOD), NUM_STEPS, source)
        plain = _learnt(inpo, NUM_INPO_STEPS, source)
        corrected = _learnt(flip_corrected(inpo, rate), NUM_INPO_STEPS, source)
        for name, run in zip(gaps, (comal, plain, corrected), strict=True):
            gaps[name].append(float(run.duality_gap))
        limit = qre(game, TEMPERATURE / (1 - 2 * rate), START)
        predicted.append(float(duality_gap(game, np.log(limit))))
        errors.append(float(np.abs(plain.policy - limit).max()))
    return xr.Dataset(
        {
            "gap": (("rule", "rate"), np.array(list(gaps.values()))),
            "predicted": ("rate", predicted),
            "error": ("rate", errors),
        },
        {"rule": list(gaps), "rate": list(FLIP_RATES)},
    )


def _learnt(rule: Any, num_steps: int, source: Exact) -> Result:
    """What a rule learns from `source`, measured on the cycle."""
    game = games.comal_cycle()
    return solve(game, rule, num_steps, init=START, feedback=source, record_every=num_steps)


def largest_gap(data: Data, rule: str) -> float:
    """The largest true gap of a rule over the rates at which labels are flipped."""
    return float(data["label flips"]["gap"].sel(rule=rule).max(skipna=False))


def limit_error(data: Data) -> float:
    """Largest difference of a probability between INPO's last policy and the predicted equilibrium."""
    return float(data["label flips"]["error"].max(skipna=False))


def rise_with_rate(data: Data) -> float:
    """Smallest rise of INPO's true gap from one rate to the next."""
    return float(data["label flips"]["gap"].sel(rule="INPO").diff("rate").min(skipna=False))


def spread_when_corrected(data: Data) -> float:
    """How much the gap of the corrected INPO varies over the rates."""
    gaps = data["label flips"]["gap"].sel(rule="INPO, corrected")
    return float(gaps.max(skipna=False) - gaps.min(skipna=False))


def across_noise() -> Any:
    """Who wins how often, by true labels, among policies learnt at different rates of flips."""
    import xarray as xr

    game = games.comal_cycle()
    rules = {
        "COMAL": (COMAL(MirrorDescent(1.0, TEMPERATURE), PERIOD), NUM_STEPS),
        "INPO": (INPO(1.0, TEMPERATURE), NUM_INPO_STEPS),
    }
    policies = {
        f"{name}, {rate:.0%} flipped": _learnt(rule, num_steps, Exact(games.flip_labels(game, rate))).logp
        for name, (rule, num_steps) in rules.items()
        for rate in (0.0, 0.2, 0.4)
    }
    matrix = np.asarray(win_rates(game, np.stack(list(policies.values()))))
    return xr.Dataset({"win_rate": (("policy_name", "opponent"), matrix)}, {"policy_name": list(policies)})


def perturbations() -> Any:
    """The true gap after learning on random games whose win rates were moved at random, and its bound.

    Each win rate is moved by a number drawn uniformly from [-size, size], and kept in [0, 1]. `ratio` is the
    gap over the bound, twice the largest move.
    """
    true = _random_games()
    draws = jax.random.uniform(
        jax.random.key(1), (len(SIZES), *true.skew.shape), true.dtype, minval=-1.0, maxval=1.0
    )
    moved = jnp.tril(
        jnp.clip(true.skew + jnp.asarray(SIZES, true.dtype)[:, None, None, None] * draws, -0.5, 0.5), -1
    )
    noisy = PreferenceGame.from_skew(moved - moved.swapaxes(-1, -2))
    return _learnt_from(noisy, true, "size", SIZES, 2 * np.array(SIZES))


def comparisons() -> Any:
    """The true gap after learning on games estimated from some comparisons of each pair, and its bound.

    The bound drawn is twice the band that all win rates of a game are in with probability 95%; `ratio` is the
    gap over twice the largest error there was.
    """
    true = _random_games()
    keys = jax.random.split(jax.random.key(2), len(NUM_COMPARISONS))
    noisy = PreferenceGame.from_skew(
        jnp.stack([games.estimated(key, true, m).skew for key, m in zip(keys, NUM_COMPARISONS, strict=True)])
    )
    pairs_twice = NUM_ANSWERS * (NUM_ANSWERS - 1)
    band = np.sqrt(np.log(pairs_twice / BAND_FAILS) / (2 * np.array(NUM_COMPARISONS)))
    return _learnt_from(noisy, true, "num_comparisons", NUM_COMPARISONS, 2 * band)


def largest_ratio(data: Data, policy: str) -> float:
    """The largest true gap of a policy learnt on noise over its bound, on all noisy games."""
    names = ("perturbations", "comparisons")
    return max(float(data[name]["ratio"].sel(policy=policy).max(skipna=False)) for name in names)


def _random_games() -> PreferenceGame:
    return games.random(jax.random.key(0), NUM_ANSWERS, (NUM_GAMES,))


def _learnt_from(
    noisy: PreferenceGame, true: PreferenceGame, name: str, levels: Any, bound: np.ndarray
) -> Any:
    """What is learnt from the noisy games `[levels, games]`, measured in the true ones `[games]`."""
    import xarray as xr

    evaluated = PreferenceGame.from_skew(jnp.broadcast_to(true.skew, noisy.skew.shape))
    source = Exact(noisy)
    comal = solve(
        evaluated,
        COMAL(ExactProx(PROX_TEMPERATURE), 1),
        NUM_ROUNDS,
        feedback=source,
        record_every=NUM_ROUNDS,
    )
    inpo = solve(
        evaluated,
        INPO(1.0, TEMPERATURE),
        NUM_INPO_STEPS,
        feedback=source,
        record_every=NUM_INPO_STEPS,
    )
    robust = [
        robust_nash(PreferenceGame.from_skew(noisy.skew[k]), min(radius, 0.5)).policy
        for k, radius in enumerate(bound / 2)
    ]
    policies = {
        NASH: nash(noisy).policy,
        LEARNT: comal.policy,
        REGULARIZED: inpo.policy,
        ROBUST: np.stack(robust),
    }
    with np.errstate(divide="ignore"):
        gaps = [np.asarray(duality_gap(evaluated, np.log(policy))) for policy in policies.values()]
    largest_move = np.abs(np.asarray(noisy.skew - evaluated.skew)).max((-2, -1))
    axes = ("policy", name, "game")
    return xr.Dataset(
        {
            "gap": (axes, np.maximum(gaps, 0.0)),
            "ratio": (axes, gaps / (2 * largest_move)),
            "bound": (name, bound),
            "left_to_learn": (axes[1:], np.asarray(duality_gap(noisy, comal.logp))),
        },
        {"policy": list(policies), name: list(levels), "game": list(range(NUM_GAMES))},
    )


def annotators() -> Any:
    """Of the ten science teams: what Nash of their votes and the policy robust to each of them are worth.

    `gap` is each policy's gap under every team's own ranking, `worst` the largest of them, `mixture_gap` the
    gap in the votes of all.
    """
    import xarray as xr

    teams, game = games.mariner_teams(), games.mariner()
    robust = annotator_robust_nash(teams)
    policies = np.stack([nash(game).policy, robust.policy, np.full(game.num_actions, 1 / game.num_actions)])
    with np.errstate(divide="ignore"):
        logps = np.log(policies)
    return xr.Dataset(
        {
            "policy": (("policy_name", "option"), policies),
            "gap": (("policy_name", "team"), [duality_gap(teams, logp) for logp in logps]),
            "worst": ("policy_name", [worst_annotator_gap(teams, logp) for logp in logps]),
            "mixture_gap": ("policy_name", duality_gap(game, logps)),
        },
        {"policy_name": ["Nash", "robust", "uniform"], "option": list(game.names), "team": list(TEAMS)},
        attrs={"lower_bound": float(robust.lower_bound), "status": str(robust.status)},
    )


def annotators_left_out() -> Any:
    """How the Nash policy of the science teams' votes moves when one of them is left out, or counts twice.

    `gap` is what the Nash policy of all teams has in those votes; `size` how many trajectories can be played.
    """
    import xarray as xr

    teams = games.mariner_teams()
    weights = np.stack([np.ones((10, 10)) - np.eye(10), np.ones((10, 10)) + np.eye(10)])
    weights /= weights.sum(-1, keepdims=True)
    votes = games.stack([games.annotator_mixture(teams, w) for w in weights.reshape(-1, 10)])
    solution = nash(votes)
    with np.errstate(divide="ignore"):
        of_all = duality_gap(votes, nash(games.mariner()).logp)
    axes, shape = ("change", "team"), weights.shape[:2]
    return xr.Dataset(
        {
            "policy": ((*axes, "option"), solution.policy.reshape(*shape, -1)),
            "size": (axes, solution.support.sum(-1).reshape(shape)),
            "unique": (axes, solution.unique.reshape(shape)),
            "gap": (axes, np.asarray(of_all).reshape(shape)),
        },
        {"change": ["left out", "counted twice"], "team": list(TEAMS), "option": list(teams.names)},
    )


def gain_of_robustness(data: Data) -> float:
    """By how much the robust policy's worst gap is below that of Nash, and certified to be the least."""
    found = data["annotators"]
    worst = found["worst"]
    excess = float(worst.sel(policy_name="robust")) - found.attrs["lower_bound"]
    gain = float(worst.sel(policy_name="Nash") - worst.sel(policy_name="robust"))
    return gain if found.attrs["status"] == "certified" and excess < 1e-9 else float("nan")


def gap_when_reweighted(data: Data) -> float:
    """Largest gap of trajectory 22, if it is Nash, when a team is left out or counts twice."""
    if games.mariner().names[int(np.argmax(nash(games.mariner()).policy))] != "Trajectory 22":
        return float("nan")
    return float(data["annotators left out"]["gap"].max(skipna=False))


EXPERIMENTS = (
    Measurement("label flips", "What do flipped labels do to what is learnt?", label_flips, is_quick=False),
    Measurement(
        "across noise", "Does a policy learnt from flipped labels lose to one that was not?", across_noise
    ),
    Measurement(
        "perturbations",
        "How far from Nash does one end if win rates are off?",
        perturbations,
        is_quick=False,
    ),
    Measurement("comparisons", "How many comparisons of each pair are enough?", comparisons, is_quick=False),
    Measurement("annotators", "What is Nash worth to each annotator?", annotators),
    Measurement("annotators left out", "How much does Nash hang on one annotator?", annotators_left_out),
)
CLAIMS = (
    Claim(
        "A14.comal",
        "Labels flipped at any rate from 0 to 0.45 leave COMAL's limit where it is: at Nash of the true "
        "game.",
        NEW, "largest true duality gap over 10 rates",
        partial(largest_gap, rule="COMAL"), at_most(1e-11), ("label flips",),
    ),
    Claim(
        "A14.limit",
        "They move INPO's limit to the equilibrium of the true game at temperature tau/(1 - 2 rate),",
        NEW, "largest difference of a probability over 10 rates",
        limit_error, at_most(1e-12), ("label flips",),
    ),
    Claim(
        "A14.rise", "so that on the cycle its gap rises with every flip rate,",
        NEW, "smallest rise of the true gap per 0.05 of the rate", rise_with_rate,
        at_least(1e-3), ("label flips",),
    ),
    Claim(
        "A14.corrected",
        "unless step size and temperature are corrected for the rate: then flips change nothing.",
        NEW, "difference of the largest and the smallest true gap over 10 rates",
        spread_when_corrected, at_most(1e-12), ("label flips",),
    ),
    Claim(
        "A14.nash",
        "Whatever the noise, the noisy game's Nash policy has a true gap of at most twice the largest error "
        "of a win rate,",
        NEW, "largest true gap / bound, 120 noisy games of 10 answers",
        partial(largest_ratio, policy=NASH), at_most(1.0),
        ("perturbations", "comparisons"),
    ),
    Claim(
        "A14.learnt", "and so has what COMAL learns from the noisy game.",
        NEW, "largest true gap / bound, 120 noisy games of 10 answers",
        partial(largest_ratio, policy=LEARNT), at_most(1.0),
        ("perturbations", "comparisons"),
    ),
    Claim(
        "A14.sharp", "The bound is of the right size.",
        NEW, "largest true gap / bound, 120 noisy games of 10 answers",
        partial(largest_ratio, policy=NASH), at_least(0.5),
        ("perturbations", "comparisons"),
    ),
    Claim(
        "A14.annotators",
        "No weights of the science teams need be known: a policy robust to each of them has a smaller gap "
        "for the team that likes it least than the Nash policy of their votes.",
        NEW, "how much smaller its worst gap is, certified by linear programming",
        gain_of_robustness, at_least(0.1), ("annotators",),
    ),
    Claim(
        "A14.left_out",
        "The Nash policy of their votes, trajectory 22, remains one when any team is left out "
        "or counts twice.",
        NEW, "its largest gap over 20 such changes", gap_when_reweighted, at_most(1e-12),
        ("annotators left out",),
    ),
)  # fmt: skip
FIGURES = (
    Figure(
        "noise",
        "The true duality gap of what is learnt from noise. Left: on the cycle, from labels flipped at a "
        "rate. COMAL's limit stays Nash; INPO's is the equilibrium at temperature tau/(1 - 2 rate), dashed, "
        "and stays where it was if step size and temperature are corrected for the rate. Middle: on ten "
        "random games whose win rates were moved by up to a number. Right: on the same games, estimated from "
        "some comparisons of each pair. Medians and quartiles; dashed, the bound of twice the largest error "
        "(right: with probability 95%). What COMAL learns is the noisy game's Nash policy; INPO gains hardly "
        "anything from better labels.",
        (
            Panel(
                "lines", "label flips", "flipped labels, three-answer cycle",
                {"x": "rate", "y": "gap", "series": "rule", "bound": {"predicted": "predicted for INPO"},
                 "xlabel": "rate of flips", "ylabel": "true duality gap", "logy": False},
            ),
            Panel(
                "lines", "perturbations", "moved win rates, ten random games",
                {"x": "size", "y": "gap", "series": "policy", "band": "game", "bound": {"bound": "bound"},
                 "xlabel": "largest move of a win rate", "ylabel": "true duality gap", "logx": True},
            ),
            Panel(
                "lines", "comparisons", "estimated win rates, ten random games",
                {"x": "num_comparisons", "y": "gap", "series": "policy", "band": "game",
                 "bound": {"bound": "bound (95%)"}, "xlabel": "comparisons of each pair",
                 "ylabel": "true duality gap", "logx": True, "legend": "lower left"},
            ),
        ),
    ),
    Figure(
        "across_noise",
        "How often, by true labels, the row's policy is preferred to the column's, all learnt on the cycle "
        "from labels flipped at the given rate. COMAL's never lose; INPO's lose to INPO's from cleaner "
        "labels.",
        (Panel("win_rates", "across noise"),),
    ),
)  # fmt: skip
