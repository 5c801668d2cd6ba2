"""The bridge gives language models the published formulas, from the very rules that tables follow."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from helpers import CONTRACT, log_normalize, random_game, random_policy

import comalgames as cg
from comalgames.lm.bridge import fits_labels

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
EXACT = {"rtol": 0, "atol": 1e-10}
ETA, TAU = 1.7, 0.3


def logps(*shape):
    """Log-probabilities of long answers: far below 0, of any sum."""
    return -RNG.uniform(5.0, 60.0, shape)


def labels(*shape):
    """Hard labels of pairs, consistent both ways."""
    first = RNG.integers(0, 2, shape)
    return np.stack(
        [np.stack([0.5 + 0 * first, first], -1), np.stack([1 - first, 0.5 + 0 * first], -1)], -2
    ), first


def margins(scores):
    return scores[..., 0] - scores[..., 1]


def assert_same_margins(found, expected):
    """Equal up to a constant per prompt."""
    difference = np.asarray(found) - np.asarray(expected)
    np.testing.assert_allclose(difference - difference[..., :1], 0, **EXACT)


PROMPTS = 6
HARD, FIRST_WINS = labels(PROMPTS)
LAST, REFERENCE, MODEL = logps(PROMPTS, 2), logps(PROMPTS, 2), logps(PROMPTS, 2)
SIGN = np.where(FIRST_WINS == 1, 1.0, -1.0)
PAIR = cg.Candidates(HARD, LAST)


PROPOSE = jax.jit(lambda rule, state, feedback: rule.propose(KEY, state, feedback))


# Published formulas
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda rule: rule, lambda rule: cg.COMAL(rule, 12)], ids=["INPO", "COMAL"])
def test_two_answers_and_a_hard_label_give_the_loss_of_inpo_and_comal(wrap):
    """(log pi(w) - m log ref(w) - (1 - m) log last(w) - [the same of l] - 1 / (2 eta))^2, m = tau / eta."""
    rule = wrap(cg.INPO(ETA, TAU))
    goal = cg.lm.targets(rule, KEY, {"logp": LAST, "reference": REFERENCE}, PAIR)
    m = TAU / ETA
    h = MODEL - m * REFERENCE - (1 - m) * LAST
    published = (SIGN * margins(h) - 1 / (2 * ETA)) ** 2
    np.testing.assert_allclose(cg.lm.losses.regression(MODEL, np.asarray(goal.target)), published, **EXACT)


def test_iterative_ipo_gives_ipos_loss():
    goal = cg.lm.targets(cg.IterativeIPO(TAU), KEY, {"logp": LAST}, PAIR)
    published = (SIGN * margins(MODEL - LAST) - 1 / (2 * TAU)) ** 2
    np.testing.assert_allclose(cg.lm.losses.regression(MODEL, np.asarray(goal.target)), published, **EXACT)


def test_five_answers_give_sppos_loss():
    """(log pi / last - eta (win rate - 1/2))^2; the win rate is the mean over all five, itself included."""
    skew = np.tril(RNG.uniform(-0.5, 0.5, (PROMPTS, 5, 5)), -1)
    preference = 0.5 + skew - skew.swapaxes(-1, -2)
    last, model = logps(PROMPTS, 5), logps(PROMPTS, 5)
    goal = cg.lm.targets(cg.SPPO(1000.0), KEY, {"logp": last}, cg.Candidates(preference, last))
    published = np.mean((model - last - 1000.0 * (preference.mean(-1) - 0.5)) ** 2, -1)
    np.testing.assert_allclose(cg.lm.losses.pointwise(model, np.asarray(goal.target)), published, rtol=1e-12)


def test_dpo_uses_the_anchor_and_the_label():
    goal = cg.lm.targets(cg.IterativeDPO(0.1), KEY, {"logp": LAST}, PAIR)
    assert goal.target is None
    found = cg.lm.losses.logistic(MODEL, np.asarray(goal.anchor), HARD, 0.1)
    published = np.logaddexp(0, -0.1 * SIGN * margins(MODEL - LAST))
    np.testing.assert_allclose(found, published, **EXACT)


def test_extragradient_takes_its_half_step_on_the_candidates():
    """EGPO: the opponent of the second query is the half step, its weights on the answers renormalized."""
    step, tau, k = 0.7, 0.2, 4
    skew = np.tril(RNG.uniform(-0.5, 0.5, (PROMPTS, k, k)), -1)
    skew = skew - skew.swapaxes(-1, -2)
    last, reference = logps(PROMPTS, k), logps(PROMPTS, k)
    feedback = cg.Candidates(skew + 0.5, last)
    goal = cg.lm.targets(cg.Extragradient(step, tau), KEY, {"logp": last, "reference": reference}, feedback)
    base = (1 - step * tau) * last + step * tau * reference
    half = base + step * skew.mean(-1)
    weights = np.exp(log_normalize(half - last))
    expected = base + step * np.einsum("pij,pj->pi", skew, weights)
    assert_same_margins(goal.target, expected)


def two_passes(rule, policies, feedback, half=None):
    """The target of the first pass, or of the second once the half step was trained to `half`."""
    return cg.lm.targets(rule, KEY, policies, feedback, opponents=[] if half is None else [half])


def test_extragradient_in_two_passes_is_egpo():
    """First pass: towards the half step. Second: the same base, but win rates against the half step."""
    step, tau, k = 0.7, 0.2, 4
    skew = np.tril(RNG.uniform(-0.5, 0.5, (PROMPTS, k, k)), -1)
    skew = skew - skew.swapaxes(-1, -2)
    last, reference, half = logps(PROMPTS, k), logps(PROMPTS, k), logps(PROMPTS, k)
    rule, policies = cg.Extragradient(step, tau), {"logp": last, "reference": reference}
    base = (1 - step * tau) * last + step * tau * reference
    first = two_passes(rule, policies, cg.Candidates(skew + 0.5, last))
    assert_same_margins(first.target, base + step * skew.mean(-1))
    # Fresh answers, drawn by the half step, so that they count alike against it.
    second = two_passes(rule, policies, cg.Candidates(skew + 0.5, half), half)
    assert_same_margins(second.target, base + step * skew.mean(-1))
    # The old answers, which the last policy drew, count by importance.
    second = two_passes(rule, policies, cg.Candidates(skew + 0.5, last), half)
    weights = np.exp(log_normalize(half - last))
    assert_same_margins(second.target, base + step * np.einsum("pij,pj->pi", skew, weights))
    assert_same_margins(second.anchor, base)
    with pytest.raises(ValueError, match="asks about 1 besides"):
        cg.lm.targets(rule, KEY, policies, cg.Candidates(skew + 0.5, last), opponents=[half, half])


def test_two_passes_of_exact_training_are_the_tables_step():
    rule = cg.COMAL(cg.Extragradient(0.9, 0.2), 4)
    columns = {"logp": np.log(POLICY), "reference": np.log(ANCHOR_POLICY)}
    every = cg.Candidates(GAME.preference, np.full(5, np.log(0.2)))
    half = log_normalize(np.asarray(two_passes(rule, columns, every).target))
    reached = log_normalize(np.asarray(two_passes(rule, columns, every, half).target))
    table = rule.step(
        KEY, rule.init(*(jnp.log(jnp.asarray(p)) for p in (POLICY, ANCHOR_POLICY))), cg.Exact(GAME)
    )
    np.testing.assert_allclose(reached, table.logp, **EXACT)


def test_a_schedule_warns_of_a_period_that_is_too_short():
    with pytest.warns(UserWarning, match="period=7 would suffice"):
        list(cg.lm.schedule(cg.COMAL(cg.INPO(1.0, 0.1), 2), 1))


def test_the_first_pass_keeps_the_constant_that_a_pointwise_loss_sees():
    """The half step is MirrorDescent's step: the same numbers, not only the same margins."""
    columns = {"logp": LAST, "reference": REFERENCE}
    half = cg.lm.targets(cg.Extragradient(0.7, 0.2), KEY, columns, PAIR, opponents=[]).target
    mirror = cg.lm.targets(cg.MirrorDescent(0.7, 0.2), KEY, columns, PAIR).target
    np.testing.assert_allclose(half, mirror, **EXACT)


