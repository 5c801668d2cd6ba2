"""Softmax policies that follow a rule: the minimizer of each loss, and the limit of gradient steps on it.

Losses are minimized by Newton's method, from the package's loss alone, and the minimizers compared with
closed forms and other solvers written here.
"""

import dataclasses
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
import scipy.optimize
from helpers import COMAL_NASH, COMAL_START, Cooling, gap, log_normalize, one_step, random_game, random_policy
from scipy.special import expit, lambertw, logit

import comalgames as cg
from comalgames import objectives
from comalgames.algorithms.base import with_dtype
from comalgames.numerics import bradley_terry, losses
from comalgames.parametric.objectives import Distributions

CYCLE = cg.games.comal_cycle()
N = 5
GAME = random_game(N, seed=11)
SKEW = np.asarray(GAME.skew)
POLICY, REFERENCE, MEAN = (random_policy(N, seed=seed) for seed in (1, 2, 3))
ADVANTAGE = SKEW @ POLICY
DRAWN_FROM = Distributions(*(jnp.log(policy) for policy in (POLICY, REFERENCE, MEAN)))
KEY = jax.random.key(0)
STEP, TEMPERATURE = 0.9, 0.3
RULE = cg.MirrorDescent(STEP, TEMPERATURE)
PULL = STEP * TEMPERATURE
ANCHOR = (1 - PULL) * np.log(POLICY) + PULL * np.log(REFERENCE)
SGD = optax.sgd(0.1)
NEARBY = 0.05 * np.random.default_rng(0).normal(size=(50, N))

# Sums of at most 25 terms of size 1, and a linear system of 5 equations with condition below 100.
ROUNDING = {"rtol": 0, "atol": 1e-12}


def taught(objective, rule=RULE, feedback=None, key=KEY):
    """The lesson of a round that begins at POLICY with REFERENCE; its numbers as arrays, to compile less."""

    @jax.jit
    def teach(key):
        state = rule.init(DRAWN_FROM.policy, DRAWN_FROM.reference)
        return objective.teach(
            key, rule, state, DRAWN_FROM, cg.Exact(GAME) if feedback is None else feedback
        )[0]

    return teach(key)


def loss_of(logits, objective, lesson, key=KEY):
    return objective(key, jax.nn.log_softmax(logits), lesson)


@eqx.filter_jit
def newton(objective, lesson, start):
    """Newton's method on the loss of free logits, pinned to sum 0; and the losses there and nearby."""

    def step(_, logits):
        slope = jax.grad(loss_of)(logits, objective, lesson)
        curvature = jax.hessian(loss_of)(logits, objective, lesson) + jnp.ones((N, N))
        return logits - jnp.linalg.solve(curvature, slope + jnp.sum(logits))

    found = jax.lax.fori_loop(0, 30, step, start - jnp.mean(start))
    points = jnp.concatenate([found[None], found + NEARBY])
    return jax.nn.log_softmax(found), jax.vmap(lambda x: loss_of(x, objective, lesson))(points)


def minimizer(objective, rule=RULE, feedback=None):
    """The minimizer of the loss, found by Newton's method and checked not to be a mere stationary point."""
    found, values = newton(objective, taught(objective, rule, feedback), DRAWN_FROM.policy)
    assert np.all(values[1:] > values[0])
    return np.asarray(found)


@eqx.filter_jit
def gradient_at(objective, lesson, logits):
    return jax.grad(loss_of)(logits, objective, lesson)


# The minimizer of each loss ---------------------------------------------------------------------------------

