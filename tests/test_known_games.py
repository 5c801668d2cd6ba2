"""Games whose Nash policies are known in closed form: `nash` is held to each, and each to its formula."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gap, random_policy

import comalgames as cg
from comalgames import games

CLOSED_FORM = {"rtol": 0, "atol": 1e-12}


def key(seed=0):
    return jax.random.key(seed)


def skew(game):
    return np.asarray(game.skew)


def check_form(game):
    """Exactly skew payoffs in [-1/2, 1/2], in float64 when x64 is on."""
    payoffs = skew(game)
    assert payoffs.dtype == np.float64
    np.testing.assert_array_equal(payoffs, -payoffs.swapaxes(-1, -2))
    assert np.abs(payoffs).max() <= 0.5


def frequencies(game, policy):
    with np.errstate(divide="ignore"):
        return cg.diagnostics.rotation_frequencies(game, np.log(policy))


# Made to order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "speeds", "slacks"),
    [
        ([0.2, 0.3, 0.5], [0.1], []),
        ([0.2, 0.3, 0.5], [0.05], [0.01, 0.2, 0.5]),
        (np.full(5, 0.2), [0.1, 0.02], [1e-3]),
        ([0.01, 0.09, 0.2, 0.3, 0.4], [0.05, 1e-6], [1e-6, 0.3]),
        ([1.0], [], [0.1, 1e-5]),
        (np.full(11, 1 / 11), [0.05, 0.04, 0.03, 0.02, 0.01], [0.1] * 5),
    ],
)
def test_a_designed_game_is_as_ordered(policy, speeds, slacks):
    made = games.designed(key(3), policy, speeds, slacks)
    check_form(made.game)
    support = len(policy)
    assert made.scale == 1
    found = cg.nash(made.game)
    assert found.status == "certified"
    assert found.unique
    # The smallest frequency is the condition number of the equations for the policy.
    accuracy = 1e-14 / min([*speeds, 1.0])
    np.testing.assert_allclose(found.policy, [*policy, *np.zeros(len(slacks))], rtol=0, atol=accuracy)
    np.testing.assert_allclose(found.slack[support:], slacks, rtol=0, atol=accuracy)
    exact = np.asarray([*policy, *np.zeros(len(slacks))])
    np.testing.assert_allclose(
        skew(made.game) @ exact, [*np.zeros(support), *(-np.asarray(slacks))], atol=1e-15
    )
    np.testing.assert_allclose(frequencies(made.game, exact), sorted(speeds, reverse=True), **CLOSED_FORM)
    np.testing.assert_array_equal(made.frequencies, sorted(speeds, reverse=True))
    np.testing.assert_array_equal(made.nash, exact)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_is_met_up_to_the_scale_that_is_returned(seed):
    rng = np.random.default_rng(seed)
    support, others = 2 * (seed % 4) + 1, int(rng.integers(0, 4))
    policy, speeds = rng.dirichlet(np.ones(support)), rng.uniform(0.01, 1, support // 2)
    slacks = rng.uniform(0.01, 1, others)
    made = games.designed(key(seed), policy, speeds, slacks, rescale=True, num_draws=100)
    check_form(made.game)
    assert 0 < made.scale <= 1
    np.testing.assert_array_equal(made.slacks, made.scale * slacks)
    np.testing.assert_array_equal(made.frequencies, made.scale * np.sort(speeds)[::-1])
    np.testing.assert_allclose(frequencies(made.game, made.nash), made.frequencies, **CLOSED_FORM)
    np.testing.assert_allclose(skew(made.game)[:support] @ made.nash, 0, atol=1e-15)
    np.testing.assert_allclose(-skew(made.game)[support:] @ made.nash, made.slacks, atol=1e-15)
    solution = cg.nash(made.game)
    assert solution.unique
    np.testing.assert_array_equal(solution.support, made.nash > 0)
    np.testing.assert_allclose(solution.policy, made.nash, **CLOSED_FORM)
    np.testing.assert_allclose(np.exp(made.logp), made.nash, rtol=1e-14)
    # Payoffs are as large as may be where the scale is below 1, and more draws only help.
    if made.scale < 1:
        assert np.abs(skew(made.game)).max() == pytest.approx(0.5, abs=1e-15)
    more = games.designed(key(seed), policy, speeds, slacks, rescale=True, num_draws=200)
    assert more.scale >= made.scale


def test_a_slack_above_one_half_is_refused_with_what_would_fit():
    with pytest.raises(ValueError, match=r"multiply all by at most 0\.62499"):
        games.designed(key(), [1.0], [], [0.8])
    assert games.designed(key(), [1.0], [], [0.8], rescale=True).slacks == [0.5]


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(ValueError, match="multiply all by at most") as error:
        games.designed(key(), [0.2, 0.3, 0.5], [0.5], [0.1])
    feasible = float(str(error.value).partition("at most ")[2].partition(" ")[0])
    fits = games.designed(key(), [0.2, 0.3, 0.5], [0.5 * feasible], [0.1 * feasible])
    assert fits.scale == 1
    scaled = games.designed(key(), [0.2, 0.3, 0.5], [0.5], [0.1], rescale=True)
    np.testing.assert_allclose(scaled.scale, feasible, rtol=1e-4)
    np.testing.assert_allclose(scaled.frequencies, [0.5 * scaled.scale], rtol=1e-14)
    np.testing.assert_allclose(frequencies(scaled.game, scaled.nash), scaled.frequencies, **CLOSED_FORM)
    assert cg.nash(scaled.game).unique
    # Of three actions: w = sqrt(abc / (a + b + c)) with edges in proportion to the policy, the largest 1/2.
    edges = np.array([0.5, 0.2, 0.3]) / 0.5 * 0.5
    np.testing.assert_allclose(scaled.frequencies, [np.sqrt(edges.prod() / edges.sum())], rtol=1e-12)


# Small ones -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [0.5, 0.1, 1e-3, 1e-6])
def test_the_nearly_degenerate_cycle(delta):
    game = games.near_degenerate_cycle(delta)
    check_form(game)
    solution = cg.nash(game)
    assert solution.unique
    np.testing.assert_allclose(solution.policy, np.array([0.5, 0.5, delta]) / (1 + delta), rtol=1e-9)
    np.testing.assert_allclose(
        frequencies(game, solution.policy), [np.sqrt(delta / (4 * (1 + delta)))], rtol=1e-9
    )


@pytest.mark.parametrize("delta", [0.5, 0.1, 1e-3])
def test_the_delta_game(delta):
    game = games.delta_game(delta)
    solution = cg.nash(game)
    assert solution.unique
    row, column = np.array([1, delta]) / (1 + delta), np.array([1, 1 + 2 * delta]) / (2 * (1 + delta))
    np.testing.assert_allclose(solution.policy, [row, column], **CLOSED_FORM)
    paid = -row @ np.asarray(game.payoff) @ column
    np.testing.assert_allclose(paid, (1 + 2 * delta) / (2 * (1 + delta)), rtol=1e-14)
    # Two players at (row, column) turn by [[0, (diag - row row') M], [-(diag - column column') M', 0]].
    covariances = [np.diag(p) - np.outer(p, p) for p in (row, column)]
    payoff = np.asarray(game.payoff)
    turning = np.block(
        [[np.zeros((2, 2)), covariances[0] @ payoff], [-covariances[1] @ payoff.T, np.zeros((2, 2))]]
    )
    speed = np.abs(np.linalg.eigvals(turning).imag).max()
    np.testing.assert_allclose(speed, np.sqrt(delta * (1 + 2 * delta)) / (2 * (1 + delta)), rtol=1e-10)
    embedded = games.role_symmetrized(game)
    assert embedded.scale == 1
    product = np.multiply.outer(row, column).ravel()
    np.testing.assert_allclose(frequencies(embedded.game, product), [speed / 2], rtol=1e-10)
    assert cg.nash(embedded.game).dimension == 1


def test_the_game_for_regret_matching_and_the_one_with_many_equilibria():
    killer = cg.nash(games.regret_matching_cycle())
    np.testing.assert_allclose(killer.policy, np.array([[1, 1, 10], [4, 5, 3]]) / 12, **CLOSED_FORM)
    assert killer.unique
    many = cg.nash(games.many_equilibria())
    assert many.dimension == 2
    np.testing.assert_array_equal(many.support.sum(-1), [3, 5])
    np.testing.assert_allclose(many.policy[0], [1 / 3, 1 / 3, 1 / 3, 0, 0], **CLOSED_FORM)
    for q in ([1 / 3, 1 / 3, 1 / 3, 0, 0], [0.1, 0.1, 0.1, 0.35, 0.35], [0, 0, 0, 1 / 3, 2 / 3]):
        assert np.max(np.asarray(games.many_equilibria().payoff) @ q) <= 1e-15


# Games of other games ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 7.0])
@pytest.mark.parametrize(
    "rule",
    [
        lambda step_size, _: cg.MWU(step_size),
        lambda step_size, _: cg.OptimisticMWU(step_size),
        cg.MMD,
        lambda step_size, temperature: cg.Extragradient(step_size, temperature),
    ],
    ids=["MWU", "OptimisticMWU", "MMD", "Extragradient"],
)
def test_self_play_on_the_symmetrized_game_is_two_player_play(rule, scale):
    game = cg.ZeroSumGame(scale * np.random.default_rng(1).uniform(-0.5, 0.5, (3, 3)))
    embedded = games.role_symmetrized(game)
    check_form(embedded.game)
    factor = float(embedded.scale)
    assert factor == min(1.0, 1 / float(np.ptp(np.asarray(game.payoff))))
    starts = random_policy(2, 3, seed=4)
    product = np.multiply.outer(*starts).ravel()
    step, temperature = 0.3 / scale, 0.1 * scale
    apart = cg.solve(game, rule(step, temperature), 300, init=starts, metrics=["logp"]).history["logp"]
    there = rule(2 * step / factor, factor * temperature / 2)
    together = cg.solve(embedded.game, there, 300, init=product, metrics=["logp"])
    marginals = games.role_marginals(together.history["logp"])
    np.testing.assert_allclose(np.exp(marginals), np.exp(apart), **CLOSED_FORM)
    two_players = cg.duality_gap(game, jnp.asarray(apart[-1]))
    np.testing.assert_allclose(together.duality_gap, factor * float(two_players), atol=1e-12)


def test_nash_policies_of_a_symmetrized_game_have_the_equilibrium_for_marginals():
    game = games.regret_matching_cycle()
    embedded = games.role_symmetrized(game).game
    solution = cg.nash(embedded)
    assert solution.support.sum() == 9
    assert solution.dimension == 4
    marginals = np.exp(games.role_marginals(jnp.asarray(solution.logp)))
    np.testing.assert_allclose(marginals, cg.nash(game).policy, **CLOSED_FORM)


@pytest.mark.parametrize("num_copies", [1, 3])
def test_clones_share_and_add_dimensions(num_copies):
    game = games.comal_cycle()
    cloned = games.clones(game, 1, num_copies)
    assert cloned.names[3:] == tuple(f"b, copy {k + 1}" for k in range(num_copies))
    solution = cg.nash(cloned)
    assert solution.dimension == num_copies
    assert solution.support.all()
    shared = [solution.policy[0], solution.policy[1] + solution.policy[3:].sum(), solution.policy[2]]
    np.testing.assert_allclose(shared, np.array([4, 3, 4]) / 11, **CLOSED_FORM)
    policy = random_policy(3 + num_copies, seed=2)
    merged = np.array([policy[0], policy[1] + policy[3:].sum(), policy[2]])
    np.testing.assert_allclose(gap(cloned, policy), gap(game, merged), atol=1e-15)
    # A copy of an action that Nash does not use adds nothing.
    loser = games.bradley_terry([0.0, 1.0, 2.0])
    assert cg.nash(games.clones(loser, 0)).dimension == 0


# Combinatorial ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_tournaments_have_one_odd_nash_policy(n):
    for seed in range(3):
        game = games.tournament(key(seed), n)
        check_form(game)
        assert np.all(np.abs(skew(game))[~np.eye(n, dtype=bool)] == 0.5)
        solution = cg.nash(game)
        assert solution.unique
        assert solution.support.sum() % 2 == 1
        if n < 10:  # the Pfaffians of up to 6 x 6 signs are at most 15, so their sum is at most 105
            shares = [Fraction(p).limit_denominator(105) for p in solution.policy[solution.support]]
            np.testing.assert_allclose([float(p) for p in shares], solution.policy[solution.support])
            assert all(p.numerator % 2 == p.denominator % 2 == 1 for p in shares)
    wins = np.mean([skew(games.tournament(key(seed), 20))[np.triu_indices(20, 1)] > 0 for seed in range(20)])
    assert abs(wins - 0.5) < 5 * 0.5 / np.sqrt(20 * 190)


@pytest.mark.parametrize(
    ("coins", "fields", "actions", "support", "dimension"),
    [(5, 3, 21, 9, 4), (10, 3, 66, 48, 29), (3, 1, 1, 1, 0), (1, 3, 3, 3, 2)],
)
def test_blotto(coins, fields, actions, support, dimension):
    game = games.blotto(coins, fields)
    check_form(game)
    assert game.num_actions == actions
    splits = [tuple(map(int, name.split("-"))) for name in game.names]
    assert sorted(splits) == sorted(
        split for split in itertools.product(range(coins + 1), repeat=fields) if sum(split) == coins
    )
    for i, j in itertools.product(range(min(actions, 12)), repeat=2):
        won = sum(np.sign(a - b) for a, b in zip(splits[i], splits[j], strict=True))
        assert skew(game)[i, j] == np.sign(won) / 2
    solution = cg.nash(game)
    assert (solution.support.sum(), solution.dimension) == (support, dimension)


@pytest.mark.parametrize("payoffs", [0.5, [0.5, 0.3, 0.1], [0.2, 0.0, 0.0]])
def test_rock_paper_scissors_of_seven_actions(payoffs):
    game = games.n_ary_rock_paper_scissors(7, payoffs)
    check_form(game)
    solution = cg.nash(game)
    assert solution.unique
    np.testing.assert_allclose(solution.policy, 1 / 7, **CLOSED_FORM)
    k, values = np.arange(1, 4), np.broadcast_to(payoffs, 3)
    closed = [2 / 7 * abs(np.sum(values * np.sin(2 * np.pi * j * k / 7))) for j in (1, 2, 3)]
    np.testing.assert_allclose(frequencies(game, solution.policy), sorted(closed, reverse=True), rtol=1e-12)
    # Three actions are rock, paper, scissors.
    np.testing.assert_array_equal(skew(games.n_ary_rock_paper_scissors(3)), skew(games.rock_paper_scissors()))


def test_rock_paper_scissors_three_times_over():
    """Of 9 actions each beats only the third before it: sin(2 pi j / 3) is 0 for j = 3 alone."""
    game = games.n_ary_rock_paper_scissors(9, [0, 0, 0.3, 0])
    assert np.sum(frequencies(game, np.full(9, 1 / 9)) < 1e-12) == 1
    assert cg.nash(game).dimension == 2


def test_a_weighted_cycle():
    edges = np.array([0.1, 0.5, 0.2, 0.3, 0.4])
    for sign in (1, -1):
        game = games.weighted_cycle(sign * edges)
        solution = cg.nash(game)
        assert solution.unique
        policy = np.ones(5)
        for i in range(0, 8, 2):  # in steps of two, around twice
            policy[(i + 2) % 5] = policy[i % 5] * edges[i % 5] / edges[(i + 1) % 5]
        np.testing.assert_allclose(solution.policy, policy / policy.sum(), **CLOSED_FORM)
    np.testing.assert_allclose(skew(games.weighted_cycle([0.1, 0.2, 0.3])), skew(games.cycle(0.1, 0.2, 0.3)))


# Points, vectors, skills ------------------------------------------------------------------------------------


def ring(num_points, seed=0):
    """Points all around the origin."""
    rng = np.random.default_rng((num_points, seed))
    angles = 2 * np.pi * (np.arange(num_points) + rng.uniform(-0.2, 0.2, num_points)) / num_points
    return rng.uniform(0.3, 1, num_points)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


@pytest.mark.parametrize("num_points", [3, 4, 9, 20])
def test_a_disc_with_the_origin_inside(num_points):
    points = ring(num_points)
    game = games.disc(points)
    check_form(game)
    assert np.linalg.matrix_rank(skew(game), tol=1e-10) == 2
    solution = cg.nash(game)
    assert solution.dimension == num_points - 3
    assert solution.support.all()
    np.testing.assert_allclose(solution.policy @ points, 0, rtol=0, atol=1e-14)


def test_a_disc_with_the_origin_outside_has_its_last_point():
    angles = np.array([0.1, 0.9, 1.4, 2.0, 0.5])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    solution = cg.nash(games.disc(points))
    assert solution.unique
    np.testing.assert_array_equal(solution.policy, np.eye(5)[3])


def test_the_two_readings_of_a_general_preference_model_are_two_games():
    vectors = ring(15)
    logit = games.general_preference(vectors, 0.1, reading="logit")
    preference = games.general_preference(vectors, 0.1)
    check_form(logit)
    check_form(preference)
    scores = vectors[:, :1] * vectors[:, 1] - vectors[:, 1:] * vectors[:, 0]
    np.testing.assert_allclose(np.asarray(preference.preference), 1 / (1 + np.exp(-scores / 0.1)), atol=1e-15)
    np.testing.assert_array_equal(np.sign(skew(logit)), np.sign(skew(preference)))
    assert np.linalg.matrix_rank(skew(logit), tol=1e-10) == 2
    assert np.linalg.matrix_rank(skew(preference), tol=1e-10) == 14
    by_logit, by_preference = cg.nash(logit), cg.nash(preference)
    assert by_logit.dimension == 12
    assert by_preference.unique
    assert gap(logit, by_preference.policy) > 1e-3
    # In four dimensions too: vectors and a weighted sum of their negatives surround the origin.
    four = np.random.default_rng(0).normal(size=(10, 4))
    four = np.vstack([four, -four.mean(0)])
    logit = games.general_preference(four, 1.0, "logit")
    assert np.linalg.matrix_rank(skew(logit), tol=1e-10) == 4
    found = cg.nash(logit)
    assert found.support.all()
    np.testing.assert_allclose(found.policy @ four, 0, atol=1e-13)
    assert found.dimension == 11 - 1 - 4


def test_multidimensional_elo_joins_ratings_and_a_cyclic_part():
    ratings, vectors = np.array([0.0, 0.3, -0.2, 0.1]), ring(4)
    flat = games.multidimensional_elo(ratings, np.zeros((4, 2)))
    np.testing.assert_allclose(skew(flat), skew(games.bradley_terry(ratings)), atol=1e-16)
    level = games.multidimensional_elo(np.zeros(4), vectors)
    np.testing.assert_allclose(skew(level), skew(games.general_preference(vectors)), atol=1e-16)
    many = games.multidimensional_elo(np.random.default_rng(0).normal(size=12), ring(12), "logit")
    assert np.linalg.matrix_rank(skew(many), tol=1e-10) == 4
    best = games.multidimensional_elo([0.0, 0.0, 5.0], ring(3))
    np.testing.assert_array_equal(cg.nash(best).policy, [0, 0, 1])


@pytest.mark.parametrize(("skill", "mean"), [(0.0, 15.3), (0.5, 4.7), (1.0, 2.4), (2.0, 1.4)])
def test_the_more_skill_counts_the_fewer_actions_nash_uses(skill, mean):
    """Printed means of another program's random games; both means carry sampling errors."""
    seeds = range(100)
    many = cg.PreferenceGame.from_skew(
        jnp.stack([games.game_of_skill(key(seed), 30, skill).skew for seed in seeds])
    )
    solution = cg.nash(many)
    assert np.all(solution.status == "certified")
    sizes = solution.support.sum(-1)
    assert np.all(sizes % 2 == 1)
    assert abs(sizes.mean() - mean) < 5 * sizes.std() / np.sqrt(len(seeds)) + 0.1


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0, 10.0])
def test_annotators_who_each_have_a_ranking_and_together_a_cycle(slope):
    annotators = games.cyclic_annotators(slope)
    for k in range(3):
        np.testing.assert_array_equal(
            cg.nash(cg.PreferenceGame.from_skew(annotators.skew[k])).policy, np.eye(3)[k]
        )
    together = games.annotator_mixture(annotators)
    sigmoid = 1 / (1 + np.exp(-np.array([slope, -2 * slope])))
    edge = (2 * sigmoid[0] + sigmoid[1]) / 3 - 0.5
    np.testing.assert_allclose(skew(together)[0, 1], edge, rtol=1e-13)
    solution = cg.nash(together)
    assert solution.unique
    np.testing.assert_allclose(solution.policy, 1 / 3, **CLOSED_FORM)
    if slope in (1.0, 2.0):
        assert f"{edge:.4f}" == {1.0: "0.0271", 2.0: "0.0932"}[slope]


