"""Regularizers: what every divergence is, what COMAL makes of it, and that any function will do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import comalgames as cg
from comalgames import regularizers
from comalgames.regularizers import (
    alpha_divergence,
    check_regularizer,
    chi_squared,
    entropy,
    forward_kl,
    hellinger,
    jensen_shannon,
    kl,
    renyi,
    squared_l2,
    tsallis,
    weighted_sum,
)
from tests.helpers import COMAL_START, one_step, random_game, random_policy

# Those that the issue asks COMAL to work with: Renyi and alpha orders from 1/2 on.
DIVERGENCES = [
    *(kl, forward_kl, chi_squared, jensen_shannon, hellinger, squared_l2),
    *(tsallis(0.5), tsallis(1.5), tsallis(3), renyi(0.5), renyi(0.9), renyi(1)),
    *(alpha_divergence(0.5), alpha_divergence(1), alpha_divergence(2), alpha_divergence(3)),
    weighted_sum((0.5, kl), (0.5, forward_kl)),
]
OTHERS = [renyi(0.1), tsallis(0.2), alpha_divergence(-1), alpha_divergence(0), alpha_divergence(0.2)]
each_divergence = pytest.mark.parametrize("divergence", DIVERGENCES + OTHERS, ids=regularizers.name)

P, Q, REFERENCE = random_policy(3, 200, 5, seed=1)


def value(regularizer, p, reference):
    return np.asarray(regularizers.value(regularizer, jnp.log(p), jnp.log(reference)))


def gradient(regularizer, p, reference):
    return np.asarray(regularizers.gradient(regularizer, jnp.log(p), jnp.log(reference)))


def explicit_kl(p, reference):
    return jnp.sum(p * jnp.log(p / reference))


# What a divergence is


@each_divergence
def test_a_divergence_is_0_at_the_reference_and_only_there(divergence):
    np.testing.assert_allclose(value(divergence, REFERENCE, REFERENCE), 0, atol=1e-15)
    assert np.all(value(divergence, P, REFERENCE) > 1e-6)
    slope = gradient(divergence, REFERENCE, REFERENCE)
    np.testing.assert_allclose(slope - slope.mean(-1, keepdims=True), 0, atol=1e-13)


@each_divergence
def test_a_divergence_is_convex(divergence):
    ends, middle = value(divergence, np.stack([P, Q]), REFERENCE), value(divergence, (P + Q) / 2, REFERENCE)
    assert np.all(middle < ends.mean(0))


@each_divergence
def test_gradients_are_slopes(divergence):
    h = 1e-5 * P.min(-1, keepdims=True)
    towards = Q - P
    differences = value(divergence, P + h * towards, REFERENCE) - value(
        divergence, P - h * towards, REFERENCE
    )
    slopes = np.sum(gradient(divergence, P, REFERENCE) * towards, -1)
    size = np.abs(gradient(divergence, P, REFERENCE) * towards).sum(-1)
    # Rounding of the values over the length of the step.
    assert np.all(np.abs(differences / (2 * h[:, 0]) - slopes) < 1e-5 * (1 + size))


@pytest.mark.parametrize(
    ("divergence", "curvature"),
    [
        (kl, 1), (forward_kl, 1), (chi_squared, 2), (jensen_shannon, 1 / 4), (hellinger, 1 / 4),
        (tsallis(0.5), 0.5), (tsallis(3), 3), (renyi(0.3), 0.3), (alpha_divergence(-1), 1),
        (alpha_divergence(0.5), 1), (weighted_sum((0.5, kl), (2, chi_squared)), 4.5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_the_curvature_at_the_reference_is_the_stated_one(divergence, curvature):
    reference = REFERENCE[0]
    hessian = np.asarray(jax.hessian(divergence)(jnp.asarray(reference), jnp.asarray(reference)))
    tangent = np.eye(5) - 1 / 5
    expected = tangent @ np.diag(curvature / reference) @ tangent
    np.testing.assert_allclose(tangent @ hessian @ tangent, expected, rtol=0, atol=1e-11)


def test_divergences_by_their_formulas():
    p, r, mean = P, REFERENCE, (P + REFERENCE) / 2

    def power(a):
        return np.sum(p**a * r ** (1 - a), -1)

    def entropy_of(x):
        return -np.sum(x * np.log(x), -1)

    formulas = {
        jensen_shannon: entropy_of(mean) - (entropy_of(p) + entropy_of(r)) / 2,
        hellinger: 1 - np.sum(np.sqrt(p * r), -1),
        squared_l2: np.linalg.norm(p - r, axis=-1) ** 2,
        entropy: -entropy_of(p),
        tsallis(0.5): (power(0.5) - 1) / -0.5,
        tsallis(3): (power(3) - 1) / 2,
        renyi(0.3): np.log(power(0.3)) / -0.7,
        alpha_divergence(-1): (power(-1) - 1) / 2,
        alpha_divergence(0.3): (power(0.3) - 1) / (0.3 * -0.7),
        alpha_divergence(3): (power(3) - 1) / 6,
    }
    for divergence, expected in formulas.items():
        np.testing.assert_allclose(value(divergence, p, r), expected, rtol=1e-11, atol=1e-14)


def test_relations_between_divergences():
    def close(first, second):
        np.testing.assert_allclose(value(first, P, REFERENCE), second, rtol=1e-10)

    close(hellinger, value(alpha_divergence(0.5), P, REFERENCE) / 4)
    close(chi_squared, 2 * value(alpha_divergence(2), P, REFERENCE))
    close(chi_squared, value(tsallis(2), P, REFERENCE))
    close(tsallis(0.4), 0.4 * value(alpha_divergence(0.4), P, REFERENCE))
    close(alpha_divergence(0.3), value(alpha_divergence(0.7), REFERENCE, P))
    close(renyi(0.5), -2 * np.log(1 - value(hellinger, P, REFERENCE)))
    close(jensen_shannon, value(jensen_shannon, REFERENCE, P))
    distance = np.abs(P - REFERENCE).sum(-1)
    assert np.all(value(kl, P, REFERENCE) >= distance**2 / 2)  # Pinsker
    assert np.all(value(chi_squared, P, REFERENCE) >= distance**2)
    far = [
        value(d, np.array([1 - 1e-12, 1e-12]), np.array([1e-12, 1 - 1e-12]))
        for d in (jensen_shannon, hellinger)
    ]
    np.testing.assert_allclose(far, [np.log(2), 1], atol=1e-5)
    assert far[0] < np.log(2)
    # Renyi and Tsallis divergences rise with their orders.
    for family in (renyi, tsallis):
        rising = np.array([value(family(order), P, REFERENCE) for order in (0.1, 0.5, 0.9, 1)])
        assert np.all(np.diff(rising, axis=0) > 0)


@pytest.mark.parametrize(
    ("family", "order", "limit"),
    [(tsallis, 1, kl), (alpha_divergence, 1, kl), (alpha_divergence, 0, forward_kl), (renyi, 1, kl)],
)
def test_limits_are_exact_and_approached_without_cancellation(family, order, limit):
    for evaluate in (value, gradient):
        expected = evaluate(limit, P, REFERENCE)
        np.testing.assert_array_equal(evaluate(family(order), P, REFERENCE), expected)
        near = evaluate(family(order - 1e-9), P, REFERENCE)
        if evaluate is gradient:  # a constant is no slope on the simplex
            near, expected = (x - x.mean(-1, keepdims=True) for x in (near, expected))
        # Naively the error would be 1e-16 / 1e-9.
        np.testing.assert_allclose(near, expected, rtol=1e-8, atol=1e-8)
        assert np.abs(near - expected).max() > 0


def test_divergences_made_twice_are_one_and_are_written_as_they_are_made():
    assert tsallis(2) == tsallis(2.0) != tsallis(3)
    assert renyi(0.5) != tsallis(0.5)
    assert hash(renyi(0.5)) == hash(renyi(0.5))
    mixed = weighted_sum((0.5, kl), (1, renyi(0.5)))
    assert mixed == weighted_sum((0.5, kl), (1.0, renyi(0.5))) != weighted_sum((0.5, kl))
    assert repr(renyi(0.5)) == "renyi(0.5)"
    assert repr(mixed) == "weighted_sum((0.5, kl), (1.0, renyi(0.5)))"
    assert "regularizer=renyi(0.5)" in repr(cg.RegularizedMirrorDescent(1.0, 0.1, renyi(0.5)))
    rules = [cg.RegularizedMirrorDescent(1.0, 0.1, alpha_divergence(0.5)) for _ in range(2)]
    assert jax.tree.structure(rules[0]) == jax.tree.structure(rules[1])


@each_divergence
def test_divergences_stay_finite_where_probabilities_underflow(divergence):
    logp = jnp.log(jnp.array([0.5, 0.5, 1e-3])) - jnp.array([0.0, 0.0, 5000.0])
    for near in (logp, logp + jnp.array([0.1, -0.1, 300.0])):
        assert np.isfinite(regularizers.value(divergence, near, logp))
        assert np.all(np.isfinite(regularizers.gradient(divergence, near, logp)))


# Any function, in a rule


def test_mirror_descent_on_an_explicit_kl_is_mirror_descent():
    game, start, reference = random_game(6), random_policy(6, seed=1), random_policy(6, seed=2)
    found = one_step(cg.RegularizedMirrorDescent(0.8, 0.3, explicit_kl), game, start, reference, num_steps=40)
    explicit = one_step(cg.MirrorDescent(0.8, 0.3), game, start, reference, num_steps=40)
    np.testing.assert_allclose(found, explicit, rtol=0, atol=1e-12)


BIASED = np.array([[0, -1, 3], [1, 0, -1], [-3, 1, 0]]) / 6
CYCLES = cg.PreferenceGame.from_skew(np.stack([np.asarray(cg.games.comal_cycle().skew), BIASED]))
TENS = cg.PreferenceGame.from_skew(
    np.stack([np.asarray(cg.games.random(jax.random.key(seed), 10).skew) for seed in range(10)])
)


def test_the_biased_game_is_rock_paper_scissors():
    np.testing.assert_allclose(cg.games.rock_paper_scissors(3, 1, 1).skew, BIASED, rtol=0, atol=1e-16)


@jax.jit
def long_run(rule, game, logp):
    return cg.trajectory(game, rule, 20_000, logp=logp, metrics=()).state.logp


# Those of order 1 are `kl` to the bit.
@pytest.mark.parametrize(
    "divergence", [d for d in DIVERGENCES if d not in (renyi(1), alpha_divergence(1))], ids=regularizers.name
)
def test_comal_with_every_divergence_reaches_nash(divergence):
    rule = cg.COMAL(cg.RegularizedMirrorDescent(1.0, 0.1, divergence), period=50)
    logp = long_run(rule, CYCLES, jnp.log(jnp.array(COMAL_START)))
    assert np.all(cg.duality_gap(CYCLES, logp) <= 1e-12)
    np.testing.assert_allclose(np.exp(logp), [[4 / 11, 3 / 11, 4 / 11], [0.2, 0.6, 0.2]], rtol=0, atol=1e-10)
    # Where answers are dominated, log-probabilities fall without end.
    logp = np.asarray(long_run(rule, TENS, TENS.uniform()))
    assert np.all(np.isfinite(logp))
    assert logp.min() < -1000
    assert np.all(cg.duality_gap(TENS, logp) < 0.1)


# Equilibria and gaps

# Steep at the boundary and not, bounded and not.
SOLVED = [squared_l2, chi_squared, jensen_shannon, forward_kl, explicit_kl]
each_solved = pytest.mark.parametrize("regularizer", SOLVED, ids=regularizers.name)


@each_solved
def test_the_equilibrium_satisfies_its_conditions(regularizer):
    """The regularized payoff is level on the support and not above that elsewhere."""
    game, reference = random_game(6, prompts=(8,)), random_policy(6, seed=5)
    zeros = 0
    for temperature in (0.01, 0.3):
        policy = cg.qre(game, temperature, reference, regularizer).policy
        np.testing.assert_allclose(policy.sum(-1), 1, rtol=1e-14)
        references = np.broadcast_to(reference, policy.shape)
        payoff = np.einsum("bij,bj->bi", game.skew, policy)
        payoff = payoff - temperature * gradient(regularizer, policy, references)
        worst = payoff.max(-1) - np.sum(policy * payoff, -1)
        assert np.all(worst <= 5e-13)
        zeros += np.sum(policy < 1e-13)
        gaps = np.asarray(
            cg.regularized_gap(temperature, np.log(reference), regularizer)(game, np.log(policy))
        )
        assert np.all((gaps >= 0) & (gaps <= 1e-12))
    # A slope that is finite at 0 lets dominated answers go.
    assert (zeros > 0) == (regularizer in (squared_l2, chi_squared)) or regularizer in (
        jensen_shannon,
        explicit_kl,
    )


@each_solved
def test_the_gap_is_what_scipys_best_response_gains(regularizer):
    game, reference, temperature = random_game(6, prompts=(8,)), random_policy(6, seed=5), 0.05
    policies = random_policy(8, 6, seed=6)
    metric = cg.regularized_gap(temperature, np.log(reference), regularizer)
    gaps = np.asarray(metric(game, np.log(policies)))
    slope = jax.jit(jax.value_and_grad(regularizer))
    for skew, policy, gap in zip(np.asarray(game.skew), policies, gaps, strict=True):
        advantage = skew @ policy

        def loss(p, advantage=advantage):
            penalty, rise = slope(jnp.asarray(np.maximum(p, 1e-100)), jnp.asarray(reference))
            return float(temperature * penalty - p @ advantage), np.asarray(temperature * rise - advantage)

        found = scipy.optimize.minimize(
            loss, reference, jac=True, bounds=[(1e-14, 1)] * 6, method="SLSQP",
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1}, options={"ftol": 1e-15, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(gap, 2 * (loss(policy)[0] - found.fun), rtol=0, atol=1e-7)


def test_the_general_solver_agrees_with_newtons_method_for_kl():
    game, reference = random_game(6, prompts=(8,)), random_policy(6, seed=5)
    for temperature in (0.01, 0.3):
        found = cg.qre(game, temperature, reference, explicit_kl).policy
        np.testing.assert_allclose(found, cg.qre(game, temperature, reference).policy, rtol=0, atol=1e-12)
        policies = np.log(random_policy(8, 6, seed=6))
        gaps = [
            cg.regularized_gap(temperature, np.log(reference), regularizer)(game, policies)
            for regularizer in (kl, explicit_kl)
        ]
        np.testing.assert_allclose(*gaps, rtol=0, atol=1e-14)


def test_the_equilibrium_is_where_the_rule_stops():
    game, reference = cg.games.comal_cycle(), np.array([0.2, 0.5, 0.3])
    for regularizer in (jensen_shannon,):
        rule = cg.RegularizedMirrorDescent(0.5, 0.3, regularizer)
        metric = {"gap": cg.regularized_gap(0.3, np.log(reference), regularizer)}
        result = cg.solve(game, rule, 2000, reference=reference, metrics=metric, record_every=1000)
        np.testing.assert_allclose(
            result.policy, cg.qre(game, 0.3, reference, regularizer).policy, rtol=0, atol=1e-9
        )
        assert result.history["gap"][0] > 1e-3 > 1e-12 > result.history["gap"][-1]


def test_the_gap_of_two_players_is_the_sum_of_what_they_gain():
    """A symmetric game played by two is the preference game; and rules for two end at gap 0."""
    skew, reference = np.asarray(random_game(4).skew), random_policy(4, seed=1)
    first, second = random_policy(2, 4, seed=2)
    metric = cg.regularized_gap(0.2, np.log(reference), chi_squared)
    one, two = cg.PreferenceGame.from_skew(skew), cg.ZeroSumGame(skew)
    both = metric(two, np.log([first, first]))
    np.testing.assert_allclose(both, metric(one, np.log(first)), rtol=1e-12)
    # max over p of <p, u> - tau chi2 has p - reference = reference (u - mean u) / (2 tau) if that is > 0.
    gains = 0.0
    metric = cg.regularized_gap(2.0, np.log(reference), chi_squared)
    for own, utility in ((first, skew @ second), (second, skew @ first)):
        best = reference * (1 + (utility - reference @ utility) / 4)
        assert best.min() > 0
        best_value, own_value = (
            p @ utility - 2 * np.sum((p - reference) ** 2 / reference) for p in (best, own)
        )
        gains += best_value - own_value
    np.testing.assert_allclose(metric(two, np.log([first, second])), gains, rtol=1e-12)


def test_the_gap_can_be_differentiated_and_vmapped():
    game, reference = random_game(4), np.log(random_policy(4, seed=1))
    metric, logp = cg.regularized_gap(0.2, reference, squared_l2), jnp.log(random_policy(3, 4, seed=2))
    gaps = jax.jit(jax.vmap(lambda logp: metric(game, logp)))(logp)
    np.testing.assert_allclose(gaps, metric(game, logp), rtol=1e-13)

    def of_scores(scores):
        return jnp.sum(metric(game, jax.nn.log_softmax(scores)))

    slope, h = jax.grad(of_scores)(logp), 1e-5
    for k in np.ndindex(3, 4):
        change = np.zeros((3, 4))
        change[k] = h
        difference = float(of_scores(logp + change) - of_scores(logp - change)) / (2 * h)
        np.testing.assert_allclose(slope[k], difference, rtol=0, atol=1e-9)


def test_what_is_not_smooth_is_not_solved_silently():
    def distance(p, reference):
        return jnp.sum(jnp.abs(p - reference))

    game, start = cg.games.comal_cycle(), np.array(COMAL_START)
    assert cg.qre(game, 1.0, start, distance).status == "failed"
    assert np.isnan(cg.regularized_gap(1.0, np.log(start), distance)(game, np.log([0.3, 0.3, 0.4])))


def test_a_small_kink_is_refused_as_a_large_one_is():
    """Payoffs of 2e-4 against a kink of 1e-4: what is left to gain is of that size, far above 1e-12."""

    def kinked(p, reference):
        return chi_squared(p, reference) + 1e-4 * jnp.sum(jnp.abs(p - reference))

    game = cg.PreferenceGame.from_skew(1e-3 * cg.games.comal_cycle().skew)
    solution = cg.qre(game, 1.0, COMAL_START, kinked)
    assert solution.status == "failed"
    assert 1e-7 < solution.regularized_gap < 1e-3


# check_regularizer


def test_the_report_on_every_divergence():
    for divergence in DIVERGENCES + OTHERS:
        report = check_regularizer(divergence)
        unbounded = divergence == forward_kl or "forward" in repr(divergence)
        unbounded |= divergence in (alpha_divergence(-1), alpha_divergence(0))
        assert report[:8] == (True,) * 8, (divergence, report)
        assert report.finite_at_boundary != unbounded, divergence
        assert report.suits_comal
    assert "suitable for COMAL" in report.sentences[0]
    assert check_regularizer(chi_squared, 7, random_policy(7)).suits_comal


@pytest.mark.parametrize(
    ("regularizer", "denied", "words"),
    [
        (lambda p, r: jnp.log(jnp.sum(p**2 / r)), {"convex", "strictly_convex"}, "not convex"),
        (
            entropy,
            {"minimal_at_reference", "zero_at_reference", "depends_on_reference"},
            "ignores the reference",
        ),
        (
            lambda p, r: jnp.sum(p * jnp.arange(4.0)),
            {
                "strictly_convex",
                "minimal_at_reference",
                "zero_at_reference",
                "depends_on_reference",
                "curved_at_reference",
            },
            "constant or linear along some direction",
        ),
        (
            lambda p, r: jnp.sum((p - r**2 / jnp.sum(r**2)) ** 2),
            {"minimal_at_reference", "zero_at_reference"},
            "fixed point is not a Nash policy",
        ),
        (
            lambda p, r: jnp.sum(jnp.abs(p - r)),
            {"differentiable", "strictly_convex", "curved_at_reference"},
            "slope jumps",
        ),
        (lambda p, r: jnp.sum((p - r) ** 2) + 3, {"zero_at_reference"}, "changes no step"),
        (lambda p, r: (p[0] - r[0]) ** 2, {"strictly_convex", "curved_at_reference"}, "many equilibria"),
    ],
)
def test_the_report_on_what_lacks_something(regularizer, denied, words):
    report = check_regularizer(regularizer)
    fields = report._fields[:8]
    assert {field for field, holds in zip(fields, report, strict=False) if not holds} == denied
    assert any(words in sentence for sentence in report.sentences)
    assert report.suits_comal == (denied == {"zero_at_reference"})
    lines = repr(report).splitlines()
    assert re.fullmatch(r"convex +(yes|no)", lines[2])


@pytest.mark.parametrize("power", [3, 4, 6])
def test_the_report_on_what_is_flat_at_the_reference(power):
    """Powers above 2 are strictly convex, minimal and smooth, and their second derivative at 0 is 0."""
    report = check_regularizer(lambda p, r: jnp.sum(jnp.abs(p - r) ** power))
    assert not report.curved_at_reference
    assert not report.suits_comal
    assert any("no finite positive curvature" in sentence for sentence in report.sentences)
    assert not check_regularizer(lambda p, r: jnp.sum(jnp.abs(p - r) ** 1.5)).curved_at_reference
    assert check_regularizer(lambda p, r: jnp.sum((p - r) ** power) + kl(p, r) / 10).curved_at_reference


# Functions of a divergence without a linear term. Their curvature at the reference is 0 up to rounding errors
# of either sign, which are relative to the square of the divergence's slope, or to its value.
FLAT = {
    "square of KL": lambda p, r: kl(p, r) ** 2,
    "square of forward KL": lambda p, r: forward_kl(p, r) ** 2,
    "square of chi-squared": lambda p, r: chi_squared(p, r) ** 2,
    "square of Jensen-Shannon": lambda p, r: (kl(p, (p + r) / 2) + kl(r, (p + r) / 2)) ** 2,
    "exponential of KL": lambda p, r: jnp.exp(kl(p, r)) - 1 - kl(p, r),
    "hyperbolic cosine of KL": lambda p, r: jnp.cosh(kl(p, r)) - 1,
}


@pytest.mark.parametrize("reference", [None, np.arange(1.0, 6.0) / 15], ids=["random", "rising"])
@pytest.mark.parametrize("name", FLAT)
def test_rounding_errors_are_no_curvature(name, reference):
    num_actions = 2 if reference is None else len(reference)
    assert not check_regularizer(FLAT[name], num_actions, reference=reference).curved_at_reference
    assert cg.regularizers.curvature(FLAT[name]) == 1.0  # cannot be determined


@pytest.mark.parametrize("least", [1e-6, 1e-11, 1e-15])
def test_unlikely_actions_do_not_hide_the_curvature(least):
    """KL's curvature is the inverse of the probability, and that of squares is 2."""
    reference = [least, 0.4, 0.6 - least]
    for regularizer in (kl, chi_squared, lambda p, r: jnp.sum((p - r) ** 2)):
        assert check_regularizer(regularizer, 3, reference=reference).curved_at_reference
    assert not check_regularizer(
        lambda p, r: jnp.sum((p - r) ** 4), 3, reference=reference
    ).curved_at_reference


