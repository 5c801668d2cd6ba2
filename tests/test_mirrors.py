"""Mirror maps: each step is the maximizer it is said to be, and closed forms agree with the general one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import comalgames as cg
from comalgames.regularizers import mirrors
from tests.helpers import COMAL_START, log_normalize, one_step, random_game, random_policy

POLICY = random_policy(4, 5, 6, seed=1)
UTILITY = np.random.default_rng(2).normal(size=(4, 5, 6))

# Each with its potential of one number, and that potential's derivative.
MIRRORS = {
    "entropy": (mirrors.entropy, lambda x: x * jnp.log(x), lambda x: np.log(x) + 1),
    "euclidean": (mirrors.euclidean, lambda x: x**2 / 2, lambda x: x),
    "log_barrier": (mirrors.log_barrier, lambda x: -jnp.log(x), lambda x: -1 / x),
    "tsallis(0.5)": (mirrors.tsallis(0.5), lambda x: -2 * jnp.sqrt(x), lambda x: -1 / np.sqrt(x)),
    "tsallis(1.5)": (mirrors.tsallis(1.5), lambda x: 2 * x**1.5, lambda x: 3 * np.sqrt(x)),
}
GENERAL = {name: mirrors.separable(potential) for name, (_, potential, _) in MIRRORS.items()}
each_mirror = pytest.mark.parametrize("name", MIRRORS)


def step(mirror, policy, utility, step_size):
    return np.exp(log_normalize(jax.jit(mirror)(jnp.log(policy), jnp.asarray(utility), step_size)))


@each_mirror
@pytest.mark.parametrize("step_size", [0.05, 1.0, 30.0])
def test_a_step_satisfies_its_optimality_conditions(name, step_size):
    """`utility - (slope(p) - slope(policy)) / step_size` is level where p > 0, and not above it elsewhere."""
    mirror, _, slope = MIRRORS[name]
    p = step(mirror, POLICY, UTILITY, step_size)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-14)
    inside = p > 0
    assert inside.all() or name in ("euclidean", "tsallis(1.5)")
    with np.errstate(divide="ignore"):
        left = step_size * UTILITY + slope(POLICY) - slope(p)
    level = np.max(np.where(inside, left, -np.inf), -1, keepdims=True)
    size = 1 + np.where(inside, np.abs(slope(np.where(inside, p, 1.0))), 0) + 4 * step_size
    assert np.all(np.abs(np.where(inside, left - level, 0.0)) < 1e-11 * size.max(-1, keepdims=True))
    assert np.all((left <= level + 1e-11 * size) | inside)


@each_mirror
@pytest.mark.parametrize("step_size", [0.0, 0.05, 1.0, 30.0])
def test_the_closed_forms_agree_with_the_potential_alone(name, step_size):
    mirror, _, _ = MIRRORS[name]
    general = step(GENERAL[name], POLICY, UTILITY, step_size)
    np.testing.assert_allclose(general, step(mirror, POLICY, UTILITY, step_size), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", [0.3, 1.5, 4.0, 8.0, 20.0])
def test_a_step_ends_at_a_policy_from_any_policy(q, dtype):
    """Steep potentials have slopes near 0 for unlikely actions, where a Newton step goes anywhere."""
    rng = np.random.default_rng(0)
    logp = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(500, 5)) * rng.uniform(0, 30, (500, 1)), dtype))
    utility = jnp.asarray(rng.normal(size=(500, 5)) * 10 ** rng.uniform(-3, 3, (500, 1)), dtype)
    for mirror in (mirrors.tsallis(q), mirrors.separable(lambda p: p**q / (q * (q - 1)))):
        moved = np.exp(np.asarray(mirror(logp, utility, jnp.asarray(1.0, dtype)), np.float64))
        np.testing.assert_allclose(moved.sum(-1), 1, rtol=0, atol=1e-12 if dtype == np.float64 else 1e-5)


@each_mirror
def test_a_step_of_length_0_stays_and_a_constant_does_not_matter(name):
    mirror, _, _ = MIRRORS[name]
    np.testing.assert_allclose(step(mirror, POLICY, UTILITY, 0.0), POLICY, rtol=0, atol=1e-14)
    shifted = step(mirror, POLICY, UTILITY + 3.0, 0.7)
    np.testing.assert_allclose(shifted, step(mirror, POLICY, UTILITY, 0.7), rtol=0, atol=1e-13)


@each_mirror
def test_vmap_is_leading_axes_and_a_step_can_be_differentiated(name):
    mirror, _, _ = MIRRORS[name]
    vmapped = jax.jit(jax.vmap(jax.vmap(lambda logp, u: mirror(logp, u, 0.5))))
    one_by_one = vmapped(jnp.log(POLICY), jnp.asarray(UTILITY))
    together = step(mirror, POLICY, UTILITY, 0.5)
    np.testing.assert_allclose(np.exp(log_normalize(one_by_one)), together, rtol=0, atol=1e-14)
    weights, policy, utility = UTILITY[0, 1], POLICY[0, 0], jnp.asarray(UTILITY[0, 0])

    @jax.jit
    def merit(utility):
        return weights @ jax.nn.softmax(mirror(jnp.log(policy), utility, 0.02))

    h = 1e-5
    differences = [float(merit(utility + h * e) - merit(utility - h * e)) / (2 * h) for e in np.eye(6)]
    for gradient in (jax.grad(merit)(utility), jax.jacfwd(merit)(utility)):
        np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-9)


def test_the_separable_map_can_be_differentiated_through_its_loops():
    closed, general = mirrors.log_barrier, mirrors.separable(lambda x: -jnp.log(x))
    logp, utility = jnp.log(POLICY[0, 0]), jnp.asarray(UTILITY[0, 0])
    jacobians = [
        jax.jit(jax.jacrev(lambda u, m=m: jnp.exp(m(logp, u, 0.5))))(utility) for m in (closed, general)
    ]
    np.testing.assert_allclose(*jacobians, rtol=0, atol=1e-12)


def test_tsallis_at_its_special_orders():
    for q, mirror, factor in ((1.0, mirrors.entropy, 1.0), (2.0, mirrors.euclidean, 0.5)):
        near = step(mirrors.tsallis(q), POLICY, UTILITY, 0.8)
        np.testing.assert_allclose(near, step(mirror, POLICY, UTILITY, 0.8 * factor), rtol=0, atol=1e-13)
    # To first order in q - 1, without the loss of digits of (p^(q - 1) - 1) / (q - 1) in floating point.
    entropic = step(mirrors.entropy, POLICY, UTILITY, 0.8)
    errors = [
        np.abs(step(mirrors.tsallis(1 + h), POLICY, UTILITY, 0.8) - entropic).max() for h in (1e-4, 1e-8)
    ]
    np.testing.assert_allclose(errors[1], errors[0] * 1e-4, rtol=1e-2)
    barrier = step(mirrors.log_barrier, POLICY, UTILITY, 0.8)
    np.testing.assert_allclose(
        step(mirrors.tsallis(1e-6), POLICY, UTILITY, 0.8e-6), barrier, rtol=0, atol=1e-4
    )


def test_the_euclidean_step_is_the_nearest_policy():
    """Against SciPy's quadratic programme, where several actions end at 0."""
    for policy, utility in zip(POLICY[0], UTILITY[0], strict=True):
        point = policy + 0.5 * utility
        found = scipy.optimize.minimize(
            lambda p, point=point: np.sum((p - point) ** 2), policy, jac=lambda p, q=point: 2 * (p - q),
            bounds=[(0, 1)] * 6, constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP", options={"ftol": 1e-15},
        )  # fmt: skip
        p = step(mirrors.euclidean, policy, utility, 0.5)
        assert (p == 0).any()
        np.testing.assert_allclose(p, found.x, rtol=0, atol=1e-7)