def test_a_transitive_and_a_cyclic_part_are_what_hodge_returns():
    scores, turning = np.array([0.05, -0.1, 0.0, 0.05]), np.zeros((4, 4))
    turning[[0, 1, 2, 3], [1, 2, 3, 0]] = 0.2
    turning -= turning.T
    game = games.transitive_plus_cyclic(scores, turning)
    split = games.hodge(game)
    np.testing.assert_allclose(split.cyclic, turning, atol=1e-15)
    np.testing.assert_allclose(skew(game) - split.cyclic, np.subtract.outer(scores, scores), atol=1e-15)
    even = games.transitive_plus_cyclic(np.zeros(4), turning)
    np.testing.assert_allclose(gap(even, np.full(4, 0.25)), 0, atol=1e-15)
    # Three actions: the scores move the edges of the cycle.
    three = games.transitive_plus_cyclic(
        [0.05, 0.0, 0.0], 0.2 * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    )
    np.testing.assert_allclose(cg.nash(three).policy, np.array([0.2, 0.15, 0.25]) / 0.6, **CLOSED_FORM)


# Forms ------------------------------------------------------------------------------------------------------


def test_leading_axes_are_games():
    points, ratings = (
        np.stack([ring(5, seed) for seed in range(3)]),
        np.random.default_rng(0).normal(size=(3, 5)),
    )
    payoffs = np.random.default_rng(1).normal(size=(3, 2, 2))
    scales = games.role_symmetrized(cg.ZeroSumGame(payoffs)).scale
    np.testing.assert_array_equal(scales, np.minimum(1, 1 / np.ptp(payoffs, axis=(-2, -1))))
    for make, arguments in (
        (games.disc, [points]),
        (games.general_preference, [points]),
        (games.multidimensional_elo, [ratings, points]),
        (lambda matrix: games.role_symmetrized(cg.ZeroSumGame(matrix)).game, [payoffs]),
        (lambda shift: games.clones(games.disc(shift), 2), [points]),
    ):
        together = make(*arguments)
        check_form(together)
        for k in range(3):
            np.testing.assert_allclose(
                skew(together)[k], skew(make(*[argument[k] for argument in arguments])), atol=1e-15
            )


