"""What "certified" means on games made to break it, by rational arithmetic on the payoffs as stored."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
from exact import kernel, the_nash_policy_on
from helpers import random_game

import comalgames as cg
from comalgames.equilibria import face, linear_program, robust
from comalgames.equilibria.dominance import rescaled, undominated
from comalgames.equilibria.ties import PRIMES, rank

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 2


def skew_game(skew):
    return cg.PreferenceGame.from_skew(np.asarray(skew, np.float64))


def skew_of(upper):
    """The antisymmetric matrix with these entries above the diagonal, row by row."""
    n = round((1 + np.sqrt(1 + 8 * len(upper))) / 2)
    skew = np.zeros((n, n))
    skew[np.triu_indices(n, 1)] = upper
    return skew - skew.T


# Solvers that do not stop -----------------------------------------------------------------------------------

# Rank 2 up to 5e-8: the interior-point method of HiGHS hands over to simplex iterations that go on forever.
ENDLESS = skew_of(
    [
        *(0.4345567789928283, -0.5, 0.04627857581087635, 0.0028883835599550767),
        *(0.26472732318295944, -0.20179810041379323, 0.06156974001945681),
        *(0.20399600465829118, -0.07260159276260417, 0.007898260287342765),
    ]
)
CALLS = {
    "nash": (face, lambda game: cg.nash(game, solver="highs-ipm")),
    "robust": (robust, lambda game: cg.robust_nash(game, 0.1)),
    "annotators": (robust, lambda game: cg.annotator_robust_nash(cg.games.stack([game, game]))),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_linear_program_has_limits(name, monkeypatch):
    module, solve = CALLS[name]
    plain, seen = module.linprog, []

    def watched(*arguments, **settings):
        seen.append(settings.get("options", {}))
        return plain(*arguments, **settings)

    monkeypatch.setattr(module, "linprog", watched)
    solve(random_game(5))
    assert seen
    for options in seen:
        assert 0 < options["time_limit"] < np.inf
        assert 0 < options["maxiter"] < 1e5


@pytest.mark.parametrize("solver", [None, "highs-ipm", "highs-ds"])
def test_a_program_without_end_is_not_solved_and_the_batch_goes_on(solver):
    others = [random_game(5, seed).skew for seed in range(2)]
    solution = cg.nash(skew_game([others[0], ENDLESS, others[1]]), solver=solver)
    np.testing.assert_array_equal(solution.status[[0, 2]], "certified")
    if solver is not None:
        assert solution.status[1] == "failed"


@pytest.mark.parametrize("name", CALLS)
def test_a_limit_that_is_reached_is_not_a_solution(name, monkeypatch):
    monkeypatch.setattr(linear_program, "ITERATIONS", 0)
    assert CALLS[name][1](random_game(12, 1)).status == "failed"


# Supports that rounding decides -----------------------------------------------------------------------------

# Rank 2 up to 1e-8, at which one probability is as large as the error of the solution.
UNDECIDABLE = skew_of(
    [
        *(0.27526925745448994, -0.4282419521427807, 0.5, 0.12931674064911855),
        *(0.031532805808643, 0.06283225509044561, -0.0966928024591971),
        *(-0.1550257042010669, 0.13561338750787336),
        -0.2051506593305019,
    ]
)


def almost_of_rank_two(exponent, seed, n=5):
    """a b' - b a' for two random vectors, and noise that is 10^-exponent of it."""
    rng = np.random.default_rng((exponent, seed))
    a, b = rng.normal(size=(2, n))
    upper = np.triu(np.outer(a, b) - np.outer(b, a) + 10.0**-exponent * rng.normal(size=(n, n)), 1)
    return (upper - upper.T) / (2 * np.abs(upper).max())


def test_a_probability_within_its_error_is_undecided():
    for solver in (None, "interior-point", "highs-ds"):
        solution = cg.nash(skew_game(UNDECIDABLE), solver=solver)
        assert solution.status != "certified"
        assert not solution.unique
    assert cg.nash(skew_game(UNDECIDABLE)).status == "undecided"


@pytest.mark.parametrize("exponent", range(8, 16))
def test_what_is_certified_on_games_of_almost_rank_two_is_so(exponent):
    """The error of a solution grows with the inverse of the part beyond rank 2."""
    skews = np.stack([almost_of_rank_two(exponent, seed) for seed in range(25)])
    solution = cg.nash(skew_game(skews))
    for skew, support, policy, dimension, status, unique in zip(
        skews,
        solution.support,
        solution.policy,
        solution.dimension,
        solution.status,
        solution.unique,
        strict=True,
    ):
        assert status in ("certified", "tied", "undecided")
        assert bool(unique) == (status == "certified" and dimension == 0)
        if unique:
            exactly = the_nash_policy_on(skew, support)
            assert exactly is not None
            np.testing.assert_allclose(policy, exactly, rtol=0, atol=1e-6)
        elif status == "tied":
            # `nash` scales the largest payoff to between 1/2 and 1, and counts numbers up to 4 n eps as 0.
            values = np.linalg.svd(skew[np.ix_(support, support)])[1]
            assert np.sum(values <= 4 * 5 * np.finfo(float).eps) == dimension + 1
    assert np.any(solution.unique), "the games are no test"
    assert np.all(solution.dimension[solution.status == "certified"] == 0)
    if exponent <= 13:
        assert not np.any(solution.status == "tied")


@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_games_of_small_whole_numbers_are_certified_exactly(n):
    upper = np.random.default_rng(n).integers(-3, 4, (100, n, n))
    skews = np.triu(upper, 1) - np.triu(upper, 1).swapaxes(-1, -2)
    solution = cg.nash(skew_game(skews / 8))
    np.testing.assert_array_equal(solution.status, "certified")
    for skew, support, policy, unique in zip(
        skews, solution.support, solution.policy, solution.unique, strict=True
    ):
        exactly = the_nash_policy_on(skew, support)
        assert (exactly is not None) == unique
        if unique:
            np.testing.assert_allclose(policy, exactly, rtol=0, atol=1e-14)


def test_ties_are_exact_modulo_no_prime_that_a_game_is_likely_to_hold():
    """Ranks without rounding, against elimination with fractions; payoffs of the largest integers too."""
    for x in (2**31 - 1, 2**31, 2**32 - 1, 2**61 - 1, 1, *PRIMES):
        assert rank(np.array([[0, x], [-x, 0]]) / 2.0**62) == 2
        assert rank(np.array([[x, x], [x, x]]) / 2.0**62) == 1
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = int(rng.integers(2, 7))
        which = rng.integers(0, n, n)
        matrix = (rng.normal(size=(n, n)) * 10.0 ** -rng.integers(0, 300, (n, n)))[np.ix_(which, which)]
        exact = [[Fraction(x) for x in row] for row in matrix.tolist()]
        assert rank(matrix) == n - len(kernel(exact))


def test_a_near_tie_orthogonal_to_fixed_random_vectors_is_found():
    """Two directions of almost equal payoffs, hidden from the vectors of one seed."""
    n, size = 13, 1e-16
    hidden = np.random.default_rng(0).standard_normal((n + 1, 8))[:n]
    skews = []
    for seed in range(64):
        rng = np.random.default_rng(seed)
        policy = rng.dirichlet(np.full(n, 5.0))
        free = scipy.linalg.null_space(np.column_stack([hidden, np.ones(n), policy]).T)
        pair = free @ np.linalg.qr(rng.normal(size=(free.shape[1], 2)))[0]
        rest = scipy.linalg.null_space(np.column_stack([policy, pair]).T)
        core = rng.normal(size=(n - 3, n - 3))
        skew = rest @ (core - core.T) @ rest.T
        skew = skew / (2.2 * np.abs(skew).max()) + size * np.outer(pair[:, 0], pair[:, 1])
        upper = np.triu(skew - size * np.outer(pair[:, 1], pair[:, 0]), 1)
        skews.append(upper - upper.T)
    games = skew_game(np.stack(skews))
    solution = cg.nash(games)
    assert not np.any(solution.unique)


def test_a_unique_policy_of_nearly_singular_equations_is_refined():
    """On games of which the interior-point method leaves the decision to the singular values."""
    seen = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        policy = rng.dirichlet(np.ones(5))
        free = scipy.linalg.null_space(np.stack([policy]))
        core = rng.normal(size=(4, 4))
        u, values, v = np.linalg.svd(core - core.T)
        values[2:] = values[0] * 10.0 ** -rng.uniform(12.0, 12.8)
        skew = free @ ((u * values / values[0]) @ v) @ free.T
        upper = np.triu(skew, 1) / 2
        skew = upper - upper.T
        support = np.ones(5, bool)
        answer = face.face(skew, policy, support)
        exactly = the_nash_policy_on(skew, support)
        if exactly is None or not answer.clear or answer.dimension:
            continue
        np.testing.assert_allclose(answer.policy, exactly, rtol=0, atol=1e-9)
        seen += 1
    assert seen > 5


# Members on demand ------------------------------------------------------------------------------------------


def test_selected_policies_have_no_negative_probabilities():
    """Removing the rounding errors of the equations takes tiny probabilities below 0."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        upper = np.triu(rng.choice([-0.5, 0.0, 0.5], (6, 6), p=[0.3, 0.4, 0.3]), 1)
        for reference in ([1e-25, *[0.2] * 4, 0.2 - 1e-25], [0.5, 1e-30, 1e-30, 1e-30, 0.25, 0.25]):
            solution = cg.nash(skew_game(upper - upper.T), select=np.array(reference) / sum(reference))
            assert solution.policy.min() >= 0
            assert not np.any(np.isnan(solution.logp))
            np.testing.assert_array_equal(np.isneginf(solution.logp), solution.policy == 0)


