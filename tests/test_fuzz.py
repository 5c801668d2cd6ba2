"""Any call ends in finite numbers, in a status that says why not, or in an error that names an argument.

The suite tries 300 runs; COMALGAMES_FUZZ=5000 tries as many, of every rule in every setting.
"""

import math
import os
import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CONTRACT, log_normalize
from hypothesis import HealthCheck, given, settings, strategies as st

import comalgames as cg
from comalgames.algorithms.base import with_dtype
from comalgames.feedback import asked
from comalgames.games.zero_sum import ABSENT

EXAMPLES = int(os.environ.get("COMALGAMES_FUZZ") or 0)

# Longest message, and seconds of CPU that one call may take, its compilation included.
LONGEST, SECONDS = 600, 20.0

# What remains of these is 0 in the policy; their logarithms are finite.
SPREADS = (0.0, 1.0, 30.0, 700.0, 2000.0)


class Setting(NamedTuple):
    """What a compilation depends on besides the rule."""

    make: type[cg.PreferenceGame] | type[cg.ZeroSumGame]
    shape: tuple[int, int]
    dtype: type[np.floating]
    metrics: tuple[str, ...] | None = None
    record_every: int = 1


# Few shapes: `nash` and `qre` are compiled for each.
SETTINGS = (
    Setting(cg.PreferenceGame, (3, 3), np.float64, ("policy", "logp", "entropy", "worst_win_rate")),
    Setting(cg.ZeroSumGame, (2, 3), np.float64, ("entropy",), 2),
    Setting(cg.PreferenceGame, (3, 3), np.float32, None, 2),
    Setting(cg.ZeroSumGame, (2, 3), np.float32, ("policy", "entropy")),
    Setting(cg.PreferenceGame, (3, 3), np.float64, (), 3),
    Setting(cg.PreferenceGame, (3, 3), np.float32, ("worst_win_rate", "entropy")),
    Setting(cg.ZeroSumGame, (4, 1), np.float64),
    Setting(cg.PreferenceGame, (1, 1), np.float64, None, 2),
)


def cases():
    """Every rule in one setting that it accepts; on demand every rule in every setting."""
    pairs = []
    for k, (name, entry) in enumerate(CONTRACT.items()):
        able = [s for s in SETTINGS if s.make is cg.PreferenceGame or not asked(entry.rule, 3).pairs]
        pairs += [(name, setting) for setting in (able if EXAMPLES else [able[k % len(able)]])]
    return pairs