RULES = {
    "MirrorDescent": RULE,
    "MWU": cg.MWU(0.8),
    "Extragradient": cg.Extragradient(1.5, 0.2),
    "OptimisticMWU": cg.OptimisticMWU(0.7),
    "IterativeDPO": cg.IterativeDPO(2.0),
    "COMAL": cg.COMAL(cg.MMD(1.2, 0.4), 5),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_regression_is_least_at_every_rules_target(rule):
    expected = one_step(rule, GAME, POLICY, REFERENCE)
    assert np.max(np.abs(expected - np.log(POLICY))) > 0.05
    np.testing.assert_allclose(minimizer(objectives.Regression(), rule), expected, **ROUNDING)


# (The distribution is part of the lesson; the loss is one function, compiled once.)
@pytest.mark.parametrize("distribution", objectives.DISTRIBUTIONS)
def test_the_regression_is_least_there_for_every_distribution(distribution):
    expected = one_step(RULE, GAME, POLICY, REFERENCE)
    found, _ = newton(objectives.Regression(), taught(objectives.Regression(distribution)), DRAWN_FROM.policy)
    np.testing.assert_allclose(found, expected, **ROUNDING)


def test_the_laws_of_the_regression_are_what_their_names_say():
    """E (margin - target margin)^2, pair by pair, from the four policies."""
    lesson = taught(objectives.Regression())
    error = np.log(MEAN) - np.asarray(lesson.target)
    for distribution, drawn in zip(
        objectives.DISTRIBUTIONS, (POLICY, np.full(N, 1 / N), REFERENCE, MEAN), strict=True
    ):
        expected = sum(drawn[i] * drawn[j] * (error[i] - error[j]) ** 2 for i in range(N) for j in range(N))
        found = loss_of(
            DRAWN_FROM.replay,
            objectives.Regression(distribution),
            taught(objectives.Regression(distribution)),
        )
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rule", [RULE, RULES["MWU"], RULES["COMAL"], cg.INPO(1.0, 0.3)], ids=repr)
def test_labelled_pairs_of_the_policy_are_least_at_the_target(rule):
    expected = one_step(rule, GAME, POLICY, REFERENCE)
    np.testing.assert_allclose(minimizer(objectives.LabelledPairs(), rule), expected, **ROUNDING)


# The squared loss on labelled pairs of another distribution is minimized at the win rates against it.
@pytest.mark.parametrize(
    ("distribution", "drawn"), [("uniform", np.full(N, 1 / N)), ("reference", REFERENCE), ("replay", MEAN)]
)
def test_labelled_pairs_of_another_distribution_are_least_elsewhere(distribution, drawn):
    found, _ = newton(
        objectives.LabelledPairs(), taught(objectives.LabelledPairs(distribution)), DRAWN_FROM.policy
    )
    np.testing.assert_allclose(found, log_normalize(ANCHOR + STEP * SKEW @ drawn), **ROUNDING)
    assert np.max(np.abs(found - one_step(RULE, GAME, POLICY, REFERENCE))) > 0.02


# Fixed distribution and reference: the limit is softmax(log reference + advantage(uniform) / temperature).
def test_labelled_pairs_of_uniform_law_stop_elsewhere_than_the_regularized_equilibrium():
    start = np.array(COMAL_START)
    rule = cg.MirrorDescent(0.3, 0.1)
    # Under the uniform distribution the Hessian is 4/n times the projection: one step of n/4 is exact.
    learner = cg.Parametric(
        rule, cg.Tabular(), None, optax.sgd(3 / 4), 1, objectives.LabelledPairs("uniform")
    )
    found = cg.solve(CYCLE, learner, 1500, init=start, metrics=()).policy
    expected = np.exp(log_normalize(np.log(start) + np.asarray(CYCLE.skew) @ np.full(3, 1 / 3) / 0.1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, [0.135, 0.471, 0.394], atol=5e-4)
    assert gap(CYCLE, found) == pytest.approx(0.296, abs=5e-4)
    assert gap(CYCLE, cg.qre(CYCLE, 0.1, start).policy) == pytest.approx(0.0588, abs=5e-5)


def test_logistic_with_mwu_is_iterative_dpo():
    expected = one_step(cg.IterativeDPO(1 / 0.8), GAME, POLICY)
    np.testing.assert_allclose(minimizer(objectives.Logistic(), cg.MWU(0.8)), expected, **ROUNDING)
    assert np.max(np.abs(expected - one_step(cg.MWU(4 * 0.8), GAME, POLICY))) > 0.01


@pytest.mark.parametrize(("distribution", "drawn"), [("policy", POLICY), ("uniform", np.full(N, 1 / N))])
def test_logistic_is_least_at_the_anchor_and_the_bradley_terry_scores(distribution, drawn):
    def negative_likelihood(scores):
        """By SciPy, on the scores: the package's fit is not asked."""
        p = expit(scores[:, None] - scores)
        weights = np.outer(drawn, drawn) * (SKEW + 0.5)
        slope = np.sum(weights.T * p - weights * (1 - p), axis=1)
        return -np.sum(weights * np.log(p)), slope

    scores = scipy.optimize.minimize(
        negative_likelihood, np.zeros(N), jac=True, method="BFGS", options={"gtol": 1e-10}
    ).x
    found, _ = newton(objectives.Logistic(), taught(objectives.Logistic(distribution)), DRAWN_FROM.policy)
    # BFGS's gradient of 1e-10 over the least curvature, about 1e-3.
    np.testing.assert_allclose(found, log_normalize(ANCHOR + STEP * scores), rtol=0, atol=1e-6)
    fitted = bradley_terry.fit(GAME.skew, jnp.log(drawn)).scores
    np.testing.assert_allclose(found, log_normalize(ANCHOR + STEP * np.asarray(fitted)), **ROUNDING)


@pytest.mark.parametrize("rule", [RULE, RULES["MWU"], RULES["Extragradient"]], ids=repr)
def test_the_centred_pointwise_loss_and_the_policy_gradient_are_least_at_the_target(rule):
    expected = one_step(rule, GAME, POLICY, REFERENCE)
    np.testing.assert_allclose(minimizer(objectives.Pointwise(centred=True), rule), expected, **ROUNDING)
    gradient = gradient_at(objectives.PolicyGradient(), taught(objectives.PolicyGradient(), rule), expected)
    np.testing.assert_allclose(gradient, 0, **ROUNDING)


# The minimizer: log(pi'/pi) = eta a - W(c e^{eta a}), with c >= 0 so that pi' is normalized.
@pytest.mark.parametrize("eta", [0.5, 3.0])
def test_the_pointwise_loss_is_least_at_sppos_lambert_w(eta):
    def log_ratio(c):
        return eta * ADVANTAGE - lambertw(c * np.exp(eta * ADVANTAGE)).real

    c = scipy.optimize.brentq(lambda c: POLICY @ np.expm1(log_ratio(c)), 0, 10, xtol=1e-15)
    assert c > 1e-3
    expected = np.log(POLICY) + log_ratio(c)
    found = minimizer(objectives.Pointwise(), cg.MWU(eta))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    assert np.max(np.abs(found - one_step(cg.SPPO(eta), GAME, POLICY))) > 1e-4


# RSPO adds lam (log pi / ref)^2 to SPPO's square: one square, with m = lam / (1 + lam), s = eta / (1 + lam).
def test_the_pointwise_loss_with_a_reference_is_rspos():
    eta, lam = 1.5, 0.4

    def rspo(logits):
        logp = jax.nn.log_softmax(logits)
        sppo = (logp - jnp.log(POLICY) - eta * jnp.asarray(ADVANTAGE)) ** 2
        return jnp.sum(POLICY * (sppo + lam * (logp - jnp.log(REFERENCE)) ** 2))

    rule = cg.MirrorDescent(eta / (1 + lam), lam / eta)  # pull: their product, lam / (1 + lam)
    found = minimizer(objectives.Pointwise(), rule)
    np.testing.assert_allclose(jax.grad(rspo)(jnp.asarray(found)), 0, **ROUNDING)
    assert np.max(np.abs(jax.grad(rspo)(jnp.asarray(one_step(rule, GAME, POLICY, REFERENCE))))) > 1e-3
    difference = [
        float(rspo(x)) / (1 + lam)
        - float(loss_of(x, objectives.Pointwise(), taught(objectives.Pointwise(), rule)))
        for x in (DRAWN_FROM.policy, DRAWN_FROM.replay)
    ]
    assert difference[0] == pytest.approx(difference[1], abs=1e-13)


def test_nca_with_a_step_of_one_is_best_of_two():
    win_rate = ADVANTAGE + 0.5
    np.testing.assert_allclose(
        minimizer(objectives.NCA(), cg.MWU(1.0)), np.log(2 * POLICY * win_rate), **ROUNDING
    )
    # Best of two by enumeration: an answer is returned if drawn twice, or drawn with one that it beats.
    P = SKEW + 0.5
    best_of_two = [sum(2 * POLICY[i] * POLICY[j] * P[i, j] for j in range(N)) for i in range(N)]
    np.testing.assert_allclose(2 * POLICY * win_rate, best_of_two, **ROUNDING)


# Over normalized policies, the derivative of the sum, policy_i loss'(h_i), is the multiplier times pi_i.
@pytest.mark.parametrize(
    ("objective", "free", "slope"),
    [
        (objectives.NCA(), lambda w: np.log(2 * w), lambda r, w: -w * expit(-r) + 0.5 * expit(r)),
        (objectives.BCO(), logit, lambda r, w: expit(r) - w),
    ],
    ids=["NCA", "BCO"],
)
def test_losses_on_win_rates_are_least_where_published_up_to_the_normalizer(objective, free, slope):
    win_rate = ADVANTAGE + 0.5
    found = minimizer(objective)
    r = (found - log_normalize(ANCHOR)) / STEP  # the mixture in the anchor is a policy
    multipliers = POLICY * slope(r, win_rate) / np.exp(found)
    np.testing.assert_allclose(multipliers, multipliers[0], **ROUNDING)
    # Over free log-ratios, without the normalizer, this is the exact minimizer.
    np.testing.assert_allclose(slope(free(win_rate), win_rate), 0, **ROUNDING)


def test_kto_falls_forever_along_the_signs_of_the_advantage():
    lesson = taught(objectives.KTO())
    ray = log_normalize(ANCHOR)[None] + np.linspace(0, 200, 81)[:, None] * np.where(ADVANTAGE > 0, 1, -1)
    # At the start the baseline is 0, and it does not move where it is not differentiated: hold it there.
    h = ray - log_normalize(ANCHOR)
    along = [np.sum(POLICY * losses.kto(x, ADVANTAGE + 0.5, 1 / STEP, 0.0)) for x in h]
    assert np.all(np.diff(along) <= 0)
    assert along[-1] == pytest.approx(POLICY @ (0.5 - np.abs(ADVANTAGE)), abs=1e-10)
    # Gradient steps follow: the losing answers vanish.
    assert POLICY[ADVANTAGE < 0].sum() > 0.1
    logits = DRAWN_FROM.policy
    for _ in range(40):
        logits = logits - 200.0 * gradient_at(objectives.KTO(), lesson, logits)
    assert np.exp(jax.nn.log_softmax(logits))[ADVANTAGE < 0].sum() < 0.01


# The slope of a sigmoid at 0 is 1/4, of 1 - sigmoid -1/4: d/dh of w (1 - s(bh)) + (1 - w) s(bh) is
# -b (2w - 1) / 4 = -b a / 2; softmax logits add the policy's factor and subtract the mean.
def test_ktos_first_step_is_along_the_advantage():
    step_size = 0.8
    gradient = gradient_at(objectives.KTO(), taught(objectives.KTO(), cg.MWU(step_size)), DRAWN_FROM.policy)
    beta = 1 / step_size
    expected = -beta / 4 * POLICY * (2 * ADVANTAGE)  # E_policy[advantage] = 0 against itself
    np.testing.assert_allclose(gradient, expected, **ROUNDING)


def test_ktos_baseline_is_beta_times_the_kl_to_the_anchor():
    """The loss away from the anchor, by its formula: w s(z - r) + (1 - w) s(r - z), r = beta h."""
    step_size = 0.4
    lesson = taught(objectives.KTO(), cg.MWU(step_size))  # its anchor is the policy
    logp = log_normalize(np.log(POLICY) + np.array([0.8, -0.5, 0.1, -1.0, 0.4]))
    log_ratio, win_rate = logp - np.log(POLICY), ADVANTAGE + 0.5
    divergence = np.sum(np.exp(logp) * log_ratio)
    r, z = log_ratio / step_size, divergence / step_size
    expected = POLICY @ (win_rate * expit(z - r) + (1 - win_rate) * expit(r - z))
    assert float(loss_of(jnp.asarray(logp), objectives.KTO(), lesson)) == pytest.approx(expected, rel=1e-12)


# Gradients --------------------------------------------------------------------------------------------------


def softmax_gradient(logp, slopes):
    """Of a function of log-probabilities with these partial derivatives, in the logits."""
    return slopes - np.exp(logp) * np.sum(slopes)


def test_on_policy_labelled_pairs_give_a_policy_gradient_not_a_mirror_step():
    """4 pi(y) [h(y) - mean - step_size a(y)]: the factor pi(y) is what a mirror step has not."""
    found = gradient_at(objectives.LabelledPairs(), taught(objectives.LabelledPairs()), DRAWN_FROM.policy)
    error = np.log(POLICY) - ANCHOR - STEP * ADVANTAGE
    expected = 4 * POLICY * (error - POLICY @ error)
    np.testing.assert_allclose(found, expected, **ROUNDING)
    uniform = gradient_at(objectives.Regression(), taught(objectives.Regression()), DRAWN_FROM.policy)
    np.testing.assert_allclose(uniform, 4 / N * (error - np.mean(error)), **ROUNDING)


def test_the_policy_gradient_is_that_of_the_regularized_reward():
    def regularized(logits):
        """-E_pi[a] + m/s KL(pi || reference) + (1 - m)/s KL(pi || base), as RLHF writes it."""
        logp = jax.nn.log_softmax(logits)
        p = jnp.exp(logp)
        to_reference = jnp.sum(p * (logp - jnp.log(REFERENCE)))
        to_base = jnp.sum(p * (logp - jnp.log(POLICY)))
        return -p @ jnp.asarray(ADVANTAGE) + (PULL * to_reference + (1 - PULL) * to_base) / STEP

    lesson = taught(objectives.PolicyGradient())
    for logits in (DRAWN_FROM.policy, DRAWN_FROM.replay, jnp.asarray([0.3, -1.0, 2.0, 0.1, 0.0])):
        found = gradient_at(objectives.PolicyGradient(), lesson, logits)
        np.testing.assert_allclose(found, jax.grad(regularized)(logits), **ROUNDING)
    # At the current policy: -pi (a - tau log pi/ref, centred), Calandriello et al.'s online IPO v2.
    now = gradient_at(objectives.PolicyGradient(), lesson, DRAWN_FROM.policy)
    utility = ADVANTAGE - TEMPERATURE * np.log(POLICY / REFERENCE)
    np.testing.assert_allclose(now, -POLICY * (utility - POLICY @ utility), **ROUNDING)


# Proposition 4.2 of Calandriello et al.: the losses' gradients agree but for a factor, at the current policy.
def test_online_ipos_gradient_is_four_step_sizes_times_self_plays():
    labelled, reward = objectives.LabelledPairs(), objectives.PolicyGradient()
    ipo = gradient_at(labelled, taught(labelled), DRAWN_FROM.policy)
    self_play = gradient_at(reward, taught(reward), DRAWN_FROM.policy)
    np.testing.assert_allclose(ipo, 4 * STEP * self_play, **ROUNDING)


@pytest.mark.parametrize(
    ("sampled", "exact"),
    [
        (objectives.Regression("policy", num_pairs=3), objectives.Regression("policy")),
        (objectives.Regression("reference", num_pairs=1), objectives.Regression("reference")),
        (objectives.PolicyGradient(num_samples=2), objectives.PolicyGradient()),
    ],
    ids=["policy", "reference", "policy gradient"],
)
def test_sampled_gradients_are_unbiased(sampled, exact):
    lesson, here = taught(exact), DRAWN_FROM.replay
    keys = jax.random.split(jax.random.key(1), 10_000)
    many = jax.jit(jax.vmap(lambda key: jax.grad(loss_of)(here, sampled, lesson, key)))(keys)
    found, error = np.mean(many, axis=0), np.std(many, axis=0) / np.sqrt(len(keys))
    expected = np.asarray(gradient_at(exact, lesson, here))
    assert np.max(np.abs(found - expected) / error) < 5
    other = objectives.Regression("uniform")
    uniform = np.asarray(gradient_at(other, taught(other), here))
    for wrong in (uniform, -expected, 2 * expected):
        assert np.max(np.abs(found - wrong) / error) > 15


def test_the_mean_gradient_on_sampled_labels_is_the_exact_one():
    """Of both losses on pairs, which need the same lesson."""
    both, feedback = (objectives.LabelledPairs(), objectives.Logistic()), cg.Sampled(GAME, 2)

    def gradients(lesson):
        return jnp.stack([jax.grad(loss_of)(DRAWN_FROM.replay, objective, lesson) for objective in both])

    @jax.jit
    @jax.vmap
    def sampled(key):
        return gradients(taught(both[0], feedback=feedback, key=key))

    many = np.asarray(sampled(jax.random.split(jax.random.key(2), 5_000)))
    expected = np.asarray(gradients(taught(both[0])))
    error = many.std(0) / np.sqrt(len(many))
    # (The square has the labels' variance on top, a constant.)
    assert np.max(np.abs(many.mean(0) - expected) / error) < 5
    assert np.min(np.max(np.abs(many.mean(0) - 2 * expected) / error, axis=1)) > 15


PIPELINES = {
    "ranked": (cg.RegressedPairs(GAME, None, 3, "second", "ranked"), None),
    "behaviour": (cg.RegressedPairs(GAME, behaviour=REFERENCE), REFERENCE),
}


@pytest.mark.parametrize(("feedback", "behaviour"), PIPELINES.values(), ids=PIPELINES)
def test_a_pipelines_pairs_reach_the_losses_on_labels(feedback, behaviour):
    """Least squares on labels is minimized at anchor + step_size h, with h what RegressedPairs answers."""
    h = np.asarray(jax.jit(lambda logp: feedback.advantage(KEY, logp))(DRAWN_FROM.policy))
    found = minimizer(objectives.LabelledPairs(), feedback=feedback)
    np.testing.assert_allclose(found, log_normalize(ANCHOR + STEP * h), rtol=0, atol=1e-11)


def test_a_step_size_that_changes_is_that_of_the_round():
    rule = cg.MWU(Cooling(1.0))
    state = dataclasses.replace(
        rule.init(DRAWN_FROM.policy, DRAWN_FROM.reference), step=jnp.asarray(3, jnp.int32)
    )
    lesson, _ = objectives.LabelledPairs().teach(KEY, rule, state, DRAWN_FROM, cg.Exact(GAME))
    found, _ = newton(objectives.LabelledPairs(), lesson, DRAWN_FROM.policy)
    np.testing.assert_allclose(found, log_normalize(np.log(POLICY) + ADVANTAGE / 2), **ROUNDING)


# Learners ---------------------------------------------------------------------------------------------------

# One step of this size on uniform pairs of three actions is the share 4 lr / 3 = 1 of the way: all of it.
WHOLE_WAY = optax.sgd(3 / 4)
COMAL = cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)


def run(algorithm, num_steps, game=CYCLE, init=COMAL_START, **changes):
    init = list(init) if isinstance(init, tuple) else init
    return cg.solve(game, algorithm, num_steps, **{"init": init, "metrics": ["logp"], **changes})


def history(*arguments, **changes):
    return run(*arguments, **changes).history["logp"]


def test_one_sgd_step_a_round_is_the_mirror_step():
    """With the target of full weight on the reference, eta = 4 lr / (beta n): not 2 lr, not lr."""
    game, beta, lr, n = GAME, 0.2, 0.03, N
    init, reference = random_policy(n, seed=1), random_policy(n, seed=2)
    learner = cg.Parametric(cg.MirrorDescent(1 / beta, beta), cg.Tabular(), None, optax.sgd(lr), 1)
    found = history(learner, 200, game, init, reference=reference)
    mirror, half = (
        history(cg.MirrorDescent(k * lr / (beta * n), beta), 200, game, init, reference=reference)
        for k in (4, 2)
    )
    np.testing.assert_allclose(found, mirror, **ROUNDING)
    assert np.max(np.abs(mirror[-1] - mirror[0])) > 0.1
    assert np.max(np.abs(mirror - half)) > 0.01


@pytest.mark.parametrize("name", ["Extragradient", "OptimisticMWU"])
def test_a_table_of_logits_fitted_to_the_end_is_the_rule(name):
    found = history(cg.Parametric(RULES[name], cg.Tabular(), None, WHOLE_WAY, 1), 40)
    # Rounding grows at most as these rules spiral: (1 + eta w)^40 < 1e4.
    np.testing.assert_allclose(found, history(RULES[name], 40), rtol=0, atol=1e-10)


def full_rank_features(prompts, n, seed=0):
    """Random features that can represent every policy of every prompt: `prompts (n - 1)` of them.

    Their differences within prompts are orthonormal, as those of well-made features are nearly; each prompt's
    features also have a part that all its actions share, which changes no policy.
    """
    rng = np.random.default_rng(seed)
    size = prompts * (n - 1)
    raw = rng.normal(size=(prompts, n, size))
    raw -= raw.mean(1, keepdims=True)
    within = np.linalg.qr(raw.reshape(prompts * n, size))[0].reshape(prompts, n, size)
    return within + rng.normal(size=(prompts, 1, size))


def test_log_linear_policies_with_enough_features_track_the_rule():
    """Random features, nothing orthonormal: gradient descent converges at its condition number's rate."""
    features = np.random.default_rng(1).normal(size=(3, 2))
    within = features - features.mean(0)
    values = np.linalg.eigvalsh(within.T @ within)
    assert values[1] / values[0] < 20
    # The loss's Hessian is 4/n within.T within; (1 - 1/20)^800 < 1e-17.
    optimizer, expected = optax.sgd(3 / (4 * values[1])), history(COMAL, 50)
    fitted, slow = (
        history(cg.Parametric(COMAL, cg.LogLinear(features), None, optimizer, num), 50) for num in (800, 1)
    )
    np.testing.assert_allclose(fitted, expected, rtol=0, atol=1e-10)
    assert np.max(np.abs(slow - expected)) > 1e-3


def test_a_contextual_policy_shares_its_parameters_among_prompts():
    game, init = random_game(3, seed=4, prompts=(3,)), random_policy(3, 3, seed=5)
    features = full_rank_features(3, 3)
    # The loss is the mean over prompts: three times the step size for the whole way.
    learner = cg.Parametric(COMAL, cg.LogLinear(features), None, optax.sgd(9 / 4), 2)
    result = run(learner, 60, game, init)
    assert result.state.params.shape == (6,)
    np.testing.assert_allclose(result.history["logp"], history(COMAL, 60, game, init), rtol=0, atol=1e-10)


def test_with_too_few_features_the_policy_stays_in_its_family():
    feature = np.array([[0.3], [-1.0], [0.5]])
    learner = cg.Parametric(COMAL, cg.LogLinear(feature), None, optax.sgd(0.5), 20)
    moved = history(learner, 30)[-1] - np.log(COMAL_START)
    slope = (moved[0] - moved[1]) / 1.3
    assert abs(slope) > 0.01
    np.testing.assert_allclose(moved - moved[0], slope * (feature[:, 0] - 0.3), **ROUNDING)


# Adam's steps do not shrink by themselves, so the fit ends within some steps of the target, of size 2e-4 by
# the end of each round's 300; the rule contracts, so errors of rounds do not add up.
def test_a_network_of_one_hot_features_tracks_the_rule():
    network = cg.MLP(np.eye(3), (16,))
    optimizer = optax.adam(lambda count: 0.02 * 0.01 ** (count % 300 / 300))
    learner = cg.Parametric(
        cg.MirrorDescent(0.5, 0.3), network, network.initial(jax.random.key(3)), optimizer, 300
    )
    found, expected = history(learner, 8), history(cg.MirrorDescent(0.5, 0.3), 8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    assert np.max(np.abs(expected - expected[0])) > 0.1


def test_comals_next_reference_is_the_policy_reached_not_the_one_aimed_at():
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.2), 4)
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.05), 1)
    with pytest.warns(UserWarning, match="period"):
        result = run(learner, 6)
    reached = result.history["logp"]
    for reference in (result.state.inner.reference, result.state.reference):
        np.testing.assert_array_equal(reference, reached[4])
    assert np.max(np.abs(reached[4] - reached[3])) > 1e-4
    before, _ = rule.propose(
        KEY, rule.init(jnp.asarray(reached[3]), jnp.asarray(reached[0])), cg.Exact(CYCLE)
    )
    assert np.max(np.abs(reached[4] - log_normalize(before))) > 0.01