class Ramp(cg.AbstractSchedule):
    """0 at the first step, then a tenth."""

    def __call__(self, step):
        return jnp.where(step > 0, 0.1, 0.0)


def test_a_reference_that_matters_later_is_asked_for_at_once():
    assert cg.lm.policies_of(cg.MirrorDescent(1.0, Ramp())) == ("logp", "reference")
    assert cg.lm.policies_of(cg.MWU(Ramp())) == ("logp",)


class Slow(cg.MirrorDescent):
    """Its reference creeps after the policy: a mean of both, which is no policy that a trainer has."""

    def commit(self, state, logp):
        state = super().commit(state, logp)
        return dataclasses.replace(state, reference=jax.nn.log_softmax(0.5 * state.reference + 0.5 * logp))


class Remembers(cg.State):
    before: jax.Array


class WithMemory(cg.MWU):
    """It remembers the policy before the last, as a trainer must then do."""

    def init(self, logp, reference):
        return Remembers(logp, reference, jnp.zeros((), jnp.int32), before=logp)

    def commit(self, state, logp):
        return dataclasses.replace(super().commit(state, logp), before=state.logp)


class Learns(cg.MWU):
    """It counts in `propose`, where a trainer would lose it."""

    def propose(self, key, state, feedback):
        target, state = super().propose(key, state, feedback)
        return target, dataclasses.replace(state, step=state.step + 1)