SCALED = {
    "kl": kl,
    "chi_squared": chi_squared,
    "kl + 1": lambda p, r: kl(p, r) + 1,
    "entropy": entropy,
    "total variation": lambda p, r: jnp.sum(jnp.abs(p - r)),
    "concave": lambda p, r: -kl(p, r),
    "flat": lambda p, r: jnp.sum((p - r) ** 4),
    "one action": lambda p, r: (p[0] - r[0]) ** 2,
}


@pytest.mark.parametrize("name", SCALED)
def test_a_factor_changes_no_property(name):
    report = check_regularizer(SCALED[name])
    for scale in (1e-100, 1e-12, 1e-3, 1e6, 1e100):

        def scaled(p, r, scale=scale):
            return scale * SCALED[name](p, r)

        assert check_regularizer(scaled) == report
        structure = cg.regularizers.ignores_reference, cg.regularizers.is_separable
        assert [holds(scaled) for holds in structure] == [holds(SCALED[name]) for holds in structure]


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e6])
def test_the_curvature_is_proportional_to_a_factor(scale):
    assert cg.regularizers.curvature(lambda p, r: scale * kl(p, r)) == pytest.approx(scale, rel=1e-9)


def test_a_tiny_factor_is_a_temperature():
    """1e-12 KL at temperature 1e11 is KL at temperature 0.1, in a step and inside of COMAL."""

    def tiny(p, r):
        return 1e-12 * kl(p, r)

    ends = [
        cg.solve(
            cg.games.comal_cycle(),
            cg.COMAL(cg.RegularizedMirrorDescent(1.0, temperature, regularizer), 20),
            200,
            init=COMAL_START,
        ).policy
        for temperature, regularizer in ((0.1, kl), (1e11, tiny))
    ]
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)