def test_entropy_is_the_rule_as_it_was():
    """policy * exp(step_size * utility), and so MirrorDescent for the KL divergence."""
    game, start, reference = random_game(5), random_policy(5, seed=3), random_policy(5, seed=4)
    rule = cg.RegularizedMirrorDescent(0.7, 0.2, cg.regularizers.kl)
    assert rule.mirror is mirrors.entropy
    found = one_step(rule, game, start, reference, num_steps=30)
    explicit = one_step(cg.MirrorDescent(0.7, 0.2), game, start, reference, num_steps=30)
    np.testing.assert_allclose(found, explicit, rtol=0, atol=1e-12)


# A convex regularizer's equilibrium is a fixed point in every geometry; steps short enough contract to it.
@pytest.mark.parametrize(
    "mirror",
    [mirrors.log_barrier, mirrors.tsallis(0.5), mirrors.euclidean],
    ids=["log_barrier", "tsallis", "euclidean"],
)
def test_every_geometry_has_the_same_fixed_point(mirror):
    game, reference = cg.games.comal_cycle(), COMAL_START
    equilibrium = cg.qre(game, 0.5, reference, cg.regularizers.chi_squared).policy
    rule = cg.RegularizedMirrorDescent(0.1, 0.5, cg.regularizers.chi_squared, mirror)
    found = cg.solve(game, rule, 3000, reference=reference, metrics=())
    np.testing.assert_allclose(found.policy, equilibrium, rtol=0, atol=1e-12)


