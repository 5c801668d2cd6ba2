"""The regularized equilibrium: it solves its equation to the last bit, on every game, from every start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import log_softmax, softmax

import comalgames as cg
from comalgames.numerics import proximal

# Most tests use these with 60 games of 10 actions, or one of 3 or 10, so that they are compiled once.
SOLVE = jax.jit(jax.vmap(proximal.regularized_equilibrium, (0, 0, None)))
ONE = jax.jit(proximal.regularized_equilibrium)

# COMAL's cycle, the published start and temperature.
CYCLE = np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]]) - 0.5
START = np.log([0.2, 0.5, 0.3])


def uniform_games(rng, count, n):
    lower = np.tril(rng.uniform(size=(count, n, n)) - 0.5, -1)
    return lower - lower.swapaxes(1, 2)


def tournaments(rng, count, n):
    lower = np.tril(rng.integers(0, 2, size=(count, n, n)) - 0.5, -1)
    return lower - lower.swapaxes(1, 2)


def duplicated(rng, count, n):
    copies = rng.integers(0, (n + 1) // 2, size=n)
    return uniform_games(rng, count, (n + 1) // 2)[:, copies][:, :, copies]


def ties(rng, count, n):
    return np.zeros((count, n, n))


def rotations(rng, count, n):
    behind = (np.arange(n)[:, None] - np.arange(n)) % n
    cycle = np.where((behind == 0) | (2 * behind == n), 0.0, np.where(2 * behind < n, 0.5, -0.5))
    return np.broadcast_to(cycle, (count, n, n))


def deviation(skew, reference, temperature, logp):
    """Largest |logp - right-hand side| of any action, in units of eps times the terms of the equation."""
    right = log_softmax(reference + np.einsum("bij,bj->bi", skew, np.exp(logp)) / temperature, axis=-1)
    scale = 1.0 + np.max(np.abs(skew)) / temperature - right
    return np.max(np.abs(logp - right) / scale) / np.finfo(float).eps


# 64 is twice the module's own tolerance: NumPy sums in another order.
@pytest.mark.parametrize("temperature", [10.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("n", [1, 3, 10, 50])
@pytest.mark.parametrize("games", [uniform_games, tournaments, duplicated, ties, rotations])
def test_every_log_probability_satisfies_the_equation(games, n, temperature):
    rng = np.random.default_rng(0)
    count = 15
    skew = np.tile(games(rng, count, n), (4, 1, 1))
    logits = rng.normal(size=(4 * count, n))
    logits[:count] = 0.0  # uniform
    logits[2 * count : 3 * count] *= 30.0  # references almost at vertices
    logits[3 * count :] -= 5000.0 * (rng.uniform(size=(count, n)) < 0.4)  # where COMAL takes them
    reference = log_softmax(logits, axis=-1)
    solution = SOLVE(skew, reference, temperature)
    assert np.all(solution.converged)
    assert deviation(skew, reference, temperature, np.asarray(solution.logp)) < 64
    # eps / temperature is the floor: a weight of at most 1, and roundings of terms up to 1 / (2 temperature).
    assert np.max(solution.residual) < 1e-14 * (1 + 1 / temperature)
    np.testing.assert_allclose(np.sum(np.exp(solution.logp), axis=-1), 1.0, rtol=1e-12)
    assert np.max(solution.num_solves) <= 45  # measured: 25 at most in these games, 42 at temperature 1e-4


def test_three_hundred_actions():
    rng = np.random.default_rng(1)
    skew = uniform_games(rng, 1, 300)
    for temperature in (1.0, 0.001):
        reference = log_softmax(rng.normal(size=(1, 300)), axis=-1)
        solution = SOLVE(skew, reference, temperature)
        assert np.all(solution.converged)
        assert np.max(solution.num_solves) <= 25
        assert deviation(skew, reference, temperature, np.asarray(solution.logp)) < 64


@pytest.mark.parametrize("n", [3, 10, 50])
def test_sixty_random_games_at_every_temperature(n):
    skew = uniform_games(np.random.default_rng(2), 60, n)
    reference = np.full((60, n), -np.log(n))
    for temperature in (1.0, 0.1, 0.01, 0.001):
        solution = SOLVE(skew, reference, temperature)
        assert np.all(solution.converged)
        assert deviation(skew, reference, temperature, np.asarray(solution.logp)) < 64


# Ten times colder than the module promises: there the direct steps, and long strides along the path, do fail.
@pytest.mark.parametrize("games", [uniform_games, tournaments, duplicated])
def test_a_thousand_cold_games(games):
    rng = np.random.default_rng(5)
    skew = games(rng, 1000, 20)
    reference = log_softmax(
        rng.normal(size=(1000, 20)) * rng.choice([0, 1, 30, 1000], size=(1000, 1)), axis=-1
    )
    solution = SOLVE(skew, reference, 1e-4)
    assert np.all(solution.converged)
    assert deviation(skew, reference, 1e-4, np.asarray(solution.logp)) < 64
    assert np.max(solution.num_solves) <= 50  # measured: 41
    assert np.mean(solution.num_solves) < 14  # measured: 12.7; 17 without the shorter steps


def test_all_ties_give_the_reference_back():
    reference = log_softmax(np.array([0.0, -3.0, -4000.0]))
    np.testing.assert_allclose(ONE(np.zeros((3, 3)), reference, 0.01).logp, reference, rtol=1e-14)


# Action 1's advantage over action 2 is the same whatever the opponent, a p_2 + a p_1 = a, so the difference
# of their log-probabilities is the reference's plus a / temperature.
@pytest.mark.parametrize("temperature", [10.0, 0.1, 0.001])
def test_two_actions_have_a_closed_form(temperature):
    skew = np.array([[0.0, 0.3], [-0.3, 0.0]])
    logp = ONE(skew, log_softmax([0.5, 1.5]), temperature).logp
    np.testing.assert_allclose(logp, log_softmax([0.5 + 0.3 / temperature, 1.5]), rtol=1e-13)


def test_relabelling_actions_relabels_the_answer():
    rng = np.random.default_rng(3)
    skew, reference = uniform_games(rng, 1, 10)[0], log_softmax(rng.normal(size=10))
    order = rng.permutation(10)
    logp = ONE(skew, reference, 0.02).logp
    np.testing.assert_allclose(
        ONE(skew[order][:, order], reference[order], 0.02).logp, logp[order], rtol=1e-11
    )


# Copies of one action share its probability as the reference divides it.
def test_duplicated_actions_are_one_action():
    reference = np.append(START, START[2]) - np.log([1, 1, 3, 1.5])  # the third is split 1 : 2
    copies = np.array([0, 1, 2, 2])
    whole, split = ONE(CYCLE, START, 0.05).logp, ONE(CYCLE[copies][:, copies], reference, 0.05).logp
    np.testing.assert_allclose(split, np.append(whole, whole[2]) - np.log([1, 1, 3, 1.5]), rtol=1e-12)


# Where x is the equilibrium, skew @ x = temperature (log x / reference - KL), for every action.
def test_exploitability_has_a_closed_form():
    rng = np.random.default_rng(4)
    skew = uniform_games(rng, 60, 10)
    reference = log_softmax(rng.normal(size=(60, 10)), axis=-1)
    for temperature in (1.0, 0.1, 0.01):
        logp = np.asarray(SOLVE(skew, reference, temperature).logp)
        ratio = logp - reference
        kl = np.sum(np.exp(logp) * ratio, axis=-1)
        exploitability = np.max(np.einsum("bij,bj->bi", skew, np.exp(logp)), axis=-1)
        np.testing.assert_allclose(exploitability, temperature * (np.max(ratio, axis=-1) - kl), atol=1e-14)


def test_agrees_with_the_extragradient_method():
    rng = np.random.default_rng(5)
    skew, temperature = uniform_games(rng, 60, 10), 0.2
    reference = log_softmax(rng.normal(size=(60, 10)), axis=-1)
    logp, step = reference, 0.5

    def ahead(opponent):
        advantage = np.einsum("bij,bj->bi", skew, softmax(opponent, axis=-1))
        pull = step * temperature
        return log_softmax((1 - pull) * logp + pull * reference + step * advantage, axis=-1)

    for _ in range(600):  # contracts by 1 - step * temperature = 0.9 a step
        logp = ahead(ahead(logp))
    np.testing.assert_allclose(SOLVE(skew, reference, temperature).logp, logp, rtol=0, atol=1e-13)


def test_agrees_with_scipy():
    rng = np.random.default_rng(6)
    skew, reference = uniform_games(rng, 1, 10)[0], log_softmax(rng.normal(size=10))

    def equation(logp):
        return logp - log_softmax(reference + skew @ np.exp(logp) / 0.1)

    root = scipy.optimize.root(equation, reference, tol=1e-14)
    np.testing.assert_allclose(ONE(skew, reference, 0.1).logp, root.x, rtol=0, atol=1e-11)


def test_the_published_regularized_equilibrium():
    logp = ONE(CYCLE, START, 0.1).logp
    assert 2 * np.max(CYCLE @ np.exp(logp)) == pytest.approx(0.0588, abs=5e-5)  # four published digits


# The linearized rate is temperature / sqrt(temperature^2 + omega^2) = 0.43178 for omega = 0.208893. Rotation
# makes the gap wobble around it from step to step, and little over twenty.
def test_the_proximal_iteration_contracts_at_its_linear_rate():
    logp, gaps, solves = jnp.asarray(START), [], []
    for _ in range(40):
        solution = ONE(CYCLE, logp, 0.1)
        assert solution.converged
        logp = solution.logp
        gaps.append(2 * np.max(CYCLE @ np.exp(logp)))
        solves.append(int(solution.num_solves))
    assert gaps[-1] < 1e-11
    assert (gaps[24] / gaps[4]) ** (1 / 20) == pytest.approx(0.43178, rel=0.02)
    assert max(solves) <= 6


def test_two_hundred_proximal_steps_on_ten_games():
    skew = jnp.asarray(uniform_games(np.random.default_rng(7), 10, 10))
    start = jnp.full((10, 10), -np.log(10.0))

    @jax.jit
    def run(temperature):
        def outer(logp, _):
            solution = jax.vmap(proximal.regularized_equilibrium, (0, 0, None))(skew, logp, temperature)
            return solution.logp, solution

        return jax.lax.scan(outer, start, length=200)[1]

    for temperature in (0.1, 0.03):
        solution = run(temperature)
        assert np.all(solution.converged)
        assert np.min(solution.logp) < -500  # the references did get far
        assert np.max(solution.num_solves) <= 10
        assert np.mean(solution.num_solves) < 4


def test_the_start_changes_the_work_and_not_the_answer():
    rng = np.random.default_rng(8)
    skew, reference = uniform_games(rng, 1, 10)[0], log_softmax(rng.normal(size=10))
    cold = ONE(skew, reference, 0.01)
    for start in (log_softmax(rng.normal(size=10)), log_softmax(np.where(np.arange(10) == 3, 0.0, -5000.0))):
        solution = ONE(skew, reference, 0.01, start)
        assert solution.converged
        np.testing.assert_allclose(solution.logp, cold.logp, rtol=1e-11)
    assert ONE(skew, reference, 0.01, cold.logp).num_solves == 1


# At a vertex every difference from the best response has weight 0 under p itself. It must not look solved.
def test_no_vertex_is_mistaken_for_the_solution():
    solution = ONE(CYCLE, START, 0.1)
    for vertex in range(3):
        start = log_softmax(np.where(np.arange(3) == vertex, 0.0, -800.0))
        np.testing.assert_allclose(ONE(CYCLE, START, 0.1, start).logp, solution.logp, rtol=1e-12)


def test_a_failure_says_so():
    skew = CYCLE.copy()
    skew[0, 1] = np.nan
    for solution in (ONE(skew, START, 0.1), ONE(CYCLE, np.array([np.nan, -1.0, -1.0]), 0.1)):
        assert not solution.converged
        assert solution.num_solves <= 1  # and it does not go on


def test_running_out_of_solves_says_so(monkeypatch):
    skew = jnp.asarray(uniform_games(np.random.default_rng(9), 1, 10)[0])
    monkeypatch.setattr(proximal, "MAX_SOLVES", 2)
    solution = proximal.regularized_equilibrium(skew, jnp.full(10, -np.log(10.0)), 0.001)
    assert solution.num_solves == 2
    assert not solution.converged


def test_leading_axes_broadcast_and_are_a_loop():
    rng = np.random.default_rng(10)
    skew = uniform_games(rng, 3, 10)
    reference = log_softmax(rng.normal(size=(2, 1, 10)), axis=-1)
    temperature = np.array([1.0, 0.1, 0.01])
    together = jax.jit(proximal.regularized_equilibrium)(skew, reference, temperature)
    assert together.logp.shape == (2, 3, 10)
    assert together.num_solves.shape == together.converged.shape == together.residual.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            one = ONE(skew[j], reference[i, 0], temperature[j])
            # not bit for bit: a batched LU may round differently
            np.testing.assert_allclose(together.logp[i, j], one.logp, rtol=1e-11)


# d logp / d reference = (I - M)^-1 (I - 1 p^T), M = (I - 1 p^T) skew diag(p) / temperature.
def test_the_derivative_is_that_of_the_equilibrium():
    rng = np.random.default_rng(11)
    skew = jnp.asarray(uniform_games(rng, 1, 6)[0])
    reference = jnp.asarray(log_softmax(rng.normal(size=6) - 4000.0 * (np.arange(6) == 2)))

    @jax.jit
    def equilibrium(reference):
        return proximal.regularized_equilibrium(skew, reference, 0.1).logp

    p = np.exp(equilibrium(reference))
    centre = np.eye(6) - p
    exact = np.linalg.solve(np.eye(6) - centre @ skew * p / 0.1, centre)
    # The last step is shorter than 1e-6, and the derivative's error is of that times the second derivative.
    np.testing.assert_allclose(jax.jit(jax.jacfwd(equilibrium))(reference), exact, atol=1e-6)


def test_float32_is_as_good_as_float32_can_be():
    rng = np.random.default_rng(12)
    skew = uniform_games(rng, 60, 10)
    reference = log_softmax(rng.normal(size=(60, 10)), axis=-1)
    for temperature in (1.0, 0.1, 0.01):
        exact = SOLVE(skew, reference, temperature)
        solution = SOLVE(skew.astype(np.float32), reference.astype(np.float32), temperature)
        assert solution.logp.dtype == solution.residual.dtype == jnp.float32
        assert np.all(solution.converged)
        # eps / temperature = 1.2e-5 relative in the worst case, on probabilities below 1
        np.testing.assert_allclose(np.exp(solution.logp), np.exp(exact.logp), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1e297, 2e298])
@pytest.mark.parametrize("temperature", [1e-10, 1e-12, 1e-300])
def test_payoffs_that_overflow_in_units_of_the_temperature_are_a_failure_not_a_warning(size, temperature):
    for payoff in ([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, -1.0], [-1.0, 1.0]], [[3.0], [2.0]]):
        found = cg.qre(cg.ZeroSumGame(size * np.array(payoff)), temperature)
        assert found.status in ("certified", "failed")
        if found.status == "certified":
            assert np.all(np.isfinite(found.logp))
            assert 0 <= found.regularized_gap <= 1e-12 * (size + temperature)
