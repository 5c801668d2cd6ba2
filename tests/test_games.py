"""The mathematics of games and of what is measured on them."""

import itertools
import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import comalgames as cg
from comalgames import games
from comalgames.numerics import simplex

EPS = np.finfo(np.float64).eps

# An advantage is a sum of n products below 1/2 of rounded numbers: a few roundings, whatever n is here.
ROUNDING = 8 * EPS


def log(policy):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(policy, np.float64))


def random_policies(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), size=shape[:-1])


# Games with a Nash policy in closed form

CLOSED_FORM = {
    "comal_cycle()": (games.comal_cycle(), [4 / 11, 3 / 11, 4 / 11]),
    "rock_paper_scissors()": (games.rock_paper_scissors(), [1 / 3, 1 / 3, 1 / 3]),
    "rock_paper_scissors(3, 1, 1)": (games.rock_paper_scissors(3, 1, 1), [1 / 5, 3 / 5, 1 / 5]),
    "rock_paper_scissors(1, 2, 4)": (games.rock_paper_scissors(1, 2, 4), [4 / 7, 1 / 7, 2 / 7]),
    "cycle(0.1, 0.2, 0.5)": (games.cycle(0.1, 0.2, 0.5), [2 / 8, 5 / 8, 1 / 8]),
    "cycle(-0.4, -0.1, -0.3)": (games.cycle(-0.4, -0.1, -0.3), [1 / 8, 3 / 8, 4 / 8]),
    "bradley_terry([0, 3, 1])": (games.bradley_terry([0, 3, 1]), [0, 1, 0]),
    "bradley_terry([5, -5])": (games.bradley_terry([5.0, -5.0]), [1, 0]),
}


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_the_nash_policy_in_closed_form_has_no_gap_and_its_neighbours_have(name):
    game, nash = CLOSED_FORM[name]
    assert abs(cg.duality_gap(game, log(nash))) <= ROUNDING
    assert abs(cg.worst_win_rate(game, log(nash)) - 0.5) <= ROUNDING
    nearby = 0.99 * np.array(nash) + 0.01 * random_policies(len(nash))
    assert cg.duality_gap(game, log(nearby)) > 1e-4


@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.1, 0.2, 0.5), (-0.4, -0.1, -0.3), (0.5, 0.5, 0.01), (-0.4, -0.4, -0.3)]
)
def test_a_cycle_has_the_edges_the_nash_policy_and_the_frequency_of_its_docstring(a, b, c):
    game = games.cycle(a, b, c)
    P = np.asarray(game.preference)
    np.testing.assert_allclose([P[0, 1], P[1, 2], P[2, 0]], np.array([a, b, c]) + 0.5, rtol=0, atol=EPS)
    total = abs(a) + abs(b) + abs(c)
    nash = np.abs([b, c, a]) / total
    assert abs(cg.duality_gap(game, log(nash))) <= ROUNDING
    # A small deviation evolves by diag(nash) A; its eigenvalues are 0 and +-i w.
    frequency = np.abs(np.linalg.eigvals(np.diag(nash) @ np.asarray(game.skew)).imag).max()
    np.testing.assert_allclose(frequency, math.sqrt(abs(a * b * c) / total), rtol=1e-12)


def test_comal_cycle_is_the_published_table():
    game = games.comal_cycle()
    index = {name: i for i, name in enumerate(game.names)}
    P = np.asarray(game.preference)
    for winner, loser, rate in (("b", "a", 0.9), ("c", "b", 0.9), ("a", "c", 0.8)):
        assert P[index[winner], index[loser]] == pytest.approx(rate, abs=EPS)
    np.testing.assert_allclose(game.skew, games.cycle(-0.4, -0.4, -0.3).skew, rtol=0, atol=EPS)
    # Worked by hand for (0.2, 0.5, 0.3): advantages -0.11, -0.04 and 0.14.
    advantage = game.advantage(log([0.2, 0.5, 0.3]))
    np.testing.assert_allclose(advantage, [-0.11, -0.04, 0.14], rtol=0, atol=ROUNDING)
    assert cg.duality_gap(game, log([0.2, 0.5, 0.3])) == pytest.approx(0.28, abs=ROUNDING)


