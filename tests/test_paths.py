"""Distances, residuals, recorded paths and conditioning obey the theorems that give them their meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import comalgames as cg
from comalgames.diagnostics import conditioning, rotation_frequencies, spectrum
from comalgames.measures.paths import external_regret, path_length, rotation

GAME = cg.games.comal_cycle()
NASH = cg.nash(GAME)
FREQUENCY = rotation_frequencies(GAME, NASH.logp)[0]


def random_skew(rng, n):
    upper = np.triu(rng.uniform(-0.5, 0.5, (n, n)), 1)
    return upper - upper.T


def log(policy):
    with np.errstate(divide="ignore"):
        return np.log(policy)


def sparse_policy(rng, n):
    """A random policy with 0 to n - 1 actions off its support."""
    policy = rng.dirichlet(np.ones(n))
    policy[rng.permutation(n)[: rng.integers(0, n)]] = 0
    return policy / policy.sum()


def recorded(rule, num_steps, start=None, game=GAME):
    start = None if start is None else jnp.log(start)
    return cg.trajectory(game, rule, num_steps, logp=start, metrics=["logp"]).records


# Total variation
# ------------------------------------------------------------------------------------------


def test_total_variation_is_the_largest_difference_over_sets_of_actions():
    p, q = np.random.default_rng(0).dirichlet(np.ones(5), 2)
    subsets = np.array([[i >> k & 1 for k in range(5)] for i in range(32)])
    game = cg.PreferenceGame(np.full((5, 5), 0.5))
    distance = cg.total_variation_to(np.log(q))(game, np.log(p))
    assert distance == pytest.approx(np.max(subsets @ (p - q)), rel=1e-12)
    assert distance <= np.sqrt(cg.kl_to(np.log(q))(game, np.log(p)) / 2)  # Pinsker
    assert cg.total_variation_to(np.log(q))(game, np.log(q)) == 0


def test_total_variation_is_finite_off_the_support_and_summed_over_players():
    pure = log(np.eye(3)[:2])
    assert cg.total_variation_to(pure[0])(GAME, pure[1]) == 1
    two = cg.ZeroSumGame(np.eye(3))
    joint = jnp.stack([pure[0], pure[1]])
    assert cg.total_variation_to(joint)(two, joint[::-1]) == 2


# Tangent residual
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_residual_is_the_projection_on_the_tangent_cone(seed):
    """An independent solver projects; the gap is bounded by it, and Nash has none."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    skew, policy = random_skew(rng, n), sparse_policy(rng, n)
    game = cg.PreferenceGame.from_skew(skew)
    advantage = skew @ policy
    nearest = minimize(
        lambda d: ((d - advantage) ** 2).sum(),
        np.zeros(n),
        jac=lambda d: 2 * (d - advantage),
        constraints={"type": "eq", "fun": np.sum, "jac": np.ones_like},
        bounds=[(None if weight else 0, None) for weight in policy],
        method="SLSQP",
        options={"ftol": 1e-15},
    ).x
    residual = jax.jit(cg.tangent_residual)(game, jnp.asarray(log(policy)))
    assert residual == pytest.approx(np.linalg.norm(nearest), abs=1e-8)
    assert cg.duality_gap(game, log(policy)) / 2 <= np.sqrt(2) * residual + 1e-15
    assert cg.tangent_residual(game, cg.nash(game).logp) < 1e-14


def test_the_residual_of_an_interior_policy_is_the_deviation_of_its_advantage():
    policy = np.array([0.2, 0.5, 0.3])
    advantage = GAME.skew @ policy
    expected = np.linalg.norm(advantage - advantage.mean())
    assert cg.tangent_residual(GAME, np.log(policy)) == pytest.approx(expected, rel=1e-12)


def test_the_residual_is_0_only_at_nash():
    """Each pure policy of a cycle loses to another: it can follow its advantage off the boundary."""
    for pure in np.eye(3):
        assert cg.tangent_residual(GAME, log(pure)) > 0.1


