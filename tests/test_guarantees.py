"""The table of what converges to what, held against runs on COMAL's cycle, published failures included."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import COMAL_NASH, COMAL_START, CONTRACT, PUBLISHED, gap, log_normalize

import comalgames as cg
from comalgames.algorithms import published
from comalgames.algorithms.guarantees import (
    AVERAGE,
    GUARANTEES,
    INNER,
    LIMITS,
    NASH,
    NOTHING,
    OWN,
    REGULARIZED,
)
from comalgames.papers import registry

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
SKEW, START = np.asarray(CYCLE.skew), np.array(COMAL_START)
TAU = 0.1

# Each with numbers under which its limit is promised, and how many steps it is given.
EXAMPLES: dict[str, tuple[cg.AbstractAlgorithm[Any], int]] = PUBLISHED | {
    type(entry.rule).__name__: entry.arrives for entry in CONTRACT.values() if entry.arrives
}


def regularized(temperature: float) -> np.ndarray:
    """The equilibrium of the game regularized around the start, by a general root finder."""
    found = scipy.optimize.root(
        lambda z: z - log_normalize(np.log(START) + SKEW @ np.exp(z) / temperature), np.log(START), tol=1e-14
    )
    assert np.abs(found.fun).max() < 1e-12
    return np.exp(found.x)


def run(rule: Any, num_steps: int, **settings: Any) -> Any:
    return cg.solve(CYCLE, rule, num_steps, init=START, **settings)


def off(policy: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(policy - other).max())


def test_every_rule_and_every_published_name_has_a_row_and_an_entry() -> None:
    exported = [getattr(cg, name) for name in (*cg.algorithms.__all__, "Parametric")]
    rules = {
        value.__name__
        for value in exported
        if inspect.isclass(value)
        and issubclass(value, cg.AbstractAlgorithm)
        and not value.__name__.startswith("Abstract")
    }
    names = {name for name, value in vars(published).items() if inspect.isfunction(value) and name[0] != "_"}
    names &= set(cg.algorithms.__all__)
    missing = (rules | names) - set(GUARANTEES)
    assert not missing, f"decorate {missing} with @guaranteed(limit, condition, source)"
    assert not rules - set(EXAMPLES), (
        f"give {rules - set(EXAMPLES)} an Entry(..., arrives=...) in tests/helpers.py"
    )
    assert not names - set(EXAMPLES), f"give {names - set(EXAMPLES)} a row of PUBLISHED in tests/helpers.py"
    assert rules | names == set(EXAMPLES) == set(GUARANTEES)
    assert {name for name, known in GUARANTEES.items() if known.same_as} <= names
    assert {known.limit for known in GUARANTEES.values()} == set(LIMITS)


@pytest.mark.parametrize("name", GUARANTEES)
def test_a_rule_goes_where_its_row_says(name: str) -> None:
    limit, (rule, num_steps) = GUARANTEES[name].limit, EXAMPLES[name]
    reference = [0.6, 0.3, 0.1] if name == "SPIN" else None
    result = run(rule, num_steps, reference=reference, record_every=max(1, num_steps // 400))
    last, tail = result.policy, result.history["duality_gap"][-80:]
    average = result.history["average_duality_gap"][-1]
    before = run(rule, num_steps - 1, reference=reference, metrics=()).policy
    if limit in (NASH, INNER):
        assert off(last, COMAL_NASH) < (1e-4 if name == "Averaged" else 1e-9)
    elif limit == REGULARIZED:
        temperature = 0.25 if name == "RLHF" else TAU
        # Nash-MD's steps fall like 1 / t, and so does its error.
        assert off(last, regularized(temperature)) < (1e-4 if name == "NashMD" else 1e-9)
    elif limit == OWN:
        assert off(last, before) < 1e-12
        assert tail[-1] > 1e-2
        if name != "SPIN":  # of DPO with beta = 1 one would expect the equilibrium at a quarter
            assert 1e-3 < off(last, regularized(0.25)) < 1e-2
    elif limit == AVERAGE:
        assert tail.max() > 0.7
        assert average < 0.02
    else:
        assert limit == NOTHING
        assert tail.max() > 0.7
        assert average > 0.02


def test_the_average_of_multiplicative_weights_keeps_its_bound() -> None:
    """Gap of the average <= 2 sqrt(ln n / (2 T)) at the matching step sqrt(8 ln n / T)."""
    for num_steps in (100, 10_000):
        step_size = float(np.sqrt(8 * np.log(3) / num_steps))
        result = run(cg.Averaged(cg.MWU(step_size)), num_steps - 1)
        assert gap(CYCLE, result.policy) <= 2 * np.sqrt(np.log(3) / (2 * num_steps))


def test_averages_of_other_utilities_do_not_reach_nash() -> None:
    """GPO's goes to the Nash policy of the log-odds; NCA's and BCO's stay where they are."""
    odds = np.log((SKEW + 0.5) / (0.5 - SKEW))
    a, b, c = odds[0, 1], odds[1, 2], odds[2, 0]
    of_odds = np.array([b, c, a]) / (a + b + c)
    np.testing.assert_allclose(of_odds, [0.3801, 0.2398, 0.3801], atol=5e-5)
    assert off(run(cg.Averaged(cg.GPO(20.0)), 100_000).policy, of_odds) < 2e-3
    for rule in (cg.NCA(1.0), cg.BCO(4.0)):
        early, late = (run(cg.Averaged(rule), num_steps).policy for num_steps in (1000, 20_000))
        # At T^-1/2 it would be .22 of what it was.
        assert gap(CYCLE, late) > max(0.02, 0.5 * gap(CYCLE, early))


