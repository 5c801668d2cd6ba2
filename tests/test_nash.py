"""The ground truth: `nash` and `qre` against closed forms, an independent linear program, and nashpy."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import nashpy
import numpy as np
import pytest
from helpers import COMAL_NASH, COMAL_START, log_normalize, random_game, random_policy
from scipy.optimize import linprog
from threadpoolctl import threadpool_info, threadpool_limits

import comalgames as cg
from comalgames.equilibria import quantal, threads
from comalgames.equilibria.interior_point import interior_point
from comalgames.equilibria.solution import certify
from comalgames.numerics import proximal

# A closed form evaluated in float64, against a solution of a small well-conditioned linear system.
CLOSED_FORM = {"rtol": 0, "atol": 1e-14}

# HiGHS keeps constraints to 1e-7 in absolute terms; its optima are that good and no better.
LINPROG = 1e-6

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 2


def skew_game(skew):
    return cg.PreferenceGame.from_skew(np.asarray(skew, np.float64))


def exact_gap(skew, policy):
    """2 max_i (skew policy)_i in rational arithmetic: no rounding, no package code."""
    weights = [Fraction(float(p)) for p in policy]
    return 2 * max(sum(Fraction(float(a)) * p for a, p in zip(row, weights, strict=True)) for row in skew)


def value_program(payoff):
    """The textbook program for the row player: max v s.t. p @ payoff >= v, p on the simplex."""
    rows, columns = payoff.shape
    answer = linprog(
        np.append(np.zeros(rows), -1.0),
        A_ub=np.hstack([-payoff.T, np.ones((columns, 1))]),
        b_ub=np.zeros(columns),
        A_eq=np.append(np.ones(rows), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    assert answer.success
    return answer.x[:-1], answer.x[-1]


def range_over_nash_set(skew):
    """Smallest and largest probability that any Nash policy gives each action, by 2n linear programs."""
    n = len(skew)
    ends = np.zeros((2, n))
    for (row, sign), action in ((end, a) for end in ((0, 1.0), (1, -1.0)) for a in range(n)):
        answer = linprog(
            sign * np.eye(n)[action],
            A_ub=skew,
            b_ub=np.zeros(n),
            A_eq=np.ones((1, n)),
            b_eq=[1.0],
            bounds=[(0, None)] * n,
        )
        assert answer.success
        ends[row, action] = answer.x[action]
    return ends


def check_certificate(game, solution):
    """What every solution promises, whatever the game."""
    skew = np.asarray(game.skew)
    policy = solution.policy
    assert policy.dtype == np.float64
    assert policy.min() >= 0
    np.testing.assert_allclose(policy.sum(), 1, rtol=0, atol=1e-15 * len(policy))
    np.testing.assert_array_equal(policy > 0, solution.support)
    gap = exact_gap(skew, policy)
    # The reported gap is a float64 product of n terms, the exact one is not.
    assert abs(float(gap) - solution.gap) <= 1e-15 * np.abs(skew).max(initial=0)
    assert solution.status == "certified" or (solution.status == "tied" and solution.dimension > 0)
    assert bool(solution.unique) == (solution.dimension == 0)
    np.testing.assert_allclose(solution.relative_gap * np.abs(skew).max(), solution.gap, rtol=1e-12)
    assert gap <= Fraction(1e-12) * Fraction(float(np.abs(skew).max(initial=0)))
    np.testing.assert_array_equal(solution.slack[solution.support], 0)
    off = ~solution.support
    np.testing.assert_allclose(solution.slack[off], -(skew @ policy)[off], rtol=0, atol=1e-15)
    assert solution.slack.min() >= -1e-12


# Closed forms
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_cycle_of_any_edges(seed, sign):
    a, b, c = np.random.default_rng(seed).uniform(0.01, 0.5, 3)
    game = cg.games.cycle(sign * a, sign * b, sign * c)
    solution = cg.nash(game)
    check_certificate(game, solution)
    np.testing.assert_allclose(solution.policy, np.array([b, c, a]) / (a + b + c), **CLOSED_FORM)
    assert solution.unique
    assert solution.support.all()


def test_comals_cycle():
    np.testing.assert_allclose(cg.nash(cg.games.comal_cycle()).policy, COMAL_NASH, **CLOSED_FORM)


@pytest.mark.parametrize("payoffs", [(1, 1, 1), (3, 1, 1), (1, 20, 3)])
def test_rock_paper_scissors(payoffs):
    rock, paper, scissors = payoffs
    game = cg.games.rock_paper_scissors(*payoffs)
    solution = cg.nash(game)
    check_certificate(game, solution)
    np.testing.assert_allclose(
        solution.policy, np.array([scissors, rock, paper]) / (rock + paper + scissors), **CLOSED_FORM
    )
    assert solution.unique


@pytest.mark.parametrize("seed", range(5))
def test_a_transitive_game_has_its_best_action(seed):
    scores = np.random.default_rng(seed).normal(size=7)
    game = cg.games.bradley_terry(scores)
    solution = cg.nash(game)
    check_certificate(game, solution)
    np.testing.assert_array_equal(solution.policy, np.eye(7)[scores.argmax()])
    assert solution.unique
    np.testing.assert_allclose(
        solution.slack, 1 / (1 + np.exp(scores - scores.max())) - 0.5, rtol=0, atol=1e-15
    )


@pytest.mark.parametrize("n", [2, 5])
def test_where_all_tie_every_policy_is_nash_and_the_solution_uses_all_actions(n):
    game = cg.PreferenceGame(np.full((n, n), 0.5))
    solution = cg.nash(game)
    check_certificate(game, solution)
    assert solution.support.all()
    assert not solution.unique
    assert solution.dimension == n - 1


def test_one_action():
    solution = cg.nash(cg.PreferenceGame([[0.5]]))
    np.testing.assert_array_equal(solution.policy, [1.0])
    assert solution.gap == 0
    assert solution.unique
    assert solution.status == "certified"


@pytest.mark.parametrize("better", [0, 1])
def test_of_two_actions_the_preferred_one(better):
    win = 0.5 + 1e-9 * (1 - 2 * better)
    solution = cg.nash(cg.PreferenceGame([[0.5, win], [1 - win, 0.5]]))
    np.testing.assert_array_equal(solution.policy, np.eye(2)[better])
    assert solution.unique


def test_copies_of_an_action_share_its_probability_and_make_nash_not_unique():
    which = [0, 1, 2, 2]
    game = skew_game(RPS[np.ix_(which, which)])
    solution = cg.nash(game)
    check_certificate(game, solution)
    np.testing.assert_allclose(solution.policy[:2], 1 / 3, **CLOSED_FORM)
    np.testing.assert_allclose(solution.policy[2:].sum(), 1 / 3, **CLOSED_FORM)
    assert solution.support.all()
    assert not solution.unique


def test_two_independent_games_have_a_segment_of_nash_policies():
    skew = np.zeros((6, 6))
    skew[:3, :3], skew[3:, 3:] = cg.games.cycle(0.1, 0.2, 0.3).skew, 1e-3 * RPS
    game = skew_game(skew)
    solution = cg.nash(game)
    check_certificate(game, solution)
    assert solution.support.all()
    assert not solution.unique
    first, second = solution.policy[:3], solution.policy[3:]
    np.testing.assert_allclose(first / first.sum(), np.array([2, 3, 1]) / 6, **CLOSED_FORM)
    np.testing.assert_allclose(second / second.sum(), 1 / 3, **CLOSED_FORM)


@pytest.mark.parametrize("edge", [1e-3, 1e-6, 1e-8])
def test_a_nearly_degenerate_cycle(edge):
    game = cg.games.cycle(edge, 0.3, 0.4)
    solution = cg.nash(game)
    check_certificate(game, solution)
    # All digits of the tiny probability, not only its size.
    np.testing.assert_allclose(solution.policy, np.array([0.3, 0.4, edge]) / (0.7 + edge), rtol=1e-8)
    assert solution.unique


# Theorems about random games
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 6, 10, 31])
def test_random_games_have_one_nash_policy_on_an_odd_number_of_actions(n):
    for seed in range(4):
        game = random_game(n, seed)
        solution = cg.nash(game)
        check_certificate(game, solution)
        assert solution.unique
        assert solution.support.sum() % 2 == 1
        # Strict complementarity: an action off the support loses.
        assert np.all(solution.slack[~solution.support] > 0)


def test_a_game_of_a_hundred_actions_is_solved_to_the_last_bits():
    """The linear program alone leaves a gap of 7e-13 here; solving on the support takes it to rounding."""
    game = random_game(100)
    solution = cg.nash(game)
    check_certificate(game, solution)
    assert exact_gap(np.asarray(game.skew), solution.policy) <= 100 * np.finfo(float).eps * 0.5


@pytest.mark.parametrize("n", [3, 4, 8, 13, 30])
def test_tournaments_have_one_nash_policy_on_an_odd_number_of_actions(n):
    """Fisher and Ryan, 1992. nashpy's support enumeration returns nothing on some of these."""
    for seed in range(4):
        upper = np.triu(np.random.default_rng((n, seed)).choice([-0.5, 0.5], (n, n)), 1)
        game = skew_game(upper - upper.T)
        solution = cg.nash(game)
        check_certificate(game, solution)
        assert solution.unique
        assert solution.support.sum() % 2 == 1