def test_euclidean_steps_reach_the_boundary_and_go_on():
    game = random_game(10)
    rule = cg.RegularizedMirrorDescent(0.1, 0.2, cg.regularizers.squared_l2, mirrors.euclidean)
    result = cg.solve(game, rule, 4000, record_every=100, metrics=["entropy"])
    assert (result.policy == 0).any()
    np.testing.assert_allclose(result.policy.sum(), 1, rtol=1e-12)
    assert all(np.all(np.isfinite(curve)) for curve in result.history.values())
    equilibrium = cg.qre(game, 0.2, regularizer=cg.regularizers.squared_l2).policy
    np.testing.assert_allclose(result.policy, equilibrium, rtol=0, atol=1e-9)
    wrapped = cg.solve(game, cg.COMAL(rule, 100), 40_000, record_every=1000)
    assert wrapped.history["duality_gap"][-1] < 1e-10
    with pytest.raises(ValueError, match="`init` excludes action 0"):
        cg.solve(game, rule, 3, init=np.arange(10) / 45)


def test_an_action_at_0_comes_back_when_it_is_the_best():
    logp = jnp.log(jnp.array([0.0, 0.5, 0.5]))
    utility = jnp.array([1.0, 0.0, 0.0])
    euclidean = step(mirrors.euclidean, np.exp(logp), utility, 0.3)
    np.testing.assert_allclose(euclidean, [0.2, 0.4, 0.4], rtol=1e-15)
    np.testing.assert_allclose(
        step(mirrors.separable(lambda x: x**2 / 2), np.exp(logp), utility, 0.3), euclidean, rtol=0, atol=1e-12
    )
    for mirror in (mirrors.entropy, mirrors.log_barrier, mirrors.tsallis(0.5)):
        np.testing.assert_array_equal(step(mirror, np.exp(logp), utility, 0.3), [0, 0.5, 0.5])


def test_maps_made_twice_are_one():
    def potential(x):
        return x**2

    assert mirrors.tsallis(2) == mirrors.tsallis(2.0) != mirrors.tsallis(3.0)
    assert hash(mirrors.tsallis(2)) == hash(mirrors.tsallis(2.0))
    assert mirrors.separable(potential) == mirrors.separable(potential) != mirrors.tsallis(2)
    assert repr(mirrors.tsallis(0.5)) == "tsallis(0.5)"
    assert repr(mirrors.separable(potential)) == "separable(potential)"


# Bad input


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mirrors.tsallis(0), "`q` must be a finite number > 0, got 0"),
        (lambda: mirrors.tsallis("0.5"), "`q` must be a finite number > 0"),
        (
            lambda: jax.vmap(lambda q: mirrors.tsallis(q)(q, q, 1.0))(jnp.ones(2)),
            "number that is not traced",
        ),
        (lambda: mirrors.separable(None), "`potential` must be a function of one number"),
        (lambda: mirrors.separable(lambda x, y: x * y), "`potential` must be a function of one number"),
        (lambda: mirrors.separable(lambda x: jnp.stack([x, x])), "returned float64 of shape"),
        (lambda: mirrors.separable(lambda x: -(x**2)), "strictly convex .* goes from -0.002 at 0.001"),
        (lambda: mirrors.separable(lambda x: 3 * x), "strictly convex"),
        (lambda: mirrors.separable(lambda x: jnp.log(x - 0.5)), "finite and differentiable"),
        (lambda: mirrors.separable(lambda x: np.exp(x)), "written in jax.numpy"),
        (lambda: cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.kl, "euclidean"), "`mirror` must be"),
        (lambda: cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.kl, lambda x: x**2), "separable"),
        (
            lambda: cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.kl, lambda logp, u, s: jnp.sum(u)),
            "`mirror` must return a log-policy",
        ),
    ],
)
def test_what_is_no_mirror_map_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