@pytest.mark.parametrize(
    "rule",
    [
        cg.Extragradient(5.0),  # above 1 / w = 4.79
        cg.OptimisticMWU(2.9),  # above 1 / (3^1/2 w) = 2.76
        cg.MirrorDescent(4.0, 0.1),  # above 3.89
        cg.MMD(6.5, 0.1),  # above 6.36
        cg.RLHF(0.15),  # below w = .2
        cg.OnlineDPO(0.8),  # below .845
        cg.NashEMA(0.3, 0.0, 0.1),
        cg.MNPO(1 / 0.3, 0.0),
        cg.MNPO(1 / 0.3, 0.0, opponents="past"),
        cg.SPO(0.3, queue=10),
        cg.MovingReference(cg.MMD(1.0, 0.1), 1.0),
    ],
    ids=lambda rule: " ".join(repr(rule).split()),
)
def test_beyond_its_condition_a_rule_does_not_settle(rule: Any) -> None:
    policies = run(rule, 4000, metrics=["policy"]).history["policy"]
    late = policies[2000:]
    assert np.ptp(late, axis=0).max() > 1e-2


class Bounded(NamedTuple):
    """A number that a row bounds: its words, the bound for a frequency w, and the rule with a number."""

    words: str
    bound: Callable[[float], float]
    make: Callable[[float], cg.AbstractAlgorithm[Any]]