def fuzz(examples):
    """Hypothesis settings: `examples` in the suite, and proportionally more on demand."""
    number = examples if not EXAMPLES else max(examples * EXAMPLES // 300, 1)
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


TABLES = st.lists(st.integers(-3, 3), min_size=16, max_size=16)
SCORES = st.lists(st.integers(-3, 0), min_size=8, max_size=8)


class Case(NamedTuple):
    """What hypothesis draws: numbers, of which `game`, `policy` and `rule` make the arguments.

    Attributes:
        name: of the rule, and its setting.
        table: payoffs, of which many tie.
        size: index of the largest payoff in `PREFERENCES` or `payoff_sizes`.
        decades: by how many decades the payoffs differ.
        scores: of the first policy, and of the reference.
        spreads: by which they are multiplied.
        replacements: of the rule's numbers.
        num_steps: number of steps.
    """

    name: tuple[str, Setting]
    table: list[int]
    size: int
    decades: int
    scores: tuple[list[int], list[int]]
    spreads: tuple[float, float]
    replacements: list[tuple[int, int, float]]
    num_steps: int


PREFERENCES = (0.5, 0.49, 0.1, 1e-4, 1e-9, 1e-18, 1e-30, 1e-35)


def payoff_sizes(dtype):
    kind = np.finfo(dtype)
    return (1.0, 0.01, 1e-9, 1e-30, 1e9, 1e30, float(kind.max) / 2.0**33, float(kind.tiny) * 8)


def game_of(case):
    """A game of ties, tiny and huge payoffs, and payoffs of many sizes at once."""
    setting = case.name[1]
    m, n = setting.shape
    table = np.array(case.table[: m * n]).reshape(m, n) / 3.0
    table = table * np.logspace(0, -case.decades, m * n).reshape(m, n)
    if setting.make is cg.ZeroSumGame:
        return cg.ZeroSumGame((table * payoff_sizes(setting.dtype)[case.size]).astype(setting.dtype))
    skew = np.triu(table, 1) * PREFERENCES[case.size]
    return cg.PreferenceGame.from_skew((skew - skew.T).astype(setting.dtype))


def policies(case, game):
    """Log-policies down to -2000, or at the uniform policy: the first one and the reference."""
    shape = game.policy_shape
    for scores, spread in zip(case.scores, case.spreads, strict=True):
        logp = np.array(scores[: int(np.prod(shape))]).reshape(shape) / 3.0 * spread
        if isinstance(game, cg.ZeroSumGame):
            for own, part in zip(logp, game.players(logp), strict=True):
                own[len(part) :] = ABSENT
        yield jnp.asarray(log_normalize(logp), game.dtype)


# Numbers that rules refuse, or at the end of what they accept.
ODD = (0.0, 1.0, 0.5, -1.0, math.inf, math.nan, 1e300, 1e-300)


def leaves_of(case):
    """The rule's numbers, as they are or over 16 decades; some odd ones."""
    entry = CONTRACT[case.name[0]]
    for leaf, (count, decade, odd) in zip(entry.leaves, case.replacements, strict=False):
        if isinstance(leaf, int):
            yield count
        else:
            yield odd if count == 1 else leaf if count < 6 else 10.0**decade


CASES = st.builds(
    Case,
    st.sampled_from(cases()),
    TABLES,
    st.integers(0, 7),
    st.sampled_from([0, 0, 0, 1, 6, 12]),
    st.tuples(SCORES, SCORES),
    st.tuples(st.sampled_from(SPREADS), st.sampled_from(SPREADS)),
    st.lists(st.tuples(st.integers(1, 20), st.integers(-8, 8), st.sampled_from(ODD)), min_size=4, max_size=4),
    st.integers(0, 7),
)


def attempt(call):
    """What `call` returns, or None after a ValueError that names an argument briefly."""
    began = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = call()
    except ValueError as error:
        message = str(error)
        assert message.count("`") >= 2, message
        assert len(message) < LONGEST, message
        return None
    assert time.process_time() - began < SECONDS
    return found


def resolution(game):
    """The largest payoff, and rounding errors of a gap."""
    payoff = game.skew if isinstance(game, cg.PreferenceGame) else game.payoff
    size = float(np.abs(np.asarray(payoff, np.float64)).max())
    return size, 100 * size * float(np.finfo(game.dtype).eps) + 100 * float(np.finfo(game.dtype).tiny)


def check_run(game, result):
    """Finite numbers that are what their names say, or a status and a note."""
    size, rounding = resolution(game)
    if result.status == "nonfinite":
        assert any("stopped being finite" in note for note in result.notes)
        return
    assert result.status in ("completed", "converged")
    assert np.isfinite(result.logp).all()
    sums = 100 * float(np.finfo(game.dtype).eps)
    np.testing.assert_allclose(result.policy.sum(-1), 1.0, rtol=0, atol=sums)
    for name, rows in result.history.items():
        assert np.isfinite(rows).all(), name
        if name.endswith("duality_gap"):
            assert rows.min() >= -rounding, name
            assert rows.max() <= 4 * size + rounding, name
        if name == "worst_win_rate":
            assert rows.min() >= -sums, name
            assert rows.max() <= 0.5 + rounding, name
        if name == "entropy":
            assert rows.min() >= -sums, name
            assert rows.max() <= np.log(game.num_actions) + sums, name


@fuzz(300)
@given(CASES)
def test_a_run(case):
    (name, setting), game = case.name, attempt(lambda: game_of(case))
    rule = attempt(lambda: CONTRACT[name].make(*leaves_of(case)))
    if rule is None or game is None:
        return
    logp, reference = policies(case, game)
    result = attempt(
        lambda: cg.solve(
            game,
            rule,
            case.num_steps,
            state=with_dtype(rule, game.dtype).init(logp, reference),
            key=jax.random.key(0),
            metrics=setting.metrics,
            record_every=setting.record_every,
            tolerance=0.01,
            throw=False,
        )
    )
    if result is not None:
        check_run(game, result)


@fuzz(60)
@given(CASES)
def test_measures_and_equilibria(case):
    game = attempt(lambda: game_of(case))
    if game is None:
        return
    logp, reference = policies(case, game)
    size, rounding = resolution(game)
    gap = attempt(lambda: cg.duality_gap(game, logp))
    assert -rounding <= gap <= 4 * size + rounding

    solution = attempt(lambda: cg.nash(game))
    assert solution.status in ("certified", "tied", "undecided", "failed")
    if solution.status != "failed":
        np.testing.assert_allclose(solution.policy.sum(-1), 1.0, rtol=0, atol=1e-13)
        assert solution.policy.min() >= 0
        assert np.abs(solution.gap) <= 2e-12 * size

    temperature = 10.0 ** case.replacements[0][1]
    anchor = np.exp(np.asarray(reference, np.float64))
    quantal = attempt(lambda: cg.qre(game, temperature, anchor))
    if quantal is not None:
        assert quantal.status in ("certified", "failed")
    if quantal is not None and quantal.status == "certified":
        np.testing.assert_allclose(quantal.policy.sum(-1), 1.0, rtol=0, atol=1e-12)
        assert 0 <= quantal.regularized_gap <= 1e-12 * (size + temperature)


@pytest.mark.usefixtures("as_users_have_it")
@fuzz(3)
@given(CASES)
def test_a_diagnosis(case):
    game = attempt(lambda: game_of(case))
    rule = attempt(lambda: CONTRACT[case.name[0]].make(*leaves_of(case)))
    found = None if rule is None or game is None else attempt(lambda: cg.diagnose(game, rule))
    assert found is None or len(str(found)) > 0