def test_the_report_on_what_returns_nan():
    report = check_regularizer(lambda p, r: jnp.sqrt(-jnp.sum(p * r)))
    assert not report.finite
    assert not report.suits_comal
    assert "nan or infinite" in report.sentences[0]


# Bad input


def one_argument(p):
    return jnp.sum(p**2)


def in_numpy(p, reference):
    return np.sum(p * np.log(p / reference))


def branching(p, reference):
    return p[0] if p[0] > reference[0] else reference[0]


def kinked(p, reference):
    return jnp.linalg.norm(p - reference)


def imaginary(p, reference):
    return jnp.sqrt(-jnp.sum(p * reference))


class Unhashable:
    __hash__ = None

    def __call__(self, p, reference):
        return jnp.sum((p - reference) ** 2)


WRONG = [
    (one_argument, r"must take two probability vectors \(p, reference\), but 'one_argument' takes \(p\)"),
    (in_numpy, "must be written in jax.numpy: 'in_numpy'"),
    (branching, "must be written in jax.numpy: 'branching'"),
    (kinked, "the gradient of 'kinked' is .*nan.* at p = "),
    (imaginary, "'imaginary' is nan at p = "),
    (Unhashable(), "must be hashable"),
    (lambda p, r: p - r, "must return one real number"),
    (None, "must be a function"),
]


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_what_is_no_regularizer_is_refused_everywhere(wrong, words):
    for make in (
        lambda: cg.RegularizedMirrorDescent(1.0, 0.1, wrong),
        lambda: jax.vmap(lambda s: cg.RegularizedMirrorDescent(s, 0.1, wrong))(jnp.ones(2)),
        lambda: cg.regularized_gap(0.1, np.log([0.5, 0.5]), wrong),
        lambda: cg.qre(cg.games.comal_cycle(), 0.1, None, wrong).policy,
    ):
        with pytest.raises(ValueError, match="(?s)`regularizer` .*" + words):
            make()


