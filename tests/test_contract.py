"""What every algorithm promises, whatever its mathematics, and what `solve` promises about any algorithm."""

import dataclasses
import functools
import importlib
import inspect
import itertools
import signal
import weakref
from collections import Counter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import COMAL_NASH, COMAL_START, CONTRACT, Entry, gap, random_game, random_policy
from jaxtyping import Array, Bool, Float, Int

import comalgames as cg
from comalgames.algorithms import AbstractWhen
from comalgames.algorithms.base import with_dtype
from comalgames.drivers.host import Compiled, host_loop
from comalgames.drivers.records import GAPS
from comalgames.drivers.trajectory import Carry, prepare
from comalgames.feedback import asked
from comalgames.games.zero_sum import ABSENT
from comalgames.parametric.objectives import NoAdvantage

# Without their names, which are static and would cost a compilation each.
CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
# Without preferences of 0 and 1, which have no log-odds.
BIASED = cg.PreferenceGame.from_skew(0.9 * cg.games.rock_paper_scissors(3, 1, 1).skew)
BOTH = cg.PreferenceGame.from_skew(jnp.stack([CYCLE.skew, BIASED.skew]))
LARGER = random_game(10)
STARTS = random_policy(2, 3)
LARGER_START = random_policy(10, seed=1)

# Two runs that differ in the order of floating-point sums only. Rounding (1e-16) may grow for 50 steps of a
# rule that spirals out, by at most (1 + eta w)^50 < 1e5 for the steps in the table.
SAME = {"rtol": 1e-10, "atol": 1e-11}

each_entry = pytest.mark.parametrize(
    "entry", [pytest.param(entry, id=name) for name, entry in CONTRACT.items()]
)


def run(game: Any, rule: Any, policy: Any = None, num_steps: int = 50, reference: Any = None) -> np.ndarray:
    """Log-policy after some steps."""
    return cg.solve(game, rule, num_steps, init=policy, reference=reference, metrics=()).logp


def test_every_algorithm_is_in_the_table() -> None:
    exported = {
        value
        for value in vars(cg.algorithms).values()
        if inspect.isclass(value)
        and issubclass(value, cg.AbstractAlgorithm)
        and not value.__name__.startswith("Abstract")
    }
    missing = exported - {type(entry.rule) for entry in CONTRACT.values()}
    names = sorted(each.__name__ for each in missing)
    assert not missing, f"add an `Entry` for {names} to CONTRACT in tests/helpers.py"
    assert exported | {cg.Parametric} == {type(entry.rule) for entry in CONTRACT.values()}


# The contract of a rule
# ------------------------------------------------------------------------------------------


def solves_by_iteration(algorithm: Any) -> bool:
    """Whether a step holds a loop, of which every pass costs as much as a step of another rule."""
    return asked(algorithm, 3).pairs or isinstance(algorithm, cg.Parametric)


def walk(game: Any, rule: Any, policy: Any, num_steps: int = 6) -> np.ndarray:
    """Log-policy after a few steps; one operation after another where compiling them would take longer."""
    if solves_by_iteration(rule):
        return run(game, rule, policy, num_steps)
    return walk_from(game, rule, jnp.log(jnp.asarray(policy)), num_steps)


def walk_from(game: Any, rule: Any, logp: Any, num_steps: int = 6) -> np.ndarray:
    """The same from log-probabilities."""
    logp = jnp.broadcast_to(logp, jnp.broadcast_shapes(logp.shape, game.policy_shape))
    rule = with_dtype(rule, game.dtype)
    if solves_by_iteration(rule):
        return cg.solve(game, rule, num_steps, state=rule.init(logp, logp), metrics=()).logp
    state = rule.init(logp, logp)
    for step in range(num_steps):
        state = rule.step(jax.random.key(step), state, cg.Exact(game))
    return np.asarray(state.logp)


@each_entry
def test_a_batch_is_a_loop(entry: Entry) -> None:
    """Over prompts (the second axis here) and over policies on games that they share (the first)."""
    starts = random_policy(2, 2, 3)
    together = walk(BOTH, entry.rule, starts)
    assert together.shape == (2, 2, 3)
    for policy, prompt in ((0, 1), (1, 0)):
        alone = walk((CYCLE, BIASED)[prompt], entry.rule, starts[policy, prompt])
        np.testing.assert_allclose(together[policy, prompt], alone, **SAME)


@each_entry
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_policy_has_the_dtype_of_the_game_and_stays_a_policy(entry: Entry, dtype: Any) -> None:
    game = cg.PreferenceGame.from_skew(BOTH.skew.astype(dtype))
    result = cg.solve(game, entry.rule, 50, init=COMAL_START, reference=STARTS[0], metrics=())
    for logp in (result.state.logp, result.state.reference):
        assert logp.dtype == dtype
        assert logp.shape == game.policy_shape
        assert np.all(np.isfinite(logp))
        # A sum of three exponentials of numbers as large as 100 carries 100 rounding errors.
        atol = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(np.exp(logp).sum(-1), 1, rtol=0, atol=atol)
    assert result.state.step == 50
    assert result.dtype == dtype
    assert result.logp.dtype == result.policy.dtype == dtype


@each_entry
def test_vmap_over_the_numbers_of_a_rule_is_a_loop_over_rules(entry: Entry) -> None:
    stacked = [jnp.asarray(pair) for pair in zip(entry.leaves, entry.other_leaves, strict=True)]
    rules = jax.vmap(entry.make)(*stacked)

    reference = STARTS[0]  # a rule that only follows its reference would stay at its start otherwise

    def final(rule: Any) -> Any:
        logps = {"logp": jnp.log(jnp.array(COMAL_START)), "reference": jnp.log(jnp.asarray(reference))}
        return cg.trajectory(CYCLE, rule, 50, **logps, metrics=()).state.logp

    together = jax.jit(jax.vmap(final))(rules)
    assert np.abs(together[0] - together[1]).max() > 1e-6
    for k, rule in enumerate((entry.rule, entry.other_rule)):
        np.testing.assert_allclose(together[k], run(CYCLE, rule, COMAL_START, reference=reference), **SAME)


@each_entry
def test_relabelling_the_actions_relabels_the_result(entry: Entry) -> None:
    order = np.random.default_rng(5).permutation(10)
    relabelled = cg.PreferenceGame.from_skew(LARGER.skew[np.ix_(order, order)])
    plain = walk(LARGER, entry.rule, LARGER_START)
    assert np.all(np.isfinite(plain))
    np.testing.assert_allclose(walk(relabelled, entry.rule, LARGER_START[order]), plain[order], **SAME)