def test_biased_rock_paper_scissors_is_the_table_of_its_docstring():
    table = np.array([[0, -1, 3], [1, 0, -1], [-3, 1, 0]]) / 6
    np.testing.assert_allclose(games.rock_paper_scissors(3, 1, 1).skew, table, rtol=0, atol=EPS)


# Matrices


def skew_games():
    key = jax.random.key(3)
    noisy = np.array([[0.5, 0.7 + 4e-7], [0.3, 0.5]])
    for dtype in (np.float32, np.float64):
        scores = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(dtype)
        yield "bradley_terry", dtype, games.bradley_terry(scores)
        yield "bradley_terry_mixture", dtype, games.bradley_terry_mixture(scores)
        yield "PreferenceGame", dtype, cg.PreferenceGame(noisy.astype(dtype))
        yield "from_skew", dtype, cg.PreferenceGame.from_skew(np.array([[0, 0.1], [-0.1, 0]], dtype))
    yield "random", np.float64, games.random(key, 7, (4,))
    yield "cycle", np.float64, games.cycle(0.1, 0.2, 0.3)
    yield "rock_paper_scissors", np.float64, games.rock_paper_scissors(3.0, 1.0, 0.7)
    yield "mariner", np.float64, games.mariner()


@pytest.mark.parametrize(("name", "dtype", "game"), list(skew_games()))
def test_payoffs_are_skew_to_the_last_bit(name, dtype, game):
    A = np.asarray(game.skew)
    assert A.dtype == game.dtype == dtype
    assert np.array_equal(A, -A.swapaxes(-1, -2))
    assert np.abs(A).max() <= 0.5


def test_preferences_that_disagree_a_little_are_averaged():
    game = cg.PreferenceGame([[0.5, 0.7 + 4e-7], [0.3, 0.5]])
    assert game.preference[0, 1] == pytest.approx(0.7 + 2e-7, abs=1e-15)


def test_float32_keeps_small_advantages():
    scores = np.array([0.0, 1e-6, 3e-6], np.float32)
    game = games.bradley_terry(scores)
    found = game.advantage(jnp.log(jnp.full(3, 1 / 3, jnp.float32)))
    # float64, from the definition. The preferences themselves, 1/2 + 2e-7, are 1/2 to float32's 6e-8 and lose
    # these.
    s = scores.astype(np.float64)
    exact = (np.tanh((s[:, None] - s) / 2) / 2).mean(axis=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=8 * np.finfo(np.float32).eps)


def test_from_skew_is_the_game_with_half_added():
    skew = np.array([[0, 0.25, -0.5], [-0.25, 0, 0.125], [0.5, -0.125, 0]])
    assert np.array_equal(cg.PreferenceGame.from_skew(skew).preference, skew + 0.5)
    assert np.array_equal(cg.PreferenceGame(skew + 0.5).skew, skew)


def test_random_preferences_below_the_diagonal_are_uniform_and_independent():
    game = games.random(jax.random.key(0), 10, (300,))
    assert game.skew.shape == (300, 10, 10)
    rows, columns = np.tril_indices(10, -1)
    x = np.asarray(game.preference)[:, rows, columns]  # [300, 45]
    centred = x - 0.5
    # (sample mean, expectation and variance of one term) of three moments, and of products of neighbouring
    # entries of one game and of neighbouring games. Five standard errors: a chance of 6e-7 each, and the seed
    # is fixed.
    for terms, mean, variance in (
        (centred, 0, 1 / 12),
        (centred**2, 1 / 12, 1 / 180),
        (centred**4, 1 / 80, 1 / 2304 - 1 / 6400),
        (centred[:, 1:] * centred[:, :-1], 0, 1 / 144),
        (centred[1:] * centred[:-1], 0, 1 / 144),
    ):
        assert abs(terms.mean() - mean) < 5 * math.sqrt(variance / terms.size)
    # The whole law: Kolmogorov-Smirnov, whose statistic exceeds 2.5 / sqrt(N) with probability 7e-6.
    assert scipy.stats.kstest(x.ravel(), "uniform").statistic < 2.5 / math.sqrt(x.size)