def test_comal_trains_a_model_to_nash():
    features = np.random.default_rng(1).normal(size=(3, 2))
    learner = cg.Parametric(COMAL, cg.LogLinear(features), None, optax.sgd(0.3), 20)
    np.testing.assert_allclose(run(learner, 1500, metrics=()).policy, COMAL_NASH, rtol=0, atol=1e-8)


MODELS = {
    "Tabular": (cg.Tabular(), np.array([3.0, -1.0, 0.5])),
    "LogLinear": (
        cg.LogLinear(np.random.default_rng(2).normal(size=(3, 4))),
        np.array([1.0, 0.0, -2.0, 5.0]),
    ),
    "MLP": (cg.MLP(np.eye(3), (4, 4)), cg.MLP(np.eye(3), (4, 4)).initial(jax.random.key(1))),
    "function": (lambda params: jnp.sin(params["a"]) * jnp.arange(3.0), {"a": np.array(2.0)}),
}


@pytest.mark.parametrize(("logits", "params"), MODELS.values(), ids=MODELS)
def test_every_model_starts_at_the_policy_it_is_given(logits, params):
    # Steps of size 0 in the first round.
    optimizer = optax.sgd(lambda count: jnp.where(count < 2, 0.0, 0.1))
    first, second, third = history(cg.Parametric(COMAL, logits, params, optimizer, 2), 2)
    np.testing.assert_array_equal(first, np.log(np.array(COMAL_START)))
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-15)  # nothing moved
    assert np.max(np.abs(third - first)) > 1e-4


