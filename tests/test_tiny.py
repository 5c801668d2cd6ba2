"""A tiny language model: its policy is known exactly, and training it follows rules as tables do."""

import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy
from helpers import log_normalize, random_game

import comalgames as cg
from comalgames.lm import tiny
from comalgames.lm.tiny import rounds

PROMPTS, ANSWERS, STEP, TAU = 2, 9, 1.0, 0.2
GAME = random_game(ANSWERS, seed=1, prompts=(PROMPTS,))
MODEL = tiny.Transformer(jax.random.key(0), PROMPTS, width=16)
LOGP = np.asarray(rounds.answers_logp(MODEL))
KEY = jax.random.key(1)

# Enough for a round to end within 1e-4 nats of where it goes; measured 2e-5 at most.
LONG = {"learning_rate": 1e-2, "num_steps": 800}


def margins(scores):
    """Differences to the mean: what is left of scores when a constant per prompt means nothing."""
    return scores - np.mean(scores, axis=-1, keepdims=True)


# One compilation, where each operation on its own would be one.
next_logp = jax.jit(tiny.Transformer.next_logp)


def table(rule, num_steps=1, logp=LOGP):
    """The log-policies of the rule as a table, from the network's first policy, `[steps + 1, ...]`."""
    run = cg.trajectory(GAME, rule, num_steps, logp=jnp.asarray(logp), metrics=["logp"])
    return np.asarray(run.records["logp"])


def spread(policy, error):
    """Root mean square of the differences of errors, over pairs that the policy draws."""
    pairs = (error[:, :, None] - error[:, None]) ** 2
    return np.sqrt(np.einsum("pi,pj,pij->p", policy, policy, pairs))


# The network
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 2), (5, 1, 1)], ids=str)
def test_answers_are_a_policy_and_each_is_the_product_of_its_tokens(shape):
    num_tokens, length, num_layers = shape
    model = tiny.Transformer(KEY, 3, num_tokens, length, 8, num_layers)
    logp = np.asarray(rounds.answers_logp(model))
    assert logp.shape == (3, num_tokens**length)
    np.testing.assert_allclose(np.exp(logp).sum(-1), 1, rtol=0, atol=1e-14)
    for number, answer in enumerate(model.answers()):
        chain = 0.0
        for t in range(length):
            prefix = np.broadcast_to(answer[:t], (3, 1, t))
            chain = chain + np.asarray(next_logp(model, prefix))[:, 0, t, answer[t]]
        np.testing.assert_allclose(logp[:, number], chain, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(model.index(jnp.asarray(model.answers())), np.arange(num_tokens**length))


def test_a_later_token_changes_nothing_before_it():
    model = tiny.Transformer(KEY, 2, num_tokens=4, length=5, width=8, num_layers=2)
    prefixes = np.random.default_rng(0).integers(0, 4, (2, 6, 4))
    before = np.asarray(next_logp(model, prefixes))
    for t in range(4):
        changed = prefixes.copy()
        changed[..., t] = (changed[..., t] + 1) % 4
        after = np.asarray(next_logp(model, changed))
        np.testing.assert_allclose(after[:, :, : t + 1], before[:, :, : t + 1], rtol=0, atol=1e-14)
        assert np.abs(after[:, :, t + 1 :] - before[:, :, t + 1 :]).max() > 1e-3


def test_prompts_have_policies_of_their_own():
    assert np.abs(LOGP[0] - LOGP[1]).max() > 0.1


def test_generated_answers_have_the_exact_law():
    """Pearson's statistic of 20,000 answers a prompt stays below its 99.9% quantile (one fixed seed)."""
    num = 20_000
    drawn = jax.jit(lambda model: model.index(model.generate(KEY, num)))(MODEL)
    expected = num * np.exp(LOGP)
    counts = np.stack([np.bincount(row, minlength=ANSWERS) for row in np.asarray(drawn)])
    statistic = np.sum((counts - expected) ** 2 / expected)
    assert statistic < scipy.stats.chi2.ppf(0.999, PROMPTS * (ANSWERS - 1))


# One round
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (cg.INPO(1 / STEP, TAU), "regression"),
        (cg.COMAL(cg.Extragradient(STEP, TAU), 5), "regression"),
        (cg.IterativeDPO(2.0), "logistic"),
    ],
    ids=["INPO", "COMAL of Extragradient", "IterativeDPO"],
)
def test_a_round_that_is_trained_to_its_end_is_the_tables_step(rule, loss):
    run = tiny.train(GAME, rule, MODEL, 1, tiny.Fit(loss, **LONG))
    np.testing.assert_allclose(margins(run.logp[1]), margins(table(rule)[1]), rtol=0, atol=1e-3)
    assert run.fit_residual.max() < 1e-3