def test_what_a_trainer_cannot_store_is_refused():
    with pytest.raises(ValueError, match="Learns changes its state in `propose`"):
        cg.lm.schedule(Learns(1.0), 2)
    with pytest.raises(ValueError, match="makes 'reference' a policy that is neither"):
        list(cg.lm.schedule(Slow(1.0, 0.1), 2))
    assert cg.lm.policies_of(WithMemory(1.0)) == ("logp", "before")
    with pytest.raises(ValueError, match="makes 'before' a policy that is neither"):
        list(cg.lm.schedule(WithMemory(1.0), 3))


def test_with_two_answers_weights_do_not_make_another_policys_answers_ones_own():
    """A pair's target is s (p - 1/2) whoever drew it: the opponent of the fit is who drew the pairs."""
    for behaviour in (LAST, LAST - [[0.0, 3.0]], np.full((PROMPTS, 2), -1.0)):
        goal = cg.lm.targets(cg.MWU(1.3), KEY, {"logp": LAST}, cg.Candidates(HARD, behaviour))
        np.testing.assert_allclose(margins(np.asarray(goal.target) - LAST), 1.3 * SIGN / 2, **EXACT)


def test_a_mirror_rule_on_the_logistic_loss_is_damped_dpo_and_not_the_rule():
    """Minimize over all answers by Newton's method: the anchor plus step * Bradley-Terry scores."""
    rule = cg.MirrorDescent(0.5, 0.2)
    every = cg.Candidates(GAME.preference, np.full(5, np.log(0.2)))
    columns = {"logp": np.log(POLICY), "reference": np.log(ANCHOR_POLICY)}
    goal = cg.lm.targets(rule, KEY, columns, every)
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.5), 6000, cg.objectives.Logistic())
    logp, reference = jnp.log(jnp.asarray(POLICY)), jnp.log(jnp.asarray(ANCHOR_POLICY))
    taught = learner.step(KEY, learner.init(logp, reference), cg.Exact(GAME)).logp

    def loss(scores):
        return cg.lm.losses.named("logistic", scores, goal, GAME.preference, jnp.asarray(POLICY))

    slope = jax.grad(loss)(taught)
    np.testing.assert_allclose(slope, 0, rtol=0, atol=1e-9)
    assert np.abs(jax.grad(loss)(jnp.asarray(goal.target))).max() > 1e-3


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        (cg.IterativeDPO(1.5), 0),
        (cg.OnlineDPO(1.5, 0.3), 0),
        (cg.OnlineDPO(cg.Geometric(1.5, 0.5), cg.Geometric(0.8, 0.9)), 3),
        (cg.COMAL(cg.OnlineDPO(1.5, 0.3), 20), 0),
    ],
    ids=["iterative", "online", "online, both falling", "online in COMAL"],
)
def test_the_logistic_loss_at_the_beta_handed_out_is_least_at_dpos_own_step(rule, step):
    """Convex in the scores and flat at the rule's step, with all answers enumerated; half of beta is not."""
    every = cg.Candidates(GAME.preference, np.full(5, np.log(0.2)))
    columns = {"logp": np.log(POLICY), "reference": np.log(ANCHOR_POLICY)}
    goal = cg.lm.targets(rule, KEY, columns, every, step)
    state = rule.init(jnp.log(jnp.asarray(POLICY)), jnp.log(jnp.asarray(ANCHOR_POLICY)))
    stepped, _ = PROPOSE(rule, dataclasses.replace(state, step=jnp.asarray(step, jnp.int32)), cg.Exact(GAME))

    def slope(scores, beta):
        goal_at = goal._replace(beta=beta)
        loss = lambda x: cg.lm.losses.named("logistic", x, goal_at, GAME.preference, jnp.asarray(POLICY))  # noqa: E731
        return np.abs(jax.grad(loss)(scores)).max()

    assert slope(stepped, goal.beta) < 1e-9
    assert slope(stepped, goal.beta / 2) > 1e-3


