"""The protocol of a rule: its size, what wrappers pass on, what is derived, and how mistakes are answered."""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import COMAL_NASH, COMAL_START, CONTRACT, Cooling, random_game

import comalgames as cg
from comalgames.algorithms.wrapper import innermost
from comalgames.feedback import asked

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
RULES = {name: e.rule for name, e in CONTRACT.items() if isinstance(e.rule, cg.AbstractUpdateRule)}


def test_the_protocol_has_eight_members():
    members = {name for name in dir(cg.AbstractUpdateRule) if not name.startswith("_")}
    assert members == {
        *("init", "propose", "commit", "move_reference", "step"),
        *("form", "shortest_period", "notes"),
    }
    assert cg.AbstractUpdateRule.__abstractmethods__ == {"propose"}


# Wrappers ---------------------------------------------------------------------------------------------------

OPTIMIZER = optax.sgd(0.5)
WRAPPERS = {
    "Averaged": cg.Averaged,
    "Parametric": lambda rule: cg.Parametric(rule, cg.Tabular(), None, OPTIMIZER, 2),
    "Every": lambda rule: cg.COMAL(rule, when=cg.Every(5)),
    "Follow": lambda rule: cg.COMAL(rule, when=cg.Follow(0.1)),
    "Near": cg.COMAL,
}
# What each wrapper changes of the form of the rule inside; everything else is passed on.
CHANGES = {
    "Averaged": set(),
    "Parametric": {"payoff_powers"},
    "Every": {"reference", "period"},
    "Follow": {"reference", "temperature"},
    "Near": {"reference", "period", "advantage_weight", "beta", "needs_all_actions"},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", RULES)
def test_every_wrapper_passes_on_every_rule(wrapper, name):
    rule = RULES[name]
    form = rule.form(3)
    if wrapper in ("Every", "Follow", "Near") and np.all(np.asarray(form.pull) == 0):
        with pytest.raises(ValueError, match="pull is 0"):
            WRAPPERS[wrapper](rule)
        return
    if wrapper in ("Every", "Follow", "Near") and asked(rule, 3).cost == 0:
        with pytest.raises(ValueError, match=r"`inner` must ask about the game.*SPIN"):
            WRAPPERS[wrapper](rule)
        return
    if wrapper == "Near" and (form.moves_reference or form.kl_temperature is None):
        with pytest.raises(ValueError, match="period"):
            cg.COMAL(rule)
        return
    outer = WRAPPERS[wrapper](rule)
    assert innermost(outer) is innermost(rule)
    for entry, inside, outside in zip(form._fields, form, outer.form(3), strict=True):
        if entry not in CHANGES[wrapper]:
            assert inside is outside or np.all(np.asarray(inside) == np.asarray(outside)), entry
    questions, inner_questions = asked(outer, 3), asked(rule, 3)
    assert questions.pairs == inner_questions.pairs
    assert questions.cost == inner_questions.cost + (wrapper == "Near" and not inner_questions.itself)
    assert set(rule.notes(1)) <= set(outer.notes(1))
    if isinstance(outer, cg.AbstractUpdateRule):
        assert outer.shortest_period == rule.shortest_period


class Follower(cg.AbstractUpdateRule):
    """Goes to its reference, as SPIN does, and states a temperature as well."""

    pull: Any

    def form(self, step):
        return cg.Form(pull=self.pull, temperature=0.1)

    def propose(self, key, state, feedback):
        return (1 - self.pull) * state.logp + self.pull * state.reference, state


@pytest.mark.usefixtures("as_users_have_it")
def test_comal_refuses_a_rule_that_asks_nothing():
    for rule in (cg.SPIN(20.0), Follower(0.1)):
        for make in (cg.COMAL, lambda rule: cg.COMAL(rule, 20), WRAPPERS["Follow"]):
            with pytest.raises(ValueError, match="`inner` must ask about the game") as caught:
                make(rule)
            assert repr(rule) in str(caught.value)
            assert len(str(caught.value)) < 600
    # Under a transformation too.
    with pytest.raises(ValueError, match="`inner` must ask about the game"):
        jax.vmap(lambda pull: cg.COMAL(cg.SPIN(pull), 20))(jnp.array([2.0, 3.0]))
    rules = jax.vmap(lambda step: cg.COMAL(cg.MMD(step, 0.1)))(jnp.array([0.5, 1.0]))
    np.testing.assert_array_equal(rules.inner.step_size, [0.5, 1.0])


@pytest.mark.parametrize("wrap", [cg.Averaged, WRAPPERS["Parametric"]], ids=["Averaged", "Parametric"])
def test_what_the_inner_rule_refuses_is_refused(wrap):
    certain = cg.games.rock_paper_scissors(1, 1, 1)
    assert np.abs(certain.skew).max() == 0.5
    for rule in (
        cg.GPO(1.0),
        wrap(cg.GPO(1.0)),
        wrap(wrap(cg.GPO(1.0)) if wrap is cg.Averaged else cg.GPO(1.0)),
    ):
        with pytest.raises(ValueError, match="exactly 0 or 1"):
            cg.solve(certain, rule, 1)
    with pytest.raises(ValueError, match="reads pairwise preferences"):
        cg.solve(cg.ZeroSumGame(np.eye(3)), wrap(cg.IterativeDPO(1.0)), 1)
    with pytest.warns(UserWarning, match="never uses"):
        cg.solve(CYCLE, wrap(cg.SPO(0.1, queue=4)), 2)


def test_a_loss_that_draws_needs_a_key_through_any_wrapper():
    loss = cg.objectives.Regression(num_pairs=4)
    learner = cg.Parametric(cg.MWU(1.0), cg.Tabular(), None, OPTIMIZER, 1, loss)
    for algorithm in (learner, cg.Averaged(learner)):
        with pytest.raises(ValueError, match="`key` is needed"):
            cg.solve(CYCLE, algorithm, 1)


# Derived questions ------------------------------------------------------------------------------------------


class Noted(cg.AbstractFeedback):
    """Exact feedback that keeps its own count, independently of the package's recorder."""

    game: cg.PreferenceGame
    seen: list[Any]

    @property
    def is_random(self):
        return False

    def advantage(self, key, opponent_logp):
        self.seen.append((1, opponent_logp))
        return self.game.advantage(opponent_logp)

    def pairwise(self, key):
        self.seen.append((self.game.num_actions, None))
        return self.game.skew

    def comparisons(self, key, logp):
        self.seen.append((1, logp))
        return cg.Exact(self.game).comparisons(key, logp)


@pytest.mark.parametrize("name", CONTRACT)
def test_the_derived_questions_are_those_of_a_step(name):
    algorithm, seen, itself = CONTRACT[name].rule, [], []

    def step(logp):
        state = algorithm.init(logp, logp)
        after = algorithm.step(jax.random.key(0), state, Noted(CYCLE, seen))
        itself.append(any(about is state.logp for _, about in seen))
        return after.logp

    jax.eval_shape(step, CYCLE.uniform())
    found = asked(algorithm, 3)
    assert found.cost == sum(cost for cost, _ in seen)
    assert found.itself == itself[0]


# COMAL's strategies -----------------------------------------------------------------------------------------


def final(rule, num_steps=60):
    return cg.solve(CYCLE, rule, num_steps, init=COMAL_START, metrics=()).state


@pytest.mark.usefixtures("as_users_have_it")
def test_a_period_is_short_for_every():
    inner = cg.MirrorDescent(1.0, 0.1)
    assert cg.COMAL(inner, 20) == cg.COMAL(inner, period=20) == cg.COMAL(inner, when=cg.Every(20))
    assert cg.COMAL(inner) == cg.COMAL(inner, when=cg.Near(0.2))
    with pytest.raises(ValueError, match="`period` and `when` exclude"):
        cg.COMAL(inner, 20, when=cg.Every(20))
    with pytest.raises(ValueError, match=r"`when` must be a strategy such as Every\(20\)"):
        cg.COMAL(inner, when=20)


def test_follow_at_rate_one_is_every():
    inner = cg.MMD(1.0, 0.1)
    for period in (7, 9):
        followed = final(cg.COMAL(inner, when=cg.Follow(1.0, every=period)))
        np.testing.assert_allclose(followed.logp, final(cg.COMAL(inner, period)).logp, rtol=0, atol=1e-13)


def test_follow_mixes_logarithms_every_so_many_steps():
    rule = cg.COMAL(cg.MMD(1.0, 0.1), when=cg.Follow(0.25, every=3))
    logp = jnp.log(jnp.asarray(COMAL_START))
    state = rule.init(logp, logp)
    for step in range(1, 7):
        before = state.reference
        state = rule.step(jax.random.key(step), state, cg.Exact(CYCLE))
        mixed = jax.nn.log_softmax(0.75 * before + 0.25 * state.logp)
        np.testing.assert_allclose(state.reference, mixed if step % 3 == 0 else before, rtol=0, atol=1e-14)


@pytest.mark.parametrize("when", [cg.Follow(0.03), cg.Follow(0.3, every=10)], ids=repr)
def test_a_slow_reference_reaches_nash(when):
    rule = cg.COMAL(cg.MMD(1.0, 0.1), when=when)
    np.testing.assert_allclose(np.exp(final(rule, 4000).logp), COMAL_NASH, rtol=0, atol=1e-9)
    found = cg.diagnostics.predict(CYCLE, rule)
    assert found.point.kind == "nash"
    assert found.verdict == "contracts"
    assert found.round_steps == when.every


@pytest.mark.parametrize("arguments", [(0.0,), (1.5,), (0.5, 0), (0.5, 2.5)])
def test_follow_refuses_numbers_out_of_range(arguments):
    with pytest.raises(ValueError, match=r"`rate`|`every`"):
        cg.Follow(*arguments)


# A rule of one's own: as good as a built-in one -------------------------------------------------------------


class MyINPO(cg.AbstractUpdateRule):
    """A copy of INPO, written as a user would."""

    eta: Any
    tau: Any

    def form(self, step):
        eta, tau = cg.at(self.eta, step), cg.at(self.tau, step)
        return cg.Form(
            pull=tau / eta,
            advantage_weight=1 / eta,
            temperature=tau,
            step="eta",
            is_inverse=True,
            payoff_powers={"eta": 1, "tau": 1},
        )

    def propose(self, key, state, feedback):
        form = self.form(state.step)
        target = (1 - form.pull) * state.logp + form.pull * state.reference
        return target + form.advantage_weight * feedback.advantage(key, state.logp), state


class MyMWU(cg.AbstractUpdateRule):
    step_size: Any

    def form(self, step):
        return cg.Form(step="step_size", payoff_powers={"step_size": -1})

    def propose(self, key, state, feedback):
        step_size = cg.at(self.step_size, state.step)
        return state.logp + step_size * feedback.advantage(key, state.logp), state


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (MyINPO(1.0, 0.1), cg.INPO(1.0, 0.1)),
        (cg.COMAL(MyINPO(1.0, 0.1), 20), cg.COMAL(cg.INPO(1.0, 0.1), 20)),
        (cg.COMAL(MyINPO(1.0, 0.1)), cg.COMAL(cg.INPO(1.0, 0.1))),
        (MyMWU(1.0), cg.MWU(1.0)),
    ],
    ids=["INPO", "INPO in COMAL", "INPO in COMAL, near", "MWU"],
)
def test_a_copy_is_predicted_and_corrected_like_the_rule_that_it_copies(mine, theirs):
    found, expected = (cg.diagnostics.predict(CYCLE, rule) for rule in (mine, theirs))
    assert found.point.kind == expected.point.kind
    assert found.steps.parameter == expected.steps.parameter != ""
    # INPO's constructor refuses an eta below tau, which the copy accepts.
    assert found.steps.high == expected.steps.high
    if not isinstance(innermost(theirs), cg.INPO):
        assert found.steps == expected.steps
    np.testing.assert_allclose(found.multipliers, expected.multipliers, rtol=1e-12)
    np.testing.assert_array_equal(found.periods.radii, expected.periods.radii)
    leaves = [jax.tree.leaves(cg.flip_corrected(rule, 0.2)) for rule in (mine, theirs)]
    np.testing.assert_allclose(*leaves, rtol=1e-15)
    scheduled = (
        type(mine)(*[Cooling(1.0)] * len(dataclasses.fields(mine))) if innermost(mine) is mine else mine
    )
    assert jax.tree.leaves(cg.flip_corrected(scheduled, 0.2)) != jax.tree.leaves(scheduled)


