"""The bridge gives language models the published formulas, from the very rules that tables follow."""

import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from helpers import CONTRACT, log_normalize, random_game, random_policy

import comalgames as cg

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


PROMPTS = 6
HARD, FIRST_WINS = labels(PROMPTS)
LAST, REFERENCE, MODEL = logps(PROMPTS, 2), logps(PROMPTS, 2), logps(PROMPTS, 2)
SIGN = np.where(FIRST_WINS == 1, 1.0, -1.0)
PAIR = cg.Candidates(HARD, LAST)


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
    """EGPO: the opponent of the second query is the half step, its weights on the answers renormalised."""
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
    np.testing.assert_allclose(margins(np.asarray(goal.target)), margins(expected), **EXACT)


# The same rule as the table's
# ------------------------------------------------------------------------------------------

GAME = random_game(5, seed=2)
POLICY, ANCHOR_POLICY = random_policy(5, seed=3), random_policy(5, seed=4)
ON_ANSWERS = [
    name
    for name in CONTRACT
    if not {"Optimistic", "Prox", "DPO", "Parametric"} & set(re.findall("[A-Z][a-z]+|DPO", name))
]


@pytest.mark.parametrize("name", ON_ANSWERS)
def test_with_all_answers_enumerated_the_bridge_proposes_what_the_table_proposes(name):
    rule = CONTRACT[name].rule
    every = cg.Candidates(GAME.preference, np.full(5, np.log(0.2)))
    columns = {"logp": np.log(POLICY), "reference": np.log(ANCHOR_POLICY)}
    goal = cg.lm.targets(rule, KEY, columns, every)
    state = rule.init(jnp.log(jnp.asarray(POLICY)), jnp.log(jnp.asarray(ANCHOR_POLICY)))
    target, _ = rule.propose(KEY, state, cg.Exact(GAME))
    difference = np.asarray(goal.target) - np.asarray(target)
    np.testing.assert_allclose(difference - difference[0], 0, **EXACT)


def test_answers_that_the_policy_drew_have_equal_weights():
    """On-policy an opponent's weight on an answer is the plain mean, whatever the answers' probabilities."""
    preference = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.6], [0.7, 0.4, 0.5]])
    drawn = np.array([-3.0, -50.0, -7.0])
    found = cg.Candidates(preference, drawn).advantage(KEY, jnp.asarray(drawn))
    np.testing.assert_allclose(found, preference.mean(-1) - 0.5, **EXACT)


def test_losses_on_labels_weight_candidates_as_advantages_do():
    """The minimiser of the squared loss on labelled pairs of candidates is the rule's target."""
    behaviour = np.log([0.6, 0.1, 0.1, 0.1, 0.1])
    feedback, rule = cg.Candidates(GAME.preference, behaviour), cg.MWU(0.5)
    logp = jnp.log(jnp.asarray(POLICY))
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.3), 4000, cg.objectives.LabelledPairs())
    taught = learner.step(KEY, learner.init(logp, logp), feedback)
    table = rule.step(KEY, rule.init(logp, logp), feedback)
    np.testing.assert_allclose(taught.logp, table.logp, rtol=0, atol=1e-8)


def test_a_schedule_says_what_the_rule_does():
    moves = [r.moves_reference for r in cg.lm.schedule(cg.COMAL(cg.INPO(1.0, 0.1), 3), 7)]
    assert moves == [False, False, True, False, False, True, False]
    assert not any(r.moves_reference for r in cg.lm.schedule(cg.INPO(1.0, 0.1), 5))
    assert [r.number for r in cg.lm.schedule(cg.MWU(1.0), 3)] == [0, 1, 2]


def test_a_trainer_logs_the_policies_that_the_rule_remembers():
    assert cg.lm.policies_of(cg.MWU(1.0)) == ("logp",)
    assert cg.lm.policies_of(cg.COMAL(cg.INPO(1.0, 0.1), 3)) == ("logp", "reference")
    with pytest.raises(ValueError, match="OptimisticMWU remembers"):
        cg.lm.policies_of(cg.OptimisticMWU(1.0))


# Arrays of every kind
# ------------------------------------------------------------------------------------------


def test_a_split_into_micro_batches_changes_no_gradient():
    target = logps(PROMPTS, 2)

    def loss(model, rows):
        return jnp.mean(cg.lm.losses.regression(model[rows], target[rows]))

    whole = jax.grad(loss)(jnp.asarray(MODEL), np.arange(PROMPTS))
    halves = [jax.grad(loss)(jnp.asarray(MODEL), rows) for rows in np.split(np.arange(PROMPTS), 2)]
    np.testing.assert_allclose(whole, sum(halves) / 2, **EXACT)


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
    with pytest.raises(ValueError, match=r"no token in 1 answers, such as \(1,\)"):
        cg.lm.losses.sequence_logp(tokens, np.array([[0, 1, 1], [0, 0, 0]]))


# What is refused
# ------------------------------------------------------------------------------------------


def asked(**policies):
    return lambda: cg.lm.targets(cg.INPO(ETA, TAU), KEY, policies, PAIR)


REFUSED = {
    "a probability": (asked(logp=-LAST, reference=LAST), "at most 0"),
    "nan": (asked(logp=LAST * np.nan, reference=LAST), "finite log-probabilities"),
    "a shape": (asked(logp=LAST[:3], reference=LAST), "shape (6, 2)"),
    "a missing reference": (asked(logp=LAST), "must hold 'reference'"),
    "an unknown policy": (asked(logp=LAST, refrence=LAST), "Did you mean 'reference'?"),
    "one answer": (lambda: cg.Candidates(np.full((3, 1, 1), 0.5), np.zeros((3, 1))), "at least 2 answers"),
    "a preference of 1.2": (lambda: cg.Candidates([[0.5, 1.2], [-0.2, 0.5]], [-1.0, -2.0]), "[0, 1]"),
    "a preference of nan": (lambda: cg.Candidates([[0.5, np.nan], [0.5, 0.5]], [-1.0, -2.0]), "(0, 1)"),
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