EXPLICIT = "2 tau / (tau^2 + w^2)", lambda w: 2 * TAU / (TAU**2 + w**2)
BOUNDED = {
    "Extragradient": Bounded("step < 1 / w", lambda w: 1 / w, cg.Extragradient),
    "INPO": Bounded(f"1 / eta < {EXPLICIT[0]}", EXPLICIT[1], lambda step: cg.INPO(1 / step, TAU)),
    "IterativeRLHF": Bounded("beta above about 4 times the frequency", lambda w: 4 * w, cg.IterativeRLHF),
    "MMD": Bounded(
        "step < 2 tau / (w^2 - tau^2);", lambda w: 2 * TAU / (w**2 - TAU**2), lambda step: cg.MMD(step, TAU)
    ),
    "MirrorDescent": Bounded(f"step < {EXPLICIT[0]}", EXPLICIT[1], lambda step: cg.MirrorDescent(step, TAU)),
    "ONPO": Bounded("1 / eta < 1 / (3^1/2 w)", lambda w: 1 / (3**0.5 * w), lambda step: cg.ONPO(1 / step)),
    "OnlineIPO": Bounded(f"step < {EXPLICIT[0]}", EXPLICIT[1], lambda step: cg.OnlineIPO(step, TAU)),
    "OptimisticMWU": Bounded("step < 1 / (3^1/2 w)", lambda w: 1 / (3**0.5 * w), cg.OptimisticMWU),
    "RLHF": Bounded("beta > w;", lambda w: w, cg.RLHF),
    "SPIN": Bounded("lambda > 1/2", lambda w: 0.5, cg.SPIN),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_condition_is_met_just_within_its_bound_and_not_just_beyond(name: str) -> None:
    """A run that starts next to the limit comes closer within the bound, and goes away beyond it."""
    row, (words, bound, make) = GUARANTEES[name], BOUNDED[name]
    assert words in row.condition
    at_tau = COMAL_NASH if row.limit in (NASH, OWN) else regularized(TAU)
    w = cg.diagnostics.rotation_frequencies(CYCLE, jnp.log(at_tau)).max()
    larger_is_better = "<" not in words
    for factor in (0.9, 1.1):
        number = factor * bound(float(w))
        if name == "SPIN":
            limit = np.array([0.6, 0.3, 0.1])
        elif name == "IterativeRLHF":  # damped, it has the same limit and settles
            limit = run(cg.OnlineDPO(number, 0.2), 2000, record_every=5).policy
        elif name == "RLHF":
            limit = regularized(number)
        else:
            limit = at_tau
        start = limit + 1e-5 * np.array([1, -2, 1])
        reference = limit if name == "SPIN" else START
        last = cg.solve(
            CYCLE, make(number), 2000, init=start, reference=reference, throw=False, record_every=5
        ).policy
        closer = off(last, limit) / off(start, limit)
        if (factor > 1) == larger_is_better:
            assert closer < 1e-2
        else:
            assert not closer < 10  # or nan


# From every start
# ------------------------------------------------------------------------------------------


def adversarial(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cycles with a Nash policy near the boundary, their tournaments of seven actions, and random starts."""
    rng = np.random.default_rng(seed)
    skews = np.zeros((40, 7, 7))
    for skew in skews[:20]:
        skew[[0, 1, 2], [1, 2, 0]] = 0.5 * 10 ** -rng.uniform(0, 1, 3)
        skew[:3, 3:] = rng.uniform(0.05, 0.5, (3, 4))  # four actions that Nash leaves out
    skews[20:] = np.triu(rng.choice([-0.5, 0.5], (20, 7, 7)), 1)
    return skews - skews.swapaxes(-1, -2), np.log(rng.dirichlet(np.ones(7) / 2, 40) + 1e-9)


def gaps_along(rule: Any, skews: np.ndarray, starts: np.ndarray, num_steps: int) -> np.ndarray:
    """The gap of each game at every twentieth of the run, `[games, 21]`."""

    def follow(skew: Any, logp: Any) -> Any:
        game = cg.PreferenceGame.from_skew(skew)
        return cg.trajectory(game, rule, num_steps, logp=logp, record_every=num_steps // 20).records

    records = jax.jit(jax.vmap(follow))(jnp.asarray(skews), jax.nn.log_softmax(jnp.asarray(starts)))
    return np.asarray(records["duality_gap"])


def test_kl_to_nash_never_increases_in_extragradient_up_to_its_step() -> None:
    assert "step <= 2;" in GUARANTEES["Extragradient"].anywhere
    skews, starts = adversarial(0)
    game = cg.PreferenceGame.from_skew(skews)
    target = cg.nash(game)
    assert np.all(target.status == "certified")
    kl = {"kl": cg.kl_to(target.logp)}
    for step_size in (0.5, 2.0):
        path = cg.solve(game, cg.Extragradient(step_size), 300, init=np.exp(starts), metrics=kl).history["kl"]
        assert np.all(np.diff(path, axis=0) <= 1e-12)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (cg.Extragradient(2.0), "step <= 2"),
        (cg.OptimisticMWU(1.0), "step <= 1"),
        (cg.ONPO(1.0), "eta >= 1"),
    ],
    ids=["Extragradient", "OptimisticMWU", "ONPO"],
)
def test_from_every_start_the_gap_falls_within_the_global_condition(
    rule: Any, words: str, request: Any
) -> None:
    assert words in GUARANTEES[request.node.callspec.id].anywhere
    gaps = gaps_along(rule, *adversarial(1), num_steps=20_000)
    assert np.all(gaps[:, -4:].max(-1) < np.maximum(0.1 * gaps[:, 1:5].max(-1), 1e-3))


def test_within_the_local_condition_alone_a_rule_may_cycle() -> None:
    """A cycle of payoffs .5, .5, .01, whose frequency at Nash is small, from near the uniform policy."""
    game = cg.games.cycle(0.5, 0.5, 0.01)
    w = float(cg.diagnostics.rotation_frequencies(game, cg.nash(game).logp).max())
    starts = 1e-2 * np.random.default_rng(0).normal(size=(20, 3))
    skews = np.broadcast_to(game.skew, (20, 3, 3))
    for rule, share in ((cg.OptimisticMWU(5.8), 5.8 * 3**0.5 * w), (cg.Extragradient(18.0), 18 * w)):
        assert share < 0.95  # of the local limit
        late = gaps_along(rule, skews, starts, num_steps=5000)[:, -5:].max(-1)
        assert np.sum(late > 0.05) >= 5
    for rule in (cg.OptimisticMWU(1.0), cg.Extragradient(2.0)):
        assert gaps_along(rule, skews, starts, num_steps=20_000)[:, -5:].max() < 1e-3


def test_mirror_descent_reaches_its_limit_from_every_start_within_its_global_condition() -> None:
    assert "step <= tau / (tau^2 + 1/4), proved; measured: twice" in GUARANTEES["MirrorDescent"].anywhere
    skews, starts = adversarial(2)
    for temperature in (0.05, 0.2, 0.6):
        # The frequency is at most the largest singular value of the support's payoffs weighted by Nash, 1/2.
        step_size = min(0.95 * 2 * temperature / (temperature**2 + 0.25), 1 / temperature)
        rule = cg.MirrorDescent(step_size, temperature)
        gaps = gaps_along(rule, skews, starts, num_steps=4000)
        np.testing.assert_allclose(gaps[:, -4:], gaps[:, -1:] * np.ones(4), rtol=1e-6, atol=1e-9)


def test_kl_to_the_limit_never_increases_within_the_proved_condition_of_mirror_descent() -> None:
    """As MMD with step eta' = eta / (1 - eta tau), whose KL shrinks by 1 + eta' tau for eta' <= tau / L^2."""
    skews, starts = adversarial(3)
    game = cg.PreferenceGame.from_skew(skews)
    for temperature in (0.02, 0.1, 0.5, 2.0):
        step_size = temperature / (temperature**2 + 0.25)
        limit = cg.qre(game, temperature, np.exp(starts))
        assert np.all(limit.status == "certified")
        rule, kl = cg.MirrorDescent(step_size, temperature), {"kl": cg.kl_to(jnp.asarray(limit.logp))}
        path = cg.solve(game, rule, 200, init=np.exp(starts), metrics=kl).history["kl"]
        assert np.all(path[1:] <= path[:-1] * (1 - step_size * temperature) * (1 + 1e-9) + 1e-14)


def test_within_the_local_condition_and_a_pull_below_one_mirror_descent_may_cycle() -> None:
    """The last answer beats a cycle by .01: frequencies there are 4e-5, and .3 around the cycle."""
    skew = np.zeros((4, 4))
    skew[0, 1] = skew[1, 2] = skew[2, 0] = 0.5
    skew[3, :3] = 0.01
    game, temperature, start = cg.PreferenceGame.from_skew(skew - skew.T), 1e-3, [0.28, 0.25, 0.25, 0.22]
    limit = cg.qre(game, temperature)
    w = float(cg.diagnostics.rotation_frequencies(game, jnp.asarray(limit.logp)).max())
    step_size = 10.0
    assert step_size < 0.01 * 2 * temperature / (temperature**2 + w**2)
    assert step_size * temperature <= 0.01
    rule = cg.MirrorDescent(step_size, temperature)
    run = cg.solve(game, rule, 20_000, init=start, reference=[0.25] * 4)
    assert run.history["duality_gap"][-1000:].min() > 0.1
    assert cg.duality_gap(game, limit.logp) < 1e-3
    small = cg.MirrorDescent(2 * temperature / (temperature**2 + 0.25), temperature)
    near = cg.solve(game, small, 10**6, init=start, reference=[0.25] * 4, record_every=10_000)
    assert near.history["duality_gap"][-1] < 1e-3


def multiplier_of_history(base: Any, opponents: Any, turn: float) -> float:
    """Largest modulus of the roots of z = sum_j b_j z^-j + i turn sum_j o_j z^-j."""
    size = max(len(base), len(opponents))
    row = np.zeros(size + 1, complex)
    row[0] = 1
    row[1 : len(base) + 1] -= base
    row[1 : len(opponents) + 1] -= 1j * turn * np.asarray(opponents)
    return float(np.abs(np.roots(row)).max())


def test_a_mixture_of_past_policies_converges_iff_the_second_moment_of_its_weights_exceeds_one() -> None:
    """With small steps: the roots against the condition; the package's linearized step against the roots."""
    rng = np.random.default_rng(0)
    seen = []
    for memory in (2, 3, 3, 4, 4, 5, 8) * 20:
        weights = rng.dirichlet(np.ones(memory) * rng.choice([0.3, 1.0]))
        moment = float(np.sum(np.arange(memory) ** 2 * weights))
        if weights[0] < 0.02 or abs(moment - 1) < 0.1:
            continue  # where the j + 1 nearly share a divisor, or near the border, 1e-3 is no small step
        assert (multiplier_of_history(weights, (1.0,), 1e-3) < 1) == (moment > 1), weights
        seen.append(moment > 1)
    assert 20 < sum(seen) < len(seen) - 20
    w = float(cg.diagnostics.rotation_frequencies(CYCLE, jnp.log(COMAL_NASH)).max())
    for base, opponents in (
        ((1 / 3, 1 / 3, 1 / 3), (1.0,)),
        ((0.5, 0.5), (1.0,)),
        ((0.5, 0.3, 0.2), (0.5, 0.3, 0.2)),
        ((0.0, 0.93, 0.0, 0.07), (1.0,)),
    ):
        for step_size in (1.0, 5.0):
            rule = cg.HistoryMirrorDescent(step_size, 0.0, base, opponents)
            predicted = cg.diagnostics.predict(CYCLE, rule).radius
            np.testing.assert_allclose(
                predicted, multiplier_of_history(base, opponents, step_size * w), rtol=1e-7
            )


@pytest.mark.parametrize("divisor", [2, 3, 4, 5])
def test_weights_whose_places_share_a_divisor_above_two_spiral_away(divisor: int) -> None:
    """Near exp(2 pi i / divisor) the modulus grows by |turn sin| / (1 + sum_j j b_j) to first order."""
    rng = np.random.default_rng(divisor)
    for _ in range(20):
        weights = np.zeros(4 * divisor)
        weights[divisor - 1 :: divisor] = rng.dirichlet(np.ones(4))
        mean, moment = (float(np.sum(np.arange(len(weights)) ** k * weights)) for k in (1, 2))
        turn = 1e-4
        growth = max(turn * abs(np.sin(2 * np.pi * k / divisor)) / (1 + mean) for k in range(divisor))
        modulus = multiplier_of_history(weights, (1.0,), turn)
        if divisor == 2:
            assert (modulus < 1) == (moment > 1)
        else:
            np.testing.assert_allclose(modulus - 1, growth, rtol=0.02)


def test_past_opponents_have_a_condition_of_their_own() -> None:
    """1 - 2 C / d + 2 O < 0 with d = 1 + sum_j j b_j, C = sum_j b_j j (j + 1) / 2, O = sum_j j o_j."""
    rng = np.random.default_rng(1)
    seen = []
    for memory in (3, 4, 8) * 40:
        base = rng.dirichlet(np.ones(memory))
        opponents = rng.dirichlet(np.ones(3) * np.array([3.0, 0.3, 0.3]))
        j = np.arange(memory)
        d, c = 1 + np.sum(j * base), np.sum(base * j * (j + 1)) / 2
        condition = 1 - 2 * c / d + 2 * np.sum(np.arange(3) * opponents)
        if base[0] < 0.02 or abs(condition) < 0.1:
            continue
        assert (multiplier_of_history(base, opponents, 1e-3) < 1) == (condition < 0), (base, opponents)
        seen.append(condition < 0)
    assert 10 < sum(seen) < len(seen) - 10


def test_three_equal_policies_reach_nash_below_their_largest_step_and_not_above() -> None:
    w = float(cg.diagnostics.rotation_frequencies(CYCLE, jnp.log(COMAL_NASH)).max())
    thirds = (1 / 3, 1 / 3, 1 / 3)
    start = COMAL_NASH + 1e-5 * np.array([1, -2, 1])
    for factor, arrives in ((0.95, True), (1.05, False)):
        rule = cg.MNPO(w / (factor * 4 / 3), 0.0, thirds)
        last = cg.solve(CYCLE, rule, 2000, init=start, throw=False, record_every=5).policy
        assert (off(last, COMAL_NASH) < 1e-12) == arrives
    # The numbers of the docstring.
    assert abs(multiplier_of_history(thirds, (1.0,), 1.18) - 0.911) < 5e-4
    assert abs(multiplier_of_history((0, 0.93, 0, 0.07), (1.0,), 1.8) - 0.789) < 5e-4
    for turn in np.linspace(0.01, 2, 50):
        assert multiplier_of_history((0.5, 0.5), (1.0,), turn) > 1


def test_mmd_takes_any_step_where_its_temperature_exceeds_the_frequency() -> None:
    assert "any step if tau >= w" in GUARANTEES["MMD"].condition
    for temperature, settles in ((0.25, True), (0.15, False)):
        limit = regularized(temperature)
        w = cg.diagnostics.rotation_frequencies(CYCLE, jnp.log(limit)).max()
        assert (temperature >= w) == settles
        start = limit + 1e-5 * np.array([1, -2, 1])
        last = cg.solve(
            CYCLE, cg.MMD(1000.0, temperature), 2000, init=start, reference=START, record_every=5
        ).policy
        assert (off(last, limit) < 1e-2 * off(start, limit)) == settles


@pytest.mark.filterwarnings("ignore:COMAL's period of 6 is short")
def test_policy_gradients_converge_at_the_period_they_are_advised_and_not_at_that_of_mirror_steps() -> None:
    """Nash gives one action 1/20: its steps are as many times smaller, and 1/20 of the advice diverges."""
    nash = np.array([0.05, 0.475, 0.475])
    game = cg.PreferenceGame.from_skew(cg.games.cycle(0.5, 0.05 / 0.95, 0.5).skew)
    np.testing.assert_allclose(cg.nash(game).policy, nash, rtol=1e-12)
    inner = cg.NashMDPG(1.0, TAU)
    advised = int(np.ceil(inner.shortest_period))
    start = nash + 1e-4 * np.array([1, -1, 0])
    for period, bounds in ((advised, (0, 1e-4)), (advised // 20, (2, np.inf))):
        rule = cg.COMAL(inner, period)
        last = cg.solve(game, rule, 40 * advised, init=start, record_every=advised).policy
        assert bounds[0] < off(last, nash) / off(start, nash) < bounds[1]


def test_nash_md_with_a_constant_step_has_a_biased_limit() -> None:
    eta = 0.3
    last = run(cg.NashMD(eta, TAU), 4000).policy
    share = eta * TAU
    mixture = np.exp(log_normalize((1 - share) * np.log(last) + share * np.log(START)))
    assert off(mixture, regularized(TAU / (1 - share))) < 1e-12
    assert off(last, regularized(TAU)) > 1e-3


def test_nash_md_by_gradients_rests_at_the_best_response_to_its_mixture() -> None:
    share = 0.125
    last = run(cg.NashMDPG(0.3, TAU, share), 40_000).policy
    mixture = np.exp(log_normalize((1 - share) * np.log(last) + share * np.log(START)))
    assert off(mixture, regularized(TAU / (1 - share))) < 1e-10
    assert off(last, regularized(TAU)) > 1e-3


def test_nash_mds_bounds_hold_at_every_step() -> None:
    """KL+ <= (1 - eta tau) KL + 2 eta^2, and KL <= 8 / (tau^2 (T + 1)) with the falling steps."""
    for tau in (0.1, 1.0):
        target = {"kl": cg.kl_to(jnp.log(jnp.asarray(regularized(tau))))}
        for eta in (0.05, 0.5):
            kl = run(cg.NashMD(eta, tau), 300, metrics=target).history["kl"]
            assert np.all(kl[1:] <= (1 - eta * tau) * kl[:-1] + 2 * eta**2)
        kl = run(cg.NashMD(cg.InverseTime(2.0 / tau, 2.0), tau), 2000, metrics=target).history["kl"]
        assert np.all(kl <= 8 / (tau**2 * (np.arange(2001) + 1)))


def test_spin_reaches_the_data_geometrically() -> None:
    data = np.array([0.6, 0.3, 0.1])
    for regularization in (0.6, 1.0, 3.0):
        logp = run(cg.SPIN(regularization), 8, reference=data, metrics=["logp"]).history["logp"]
        error = (logp - np.log(data)) - (logp - np.log(data)).mean(-1, keepdims=True)
        np.testing.assert_allclose(error[1:], (1 - 1 / regularization) * error[:-1], rtol=0, atol=1e-13)
    diverging = run(cg.SPIN(0.4), 20, reference=data, metrics=["logp"], throw=False).history["logp"]
    assert np.abs(diverging[-1] - np.log(data)).max() > 100


def test_the_page_of_papers_names_rules_tests_and_claims_that_exist() -> None:
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "papers.md").read_text()
    claimed = set(re.findall(r"`(test_\w+)`", page))
    defined = {
        name for path in tests.glob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert claimed <= defined, claimed - defined
    rows = [row for row in page.splitlines() if row.startswith("|")][2:]
    assert len(rows) > 20
    named = {
        name
        for row in rows
        for name in re.findall(r"\b([A-Z]\w+)\b", "".join(re.findall(r"`.*?`", row.split("|")[3])))
    }
    assert named - {"True"} <= {*dir(cg), *dir(cg.objectives)}, named
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[5])} <= set(registry.NAMES)
