"""What users get wrong is refused before anything compiles, in words that say what came and what would do."""

import dataclasses
import importlib
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from helpers import CONTRACT

import comalgames as cg
from comalgames.algorithms.base import with_dtype

GAME = cg.games.comal_cycle()
TWO_PLAYERS = cg.ZeroSumGame([[1.0, -1.0], [-1.0, 1.0]])
PROMPTS = cg.PreferenceGame(np.full((2, 3, 3), 0.5))
RULE = cg.MirrorDescent(1.0, 0.1)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the type checks of conftest.py, which users do not have and which would speak first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def nothing_compiles(monkeypatch):
    """Fail, by an error that no test expects, as soon as a run is traced, with which compiling begins."""

    def fail(*args, **kwargs):
        raise AssertionError("the run was compiled")

    solve_module = importlib.import_module("comalgames.drivers.solve")
    monkeypatch.setattr(solve_module, "_chunk", fail)


def refused(call, *words):
    """Assert that `call` raises a ValueError whose message holds all these words."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_a_run_that_nothing_is_wrong_with_is_compiled():
    with pytest.raises(AssertionError, match="the run was compiled"):
        cg.solve(GAME, RULE, 3)


# Numbers that float32 cannot hold

SINGLE = cg.PreferenceGame.from_skew(np.asarray(GAME.skew, np.float32))


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize("value", [1e300, 1e-300])
def test_numbers_of_a_rule_that_become_infinite_or_zero_in_float32_are_refused(name, value):
    """Step sizes, temperatures and shares, also those inside of a rule; whole numbers and 0 fit."""
    entry = CONTRACT[name]
    paths = jax.tree.leaves_with_path(entry.rule)
    tried = 0
    for k, (path, leaf) in enumerate(paths):
        if not isinstance(leaf, float) or leaf == 0:
            continue
        odd = eqx.tree_at(lambda rule, k=k: jax.tree.leaves(rule)[k], entry.rule, value)
        field = jax.tree_util.keystr(path, simple=True, separator=".")
        refused(
            lambda odd=odd: cg.solve(SINGLE, odd, 3), f"`{field}` does not fit into float32", f"{value:.3g}"
        )
        tried += 1
    assert tried > 0


# Payoffs

TABLES = [
    (0.5, "square", "shape ()"),
    ([0.5, 0.5], "square", "shape (2,)"),
    ([[0.5, 0.5]], "square", "shape (1, 2)"),
    (np.zeros((0, 0)), "square", "n >= 1", "shape (0, 0)"),
    ([[0.5, np.nan], [0.5, 0.5]], "finite", "(0, 1) is nan"),
    ([[0.5, 0.5], [-np.inf, 0.5]], "finite", "(1, 0) is -inf"),
    ([[0.5, 0.5j], [0.5, 0.5]], "complex", "real numbers"),
    (np.array([[0.5, None], [0.5, 0.5]]), "real numbers", "object"),
    ([[0.5, 0.5], [0.5]], "rectangular", "rows differ in length"),
    ([["0.5", "0.5"], ["0.5", "0.5"]], "real numbers", "<U3"),
    (None, "real numbers", "object"),
]


@pytest.mark.parametrize(("table", "words"), [(table, words) for table, *words in TABLES])
@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (cg.PreferenceGame, "`preference`"),
        (cg.PreferenceGame.from_skew, "`skew`"),
        (cg.games.from_winrates, "`source`"),
    ],
)
def test_a_table_that_is_no_payoff_matrix(make, argument, table, words):
    refused(lambda: make(table), argument, *words)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        *((0.5, ["matrix", "shape ()"]), ([0.5, 0.5], ["matrix", "shape (2,)"])),
        (np.zeros((0, 3)), ["no empty axis", "shape (0, 3)"]),
        *((table, words) for table, *words in TABLES if "square" not in words),
    ],
)
def test_a_table_that_is_no_payoff_matrix_of_two_players(table, words):
    refused(lambda: cg.ZeroSumGame(table), "`payoff`", *words)


@pytest.mark.parametrize(
    "policy",
    [
        [0.5, 0.5],
        np.full((2, 2), 0.5),
        ([0.5, 0.5], [0.5, 0.5]),
        np.full((2, 3), 1 / 3),
        ([1.0], [1.0], [1.0]),
    ],
    ids=str,
)
def test_policies_of_players_with_other_numbers_of_actions(policy):
    game = cg.ZeroSumGame([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    refused(lambda: cg.solve(game, cg.MWU(0.1), 1, init=policy), "`init`")
    refused(lambda: cg.nash(cg.ZeroSumGame(np.zeros((2, 3))), select=policy), "`select`")
    refused(lambda: cg.games.role_symmetrized(game), "`game`", "rows", "(2, 3)")


@pytest.mark.parametrize(
    ("make", "argument"), [(cg.PreferenceGame, "`preference`"), (cg.games.from_winrates, "`source`")]
)
def test_preferences_out_of_range(make, argument):
    refused(lambda: make([[0.5, 1.2], [-0.2, 0.5]]), argument, "[0, 1]", "from -0.2 to 1.2", "ZeroSumGame")
    refused(lambda: make([[0, 70], [30, 0]]), argument, "[0, 1]", "from 0 to 70")


@pytest.mark.parametrize("make", [cg.PreferenceGame, cg.games.from_winrates])
def test_preferences_that_do_not_sum_to_one(make):
    words = "`preference`", "P + P.T = 1", "symmetrize=True"
    refused(lambda: make([[0.5, 0.7], [0.4, 0.5]]), *words, "off by 0.1 at the pair (0, 1)")
    refused(lambda: make([[0.5, 0.7], [0.3, 0.0]]), *words, "off by 1 at the pair (1, 1)")
    # The tolerance is 1e-6: what is within it is rounding, and is taken.
    refused(lambda: make([[0.5, 0.7], [0.3 + 2e-6, 0.5]]), *words, "off by 2e-06")
    make([[0.5, 0.7], [0.3 + 5e-7, 0.5]])


def test_payoffs_that_are_not_skew_or_too_large():
    refused(
        lambda: cg.PreferenceGame.from_skew([[0, 0.2], [-0.1, 0]]),
        "`skew`",
        "-skew.T exactly",
        "deviation is 0.1",
    )
    refused(
        lambda: cg.PreferenceGame.from_skew([[0.0, 1.0], [-1.0, 0.0]]), "`skew`", "[-1/2, 1/2]", "payoff of 1"
    )


EMPTY = {
    "PreferenceGame": (cg.PreferenceGame, (0, 3, 3), "`preference`"),
    "from_skew": (cg.PreferenceGame.from_skew, (0, 3, 3), "`skew`"),
    "ZeroSumGame": (cg.ZeroSumGame, (0, 3, 3), "`payoff`"),
    "from_winrates": (cg.games.from_winrates, (0, 3, 3), "`source`"),
    "bradley_terry": (cg.games.bradley_terry, (0, 3), "`scores`"),
    "bradley_terry_mixture": (cg.games.bradley_terry_mixture, (0, 3), "`scores`"),
    "bradley_terry_mixture, prompts": (cg.games.bradley_terry_mixture, (0, 2, 3), "`scores`"),
    "init": (lambda array: cg.solve(GAME, RULE, 10, init=array), (0, 3), "`init`"),
    "reference": (lambda array: cg.solve(GAME, RULE, 10, reference=array), (0, 3), "`reference`"),
    "Reward": (cg.Reward, (0,), "`reward`"),
    "Reward, prompts": (cg.Reward, (0, 3), "`reward`"),
    "Candidates": (lambda array: cg.Candidates(array, np.zeros((0, 3))), (0, 3, 3), "`preference`"),
    "LogLinear, actions": (cg.LogLinear, (0, 3), "`features`"),
    "LogLinear, features": (cg.LogLinear, (3, 0), "`features`"),
    "MLP": (cg.MLP, (0, 3, 2), "`features`"),
    "kl_to": (cg.kl_to, (0, 3), "`logp`"),
    "kl_to, actions": (cg.kl_to, (0,), "`logp`"),
    "total_variation_to": (cg.total_variation_to, (0, 3), "`logp`"),
    "regularized_gap": (lambda array: cg.regularized_gap(0.1, array), (0, 3), "`reference_logp`"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_axis(name):
    make, shape, argument = EMPTY[name]
    refused(lambda: make(np.zeros(shape)), argument, f"shape {shape}" if len(shape) > 1 else "(0,)")


@pytest.mark.parametrize(
    ("make", "table"),
    [
        (cg.PreferenceGame.from_skew, np.zeros((3, 3), int)),
        (cg.PreferenceGame.from_skew, [[0, 0], [0, 0]]),
        (cg.PreferenceGame.from_skew, jnp.zeros((3, 3), jnp.int32)),
        (cg.PreferenceGame.from_skew, np.zeros((2, 2), bool)),
        (cg.PreferenceGame, [[0, 1], [0, 1]]),
        (cg.ZeroSumGame, [[0, 1], [1, 0]]),
        (cg.ZeroSumGame, jnp.eye(3, dtype=jnp.int32)),
    ],
)
def test_whole_numbers_are_payoffs(make, table, monkeypatch):
    monkeypatch.undo()
    if make is cg.PreferenceGame:
        table = [[0.5, 1], [0, 0.5]]
    game = make(table)
    assert jnp.issubdtype(game.dtype, jnp.floating)
    assert np.isfinite(cg.duality_gap(game, game.uniform()))
    assert cg.solve(game, RULE, 2).status == "completed"


def test_names_and_weights_that_do_not_fit():
    refused(lambda: cg.PreferenceGame(np.full((3, 3), 0.5), names="aba"), "`names`", "'a' occurs 2 times")
    refused(lambda: cg.PreferenceGame.from_skew(np.zeros((2, 2)), names=[1, "1"]), "`names`", "'1' occurs 2")
    refused(lambda: cg.PreferenceGame([[0.5]], names=("a", "b")), "`names`", "1 actions", "2 names")
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [[1.0, 1.0]]):
        refused(
            lambda weights=weights: cg.PreferenceGame(np.full((2, 1, 1), 0.5), prompt_weights=weights),
            *("`prompt_weights`", "one number >= 0 per prompt", "(2,)", str(weights)),
        )
    refused(lambda: cg.PreferenceGame([[0.5]], prompt_weights=[np.nan]), "`prompt_weights`", "finite")


def test_arguments_of_the_ready_made_games():
    key = jax.random.key(0)
    for edges in ((0.1, 0.2, 0.6), (0.1, -0.51, 0.2), (0.1, [0.1], 0.2)):
        refused(lambda edges=edges: cg.games.cycle(*edges), "`a", "b")
    refused(lambda: cg.games.cycle(0.1, 0.2, 0.6), "[-1/2, 1/2]", "0.1, 0.2 and 0.6")
    refused(lambda: cg.games.cycle(0.1, 0.2, "0.3"), "`a, b, c`", "real numbers", "<U")
    for value in (0, -1.0, np.nan, "3"):
        refused(
            lambda value=value: cg.games.rock_paper_scissors(1.0, value, 1.0),
            *("`paper`", "finite number > 0", repr(value)),
        )
    for count in (0, -1, 2.5, "3", True, None):
        refused(
            lambda count=count: cg.games.random(key, count), "`num_actions`", "whole number >= 1", repr(count)
        )
    refused(lambda: cg.games.random(key, 3, prompts=(2, 0)), "`prompts`", "whole number >= 1", "got 0")
    refused(lambda: cg.games.mariner(22), "`exclude`", "a list of names", "pass [22]")
    refused(lambda: cg.games.bradley_terry(1.0), "`scores`", "at least 1 axes", "shape ()")
    refused(lambda: cg.games.bradley_terry([0.0, np.inf]), "`scores`", "finite", "(1,) is inf")
    refused(lambda: cg.games.bradley_terry_mixture([0.0, 1.0]), "`scores`", "at least 2 axes", "shape (2,)")
    for weights in ([0.5, 0.6], [1.0], [1.5, -0.5]):
        refused(
            lambda weights=weights: cg.games.bradley_terry_mixture(np.zeros((2, 3)), weights),
            *("`weights`", "2 numbers >= 0 that sum to 1", str(weights)),
        )


# Policies

POLICIES = [
    ([0.5, 0.4, 0.3], "on the simplex", "sums run from 1.2"),
    ([0.7, 0.6, -0.3], "entries >= 0", "smallest entry is -0.3"),
    ([0.5, 0.5], "over 3 actions", "shape (2,)"),
    (1.0, "over 3 actions", "shape ()"),
    ([0.5, 0.5, 0.0], "excludes action 2", "small probability"),
    (np.log([0.2, 0.5, 0.3]), "must be probabilities", "log-probabilities"),
    ([0.5, np.nan, 0.5], "finite", "(1,) is nan"),
    ("uniform", "real numbers", "<U7"),
    ([[0.2, 0.5, 0.3], [0.5, 0.5]], "rectangular"),
]


@pytest.mark.parametrize("argument", ["init", "reference"])
@pytest.mark.parametrize(("policy", "words"), [(policy, words) for policy, *words in POLICIES])
def test_a_policy_off_the_simplex(argument, policy, words):
    refused(lambda: cg.solve(GAME, RULE, 10, **{argument: policy}), f"`{argument}`", *words)


@pytest.mark.parametrize("argument", ["init", "reference"])
def test_log_probabilities_given_for_probabilities_come_with_the_remedy(argument):
    logp = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    refused(lambda: cg.solve(GAME, RULE, 10, **{argument: logp}), f"pass jnp.exp({argument})")


@pytest.mark.parametrize("argument", ["init", "reference"])
def test_a_policy_that_does_not_fit_the_prompts_or_players(argument):
    policies = np.full((4, 3), 1 / 3)
    refused(lambda: cg.solve(PROMPTS, RULE, 10, **{argument: policies}), f"`{argument}`", "(4, 3)", "(2, 3)")
    policies = np.full((3, 2), 1 / 2)
    refused(
        lambda: cg.solve(TWO_PLAYERS, RULE, 10, **{argument: policies}), f"`{argument}`", "(3, 2)", "(2, 2)"
    )


# Numbers of rules

# One entry of the contract table for each rule.
ENTRIES = {type(entry.rule): entry for entry in reversed(CONTRACT.values()) if entry.arrives}
RULES = [rule for rule in ENTRIES if rule is not cg.Parametric]
# 0 has a meaning there: no regularization.
MAY_BE_ZERO = {(rule, name) for rule, entry in ENTRIES.items() for name in entry.may_be_zero}
SHARES = {(rule, name) for rule, entry in ENTRIES.items() for name in entry.shares}
NUMBERS = [
    (rule, field.name) for rule in RULES for field in dataclasses.fields(rule) if field.type == "Number"
]


def made(rule, **changes):
    """The rule with valid arguments, except for these."""
    return dataclasses.replace(ENTRIES[rule].rule, **changes)


def test_every_rule_and_each_of_its_numbers_is_walked():
    assert {cg.MWU, cg.ExactProx, cg.IterativeDPO, cg.OptimisticMWU, cg.INPO, cg.COMAL} <= set(RULES)
    assert len(NUMBERS) >= 16  # those of the first eleven rules
    for rule in RULES:
        assert isinstance(made(rule), rule)


@pytest.mark.parametrize(("rule", "field"), NUMBERS)
def test_a_number_of_a_rule_that_is_not_one_finite_positive_number(rule, field):
    accepted = "a finite number >= 0" if (rule, field) in MAY_BE_ZERO else "a finite number > 0"
    if (rule, field) in SHARES:
        accepted = "a number above 0 and at most 1"
    for value in (-1, -1e-9, np.nan, np.inf, -np.inf, True, np.True_, "0.1", None, 1j, jnp.asarray(-1.0), {}):
        refused(lambda value=value: made(rule, **{field: value}), f"`{field}`", accepted, repr(value))
    for values in ([0.1, 0.2], np.array([0.1, 0.2]), jnp.array([0.1, 0.2])):
        refused(
            lambda values=values: made(rule, **{field: values}), f"`{field}`", accepted, "shape (2,)", "vmap"
        )
    for function in (lambda step: 0.1, float):
        refused(
            lambda f=function: made(rule, **{field: f}),
            f"`{field}`",
            accepted,
            "AbstractSchedule",
            "function",
        )
    if (rule, field) in MAY_BE_ZERO:
        made(rule, **{field: 0})
    else:
        refused(lambda: made(rule, **{field: 0}), f"`{field}`", accepted, "got 0")
    for value in (0.25, 1, np.float32(0.25), np.int64(1), jnp.asarray(0.25)):
        made(rule, **{field: value})


@pytest.mark.parametrize(
    "number", [1, 0.25, np.int64(1), np.float64(0.25), np.float32(0.25), jnp.asarray(0.25)]
)
def test_numbers_of_every_kind_run_in_the_dtype_of_the_game(number):
    step_size = with_dtype(cg.MWU(number), np.dtype(np.float32)).step_size
    assert step_size.dtype == np.float32
    assert float(step_size) == float(number)


@pytest.mark.parametrize(("rule", "field"), NUMBERS)
def test_numbers_under_a_transformation_are_taken_unseen(rule, field):
    values = jnp.array([-1.0, 0.5])
    rules = jax.vmap(lambda value: made(rule, **{field: value}))(values)
    assert np.array_equal(getattr(rules, field), values)


def test_comal_around_numbers_under_a_transformation():
    make = jax.vmap(lambda step_size, period: cg.COMAL(cg.MirrorDescent(step_size, 0.1), period))
    rules = make(jnp.array([1.0, 2.0]), jnp.array([3, 4]))
    assert np.array_equal(rules.inner.step_size, [1, 2])
    assert np.array_equal(rules.when.period, [3, 4])


class Decay(cg.AbstractSchedule):
    first: float

    def __call__(self, step):
        return self.first / (1.0 + step.astype(float))


@pytest.mark.parametrize(("rule", "field"), NUMBERS)
def test_a_schedule_may_stand_for_any_number(rule, field):
    with_schedule, with_number = made(rule, **{field: Decay(0.3)}), made(rule, **{field: 0.3})
    # The first step, which is the one that `pull` speaks of, gets the first value.
    assert with_schedule.form(0).pull == pytest.approx(with_number.form(0).pull, rel=1e-15)


def test_inpo_with_tau_above_eta():
    refused(
        lambda: cg.INPO(0.1, 0.2),
        "`tau`",
        "at most `eta`",
        "tau=0.2",
        "eta=0.1",
        "MirrorDescent(1 / eta, tau)",
    )
    assert cg.INPO(0.2, 0.2).form(0).pull == 1.0
    # In the other parametrization larger steps are allowed: no theorem covers them, but they are no mistake.
    assert cg.MirrorDescent(10.0, 0.2).form(0).pull == 2.0


@pytest.mark.parametrize("period", [0, -1, 2.5, "20", True, np.nan, np.inf])
def test_a_period_that_is_no_whole_number(period):
    refused(lambda: cg.COMAL(RULE, period), "`period`", "whole number >= 1", repr(period))


def test_comal_around_what_has_no_reference():
    for rule in (cg.MWU(0.1), cg.OptimisticMWU(0.1), cg.Extragradient(1.0), cg.MirrorDescent(1.0, 0.0)):
        refused(lambda rule=rule: cg.COMAL(rule, 20), "`inner`", repr(rule), "its pull is 0", "ExactProx")
    refused(lambda: cg.COMAL(cg.MWU(0.1), 20), "MWU(step_size=0.1)")
    for thing in (cg.MirrorDescent, "MirrorDescent", None):
        refused(lambda thing=thing: cg.COMAL(thing, 20), "`inner`", "must be an update rule", repr(thing))


# Regularizers


def vector(p, reference):
    return p - reference


def integer(p, reference):
    return jnp.sum(p > reference)


def nothing(p, reference):
    return None


def imaginary(p, reference):
    return jnp.sum(p).astype(complex)


@pytest.mark.parametrize(
    ("regularizer", "words"),
    [
        (vector, ("'vector' returned float64 of shape (2,)",)),
        (integer, ("'integer' returned int64 of shape ()",)),
        (imaginary, ("'imaginary' returned complex128 of shape ()",)),
        (nothing, ("'nothing' returned None",)),
    ],
)
def test_a_regularizer_that_does_not_return_a_number(regularizer, words):
    refused(
        lambda: cg.RegularizedMirrorDescent(1.0, 0.1, regularizer), "`regularizer`", "one real number", *words
    )


@pytest.mark.parametrize("regularizer", ["kl", None, 0.1])
def test_a_regularizer_that_is_no_function(regularizer):
    refused(
        lambda: cg.RegularizedMirrorDescent(1.0, 0.1, regularizer),
        *("`regularizer`", "a function (p, reference) -> number", repr(regularizer)),
    )


def test_a_regularizer_for_one_number_of_actions_is_not_refused_for_it():
    costs = jnp.array([1.0, 2.0, 3.0])
    cg.RegularizedMirrorDescent(1.0, 0.1, lambda p, reference: jnp.sum(costs * (p - reference) ** 2))


def test_a_regularizer_that_returns_nan_ends_the_run_in_words(monkeypatch):
    monkeypatch.undo()  # it takes a run to see it
    rule = cg.RegularizedMirrorDescent(
        1.0, 0.1, lambda p, reference: jnp.sum(p) * jnp.where(jnp.min(p) < 0.3, jnp.nan, 1.0)
    )
    with pytest.raises(
        FloatingPointError, match=r"(?s)RegularizedMirrorDescent.*stopped being finite at step 1\b"
    ):
        cg.solve(GAME, rule, 3, init=[0.2, 0.5, 0.3])


# The call of solve


@pytest.mark.parametrize(("argument", "minimum"), [("num_steps", 0), ("record_every", 1), ("chunk_steps", 1)])
def test_a_count_that_is_no_whole_number(argument, minimum):
    for value in (minimum - 1, -3, 2.5, "10", True, [1], np.nan, np.inf):
        refused(
            lambda value=value: cg.solve(
                **{"game": GAME, "algorithm": RULE, "num_steps": 10, argument: value}
            ),
            *(f"`{argument}`", f"whole number >= {minimum}", repr(value)),
        )
    for value in (2**31, 2**32, 1e20, np.uint64(2**40)):
        refused(
            lambda value=value: cg.solve(
                **{"game": GAME, "algorithm": RULE, "num_steps": 10, argument: value}
            ),
            *(f"`{argument}`", f"whole number >= {minimum} and at most 2147483647", repr(value)),
        )
    if argument != "chunk_steps":
        refused(
            lambda: cg.trajectory(
                **{"game": GAME, "algorithm": RULE, "num_steps": 10, argument: minimum - 1}
            ),
            *(f"`{argument}`", f"whole number >= {minimum}"),
        )


def test_a_number_of_steps_that_is_none():
    refused(lambda: cg.solve(GAME, RULE, None), "`num_steps`", "whole number >= 0", "got None")


@pytest.mark.parametrize("tolerance", [0, -1e-6, np.nan, "1e-6", True])
def test_a_tolerance_that_is_not_positive(tolerance):
    refused(
        lambda: cg.solve(GAME, RULE, 10, tolerance=tolerance),
        "`tolerance`",
        "finite number > 0",
        repr(tolerance),
    )


def test_what_is_no_game_and_no_rule():
    refused(
        lambda: cg.solve(np.full((3, 3), 0.5), RULE, 10), "`game`", "PreferenceGame or ZeroSumGame", "ndarray"
    )
    refused(lambda: cg.solve([[0.5]], RULE, 10), "`game`", "got list", "cg.PreferenceGame(matrix)")
    for thing in (cg.MWU, "MWU", None, 0.1):
        refused(lambda thing=thing: cg.solve(GAME, thing, 10), "`algorithm`", "such as MWU(0.1)", repr(thing))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (cg.IterativeDPO(1.0), "IterativeDPO(beta=1.0)"),
        (cg.ExactProx(0.1), "ExactProx(temperature=0.1)"),
        (cg.COMAL(cg.ExactProx(0.1), 1), "COMAL(inner=ExactProx(temperature=0.1), when=Every(period=1))"),
    ],
)
def test_rules_that_read_pairs_on_a_two_player_game(rule, name):
    refused(lambda: cg.solve(TWO_PLAYERS, rule, 10), name, "ZeroSumGame", "PreferenceGame", "OptimisticMWU")


def test_metrics_that_are_not_known():
    refused(
        lambda: cg.solve(GAME, RULE, 10, metrics=["entrpy"]),
        "`metrics`",
        "'entrpy'",
        "Did you mean 'entropy'?",
    )
    refused(
        lambda: cg.solve(GAME, RULE, 10, metrics=["dualitygap"]),
        "Did you mean",
        "'duality_gap'",
        "worst_win_rate",
    )
    for metrics in ("policy", cg.duality_gap, 3, iter(["policy"])):
        refused(
            lambda m=metrics: cg.solve(GAME, RULE, 10, metrics=m),
            "`metrics`",
            "a list or a dict",
            repr(metrics),
        )
    refused(lambda: cg.solve(GAME, RULE, 10, metrics=[0.1]), "`metrics`", "names or functions", "0.1")


def test_metrics_that_would_overwrite_one_another():
    target = cg.kl_to(GAME.uniform())
    refused(
        lambda: cg.solve(GAME, RULE, 10, metrics=[target, target]),
        "`metrics`",
        "two metrics named 'KLTo'",
        "dict",
    )
    refused(
        lambda: cg.solve(GAME, RULE, 10, metrics={"duality_gap": cg.entropy}), "`metrics`", "'duality_gap'"
    )
    refused(
        lambda: cg.solve(GAME, RULE, 10, metrics={"average_duality_gap": "entropy"}), "'average_duality_gap'"
    )


def test_feedback_that_is_none_or_lacks_its_key():
    class Coin(cg.AbstractFeedback):
        @property
        def is_random(self):
            return True

        def advantage(self, key, opponent_logp):
            raise NotImplementedError

        def pairwise(self, key):
            raise NotImplementedError

    refused(lambda: cg.solve(GAME, RULE, 10, feedback="exact"), "`feedback`", "Exact(game)", "'exact'")
    refused(lambda: cg.solve(GAME, RULE, 10, feedback=Coin()), "`key`", "Coin is random", "jax.random.key(0)")


NO_KEYS = [0, 1.5, np.int64(3), True, "key", (0, 1), np.arange(2), jnp.zeros(2), jnp.asarray(1), [1, 2], {}]
KEYED = {
    "solve": lambda key: cg.solve(GAME, RULE, 10, key=key),
    "trajectory": lambda key: cg.trajectory(GAME, RULE, 10, key=key),
    "sweep": lambda key: cg.sweep(GAME, [RULE], 10, key=key),
    "random": lambda key: cg.games.random(key, 3),
    "tournament": lambda key: cg.games.tournament(key, 3),
    "game_of_skill": lambda key: cg.games.game_of_skill(key, 3, 1.0),
    "designed": lambda key: cg.games.designed(key, [1.0], []),
    "estimated": lambda key: cg.games.estimated(key, GAME, 3),
    "gaussian_noise": lambda key: cg.games.gaussian_noise(key, GAME, 0.1),
}


@pytest.mark.parametrize("name", KEYED)
def test_what_is_no_key(name):
    for key in NO_KEYS:
        refused(lambda key=key: KEYED[name](key), "`key` must be a JAX random key", "jax.random.key(")
    refused(lambda: KEYED[name](7), "jax.random.key(7)")
    refused(lambda: KEYED[name](jax.random.split(jax.random.key(0), 3)), "`key`", "one", "shape (3,)")
    refused(lambda: KEYED[name]("long " * 1000), "`key`", "a str")


def test_both_kinds_of_keys_are_keys(monkeypatch):
    monkeypatch.undo()
    for make in (jax.random.key, jax.random.PRNGKey):
        assert cg.games.random(make(0), 3).num_actions == 3
        assert cg.solve(GAME, RULE, 0, key=make(0), metrics=()).status == "completed"
        drawn = jax.jit(lambda key: cg.games.random(key, 3).skew)(make(0))
        np.testing.assert_array_equal(drawn, cg.games.random(make(0), 3).skew)


FIVE = cg.games.random(jax.random.key(0), 5)
OTHERS = {
    "more actions": (GAME, FIVE),
    "fewer actions": (FIVE, GAME),
    "one action": (GAME, cg.PreferenceGame([[0.5]])),
    "prompts": (GAME, PROMPTS),
    "other prompts": (PROMPTS, cg.PreferenceGame(np.full((4, 3, 3), 0.5))),
    "two players": (GAME, cg.ZeroSumGame(np.eye(3))),
    "two players as two prompts": (PROMPTS, cg.ZeroSumGame(np.eye(3))),
    "no players": (TWO_PLAYERS, cg.PreferenceGame(np.full((2, 2), 0.5))),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", [cg.Exact, lambda game: cg.Sampled(game, 4), cg.RegressedPairs])
def test_feedback_of_another_game(name, kind):
    game, other = OTHERS[name]
    if kind is not cg.Exact and not isinstance(other, cg.PreferenceGame):
        return
    for drive in (cg.solve, cg.trajectory):
        refused(
            lambda drive=drive: drive(game, RULE, 10, feedback=kind(other), key=jax.random.key(0)),
            *("`feedback`", str(game.policy_shape), str(other.policy_shape), type(other).__name__),
        )
    refused(lambda: cg.sweep(game, [RULE], 10, feedback=kind(other)), "`feedback`", str(other.policy_shape))


def test_candidates_for_other_actions():
    other = cg.Candidates(np.full((2, 2), 0.5), np.log([0.5, 0.5]))
    refused(lambda: cg.solve(GAME, RULE, 10, feedback=other), "`feedback`", "(3,)", "(2,)")


def test_feedback_of_one_prompt_serves_all_prompts(monkeypatch):
    monkeypatch.undo()
    shared = cg.Exact(GAME)
    assert cg.solve(PROMPTS, RULE, 2, feedback=shared).policy.shape == (2, 3)


# Metrics

LOGP = np.log([0.2, 0.5, 0.3])
MEASURES = {
    "duality_gap": (lambda logp: cg.duality_gap(GAME, logp), "logp"),
    "worst_win_rate": (lambda logp: cg.worst_win_rate(GAME, logp), "logp"),
    "entropy": (lambda logp: cg.entropy(GAME, logp), "logp"),
    "kl_to": (lambda logp: cg.kl_to(logp), "logp"),
    "what kl_to made": (lambda logp: cg.kl_to(LOGP)(GAME, logp), "logp"),
    "regularized_gap": (lambda logp: cg.regularized_gap(0.1, logp), "reference_logp"),
    "what regularized_gap made": (lambda logp: cg.regularized_gap(0.1, LOGP)(GAME, logp), "logp"),
    "win_rates": (lambda logp: cg.win_rates(GAME, logp[None]), "logps"),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_probabilities_where_log_probabilities_are_meant(measure):
    call, argument = MEASURES[measure]
    call(LOGP)
    for array in (np.asarray, jnp.asarray):
        policy = array([0.2, 0.5, 0.3])
        refused(lambda policy=policy: call(policy), f"`{argument}`", "sums to 4.2", f"jnp.log({argument})")
    refused(lambda: call(LOGP + 1e-3), f"`{argument}`", "normalized", "sums to 1.001")
    refused(lambda: call(np.array([0.0, np.nan, 0.0])), f"`{argument}`", "normalized", "nan")


TARGETS = {
    "kl_to": cg.kl_to,
    "total_variation_to": cg.total_variation_to,
    "regularized_gap": lambda logp: cg.regularized_gap(0.1, logp),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_with_other_actions_or_prompts(name):
    for shape, game in (((1,), GAME), ((2,), GAME), ((4,), GAME), ((4, 3), PROMPTS), ((2, 1), PROMPTS)):
        metric = TARGETS[name](np.full(shape, -np.log(shape[-1])))
        for logp in (game.uniform(), np.asarray(game.uniform())):
            refused(lambda m=metric, g=game, p=logp: m(g, p), "`logp`", str(shape), str(game.policy_shape))
        for drive in (cg.trajectory,):
            refused(lambda d=drive, m=metric, g=game: d(g, RULE, 2, metrics=[m]), "`logp`", str(shape))
    one = cg.PreferenceGame([[0.5]])
    metric = TARGETS[name](LOGP)
    refused(lambda: metric(one, one.uniform()), "`logp`", "(1,)", "(3,)")
    # One target for all prompts, and one of its own for each.
    for shape in ((3,), (2, 3)):
        assert TARGETS[name](np.full(shape, -np.log(3)))(PROMPTS, PROMPTS.uniform()).shape == (2,)


def test_the_distance_to_the_nash_set_of_a_game_with_other_actions():
    metric = cg.kl_to_nash_set(GAME)
    for wrong in (np.zeros(1), np.log([0.5, 0.5])):
        refused(lambda wrong=wrong: metric(GAME, wrong), "`logp`", str(wrong.shape), "(3,)")


@pytest.mark.parametrize("temperature", [0, -0.1, np.nan, "0.1", None, [0.1, 0.2]])
def test_a_temperature_of_the_regularized_gap_that_is_not_positive(temperature):
    refused(lambda: cg.regularized_gap(temperature, LOGP), "`temperature`", "finite number > 0")