def test_two_players_share_a_residual_that_bounds_their_gap():
    rng = np.random.default_rng(3)
    game = cg.ZeroSumGame(rng.normal(size=(6, 4, 4)))
    joint = np.stack([np.stack([sparse_policy(rng, 4) for _ in range(2)]) for _ in range(6)])
    residual = cg.tangent_residual(game, log(joint))
    assert residual.shape == (6,)
    assert np.all(cg.duality_gap(game, log(joint)) <= 2 * residual + 1e-14)
    # The same policy twice in a symmetric game: sqrt(2) times the residual of one player.
    both = cg.tangent_residual(cg.ZeroSumGame(GAME.skew), jnp.log(jnp.full((2, 3), 1 / 3)))
    assert float(both) == pytest.approx(
        np.sqrt(2) * float(cg.tangent_residual(GAME, GAME.uniform())), rel=1e-12
    )


# Regret and length
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [cg.MWU(0.3), cg.OptimisticMWU(1.0), cg.Extragradient(1.0)])
def test_the_gap_of_the_average_is_twice_the_regret_over_time(rule):
    path = recorded(rule, 200)
    times = np.arange(1, 202)
    regret = external_regret(GAME, path["logp"])
    np.testing.assert_allclose(2 * regret / times, path["average_duality_gap"], rtol=1e-9, atol=1e-14)
    averages = np.cumsum(np.exp(path["logp"]), axis=0) / times[:, None]
    np.testing.assert_allclose(2 * regret / times, cg.duality_gap(GAME, log(averages)), atol=1e-13)


def test_regret_is_per_player_and_per_prompt():
    rng = np.random.default_rng(1)
    two = cg.ZeroSumGame(rng.normal(size=(3, 4, 4)))
    paths = rng.dirichlet(np.ones(4), (50, 3, 2))
    regret = external_regret(two, np.log(paths))
    assert regret.shape == (50, 3, 2)
    average = cg.duality_gap(two, np.log(paths.mean(0)))
    np.testing.assert_allclose(regret[-1].sum(-1) / 50, average, rtol=1e-10)
    prompts = cg.PreferenceGame.from_skew(np.stack([random_skew(rng, 4) for _ in range(3)]))
    each = external_regret(prompts, np.log(paths[:, :, 0]))
    np.testing.assert_allclose(2 * each[-1] / 50, cg.duality_gap(prompts, np.log(paths[:, :, 0].mean(0))))


def test_the_length_of_a_path():
    pure = np.eye(3)[[0, 1, 1, 2, 0]]
    np.testing.assert_array_equal(path_length(log(pure)), [0, 2, 2, 4, 6])
    paths = np.random.default_rng(0).dirichlet(np.ones(4), (9, 2))
    length = path_length(np.log(paths))
    assert length.shape == (9, 2)
    assert np.all(length[-1] >= np.abs(paths[-1] - paths[0]).sum(-1))


# Rotation
# ------------------------------------------------------------------------------------------

NEAR = NASH.policy + 1e-5 * np.array([1.0, -2.0, 1.0])


@pytest.mark.parametrize("step_size", [0.01, 0.1])
def test_multiplicative_weights_turn_by_their_frequency(step_size):
    turn = rotation(recorded(cg.MWU(step_size), 500, NEAR)["logp"], NASH.logp)
    # Not linear in the deviation, which is about 1e-5.
    assert turn.angle == pytest.approx(np.arctan(step_size * FREQUENCY), rel=1e-5)
    assert turn.period == pytest.approx(2 * np.pi / turn.angle, rel=1e-12)
    assert turn.plane_share == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rule", [cg.Extragradient(1.0), cg.OptimisticMWU(1.0), cg.Extragradient(0.2)])
def test_a_rule_turns_by_the_argument_of_its_first_eigenvalue(rule):
    # The first steps of an optimistic rule, which does not yet remember an advantage, are others.
    path = recorded(rule, 600, NEAR)["logp"][50:]
    turn = rotation(path, NASH.logp)
    assert turn.angle == pytest.approx(abs(np.angle(spectrum(GAME, rule, NASH.logp)[0])), rel=1e-5)


