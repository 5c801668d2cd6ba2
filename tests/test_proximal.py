"""The regularised equilibrium solves its fixed-point equation, and agrees with solvers of other kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

from comalgames import proximal
from comalgames.simplex import log_normalize

CYCLE = np.array([[0.0, -0.4, 0.3], [0.4, 0.0, -0.4], [-0.3, 0.4, 0.0]])
START = np.log([0.2, 0.5, 0.3])

solve = jax.jit(proximal.regularized_equilibrium)


def random_skew(rng, n, kind="uniform"):
    lower = rng.uniform(-0.5, 0.5, (n, n)) if kind == "uniform" else rng.integers(0, 2, (n, n)) - 0.5
    lower = np.tril(lower, -1)
    return lower - lower.T


def log_normalized(x):
    return x - np.logaddexp.reduce(x)


def equation_error(skew, reference, temperature, logp):
    """Error of the fixed point, relative to the size of the numbers that the equation subtracts."""
    best = log_normalized(reference + skew @ np.exp(logp) / temperature)
    scale = np.abs(reference) + np.abs(skew).max() / temperature + 1
    return np.max(np.abs(logp - best) / scale)


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("kind", ["uniform", "tournament"])
def test_solves_the_equation_on_and_off_the_support(kind, temperature):
    rng = np.random.default_rng(0)
    for n, spread in [
        (1, 1.0),
        (2, 3.0),
        (3, 0.0),
        (10, 0.0),
        (10, 1.0),
        (10, 30.0),
        (50, 1.0),
        (10, 1000.0),
    ]:
        skew, reference = random_skew(rng, n, kind), log_normalized(spread * rng.normal(size=n))
        solution = solve(skew, reference, temperature)
        assert bool(solution.converged)
        # A few dozen roundings of terms as large as the reference, or as the payoff over the temperature.
        assert equation_error(skew, reference, temperature, np.asarray(solution.logp)) < 1e-13
        assert abs(np.exp(np.asarray(solution.logp)).sum() - 1) < 1e-12


def test_all_ties_keep_the_reference_and_two_actions_follow_the_logit():
    reference = log_normalized(np.array([0.0, 1.0, -2.0]))
    np.testing.assert_allclose(solve(np.zeros((3, 3)), reference, 0.1).logp, reference, atol=1e-15)
    # Of two actions, 0 beats 1 by the edge a whatever the policy: logit p = logit reference + a / tau.
    a, tau = 0.3, 0.05
    solution = solve(np.array([[0.0, a], [-a, 0.0]]), np.log([0.1, 0.9]), tau)
    assert float(solution.logp[0] - solution.logp[1]) == pytest.approx(np.log(0.1 / 0.9) + a / tau, abs=1e-13)


def test_agrees_with_a_general_root_finder():
    rng = np.random.default_rng(1)
    for _ in range(5):
        skew, reference, tau = random_skew(rng, 5), log_normalized(rng.normal(size=5)), 0.3

        def error(x, skew=skew, reference=reference, tau=tau):
            return x - log_normalized(reference + skew @ np.exp(log_normalized(x)) / tau)

        independent = root(error, reference, tol=1e-14)
        np.testing.assert_allclose(
            solve(skew, reference, tau).logp, log_normalized(independent.x), atol=1e-11
        )


def test_exploitability_identity():
    """At the equilibrium max_i (A x)_i = tau (max_i log(x_i / rho_i) - KL(x || rho))."""
    rng = np.random.default_rng(2)
    for tau in (1.0, 0.1, 0.01):
        skew, reference = random_skew(rng, 10), log_normalized(rng.normal(size=10))
        logp = np.asarray(solve(skew, reference, tau).logp)
        ratio = logp - reference
        assert (skew @ np.exp(logp)).max() == pytest.approx(
            tau * (ratio.max() - np.exp(logp) @ ratio), abs=1e-13
        )


def test_proximal_iteration_contracts_at_the_rate_of_theory():
    """KL shrinks by tau^2 / (tau^2 + w^2) a step near the cycle's Nash policy, w = sqrt(5.28) / 11."""
    nash, tau, omega = np.array([4, 3, 4]) / 11, 0.1, np.sqrt(5.28) / 11
    logp, divergence = START, []
    for _ in range(16):
        logp = np.asarray(solve(CYCLE, logp, tau, logp).logp)
        r = np.exp(logp) / nash - 1
        divergence.append(nash @ (r - np.log1p(r)))
    measured = (divergence[-1] / divergence[5]) ** (1 / (len(divergence) - 6))
    assert measured == pytest.approx(tau**2 / (tau**2 + omega**2), rel=1e-3)
    first = np.asarray(solve(CYCLE, START, tau).logp)
    assert 2 * (CYCLE @ np.exp(first)).max() == pytest.approx(0.0588, abs=5e-5)


def test_long_proximal_runs_never_fail_however_far_the_reference():
    rng = np.random.default_rng(3)
    skew = jnp.asarray(np.stack([random_skew(rng, 10) for _ in range(10)]))

    @jax.jit
    def run(tau):
        def step(logp, _):
            solution = proximal.regularized_equilibrium(skew, logp, tau, logp)
            return solution.logp, (solution.converged, solution.num_solves)

        return jax.lax.scan(step, jnp.full((10, 10), -jnp.log(10.0)), None, 200)

    for tau in (0.03, 0.1):
        logp, (converged, num_solves) = run(tau)
        assert bool(converged.all())
        assert float(jnp.min(logp)) < -200  # the references really do go far
        assert float(jnp.mean(num_solves)) < 8  # from a warm start a few Newton steps do


def test_vmap_equals_loop_and_leading_axes_broadcast():
    rng = np.random.default_rng(4)
    skews = np.stack([random_skew(rng, 6) for _ in range(4)])
    reference = log_normalized(rng.normal(size=6))
    batch = solve(skews, reference, 0.05).logp
    for skew, logp in zip(skews, batch, strict=True):
        np.testing.assert_allclose(logp, solve(skew, reference, 0.05).logp, rtol=1e-12)


def test_float32_reaches_its_own_precision_and_failure_is_told():
    rng = np.random.default_rng(5)
    skew, reference = random_skew(rng, 10), log_normalized(rng.normal(size=10))
    single = solve(skew.astype(np.float32), reference.astype(np.float32), 0.1)
    assert single.logp.dtype == jnp.float32
    assert bool(single.converged)
    np.testing.assert_allclose(single.logp, solve(skew, reference, 0.1).logp, atol=2e-4)
    assert not bool(solve(np.full((3, 3), np.nan), reference[:3], 0.1).converged)


def test_limits_in_the_temperature():
    """Hot: the reference. Cold: Nash, with duality gap at most 2 tau log n from the uniform reference."""
    rng = np.random.default_rng(6)
    skew, uniform = random_skew(rng, 10), np.full(10, -np.log(10))
    np.testing.assert_allclose(solve(skew, uniform, 1e9).logp, uniform, atol=1e-8)
    for tau in (0.1, 0.01, 0.001):
        logp = log_normalize(solve(skew, uniform, tau).logp)
        assert 2 * float((skew @ jnp.exp(logp)).max()) <= 2 * tau * np.log(10)