@each_entry
def test_two_players(entry: Entry) -> None:
    payoff = np.random.default_rng(6).normal(size=(2, 3))
    game = cg.ZeroSumGame(payoff)
    if asked(entry.rule, 3).pairs:
        with pytest.raises(ValueError, match="reads pairwise preferences"):
            cg.solve(game, entry.rule, 1)
        return
    row, column = np.log([0.6, 0.4]), np.log([0.2, 0.5, 0.3])
    logp = walk_from(game, entry.rule, game.joint(row, column, ABSENT))
    policy = np.exp(logp)
    assert policy[0, 2] == 0
    np.testing.assert_allclose(policy.sum(-1), 1, rtol=0, atol=1e-12)
    # Swapping the players turns M into -M.T.
    turned = cg.ZeroSumGame(-payoff.T)
    swapped = walk_from(turned, entry.rule, turned.joint(column, row, ABSENT))
    for part, other in zip(game.players(logp), turned.players(swapped)[::-1], strict=True):
        np.testing.assert_allclose(other, part, **SAME)
    # An action that a player does not have is one that always loses and starts at a probability of 0.
    padded = cg.ZeroSumGame(np.vstack([payoff, np.full(3, -5.0)]))
    padded_logp = walk_from(padded, entry.rule, game.joint(row, column, -700.0))
    np.testing.assert_allclose(np.exp(padded_logp), policy, rtol=0, atol=1e-9)
    # A symmetric game, both players starting alike, is self-play.
    mirrored = walk(cg.ZeroSumGame(CYCLE.skew), entry.rule, np.array([COMAL_START, COMAL_START]))
    np.testing.assert_allclose(mirrored, [walk(CYCLE, entry.rule, np.array(COMAL_START))] * 2, **SAME)


# One SGD step on uniform pairs of three actions goes the whole way to the target: 4 lr / n = 1.
WHOLE_WAY = optax.sgd(0.75)


@each_entry
def test_a_softmax_policy_follows_it_on_sampled_comparisons(entry: Entry) -> None:
    """One step: a table and a policy that is fitted to the end meet the same samples, and are the same."""
    key, feedback = jax.random.key(1), cg.Sampled(CYCLE, num_opponents=8)
    start, reference = jnp.log(jnp.asarray(COMAL_START)), jnp.log(jnp.asarray(STARTS[0]))

    def step(algorithm: cg.AbstractAlgorithm[Any]) -> Any:
        return algorithm.step(key, algorithm.init(start, reference), feedback).logp

    def stepped(algorithm: cg.AbstractAlgorithm[Any]) -> np.ndarray:
        if solves_by_iteration(entry.rule):
            return np.asarray(eqx.filter_jit(step)(algorithm))
        with jax.disable_jit():  # the learner's loop of one step would be compiled
            return np.asarray(step(algorithm))

    table = stepped(entry.rule)
    assert np.all(np.isfinite(table))
    np.testing.assert_allclose(np.exp(table).sum(), 1, rtol=0, atol=1e-12)
    if isinstance(entry.rule, cg.AbstractUpdateRule):
        learner = cg.Parametric(entry.rule, cg.Tabular(), None, WHOLE_WAY, 1)
        np.testing.assert_allclose(stepped(learner), table, **SAME)


@each_entry
def test_the_target_is_the_anchor_plus_what_the_rule_says_of_the_advantage(entry: Entry) -> None:
    """Losses on labels and win rates go where `advantage_weight` says."""
    rule = entry.rule
    if not isinstance(rule, cg.AbstractUpdateRule) or rule.form(0).advantage_weight is None:
        return
    key = jax.random.key(0)
    state = rule.init(jnp.log(jnp.asarray(COMAL_START)), jnp.log(jnp.asarray(STARTS[0])))
    target, _ = rule.propose(key, state, cg.Exact(CYCLE))
    anchor, _ = rule.propose(key, state, NoAdvantage())
    moved = np.asarray(target - anchor)
    expected = np.asarray(rule.form(0).advantage_weight * CYCLE.advantage(state.logp))
    np.testing.assert_allclose(moved - moved[0], expected - expected[0], rtol=0, atol=1e-13)


# Compilation
# -----------------------------------------------------------------------------------------------------

TRACES: list[int] = []


class Traced(cg.AbstractUpdateRule):
    """MWU that counts how often JAX reads its code."""

    step_size: float | Float[Array, ""]

    def propose(self, key: Any, state: Any, feedback: Any) -> Any:
        TRACES.append(1)
        return state.logp + self.step_size * feedback.advantage(key, state.logp), state


@pytest.mark.parametrize("settings", [{}, {"record_every": 3}, {"metrics": ()}], ids=str)
def test_other_numbers_need_no_compilation(settings: dict[str, Any]) -> None:
    cg.solve(CYCLE, Traced(0.2), 10, **settings)
    TRACES.clear()
    for step_size in (0.1, 1, np.float64(0.3), jnp.asarray(2.0)):
        cg.solve(CYCLE, Traced(step_size), 10, **settings)
    for num_steps in (0, 1, 63, 64, 65, 700, 5000):
        cg.solve(CYCLE, Traced(0.1), num_steps, **settings)
    for game in (BIASED, cg.games.cycle(0.1, 0.2, 0.3)):
        cg.solve(game, Traced(0.1), 10, init=COMAL_START, reference=STARTS[0], **settings)
    cg.solve(CYCLE, Traced(0.1), 10, chunk_steps=3, key=jax.random.key(5), **settings)
    cg.solve(CYCLE, Traced(0.1), 2000, tolerance=1e-3, progress=False, **settings)
    state = cg.solve(CYCLE, Traced(0.1), 10, **settings).state
    for num_steps in (0, 3, 70):
        cg.solve(CYCLE, Traced(0.3), num_steps, state=state, **settings)
    assert not TRACES