def test_the_range_of_steps_ends_where_the_constructor_refuses():
    found = cg.diagnostics.predict(CYCLE, cg.INPO(1.0, 0.3)).steps
    assert found.parameter == "eta"
    assert found.low == pytest.approx(0.3, rel=1e-12)
    assert found.high == math.inf


# Mistakes in a rule of one's own ----------------------------------------------------------------------------


class UsesNumPy(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        return np.log(np.exp(state.logp)), state


class Branches(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        advantage = feedback.advantage(key, state.logp)
        if advantage.max() > 0.1:
            return state.logp + advantage, state
        return state.logp, state


class Assigns(cg.AbstractUpdateRule):
    count: int = 0

    def propose(self, key, state, feedback):
        self.count = self.count + 1
        return state.logp, state


class Unnormalized(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        opponent = 0.5 * state.logp + 0.5 * state.reference
        return state.logp + feedback.advantage(key, opponent), state


class AsksAboutProbabilities(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        return state.logp + feedback.advantage(key, jnp.exp(state.logp)), state


class AsksWithMomentum(cg.AbstractUpdateRule):
    """Its opponent is the policy itself at first, when it has not moved yet."""

    def init(self, logp, reference):
        return Momentum(logp, reference, jnp.zeros((), jnp.int32), previous=logp)

    def propose(self, key, state, feedback):
        ahead = 2 * state.logp - state.previous
        return state.logp + feedback.advantage(key, ahead), dataclasses.replace(state, previous=state.logp)


class Momentum(cg.State):
    previous: jax.Array


class ReturnsProbabilities(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        p = jnp.exp(state.logp) * jnp.exp(feedback.advantage(key, state.logp))
        return p / jnp.sum(p), state


class ReturnsWeights(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        return jnp.exp(state.logp) * (1 + 0.1 * feedback.advantage(key, state.logp)), state


class ForgetsTheState(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        return state.logp


class Misspells(cg.AbstractUpdateRule):
    def propose(self, key, state, feedback):
        return state.logp, dataclasses.replace(state, lopg=state.logp)


MISTAKES = [
    (UsesNumPy(), "needs the value of a JAX array.*np.log.*jax.numpy instead of NumPy"),
    (Branches(), r"needs the value of a JAX array.*if advantage.max\(\) > 0.1.*jnp.where"),
    (Assigns(), "assigns to a field.*self.count = .*State of your own"),
    (Unnormalized(), "feedback.advantage.*normalized log-policy.*sum to 0.*jax.nn.log_softmax"),
    (AsksWithMomentum(), "feedback.advantage.*normalized log-policy.*jax.nn.log_softmax"),
    (AsksAboutProbabilities(), r"feedback.advantage.*normalized log-policy.*pass its logarithm"),
    (ReturnsProbabilities(), r"line \d+.*must return log-probabilities.*returned probabilities"),
    (ReturnsWeights(), r"line \d+.*must return log-probabilities.*returned probabilities"),
    (ForgetsTheState(), r"propose must return \(target, state\)"),
]


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(("rule", "words"), MISTAKES, ids=[type(rule).__name__ for rule, _ in MISTAKES])
def test_a_mistake_is_answered_in_a_sentence_that_points_at_the_line(rule, words):
    calls = [
        lambda: cg.solve(CYCLE, rule, 10),
        lambda: cg.trajectory(CYCLE, cg.Averaged(rule), 10),
        lambda: cg.sweep(CYCLE, {"mine": rule}, 10),
        lambda: cg.diagnose(CYCLE, rule),
        lambda: cg.lm.policies_of(rule),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"(?s){words}") as caught:
            call()
        message = str(caught.value)
        assert len(message) < 600
        assert type(rule).__name__ in message
        if "propose must return (target" not in message:
            assert re.search(r"test_protocol.py, line \d+", message)


@pytest.mark.usefixtures("as_users_have_it")
def test_other_errors_say_where_they_happened():
    with pytest.raises(TypeError, match="lopg") as caught:
        cg.solve(CYCLE, Misspells(), 10)
    assert any("Misspells.propose (test_protocol.py, line" in note for note in caught.value.__notes__)


def test_a_misspelt_keyword_gets_a_suggestion():
    with pytest.raises(TypeError, match=r"MirrorDescent.*'stepsize'.*Did you mean 'step_size'"):
        cg.MirrorDescent(stepsize=1.0, temperature=0.1)
    with pytest.raises(TypeError, match=r"COMAL.*'periods'.*Did you mean 'period'"):
        cg.COMAL(cg.MirrorDescent(1.0, 0.1), periods=3)
    with pytest.raises(TypeError, match="Did you mean 'step_size'"):
        MyMWU(step_sise=1.0)


def test_help_is_the_page_of_the_extension_point():
    page = cg.AbstractUpdateRule.__doc__
    for word in ("propose", "State", "memory", "feedback.advantage", "form", ">>> class"):
        assert word in page


def test_a_sound_rule_of_ones_own_is_not_refused_for_being_strange():
    class Strange(cg.AbstractUpdateRule):
        """Adds a large constant, keeps a policy in mind, asks about a mixture."""

        def propose(self, key, state, feedback):
            mixture = jax.nn.log_softmax(0.5 * state.logp + 0.5 * state.reference)
            return state.logp + feedback.advantage(key, mixture) + 1e3, state

    game = random_game(5)
    assert np.isfinite(cg.solve(game, Strange(), 20).logp).all()


# Algorithms that are no update rules ------------------------------------------------------------------------


class Walk(cg.AbstractAlgorithm):
    """MWU by hand; `mistake` is what a user may get wrong in it."""

    step_size: float
    mistake: Any = dataclasses.field(default=None, metadata={"static": True})

    def init(self, logp, reference):
        return cg.State(logp, reference, jnp.zeros((), jnp.int32))

    def step(self, key, state, feedback):
        advantage = feedback.advantage(key, state.logp)
        logp = jax.nn.log_softmax(state.logp + self.step_size * advantage)
        state = dataclasses.replace(state, logp=logp, step=state.step + 1)
        return state if self.mistake is None else self.mistake(state)


def narrow(state):
    return dataclasses.replace(state, logp=state.logp[..., :-1])


def probable(state):
    return dataclasses.replace(state, logp=jnp.exp(state.logp))


def loose(state):
    return dataclasses.replace(state, logp=state.logp + 0.5)


def single(state):
    return dataclasses.replace(state, logp=state.logp.astype(jnp.float32))


def double(state):
    return dataclasses.replace(state, logp=state.logp.astype(jnp.float64))


def counted(state):
    return dataclasses.replace(state, step=state.step.astype(jnp.float32))


def grown(state):
    return dataclasses.replace(state, reference=jnp.stack([state.reference, state.reference]))


def bare(state):
    return state.logp


def numpy(state):
    return dataclasses.replace(state, logp=np.maximum(np.asarray(state.logp), -1e3))


def branching(state):
    return state if state.logp[..., 0].sum() > -1.0 else probable(state)


MISTAKES = {
    probable: ("Walk.step", "its logarithm"),
    loose: ("Walk.step", "sum to 1.64872", "log_softmax"),
    narrow: ("Walk.step", "shape (3,)", "shape (2,)"),
    single: ("Walk.step", "float64", "float32"),
    double: ("Walk.step", "float32", "float64"),
    counted: ("Walk.step", ".step was () int32 and became () float32"),
    grown: ("Walk.step", ".reference was (3,) float64 and became (2, 3) float64"),
    bare: ("Walk.step", "`logp`", "cg.State"),
    numpy: ("Walk.step", "jax.numpy", "np.maximum(np.asarray(state.logp), -1e3)"),
    branching: ("Walk.step", "jnp.where", "state.logp[..., 0].sum() > -1.0"),
}


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("wrap", [lambda rule: rule, cg.Averaged], ids=["alone", "Averaged"])
def test_mistakes_in_an_algorithm_of_a_users_own_are_answered_at_its_line(mistake, wrap):
    for run in (cg.solve, cg.trajectory):
        with pytest.raises(ValueError, match=re.escape(MISTAKES[mistake][0])) as caught:
            run(CYCLE, wrap(Walk(0.3, mistake)), 5)
        for word in (*MISTAKES[mistake], "test_protocol.py, line "):
            assert word in str(caught.value)
        assert len(str(caught.value)) < 600


class Counting(Walk):
    """A state may begin with numbers that become arrays."""

    def init(self, logp, reference):
        return cg.State(logp, reference, 0)


@pytest.mark.usefixtures("as_users_have_it")
def test_an_algorithm_of_a_users_own_without_mistakes_runs():
    assert cg.solve(CYCLE, Counting(0.3), 5).state.step == 5
    for dtype in (np.float32, np.float64):
        game = cg.PreferenceGame.from_skew(np.asarray(CYCLE.skew, dtype))
        found = cg.solve(game, Walk(0.3), 20, init=COMAL_START)
        np.testing.assert_array_equal(found.logp, cg.solve(game, cg.MWU(0.3), 20, init=COMAL_START).logp)