def test_rules_made_under_vmap_check_and_run():
    steps = jnp.array([0.5, 1.0])
    rules = jax.vmap(lambda s: cg.COMAL(cg.RegularizedMirrorDescent(s, 0.1, renyi(0.7)), 20))(steps)
    np.testing.assert_array_equal(rules.inner.step_size, steps)
    # Renyi of order 0.7 curves 0.7 times as much as KL, so it pulls as much less.
    np.testing.assert_allclose(jax.vmap(lambda rule: rule.form(0).pull)(rules), 0.07 * steps, rtol=1e-12)


@pytest.mark.parametrize(
    ("divergence", "weight"),
    [(jensen_shannon, 1.0), (hellinger, 1.0), (tsallis(0.25), 1.0), (kl, 0.25)],
    ids=["jensen_shannon", "hellinger", "tsallis", "kl"],
)
def test_comal_asks_for_a_longer_period_where_the_regularizer_pulls_less(divergence, weight):
    rule = cg.RegularizedMirrorDescent(0.5, 0.1, weighted_sum((weight, divergence)))
    assert rule.form(0).pull == pytest.approx(0.0125, rel=1e-9)
    assert rule.shortest_period == pytest.approx(48, rel=1e-9)
    with pytest.warns(UserWarning, match="period=48 would suffice"):
        short = cg.solve(cg.games.comal_cycle(), cg.COMAL(rule, 12), 8000, init=COMAL_START, record_every=100)
    enough = cg.solve(cg.games.comal_cycle(), cg.COMAL(rule, 48), 8000, init=COMAL_START, record_every=100)
    assert enough.duality_gap < 1e-6 < 0.1 < short.duality_gap