# Records
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_steps", "record_every", "steps"),
    [
        (10, 1, range(11)),
        (10, 3, [0, 3, 6, 9, 10]),
        (9, 3, [0, 3, 6, 9]),
        (2, 3, [0, 2]),
        (0, 1, [0]),
        (0, 3, [0]),
        (1, 1, [0, 1]),
    ],
)
def test_the_first_record_is_the_start_and_the_last_the_result(
    num_steps: int, record_every: int, steps: Any
) -> None:
    result = cg.solve(
        CYCLE, cg.MWU(1.0), num_steps, init=COMAL_START, record_every=record_every, metrics=["policy", "logp"]
    )
    np.testing.assert_array_equal(result.steps, list(steps))
    for rows in result.history.values():
        assert len(rows) == len(result.steps)
    np.testing.assert_allclose(result.history["policy"][0], COMAL_START, rtol=1e-15)
    np.testing.assert_array_equal(result.history["logp"][-1], result.logp)
    for step, logp in zip(result.steps, result.history["logp"], strict=True):
        np.testing.assert_array_equal(logp, run(CYCLE, cg.MWU(1.0), COMAL_START, int(step)))


@pytest.mark.parametrize(
    ("game", "start", "record_every"), [(CYCLE, STARTS[0], 1), (BOTH, STARTS, 3)], ids=["one game", "prompts"]
)
def test_last_average_and_best_gap(game: Any, start: Any, record_every: int) -> None:
    everything = cg.solve(game, cg.MWU(1.0), 100, init=start, metrics=["policy"]).history["policy"]
    result = cg.solve(game, cg.MWU(1.0), 100, init=start, record_every=record_every, metrics=["policy"])
    last, average, best = (result.history[name] for name in cg.metrics.CURVES)
    assert last.shape == (len(result.steps), *start.shape[:-1])
    means = np.stack([everything[: step + 1].mean(0) for step in result.steps])
    # Gaps of at most 1, each the difference of sums of at most 100 terms.
    np.testing.assert_allclose(last, gap(game, everything[result.steps]), rtol=0, atol=1e-14)
    np.testing.assert_allclose(average, gap(game, means), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(best, np.minimum.accumulate(last, axis=0))
    assert np.any(best[-1] < last[-1])
    np.testing.assert_allclose(cg.duality_gap(game, jnp.asarray(result.logp)), last[-1], rtol=0, atol=1e-15)


def test_queries_along_the_records() -> None:
    for rule, queries in (
        (cg.MWU(1.0), 1),
        (CONTRACT["COMAL of Extragradient"].rule, 2),
        (cg.ExactProx(0.1), 3),
    ):
        result = cg.solve(CYCLE, rule, 10, metrics=())
        np.testing.assert_array_equal(result.queries, queries * np.arange(11))
    result = cg.solve(CYCLE, cg.MWU(1.0), 10, record_every=3, metrics=["policy", "logp"])
    np.testing.assert_array_equal(result.queries, [0, 3, 6, 9, 10])


def test_nothing_is_recorded_for_no_metrics() -> None:
    for nothing in ((), [], {}):
        result = cg.solve(CYCLE, cg.MWU(1.0), 20, init=COMAL_START, metrics=nothing)
        assert result.history == {}
        assert result.status == "completed"
    np.testing.assert_array_equal(result.logp, cg.solve(CYCLE, cg.MWU(1.0), 20, init=COMAL_START).logp)


def test_metrics_by_name_by_function_and_by_dict() -> None:
    target = cg.kl_to(jnp.log(jnp.asarray(COMAL_NASH)))

    def first(game: Any, logp: Any) -> Any:
        return jnp.exp(logp[..., 0])

    named = cg.solve(CYCLE, cg.MWU(1.0), 20, init=COMAL_START, metrics=["entropy", "policy", first])
    assert set(named.history) == {*cg.metrics.CURVES, "entropy", "policy", "first"}
    np.testing.assert_array_equal(named.history["first"], named.history["policy"][:, 0])
    p = named.history["policy"]
    np.testing.assert_allclose(named.history["entropy"], -np.sum(p * np.log(p), -1), rtol=1e-14)
    result = cg.solve(CYCLE, cg.MWU(1.0), 20, init=COMAL_START, metrics={"to Nash": target})
    np.testing.assert_allclose(
        result.history["to Nash"], np.sum(COMAL_NASH * np.log(COMAL_NASH / p), -1), rtol=1e-13
    )


def test_exact_feedback_is_the_default() -> None:
    feedback = cg.Exact(CYCLE)
    assert prepare(CYCLE, cg.MWU(1.0), feedback, None, None, 1).feedback is None
    copied = cg.PreferenceGame(CYCLE.preference)
    assert prepare(CYCLE, cg.MWU(1.0), cg.Exact(copied), None, None, 1).feedback is not None
    rule = cg.Extragradient(1.0)
    plain, given = (cg.solve(CYCLE, rule, 50, init=COMAL_START, feedback=f) for f in (None, feedback))
    assert_same_bits(plain, given)


# Chunks, early stop, interruption
# --------------------------------------------------------------------------------


def assert_same_bits(one: cg.Result, other: cg.Result) -> None:
    assert set(one.history) == set(other.history)
    for name, rows in one.history.items():
        assert rows.shape == other.history[name].shape
        assert rows.tobytes() == other.history[name].tobytes(), name
    for leaf, other_leaf in zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True):
        assert np.asarray(leaf).tobytes() == np.asarray(other_leaf).tobytes()
    np.testing.assert_array_equal(one.steps, other.steps)
    assert one.status == other.status


@pytest.mark.parametrize(
    ("name", "record_every"),
    [
        ("MWU, step size falling", 1),
        ("OptimisticMWU", 3),
        ("COMAL of Extragradient", 3),
        ("COMAL of ExactProx", 1),
    ],
)
def test_the_length_of_chunks_changes_no_bit(name: str, record_every: int) -> None:
    settings: dict[str, Any] = {
        "init": COMAL_START,
        "record_every": record_every,
        "metrics": ["logp", cg.kl_to(jnp.log(jnp.asarray(COMAL_NASH)))],
    }
    whole = cg.solve(CYCLE, CONTRACT[name].rule, 200, **settings)
    assert len(np.unique(whole.history["duality_gap"])) > 10
    for chunk_steps in (1, 7, 64, 199, 10_000):
        assert_same_bits(
            whole, cg.solve(CYCLE, CONTRACT[name].rule, 200, chunk_steps=chunk_steps, **settings)
        )


