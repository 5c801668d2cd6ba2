"""The set of all Nash policies: its dimension, its members on demand, and the distance to it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import random_game, random_policy

import comalgames as cg
from comalgames.equilibria import nash_set

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 2


def skew_game(skew):
    return cg.PreferenceGame.from_skew(np.asarray(skew, np.float64))


def copied(skew, which):
    return skew_game(np.asarray(skew)[np.ix_(which, which)])


def kl(p, q):
    return float(np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0.0)))


def disc(num_points, seed=0):
    """Points all around 0, and their game: Nash policies have the mean point 0."""
    rng = np.random.default_rng((num_points, seed))
    angles = 2 * np.pi * (np.arange(num_points) + rng.uniform(-0.2, 0.2, num_points)) / num_points
    points = rng.uniform(0.3, 1.0, num_points) * np.array([np.cos(angles), np.sin(angles)])
    return cg.games.disc(points.T), points


def few_valued_game(seed):
    rng = np.random.default_rng(seed)
    n = 3 + seed % 5
    upper = np.triu(rng.choice([-0.5, 0.0, 0.5], (n, n), p=[0.3, 0.4, 0.3]), 1)
    return skew_game(upper - upper.T)


def by_a_general_solver(game, policy):
    """min KL(p || policy) over {p on the simplex: skew p <= 0}, by sequential quadratic programming."""
    skew, n = np.asarray(game.skew), game.num_actions
    found = scipy.optimize.minimize(
        lambda p: np.sum(p * np.log(np.maximum(p, 1e-300) / policy)),
        cg.nash(game).policy,
        jac=lambda p: np.log(np.maximum(p, 1e-300) / policy) + 1,
        bounds=[(0, 1)] * n,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1, "jac": lambda p: np.ones(n)},
            {"type": "ineq", "fun": lambda p: -skew @ p, "jac": lambda p: -skew},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    # It may end outside of the set, where the objective is lower by about as much.
    outside = max(np.max(skew @ found.x), abs(found.x.sum() - 1), 0.0)
    return found.fun + outside * np.max(np.abs(found.jac))


def log(policy):
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log(policy))


# Its dimension ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "support", "dimension"),
    [
        pytest.param(copied(RPS, [0, 1, 2, 2]), 4, 1, id="a copy"),
        pytest.param(copied(RPS, [0, 1, 2, 2, 2, 0]), 6, 3, id="three copies"),
        pytest.param(disc(8)[0], 8, 5, id="disc"),
        pytest.param(cg.games.blotto(5, 3), 9, 4, id="Blotto (5, 3)"),
        pytest.param(cg.games.blotto(10, 3), 48, 29, id="Blotto (10, 3)"),
        pytest.param(skew_game(np.zeros((4, 4))), 4, 3, id="ties"),
    ],
)
@pytest.mark.parametrize("solver", ["interior-point", "highs-ds"])
def test_dimension_and_largest_support(game, support, dimension, solver):
    solution = cg.nash(game, solver=solver)
    # The payoffs of a disc game of eight points are tied up to their rounding only.
    assert solution.status == ("tied" if support == 8 else "certified")
    assert solution.support.sum() == support
    assert solution.dimension == dimension
    assert not solution.unique


def test_two_players_have_a_set_each():
    """Abe et al.'s 5 x 5 game: one policy for the rows, a triangle of them for the columns."""
    game = cg.games.many_equilibria()
    payoff = np.asarray(game.payoff)
    solution = cg.nash(game)
    assert solution.status == "certified"
    assert solution.dimension == 2
    np.testing.assert_array_equal(solution.support, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    policy = random_policy(2, 5, seed=1)
    distance = cg.kl_to_nash_set(game, solution)(game, log(policy))
    nearest = cg.nash(game, select=policy).policy
    np.testing.assert_allclose(float(distance), kl(nearest[0], policy[0]) + kl(nearest[1], policy[1]))
    # The columns' Nash policies by their own linear inequalities: no row earns more than the value, 0.
    columns = scipy.optimize.minimize(
        lambda q: np.sum(q * np.log(np.maximum(q, 1e-300) / policy[1])),
        solution.policy[1],
        bounds=[(0, 1)] * 5,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "ineq", "fun": lambda q: -payoff @ q},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(kl(nearest[1], policy[1]), columns.fun, rtol=1e-5)


# The distance to it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_distance_of_a_disc_game_is_that_of_an_exponential_family(seed):
    """min KL(p || x) with mean point 0: p ~ x exp(<l, w>), l minimizing the log-partition function."""
    game, points = disc(8, seed)
    policy = random_policy(8, seed=seed)
    dual = scipy.optimize.minimize(
        lambda l: np.log(np.sum(policy * np.exp(l @ points))),  # noqa: E741
        np.zeros(2),
        tol=1e-14,
    )
    found = float(cg.kl_to_nash_set(game)(game, log(policy)))
    np.testing.assert_allclose(found, -dual.fun, rtol=1e-9)


def test_it_is_never_above_any_members_and_attained_by_the_selected_one():
    several = 0
    for seed in range(40):
        game, policy = few_valued_game(seed), random_policy(3 + seed % 5, seed=seed)
        solution = cg.nash(game)
        several += int(solution.dimension > 0)
        distance = float(cg.kl_to_nash_set(game, solution)(game, log(policy)))
        # A general solver may stop early: it is an upper bound, and often exact.
        assert distance <= by_a_general_solver(game, policy) + 1e-9
        assert distance <= kl(solution.policy, policy) + 1e-12
        nearest = cg.nash(game, select=policy)
        assert nearest.status == "certified"
        np.testing.assert_allclose(kl(nearest.policy, policy), distance, rtol=1e-9, atol=1e-13)
        assert nearest.policy[~solution.support].max(initial=0) == 0
    assert several > 10, "the games are no test"


def test_where_nash_is_unique_it_is_the_distance_to_it():
    game = random_game(10, 3)
    solution = cg.nash(game)
    policy = random_policy(10, seed=2)
    found = float(cg.kl_to_nash_set(game)(game, log(policy)))
    np.testing.assert_allclose(found, kl(solution.policy, policy), rtol=1e-13)


def test_one_vertex_overstates_it_manyfold():
    """Why it matters: a vertex of the set, as a simplex method returns it, is far from most policies."""
    game, _ = disc(8)
    skew = np.asarray(game.skew)
    vertex = scipy.optimize.linprog(
        np.random.default_rng(0).normal(size=8), A_ub=skew, b_ub=np.zeros(8), A_eq=np.ones((1, 8)), b_eq=[1.0]
    ).x
    uniform = np.full(8, 1 / 8)
    found = float(cg.kl_to_nash_set(game)(game, log(uniform)))
    assert kl(vertex, uniform) > 10 * found > 0


def test_it_is_zero_on_the_set_and_tiny_near_it():
    game, _ = disc(8)
    members = [cg.nash(game).policy, cg.nash(game, select="max-entropy").policy]
    metric = cg.kl_to_nash_set(game)
    for weight in (0.0, 0.3, 1.0):
        member = weight * members[0] + (1 - weight) * members[1]
        assert float(metric(game, log(member))) < 1e-30
        off = member * (1 + 1e-7 * np.cos(np.arange(8)))
        # Quadratic in the deviation, and not lost to rounding.
        assert 1e-17 < float(metric(game, log(off / off.sum()))) < 1e-13


@pytest.mark.parametrize("spread", [10, 100, 5000])
def test_policies_at_the_boundary_are_no_trouble(spread):
    game, points = disc(8)
    logp = np.random.default_rng(0).normal(size=8)
    logp = spread * (logp - logp.max())
    logp -= np.log(np.sum(np.exp(logp)))
    found = float(cg.kl_to_nash_set(game)(game, jnp.asarray(logp)))
    # The linear program min <p, -logp> over the set, less at most log n of entropy.
    program = scipy.optimize.linprog(-logp, A_eq=np.vstack([points, np.ones(8)]), b_eq=[0, 0, 1.0])
    assert program.fun - np.log(8) <= found <= program.fun + 1e-9


def test_it_is_infinite_iff_every_nash_policy_uses_what_the_policy_excludes():
    game = copied(RPS, [0, 1, 2, 2])
    metric = cg.kl_to_nash_set(game)
    without_a_copy = float(metric(game, log(np.array([0.3, 0.3, 0.4, 0.0]))))
    np.testing.assert_allclose(without_a_copy, kl(np.full(3, 1 / 3), np.array([0.3, 0.3, 0.4])), rtol=1e-6)
    assert np.isinf(float(metric(game, log(np.array([0.0, 0.3, 0.4, 0.3])))))


@pytest.mark.parametrize("weight", [1e-2, 1e-5, 3e-8])
def test_a_small_nash_weight_on_an_excluded_action_is_infinitely_far(weight):
    """The cycle's Nash policy gives the action opposite an edge a share in proportion to that edge."""
    edge = 0.7 * weight / (1 - weight)
    for game in (cg.games.cycle(edge, 0.3, 0.4), copied(cg.games.cycle(edge, 0.3, 0.4).skew, [0, 1, 2, 1])):
        metric, logp = cg.kl_to_nash_set(game), np.full(game.num_actions, 1 / (game.num_actions - 1))
        assert np.isfinite(float(metric(game, log(np.full(game.num_actions, 1 / game.num_actions)))))
        logp[2] = 0.0
        assert np.isinf(float(metric(game, log(logp))))


def test_it_is_recorded_in_runs_and_comal_never_moves_away_from_the_set():
    game, _ = disc(8)
    rule = cg.COMAL(cg.ExactProx(0.1), period=1)
    start = random_policy(8, seed=5)
    run = cg.solve(game, rule, 60, init=start, metrics={"kl": cg.kl_to_nash_set(game)})
    assert np.all(np.diff(run.history["kl"]) < 1e-13)
    assert run.history["kl"][-1] < 1e-10
    # Methods that add multiples of the advantage to log-probabilities end at the KL projection of the start.
    nearest = cg.nash(game, select=start).policy
    np.testing.assert_allclose(cg.solve(game, rule, 600, init=start).policy, nearest, rtol=0, atol=1e-7)


def test_prompts_and_batches_each_have_their_own():
    games = [copied(RPS, [0, 1, 2, 2]), skew_game(np.zeros((4, 4))), random_game(4, 0)]
    together = skew_game(np.stack([np.asarray(game.skew) for game in games]))
    logp = log(random_policy(5, 3, 4, seed=1))
    found = cg.kl_to_nash_set(together)(together, logp)
    assert found.shape == (5, 3)
    for k, game in enumerate(games):
        alone = cg.kl_to_nash_set(game)
        np.testing.assert_allclose(found[:, k], alone(game, logp[:, k]), rtol=1e-12, atol=1e-15)
    jitted = eqx.filter_jit(cg.kl_to_nash_set(together))(together, logp)
    np.testing.assert_allclose(jitted, found, rtol=1e-12, atol=1e-15)


# Members on demand ------------------------------------------------------------------------------------------


def test_the_member_of_most_entropy():
    game = copied(RPS, [0, 1, 2, 2])
    np.testing.assert_allclose(
        cg.nash(game, select="max-entropy").policy, [1 / 3, 1 / 3, 1 / 6, 1 / 6], atol=1e-14
    )
    np.testing.assert_allclose(
        cg.nash(game, select=[0.3, 0.3, 0.3, 0.1]).policy, [1 / 3, 1 / 3, 1 / 4, 1 / 12], atol=1e-14
    )
    ties = skew_game(np.zeros((3, 3)))
    np.testing.assert_allclose(cg.nash(ties, select=[0.2, 0.5, 0.3]).policy, [0.2, 0.5, 0.3], atol=1e-14)


def test_regularized_equilibria_tend_to_the_selected_member():
    """As the temperature falls, the equilibrium around a reference tends to its projection on the set."""
    for seed in range(3):
        game, reference = disc(6, seed)[0], random_policy(6, seed=seed)
        selected = cg.nash(game, select=reference).policy
        errors = [np.abs(cg.qre(game, t, reference).policy - selected).max() for t in (1e-2, 1e-3, 1e-4)]
        np.testing.assert_allclose(np.array(errors[1:]) / errors[:-1], 0.1, rtol=0.3)


def test_where_nash_is_unique_nothing_is_selected():
    game = random_game(7, 1)
    plain, selected = cg.nash(game), cg.nash(game, select="max-entropy")
    np.testing.assert_allclose(selected.policy, plain.policy, atol=1e-15)
    assert selected.unique
    assert selected.status == "certified"


@pytest.mark.parametrize(
    ("select", "word"),
    [
        ("max_entropy", "max-entropy"),
        ([0.5, 0.5], "`select` must"),
        ([0.5, 0.5, 0.0], "`select`"),
        (np.log([0.2, 0.3, 0.5]), "`select`"),
    ],
)
def test_what_cannot_select_is_refused(select, word):
    with pytest.raises(ValueError, match=word):
        cg.nash(cg.games.comal_cycle(), select=select)


def test_a_set_that_is_not_certified_has_no_distance():
    game = cg.games.cycle(1e-14, 0.3, 0.4)
    assert cg.nash(game).status == "undecided"
    with pytest.raises(ArithmeticError, match="undecided"):
        cg.kl_to_nash_set(game)


# Failure ----------------------------------------------------------------------------------------------------


def test_a_nearest_policy_that_is_not_found_is_nan_and_its_selection_failed(monkeypatch):
    traced_anew = nash_set._nearest.__wrapped__
    monkeypatch.setattr(nash_set, "_nearest", lambda *rows: traced_anew(*rows))
    monkeypatch.setattr(nash_set, "MAX_STEPS", 1)
    game = cg.games.clones(cg.games.comal_cycle(), 0)
    reference = np.array([0.1, 0.2, 0.3, 0.4])
    assert cg.nash(game, select=reference).status == "failed"
    distance = cg.kl_to_nash_set(game)
    assert np.isnan(distance(game, log(reference)))
    assert np.isnan(jax.jit(lambda logp: distance(game, logp))(log(reference)))


def test_a_set_that_is_not_certified_fails_alone():
    """Selection in a batch: one game is undecided, the other has clones."""
    undecided = np.zeros((4, 4))
    undecided[:3, :3] = cg.games.cycle(1e-14, 0.3, 0.4).skew
    undecided[3, :3], undecided[:3, 3] = -0.5, 0.5
    clones = np.asarray(cg.games.clones(cg.games.rock_paper_scissors(), 0).skew)
    games = skew_game(np.stack([undecided, clones]))
    plain = cg.nash(games)
    assert plain.status.tolist() == ["undecided", "certified"]
    selected = cg.nash(games, select="max-entropy")
    assert selected.status.tolist() == ["failed", "certified"]
    np.testing.assert_allclose(selected.policy[1], [1 / 6, 1 / 3, 1 / 3, 1 / 6], rtol=0, atol=1e-9)