@pytest.mark.parametrize("make", [lambda k: games.tournament(k, 6), lambda k: games.game_of_skill(k, 6, 0.5)])
def test_drawn_games_are_drawn_by_many_keys_at_once(make):
    keys = jax.random.split(key(), 4)
    many = jax.jit(jax.vmap(make))(keys)
    check_form(many)
    for k in range(4):
        np.testing.assert_allclose(skew(many)[k], skew(make(keys[k])), atol=1e-15)


def test_numbers_of_other_types_will_do():
    np.testing.assert_array_equal(games.cyclic_annotators(1).skew, games.cyclic_annotators(1.0).skew)
    mixed = games.multidimensional_elo(np.zeros(5, np.float32), ring(5))
    np.testing.assert_array_equal(skew(mixed), skew(games.multidimensional_elo(np.zeros(5), ring(5))))


def test_without_x64_games_are_valid_too():
    with jax.enable_x64(False):
        for game in (
            games.disc(np.float32(ring(5))),
            games.general_preference(np.float32(ring(5))),
            games.tournament(key(), 5),
            games.game_of_skill(key(), 5, 1.0),
            games.role_symmetrized(games.delta_game(0.1)).game,
        ):
            assert game.dtype == np.float32
            np.testing.assert_array_equal(skew(game), -skew(game).T)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: games.designed(0, [1.0], []), "`key` must be a JAX random key"),
        (lambda: games.designed(key(), [0.5, 0.5], []), "`nash` must use an odd number"),
        (lambda: games.designed(key(), [0.5, 0.5, 0.5], [0.1]), "`nash` must be probabilities"),
        (lambda: games.designed(key(), [0.2, 0.3, 0.5], []), "`frequencies` must be 1 numbers"),
        (
            lambda: games.designed(key(), [0.2, 0.3, 0.5], [-0.1]),
            "`frequencies` must be a list of numbers > 0",
        ),
        (lambda: games.designed(key(), [0.2, 0.3, 0.5], [0.1], [0.0]), "`slacks` must be"),
        (lambda: games.near_degenerate_cycle(0.7), "`delta` must be in"),
        (lambda: games.delta_game(0.0), "`delta` must be"),
        (lambda: games.role_symmetrized(games.comal_cycle()), "`game` must be a ZeroSumGame"),
        (lambda: games.role_marginals(jnp.zeros(3)), "`logp` must be a policy over n \\* n pairs"),
        (lambda: games.clones(games.comal_cycle(), 3), "`action` must be a whole number from 0 to 2"),
        (lambda: games.tournament(7, 3), "`key` must be a JAX random key"),
        (lambda: games.blotto(0, 3), "`num_coins` must be"),
        (lambda: games.n_ary_rock_paper_scissors(4), "`num_actions` must give an odd number"),
        (lambda: games.n_ary_rock_paper_scissors(5, [0.1]), "`payoffs` must be one number or 2"),
        (lambda: games.weighted_cycle([0.1, -0.2, 0.3]), "`edges` must be in"),
        (lambda: games.disc(np.ones((3, 3))), "`points` must have the shape"),
        (lambda: games.general_preference(np.ones((3, 3))), "`vectors` must have the shape"),
        (lambda: games.general_preference(np.ones((3, 2)), reading="p"), "`reading`"),
        (lambda: games.multidimensional_elo([0.0], np.ones((3, 2))), "`ratings` must have one rating"),
        (lambda: games.game_of_skill(key(), 3, -1.0), "`skill` must be"),
        (lambda: games.cyclic_annotators(0.0), "`slope` must be"),
        (lambda: games.transitive_plus_cyclic([0, 0], [[0, 0.1], [-0.1, 0]]), "`cyclic` must be skew"),
        (lambda: games.transitive_plus_cyclic([0, 0.9], np.zeros((2, 2))), "multiply both by at most"),
    ],
)
def test_wrong_inputs_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