def test_rotation_is_measured_in_the_plane_of_the_faster_circle():
    """Two circles at once: the larger one is followed, and its share of the squares is told."""
    center, times = np.full(5, 0.2), np.arange(400)
    basis = np.linalg.svd(np.eye(5) - 0.2)[0][:, :4]
    circles = [4e-3 * np.cos(0.1 * times), 4e-3 * np.sin(0.1 * times)]
    circles += [1e-3 * np.cos(0.37 * times), 1e-3 * np.sin(0.37 * times)]
    policies = center + np.stack(circles, -1) @ basis.T
    turn = rotation(np.log(policies), np.log(center))
    assert turn.angle == pytest.approx(0.1, rel=1e-2)
    assert turn.plane_share == pytest.approx(16 / 17, rel=1e-2)


def test_actions_off_the_centers_support_do_not_matter():
    path = np.exp(recorded(cg.MWU(0.1), 300, NEAR)["logp"])
    wider = np.concatenate([path * (1 - 1e-9), np.full((301, 1), 1e-9)], axis=1)
    turn = rotation(np.log(wider), np.append(NASH.logp, -np.inf))
    assert turn.angle == pytest.approx(rotation(np.log(path), NASH.logp).angle, rel=1e-3)


def test_records_at_rounding_do_not_turn():
    path = recorded(cg.Extragradient(1.0), 6_000, NEAR)["logp"]
    turn = rotation(path, NASH.logp)
    assert turn.angle == pytest.approx(rotation(path[:600], NASH.logp).angle, rel=1e-3)


UNIFORM = np.log(np.full((4, 3), 1 / 3))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: external_regret(GAME, UNIFORM[0]), "`logps` must be a path of policies"),
        (lambda: external_regret(GAME, np.exp(UNIFORM)), "`logps` must be normalized log-probabilities"),
        (
            lambda: external_regret(GAME, np.log(np.full((4, 2), 0.5))),
            r"`logps` must have the shape \[records, 3\]",
        ),
        (
            lambda: external_regret(np.eye(3), UNIFORM),
            "`game` must be a PreferenceGame or a ZeroSumGame, got a nd",
        ),
        (lambda: path_length(["a", "b"]), "`logps` must be log-probabilities"),
        (lambda: path_length(np.zeros((0, 3))), "`logps` must be a path of policies"),
        (lambda: rotation(UNIFORM[None], NASH.logp), "`logps` must be one path of two or more policies"),
        (lambda: rotation(UNIFORM[:1], NASH.logp), "`logps` must be one path of two or more policies"),
        (lambda: rotation(UNIFORM, UNIFORM[0]), "`logps` must not reach `center_logp`"),
        (lambda: rotation(UNIFORM, np.log([0.5, 0.5])), "`center_logp` must be one policy over the path's 3"),
        (lambda: rotation(UNIFORM, NASH.policy), "`center_logp` must be normalized log-probabilities"),
        (
            lambda: rotation(UNIFORM, log(np.array([0.5, 0.5, 0]))),
            "`center_logp` must have 3 or more actions",
        ),
        (lambda: cg.total_variation_to(NASH.policy), "`logp` must be normalized log-probabilities"),
        (lambda: cg.tangent_residual(GAME, NASH.policy), "`logp` must be normalized log-probabilities"),
    ],
)
@pytest.mark.usefixtures("as_users_have_it")
def test_wrong_paths_are_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


# Conditioning
# ------------------------------------------------------------------------------------------


def test_conditioning_of_the_cycle():
    found = conditioning(GAME)
    assert found.frequencies == pytest.approx([FREQUENCY])
    assert found.lowest == pytest.approx(3 / 11)
    assert found.slack == np.inf
    assert found.payoff == found.lipschitz == pytest.approx(0.4)
    assert found.spectral_norm == pytest.approx(np.sqrt(np.sum(np.square(GAME.skew)) / 2))
    assert found.safe_extragradient_step == pytest.approx(2.5)
    assert found.safe_optimistic_step == pytest.approx(1.25)