@pytest.mark.parametrize(("n", "seeds"), [(3, 20), (10, 20), (100, 20), (300, 3)])
def test_the_interior_point_method_needs_no_help_on_random_games(n, seeds):
    """To a gap of 1e-13, and where the game is small enough for it, HiGHS agrees."""
    for seed in range(seeds):
        game = random_game(n, seed)
        solution = cg.nash(game, solver="interior-point")
        check_certificate(game, solution)
        assert solution.relative_gap <= 1e-13
        assert solution.unique
        if n <= 10:
            by_program = cg.nash(game, solver="highs-ds")
            np.testing.assert_allclose(solution.policy, by_program.policy, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(solution.support, by_program.support)


def test_a_thousand_small_games_are_solved_together():
    games = random_game(10, 5, prompts=(1000,))
    solution = cg.nash(games)
    assert np.all(solution.status == "certified")
    assert np.all(solution.unique)
    assert solution.relative_gap.max() <= 1e-13
    # Brandl, 2017: every subset of odd size is equally likely, so the mean size is 5 and its variance
    # 10/4: five standard errors.
    assert abs(solution.support.sum(-1).mean() - 5) < 5 * np.sqrt(2.5 / 1000)


# An independent solver
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 10, 31])
def test_agrees_with_a_textbook_linear_program(n):
    for seed in range(3):
        game = random_game(n, seed)
        policy, value = value_program(np.asarray(game.skew))
        assert abs(value) < LINPROG
        np.testing.assert_allclose(cg.nash(game).policy, policy, rtol=0, atol=LINPROG)