def test_the_network_is_the_one_its_docstring_describes():
    features = np.random.default_rng(0).normal(size=(2, 3, 4))
    network = cg.MLP(features, (5, 2))
    params = network.initial(jax.random.key(0))
    assert [w.shape for w, _ in params] == [(4, 5), (5, 2), (2, 1)]
    assert all(np.all(np.asarray(offset) == 0) for _, offset in params)
    params = [(w, offset + 0.3 * k) for k, (w, offset) in enumerate(params)]
    (w0, b0), (w1, b1), (w2, b2) = (tuple(map(np.asarray, layer)) for layer in params)
    expected = np.tanh(np.tanh(features @ w0 + b0) @ w1 + b1) @ w2 + b2
    np.testing.assert_allclose(network(params), expected[..., 0], **ROUNDING)
    wide = cg.MLP(np.eye(400), (50,)).initial(jax.random.key(0))
    assert np.std(wide[0][0]) == pytest.approx(1 / 20, rel=0.05)


# What is remembered -----------------------------------------------------------------------------------------


def test_momentum_is_carried_from_round_to_round():
    rule, lr, decay = cg.MirrorDescent(1.0, 0.1), 0.05, 0.9
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(lr, momentum=decay), 3)
    found = history(learner, 5)
    start = np.log(np.array(COMAL_START))
    logits, velocity, policies = np.zeros(3), np.zeros(3), [start]
    for _ in range(5):
        now = policies[-1]
        target = 0.9 * now + 0.1 * start + np.asarray(CYCLE.skew) @ np.exp(now)
        for _ in range(3):
            error = log_normalize(start + logits) - target
            velocity = decay * velocity + 4 / 3 * (error - error.mean())
            logits = logits - lr * velocity
        policies.append(log_normalize(start + logits))
    np.testing.assert_allclose(found, policies, **ROUNDING)