def test_a_schedule_of_two_passes_commits_the_second():
    with pytest.warns(UserWarning, match="period"):
        passes = list(cg.lm.schedule(cg.COMAL(cg.Extragradient(1.0, 0.1), 2), 2, train_opponents=True))
    assert passes == [
        (0, 0, ()),
        (0, 1, ("logp",)),
        (1, 0, ()),
        (1, 1, ("logp", "reference")),
    ]
    assert len(list(cg.lm.schedule(cg.INPO(1.0, 0.1), 3, train_opponents=True))) == 3


# The same rule as the table's
# ------------------------------------------------------------------------------------------

GAME = random_game(5, seed=2)
POLICY, ANCHOR_POLICY = random_policy(5, seed=3), random_policy(5, seed=4)
RULES = {name: e.rule for name, e in CONTRACT.items() if isinstance(e.rule, cg.AbstractUpdateRule)}
ON_ANSWERS = [name for name in RULES if CONTRACT[name].on_answers == "target"]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_one_that_answers_can_follow_or_is_refused_by_name(name):
    """So that a rule has one copy: the bridge asks the rule that the table follows, for every rule."""
    rule, expected = RULES[name], CONTRACT[name].on_answers
    if expected == "refused":
        # It remembers advantages or several policies, or needs the probabilities of all actions.
        with pytest.raises(ValueError, match=type(rule).__name__):
            cg.lm.policies_of(rule)
    else:
        assert "logp" in cg.lm.policies_of(rule)
        assert fits_labels(rule) == (expected == "labels")


def test_regularizers_that_are_sums_over_actions_are_the_ones_that_answers_can_follow():
    def refused(regularizer):
        return cg.RegularizedMirrorDescent(1.0, 0.1, regularizer).form(0).needs_all_actions

    r = cg.regularizers
    sums = (r.kl, r.forward_kl, r.chi_squared, r.jensen_shannon, r.hellinger, r.squared_l2, r.entropy)
    assert not any(refused(each) for each in (*sums, r.alpha_divergence(0.3)))
    assert refused(r.renyi(0.5))


@pytest.mark.parametrize("name", ON_ANSWERS)
def test_with_all_answers_enumerated_the_bridge_proposes_what_the_table_proposes(name):
    rule = CONTRACT[name].rule
    every = cg.Candidates(GAME.preference, np.full(5, np.log(0.2)))
    columns = {"logp": np.log(POLICY), "reference": np.log(ANCHOR_POLICY)}
    others = set(cg.lm.policies_of(rule)) - set(columns)  # such as an average, which begins at the policy
    goal = cg.lm.targets(rule, KEY, columns | dict.fromkeys(others, columns["logp"]), every)
    state = rule.init(jnp.log(jnp.asarray(POLICY)), jnp.log(jnp.asarray(ANCHOR_POLICY)))
    target, _ = rule.propose(KEY, state, cg.Exact(GAME))
    assert_same_margins(goal.target, target)