def few_valued_game(seed):
    """A game of 2 to 7 actions with payoffs in {-1/2, 0, 1/2}, many of which have several Nash policies."""
    rng = np.random.default_rng(seed)
    n = 2 + seed % 6
    upper = np.triu(rng.choice([-0.5, 0.0, 0.5], (n, n), p=[0.3, 0.4, 0.3]), 1)
    return skew_game(upper - upper.T)


def test_support_and_uniqueness_of_games_with_many_ties():
    """The support is every action that any Nash policy uses; unique: no probability can vary."""
    num_unique = 0
    for seed in range(48):
        game = few_valued_game(seed)
        solution = cg.nash(game)
        check_certificate(game, solution)
        low, high = range_over_nash_set(np.asarray(game.skew))
        np.testing.assert_array_equal(solution.support, high > LINPROG, err_msg=f"seed {seed}")
        by_program = cg.nash(game, solver="highs-ipm")
        np.testing.assert_array_equal(by_program.support, solution.support)
        assert by_program.dimension == solution.dimension
        assert bool(solution.unique) == bool(np.all(high - low < LINPROG)), f"seed {seed}"
        num_unique += bool(solution.unique)
    assert 10 < num_unique < 38, "the games are no test of both answers"


@pytest.mark.parametrize("num_points", [3, 4, 5, 8, 15])
def test_a_disc_game_uses_all_points_and_is_unique_only_for_three(num_points):
    """skew_ij = w_i x w_j: Nash policies are those with mean point 0, a polytope of dimension m - 3."""
    rng = np.random.default_rng(num_points)
    # Consecutive angles less than pi apart, so that 0 is inside the convex hull.
    angles = (2 * np.pi * (np.arange(num_points) + rng.uniform(-0.2, 0.2, num_points))) / num_points
    x, y = rng.uniform(0.3, 1.0, num_points) * np.array([np.cos(angles), np.sin(angles)])
    cross = (x[:, None] * y[None, :]) / 2
    game = skew_game(cross - cross.T)
    solution = cg.nash(game)
    check_certificate(game, solution)
    assert solution.support.all()
    assert bool(solution.unique) == (num_points == 3)
    assert solution.dimension == num_points - 3
    np.testing.assert_allclose([solution.policy @ x, solution.policy @ y], 0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_nashpy_on_small_preference_games(seed):
    game = random_game(3 + seed % 2, seed)
    skew = np.asarray(game.skew)
    equilibria = list(nashpy.Game(skew, -skew).vertex_enumeration())
    assert len(equilibria) == 1
    row, column = equilibria[0]
    np.testing.assert_allclose(cg.nash(game).policy, row, rtol=0, atol=1e-10)
    np.testing.assert_allclose(cg.nash(game).policy, column, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_nashpy_on_small_zero_sum_games(seed):
    payoff = np.random.default_rng(seed).normal(size=(4, 4))
    equilibria = list(nashpy.Game(payoff).vertex_enumeration())
    assert len(equilibria) == 1
    solution = cg.nash(cg.ZeroSumGame(payoff))
    np.testing.assert_allclose(solution.policy, equilibria[0], rtol=0, atol=1e-10)
    assert solution.unique


# The certificate
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_the_certificate_is_the_gap_in_units_of_the_largest_payoff(scale):
    """(4 + t, 3 - t, 4) / 11 against COMAL's cycle: the gap is 2 max_i (A d)_i t / 11, d = (1, -1, 0)."""
    skew = scale * np.asarray(cg.games.comal_cycle().skew)
    slope = 2 * np.max(skew @ [1, -1, 0]) / 11 / np.abs(skew).max()
    support = np.ones(3, bool)
    for relative_gap, status in ((1e-10, "failed"), (3e-12, "failed"), (3e-13, "certified")):
        policy = COMAL_NASH + relative_gap / slope / 11 * np.array([1, -1, 0])
        solution = certify(skew_game(skew), policy, support, np.array(0), np.array(True))
        # Probabilities are rounded to 1e-16.
        for found in (solution.relative_gap, solution.gap / np.abs(skew).max()):
            np.testing.assert_allclose(found, relative_gap, rtol=0, atol=1e-15)
        assert solution.status == status


# Two players
# ------------------------------------------------------------------------------------------

# Its value is 1/4; used in regret-matching papers because RM+ does not converge on it.
SKEWED = np.array([[3.0, 0.0, -3.0], [0.0, 3.0, -4.0], [0.0, 0.0, 1.0]])
SKEWED_NASH = np.array([[1, 1, 10], [4, 5, 3]]) / 12


def two_player_gap(payoff, policy):
    """max_i (payoff q)_i - min_j (p payoff)_j in rational arithmetic."""
    p, q = ([Fraction(float(x)) for x in player] for player in policy)
    matrix = [[Fraction(float(x)) for x in row] for row in payoff]
    best = max(sum(a * b for a, b in zip(row, q, strict=True)) for row in matrix)
    worst = min(sum(a * b for a, b in zip(column, p, strict=True)) for column in zip(*matrix, strict=True))
    return best - worst


def test_a_zero_sum_game_with_known_policies():
    solution = cg.nash(cg.ZeroSumGame(SKEWED))
    np.testing.assert_allclose(solution.policy, SKEWED_NASH, **CLOSED_FORM)
    assert solution.unique
    assert solution.support.all()
    assert solution.status == "certified"
    p, q = solution.policy
    np.testing.assert_allclose([SKEWED @ q, p @ SKEWED], 0.25, rtol=0, atol=1e-14)


def test_slack_of_a_zero_sum_game_is_what_an_unused_action_loses():
    """Matching pennies with a third action each that pays its player 2 less than the first."""
    payoff = np.array([[1.0, -1.0, 3.0], [-1.0, 1.0, 1.0], [-1.0, -3.0, 0.0]])
    solution = cg.nash(cg.ZeroSumGame(payoff))
    np.testing.assert_allclose(solution.policy, [[0.5, 0.5, 0], [0.5, 0.5, 0]], **CLOSED_FORM)
    np.testing.assert_array_equal(solution.policy[:, 2], 0.0)
    np.testing.assert_allclose(solution.slack, [[0, 0, 2], [0, 0, 2]], rtol=0, atol=1e-14)
    assert solution.unique


@pytest.mark.parametrize(
    ("payoff", "unique"),
    [
        (np.eye(3), True),
        (np.zeros((2, 2)), False),
        (np.full((3, 3), 7.0), False),
        # The column player may mix: both columns are worth 1 against row 0, and row 1 never pays.
        ([[1.0, 1.0], [0.0, 0.0]], False),
        ([[1.0, 2.0], [0.0, 0.0]], True),
        ([[5.0]], True),
        # A copied column of a game with one equilibrium.
        (SKEWED[:, [0, 1, 1]], False),
    ],
)
def test_uniqueness_in_zero_sum_games(payoff, unique):
    solution = cg.nash(cg.ZeroSumGame(payoff))
    assert bool(solution.unique) == unique
    assert solution.status == "certified"


@pytest.mark.parametrize("exponent", range(-12, 13, 3))
def test_the_unit_of_payoff_does_not_matter(exponent):
    """linprog alone reports success with a relative gap of 1 on such payoffs."""
    scale = 10.0**exponent
    rng = np.random.default_rng(0)
    for payoff in (SKEWED, rng.normal(size=(5, 5)), rng.integers(-3, 4, (6, 6)).astype(float)):
        plain, scaled = cg.nash(cg.ZeroSumGame(payoff)), cg.nash(cg.ZeroSumGame(scale * payoff))
        assert scaled.status == "certified"
        assert two_player_gap(scale * payoff, scaled.policy) <= 1e-12 * scale * np.abs(payoff).max()
        np.testing.assert_array_equal(scaled.support, plain.support)
        np.testing.assert_allclose(scaled.policy, plain.policy, rtol=0, atol=1e-12)
        assert scaled.unique == plain.unique


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e-6, 1e-3])
def test_tiny_advantages_are_solved_as_well_as_large_ones(scale):
    game = cg.games.cycle(0.1 * scale, 0.2 * scale, 0.3 * scale)
    solution = cg.nash(game)
    check_certificate(game, solution)
    np.testing.assert_allclose(solution.policy, np.array([2, 3, 1]) / 6, **CLOSED_FORM)
    assert solution.unique