def test_sppos_round_ends_at_the_minimizer_of_its_published_loss():
    """Under E_pi (log(pi'/pi) - eta a)^2 with pi' normalized: eta a - W(c exp(eta a)), W Lambert's."""
    advantage = np.einsum("pij,pj->pi", np.asarray(GAME.skew), np.exp(LOGP))

    def minimizer(logp, tilt):
        def log_ratio(c):
            return tilt - scipy.special.lambertw(c * np.exp(tilt)).real

        c = scipy.optimize.brentq(lambda c: np.exp(logp + log_ratio(c)).sum() - 1, 0, 1, xtol=1e-14)
        return logp + log_ratio(c)

    expected = np.stack([minimizer(*rows) for rows in zip(LOGP, STEP * advantage, strict=True)])
    run = tiny.train(GAME, cg.SPPO(STEP), MODEL, 1, tiny.Fit("pointwise", **LONG))
    np.testing.assert_allclose(run.logp[1], expected, rtol=0, atol=1e-3)
    # The table's step is another, by what is left of the exact target.
    assert 0.001 < np.abs(margins(run.logp[1]) - margins(table(cg.SPPO(STEP))[1])).max() < 0.1


def test_the_residual_is_0_at_the_target_and_1_at_the_start():
    rule = cg.INPO(1 / STEP, TAU)
    reached = log_normalize(table(rule)[1])
    half = log_normalize((LOGP + reached) / 2)
    for policy, share in ((reached, 0.0), (half, 0.5), (LOGP, 1.0)):
        _, left = rounds.distance_and_residual(KEY, GAME, rule, LOGP, policy, LOGP, 0)
        np.testing.assert_allclose(left, share, rtol=1e-12, atol=1e-14)


def test_a_rounds_learning_rate_falls_along_a_cosine():
    """So short a round that the gradient stays: Adam moves each weight by the sum of the rates.

    lr sum_k (1 + cos(pi k / n)) / 2 = lr (n + 1) / 2; that of a rate that stays would be lr n.
    """
    num_steps, rate = 10, 1e-8
    run = tiny.train(GAME, cg.INPO(1 / STEP, TAU), MODEL, 1, tiny.Fit("regression", rate, num_steps))
    moved = jnp.abs(run.model.unembed - MODEL.unembed)
    # Adam's 1e-8 beside gradients of 1e-2, and weights rounded to 1e-16.
    assert float(jnp.max(moved)) == pytest.approx(rate * (num_steps + 1) / 2, rel=1e-4)


def test_the_distance_is_the_root_mean_square_over_pairs_that_the_policy_draws():
    rule = cg.INPO(1 / STEP, TAU)
    expected = spread(np.exp(LOGP), LOGP - table(rule)[1])
    distance, _ = rounds.distance_and_residual(KEY, GAME, rule, LOGP, LOGP, LOGP, 0)
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    assert np.all(np.asarray(distance) > 0.1)