def test_answers_that_the_policy_drew_have_equal_weights():
    """On-policy an opponent's weight on an answer is the plain mean, whatever the answers' probabilities."""
    preference = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.6], [0.7, 0.4, 0.5]])
    drawn = np.array([-3.0, -50.0, -7.0])
    found = cg.Candidates(preference, drawn).advantage(KEY, jnp.asarray(drawn))
    np.testing.assert_allclose(found, preference.mean(-1) - 0.5, **EXACT)


def test_losses_on_labels_weight_candidates_as_advantages_do():
    """The minimizer of the squared loss on labelled pairs of candidates is the rule's target."""
    behaviour = np.log([0.6, 0.1, 0.1, 0.1, 0.1])
    feedback, rule = cg.Candidates(GAME.preference, behaviour), cg.MWU(0.5)
    logp = jnp.log(jnp.asarray(POLICY))
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.3), 4000, cg.objectives.LabelledPairs())
    taught = learner.step(KEY, learner.init(logp, logp), feedback)
    table = rule.step(KEY, rule.init(logp, logp), feedback)
    np.testing.assert_allclose(taught.logp, table.logp, rtol=0, atol=1e-8)


def test_weights_make_the_loss_the_expectation_over_independent_draws():
    """Of all answers enumerated, each weighted by its probability; and with equal weights, the plain mean."""
    rng = np.random.default_rng(1)
    model, target, preference = logps(3), logps(3), np.array([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]])
    p = np.array([0.6, 0.3, 0.1])
    drawn = rng.choice(3, p=p, size=(400_000, 2))
    gathered = [np.stack([x[drawn[:, 0]], x[drawn[:, 1]]], -1) for x in (model / 60, target / 60)]
    sampled = cg.lm.losses.regression(*gathered).mean()
    np.testing.assert_allclose(cg.lm.losses.regression(model / 60, target / 60, p), sampled, rtol=0.02)
    np.testing.assert_allclose(
        cg.lm.losses.pointwise(model, target, p), np.sum(p * (model - target) ** 2), **EXACT
    )
    third = np.full(3, 1 / 3)
    for loss, rest in (("regression", (target,)), ("logistic", (target, preference, 0.1))):
        plain = getattr(cg.lm.losses, loss)(model, *rest)
        diagonal = np.log(2) / 3 if loss == "logistic" else 0.0  # an answer against itself
        weighted = getattr(cg.lm.losses, loss)(model, *rest, third)
        np.testing.assert_allclose(weighted, plain * 2 / 3 + diagonal, **EXACT)


def test_targets_can_be_asked_for_under_jit_and_vmap():
    def target(step_size, last):
        rule = cg.COMAL(cg.MirrorDescent(step_size, 0.1), 3)
        return cg.lm.targets(rule, KEY, {"logp": last, "reference": last}, cg.Candidates(HARD, last)).target

    steps = jnp.array([0.5, 2.0])
    found = jax.jit(jax.vmap(target, (0, None)))(steps, jnp.asarray(LAST))
    for k, step in enumerate((0.5, 2.0)):
        np.testing.assert_allclose(found[k], target(step, jnp.asarray(LAST)), **EXACT)


def test_a_schedule_says_what_the_rule_does():
    moves = ["reference" in r.stores for r in cg.lm.schedule(cg.COMAL(cg.INPO(1.0, 0.1), 7), 15)]
    assert [k for k, moved in enumerate(moves) if moved] == [6, 13]
    assert {r.stores for r in cg.lm.schedule(cg.INPO(1.0, 0.1), 5)} == {("logp",)}
    with pytest.raises(ValueError, match="`num_rounds`"):
        cg.lm.schedule(cg.INPO(1.0, 0.1), -1)  # before it is iterated
    assert [r.round for r in cg.lm.schedule(cg.MWU(1.0), 3)] == [0, 1, 2]