@pytest.mark.parametrize("huge", [1e3, 1e6, 1e10, 1e13, 1e16, 1e100])
def test_a_huge_payoff_that_nobody_plays_does_not_make_a_gap_look_small(huge):
    """Matching pennies and a cycle, each with an action that loses `huge` against all others."""
    pennies = np.zeros((3, 3))
    pennies[:2, :2] = [[1, -1], [-1, 1]]
    pennies[2], pennies[:, 2], pennies[2, 2] = -huge, huge, 0
    cycle = np.zeros((4, 4))
    cycle[:3, :3] = [[0, 1, -0.3], [-1, 0, 1], [0.3, -1, 0]]
    cycle[3, :3], cycle[:3, 3] = -huge, huge
    for game, unit in (
        (cg.ZeroSumGame(pennies), 1.0),
        (cg.PreferenceGame.from_skew(cycle / (2 * huge)), 2 * huge),
    ):
        solution = cg.nash(game)
        assert solution.status == "certified"
        assert solution.unique
        assert solution.gap * unit < 1e-11
        assert np.all(np.ravel(solution.policy)[[-1]] == 0)


def by_looking(payoff):
    """Rows and columns that survive, one dominated action after another."""
    rows, columns = list(range(payoff.shape[0])), list(range(payoff.shape[1]))
    while True:
        for lists, table in ((rows, payoff), (columns, -payoff.T)):
            others = columns if lists is rows else rows
            worse = [i for i in lists if any(all(table[i, k] < table[j, k] for k in others) for j in lists)]
            if worse:
                lists.remove(worse[0])
                break
        else:
            return rows, columns