@pytest.mark.parametrize("record_every", [1, 3])
def test_early_stop_happens_where_the_clock_has_no_say(record_every: int) -> None:
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)
    settings: dict[str, Any] = {"init": COMAL_START, "tolerance": 1e-9, "record_every": record_every}
    whole = cg.solve(CYCLE, rule, 5000, **settings)
    assert whole.status == "converged"
    assert whole.steps[-1] == 1024
    assert np.all(whole.history["duality_gap"][-len(whole.steps) // 10 :] < 1e-9)
    for chunk_steps in (100, 1000, 3000):
        assert_same_bits(whole, cg.solve(CYCLE, rule, 5000, chunk_steps=chunk_steps, **settings))


def test_the_gap_must_stay_below_the_tolerance() -> None:
    # MWU starts within the tolerance, and spirals out of it.
    near_nash = COMAL_NASH + 1e-5 * np.array([1, -1, 0])
    leaving = cg.solve(CYCLE, cg.MWU(1.0), 3000, init=near_nash, tolerance=1e-3)
    assert leaving.history["duality_gap"][0] < 1e-3 < leaving.history["duality_gap"][-1]
    assert leaving.status == "completed"
    assert leaving.steps[-1] == 3000
    # The same run ends "converged" while it still is within the tolerance, also when it is too short to stop
    # early.
    assert cg.solve(CYCLE, cg.MWU(1.0), 100, init=near_nash, tolerance=1e-3).status == "converged"
    assert cg.solve(CYCLE, cg.MWU(1.0), 100, init=near_nash).status == "completed"


def test_converged_means_the_last_tenth_of_the_records() -> None:
    rule = cg.Extragradient(1.0)
    tail = cg.solve(CYCLE, rule, 100, init=COMAL_START).history["duality_gap"][-10:]
    assert tail[-1] < tail[0] == tail.max()
    for tolerance, status in (
        (tail[-1], "completed"),
        (tail[0], "completed"),
        (1.001 * tail[0], "converged"),
    ):
        assert cg.solve(CYCLE, rule, 100, init=COMAL_START, tolerance=tolerance).status == status


def test_early_stop_waits_for_every_member() -> None:
    rule = cg.MirrorDescent(1.0, 0.1)
    init = np.stack(
        [COMAL_NASH, COMAL_START]
    )  # the reference too: the first stays at Nash, the other stops at a gap
    result = cg.solve(CYCLE, rule, 2000, init=init, tolerance=1e-6)
    assert result.steps[-1] == 2000
    assert list(result.status) == ["converged", "completed"]
    assert cg.solve(CYCLE, rule, 2000, init=init[0], tolerance=1e-6).steps[-1] == 1024


def test_an_interrupted_run_returns_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bar:
        chunks = 0

        def __init__(self, **settings: Any) -> None: ...

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None: ...

        def update(self, steps: int) -> None:
            self.chunks += 1
            if self.chunks == 3:
                raise KeyboardInterrupt

    whole = cg.solve(CYCLE, cg.OptimisticMWU(1.0), 30, init=COMAL_START)
    monkeypatch.setattr("tqdm.tqdm", Bar)
    cut = cg.solve(CYCLE, cg.OptimisticMWU(1.0), 1000, init=COMAL_START, chunk_steps=10)
    assert cut.status == "interrupted"
    assert_same_bits(whole, cut._replace(status=whole.status))


SWING: dict[str, Any] = {"init": [0.37, 0.27, 0.36], "tolerance": 0.0066867}


@pytest.mark.parametrize("record_every", [1, 7, 100_000])
def test_the_decision_to_stop_and_the_status_are_one(record_every: int) -> None:
    """At step 1024 the policies up to 1023 are within this tolerance, and the one after them is not."""
    gaps = cg.solve(CYCLE, cg.MWU(0.02), 1024, **SWING).history["duality_gap"]
    assert gaps[-103:-1].max() < SWING["tolerance"] < gaps[-1]
    assert cg.solve(CYCLE, cg.MWU(0.02), 1024, record_every=record_every, **SWING).status == "completed"
    result = cg.solve(CYCLE, cg.MWU(0.02), 5000, record_every=record_every, **SWING)
    assert (result.status, result.steps[-1]) == ("completed", 5000)


@pytest.mark.parametrize("name", ["MWU", "Extragradient", "COMAL of MirrorDescent", "COMAL of ExactProx"])
@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-6])
def test_a_run_stops_and_is_judged_the_same_whatever_is_recorded(name: str, tolerance: float) -> None:
    settings: dict[str, Any] = {"init": np.stack([STARTS[0], COMAL_START]), "tolerance": tolerance}
    for num_steps in (0, 1, 5, 9, 10, 30, 1500):
        whole = cg.solve(CYCLE, CONTRACT[name].rule, num_steps, **settings)
        gaps, taken = whole.history["duality_gap"], whole.steps[-1]
        tail = gaps[-max(10, (taken + 1) // 10) :]
        np.testing.assert_array_equal(whole.status == "converged", np.all(tail < tolerance, axis=0))
        assert taken == num_steps or (taken == 1024 and np.all(whole.status == "converged"))
        for record_every in (3, 50, 10_000):
            found = cg.solve(CYCLE, CONTRACT[name].rule, num_steps, record_every=record_every, **settings)
            assert found.steps[-1] == taken
            np.testing.assert_array_equal(found.status, whole.status)


def test_a_run_is_not_converged_for_one_record_within_the_tolerance() -> None:
    """The gap of MWU swings; records that fall where it is small do not show the gaps between them."""
    whole = cg.solve(CYCLE, cg.MWU(3.0), 60, init=COMAL_START).history["duality_gap"]
    inside = [k for k in range(15, 61) if whole[k] < 0.6 < whole[k - 9 : k].max()]
    assert len(inside) > 5
    for step in inside:
        settings: dict[str, Any] = {"init": COMAL_START, "tolerance": 0.6}
        for record_every in (15, 1000):
            found = cg.solve(CYCLE, cg.MWU(3.0), step, record_every=record_every, **settings)
            assert len(found.steps) < 20
            assert found.duality_gap < 0.6
            assert found.status == "completed"


def test_no_chunk_keeps_its_buffer() -> None:
    """Slow rules take many short chunks, and each of their buffers has room for thousands of records."""
    buffers: list[Any] = []
    kept: list[int] = []

    def chunk(progress: Any, start: Any, num_steps: Any, capacity: int) -> Any:
        kept.append(sum(buffer() is not None for buffer in buffers))
        buffer = np.zeros((capacity, 2))
        buffers.append(weakref.ref(buffer))
        return progress, {GAPS: buffer}

    compiled = Compiled(chunk, {GAPS: jax.ShapeDtypeStruct((2,), np.float64)})
    done = host_loop(compiled, Carry(None, jnp.zeros(3)), 50, 1, chunk_steps=1)
    assert done.taken == 50
    assert len(kept) == 51
    assert max(kept) <= 1


def cut_in_chunk(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Press Ctrl-C while chunk `number` (from 1) runs; the list holds the sizes of the chunks so far."""
    solve_module = importlib.import_module("comalgames.drivers.solve")
    advance, sizes = solve_module._chunk, []

    def advance_and_press(run: Any, progress: Any, start: Any, num_steps: Any, capacity: int) -> Any:
        sizes.append(int(num_steps))
        ahead = jax.block_until_ready(advance(run, progress, start, num_steps, capacity))
        if len(sizes) == number:
            signal.raise_signal(signal.SIGINT)
        return ahead

    monkeypatch.setattr(solve_module, "_chunk", advance_and_press)
    return sizes


@pytest.fixture
def ctrl_c() -> Any:
    """Python's own handler, in place of what a test runner may have installed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("chunks", [1, 3])
def test_ctrl_c_keeps_the_chunk_in_which_it_is_pressed(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    whole = cg.solve(CYCLE, cg.OptimisticMWU(1.0), 10 * chunks, init=COMAL_START)
    cut_in_chunk(monkeypatch, chunks)
    cut = cg.solve(CYCLE, cg.OptimisticMWU(1.0), 1000, init=COMAL_START, chunk_steps=10)
    assert cut.status == "interrupted"
    assert cut.notes == (f"interrupted: what is here ends at step {10 * chunks} of 1000.",)
    assert_same_bits(whole, cut._replace(status=whole.status))


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_the_last_chunk_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_in_chunk(monkeypatch, 3)
    result = cg.solve(CYCLE, cg.MWU(1.0), 30, chunk_steps=10)
    assert (result.status, result.steps[-1], result.notes) == ("completed", 30, ())


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("record_every", [1, 100, 10_000])
def test_the_first_chunk_is_a_few_steps_whatever_is_recorded(
    monkeypatch: pytest.MonkeyPatch, record_every: int
) -> None:
    sizes = cut_in_chunk(monkeypatch, 1)
    result = cg.solve(CYCLE, cg.MWU(1.0), 10**6, record_every=record_every, init=COMAL_START)
    assert result.steps[-1] == sum(sizes) <= 8
    assert result.status == "interrupted"


def test_chunks_grow_while_they_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = cut_in_chunk(monkeypatch, 0)
    cg.solve(CYCLE, cg.MWU(1.0), 50_000, record_every=10, metrics=())
    assert len(sizes) < 20
    assert max(sizes) > 5000


# Going on
# --------------------------------------------------------------------------------------------------

CONTINUED = [
    "MWU, step size falling",
    "OptimisticMWU",
    "COMAL of MirrorDescent",
    "COMAL of MirrorDescent, tuned",
    "COMAL of COMAL",
    "HistoryMirrorDescent",
    "NashEMA",
    "Averaged",
    "Parametric",
]


@pytest.mark.parametrize("name", CONTINUED)
@pytest.mark.parametrize("is_random", [False, True], ids=["exact", "sampled"])
def test_a_run_that_goes_on_is_the_whole_run_to_the_bit(name: str, is_random: bool) -> None:
    rule = CONTRACT[name].rule
    settings: dict[str, Any] = {"metrics": ["logp", "entropy"]}
    if is_random:
        settings |= {"feedback": cg.Sampled(CYCLE, 4), "key": jax.random.key(3)}
    starts: dict[str, Any] = {"init": COMAL_START, "reference": STARTS[0]}
    whole, first = (cg.solve(CYCLE, rule, num, **starts, **settings) for num in (70, 30))
    # A state that was saved is one too.
    for state in (first.state, jax.tree.map(np.asarray, first.state)):
        then = cg.solve(CYCLE, rule, 40, state=state, **settings)
        for leaf, other in zip(jax.tree.leaves(whole.state), jax.tree.leaves(then.state), strict=True):
            assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()
        np.testing.assert_array_equal(then.steps, np.arange(30, 71))
        np.testing.assert_array_equal(then.queries, whole.queries[30:])
        for metric in ("duality_gap", "logp", "entropy"):
            assert then.history[metric].tobytes() == whole.history[metric][30:].tobytes()
    assert np.abs(whole.logp - first.logp).max() > 1e-6


@pytest.mark.parametrize(
    ("name", "is_random"),
    [
        ("OptimisticMWU", False),
        ("COMAL of MirrorDescent", True),
        ("COMAL of COMAL", False),
        ("Parametric", True),
    ],
)
def test_a_trajectory_goes_on_to_the_bit_with_its_state_known_or_traced(name: str, is_random: bool) -> None:
    rule = CONTRACT[name].rule
    settings: dict[str, Any] = {"metrics": ["logp"]}
    if is_random:
        settings |= {"feedback": cg.Sampled(CYCLE, 4), "key": jax.random.key(3)}
    logp, reference = (jnp.log(jnp.asarray(policy)) for policy in (COMAL_START, STARTS[0]))
    whole, first = (
        cg.trajectory(CYCLE, rule, num, logp=logp, reference=reference, **settings) for num in (20, 9)
    )

    def rest(state: Any) -> cg.Trajectory:
        return cg.trajectory(CYCLE, rule, 11, state=state, **settings)

    for then in (rest(first.state), eqx.filter_jit(rest)(first.state)):
        np.testing.assert_array_equal(then.steps, np.arange(9, 21))
        for metric in ("duality_gap", "logp"):
            np.testing.assert_array_equal(then.records[metric], whole.records[metric][9:])
        for leaf, other in zip(jax.tree.leaves(whole.state), jax.tree.leaves(then.state), strict=True):
            assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


def test_a_trajectory_refuses_what_its_state_replaces() -> None:
    state = cg.trajectory(CYCLE, cg.MWU(1.0), 2).state
    for name in ("logp", "reference"):
        with pytest.raises(ValueError, match=f"`state` and `{name}` exclude each other"):
            cg.trajectory(CYCLE, cg.MWU(1.0), 2, state=state, **{name: state.logp})
    with pytest.raises(ValueError, match="pass it as `logp`"):
        cg.trajectory(CYCLE, cg.MWU(1.0), 2, state=state.logp)


@pytest.mark.parametrize("record_every", [1, 7])
def test_a_run_that_goes_on_records_from_where_it_is(record_every: int) -> None:
    start = random_policy(2, 3)
    first = cg.solve(BOTH, cg.OptimisticMWU(1.0), 30, init=start, record_every=record_every)
    then = cg.solve(BOTH, cg.OptimisticMWU(1.0), 20, state=first.state, record_every=record_every)
    assert list(then.steps) == [30, *range(30 + record_every, 50, record_every), 50]
    policies = cg.solve(BOTH, cg.OptimisticMWU(1.0), 50, init=start, metrics=["policy"]).history["policy"]
    last, average, best = (then.history[curve] for curve in cg.metrics.CURVES)
    means = np.stack([policies[30 : step + 1].mean(0) for step in then.steps])
    np.testing.assert_allclose(last, gap(BOTH, policies[then.steps]), rtol=0, atol=1e-14)
    np.testing.assert_allclose(average, gap(BOTH, means), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(best, np.minimum.accumulate(last))
    # Many members on one game.
    member = cg.solve(CYCLE, cg.MWU(1.0), 3, state=cg.solve(CYCLE, cg.MWU(1.0), 4, init=start).state)
    np.testing.assert_array_equal(member.logp, cg.solve(CYCLE, cg.MWU(1.0), 7, init=start).logp)


def test_a_run_goes_on_by_zero_steps_and_with_other_numbers() -> None:
    first = cg.solve(CYCLE, cg.MWU(1.0), 5, init=COMAL_START)
    still = cg.solve(CYCLE, cg.MWU(1.0), 0, state=first.state)
    assert list(still.steps) == [5]
    np.testing.assert_array_equal(still.logp, first.logp)
    slower = cg.solve(CYCLE, cg.MWU(0.1), 3, state=first.state)
    np.testing.assert_array_equal(slower.logp, run(CYCLE, cg.MWU(0.1), first.policy, 3))
    failed = cg.solve(
        CYCLE,
        breaking(True),
        3,
        state=cg.solve(CYCLE, breaking(True), 5, init=[COMAL_START]).state,
        throw=False,
    )
    np.testing.assert_array_equal(failed.first_nonfinite, [8])


@pytest.mark.usefixtures("as_users_have_it")
def test_a_state_that_does_not_fit_is_refused() -> None:
    state = cg.solve(CYCLE, cg.MWU(1.0), 2).state
    single = cg.PreferenceGame.from_skew(CYCLE.skew.astype(np.float32))
    late = dataclasses.replace(state, step=jnp.asarray(2**31 - 5, jnp.int32))
    cases: list[tuple[Any, Any, dict[str, Any], tuple[str, ...]]] = [
        (CYCLE, cg.MWU(1.0), {"init": COMAL_START}, ("`init`", "exclude each other")),
        (CYCLE, cg.MWU(1.0), {"reference": COMAL_START}, ("`reference`", "exclude each other")),
        (LARGER, cg.MWU(1.0), {}, ("(3,)", "(10,)")),
        (BOTH, cg.MWU(1.0), {}, ("(3,)", "(2, 3)")),
        (CYCLE, cg.OptimisticMWU(1.0), {}, ("OptimisticMWU", "got a State")),
        (CYCLE, cg.COMAL(cg.MMD(1.0, 0.1)), {}, ("NearState", "got a State")),
        (single, cg.MWU(1.0), {}, ("float32", "float64", ".logp")),
        (CYCLE, cg.MWU(1.0), {"state": late}, ("2147483643 steps",)),
        (CYCLE, cg.MWU(1.0), {"state": np.array(COMAL_START)}, ("result.state", "ndarray", "`init`")),
        (CYCLE, cg.MWU(1.0), {"state": cg.solve(CYCLE, cg.MWU(1.0), 2)}, ("result.state", "type Result")),
    ]
    for game, rule, settings, words in cases:
        with pytest.raises(ValueError, match="`state`") as caught:
            cg.solve(game, rule, 10, **{"state": state, **settings})
        for word in words:
            assert word in str(caught.value)
        assert len(str(caught.value)) < 600


# What is not finite
# ----------------------------------------------------------------------------------------------


class Breaking(cg.AbstractUpdateRule):
    """MWU that proposes nan for some members from some step on."""

    step_size: float | Float[Array, ""]
    members: Bool[Array, "*batch"]
    from_step: Int[Array, ""]

    def propose(self, key: Any, state: Any, feedback: Any) -> Any:
        target = state.logp + self.step_size * feedback.advantage(key, state.logp)
        broken = self.members & (state.step >= self.from_step)
        return jnp.where(broken[..., None], jnp.nan, target), state


def breaking(*members: bool) -> Breaking:
    return Breaking(1.0, jnp.array(members), jnp.asarray(7))


def test_a_member_that_breaks_is_named_and_the_others_are_unharmed() -> None:
    init = random_policy(3, 3)
    settings: dict[str, Any] = {"init": init, "metrics": ["logp"], "throw": False}
    result = cg.solve(CYCLE, breaking(False, True, False), 20, **settings)
    sound = cg.solve(CYCLE, breaking(False, False, False), 20, **settings)
    # Step 7 (counted from 0) breaks, so policy 8 is the first that is not finite.
    np.testing.assert_array_equal(result.first_nonfinite, [-1, 8, -1])
    assert list(result.status) == ["completed", "nonfinite", "completed"]
    assert np.all(np.isfinite(result.history["logp"][:8, 1]))
    assert np.all(np.isnan(result.history["logp"][8:, 1]))
    for name, rows in sound.history.items():
        np.testing.assert_array_equal(result.history[name][:, [0, 2]], rows[:, [0, 2]])
    # The best gap of the member that broke is that of the time before.
    assert result.history["best_duality_gap"][-1, 1] == np.min(result.history["duality_gap"][:8, 1])


def test_a_break_is_found_at_the_first_record_that_shows_it() -> None:
    init = random_policy(3, 3)
    for settings, found in (({"record_every": 5}, 10), ({"metrics": ()}, 20)):
        result = cg.solve(CYCLE, breaking(False, True, False), 20, init=init, throw=False, **settings)
        np.testing.assert_array_equal(result.first_nonfinite, [-1, found, -1])
        assert list(result.status) == ["completed", "nonfinite", "completed"]


@pytest.mark.parametrize("metrics", [None, ()])
def test_two_players_are_one_member(metrics: Any) -> None:
    result = cg.solve(cg.ZeroSumGame(CYCLE.skew), cg.MWU(1.0), 5, metrics=metrics)
    assert result.status == "completed"
    assert result.first_nonfinite == -1
    assert np.ndim(result.status) == np.ndim(result.first_nonfinite) == 0


def test_a_policy_that_stops_being_finite_raises() -> None:
    with pytest.raises(FloatingPointError, match=r"Breaking.* at step 8 \(member \(1,\)\).*throw=False"):
        cg.solve(CYCLE, breaking(False, True, True), 20, init=random_policy(3, 3))
    with pytest.raises(FloatingPointError, match=r"MirrorDescent.*Lower the step size"):
        # (1 - eta tau)^k overflows.
        cg.solve(CYCLE, cg.MirrorDescent(100.0, 1.0), 1000, init=COMAL_START, reference=STARTS[0])
    assert cg.solve(CYCLE, breaking(False), 7, init=[COMAL_START]).first_nonfinite == -1


# Numbers that change with the step
# ------------------------------------------------------------------------------------------

# Shares are annotated as any number, and these two are read at the step too.
SCHEDULED_SHARES = {"damping", "rate"}


def scheduled_numbers(rule: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where a rule and the rules within take a schedule: paths of field names."""
    paths = []
    for field in dataclasses.fields(rule):
        value, here = getattr(rule, field.name), (*path, field.name)
        if isinstance(value, cg.AbstractAlgorithm | AbstractWhen):
            paths += scheduled_numbers(value, here)
        elif "Number" in str(field.type) or field.name in SCHEDULED_SHARES:
            paths.append(here)
    return paths


def with_schedules(rule: Any, schedules: dict[tuple[str, ...], Any]) -> Any:
    """The rule with these numbers replaced."""

    def places(rule: Any) -> list[Any]:
        return [functools.reduce(getattr, path, rule) for path in schedules]

    return eqx.tree_at(places, rule, list(schedules.values()))


def halving(first: float, factor: float = 0.5) -> cg.Geometric:
    return cg.Geometric(*map(jnp.asarray, (first, factor, 0.0)))


def one_step_at(rule: Any, number: Any) -> Any:
    """The state after a step from STARTS[0] around STARTS[1] that is counted as the given one."""
    state = rule.init(*jnp.log(STARTS))
    is_step = [jax.tree_util.keystr(path).endswith(".step") for path, _ in jax.tree.leaves_with_path(state)]
    leaves, structure = jax.tree.flatten(state)
    counted = [jnp.asarray(number, x.dtype) if at else x for x, at in zip(leaves, is_step, strict=True)]
    return rule.step(jax.random.key(0), jax.tree.unflatten(structure, counted), cg.Exact(CYCLE))


@each_entry
def test_a_step_reads_every_schedule_at_its_own_number(entry: Entry) -> None:
    """Step k of a rule whose numbers halve is that of the rule with the constants of step k, and no other."""
    rule, k = with_dtype(entry.rule, np.float64), 3
    step_at = jax.jit(one_step_at) if solves_by_iteration(rule) else one_step_at
    cases = [(rule, scheduled_numbers(rule))]
    if isinstance(rule, cg.COMAL) and isinstance(rule.when, cg.Near):
        # With this error it moves at once, to where the temperature says.
        moving = eqx.tree_at(lambda rule: rule.when.relative_error, rule, jnp.asarray(1e3))
        cases.append((moving, [path for path in cases[0][1] if path[-1] == "temperature"]))
    for case, paths in cases:
        assert paths

        def leaves(schedules: Any, case: Any = case) -> list[np.ndarray]:
            after = step_at(with_schedules(case, schedules), k)
            return [np.asarray(leaf, float) for leaf in jax.tree.leaves(after)]

        def constant(step: int) -> cg.Geometric:
            return halving(0.4 * 0.5**step, 1.0)

        falling = leaves({path: halving(0.4) for path in paths})
        held = {path: constant(k) for path in paths}
        for one, other in zip(falling, leaves(held), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
        for path, step in itertools.product(paths, (k - 1, k + 1)):
            shifted = leaves(held | {path: constant(step)})
            difference = [np.abs(a - b).max(initial=0) for a, b in zip(falling, shifted, strict=True)]
            assert max(difference) > 1e-6, path


# Notes
# -----------------------------------------------------------------------------------------------------------


def test_a_note_says_why_a_run_is_not_finite() -> None:
    """The sentence that `throw=True` raises, except for its advice to pass throw=False."""
    rule = cg.MirrorDescent(1e200, 1.0)
    with pytest.raises(FloatingPointError, match="stopped being finite") as caught:
        cg.solve(CYCLE, rule, 5, init=COMAL_START)
    result = cg.solve(CYCLE, rule, 5, init=COMAL_START, throw=False)
    assert result.status == "nonfinite"
    assert str(caught.value).startswith(result.notes[-1].removesuffix("."))
    assert f"at step {result.first_nonfinite}" in result.notes[-1]


def test_gaps_below_what_float32_resolves_are_noted() -> None:
    single = cg.PreferenceGame.from_skew(CYCLE.skew.astype(np.float32))
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)
    with pytest.warns(UserWarning, match="float32.*jax_enable_x64"):
        result = cg.solve(single, rule, 1000, init=COMAL_START)
    assert len(result.notes) == 1
    assert "float32" in result.notes[0]
    assert cg.solve(single, cg.MWU(1.0), 1000, init=COMAL_START).notes == ()
    assert cg.solve(CYCLE, rule, 1000, init=COMAL_START).notes == ()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_note_on_float32_begins_where_its_rounding_does(scale: float) -> None:
    """At 16 times epsilon times the largest payoff, 0.4 here, whatever the unit and the length of the run."""
    payoff = np.asarray(CYCLE.skew) * scale
    single = cg.ZeroSumGame(payoff.astype(np.float32))
    rule = cg.COMAL(cg.MirrorDescent(1.0 / scale, 0.1 * scale), 20)
    with pytest.warns(UserWarning, match="float32"):
        gaps = cg.solve(single, rule, 400, init=[COMAL_START] * 2).history["duality_gap"] / scale
    coarse = int(np.argmax(gaps < 16 * 1.19e-7 * 0.4))
    assert gaps[:coarse].min() < 2e-6
    assert cg.solve(single, rule, coarse - 1, init=[COMAL_START] * 2).notes == ()
    with pytest.warns(UserWarning, match="float32"):
        (note,) = cg.solve(single, rule, coarse, init=[COMAL_START] * 2).notes
    assert f"{16 * 1.19e-7 * 0.4 * scale:.0e}" in note


@pytest.mark.parametrize("num_actions", [3, 10, 100])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_gaps_that_are_not_noted_are_not_rounding(num_actions: int, scale: float) -> None:
    """The gap in float32 of a rounded policy with rounded payoffs, against float64, at and away from Nash."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        payoff = scale * rng.uniform(-1, 1, (num_actions, num_actions))
        game, single = cg.ZeroSumGame(payoff), cg.ZeroSumGame(payoff.astype(np.float32))
        random = rng.dirichlet(np.ones(num_actions), 2)
        for policy in (cg.nash(game).policy, random):
            logp = np.log(0.999999 * policy + 1e-6 / num_actions)
            gaps = cg.duality_gap(single, logp.astype(np.float32)), cg.duality_gap(game, logp)
            assert abs(float(gaps[0]) - float(gaps[1])) < 4 * np.finfo(np.float32).eps * np.abs(payoff).max()


def test_a_short_period_is_noted_with_one_that_would_do() -> None:
    short = cg.COMAL(cg.MirrorDescent(0.3, 0.1), 5)
    with pytest.warns(UserWarning, match="period of 5 is short for MirrorDescent.*period=20 would suffice"):
        result = cg.solve(CYCLE, short, 10)
    assert len(result.notes) == 1
    assert "period=20 would suffice" in result.notes[0]
    assert cg.solve(CYCLE, cg.COMAL(cg.MirrorDescent(0.3, 0.1), 20), 10).notes == ()
    assert cg.COMAL(cg.MirrorDescent(3.0, 0.1), 4).notes() == ()
    assert cg.COMAL(cg.ExactProx(0.1), 1).notes() == ()


@pytest.mark.parametrize(
    "rule",
    [
        *(
            e.rule
            for e in CONTRACT.values()
            if isinstance(e.rule, cg.AbstractUpdateRule) and e.rule.form(0).pull == 0
        ),
        cg.MirrorDescent(1.0, 0.0),
    ],
    ids=repr,
)
def test_comal_refuses_a_rule_without_a_reference_by_name(rule: Any) -> None:
    with pytest.raises(
        ValueError, match=f"(?s)`inner` must have a reference.*{type(rule).__name__}.*pull is 0"
    ):
        cg.COMAL(rule, 10)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in CONTRACT
        if name.startswith("COMAL")
        and name not in ("COMAL of COMAL", "COMAL of NashMDPG")  # 30 steps are few
    ],
)
def test_a_round_of_comal_is_the_inner_rule_started_again(name: str) -> None:
    inner = CONTRACT[name].rule.inner
    rounds = cg.COMAL(inner, 30)
    first, later = run(CYCLE, inner, COMAL_START, 30), run(CYCLE, rounds, COMAL_START, 50)
    np.testing.assert_allclose(run(CYCLE, rounds, COMAL_START, 30), first, **SAME)
    np.testing.assert_allclose(later, run(CYCLE, inner, np.exp(first), 20), **SAME)
    assert np.abs(later - run(CYCLE, inner, COMAL_START, 50)).max() > 1e-3


def test_nested_comals_both_move_the_reference() -> None:
    rule = cg.COMAL(cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20), 30)
    moves = {0: 0, 19: 0, 20: 20, 29: 20, 30: 30, 39: 30, 40: 40, 59: 40, 60: 60, 80: 80}
    for num_steps, moved in moves.items():
        reference = cg.solve(CYCLE, rule, num_steps, init=COMAL_START, metrics=()).state.reference
        np.testing.assert_array_equal(reference, run(CYCLE, rule, COMAL_START, moved))


# Under transformations
# -------------------------------------------------------------------------------------------


def test_trajectory_is_solve_without_a_host() -> None:
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)
    result = cg.solve(CYCLE, rule, 50, init=COMAL_START, record_every=4, metrics=["entropy"])

    @jax.jit
    def final(logp: Any) -> Any:
        ran = cg.trajectory(CYCLE, rule, 50, logp=logp, record_every=4, metrics=["entropy"])
        np.testing.assert_array_equal(ran.steps, result.steps)  # known while compiling
        return ran._replace(steps=None)

    found = final(jnp.log(jnp.array(COMAL_START)))
    assert set(found.records) == set(result.history)
    for name, rows in result.history.items():
        np.testing.assert_allclose(found.records[name], rows, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.state.logp, result.logp, rtol=1e-12)
    assert found.first_nonfinite == -1


def test_trajectory_under_vmap_over_games_starts_and_rules() -> None:
    def final_gap(skew: Any, policy: Any, step_size: Any) -> Any:
        game = cg.PreferenceGame.from_skew(skew)
        rule = cg.COMAL(cg.MirrorDescent(step_size, 0.1), 20)
        return cg.trajectory(game, rule, 50, logp=jnp.log(policy)).records["duality_gap"]

    step_sizes = np.array([1.0, 2.0])
    found = jax.jit(jax.vmap(final_gap))(BOTH.skew, jnp.asarray(STARTS), jnp.asarray(step_sizes))
    for k in range(2):
        rule = cg.COMAL(cg.MirrorDescent(step_sizes[k], 0.1), 20)
        gaps = cg.solve((CYCLE, BIASED)[k], rule, 50, init=STARTS[k]).history["duality_gap"]
        np.testing.assert_allclose(found[k], gaps, rtol=1e-10, atol=1e-14)


def test_trajectory_can_be_differentiated() -> None:
    @jax.jit
    def final_gap(step_size: Any) -> Any:
        logp = jnp.log(jnp.array(COMAL_START))
        return cg.trajectory(CYCLE, cg.Extragradient(step_size), 30, logp=logp).records["duality_gap"][-1]

    h = 1e-6
    slope = (final_gap(1 + h) - final_gap(1 - h)) / (2 * h)
    # A central difference with h = 1e-6: rounding 1e-16 / 1e-6, truncation 1e-12.
    np.testing.assert_allclose(jax.grad(final_gap)(1.0), slope, rtol=1e-7)
    np.testing.assert_allclose(jax.jvp(final_gap, (1.0,), (1.0,))[1], slope, rtol=1e-7)


def test_a_rule_is_an_ordinary_pytree() -> None:
    for entry in CONTRACT.values():
        leaves = jax.tree.leaves(entry.rule)
        # Defaults, such as COMAL's relative error, and weights made of one number may come on top.
        assert not Counter(entry.leaves) - Counter(leaves)
        assert len(leaves) <= len(entry.leaves) + 3
        assert eqx.tree_equal(jax.tree.map(lambda leaf: leaf, entry.rule), entry.rule)