def test_a_trainer_logs_the_policies_that_the_rule_remembers():
    assert cg.lm.policies_of(cg.MWU(1.0)) == ("logp",)
    assert cg.lm.policies_of(cg.COMAL(cg.INPO(1.0, 0.1), 3)) == ("logp", "reference")
    with pytest.raises(ValueError, match="OptimisticMWU remembers"):
        cg.lm.policies_of(cg.OptimisticMWU(1.0))


# Judges, and how far a round got
# ------------------------------------------------------------------------------------------


def judge(prompt, first, second):
    """Longer answers win, by more where the prompt says so; what is put first gains a tenth."""
    return 0.5 + (0.3 if prompt == "long" else 0.1) * np.sign(len(first) - len(second)) + 0.1


def test_a_judge_is_asked_once_about_every_two_different_answers():
    answers = [["a", "aa", "a"], ["b", "bbb", "bb"]]
    judged = cg.lm.compare(judge, ["long", "short"], answers)
    assert judged.num_calls == 2 + 3
    assert_skew(judged.preference)
    np.testing.assert_allclose(judged.preference[0], [[0.5, 0.3, 0.5], [0.7, 0.5, 0.9], [0.5, 0.1, 0.5]])
    both = cg.lm.compare(judge, ["long", "short"], answers, both_orders=True)
    assert both.num_calls == 10
    np.testing.assert_allclose(both.preference[1], [[0.5, 0.4, 0.4], [0.6, 0.5, 0.6], [0.6, 0.4, 0.5]])


def assert_skew(preference):
    np.testing.assert_allclose(preference + preference.swapaxes(-1, -2), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("said", [float("nan"), 1.2, -0.1, None, "yes", float("inf")])
def test_what_a_judge_may_not_say_is_refused_with_its_row(said):
    def sometimes(prompt, first, second):
        return said if (prompt, first) == ("short", "bbb") else 0.5

    with pytest.raises(ValueError, match=r"for prompt 1, answers 1 and 2 \('bbb', 'bb'\) it returned"):
        cg.lm.compare(sometimes, ["long", "short"], [["a", "aa", "a"], ["b", "bbb", "bb"]])


def test_one_answer_or_a_missing_one_is_refused_with_its_row():
    with pytest.raises(ValueError, match="prompt 1 has 1, prompt 0 has 2"):
        cg.lm.compare(judge, ["long", "short"], [["a", "b"], ["a"]])
    with pytest.raises(ValueError, match="at least 2; prompt 0 has 1"):
        cg.lm.compare(judge, ["long"], [["a"]])
    with pytest.raises(ValueError, match="each of 2 prompts, got 1"):
        cg.lm.compare(judge, ["long", "short"], [["a", "b"]])


def test_progress_is_exact_when_all_answers_are_enumerated():
    every = cg.Candidates(GAME.preference, np.full(5, np.log(0.2)))
    reached, last, reference = (random_policy(5, seed=seed) for seed in (6, 7, 8))
    policies = {"logp": np.log(last), "reference": np.log(reference)}
    goal = cg.lm.targets(cg.INPO(ETA, TAU), KEY, policies, every)
    found = cg.lm.progress(np.log(reached), policies, every, goal)
    preference = np.asarray(GAME.preference)
    for other, won, divergence in (
        (last, found.win_rate_last, found.kl_last),
        (reference, found.win_rate_reference, found.kl_reference),
    ):
        assert won == pytest.approx(reached @ preference @ other, abs=1e-12)
        assert divergence == pytest.approx(np.sum(reached * np.log(reached / other)), abs=1e-12)
    assert np.isnan(cg.lm.progress(np.log(reached), {"logp": np.log(last)}, every, goal).kl_reference)
    # Half of the way from where the round began, whatever the reference.
    half = log_normalize((np.log(last) + np.asarray(goal.target)) / 2)
    assert cg.lm.progress(half, policies, every, goal).fit_residual == pytest.approx(0.5, abs=1e-12)


def test_the_kl_of_a_round_is_unbiased_and_does_not_explode():
    """Two answers drawn by the last policy, 40,000 times; and a policy that has left all of its answers."""
    rng = np.random.default_rng(0)
    last, reached = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.2, 0.2, 0.3, 0.3])
    drawn = rng.choice(4, p=last, size=(40_000, 2))
    feedback = cg.Candidates(np.full((40_000, 2, 2), 0.5), np.log(last)[drawn])
    policies = {"logp": np.log(last)[drawn]}
    found = cg.lm.progress(np.log(reached)[drawn], policies, feedback, ANY_GOAL)
    r = reached / last
    terms = r * np.log(r) - r + 1
    error = np.sqrt(last @ terms**2 - (last @ terms) ** 2) / np.sqrt(drawn.size)
    assert abs(found.kl_last - reached @ np.log(r)) < 5 * error
    gone = cg.lm.progress(np.full((1, 2), -15.0), {"logp": np.full((1, 2), -2.0)}, PAIR_ALONE, ANY_GOAL)
    assert 0 <= gone.kl_last <= 1