def test_adam_counts_all_fit_steps():
    result = run(cg.Parametric(COMAL, cg.Tabular(), None, optax.adam(1e-2), 3), 5)
    assert result.state.optimizer_state[0].count == 15
    assert result.state.step == 5
    np.testing.assert_array_equal(result.queries, np.arange(6))


def test_replay_is_the_mean_of_the_policies_so_far():
    lr, rule = 0.2, cg.MirrorDescent(1.0, 0.1)
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(lr), 1, objectives.Regression("replay"))
    result = run(learner, 6)
    policies = np.exp(result.history["logp"])
    np.testing.assert_allclose(result.state.mean, policies.mean(0), **ROUNDING)
    # The last round by hand: pairs from the mean of the policies 0..5, gradient 4 m_i (error_i - E_m error).
    now, m = result.history["logp"][5], policies[:6].mean(0)
    target = 0.9 * now + 0.1 * np.log(COMAL_START) + np.asarray(CYCLE.skew) @ np.exp(now)
    slope = 4 * m * (now - target - m @ (now - target))
    np.testing.assert_allclose(result.history["logp"][6], log_normalize(now - lr * slope), **ROUNDING)


def test_every_gradient_step_draws_anew():
    """One pair moves two scores; were it the same in all of a round's steps, or in all rounds, no more."""
    drawing = objectives.Regression("uniform", num_pairs=1)
    one = cg.Parametric(RULE, cg.Tabular(), None, SGD, 1, drawing)
    many = cg.Parametric(RULE, cg.Tabular(), None, SGD, 12, drawing)
    init = random_policy(N, seed=1)
    results = [
        run(learner, rounds, GAME, init, key=KEY) for learner, rounds in ((one, 1), (many, 1), (one, 12))
    ]
    moved = [np.count_nonzero(np.abs(result.state.params) > 1e-9) for result in results]
    assert moved[0] in (0, 2)
    assert moved[1] > 2
    assert moved[2] > 2