def test_random_draws_another_game_for_another_key_only():
    first, again, other = (games.random(jax.random.key(seed), 4).skew for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.any(first[np.tril_indices(4, -1)] == other[np.tril_indices(4, -1)])


def test_bradley_terry_is_the_sigmoid_of_score_differences():
    scores = np.random.default_rng(1).normal(scale=3, size=(2, 6))
    P = 1 / (1 + np.exp(scores[:, None, :] - scores[:, :, None]))
    np.testing.assert_allclose(games.bradley_terry(scores).preference, P, rtol=0, atol=4 * EPS)
    weights = np.array([0.3, 0.7])
    mixture = np.tensordot(weights, P, 1)
    np.testing.assert_allclose(
        games.bradley_terry_mixture(scores, weights).preference, mixture, rtol=0, atol=4 * EPS
    )
    np.testing.assert_allclose(
        games.bradley_terry_mixture(scores).preference, P.mean(axis=0), rtol=0, atol=4 * EPS
    )


def test_the_highest_score_is_the_nash_policy():
    scores = np.random.default_rng(2).normal(size=(20, 5))
    game = games.bradley_terry(scores)
    best = np.eye(5)[scores.argmax(axis=1)]
    assert np.abs(cg.duality_gap(game, log(best))).max() <= ROUNDING
    second = np.eye(5)[scores.argsort(axis=1)[:, -2]]
    assert cg.duality_gap(game, log(second)).min() > 0


def has_majority_cycle(skew):
    """Whether some three actions beat each other in a circle, as some do wherever any number does."""
    beats = np.asarray(skew) > 0
    triples = itertools.permutations(range(len(beats)), 3)
    return any(beats[i, j] and beats[j, k] and beats[k, i] for i, j, k in triples)


def test_two_equal_judges_make_no_majority_cycle():
    scores = np.random.default_rng(3).normal(scale=2, size=(200, 2, 5))
    skew = np.asarray(games.bradley_terry_mixture(scores).skew)
    assert not any(has_majority_cycle(one) for one in skew)
    # Because the majority goes by the sum of scores: tanh x + tanh y and x + y have one sign.
    total = scores.sum(axis=1)
    assert np.array_equal(skew > 0, total[:, :, None] > total[:, None, :])


def test_three_judges_and_two_unequal_ones_can_make_a_majority_cycle():
    condorcet = np.array([[2.0, 1, 0], [0, 2, 1], [1, 0, 2]])
    assert has_majority_cycle(games.bradley_terry_mixture(condorcet).skew)
    b = 1.0
    edge = (2 / (1 + math.exp(-b)) + 1 / (1 + math.exp(2 * b))) / 3 - 0.5
    assert games.bradley_terry_mixture(condorcet).skew[0, 1] == pytest.approx(edge, abs=ROUNDING)
    unequal = np.array([[-0.3, 0.3, 0.9], [3.2, 1.25, -2.0]])
    assert has_majority_cycle(games.bradley_terry_mixture(unequal, [0.67, 0.33]).skew)
    assert not has_majority_cycle(games.bradley_terry_mixture(unequal).skew)


# Advantages, gaps, batches


def zero_sum_gap(payoff, row, column):
    return (payoff @ column).max() - (row @ payoff).min()


def test_the_gap_of_a_zero_sum_game_is_its_definition():
    rng = np.random.default_rng(4)
    payoff, joint = rng.normal(size=(6, 4, 4)), random_policies(6, 2, 4)
    gap = cg.duality_gap(cg.ZeroSumGame(payoff), log(joint))
    expected = [zero_sum_gap(M, *policies) for M, policies in zip(payoff, joint, strict=True)]
    np.testing.assert_allclose(gap, expected, rtol=1e-14)


def test_the_gap_is_zero_at_the_equilibrium_of_a_zero_sum_game_with_a_value():
    game = cg.ZeroSumGame([[3.0, 1.0], [1.0, 2.0]])  # value 5/3, both players (1/3, 2/3)
    equilibrium = [[1 / 3, 2 / 3], [1 / 3, 2 / 3]]
    assert abs(cg.duality_gap(game, log(equilibrium))) <= 4 * ROUNDING  # payoffs are up to 3
    np.testing.assert_allclose(game.advantage(log(equilibrium)), [[5 / 3] * 2, [-5 / 3] * 2], rtol=1e-15)
    assert cg.duality_gap(game, game.uniform()) == pytest.approx(0.5)


def test_a_preference_game_is_the_zero_sum_game_of_two_equal_players():
    game = games.random(jax.random.key(5), 5)
    logp = log(random_policies(5))
    both = cg.ZeroSumGame(game.skew)
    np.testing.assert_allclose(
        cg.duality_gap(both, np.stack([logp, logp])), cg.duality_gap(game, logp), rtol=0, atol=ROUNDING
    )


def test_the_gap_of_a_preference_game_is_its_definition():
    game = games.random(jax.random.key(6), 4)
    P, policies = np.asarray(game.preference), random_policies(10, 4)
    against = policies @ P.T  # [policy, action]: how often the action beats the policy
    np.testing.assert_allclose(
        cg.duality_gap(game, log(policies)), against.max(1) - (1 - against).min(1), rtol=0, atol=ROUNDING
    )
    np.testing.assert_allclose(
        cg.worst_win_rate(game, log(policies)), (policies @ P).min(axis=1), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("kind", ["preference", "zero-sum"])
def test_a_batch_is_a_loop(kind):
    rng = np.random.default_rng(7)
    if kind == "preference":
        prompts, policies = games.random(jax.random.key(7), 4, (3,)), log(random_policies(3, 4))
        alone = [cg.PreferenceGame.from_skew(A) for A in prompts.skew]
    else:
        prompts, policies = cg.ZeroSumGame(rng.normal(size=(3, 4, 4))), log(random_policies(3, 2, 4))
        alone = [cg.ZeroSumGame(M) for M in prompts.payoff]
    assert prompts.policy_shape == policies.shape
    pairs = list(zip(alone, policies, strict=True))
    same = {"rtol": 0, "atol": 2 * ROUNDING}  # payoffs up to 2; sums may be taken in another order
    np.testing.assert_allclose(prompts.advantage(policies), [g.advantage(p) for g, p in pairs], **same)
    np.testing.assert_allclose(
        cg.duality_gap(prompts, policies), [cg.duality_gap(g, p) for g, p in pairs], **same
    )
    # Many policies of one game, and a batch on top of prompts.
    np.testing.assert_allclose(
        alone[0].advantage(policies), [alone[0].advantage(p) for p in policies], **same
    )
    batch = np.stack([policies, policies[::-1]])
    np.testing.assert_allclose(prompts.advantage(batch)[1], prompts.advantage(policies[::-1]), **same)


def test_the_uniform_policy_has_the_shape_of_the_game():
    for game, shape in (
        (games.comal_cycle(), (3,)),
        (games.random(jax.random.key(0), 4, (2, 3)), (2, 3, 4)),
        (cg.ZeroSumGame(np.zeros((5, 4, 4))), (5, 2, 4)),
    ):
        np.testing.assert_allclose(np.exp(game.uniform()), np.full(shape, 1 / shape[-1]), rtol=4 * EPS)


def test_prompts_are_averaged_with_their_weights():
    tables, per_prompt = np.full((2, 3, 3), 0.5), jnp.array([1.0, 5.0])
    assert cg.PreferenceGame(tables).average(per_prompt) == 3.0
    assert cg.PreferenceGame(tables, prompt_weights=[1, 3]).average(per_prompt) == 4.0
    assert cg.PreferenceGame(tables, prompt_weights=[0.0, 0.2]).average(per_prompt) == 5.0


# Properties. Few shapes, so that few kernels are compiled.

SIZES = st.sampled_from([1, 2, 3, 5])
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def played(draw):
    """A preference game's payoffs and a policy; ties, zeros and probabilities down to exp(-60) included."""
    n = draw(SIZES)
    entries = draw(hnp.arrays(np.float64, (n, n), elements=st.floats(-0.5, 0.5, allow_subnormal=False)))
    logits = draw(hnp.arrays(np.float64, (n,), elements=st.floats(-30, 30)))
    lower = np.tril(entries, -1)
    return lower - lower.T, np.asarray(simplex.log_normalize(logits))


@given(played())
@PROPERTY
def test_the_gap_lies_between_0_and_1(drawn):
    skew, logp = drawn
    gap = float(cg.duality_gap(cg.PreferenceGame.from_skew(skew), logp))
    assert -1e-12 <= gap <= 1 + 1e-12


@given(played(), st.randoms(use_true_random=False))
@PROPERTY
def test_renaming_the_actions_renames_the_results(drawn, random):
    skew, logp = drawn
    order = np.array(random.sample(range(len(logp)), len(logp)))
    game, renamed = cg.PreferenceGame.from_skew(skew), cg.PreferenceGame.from_skew(skew[np.ix_(order, order)])
    same = {"rtol": 0, "atol": ROUNDING}
    np.testing.assert_allclose(
        renamed.advantage(logp[order]), np.asarray(game.advantage(logp))[order], **same
    )
    np.testing.assert_allclose(cg.duality_gap(renamed, logp[order]), cg.duality_gap(game, logp), **same)


@given(played(), st.floats(1e-6, 1.0), st.sampled_from([1e-12, 1e-3, 1e6, 1e12]))
@PROPERTY
def test_scaling_the_payoffs_scales_the_gap(drawn, fraction, factor):
    skew, logp = drawn
    gap = cg.duality_gap(cg.PreferenceGame.from_skew(skew), logp)
    scaled = cg.duality_gap(cg.PreferenceGame.from_skew(fraction * skew), logp)
    np.testing.assert_allclose(scaled, fraction * gap, rtol=0, atol=fraction * ROUNDING)
    joint = np.stack([logp, logp[::-1]])
    gap = cg.duality_gap(cg.ZeroSumGame(skew), joint)
    scaled = cg.duality_gap(cg.ZeroSumGame(factor * skew), joint)
    np.testing.assert_allclose(scaled, factor * gap, rtol=0, atol=factor * 2 * ROUNDING)


# Kullback-Leibler divergence


def exact_kl(logp, other_logp):
    """KL with 60 digits, and what makes up for the two not summing to 1 exactly: sum p log(p/q) - p + q."""
    with localcontext(prec=60):
        pairs = [(Decimal(float(a)), Decimal(float(b))) for a, b in zip(logp, other_logp, strict=True)]
        return float(sum(a.exp() * (a - b) - a.exp() + b.exp() for a, b in pairs))


@pytest.mark.parametrize("distance", [10.0**-k for k in range(-1, 13)])
def test_the_divergence_is_accurate_at_every_distance(distance):
    rng = np.random.default_rng(8)
    for _ in range(20):
        logp = log(rng.dirichlet(np.ones(4)))
        other = np.asarray(simplex.log_normalize(logp + distance * rng.normal(size=4)))
        found = simplex.kl_divergence(logp, other)
        # All terms are positive, and each is right to a few roundings.
        np.testing.assert_allclose(found, exact_kl(logp, other), rtol=32 * EPS)
        np.testing.assert_allclose(found, (0.5 * np.exp(logp) * (other - logp) ** 2).sum(), rtol=4 * distance)


def test_the_divergence_from_the_definition_in_closed_form():
    assert simplex.kl_divergence(log([0.5, 0.5]), log([0.25, 0.75])) == pytest.approx(
        0.5 * math.log(4 / 3), rel=1e-14
    )
    assert simplex.kl_divergence(log([1, 0, 0]), log([0.25, 0.25, 0.5])) == pytest.approx(
        math.log(4), rel=1e-14
    )
    assert simplex.kl_divergence(log([0.5, 0.5, 0]), log([0.5, 0.5, 0])) == 0.0
    assert simplex.kl_divergence(log([0.5, 0.5]), log([1, 0])) == np.inf
    # exp(-1000) is 0 in float64, but is not 0.
    assert simplex.kl_divergence(np.array([0.0, -1000.0]), np.array([0.0, -np.inf])) == np.inf
    assert simplex.kl_divergence(np.array([0.0, -1000.0]), np.array([0.0, -2000.0])) == 0.0


@given(played(), st.floats(-20, 5))
@PROPERTY
def test_the_divergence_is_never_negative(drawn, exponent):
    direction, logp = drawn
    other = np.asarray(simplex.log_normalize(logp + 10.0**exponent * direction[0]))
    assert simplex.kl_divergence(logp, other) >= 0
    assert simplex.kl_divergence(logp, logp) == 0


# Metrics


def test_kl_to_is_the_divergence_from_the_target_to_the_policy():
    game, target = games.comal_cycle(), [0.5, 0.5, 0.0]
    metric = cg.kl_to(log(target))
    policies = np.array([[0.25, 0.25, 0.5], [0.1, 0.4, 0.5], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    expected = [math.log(2), 0.5 * (math.log(5) + math.log(1.25)), 0.0, np.inf]
    np.testing.assert_allclose(metric(game, log(policies)), expected, rtol=1e-14)


def test_kl_to_sums_over_the_players_of_a_two_player_game():
    game = cg.ZeroSumGame(np.zeros((2, 2)))
    target = [[1.0, 0.0], [0.5, 0.5]]
    expected = math.log(2) + 0.5 * math.log(4 / 3)
    found = cg.kl_to(log(target))(game, log([[0.5, 0.5], [0.25, 0.75]]))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_entropy_of_known_policies():
    game = games.comal_cycle()
    policies = [[1 / 3] * 3, [0.5, 0.5, 0], [1, 0, 0]]
    np.testing.assert_allclose(
        cg.entropy(game, log(policies)), [math.log(3), math.log(2), 0], rtol=1e-14, atol=0
    )


def test_win_rates_of_several_policies():
    game = games.random(jax.random.key(9), 4)
    policies = random_policies(5, 4, seed=9)
    rates = np.asarray(cg.win_rates(game, log(policies)))
    np.testing.assert_allclose(rates, policies @ np.asarray(game.preference) @ policies.T, rtol=1e-13)
    np.testing.assert_allclose(rates + rates.T, np.ones((5, 5)), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(np.diag(rates), np.full(5, 0.5), rtol=0, atol=ROUNDING)


def best_value(payoff, reference, temperature):
    """The largest `p @ payoff - temperature * KL(p || reference)`, by a general optimizer over logits."""

    def loss(logits):
        logp = logits - scipy.special.logsumexp(logits)
        return -np.exp(logp) @ (payoff - temperature * (logp - log(reference)))

    starts = [log(reference), np.zeros(len(payoff)), 5 * payoff / np.abs(payoff).max()]
    return max(-scipy.optimize.minimize(loss, start, tol=1e-12).fun for start in starts)


def value(p, payoff, reference, temperature):
    return p @ (payoff - temperature * (np.log(p) - np.log(reference)))


@pytest.mark.parametrize("temperature", [0.03, 0.3, 3.0])
def test_the_regularized_gap_is_its_definition(temperature):
    """What both players together gain, payoff minus divergence, by their best deviations."""
    rng = np.random.default_rng(10)
    metric_of = cg.regularized_gap
    for _ in range(3):
        reference, policy = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3))
        game = games.random(jax.random.key(rng.integers(1000)), 3)
        payoff = np.asarray(game.skew) @ policy
        gain = best_value(payoff, reference, temperature) - value(policy, payoff, reference, temperature)
        found = metric_of(temperature, log(reference))(game, log(policy))
        # The optimizer stops within about 1e-8 of the maximum.
        np.testing.assert_allclose(found, 2 * gain, rtol=1e-6, atol=1e-8)


def test_the_regularized_gap_of_a_two_player_game_is_its_definition():
    rng = np.random.default_rng(11)
    payoff, temperature = rng.normal(size=(3, 3)), 0.5
    references, (row, column) = rng.dirichlet(np.ones(3), size=2), rng.dirichlet(np.ones(3), size=2)
    gain = 0.0
    for p, u, reference in ((row, payoff @ column, references[0]), (column, -row @ payoff, references[1])):
        gain += best_value(u, reference, temperature) - value(p, u, reference, temperature)
    metric = cg.regularized_gap(temperature, log(references))
    found = metric(cg.ZeroSumGame(payoff), log([row, column]))
    np.testing.assert_allclose(found, gain, rtol=1e-6, atol=1e-8)


def test_the_regularized_gap_tends_to_the_duality_gap():
    game, policy = games.comal_cycle(), log([0.2, 0.5, 0.3])
    found = [cg.regularized_gap(t, game.uniform())(game, policy) for t in (1e-2, 1e-4, 1e-6)]
    # It lies within 2 temperature log n of it.
    np.testing.assert_allclose(found, cg.duality_gap(game, policy), rtol=0, atol=2 * 1e-2 * math.log(3))
    assert abs(found[2] - 0.28) <= 2e-6 * math.log(3)


@pytest.mark.parametrize("make", [cg.ZeroSumGame, cg.PreferenceGame.from_skew])
def test_payoffs_that_float32_cannot_hold_are_refused(make):
    cycle = np.array([[0, 1, -2], [-1, 0, 1], [2, -1, 0]]) / 4
    with jax.enable_x64(False):
        for scale in (1e-50, 1e-40) if make is not cg.ZeroSumGame else (1e-50, 1e-40, 1e39, 1e300):
            with pytest.raises(ValueError, match="does not fit into float32"):
                make(cycle * scale)
        assert make(cycle * 1e-30).dtype == np.float32
        assert make(np.asarray(cycle, np.float32)).dtype == np.float32
    assert make(cycle * 1e-50).dtype == np.float64


def test_a_policy_that_plays_absent_actions_has_no_payoffs():
    """A share of up to 1e-6 is rounding; above it the gap of the player's actions would be another game's."""
    game = cg.ZeroSumGame([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    fair = np.asarray(game.uniform())
    for share, is_game in ((0.0, True), (1e-7, True), (1e-5, False), (0.5, False)):
        policy = np.exp(fair)
        policy[0] = (1 - share) / 2, (1 - share) / 2, share
        with np.errstate(divide="ignore"):
            gap = cg.duality_gap(game, np.log(policy))
        assert bool(np.isfinite(gap)) == is_game
        if is_game:
            np.testing.assert_allclose(gap, cg.duality_gap(game, fair), rtol=1e-6)


@pytest.mark.parametrize(
    "rule", [cg.MirrorDescent(1000.0, 0.1), cg.COMAL(cg.MirrorDescent(30.0, 0.2), 5)], ids=repr
)
@pytest.mark.parametrize("metrics", [None, ()])
def test_rules_that_let_absent_actions_grow_are_not_finite(rule, metrics):
    """With a pull above 2."""
    game = cg.ZeroSumGame(np.array([[3.0], [2.0], [-1.0], [1.0]]))
    joint = game.joint(*map(np.log, (np.array([0.1, 0.5, 0.2, 0.2]), np.ones(1))), -2e4)
    state = rule.init(joint, game.uniform())
    result = cg.solve(game, rule, 8, state=state, metrics=metrics, throw=False)
    assert result.status == "nonfinite"
    assert "stopped being finite" in result.notes[-1]


@pytest.mark.filterwarnings("ignore:some recorded gaps are below")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "rule",
    [cg.MWU(1.0), cg.OptimisticMWU(1.0), cg.Extragradient(1.0, 0.0), cg.NashEMA(1.0, 0.0, 0.1)],
    ids=lambda rule: type(rule).__name__,
)
def test_no_step_rounds_an_absent_action_away(rule, dtype):
    """Beside payoffs of 1e20 its log-probability of -10,000 is 0."""
    rng = np.random.default_rng(0)
    for shape in ((2, 3), (4, 1), (3, 5)):
        for _ in range(5):
            game = cg.ZeroSumGame((rng.integers(-3, 4, shape) * 1e20).astype(dtype))
            result = cg.solve(game, rule, 8)
            assert result.status != "nonfinite"
            assert all(np.isfinite(rows).all() for rows in result.history.values())
            np.testing.assert_allclose([part.sum() for part in game.players(result.policy)], 1.0, rtol=1e-6)


def test_an_absent_action_is_below_the_others_also_where_advantages_are_extrapolated():
    rng = np.random.default_rng(1)
    for _ in range(100):
        game = cg.ZeroSumGame(rng.integers(-3, 4, (2, 3)).astype(float))
        policies = [game.joint(*map(np.log, (rng.dirichlet(np.ones(k)) for k in (2, 3))), -1e4) for _ in "12"]
        before, now = map(game.advantage, policies)
        for advantage in (now, 2 * now - before):
            assert advantage[0, 2] <= advantage[0, :2].min() + 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_payoffs_whose_sums_overflow_are_refused(dtype):
    """The sum over 2^31 steps is that of `average_duality_gap`; log-probabilities fall by as much."""
    payoff = np.array([[1, -1], [-1, 1]])
    most = np.finfo(dtype).max / 2**31
    for scale in (2 * most, np.finfo(dtype).max / 8):
        with pytest.raises(ValueError, match="`payoff` must be at most"):
            cg.ZeroSumGame((payoff * scale).astype(dtype))
    game = cg.ZeroSumGame((payoff * (most / 2)).astype(dtype))
    result = cg.solve(game, cg.MWU(1.0), 200, init=[[0.4, 0.6], [0.3, 0.7]])
    for rows in result.history.values():
        assert np.all(np.isfinite(rows))