@pytest.mark.parametrize("scale", [1e-100, 1e-300])
def test_payoffs_far_below_rounding_are_solved_in_their_own_unit(scale):
    """Nothing but the ratios of payoffs decides, here and below the size at which their squares vanish."""
    game = skew_game(scale * np.asarray(cg.games.cycle(0.1, 0.2, 0.3).skew))
    solution = cg.nash(game)
    assert (solution.status, bool(solution.unique), int(solution.dimension)) == ("certified", True, 0)
    np.testing.assert_allclose(solution.policy, np.array([2, 3, 1]) / 6, **CLOSED_FORM)
    two_players = cg.nash(cg.ZeroSumGame(scale * SKEWED))
    assert (two_players.status, bool(two_players.unique)) == ("certified", True)
    np.testing.assert_allclose(two_players.policy, SKEWED_NASH, **CLOSED_FORM)


def test_a_constant_added_to_all_payoffs_does_not_matter():
    solution = cg.nash(cg.ZeroSumGame(SKEWED + 1000.0))
    # Adding 1000 rounds the payoffs by 1e-13 of their differences.
    np.testing.assert_allclose(solution.policy, SKEWED_NASH, rtol=0, atol=1e-11)
    assert solution.status == "certified"


@pytest.mark.parametrize("exponent", [-20, -16, -14, -13, -12, -11, -10, -7])
def test_a_badly_scaled_cycle_is_solved_or_said_to_be_undecided(exponent):
    """Below 1e-9 a linear program takes the small edge for 0, and the others for all of the game."""
    edge = 10.0**exponent
    game = cg.games.cycle(edge, 0.3, 0.4)
    solution = cg.nash(game)
    assert exact_gap(np.asarray(game.skew), solution.policy) <= Fraction(1e-12 * 0.4)
    # 64 rounding errors for each of three terms are a certain number; payoffs are in units of 0.4. The edge
    # is not 0, so that the Nash policy is unique and a tie must not be certified.
    rounding = 3 * np.finfo(float).eps * 0.4
    if edge > 64 * rounding:
        assert solution.status == "certified"
        assert solution.unique
        np.testing.assert_allclose(solution.policy, np.array([0.3, 0.4, edge]) / (0.7 + edge), rtol=1e-3)
    else:
        assert solution.status == "undecided"
        assert not solution.unique


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_games_of_almost_low_rank_are_certified_or_undecided(seed, temperature):
    """The higher the temperature, the smaller the payoffs beyond a part of rank 2: by 1e-11 and less."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * (np.arange(15) + rng.uniform(-0.2, 0.2, 15)) / 15
    points = rng.uniform(0.3, 1, (15, 1)) * np.stack([np.cos(angles), np.sin(angles)], -1)
    game = cg.games.general_preference(points, temperature)
    solution = cg.nash(game)
    assert solution.status in ("certified", "undecided")
    assert exact_gap(np.asarray(game.skew), solution.policy) <= Fraction(1e-12) * Fraction(
        float(np.abs(np.asarray(game.skew)).max())
    )
    np.testing.assert_array_equal(solution.policy > 0, solution.support)
    if solution.status == "certified":
        assert bool(solution.unique) == (solution.dimension == 0)


@pytest.mark.parametrize("coupling", [0.0, 1e-3, 1e-6, 1e-9, 1e-11, 1e-12])
def test_two_games_that_hardly_meet(coupling):
    """Apart they have a segment of Nash policies, together one on an odd number of actions."""
    skew = np.zeros((6, 6))
    skew[:3, :3], skew[3:, 3:] = RPS, RPS / 2
    skew[:3, 3:] = coupling * np.random.default_rng(0).uniform(-0.5, 0.5, (3, 3))
    skew[3:, :3] = -skew[:3, 3:].T
    solution = cg.nash(skew_game(skew))
    assert exact_gap(skew, solution.policy) <= Fraction(1e-12) / 2
    if coupling == 1e-12:
        assert solution.status == "undecided"
    else:
        check_certificate(skew_game(skew), solution)
        assert bool(solution.unique) == (coupling > 0)
        assert solution.support.sum() == (5 if coupling > 0 else 6)


# Forms
# ------------------------------------------------------------------------------------------


def test_a_batch_is_solved_prompt_by_prompt():
    games = [cg.games.comal_cycle(), skew_game(RPS), skew_game(np.zeros((3, 3))), skew_game(-RPS)]
    games += [random_game(3, seed) for seed in range(2)]
    skews = np.stack([np.asarray(game.skew) for game in games])
    together = cg.nash(skew_game(skews.reshape(2, 3, 3, 3)))
    assert together.policy.shape == together.support.shape == together.slack.shape == (2, 3, 3)
    assert together.gap.shape == together.unique.shape == together.status.shape == (2, 3)
    assert together.relative_gap.shape == together.dimension.shape == (2, 3)
    for k, game in enumerate(games):
        alone = cg.nash(game)
        for field, expected in alone._asdict().items():
            found = getattr(together, field)[divmod(k, 3)]
            if np.issubdtype(np.asarray(expected).dtype, np.floating):
                np.testing.assert_allclose(found, expected, rtol=1e-15, atol=1e-15, err_msg=field)
            else:
                np.testing.assert_array_equal(found, expected, err_msg=field)


def test_a_batch_of_zero_sum_games_has_players_before_actions():
    payoffs = np.stack([SKEWED, SKEWED[::-1, ::-1], np.zeros((3, 3))])
    together = cg.nash(cg.ZeroSumGame(payoffs))
    assert together.policy.shape == together.support.shape == together.slack.shape == (3, 2, 3)
    np.testing.assert_allclose(together.policy[0], SKEWED_NASH, **CLOSED_FORM)
    np.testing.assert_allclose(together.policy[1], SKEWED_NASH[:, ::-1], **CLOSED_FORM)
    np.testing.assert_array_equal(together.unique, [True, True, False])


def test_permuting_actions_permutes_the_solution():
    game, order = random_game(9, 3), np.random.default_rng(0).permutation(9)
    permuted = cg.nash(skew_game(np.asarray(game.skew)[np.ix_(order, order)]))
    np.testing.assert_allclose(permuted.policy, cg.nash(game).policy[order], rtol=0, atol=1e-14)


def test_log_probabilities_are_minus_infinity_exactly_off_the_support():
    game = random_game(10)
    solution = cg.nash(game)
    assert not solution.support.all()
    np.testing.assert_array_equal(np.isneginf(solution.logp), ~solution.support)
    np.testing.assert_allclose(np.exp(solution.logp), solution.policy, rtol=1e-15)
    # And they are what metrics take.
    assert float(cg.duality_gap(game, solution.logp)) <= 1e-15


def test_a_float32_game_is_solved_in_float64():
    with jax.enable_x64(False):
        game = cg.games.cycle(0.1, 0.2, 0.3)
        assert game.dtype == np.float32
        solution = cg.nash(game)
    check_certificate(game, solution)
    edges = np.float32([0.2, 0.3, 0.1]).astype(np.float64)
    np.testing.assert_allclose(solution.policy, edges / edges.sum(), **CLOSED_FORM)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("thing", [np.eye(2), "rps", None])
def test_what_is_not_a_game_is_refused(thing):
    for solver in (cg.nash, lambda game: cg.qre(game, 0.1).policy):
        with pytest.raises(ValueError, match="`game` must be a PreferenceGame"):
            solver(thing)


@pytest.mark.usefixtures("as_users_have_it")
def test_an_unknown_solver_is_refused():
    with pytest.raises(ValueError, match=r"`solver`.*interior-point"):
        cg.nash(cg.games.comal_cycle(), solver="simplex")


# The quantal response equilibrium
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 100.0])
def test_qre_is_its_own_regularized_best_response(temperature):
    game, reference = random_game(7), random_policy(7, seed=3)
    policy = cg.qre(game, temperature, reference).policy
    assert isinstance(policy, np.ndarray)
    assert policy.dtype == np.float64
    response = log_normalize(np.log(reference) + np.asarray(game.skew) @ policy / temperature)
    # The equation holds to the rounding of its largest term, payoff / temperature.
    np.testing.assert_allclose(policy, np.exp(response), rtol=0, atol=1e-14 * (1 + 1 / temperature))


def test_qre_of_three_hundred_actions_at_a_low_temperature():
    game = random_game(300)
    policy = cg.qre(game, 1e-3).policy
    response = np.exp(log_normalize(np.asarray(game.skew) @ policy / 1e-3))
    np.testing.assert_allclose(policy, response, rtol=0, atol=1e-12)
    assert np.log10(policy.min()) < -20


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_qre_of_two_actions_in_closed_form(temperature):
    """The advantages differ by the payoff s whatever the policy, so the odds are r0 / r1 exp(s / tau)."""
    policy = cg.qre(cg.PreferenceGame([[0.5, 0.7], [0.3, 0.5]]), temperature, [0.4, 0.6]).policy
    odds = 0.4 / 0.6 * np.exp(0.2 / temperature)
    np.testing.assert_allclose(policy, [odds / (1 + odds), 1 / (1 + odds)], rtol=1e-13)


def test_qre_tends_to_nash_in_proportion_to_the_temperature():
    game = cg.games.comal_cycle()
    temperatures = np.array([1e-2, 1e-3, 1e-4, 1e-5])
    errors = [np.abs(cg.qre(game, t, COMAL_START).policy - COMAL_NASH).max() for t in temperatures]
    # The equilibrium is a smooth function of the temperature with a nonzero slope at 0; the remainder of
    # relative size tau / w < 1e-2 / 0.2.
    np.testing.assert_allclose(np.array(errors[1:]) / errors[:-1], 0.1, rtol=0.06)
    assert errors[-1] < 1e-4


def test_qre_tends_to_the_reference_at_high_temperature():
    reference = random_policy(7, seed=3)
    # Log-probabilities move by at most twice the largest advantage, 1/2, over the temperature.
    np.testing.assert_allclose(cg.qre(random_game(7), 1e6, reference).policy, reference, rtol=1.1e-6)


def test_qre_keeps_the_references_odds_between_copies_of_an_action():
    which = [0, 1, 2, 2]
    policy = cg.qre(skew_game(RPS[np.ix_(which, which)]), 0.01, [0.3, 0.3, 0.3, 0.1]).policy
    np.testing.assert_allclose(policy[2] / policy[3], 3, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.02, 0.2])
def test_the_gap_of_qre_is_at_most_twice_the_temperature_times_log_n(temperature):
    """At equilibrium max_i A_i - p.A <= tau log(1 / min reference), and p.A = 0."""
    for seed in range(5):
        game = random_game(10, seed)
        gap = 2 * np.max(np.asarray(game.skew) @ cg.qre(game, temperature).policy)
        assert 0 < gap <= 2 * temperature * np.log(10)


def test_qre_of_a_batch_is_solved_prompt_by_prompt():
    games = random_game(7, seed=2, prompts=(2, 3))
    references = random_policy(3, 7, seed=1)  # shared by the games along the first axis
    together = cg.qre(games, 0.1, references).policy
    assert together.shape == (2, 3, 7)
    for i, j in np.ndindex(2, 3):
        alone = cg.qre(skew_game(games.skew[i, j]), 0.1, references[j]).policy
        # The solve is the same; only the order of sums may differ.
        np.testing.assert_allclose(together[i, j], alone, rtol=0, atol=1e-13)


def test_qre_works_in_float64_while_x64_is_off():
    with jax.enable_x64(False):
        game = cg.PreferenceGame.from_skew(np.float32(RPS))
        policy = cg.qre(game, 0.1, COMAL_START).policy
        assert jnp.zeros(1).dtype == jnp.float32
    assert policy.dtype == np.float64
    np.testing.assert_allclose(policy, cg.qre(skew_game(RPS), 0.1, COMAL_START).policy, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("temperature", [0, -0.1, np.nan, np.inf, "0.1", None, [0.1, -0.2], [], [[0.1]]])
def test_qre_refuses_a_temperature_that_is_no_positive_number(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number > 0"):
        cg.qre(cg.games.comal_cycle(), temperature)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("reference", "word"),
    [
        ([0.5, 0.5], "policy over 3 actions"),
        ([0.5, 0.5, 0.0], "excludes action 2"),
        ([0.5, 0.4, 0.2], "on the simplex"),
        ([0.5, 0.6, -0.1], "on the simplex"),
        ([0.5, 0.5, np.nan], "finite"),
        (np.log([0.2, 0.3, 0.5]), "pass jnp.exp"),
    ],
)
def test_qre_refuses_a_reference_that_is_no_positive_policy(reference, word):
    with pytest.raises(ValueError, match=word):
        cg.qre(cg.games.comal_cycle(), 0.1, reference)


@pytest.mark.usefixtures("as_users_have_it")
def test_qre_refuses_another_regularizer_for_two_players():
    with pytest.raises(ValueError, match="`regularizer` must be KL"):
        cg.qre(cg.ZeroSumGame(SKEWED), 0.1, None, cg.regularizers.chi_squared)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 5), (12, 4)], ids=str)
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 10.0])
def test_qre_of_two_players_is_a_pair_of_regularized_best_responses(shape, temperature):
    rng = np.random.default_rng(shape)
    payoffs = rng.normal(size=(3, *shape))
    references = [rng.dirichlet(np.ones(size)) for size in shape]
    game = cg.ZeroSumGame(payoffs)
    solution = cg.qre(game, temperature, references)
    np.testing.assert_array_equal(solution.status, "certified")
    row, column = game.players(solution.policy)
    np.testing.assert_allclose(solution.policy.sum(-1), 1, rtol=0, atol=1e-14)
    best_row = log_normalize(np.log(references[0]) + np.einsum("gij,gj->gi", payoffs, column) / temperature)
    best_column = log_normalize(np.log(references[1]) - np.einsum("gij,gi->gj", payoffs, row) / temperature)
    for mine, best in ((row, best_row), (column, best_column)):
        np.testing.assert_allclose(mine, np.exp(best), rtol=0, atol=1e-14 * (1 + 10 / temperature))


def test_qre_of_two_players_with_a_symmetric_game_is_that_of_one():
    both = cg.qre(cg.ZeroSumGame(cg.games.comal_cycle().skew), 0.1, [COMAL_START, COMAL_START])
    one = cg.qre(cg.games.comal_cycle(), 0.1, COMAL_START)
    np.testing.assert_allclose(both.logp, [one.logp, one.logp], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "game", [cg.games.comal_cycle(), random_game(4, prompts=(2,)), cg.ZeroSumGame(np.eye(2, 3))], ids=type
)
def test_qre_at_several_temperatures(game):
    temperatures = [1.0, 0.1, 1e-4]
    together = cg.qre(game, temperatures)
    assert together.logp.shape == (3, *game.policy_shape)
    assert np.shape(together.status) == np.shape(together.regularized_gap)
    for each, temperature in enumerate(temperatures):
        alone = cg.qre(game, temperature)
        np.testing.assert_allclose(together.policy[each], alone.policy, rtol=0, atol=1e-11)
        np.testing.assert_array_equal(together.status[each], "certified")
    general = cg.qre(cg.games.comal_cycle(), [1.0, 0.1], None, cg.regularizers.chi_squared)
    alone = cg.qre(cg.games.comal_cycle(), 0.1, None, cg.regularizers.chi_squared)
    np.testing.assert_allclose(general.policy[1], alone.policy, rtol=0, atol=1e-12)


def test_log_probabilities_of_qre_do_not_underflow():
    solution = cg.qre(random_game(10), 1e-4)
    assert solution.policy.min() == 0
    assert np.all(np.isfinite(solution.logp))
    response = log_normalize(np.asarray(random_game(10).skew) @ solution.policy / 1e-4)
    np.testing.assert_allclose(solution.logp, response, rtol=1e-10)


def test_the_regularized_gap_of_qre_is_the_metric():
    game, policy = random_game(5), random_policy(5)
    solution = cg.qre(game, 0.1, policy)
    assert solution.regularized_gap <= 1e-20
    metric = cg.regularized_gap(0.1, jnp.log(policy))
    assert float(metric(game, jnp.asarray(solution.logp))) == pytest.approx(0, abs=1e-12)


def test_an_equilibrium_that_is_not_found_is_failed(monkeypatch):
    monkeypatch.setattr(proximal, "MAX_SOLVES", 1)
    monkeypatch.setattr(quantal, "_equilibrium", proximal.regularized_equilibrium)
    games = random_game(10, prompts=(3,))
    with jax.disable_jit():
        solution = cg.qre(games, 1e-3)
    np.testing.assert_array_equal(solution.status, "failed")
    assert np.all(solution.regularized_gap > 0)


@pytest.mark.parametrize(
    ("rows", "running", "is_limited"), [(10, 1, True), (11, 1, False), (11, 3, True), (11, None, False)]
)
def test_blas_has_one_thread_in_a_small_game_or_on_busy_cores(
    rows, running, is_limited, monkeypatch, tmp_path
):
    def num_threads():
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    def spy(skew):
        seen.append(num_threads())
        return interior_point(skew)

    seen, game = [], random_game(rows)
    monkeypatch.setattr(threads, "ONE_THREAD", 10)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads, "PROC", tmp_path)
    if running is not None:
        (tmp_path / "loadavg").write_text(f"0.52 0.58 0.59 {running}/389 7712\n")
        for number, state in (("7712", "R"), ("7713", "S")):
            (tmp_path / "self" / "task" / number).mkdir(parents=True)
            (tmp_path / "self" / "task" / number / "stat").write_text(
                f"{number} (a (b) R) {state} 7600 7712\n"
            )
    monkeypatch.setattr("comalgames.equilibria.exact.interior_point", spy)
    with threadpool_limits(limits=2, user_api="blas"):
        cg.nash(game)
        assert num_threads() == {2}
    assert seen == [{1} if is_limited else {2}]


# Players with different numbers of actions ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 6), (6, 2), (5, 12), (30, 9)], ids=str)
def test_games_with_more_rows_or_columns(shape):
    """Against the linear program of either player, which has the value of the game."""
    rng = np.random.default_rng(shape)
    payoffs = rng.normal(size=(4, *shape)) * 10.0 ** rng.integers(-9, 9, (4, 1, 1))
    solution = cg.nash(cg.ZeroSumGame(payoffs))
    np.testing.assert_array_equal(solution.status, "certified")
    turned = cg.nash(cg.ZeroSumGame(-payoffs.swapaxes(-1, -2)))
    for each, payoff in enumerate(payoffs):
        game = cg.ZeroSumGame(payoff)
        row, column = game.players(solution.policy[each])
        (m, n), size = shape, np.abs(payoff).max()
        np.testing.assert_allclose([row.sum(), column.sum()], 1, rtol=0, atol=1e-14)
        answer = linprog(
            np.eye(n + 1)[-1],
            A_ub=np.hstack([payoff / size, -np.ones((m, 1))]),
            b_ub=np.zeros(m),
            A_eq=[[*np.ones(n), 0.0]],
            b_eq=[1.0],
            bounds=[(0, None)] * n + [(None, None)],
        )
        value = size * answer.fun
        assert np.max(payoff @ column) == pytest.approx(value, abs=1e-9 * size)
        assert np.min(row @ payoff) == pytest.approx(value, abs=1e-9 * size)
        back = cg.ZeroSumGame(-payoff.T).players(turned.policy[each])
        np.testing.assert_allclose(np.concatenate(back), [*column, *row], rtol=0, atol=1e-12)
        rows, columns = game.players(solution.slack[each])
        assert np.all(rows >= 0)
        assert np.all(columns >= 0)
        assert np.sum(np.isinf(solution.slack[each])) == abs(m - n)


def test_a_set_of_policies_of_players_with_different_numbers_of_actions():
    game = cg.ZeroSumGame([[1.0, 1.0, 0.0], [1.0, 1.0, 2.0]])  # the third column pays 2 p_2, the others 1
    solution = cg.nash(game)
    assert (solution.status, solution.dimension) == ("certified", 2)
    row, column = game.players(cg.nash(game, select=([0.7, 0.3], [0.2, 0.2, 0.6])).policy)
    np.testing.assert_allclose(row, [0.5, 0.5], rtol=0, atol=1e-9)  # at the boundary: p_2 >= 1/2
    np.testing.assert_allclose(column, [0.5, 0.5, 0], rtol=0, atol=1e-9)
    distance = cg.kl_to_nash_set(game, solution)
    # log 2 for the row player would be wrong: uniform is Nash. The column player's best is (1/2, 1/2, 0).
    assert float(distance(game, game.uniform())) == pytest.approx(np.log(3 / 2), abs=1e-9)


def test_a_learned_policy_of_players_with_different_numbers_of_actions():
    game = cg.ZeroSumGame([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    target = cg.nash(game)
    start = ([0.3, 0.7], [0.2, 0.2, 0.6])
    for rule in (cg.OptimisticMWU(0.1), cg.COMAL(cg.MirrorDescent(0.1, 0.1))):
        result = cg.solve(game, rule, 20_000, init=start, metrics={"kl": cg.kl_to_nash_set(game, target)})
        np.testing.assert_allclose(result.policy, target.policy, rtol=0, atol=1e-6)
        assert result.history["kl"][-1] < 1e-6
        assert cg.duality_gap(game, result.logp) < 1e-5