def test_dominated_actions_are_removed_in_rounds():
    rng = np.random.default_rng(0)
    removed = 0
    for _ in range(200):
        payoff = rng.integers(-2, 3, rng.integers(1, 6, 2)) * 1.0
        payoff += rng.integers(-2, 3, (len(payoff), 1)) + rng.integers(-2, 3, payoff.shape[1])
        kept = undominated(payoff)
        assert [np.flatnonzero(actions).tolist() for actions in kept] == [*map(list, by_looking(payoff))]
        smaller = rescaled(payoff, *kept)
        again = undominated(smaller)
        np.testing.assert_array_equal(again[0], kept[0])
        np.testing.assert_array_equal(again[1], kept[1])
        removed += sum(np.sum(~actions) for actions in kept)
    assert removed > 100
    skew = random_game(6).skew
    kept = (np.array([1, 1, 1, 0, 0, 1], bool),) * 2
    filled = rescaled(np.asarray(skew), *kept)
    np.testing.assert_array_equal(filled, -filled.T)


def test_huge_payoffs_of_several_sizes_are_removed_in_rounds():
    """A cycle below four actions, each of which loses a thousand million times more than the one before."""
    skew = np.zeros((7, 7))
    skew[:3, :3] = RPS
    for k in range(3, 7):
        skew[k, :k], skew[:k, k] = -(1e9 ** (k - 2)), 1e9 ** (k - 2)
    solution = cg.nash(skew_game(skew / (2 * np.abs(skew).max())))
    assert solution.status == "certified"
    np.testing.assert_allclose(solution.policy[:3], 1 / 3, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(solution.policy[3:], 0)