@pytest.mark.parametrize("seed", range(6))
def test_the_constants_bound_what_they_say(seed):
    rng = np.random.default_rng(seed)
    skew = random_skew(rng, 9)
    found = conditioning(cg.PreferenceGame.from_skew(skew))
    d = rng.normal(size=(9, 500))
    moved = np.abs(skew @ d)
    assert np.all(moved.max(0) <= found.lipschitz * np.abs(d).sum(0))
    assert np.all(np.linalg.norm(skew @ d, axis=0) <= found.spectral_norm * np.linalg.norm(d, axis=0))
    fastest = max([0.0, *found.frequencies])
    assert fastest <= min(found.spectral_norm / 2, found.lipschitz)
    assert found.safe_extragradient_step <= found.local_extragradient_step
    assert found.safe_optimistic_step <= found.local_optimistic_step
    assert np.all(np.diff(found.frequencies) <= 0)
    advantage = skew @ found.solution.policy
    others = ~found.solution.support
    assert found.slack == pytest.approx(np.min(-advantage[others], initial=np.inf))


@pytest.mark.parametrize("make", [cg.Extragradient, cg.OptimisticMWU])
def test_the_local_steps_are_where_contraction_ends(make):
    found = conditioning(GAME)
    limit = found.local_extragradient_step if make is cg.Extragradient else found.local_optimistic_step
    assert abs(spectrum(GAME, make(0.999 * limit), NASH.logp)[0]) < 1
    assert abs(spectrum(GAME, make(1.001 * limit), NASH.logp)[0]) > 1


def test_safe_steps_keep_their_promises():
    """KL to Nash falls under extragradient, and the optimistic regret stays below its bound, at the limit."""
    found = conditioning(GAME)
    start = np.array([0.98, 0.01, 0.01])
    path = recorded(cg.Extragradient(found.safe_extragradient_step), 300, start)["logp"]
    distance = np.asarray(cg.kl_to(NASH.logp)(GAME, path))
    assert np.all(np.diff(distance) <= 1e-16)
    step_size = found.safe_optimistic_step
    regret = external_regret(GAME, recorded(cg.OptimisticMWU(step_size), 2_000)["logp"])
    assert regret.max() <= np.log(3) / step_size + step_size * found.payoff**2


def test_conditioning_of_games_at_the_edge():
    one = conditioning(cg.PreferenceGame([[0.5]]))
    assert (one.lowest, one.slack, one.safe_extragradient_step) == (1, np.inf, np.inf)
    pair = conditioning(cg.PreferenceGame([[0.5, 0.6], [0.4, 0.5]]))
    assert pair.slack == pytest.approx(0.1)
    assert len(pair.frequencies) == 0
    assert pair.local_extragradient_step == np.inf
    ties = conditioning(cg.PreferenceGame(np.full((4, 4), 0.5)))
    assert len(ties.frequencies) == 0
    assert not ties.solution.unique
    # Every action twice: one frequency, that of the game without copies, at any member of the Nash set.
    twice = conditioning(cg.PreferenceGame.from_skew(np.kron(GAME.skew, np.ones((2, 2)))))
    assert twice.frequencies == pytest.approx([FREQUENCY], rel=1e-9)
    for found, word in ((one, "any step size"), (pair, "slack            0.1"), (ties, "dimension 3")):
        assert word in repr(found)


def test_the_table_is_aligned_and_lists_few_frequencies():
    found = conditioning(cg.PreferenceGame.from_skew(random_skew(np.random.default_rng(2), 40)))
    assert len(found.frequencies) > 4
    assert f"... ({len(found.frequencies)} in total)" in repr(found)
    lines = repr(found).splitlines()
    assert lines[0] == "Conditioning"
    assert len({len(line) - len(line.lstrip()) for line in lines[1:]}) == 1
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize(
    ("game", "complaint"),
    [
        (cg.ZeroSumGame(np.eye(2)), "`game` must be a PreferenceGame, got a ZeroSumGame"),
        (
            cg.PreferenceGame(np.full((2, 3, 3), 0.5)),
            r"`game` must have no prompts, got payoffs of shape \(2, 3, 3\)",
        ),
    ],
)
@pytest.mark.usefixtures("as_users_have_it")
def test_conditioning_refuses_other_games(game, complaint):
    with pytest.raises(ValueError, match=complaint):
        conditioning(game)