@pytest.mark.parametrize("num_candidates", [2, 5])
def test_drawn_targets_are_the_exact_one_on_average(num_candidates):
    """E[margin of the targets of y and another answer | y] is the exact target of y, up to its mean.

    Within five standard errors for every answer that was drawn first 500 times.
    """
    rule, num_sets = cg.INPO(1 / STEP, TAU), 60_000
    drawn = tiny.Drawn(num_sets, num_candidates)
    lesson = rounds.round_data(KEY, GAME, rule, MODEL, MODEL, 0, drawn)
    exact = table(rule)[1]
    exact = exact - np.sum(np.exp(LOGP) * exact, axis=-1, keepdims=True)
    answers, target = np.asarray(lesson.answers), np.asarray(lesson.goal.target)
    seen = 0
    for prompt in range(PROMPTS):
        for answer in range(ANSWERS):
            first = answers[prompt, :, 0] == answer
            margin = target[prompt, first, 0] - target[prompt, first, 1]
            if first.sum() >= 500:
                error = margin.std() / np.sqrt(first.sum())
                assert abs(margin.mean() - exact[prompt, answer]) < 5 * error
                seen += 1
    assert seen >= 8


def test_drawn_labels_are_consistent_and_hard():
    lesson = rounds.round_data(KEY, GAME, cg.MWU(1.0), MODEL, MODEL, 0, tiny.Drawn(50, 4))
    preference = np.asarray(lesson.preference)
    np.testing.assert_array_equal(preference + preference.swapaxes(-1, -2), 1)
    answers = np.asarray(lesson.answers)
    is_same = answers[..., :, None] == answers[..., None, :]
    assert set(np.unique(preference[~is_same])) == {0.0, 1.0}
    assert set(np.unique(preference[is_same])) == {0.5}
    assert is_same.sum() > answers.size  # some answers were drawn twice


# Many rounds
# ------------------------------------------------------------------------------------------


def test_the_reference_is_the_network_reached_when_the_schedule_says_so():
    rule = cg.COMAL(cg.INPO(1 / STEP, TAU), 5)
    fit = tiny.Fit(num_steps=3)
    run = tiny.train(GAME, rule, MODEL, 7, fit)
    np.testing.assert_array_equal(rounds.answers_logp(run.reference), run.logp[5])
    np.testing.assert_array_equal(rounds.answers_logp(run.model), run.logp[7])
    never = tiny.train(GAME, rule.inner, MODEL, 7, fit)
    np.testing.assert_array_equal(rounds.answers_logp(never.reference), never.logp[0])
    np.testing.assert_array_equal(never.logp[:6], run.logp[:6])
    assert np.abs(never.logp[6] - run.logp[6]).max() > 1e-3
    # What a round had to go, and left, is measured by the reference that it was trained with.
    for number, reference in ((2, run.logp[0]), (4, run.logp[0]), (6, run.logp[5])):
        before, after = run.logp[number : number + 2]
        advantage = np.einsum("pij,pj->pi", np.asarray(GAME.skew), np.exp(before))
        target = (1 - TAU * STEP) * before + TAU * STEP * reference + STEP * advantage
        whole, left = (spread(np.exp(before), policy - target) for policy in (before, after))
        np.testing.assert_allclose(run.distance[number], whole, rtol=1e-9)
        np.testing.assert_allclose(run.fit_residual[number], left / whole, rtol=1e-9)


def test_the_network_follows_the_table():
    """COMAL over two periods: no gap further from the table's than 1e-2, where the gap itself falls by .1."""
    rule = cg.COMAL(cg.INPO(1 / STEP, TAU), 5)
    run = tiny.train(GAME, rule, MODEL, 10, tiny.Fit(num_steps=200, learning_rate=1e-2))
    predicted = cg.duality_gap(GAME, jnp.asarray(table(rule, 10)))
    np.testing.assert_allclose(run.duality_gap, predicted, rtol=0, atol=1e-2)
    assert np.all(predicted[0] - predicted[-1] > 0.1)


DRAWN = tiny.Drawn(num_sets=8, num_candidates=3, batch_size=4)


def test_the_same_key_gives_the_same_bytes():
    def logp(key):
        run = tiny.train(GAME, cg.INPO(1.0, TAU), MODEL, 3, tiny.Fit(num_steps=3), DRAWN, key)
        return np.asarray(run.logp)

    np.testing.assert_array_equal(logp(KEY), logp(KEY))
    assert not np.array_equal(logp(KEY), logp(jax.random.key(2)))