PAIR_ALONE = cg.Candidates([[[0.5, 1.0], [0.0, 0.5]]], np.full((1, 2), -2.0))
ANY_GOAL = cg.lm.Targets(None, np.zeros((1, 2)))


def test_the_fit_residual_is_what_is_left_of_the_way():
    start, target = logps(PROMPTS, 4), logps(PROMPTS, 4)
    shift = np.arange(PROMPTS)[:, None]  # a constant per prompt means nothing
    for left in (0.0, 0.25, 1.0):
        reached = target + left * (start - target) + shift
        np.testing.assert_allclose(cg.lm.fit_residual(reached, target, start), left, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(cg.lm.fit_residual(start, start, start), 0)
    dpo = cg.lm.targets(cg.IterativeDPO(0.1), KEY, {"logp": LAST}, PAIR)
    assert np.isnan(cg.lm.progress(MODEL, {"logp": LAST}, PAIR, dpo).fit_residual)


# Arrays of every kind
# ------------------------------------------------------------------------------------------


def test_a_split_into_micro_batches_changes_no_gradient():
    target = logps(PROMPTS, 2)

    def loss(model, rows):
        return jnp.mean(cg.lm.losses.regression(model[rows], jnp.asarray(target)[rows]))

    slope = jax.jit(jax.grad(loss))
    whole = slope(jnp.asarray(MODEL), np.arange(PROMPTS))
    halves = [slope(jnp.asarray(MODEL), rows) for rows in np.split(np.arange(PROMPTS), 2)]
    np.testing.assert_allclose(whole, sum(halves) / 2, **EXACT)


def test_constants_beside_a_torch_tensor_may_be_of_any_kind():
    torch = pytest.importorskip("torch")
    goal = cg.lm.targets(cg.INPO(ETA, TAU), KEY, {"logp": torch.tensor(LAST), "reference": REFERENCE}, PAIR)
    model = torch.tensor(MODEL, requires_grad=True)
    for name in cg.lm.losses.NAMES:
        loss = cg.lm.losses.named(name, model, goal, HARD)
        expected = cg.lm.losses.named(name, MODEL, goal, HARD)
        np.testing.assert_allclose(loss.detach().numpy(), expected, **EXACT)
        loss.sum().backward()
    assert model.grad.abs().sum() > 0


def test_torch_gives_the_same_losses_and_gradients():
    torch = pytest.importorskip("torch")
    preference = np.where(np.eye(2) > 0, 0.5, HARD)
    for name, extra in (("regression", ()), ("pointwise", ()), ("logistic", (preference, 0.1))):
        loss = getattr(cg.lm.losses, name)
        slope = jax.grad(lambda x, loss=loss, extra=extra: jnp.sum(loss(x, jnp.asarray(LAST), *extra)))
        model = torch.tensor(MODEL, requires_grad=True)
        rest = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in extra]
        loss(model, torch.tensor(LAST), *rest).sum().backward()
        np.testing.assert_allclose(model.grad.numpy(), slope(jnp.asarray(MODEL)), **EXACT)


