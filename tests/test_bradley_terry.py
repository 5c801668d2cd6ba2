"""The Bradley-Terry fit maximises its likelihood, recovers true scores, and never fails on separated data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from comalgames import bradley_terry

fit = jax.jit(bradley_terry.fit)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def random_skew(rng, n, kind="uniform"):
    lower = np.tril(
        rng.uniform(-0.5, 0.5, (n, n)) if kind == "uniform" else rng.integers(0, 2, (n, n)) - 0.5, -1
    )
    return lower - lower.T


def random_logp(rng, n, spread=1.0):
    x = spread * rng.normal(size=n)
    return x - np.logaddexp.reduce(x)


def test_recovers_the_scores_of_a_bradley_terry_game_under_any_policy():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=8)
    skew = sigmoid(scores[:, None] - scores[None, :]) - 0.5
    for spread in (0.0, 2.0, 40.0):
        found = np.asarray(fit(skew, random_logp(rng, 8, spread)).scores)
        np.testing.assert_allclose(found - found[0], scores - scores[0], atol=1e-11)


def test_agrees_with_a_general_optimiser_of_the_likelihood():
    rng = np.random.default_rng(1)
    skew, logp = random_skew(rng, 5), random_logp(rng, 5)
    weights = np.exp(logp)[:, None] * np.exp(logp)[None, :] * (skew + 0.5)

    def loss(free):
        f = np.append(free, 0.0)
        return np.sum(weights * np.logaddexp(0, -(f[:, None] - f[None, :])))

    independent = np.append(minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-10}).x, 0.0)
    found = np.asarray(fit(skew, logp).scores)
    np.testing.assert_allclose(found - found[-1], independent, atol=1e-5)


@pytest.mark.parametrize("kind", ["uniform", "tournament"])
def test_stationary_for_every_action_however_unlikely(kind):
    """sum_j p_j [P_ij - sigmoid(f_i - f_j)] = 0 for each i, also where p_i = exp(-500)."""
    rng = np.random.default_rng(2)
    clip = bradley_terry.CLIP
    for n, spread in [(2, 1.0), (3, 500.0), (10, 0.0), (10, 5.0), (10, 500.0), (50, 50.0)]:
        skew, logp = random_skew(rng, n, kind), random_logp(rng, n, spread)
        solution = fit(skew, logp)
        assert bool(solution.converged)
        f, preference = np.asarray(solution.scores), np.clip(skew + 0.5, clip, 1 - clip)
        gradient = (preference - sigmoid(f[:, None] - f[None, :])) @ np.exp(logp)
        np.testing.assert_allclose(gradient, 0, atol=1e-13)


def test_near_ties_the_scores_are_four_advantages():
    """sigmoid(x) - 1/2 = x / 4 + O(x^3), so f = 4 A p up to a constant, with an error of third order."""
    rng = np.random.default_rng(3)
    skew, logp = random_skew(rng, 6), random_logp(rng, 6)
    errors = []
    for scale in (1e-2, 1e-3):
        found = np.asarray(fit(scale * skew, logp).scores)
        error = found - 4 * scale * skew @ np.exp(logp)
        errors.append(np.ptp(error))
    assert errors[1] < 1e-7
    assert errors[0] / errors[1] == pytest.approx(1000, rel=0.1)


def test_uniform_pairs_rank_like_borda():
    rng = np.random.default_rng(4)
    for _ in range(20):
        skew = random_skew(rng, 7)
        scores = np.asarray(fit(skew, np.full(7, -np.log(7))).scores)
        np.testing.assert_array_equal(np.argsort(scores), np.argsort(skew.mean(1)))


def test_vmap_equals_loop_and_float32_keeps_its_type():
    rng = np.random.default_rng(5)
    skews, logps = (
        np.stack([random_skew(rng, 5) for _ in range(4)]),
        np.stack([random_logp(rng, 5) for _ in range(4)]),
    )
    batch = fit(skews, logps).scores
    for skew, logp, scores in zip(skews, logps, batch, strict=True):
        np.testing.assert_allclose(scores, fit(skew, logp).scores, atol=1e-12)
    single = fit(skews[0].astype(np.float32), logps[0].astype(np.float32))
    assert single.scores.dtype == jnp.float32
    np.testing.assert_allclose(single.scores, batch[0], atol=1e-4)