def test_networks_train_side_by_side_as_alone():
    models = jax.vmap(lambda key: tiny.Transformer(key, PROMPTS, width=16))(jax.random.split(KEY, 2))

    def train(model, key):
        return tiny.train(GAME, cg.INPO(1.0, TAU), model, 2, tiny.Fit(num_steps=5), DRAWN, key).logp

    keys = jax.random.split(KEY, 2)
    together = jax.vmap(train)(models, keys)
    for k in range(2):
        alone = train(jax.tree.map(lambda leaf, k=k: leaf[k], models), keys[k])
        np.testing.assert_allclose(together[k], alone, rtol=0, atol=1e-10)


def test_no_rounds_leave_the_first_policy():
    run = tiny.train(GAME, cg.INPO(1.0, TAU), MODEL, 0)
    np.testing.assert_allclose(run.logp, LOGP[None], rtol=0, atol=1e-14)
    assert run.fit_residual.shape == (0, PROMPTS)


def test_float32_trains_too():
    with jax.enable_x64(False):
        model = tiny.Transformer(KEY, PROMPTS, width=8)
        game = cg.PreferenceGame.from_skew(np.asarray(GAME.skew, np.float32))
        run = tiny.train(game, cg.COMAL(cg.INPO(1.0, TAU), 5), model, 2, tiny.Fit(num_steps=20), DRAWN, KEY)
        assert run.logp.dtype == jnp.float32
        assert np.all(np.isfinite(run.logp))
        assert np.abs(run.logp[2] - run.logp[0]).max() > 1e-2


# What is refused
# ------------------------------------------------------------------------------------------


def training(game=GAME, rule=None, model=MODEL, num_rounds=1, **settings):
    rule = cg.INPO(1.0, TAU) if rule is None else rule
    return lambda: tiny.train(game, rule, model, num_rounds, **settings)


REFUSED = {
    "a rule that remembers": (training(rule=cg.OptimisticMWU(1.0)), "OptimisticMWU remembers"),
    "a rule that needs all actions": (training(rule=cg.ExactProx(0.1)), "ExactProx needs"),
    "no rule": (training(rule="INPO"), "`rule` must be an update rule"),
    "another number of prompts": (training(game=random_game(9, prompts=(3,))), "for each of 2 prompts"),
    "another number of answers": (training(game=random_game(8, prompts=(2,))), "over 9 answers"),
    "no prompts": (training(game=random_game(9)), "policies of shape (2, 9)"),
    "a matrix": (training(game=np.full((2, 9, 9), 0.5)), "got ndarray"),
    "no model": (training(model=None), "`model` must be a tiny.Transformer"),
    "half a round": (training(num_rounds=0.5), "`num_rounds` must be a whole number"),
    "no key": (training(drawn=DRAWN), "`key` is needed"),
    "DPO's rule with INPO's loss": (training(rule=cg.IterativeDPO(1.0)), "needs 'logistic'"),
    "two queries with DPO's loss": (
        training(rule=cg.Extragradient(1.0), fit=tiny.Fit("logistic")),
        "with several queries, 'regression'",
    ),
    "an unknown loss": (lambda: tiny.Fit("regresion"), "Did you mean 'regression'?"),
    "no gradient steps": (lambda: tiny.Fit(num_steps=0), "`num_steps` must be a whole number >= 1"),
    "a negative rate": (lambda: tiny.Fit(learning_rate=-1.0), "`learning_rate` must be a finite number > 0"),
    "one candidate": (lambda: tiny.Drawn(4, 1), "`num_candidates` must be a whole number >= 2"),
    "a batch that does not divide": (lambda: tiny.Drawn(4, 2, 3), "`batch_size` must divide"),
    "one token": (lambda: tiny.Transformer(KEY, 1, num_tokens=1), "`num_tokens`"),
    "heads that do not divide": (lambda: tiny.Transformer(KEY, 1, width=9), "`width` must be a multiple"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_message_that_says_what(name):
    call, message = REFUSED[name]
    # Users run without the type checks of conftest.py, which would speak first.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_period_that_is_too_short_warns():
    with pytest.warns(UserWarning, match="COMAL's period of 1 is short"):
        training(rule=cg.COMAL(cg.INPO(1.0, TAU), 1), fit=tiny.Fit(num_steps=1))()