# Other drivers ----------------------------------------------------------------------------------------------


def test_two_players_learn_by_regression():
    rng = np.random.default_rng(3)
    game = cg.ZeroSumGame(rng.normal(size=(3, 3)))
    init, rule = random_policy(2, 3, seed=4), cg.Extragradient(0.3, 0.2)
    learner = cg.Parametric(rule, cg.Tabular(), None, WHOLE_WAY, 1)
    np.testing.assert_allclose(history(learner, 30, game, init), history(rule, 30, game, init), **ROUNDING)


def test_seeds_and_algorithms_of_a_sweep_meet_the_noise_that_tables_meet():
    rules = {"slow": cg.MirrorDescent(0.3, 0.1), "fast": cg.MirrorDescent(1.0, 0.1)}
    learners = {f"{name}, fitted": cg.Parametric(rule, cg.Tabular(), None, WHOLE_WAY, 1)
                for name, rule in rules.items()}  # fmt: skip
    runs = cg.sweep(
        {"cycle": CYCLE}, {**rules, **learners}, 25, num_seeds=64, init=list(COMAL_START),
        feedback=lambda game: cg.Sampled(game, 10), metrics=(),
    )  # fmt: skip
    final = runs["final_policy"].sel(game="cycle")
    for name in rules:
        table, fitted = (final.sel(algorithm=label).values for label in (name, f"{name}, fitted"))
        np.testing.assert_allclose(fitted, table, rtol=0, atol=1e-11)
        assert table.shape == (64, 3)
        assert np.min(table.std(0)) > 0.01
    assert np.all(runs["status"] == "completed")