def test_sequences_are_summed_unless_asked_otherwise():
    tokens = np.array([[-1.0, -2.0, -4.0], [-3.0, -5.0, -7.0]])
    mask = np.array([[0, 1, 1], [0, 1, 0]])
    np.testing.assert_array_equal(cg.lm.losses.sequence_logp(tokens, mask), [-6.0, -5.0])
    np.testing.assert_array_equal(cg.lm.losses.sequence_logp(tokens, mask, average=True), [-3.0, -5.0])
    with pytest.raises(ValueError, match=r"no token in 1 answers, the first at \(1,\)"):
        cg.lm.losses.sequence_logp(tokens, np.array([[0, 1, 1], [0, 0, 0]]))


# What is refused
# ------------------------------------------------------------------------------------------


def asked(**policies):
    return lambda: cg.lm.targets(cg.INPO(ETA, TAU), KEY, policies, PAIR)


def with_prompt(number, preference):
    """Candidates whose one prompt has other preferences."""
    is_it = np.arange(PROMPTS)[:, None, None] == number
    return lambda: cg.Candidates(np.where(is_it, preference, HARD), LAST)


REFUSED = {
    "a probability": (asked(logp=-LAST, reference=LAST), "at most 0"),
    "nan": (asked(logp=LAST * np.nan, reference=LAST), "finite log-probabilities"),
    "a shape": (asked(logp=LAST[:3], reference=LAST), "shape (6, 2)"),
    "a missing reference": (asked(logp=LAST), "must hold 'reference'"),
    "an unknown policy": (asked(logp=LAST, refrence=LAST), "Did you mean 'reference'?"),
    "one answer": (lambda: cg.Candidates(np.full((3, 1, 1), 0.5), np.zeros((3, 1))), "at least 2 answers"),
    "a preference of 1.2": (lambda: cg.Candidates([[0.5, 1.2], [-0.2, 0.5]], [-1.0, -2.0]), "[0, 1]"),
    "a preference of nan": (lambda: cg.Candidates([[0.5, np.nan], [0.5, 0.5]], [-1.0, -2.0]), "(0, 1)"),
    "a preference of 1.2 in prompt 3": (with_prompt(3, [[0.5, 1.2], [-0.2, 0.5]]), "outside at (3, 0, 1)"),
    "a preference of nan in prompt 3": (with_prompt(3, np.nan), "(3, 0, 0)"),
    "preferences of prompt 2 that do not sum to 1": (with_prompt(2, 0.6), "prompt (2,)"),
    "a behaviour above 0": (lambda: cg.Candidates(HARD, -LAST), "`behaviour_logp` must hold finite"),
    "an answer too unlikely for a regularizer": (
        lambda: cg.lm.targets(
            cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.chi_squared), KEY,
            {"logp": LAST - 300, "reference": LAST}, PAIR,
        ), "at least -300",
    ),
    "a class of rules": (lambda: cg.lm.policies_of(cg.MWU), "`rule` must be an update rule"),
    "no rule": (lambda: cg.lm.schedule("INPO", 3), "`rule` must be an update rule"),
    "other feedback": (
        lambda: cg.lm.targets(cg.MWU(1.0), KEY, {"logp": LAST}, cg.Exact(GAME)), "must be Candidates"
    ),
    "an array of policies": (lambda: cg.lm.targets(cg.MWU(1.0), KEY, LAST, PAIR), "must be a dict"),
    "text for a policy": (asked(logp="abc", reference=LAST), "array of log-probabilities"),
    "texts for lists": (lambda: cg.lm.compare(judge, ["why?"], ["ab"]), "a list of lists of texts"),
    "DPO's target": (lambda: cg.lm.losses.regression(MODEL, None), "`target` must be an array"),
    "preferences of the wrong shape": (
        lambda: cg.lm.losses.logistic(MODEL, LAST, HARD[:, 0], 0.1), "`preference` must be of 2 answers"
    ),
    "another shape": (lambda: cg.Candidates(HARD, LAST[:2]), "`behaviour_logp`"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, words):
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without the type checks
    try:
        with pytest.raises(ValueError, match=re.escape(words)):
            call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
