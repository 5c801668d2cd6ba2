"""Noise on a game does what its formula says, moves equilibria as theory says, and can be undone."""

import itertools
import re
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import COMAL_START, CONTRACT, Cooling, log_normalize, random_game, random_policy
from scipy.optimize import linprog, minimize

import comalgames as cg
from comalgames.algorithms.base import with_dtype
from comalgames.algorithms.corrected import flip_corrected
from comalgames.equilibria import (
    annotator_robust_nash,
    robust_nash,
    worst_annotator_gap,
    worst_case_gap,
)
from comalgames.games import (
    add_cycle,
    annotator_mixture,
    estimated,
    flip_labels,
    flip_pairs,
    gaussian_noise,
    hodge,
    stack,
    unflip_labels,
)


def refused(call, *words):
    """Assert that `call` raises a ValueError whose message holds all these words."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


CYCLE = cg.games.comal_cycle()
KEY = jax.random.key(0)
TWO_PLAYERS = cg.ZeroSumGame([[1.0, -1.0], [-1.0, 1.0]])
PROMPTS = cg.PreferenceGame(
    random_game(4, prompts=(3,)).preference, names=("a", "b", "c", "d"), prompt_weights=[1.0, 2.0, 0.0]
)


def symmetric_rates(n, seed=0):
    draws = np.random.default_rng(seed).uniform(0, 0.45, (n, n))
    return np.tril(draws) + np.tril(draws, -1).T


PERTURBATIONS = {
    "flip_labels": lambda game: flip_labels(game, 0.3),
    "unflip_labels": lambda game: unflip_labels(flip_labels(game, 0.3), 0.3),
    "flip_pairs": lambda game: flip_pairs(game, symmetric_rates(game.num_actions)),
    "estimated": lambda game: estimated(KEY, game, 7),
    "gaussian_noise": lambda game: gaussian_noise(KEY, game, 0.3),
    "add_cycle": lambda game: add_cycle(flip_labels(game, 0.4), 0.3),
}


def assert_is_a_game_like(noisy, game):
    skew = np.asarray(noisy.skew)
    assert np.array_equal(skew, -skew.swapaxes(-1, -2))
    assert np.abs(skew).max() <= 0.5
    assert noisy.names == game.names
    assert noisy.dtype == game.dtype
    assert (noisy.prompt_weights is None) == (game.prompt_weights is None)
    if game.prompt_weights is not None:
        assert np.array_equal(noisy.prompt_weights, game.prompt_weights)


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("game", [CYCLE, PROMPTS], ids=["cycle", "prompts"])
def test_a_perturbed_game_is_a_game_with_the_same_names_and_prompts(name, game):
    assert_is_a_game_like(PERTURBATIONS[name](game), game)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_may_be_compiled_and_keeps_float32(name):
    with jax.enable_x64(False):
        game = cg.PreferenceGame.from_skew(jnp.asarray(np.asarray(CYCLE.skew), jnp.float32), CYCLE.names)
        noisy = jax.jit(PERTURBATIONS[name])(game)
        assert game.dtype == np.float32
        assert_is_a_game_like(noisy, game)


# Flips


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.49])
def test_flips_mix_the_game_with_its_opposite(rate):
    game = random_game(6)
    P = np.asarray(game.preference)
    flipped = flip_labels(game, rate)
    np.testing.assert_allclose(flipped.preference, (1 - rate) * P + rate * P.T, rtol=0, atol=1e-15)
    assert np.array_equal(flipped.skew, (1 - 2 * rate) * np.asarray(game.skew))
    np.testing.assert_allclose(unflip_labels(flipped, rate).skew, game.skew, rtol=0, atol=1e-15)


def test_flips_of_drawn_labels_have_the_law_of_the_flipped_game():
    rng, rate, n = np.random.default_rng(0), 0.3, 200_000
    labels = rng.uniform(size=(n, 3, 3)) < np.asarray(CYCLE.preference)
    shown = labels ^ (rng.uniform(size=(n, 3, 3)) < rate)
    off = ~np.eye(3, dtype=bool)
    # Five standard deviations of a mean of n labels.
    tolerance = 5 * 0.5 / np.sqrt(n)
    flipped = np.asarray(flip_labels(CYCLE, rate).preference)
    np.testing.assert_allclose(shown.mean(0)[off], flipped[off], rtol=0, atol=tolerance)
    corrected = (shown - rate) / (1 - 2 * rate)  # soft labels
    P = np.asarray(CYCLE.preference)
    np.testing.assert_allclose(corrected.mean(0)[off], P[off], rtol=0, atol=tolerance / (1 - 2 * rate))


def test_flips_at_one_rate_leave_nash_and_lower_the_temperature():
    reference = random_policy(7)
    game = random_game(7)
    for rate, tau in itertools.product((0.1, 0.3, 0.45), (0.05, 0.5)):
        flipped = flip_labels(game, rate)
        np.testing.assert_allclose(cg.nash(flipped).policy, cg.nash(game).policy, rtol=0, atol=1e-12)
        there, here = (
            cg.qre(flipped, tau, reference).policy,
            cg.qre(game, tau / (1 - 2 * rate), reference).policy,
        )
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-13)
        assert np.abs(here - cg.qre(game, tau, reference).policy).max() > 1e-3


def test_flips_of_pairs_act_on_each_pair_and_move_nash():
    rates = np.zeros((3, 3))
    rates[0, 1] = rates[1, 0] = 0.25
    flipped = flip_pairs(CYCLE, rates)
    # The edge between a and b is half as strong: by the closed form of a 3-cycle, c is played half as often.
    weights = np.array([0.4, 0.3, 0.4 * 0.5])
    np.testing.assert_allclose(cg.nash(flipped).policy, weights / weights.sum(), rtol=0, atol=1e-14)
    game = random_game(6)
    uniform = np.full((6, 6), 0.2)
    np.testing.assert_allclose(flip_pairs(game, uniform).skew, flip_labels(game, 0.2).skew, atol=1e-16)
    per_prompt = np.stack([symmetric_rates(4, seed) for seed in range(3)])
    expected = (1 - 2 * per_prompt) * np.asarray(PROMPTS.skew)
    np.testing.assert_allclose(flip_pairs(PROMPTS, per_prompt).skew, expected, rtol=0, atol=1e-16)


def test_undoing_flips_that_cannot_have_been_is_refused_or_clipped():
    refused(lambda: unflip_labels(CYCLE, 0.2), "`rate`=0.2 cannot be", "[rate, 1 - rate]", "clip=True")
    clipped = np.asarray(unflip_labels(CYCLE, 0.2, clip=True).skew)
    np.testing.assert_allclose(clipped, np.clip(np.asarray(CYCLE.skew) / 0.6, -0.5, 0.5), rtol=0, atol=1e-16)


# Rules corrected for flips

LINEAR = [name for name, entry in CONTRACT.items() if entry.is_linear]
NOT_LINEAR = set(CONTRACT) - set(LINEAR)


@eqx.filter_jit
def walk(rule, game, start, reference):
    """The log-policies of 60 steps."""

    def step(state, k):
        state = rule.step(jax.random.key(0), state, cg.Exact(game))
        return state, state.logp

    return jax.lax.scan(step, rule.init(jnp.log(start), jnp.log(reference)), length=60)[1]


@pytest.mark.parametrize("name", LINEAR)
def test_a_corrected_rule_walks_on_flipped_labels_as_without_flips(name):
    rule, rate = CONTRACT[name].rule, 0.4
    game = random_game(5, seed=3)
    flipped = flip_labels(game, rate)
    start, reference = (jnp.asarray(random_policy(5, seed=seed)) for seed in (1, 2))

    def steps(rule, game):
        return np.asarray(walk(with_dtype(rule, np.float64), game, start, reference))

    clean = steps(rule, game)
    np.testing.assert_allclose(steps(flip_corrected(rule, rate), flipped), clean, rtol=0, atol=1e-12)
    assert np.abs(steps(rule, flipped) - clean).max() > 1e-3
    np.testing.assert_allclose(steps(rule, unflip_labels(flipped, rate)), clean, rtol=0, atol=1e-12)


def test_correcting_a_rule_keeps_everything_else():
    rule = cg.COMAL(cg.INPO(eta=1.0, tau=0.1), period=7)
    corrected = flip_corrected(rule, 0.25)
    assert corrected == cg.COMAL(cg.INPO(eta=0.5, tau=0.05), period=7)
    assert flip_corrected(rule, 0.0) == rule
    step = flip_corrected(cg.MWU(Cooling(1.0)), 0.25).step_size
    np.testing.assert_allclose(step(jnp.asarray(3)), 1.0, rtol=1e-15)


def test_only_rules_linear_in_the_advantage_are_corrected():
    for name in NOT_LINEAR:
        refused(lambda name=name: flip_corrected(CONTRACT[name].rule, 0.1), "`rule`", "unflip_labels")
    for rate in (0.5, 0.7):
        refused(lambda rate=rate: flip_corrected(cg.MWU(1.0), rate), "`rate` must be below 1/2", repr(rate))
    refused(lambda: flip_corrected(cg.MWU(1.0), -0.1), "`rate`", ">= 0", "-0.1")


# Estimates


THREE = cg.PreferenceGame([[0.5, 0.9, 1.0], [0.1, 0.5, 0.3], [0.0, 0.7, 0.5]])
NUM_COMPARISONS, REPEATS = 5, 20_000


@pytest.fixture(scope="module")
def estimates():
    keys = jax.random.split(KEY, REPEATS)
    return np.asarray(jax.vmap(lambda key: estimated(key, THREE, NUM_COMPARISONS).preference)(keys))


def test_an_estimate_counts_wins_and_is_unbiased(estimates):
    counts = estimates * NUM_COMPARISONS
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(counts[:, off], np.rint(counts[:, off]), rtol=0, atol=1e-12)
    assert np.all(estimates[:, 0, 2] == 1)  # certain wins are never lost
    P = np.asarray(THREE.preference)
    variance = P * (1 - P) / NUM_COMPARISONS
    np.fill_diagonal(variance, 0)
    # Five standard deviations of a mean, and of a variance of draws in [0, 1].
    error = 5 * np.sqrt(variance / REPEATS)
    assert np.all(np.abs(estimates.mean(0) - P) <= error + 1e-15)
    assert np.all(np.abs(estimates.var(0) - variance) <= error + 1e-15)
    # Pairs are estimated independently.
    pair, other = estimates[:, 1, 0], estimates[:, 2, 1]
    assert abs(np.corrcoef(pair, other)[0, 1]) < 5 / np.sqrt(REPEATS)


@pytest.mark.parametrize("d", [0.05, 0.3])
def test_estimates_stay_within_hoeffdings_band(estimates, d):
    worst = np.abs(estimates - np.asarray(THREE.preference)).max((-2, -1))
    band = np.sqrt(np.log(3 * 2 / d) / (2 * NUM_COMPARISONS))
    assert np.mean(worst > band) <= d
    assert np.mean(worst > band / 3) > d  # the band is of the right size


def test_gaussian_noise_has_its_scale_and_is_clipped():
    game = cg.games.cycle(0.1, 0.2, 0.5)
    draws = jax.vmap(lambda key: gaussian_noise(key, game, 0.05).skew)(jax.random.split(KEY, 20_000))
    noise = np.asarray(draws - game.skew)
    for i, j in ((1, 0), (2, 1)):
        assert abs(noise[:, i, j].mean()) < 5 * 0.05 / np.sqrt(20_000)
        assert abs(noise[:, i, j].std() / 0.05 - 1) < 0.03
    # A certain win can only lose: half of its draws are clipped to it.
    assert noise[:, 2, 0].max() == 0
    assert abs((noise[:, 2, 0] == 0).mean() - 0.5) < 0.02
    assert np.array_equal(gaussian_noise(KEY, game, 0.0).skew, game.skew)


# Cycles


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_an_added_cycle_is_purely_cyclic(n):
    game = flip_labels(random_game(n), 0.3)
    size = 0.2
    cycle = np.asarray(add_cycle(game, size).skew - game.skew)
    np.testing.assert_allclose(cycle.sum(-1), 0, rtol=0, atol=1e-15)
    for i, j in itertools.product(range(n), range(n)):
        ahead = (j - i) % n
        wins = (n - 1) // 2
        expected = size if 0 < ahead <= wins else -size if ahead >= n - wins else 0.0
        assert cycle[i, j] == pytest.approx(expected, abs=1e-15)
    np.testing.assert_allclose(hodge(add_cycle(game, size)).scores, hodge(game).scores, rtol=0, atol=1e-15)


def test_the_three_cycle_is_rock_paper_scissors():
    tied = cg.PreferenceGame(np.full((3, 3), 0.5))
    assert np.array_equal(add_cycle(tied, 0.25).skew, cg.games.cycle(0.25, 0.25, 0.25).skew)
    assert np.array_equal(add_cycle(tied, -0.25).skew, cg.games.cycle(-0.25, -0.25, -0.25).skew)


# Several annotators


def three_annotators(n=5):
    return stack([random_game(n, seed) for seed in range(3)])


def test_a_mixture_asks_annotators_by_weight():
    annotators, weights = three_annotators(), np.array([0.5, 0.2, 0.3])
    mixed = annotator_mixture(annotators, weights)
    expected = sum(w * np.asarray(random_game(5, k).skew) for k, w in enumerate(weights))
    np.testing.assert_allclose(mixed.skew, expected, rtol=0, atol=1e-16)
    one = annotator_mixture(annotators, [0.0, 1.0, 0.0])
    assert np.array_equal(one.skew, random_game(5, 1).skew)
    equal = np.mean([np.asarray(random_game(5, k).skew) for k in range(3)], axis=0)
    np.testing.assert_allclose(annotator_mixture(annotators).skew, equal, rtol=0, atol=1e-16)
    counted = cg.PreferenceGame(annotators.preference, prompt_weights=[1, 0, 3])
    expected = annotator_mixture(annotators, [0.25, 0.0, 0.75]).skew
    np.testing.assert_allclose(annotator_mixture(counted).skew, expected, rtol=0, atol=1e-16)


def test_a_mixture_keeps_prompts():
    annotators = stack([PROMPTS, flip_labels(PROMPTS, 0.25)])
    assert annotators.skew.shape == (3, 2, 4, 4)
    mixed = annotator_mixture(annotators)
    np.testing.assert_allclose(mixed.skew, 0.75 * np.asarray(PROMPTS.skew), rtol=0, atol=1e-16)
    assert mixed.names == PROMPTS.names
    assert np.array_equal(mixed.prompt_weights, PROMPTS.prompt_weights)


def test_judges_as_annotators_are_the_mixture_of_judges():
    scores = np.random.default_rng(0).normal(size=(3, 6))
    weights = [0.2, 0.5, 0.3]
    mixed = annotator_mixture(cg.games.bradley_terry(scores), weights)
    expected = cg.games.bradley_terry_mixture(scores, weights).skew
    np.testing.assert_allclose(mixed.skew, expected, rtol=0, atol=1e-16)


def test_annotators_of_unequal_care_are_weighed_by_it():
    rates, weights = np.array([0.0, 0.2, 0.4]), np.array([0.2, 0.5, 0.3])
    annotators = three_annotators()
    mixed = annotator_mixture(flip_labels(annotators, rates), weights)
    effective = weights * (1 - 2 * rates)
    expected = effective.sum() * annotator_mixture(annotators, effective / effective.sum()).skew
    np.testing.assert_allclose(mixed.skew, expected, rtol=0, atol=1e-16)
    # So the careless count less, and the Nash policy is that of other weights.
    moved = cg.nash(mixed).policy - cg.nash(annotator_mixture(annotators, weights)).policy
    assert np.abs(moved).max() > 1e-3


def test_the_gap_in_any_mixture_is_at_most_the_mixture_of_the_gaps():
    annotators, rng, slack = three_annotators(), np.random.default_rng(0), []
    for _ in range(30):
        logp = jnp.log(jnp.asarray(rng.dirichlet(np.ones(5))))
        weights = rng.dirichlet(np.ones(3))
        gaps = np.asarray(cg.duality_gap(annotators, logp))
        mixed = float(cg.duality_gap(annotator_mixture(annotators, weights), logp))
        assert mixed <= weights @ gaps + 1e-15
        slack.append(weights @ gaps - mixed)
        assert weights @ gaps <= worst_annotator_gap(annotators, logp)
        assert float(worst_annotator_gap(annotators, logp)) == gaps.max()
    assert min(slack) < 0.01 < max(slack)  # nearly equal where they agree on the best response


# Robust policies


def worst_gap_by_brute_force(skew, policy, radius):
    """The largest gap over all vertices of the box of perturbations, clipped to win rates in [0, 1]."""
    n = len(skew)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    worst = -np.inf
    for signs in itertools.product((-1, 1), repeat=len(pairs)):
        other = np.zeros_like(skew)
        for (i, j), sign in zip(pairs, signs, strict=True):
            other[i, j] = np.clip(skew[i, j] + sign * radius, -0.5, 0.5)
        other -= other.T
        worst = max(worst, 2 * (other @ policy).max())
    return worst


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.3, 0.5])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_worst_case_is_that_over_all_perturbed_games(n, radius):
    game, rng = random_game(n, seed=n), np.random.default_rng(n)
    for _ in range(3):
        policy = rng.dirichlet(np.ones(n))
        found = float(worst_case_gap(game, jnp.log(jnp.asarray(policy)), radius))
        expected = worst_gap_by_brute_force(np.asarray(game.skew), policy, radius)
        assert found == pytest.approx(expected, abs=1e-14)


def test_no_random_perturbation_exceeds_the_worst_case():
    rng, radius = np.random.default_rng(0), 0.2
    logp = jnp.log(jnp.asarray(random_policy(6)))
    game = random_game(6)
    worst = float(worst_case_gap(game, logp, radius))
    for _ in range(200):
        noise = np.tril(rng.uniform(-radius, radius, (6, 6)), -1)
        lower = np.tril(np.clip(np.asarray(game.skew) + noise, -0.5, 0.5), -1)
        other = cg.PreferenceGame.from_skew(lower - lower.T)
        assert float(cg.duality_gap(other, logp)) <= worst + 1e-15


def test_without_a_radius_the_worst_case_is_the_game_and_the_robust_policy_nash():
    for seed in range(5):
        game = random_game(8, seed)
        solution = robust_nash(game, 0.0)
        np.testing.assert_allclose(solution.policy, cg.nash(game).policy, rtol=0, atol=1e-12)
        assert abs(solution.gap) < 1e-13
        logp = jnp.log(jnp.asarray(random_policy(8, seed=seed)))
        np.testing.assert_allclose(worst_case_gap(game, logp, 0.0), cg.duality_gap(game, logp), atol=1e-15)


@pytest.mark.parametrize("radius", [0.02, 0.1, 0.4])
def test_the_robust_policy_is_certified_and_no_policy_does_better(radius):
    for seed in range(4):
        game = random_game(7, seed)
        solution = robust_nash(game, radius)
        assert solution.status == "certified"
        assert solution.policy.sum() == pytest.approx(1, abs=1e-14)
        assert solution.gap == pytest.approx(float(worst_case_gap(game, solution.logp, radius)), abs=1e-14)
        # The certificate, by hand: the mixture of responses gains as much against every answer.
        raised = np.minimum(np.asarray(game.skew) + radius, 0.5)
        np.fill_diagonal(raised, 0)
        assert solution.response.sum() == pytest.approx(1, abs=1e-14)
        assert solution.response.min() >= 0
        assert 2 * (solution.response @ raised).min() >= solution.gap - 1e-10
        # The adversary's own program, which never mentions the policy: maximize v, y raised >= v.
        answer = linprog(
            -np.eye(8)[-1],
            A_ub=np.hstack([-raised.T, np.ones((7, 1))]),
            b_ub=np.zeros(7),
            A_eq=[[1.0] * 7 + [0.0]],
            b_eq=[1.0],
            bounds=[(0, 1)] * 7 + [(None, None)],
        )
        assert solution.gap == pytest.approx(-2 * answer.fun, abs=1e-9)


def test_the_robust_policy_beats_nash_in_the_worst_case():
    gains = []
    for seed, radius in itertools.product(range(6), (0.05, 0.2)):
        game = random_game(6, seed)
        solution, nash = robust_nash(game, radius), cg.nash(game)
        of_nash = float(worst_case_gap(game, nash.logp, radius))
        assert solution.gap <= of_nash + 1e-12
        gains.append(of_nash - solution.gap)
        # and nothing is lost but what the true game may differ by.
        assert float(cg.duality_gap(game, solution.logp)) <= solution.gap
    assert max(gains) > 0.05


def test_a_robust_policy_in_closed_form():
    # 0 beats 1 for certain by 2 a: for a radius r <= 1/2 - a the worst case of (1 - x, x) is
    # max(x (a + r), (1 - x) (r - a)), least where both are equal if r > a, and at x = 0 otherwise.
    a, radius = 0.1, 0.3
    game = cg.PreferenceGame.from_skew([[0.0, a], [-a, 0.0]])
    solution = robust_nash(game, radius)
    np.testing.assert_allclose(solution.policy, [(a + radius) / (2 * radius), (radius - a) / (2 * radius)])
    assert solution.gap == pytest.approx(2 * (radius**2 - a**2) / (2 * radius), abs=1e-15)
    assert np.array_equal(robust_nash(game, 0.05).policy, [1.0, 0.0])


@pytest.mark.parametrize("unit", [1e-300, 1e-100, 1e-11, 1e-3])
def test_robust_policies_do_not_depend_on_the_unit_of_payoffs(unit):
    skew = np.asarray(random_game(5, 3).skew)
    games = [cg.PreferenceGame.from_skew(size * skew) for size in (1.0, unit)]
    for solve in (
        lambda game: robust_nash(game, 0.0),
        lambda game: annotator_robust_nash(
            cg.games.stack([game, cg.PreferenceGame.from_skew(-game.skew / 2)])
        ),
    ):
        usual, small = (solve(game) for game in games)
        assert usual.status == small.status == "certified"
        np.testing.assert_allclose(small.policy, usual.policy, rtol=0, atol=1e-9)
        np.testing.assert_allclose(small.gap / unit, usual.gap, rtol=1e-9, atol=1e-9)


def test_a_robust_policy_of_a_solver_that_stops_early_is_not_certified(monkeypatch):
    """A policy moved by 1e-6 loses about as much to the bound that the exact responses prove."""

    def early(*arguments, **settings):
        answer = linprog(*arguments, **settings)
        answer.x[:-1] = (1 - 1e-6) * answer.x[:-1] + 1e-6 / (len(answer.x) - 1)
        return answer

    game = random_game(5, 2)
    assert robust_nash(game, 0.1).status == "certified"
    monkeypatch.setattr(sys.modules[robust_nash.__module__], "linprog", early)
    solution = robust_nash(game, 0.1)
    assert 1e-8 < solution.gap - solution.lower_bound < 1e-5
    assert solution.status == "failed"


def test_robust_policies_of_prompts_are_found_one_by_one():
    solutions = robust_nash(PROMPTS, 0.1)
    assert solutions.policy.shape == (3, 4)
    assert solutions.gap.shape == solutions.status.shape == (3,)
    for k in range(3):
        alone = robust_nash(cg.PreferenceGame.from_skew(np.asarray(PROMPTS.skew)[k]), 0.1)
        np.testing.assert_allclose(solutions.policy[k], alone.policy, rtol=0, atol=1e-12)
    gaps = worst_case_gap(PROMPTS, jnp.log(jnp.asarray(solutions.policy)), 0.1)
    np.testing.assert_allclose(gaps, solutions.gap, rtol=0, atol=1e-14)


def test_the_annotator_robust_policy_is_the_best_for_the_worst_annotator():
    annotators, rng = three_annotators(4), np.random.default_rng(0)
    solution = annotator_robust_nash(annotators)
    assert solution.status == "certified"
    assert solution.response.shape == (3, 4)
    assert solution.gap == pytest.approx(float(worst_annotator_gap(annotators, solution.logp)), abs=1e-14)
    gained = np.einsum("ki,kij->j", solution.response, np.asarray(annotators.skew))
    assert 2 * gained.min() >= solution.gap - 1e-10

    payoffs = np.asarray(annotators.skew)

    def worst(policy):
        return 2 * (payoffs @ policy).max()

    assert min(worst(rng.dirichlet(np.ones(4))) for _ in range(3000)) >= solution.gap - 1e-12
    # Polishing random starts by a method that knows nothing of linear programs comes close.
    descents = [
        minimize(
            lambda z: worst(np.exp(log_normalize(z))), start, method="Nelder-Mead", options={"maxiter": 2000}
        )
        for start in rng.normal(size=(5, 4))
    ]
    assert min(found.fun for found in descents) == pytest.approx(solution.gap, abs=1e-3)
    for weights in np.eye(3):
        mixed = cg.nash(annotator_mixture(annotators, weights))
        assert float(worst_annotator_gap(annotators, mixed.logp)) > solution.gap


def test_one_annotators_robust_policy_is_nash():
    game = random_game(7)
    np.testing.assert_allclose(
        annotator_robust_nash(stack([game])).policy, cg.nash(game).policy, rtol=0, atol=1e-12
    )


def test_annotators_may_have_prompts():
    other = cg.PreferenceGame(random_game(4, seed=5, prompts=(3,)).preference, names=PROMPTS.names)
    annotators = stack([PROMPTS, other])
    solution = annotator_robust_nash(annotators)
    assert solution.response.shape == (3, 2, 4)
    gaps = worst_annotator_gap(annotators, jnp.log(jnp.asarray(solution.policy)))
    assert gaps.shape == (3,)
    np.testing.assert_allclose(gaps, solution.gap, rtol=0, atol=1e-14)
    assert np.all(solution.gap > 1e-3)


# How far noise moves equilibria


def perturbations(game, num=10):
    """Of any kind, each with the largest change of a win rate."""
    keys = jax.random.split(KEY, num)
    for k, key in enumerate(keys):
        kinds = (
            estimated(key, game, 20),
            gaussian_noise(key, game, 0.1),
            add_cycle(flip_labels(game, 0.2), 0.05),
        )
        noisy = kinds[k % 3]
        yield noisy, float(np.abs(np.asarray(noisy.skew - game.skew)).max())


@pytest.mark.parametrize("seed", range(4))
def test_the_nash_policy_of_a_perturbed_game_loses_no_more_than_it_was_perturbed(seed):
    game = random_game(8, seed)
    ratios = []
    for noisy, size in perturbations(game):
        nash = cg.nash(noisy)
        true_gap = float(cg.duality_gap(game, nash.logp))
        assert true_gap <= 2 * size + 1e-13
        # which is the worst case over all games so near, seen from the perturbed one.
        assert true_gap <= float(worst_case_gap(noisy, nash.logp, min(size, 0.5))) + 1e-13
        ratios.append(true_gap / (2 * size))
    assert max(ratios) > 0.05  # the bound is of the right size


@pytest.mark.parametrize("tau", [0.05, 0.3])
def test_the_regularized_equilibrium_moves_by_no_more_than_the_perturbation_over_the_temperature(tau):
    game, reference = random_game(8), random_policy(8)
    here = cg.qre(game, tau, reference).policy
    moves = []
    for noisy, size in perturbations(game):
        moved = np.abs(cg.qre(noisy, tau, reference).policy - here).sum()
        assert moved <= size / tau
        moves.append(moved * tau / size)
    assert max(moves) > 0.01


def test_a_perturbation_that_reaches_the_bound():
    # A tie that noise decides: the perturbed game's Nash policy plays what loses by as much.
    for size in (0.01, 0.3):
        game = cg.PreferenceGame.from_skew([[0.0, size], [-size, 0.0]])
        noisy = cg.PreferenceGame.from_skew([[0.0, -1e-9], [1e-9, 0.0]])
        true_gap = float(cg.duality_gap(game, cg.nash(noisy).logp))
        assert true_gap == pytest.approx(2 * size, abs=1e-8)


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_rules_learn_on_the_noisy_game_and_are_measured_on_the_true_one(rate):
    source = cg.Exact(flip_labels(CYCLE, rate))
    comal = cg.solve(
        CYCLE,
        cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20),
        16_000,
        init=COMAL_START,
        feedback=source,
        record_every=16_000,
    )
    assert comal.duality_gap < 1e-9
    inpo = cg.solve(CYCLE, cg.INPO(1.0, 0.1), 2000, init=COMAL_START, feedback=source, record_every=2000)
    limit = cg.qre(CYCLE, 0.1 / (1 - 2 * rate), COMAL_START).policy
    np.testing.assert_allclose(inpo.policy, limit, rtol=0, atol=1e-12)
    assert inpo.duality_gap > 0.06


# What is refused

NOT_A_RATE = {0.5: "0.5", 0.7: "0.7", -0.1: "-0.1", 1.0: "1"}


@pytest.mark.parametrize("rate", NOT_A_RATE)
def test_a_rate_of_one_half_or_more_is_refused_and_why(rate):
    words = ("must be in [0, 1/2)", f"got {NOT_A_RATE[rate]}:", "at 1/2 labels carry no information")
    refused(lambda: flip_labels(CYCLE, rate), "`rate`", *words)
    refused(lambda: unflip_labels(CYCLE, rate), "`rate`", *words)
    refused(lambda: flip_pairs(CYCLE, np.full((3, 3), rate)), "`rates`", *words)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flip_labels(CYCLE, "0.1"), ("`rate`", "real numbers")),
        (lambda: flip_labels(CYCLE, np.nan), ("`rate`", "finite")),
        (lambda: flip_labels(CYCLE, [0.1, 0.2, 0.3]), ("`rate`", "one for each leading axis", "(3,)")),
        (lambda: flip_labels(PROMPTS, [0.1, 0.2]), ("`rate`", "shape (3,)", "(2,)")),
        (lambda: flip_pairs(CYCLE, [[0, 0.1, 0], [0.3, 0, 0], [0, 0, 0]]), ("`rates`", "symmetric")),
        (lambda: flip_pairs(CYCLE, np.zeros((2, 2))), ("`rates`", "shape (3, 3)", "(2, 2)")),
        (lambda: flip_pairs(CYCLE, 0.1), ("`rates`", "shape (3, 3)", "got ()")),
        (lambda: estimated(KEY, CYCLE, 0), ("`num_comparisons`", "a whole number >= 1", "got 0")),
        (lambda: estimated(KEY, CYCLE, 2.5), ("`num_comparisons`", "2.5")),
        (lambda: estimated(0, CYCLE, 2), ("`key`", "pass jax.random.key(0)")),
        (lambda: gaussian_noise(0, CYCLE, 0.1), ("`key`", "pass jax.random.key(0)")),
        (lambda: gaussian_noise(KEY, CYCLE, -0.1), ("`scale`", ">= 0", "-0.1")),
        (lambda: add_cycle(CYCLE, -0.2), ("`size`=-0.2", "to 1.1", "smaller")),
        (lambda: add_cycle(cg.games.bradley_terry([0.0, 1.0]), 0.1), ("`game`", "at least 3 actions")),
        (lambda: stack([]), ("`games`", "at least one")),
        (lambda: stack([CYCLE, random_game(3)]), ("`games`", "same names", "('0', '1', '2')")),
        (lambda: annotator_mixture(CYCLE), ("`annotators`", "(3, 3)", "cg.games.stack")),
        (lambda: annotator_mixture([CYCLE, CYCLE]), ("`annotators`", "got list", "cg.games.stack")),
        (lambda: worst_annotator_gap(CYCLE, CYCLE.uniform()), ("`annotators`", "cg.games.stack")),
        (lambda: annotator_robust_nash(TWO_PLAYERS), ("`annotators`", "ZeroSumGame")),
        (lambda: robust_nash(CYCLE, -0.1), ("`radius`", ">= 0", "-0.1")),
        (lambda: robust_nash(CYCLE, 0.6), ("`radius`", "in [0, 1/2]", "0.6")),
        (lambda: robust_nash(CYCLE, [0.1, 0.2]), ("`radius`", "shape (2,)")),
        (lambda: worst_case_gap(CYCLE, CYCLE.uniform(), 0.6), ("`radius`", "in [0, 1/2]", "0.6")),
        (lambda: worst_case_gap(CYCLE, jnp.exp(CYCLE.uniform()), 0.1), ("`logp`", "jnp.log(logp)")),
    ],
)  # fmt: skip
def test_what_is_refused(call, words):
    refused(call, *words)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.5, 0.2, 0.2], [1.2, -0.1, -0.1], [[0.5, 0.2, 0.3]]])
def test_weights_that_are_none(weights):
    refused(lambda: annotator_mixture(three_annotators(), weights), "`weights`", "3 numbers", "sum to 1")


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    "call",
    [
        lambda game: flip_labels(game, 0.1),
        lambda game: unflip_labels(game, 0.1),
        lambda game: flip_pairs(game, np.zeros((2, 2))),
        lambda game: estimated(KEY, game, 3),
        lambda game: gaussian_noise(KEY, game, 0.1),
        lambda game: add_cycle(game, 0.1),
        lambda game: stack([game]),
        lambda game: robust_nash(game, 0.1),
        lambda game: worst_case_gap(game, jnp.log(jnp.full((2, 2), 0.5)), 0.1),
    ],
)
def test_two_player_games_have_no_labels(call):
    refused(lambda: call(TWO_PLAYERS), "`game` must be a PreferenceGame", "ZeroSumGame")
