"""The table of what converges to what, held against runs on COMAL's cycle, published failures included."""

import inspect
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from helpers import COMAL_NASH, COMAL_START, gap, log_normalize

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
    REGULARISED,
)
from comalgames.papers import registry

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
SKEW, START = np.asarray(CYCLE.skew), np.array(COMAL_START)
TAU = 0.1

# Each with numbers under which its limit is promised, and how many steps it is given.
EXAMPLES: dict[str, tuple[cg.AbstractAlgorithm[Any], int]] = {
    "Averaged": (cg.Averaged(cg.OptimisticMWU(1.0)), 20_000),
    "BCO": (cg.BCO(4.0), 20_000),
    "COMAL": (cg.COMAL(cg.MirrorDescent(1.0, TAU)), 2000),
    "ExactProx": (cg.ExactProx(TAU), 2),
    "Extragradient": (cg.Extragradient(2.0), 2000),
    "GPO": (cg.GPO(4.0), 4000),
    "HistoryMirrorDescent": (cg.HistoryMirrorDescent(0.3, TAU, (0.5, 0.5), (0.2, 0.8)), 2000),
    "INPO": (cg.INPO(1.0, TAU), 2000),
    "IterativeDPO": (cg.IterativeDPO(4.0), 4000),
    "IterativeIPO": (cg.IterativeIPO(2.0), 4000),
    "MMD": (cg.MMD(1.0, TAU), 2000),
    "MWU": (cg.MWU(0.5), 4000),
    "MirrorDescent": (cg.MirrorDescent(1.0, TAU), 2000),
    "MovingReference": (cg.MovingReference(cg.MMD(1.0, TAU), 0.03), 2000),
    "NCA": (cg.NCA(2.0), 4000),
    "NashEMA": (cg.NashEMA(0.3, TAU, 0.5), 2000),
    "NashMD": (cg.NashMD(cg.InverseTime(2.0 / TAU, 2.0), TAU), 100_000),
    "NashMDPG": (cg.NashMDPG(0.3, TAU), 20_000),
    "OnlineDPO": (cg.OnlineDPO(1.0, 0.2), 2000),
    "OptimisticMWU": (cg.OptimisticMWU(2.0), 2000),
    "Parametric": (
        cg.Parametric(cg.COMAL(cg.MirrorDescent(1.0, TAU), 20), cg.Tabular(), None, optax.sgd(0.5), 20),
        2000,
    ),
    "RegularizedMirrorDescent": (cg.RegularizedMirrorDescent(1.0, TAU, cg.regularizers.kl), 2000),
    "SPIN": (cg.SPIN(2.0), 100),
    "SPPO": (cg.SPPO(0.5, exact=True), 4000),
    "DNO": (cg.DNO(2.0), 4000),
    "EGPO": (cg.EGPO(0.9, TAU), 2000),
    "IterativeRLHF": (cg.IterativeRLHF(1.0), 2000),
    "MNPO": (cg.MNPO(1 / 0.3, TAU), 2000),
    "MPO": (cg.MPO(1.0, TAU, 20), 2000),
    "NashMirrorProx": (cg.NashMirrorProx(2 * TAU, TAU), 2000),
    "NashProx": (cg.NashProx(1.0, TAU, 300), 12_000),
    "ONPO": (cg.ONPO(0.5), 2000),
    "OnlineIPO": (cg.OnlineIPO(1.0, TAU), 2000),
    "OnlineIPOGradient": (cg.OnlineIPOGradient(0.3, TAU), 20_000),
    "REBEL": (cg.REBEL(0.5), 4000),
    "RLHF": (cg.RLHF(0.25), 2000),
    "RSPO": (cg.RSPO(1.0, TAU), 2000),
    "SPO": (cg.SPO(0.5), 4000),
}


def regularised(temperature: float) -> np.ndarray:
    """The equilibrium of the game regularised around the start, by a general root finder."""
    found = scipy.optimize.root(
        lambda z: z - log_normalize(np.log(START) + SKEW @ np.exp(z) / temperature), np.log(START), tol=1e-14
    )
    assert np.abs(found.fun).max() < 1e-12
    return np.exp(found.x)


def run(rule: Any, num_steps: int, **settings: Any) -> Any:
    return cg.solve(CYCLE, rule, num_steps, init=START, **settings)


def off(policy: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(policy - other).max())


def test_every_rule_and_every_published_name_has_a_row() -> None:
    rules = {
        name
        for name, value in vars(cg).items()
        if inspect.isclass(value)
        and issubclass(value, cg.AbstractAlgorithm)
        and not inspect.isabstract(value)
    }
    names = {name for name, value in vars(published).items() if inspect.isfunction(value) and name[0] != "_"}
    assert rules | {name for name in names if hasattr(cg, name)} == set(GUARANTEES) == set(EXAMPLES)
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
    elif limit == REGULARISED:
        temperature = 0.25 if name == "RLHF" else TAU
        # Nash-MD's steps fall like 1 / t, and so does its error.
        assert off(last, regularised(temperature)) < (1e-4 if name == "NashMD" else 1e-9)
    elif limit == OWN:
        assert off(last, before) < 1e-12
        assert tail[-1] > 1e-2
        if name != "SPIN":  # of DPO with beta = 1 one would expect the equilibrium at a quarter
            assert 1e-3 < off(last, regularised(0.25)) < 1e-2
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


def test_nash_md_with_a_constant_step_has_a_biased_limit() -> None:
    eta = 0.3
    last = run(cg.NashMD(eta, TAU), 4000).policy
    share = eta * TAU
    mixture = np.exp(log_normalize((1 - share) * np.log(last) + share * np.log(START)))
    assert off(mixture, regularised(TAU / (1 - share))) < 1e-12
    assert off(last, regularised(TAU)) > 1e-3


def test_nash_md_by_gradients_rests_at_the_best_response_to_its_mixture() -> None:
    share = 0.125
    last = run(cg.NashMDPG(0.3, TAU, share), 40_000).policy
    mixture = np.exp(log_normalize((1 - share) * np.log(last) + share * np.log(START)))
    assert off(mixture, regularised(TAU / (1 - share))) < 1e-10
    assert off(last, regularised(TAU)) > 1e-3


def test_nash_mds_bounds_hold_at_every_step() -> None:
    """KL+ <= (1 - eta tau) KL + 2 eta^2, and KL <= 8 / (tau^2 (T + 1)) with the falling steps."""
    for tau in (0.1, 1.0):
        target = {"kl": cg.kl_to(jnp.log(jnp.asarray(regularised(tau))))}
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


def test_the_page_of_papers_names_every_rule_and_tests_that_exist() -> None:
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "papers.md").read_text()
    names = set(re.findall(r"`([A-Za-z]\w*)[`(]", page)) | set(re.findall(r"\b([A-Z]\w+)\(", page))
    assert set(GUARANTEES) <= names
    claimed = set(re.findall(r"`(test_\w+)`", page))
    defined = {
        name for path in tests.glob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert claimed <= defined, claimed - defined
    rows = [row for row in page.splitlines() if row.startswith("|")][2:]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[5])} <= set(registry.NAMES)