def test_a_regularizer_made_for_one_number_of_actions_is_taken():
    costs = jnp.arange(1.0, 8.0)
    cg.RegularizedMirrorDescent(1.0, 0.1, lambda p, r: jnp.sum(costs * (p - r) ** 2))
    with pytest.raises(ValueError, match=r"policies over 4 actions .* Pass the `num_actions`"):
        check_regularizer(lambda p, r: jnp.sum(costs * (p - r) ** 2))
    assert check_regularizer(lambda p, r: jnp.sum(costs * (p - r) ** 2), 7).suits_comal


def test_comal_refuses_what_ignores_the_reference():
    def tilted(p, reference):
        return jnp.sum(p**2) + jnp.sum(reference**2)

    for regularizer, called in (
        (entropy, "'entropy'"),
        (tilted, "'tilted'"),
        (weighted_sum((2, entropy)), "'weighted_sum((2.0, entropy))'"),
    ):
        rule = cg.RegularizedMirrorDescent(1.0, 0.1, regularizer)
        assert rule.form(0).pull == 0
        with pytest.raises(ValueError, match=re.escape(f"{called} ignores the reference")):
            cg.COMAL(rule, 50)
    cg.COMAL(cg.RegularizedMirrorDescent(1.0, 0.1, weighted_sum((1, entropy), (0.1, kl))), 50)
    # It is no mistake without COMAL: the equilibrium is that of KL to the uniform policy.
    found = cg.qre(cg.games.comal_cycle(), 0.2, COMAL_START, entropy).policy
    np.testing.assert_allclose(found, cg.qre(cg.games.comal_cycle(), 0.2).policy, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tsallis(0), "`q` must be a finite number > 0, got 0"),
        (lambda: tsallis(np.inf), "`q` must be a finite number > 0"),
        (lambda: renyi(0), "`alpha` must be a finite number > 0"),
        (lambda: renyi(2), r"`alpha` must be in \(0, 1\], got 2: .*not convex"),
        (lambda: alpha_divergence(np.nan), "`a` must be a finite number, got nan"),
        (lambda: alpha_divergence("1"), "`a` must be a finite number, got '1'"),
        (
            lambda: jax.vmap(lambda a: renyi(a)(a, a))(jnp.ones(2)),
            "`alpha` must be a number that is",
        ),
        (lambda: weighted_sum(), "`terms` must be pairs"),
        (lambda: weighted_sum((kl, 0.5)), "`terms` must be pairs"),
        (lambda: weighted_sum((-1, kl)), "`weight` must be a finite number > 0, got -1"),
        (lambda: check_regularizer(kl, 1), "`num_actions` must be a whole number >= 2"),
        (lambda: check_regularizer(kl, 4, [0.5, 0.5]), "`reference` must be a policy over 4 actions"),
    ],
)
@pytest.mark.usefixtures("as_users_have_it")
def test_arguments_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