def counting_model():
    traces = []

    def scores(params):
        traces.append(params)
        return params

    return scores, traces


def test_fit_steps_periods_and_step_sizes_share_one_compilation():
    def learners(scores, choices):
        return {
            repr(choice): cg.Parametric(
                cg.COMAL(cg.MirrorDescent(choice[0], 0.2), choice[1]), scores, np.zeros(3), SGD, choice[2]
            )
            for choice in choices
        }

    numbers = []
    choices = [(1.0, 10, 1), (1.0, 10, 5), (0.5, 20, 5), (0.5, 12, 2)]
    for some in (choices[:1], choices):
        scores, traces = counting_model()
        runs = cg.sweep({"cycle": CYCLE}, learners(scores, some), 30, init=list(COMAL_START))
        numbers.append(len(traces))
    assert numbers[0] == numbers[1] > 0
    assert len(np.unique(runs["final_duality_gap"].values.round(12))) == len(choices)
    # Each is the run that it would be alone.
    alone = run(learners(lambda params: params, choices)[repr(choices[2])], 30).policy
    together = runs["final_policy"].sel(game="cycle", algorithm=repr(choices[2]), seed=0)
    np.testing.assert_allclose(together, alone, **ROUNDING)


def test_a_trajectory_may_be_mapped_over_numbers_and_starts():
    def final(step_size, num_fit_steps, logp):
        rule = cg.MirrorDescent(step_size, 0.2)
        learner = cg.Parametric(rule, cg.Tabular(), None, SGD, num_fit_steps)
        return cg.trajectory(CYCLE, learner, 6, logp=logp, metrics=()).state.logp

    sizes, counts = jnp.array([0.5, 1.0]), jnp.array([3, 7])
    starts = jnp.log(random_policy(2, 3, seed=7))
    together = jax.jit(jax.vmap(final))(sizes, counts, starts)
    for k in range(2):
        alone = run(
            cg.Parametric(cg.MirrorDescent(float(sizes[k]), 0.2), cg.Tabular(), None, SGD, int(counts[k])),
            6, init=np.exp(starts[k]),
        ).logp  # fmt: skip
        np.testing.assert_allclose(together[k], alone, **ROUNDING)


ALL = {
    "Regression": objectives.Regression("replay", 3),
    "LabelledPairs": objectives.LabelledPairs("uniform"),
    "Logistic": objectives.Logistic(),
    "Pointwise": objectives.Pointwise(),
    "PolicyGradient": objectives.PolicyGradient(2),
    "NCA": objectives.NCA(),
    "BCO": objectives.BCO(),
    "KTO": objectives.KTO(),
}


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
def test_float32_stays_float32(loss):
    game = cg.PreferenceGame.from_skew(np.asarray(CYCLE.skew, np.float32))
    network = cg.MLP(np.eye(3), (4,))
    learner = with_dtype(
        cg.Parametric(COMAL, network, network.initial(KEY), optax.adam(1e-2), 2, loss), game.dtype
    )
    for feedback in (None, cg.Sampled(game, 2)):
        state = jax.eval_shape(
            lambda ask=feedback: cg.trajectory(game, learner, 2, feedback=ask, key=KEY, metrics=()).state
        )
        floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        assert len(floats) > 12
        assert all(leaf.dtype == jnp.float32 for leaf in floats)


# What is refused --------------------------------------------------------------------------------------------

TABLE = cg.Tabular()
ONE_HOT = cg.MLP(np.eye(3))
LABELS = objectives.LabelledPairs()
REFUSED = {
    "features of four actions": (
        lambda: run(cg.Parametric(RULE, cg.LogLinear(np.eye(4)), None, SGD, 1), 1), "`logits`", "n = 3",
    ),
    "features of two prompts": (
        lambda: run(cg.Parametric(RULE, cg.LogLinear(np.ones((2, 3, 1))), None, SGD, 1), 1), "`logits`",
    ),
    "features that are nan": (lambda: cg.LogLinear([[1.0], [np.nan]]), "`features`", "(1, 0) is nan"),
    "features on one axis": (lambda: cg.MLP([1.0, 2.0]), "`features`", "[..., n, d]", "(2,)"),
    "params of other widths": (
        lambda: cg.solve(
            CYCLE,
            cg.Parametric(
                cg.MWU(1.0),
                cg.MLP(np.eye(3), (8,)),
                cg.MLP(np.eye(3), (4, 4)).initial(jax.random.key(0)),
                optax.sgd(0.1),
                1,
            ),
            1,
        ),
        "`params`",
        "`widths`",
        "(8,)",
        "(4, 4)",
    ),
    "no units": (lambda: cg.MLP(np.eye(3), (8, 0)), "`widths`", ">= 1"),
    "params of words": (lambda: cg.Parametric(RULE, TABLE, "zeros", SGD, 1), "`params`", "'zeros'"),
    "params of an object": (lambda: cg.Parametric(RULE, TABLE, object(), SGD, 1), "`params`", "object"),
    "no params of a network": (lambda: cg.Parametric(RULE, ONE_HOT, None, SGD, 1), "`params`", "None"),
    "no params of a function": (lambda: cg.Parametric(RULE, lambda x: x, None, SGD, 1), "`params`", "None"),
    "no model": (lambda: cg.Parametric(RULE, 3.0, None, SGD, 1), "`logits`", "Tabular()", "3.0"),
    "an optimizer that is a number": (lambda: cg.Parametric(RULE, TABLE, None, 0.1, 1), "`optimizer`", "0.1"),
    "an optimizer not made": (lambda: cg.Parametric(RULE, TABLE, None, optax.sgd, 1), "`optimizer`"),
    "no fit steps": (lambda: cg.Parametric(RULE, TABLE, None, SGD, 0), "`num_fit_steps`", ">= 1", "got 0"),
    "half a fit step": (lambda: cg.Parametric(RULE, TABLE, None, SGD, 1.5), "`num_fit_steps`", "1.5"),
    "a loss by name": (lambda: cg.Parametric(RULE, TABLE, None, SGD, 1, "dpo"), "`loss`", "'dpo'"),
    "a loss not made": (lambda: cg.Parametric(RULE, TABLE, None, SGD, 1, objectives.KTO), "`loss`", "KTO"),
    "labels for extragradient": (
        lambda: cg.Parametric(cg.Extragradient(1.0), TABLE, None, SGD, 1, LABELS),
        "`loss` LabelledPairs", "Extragradient", "Regression()",
    ),
    "win rates for optimism inside": (
        lambda: cg.Parametric(cg.OptimisticMWU(1.0), TABLE, None, SGD, 1, objectives.NCA()), "`loss` NCA",
    ),
    "labels of two players": (
        lambda: run(
            cg.Parametric(RULE, TABLE, None, SGD, 1, LABELS), 1, cg.ZeroSumGame(np.eye(3)), init=None
        ), "pairwise preferences", "ZeroSumGame",
    ),
    "a learner inside COMAL": (
        lambda: cg.COMAL(cg.Parametric(RULE, TABLE, None, SGD, 1), 10), "`inner`", "Parametric",
    ),
    "a learner as a rule": (
        lambda: cg.Parametric(cg.Parametric(RULE, TABLE, None, SGD, 1), TABLE, None, SGD, 1), "`inner`",
    ),
    "no rule": (lambda: cg.Parametric(0.1, TABLE, None, SGD, 1), "`inner`", "got 0.1", "a COMAL as in"),
    "no such distribution": (
        lambda: objectives.Regression("polcy"), "`distribution`", "Did you mean 'policy'",
    ),
    "no such distribution of labels": (lambda: objectives.LabelledPairs("mean"), "`distribution`", "replay"),
    "no such distribution of DPO": (lambda: objectives.Logistic(None), "`distribution`", "uniform"),
    "no pairs": (lambda: objectives.Regression(num_pairs=0), "`num_pairs`", ">= 1"),
    "no samples": (lambda: objectives.PolicyGradient(num_samples=0), "`num_samples`", ">= 1"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), [(call, words) for call, *words in REFUSED.values()], ids=REFUSED)
def test_what_is_refused(call: Any, words: list[str]) -> None:
    # Users run without the type checks of conftest.py, which would speak first.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
            call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert all(word in str(caught.value) for word in words), str(caught.value)
