"""The Bradley-Terry fit: a stationary point of the likelihood under any pair weights, on any preferences.

Of a finite sample: of the likelihood of what was compared, and of one tied comparison more.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit, log_expit, log_softmax

import comalgames as cg
from comalgames.numerics import bradley_terry

FIT = jax.jit(jax.vmap(bradley_terry.fit))
CLIP = bradley_terry.CLIP


def uniform_games(rng, count, n):
    lower = np.tril(rng.uniform(size=(count, n, n)) - 0.5, -1)
    return lower - lower.swapaxes(1, 2)


def tournaments(rng, count, n):
    lower = np.tril(rng.integers(0, 2, size=(count, n, n)) - 0.5, -1)
    return lower - lower.swapaxes(1, 2)


# The better always wins: each action's score is 10 to 14 nats above the next one's.
def rankings(rng, count, n):
    strength = rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
    return np.sign(strength[:, :, None] - strength[:, None, :]) / 2


# Actions of a better block always beat those of a worse one; inside a block preferences are a tournament.
def blocks(rng, count, n):
    block = rng.integers(0, 3, size=(count, n))
    between = np.sign(block[:, :, None] - block[:, None, :]) / 2
    return np.where(between == 0, tournaments(rng, count, n), between)


def bradley_terry_games(scores):
    return expit(scores[:, :, None] - scores[:, None, :]) - 0.5


# As many policies as games: near uniform, concentrated, and with -1000 in places.
def policies(rng, count, n):
    logits = rng.normal(size=(count, n)) * rng.choice([0.0, 1.0, 5.0, 30.0], size=(count, 1))
    absent = rng.uniform(size=(count, n)) < rng.choice([0.0, 0.4], size=(count, 1))
    return log_softmax(logits - 1000.0 * absent, axis=-1)


def gap(skew, logp, scores):
    """sum_j p_j (P_ij - sigmoid(f_i - f_j)) for every action i."""
    difference = np.clip(skew, CLIP - 0.5, 0.5 - CLIP) + 0.5 - expit(scores[:, :, None] - scores[:, None, :])
    return np.einsum("bij,bj->bi", difference, np.exp(logp))


# 1e-14: sums of n terms below 1, each to 1.1e-16, for n = 10 and 30.
@pytest.mark.parametrize("n", [2, 10, 30])
@pytest.mark.parametrize("games", [uniform_games, tournaments, rankings, blocks])
def test_scores_are_stationary_for_any_weights(games, n):
    rng = np.random.default_rng(0)
    skew, logp = games(rng, 60, n), policies(rng, 60, n)
    fit = FIT(skew, logp)
    assert np.all(np.isfinite(fit.scores))
    assert np.all(fit.converged)
    assert np.max(fit.residual) < 1e-14
    # Every action's equation holds, those without weight and the pinned one included.
    assert np.max(np.abs(gap(skew, logp, np.asarray(fit.scores)))) < 1e-14
    np.testing.assert_array_equal(
        np.take_along_axis(fit.scores, np.argmax(logp, axis=1)[:, None], axis=1), 0.0
    )
    assert np.max(fit.num_solves) <= 20  # measured: 17
    if games is uniform_games:
        assert np.mean(fit.num_solves) < 4  # measured: 2.5


# The slope of the equation is as low as 1e-2 for scores 5 apart, so 1e-15 in it is 1e-13 in the scores.
def test_recovers_bradley_terry_scores_whatever_the_weights():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(60, 10))
    logp = policies(rng, 60, 10)
    fit = FIT(bradley_terry_games(scores), logp)
    pinned = np.argmax(logp, axis=1)[:, None]
    np.testing.assert_allclose(fit.scores, scores - np.take_along_axis(scores, pinned, axis=1), atol=1e-12)


# In float32 a policy sums to 1 only to some 1e-6, and a win rate may come out above 1.
def test_a_policy_that_sums_to_one_only_roughly():
    fit = bradley_terry.fit(jnp.array([[0.0, 0.5], [-0.5, 0.0]]), jnp.log(jnp.array([1e-9, 1.0 + 1e-5])))
    assert np.all(np.isfinite(fit.scores))
    assert fit.scores[0] == pytest.approx(np.log(1 / CLIP), abs=1e-4)


def test_two_actions_have_the_log_odds():
    skew = np.array([[[0.0, 0.4], [-0.4, 0.0]]])
    fit = FIT(skew, np.log([[0.7, 0.3]]))
    np.testing.assert_allclose(fit.scores, [[0.0, -np.log(9.0)]], rtol=1e-13)


def likelihood(scores, skew, p):
    return np.sum(p[:, None] * p * (skew + 0.5) * log_expit(scores[:, None] - scores))


def test_agrees_with_scipy():
    rng = np.random.default_rng(2)
    skew = uniform_games(rng, 5, 10)
    logp = log_softmax(rng.normal(size=(5, 10)), axis=-1)
    fit = FIT(skew, logp)
    for game, p, scores in zip(skew, np.exp(logp), np.asarray(fit.scores), strict=True):
        best = scipy.optimize.minimize(
            lambda f, a, q: -likelihood(f, a, q), np.zeros(10), (game, p), tol=1e-10
        )
        found = best.x - best.x[np.argmax(p)]
        # BFGS with difference quotients resolves the scores to about the root of eps over the least weight.
        np.testing.assert_allclose(scores, found, atol=1e-4)
        assert likelihood(scores, game, p) >= likelihood(found, game, p)


def test_the_likelihood_has_no_gradient_and_is_greatest():
    rng = np.random.default_rng(3)
    skew, logp = tournaments(rng, 1, 10)[0], log_softmax(rng.normal(size=10))
    skew = np.clip(skew, -0.4, 0.4)
    scores = bradley_terry.fit(jnp.asarray(skew), jnp.asarray(logp)).scores
    p = jnp.exp(logp)

    def log_likelihood(scores):
        return jnp.sum(p[:, None] * p * (skew + 0.5) * jax.nn.log_sigmoid(scores[:, None] - scores))

    assert np.max(np.abs(jax.grad(log_likelihood)(scores))) < 1e-15
    others = np.asarray(scores) + rng.normal(size=(50, 10)) * 10.0 ** rng.uniform(-3, 1, size=(50, 1))
    assert np.max(jax.vmap(log_likelihood)(others)) < log_likelihood(scores)


# sigmoid(x) - 1/2 = x / 4 - x^3 / 48 + ...: halving the preferences leaves an eighth of the error.
def test_near_a_tie_scores_are_four_times_the_win_rates():
    rng = np.random.default_rng(4)
    skew = uniform_games(rng, 60, 10)
    logp = log_softmax(rng.normal(size=(60, 10)), axis=-1)
    pinned = np.argmax(logp, axis=1)[:, None]
    advantage = np.einsum("bij,bj->bi", skew, np.exp(logp))
    advantage -= np.take_along_axis(advantage, pinned, axis=1)
    errors = [np.max(np.abs(FIT(s * skew, logp).scores - 4 * s * advantage)) for s in (0.02, 0.01)]
    assert errors[0] < 0.02**2
    assert errors[0] / errors[1] == pytest.approx(8.0, rel=0.01)
    np.testing.assert_allclose(FIT(1e-9 * skew, logp).scores, 4e-9 * advantage, rtol=1e-6)


def test_under_uniform_weights_scores_rank_as_borda_count_does():
    skew = uniform_games(np.random.default_rng(5), 60, 10)
    scores = FIT(skew, np.full((60, 10), -np.log(10.0))).scores
    np.testing.assert_array_equal(np.argsort(scores, axis=1), np.argsort(np.mean(skew, axis=2), axis=1))


# Sum the equations of the k worst: what they win from the n - k others, CLIP a pair, is what the scores say,
# almost all of it from the pair of neighbours at the cut: exp(-step) = k (n - k) CLIP, to exp(-10) relative.
def test_a_ranking_has_a_closed_form():
    n = 10
    skew = np.sign(np.arange(n)[:, None] - np.arange(n)) / 2
    scores = FIT(skew[None], np.full((1, n), -np.log(n))).scores[0]
    worst = np.arange(1, n)
    np.testing.assert_allclose(np.diff(scores), -np.log(worst * (n - worst) * CLIP), atol=2e-4)


def test_a_policy_at_minus_five_hundred_has_the_log_odds_against_its_one_action():
    skew = uniform_games(np.random.default_rng(6), 60, 10)
    logp = log_softmax(np.tile(np.where(np.arange(10) == 3, 0.0, -500.0), (60, 1)), axis=-1)
    expected = np.log((0.5 + skew[:, :, 3]) / (0.5 - skew[:, :, 3]))
    fit = FIT(skew, logp)
    np.testing.assert_allclose(fit.scores, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(fit.num_solves, 1)  # solved by the start; one step carries the derivative


def test_leading_axes_broadcast_and_are_a_loop():
    rng = np.random.default_rng(7)
    skew = jnp.asarray(uniform_games(rng, 3, 10))
    logp = jnp.asarray(log_softmax(rng.normal(size=(2, 1, 10)), axis=-1))
    together = jax.jit(bradley_terry.fit)(skew, logp)
    assert together.scores.shape == (2, 3, 10)
    assert together.residual.shape == together.converged.shape == together.num_solves.shape == (2, 3)
    for i in range(2):
        alone = FIT(skew, jnp.tile(logp[i], (3, 1)))
        np.testing.assert_allclose(together.scores[i], alone.scores, atol=1e-13)


# f' = -J^+ dr: by central differences, whose error is 1e-6^2 and 1e-15 / 1e-6.
def test_the_derivative_is_that_of_the_fit():
    rng = np.random.default_rng(8)
    skew = jnp.asarray(uniform_games(rng, 1, 10)[0])
    logp, direction = log_softmax(rng.normal(size=10)), rng.normal(size=10) / 10
    logp[np.argmax(logp)] += 1.0  # no change of the pinned action

    def scores(t):
        return bradley_terry.fit(skew, jax.nn.log_softmax(jnp.asarray(logp + t * direction))).scores

    slope = jax.jit(lambda t: jax.jvp(scores, (t,), (1.0,))[1])(0.0)
    quotient = (jax.jit(scores)(1e-6) - jax.jit(scores)(-1e-6)) / 2e-6
    np.testing.assert_allclose(slope, quotient, atol=1e-7)


def test_a_failure_says_so(monkeypatch):
    skew = uniform_games(np.random.default_rng(9), 60, 10)
    skew[0, 0, 1] = np.nan
    assert not FIT(skew, np.full((60, 10), -np.log(10.0))).converged[0]
    monkeypatch.setattr(bradley_terry, "MAX_STEPS", 3)
    ranking = np.sign(np.arange(10)[:, None] - np.arange(10)) / 2
    fit = bradley_terry.fit(jnp.asarray(ranking), jnp.full(10, -np.log(10.0)))
    assert fit.num_solves == 3
    assert not fit.converged


# 1e-5 in scores is a residual of 8 float32 roundings over the least slope here, a tenth.
def test_float32_is_as_good_as_float32_can_be():
    rng = np.random.default_rng(10)
    scores = rng.normal(size=(60, 10))
    skew, logp = bradley_terry_games(scores), log_softmax(rng.normal(size=(60, 10)), axis=-1)
    fit = FIT(skew.astype(np.float32), logp.astype(np.float32))
    assert fit.scores.dtype == fit.residual.dtype == jnp.float32
    assert np.all(fit.converged)
    np.testing.assert_allclose(fit.scores, FIT(skew, logp).scores, atol=5e-5)
    hard = FIT(rankings(rng, 60, 10).astype(np.float32), policies(rng, 60, 10).astype(np.float32))
    assert np.all(hard.converged)
    assert np.all(np.isfinite(hard.scores))


# Of the clipped preferences float32 holds 1e-6, but of 1 - 1e-6 only multiples of 6e-8: the equations are
# checked by the smaller of win and loss. Their rounding, and that of scores times the slope, may be left.
@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("games", [uniform_games, tournaments, rankings, blocks])
def test_float32_keeps_the_clip_apart_from_its_rounding(games, n):
    rng = np.random.default_rng(15)
    skew, logp = games(rng, 200, n).astype(np.float32), policies(rng, 200, n).astype(np.float32)
    single, double = FIT(skew, logp), FIT(*(x.astype(np.float64) for x in (skew, logp)))
    assert np.all(single.converged)
    scores = np.asarray(single.scores, np.float64)
    odds, lengths = (
        f(scores[:, :, None], scores[:, None, :]) for f in (np.subtract, lambda a, b: abs(a) + abs(b))
    )
    wins, losses = (np.clip(0.5 + side.astype(np.float64), CLIP, 1 - CLIP) for side in (skew, -skew))
    won, lost = wins * expit(-odds), losses * expit(odds)
    weights = np.exp(logp.astype(np.float64))[:, None, :] * (1 - np.eye(n))
    left = np.abs(np.sum(weights * (won - lost), axis=2))
    left[np.arange(200), np.argmax(logp, axis=1)] = 0.0
    rounding = np.sum(weights * (won + lost) * (1 + lengths), axis=2)
    assert np.all(left <= 16 * np.finfo(np.float32).eps * rounding + np.finfo(np.float32).tiny)
    # What is further off is ill-conditioned: won and lost comparisons of one action nearly cancel.
    errors = np.max(np.abs(scores - double.scores), axis=1)
    assert np.median(errors) < 2e-5
    assert np.quantile(errors, 0.9) < 2e-3


# Samples ----------------------------------------------------------------------------------------------------


def samples(rng, games, logp, num_pairs):
    """Pairs drawn from each policy and compared once: how often seen, and won, [count, n, n], both sides."""
    count, n = logp.shape
    seen, won = np.zeros((count, n, n)), np.zeros((count, n, n))
    for b, (skew, p) in enumerate(zip(games, np.exp(logp), strict=True)):
        pair = rng.choice(n, size=(num_pairs, 2), p=p / p.sum())
        first = rng.uniform(size=num_pairs) < skew[pair[:, 0], pair[:, 1]] + 0.5
        winner, loser = np.where(first, pair.T, pair.T[::-1])
        np.add.at(won[b], (winner, loser), 1)
        np.add.at(seen[b], (winner, loser), 1)
        np.add.at(seen[b], (loser, winner), 1)
    return seen, won


def sampled_fit(seen, won, logp, num_pairs):
    """The fit of counts, in the terms in which feedback reports them."""
    skew = np.where(seen > 0, won / np.maximum(seen, 1), 0.5) - 0.5
    p = np.exp(logp)[:, :, None]
    weights = seen / (2 * num_pairs) / np.where(p > 0, p, 1)  # what underflows was not seen
    return FIT(skew, logp, weights, np.full(len(logp), float(num_pairs)))


def penalized_gradient(scores, seen, won, p):
    """Of sum_wins log sigmoid(winner - loser), and one more comparison spread as p_i p_j, each half won.

    Counts of pairs are those of both of their sides, so an action met by itself is a win and a loss.
    """
    sigmoid = expit(scores[:, :, None] - scores[:, None, :])
    tied = p[:, :, None] * p[:, None, :] * bradley_terry.PSEUDO_COMPARISONS
    return np.sum(won + tied - (seen + 2 * tied) * sigmoid, axis=2)


# Divided by the action's own weight the equations hold to 1e-14; times counts of at most 200, to 1e-11.
@pytest.mark.parametrize("num_pairs", [1, 5, 100])
@pytest.mark.parametrize("games", [uniform_games, rankings])
def test_a_samples_scores_are_stationary_for_the_penalized_likelihood(games, num_pairs):
    rng = np.random.default_rng(11)
    skew, logp = games(rng, 500, 6), policies(rng, 500, 6)
    seen, won = samples(rng, skew, logp, num_pairs)
    fit = sampled_fit(seen, won, logp, num_pairs)
    assert np.all(np.isfinite(fit.scores))
    assert np.all(fit.converged)
    assert np.max(fit.num_solves) < 40
    gradient = penalized_gradient(np.asarray(fit.scores), seen, won, np.exp(logp))
    assert np.max(np.abs(gradient)) < 1e-11
    assert np.max(np.abs(penalized_gradient(np.zeros((500, 6)), seen, won, np.exp(logp)))) > 0.1


# A weight of 0 must stay one: the pair's preference does not matter then, whatever it is.
def test_pairs_of_no_weight_do_not_count():
    rng = np.random.default_rng(13)
    skew, logp = uniform_games(rng, 60, 6), log_softmax(rng.normal(size=(60, 6)), axis=-1)
    share = rng.uniform(size=(60, 6, 6)) * (rng.uniform(size=(60, 6, 6)) < 0.3)
    share[:, np.arange(5), np.arange(1, 6)] += 0.1  # every action is connected to the next one
    share = share + share.swapaxes(1, 2)
    weights = share / np.exp(logp)[:, :, None]
    fit = FIT(skew, logp, weights, np.full(60, np.inf))
    assert np.all(fit.converged)
    scores = np.asarray(fit.scores)
    gradient = np.sum(share * (skew + 0.5 - expit(scores[:, :, None] - scores[:, None, :])), axis=2)
    assert np.max(np.abs(gradient)) < 1e-13
    turned = np.where(share > 0, skew, -0.4 * np.sign(skew))
    np.testing.assert_allclose(
        FIT(turned, logp, weights, np.full(60, np.inf)).scores, scores, rtol=0, atol=1e-12
    )


def test_exact_weights_are_the_default_ones_also_where_probabilities_underflow():
    rng = np.random.default_rng(14)
    skew, logp = uniform_games(rng, 60, 6), policies(rng, 60, 6)
    weights = np.broadcast_to(np.exp(logp)[:, None, :], skew.shape)
    given = FIT(skew, logp, weights, np.full(60, np.inf)).scores
    assert np.sum(np.exp(logp) == 0) > 20
    np.testing.assert_allclose(given, FIT(skew, logp).scores, rtol=1e-11, atol=1e-11)


def test_two_actions_and_one_comparison_have_a_closed_form():
    """Won once: sigmoid(f) = (1 + p_0 p_1) / (1 + 2 p_0 p_1), from one win and p_0 p_1 of each on top."""
    p = np.array([[0.7, 0.3]])
    seen, won = np.array([[[0.0, 1.0], [1.0, 0.0]]]), np.array([[[0.0, 1.0], [0.0, 0.0]]])
    fit = sampled_fit(seen, won, np.log(p), 1)
    np.testing.assert_allclose(fit.scores, [[0.0, -np.log(1.21 / 0.21)]], rtol=1e-12)


def test_the_fit_of_a_sample_tends_to_that_of_all_pairs():
    """In the same proportions, the tied comparison matters as 1 / num_pairs; and samples err as its root."""
    rng = np.random.default_rng(12)
    skew, logp = uniform_games(rng, 60, 6), log_softmax(rng.normal(size=(60, 6)), axis=-1)
    exact = np.asarray(FIT(skew, logp).scores)
    weights = np.broadcast_to(np.exp(logp)[:, None, :], skew.shape)
    without_end = FIT(skew, logp, weights, np.full(60, np.inf))
    np.testing.assert_allclose(without_end.scores, exact, rtol=0, atol=1e-12)
    errors = [
        np.max(np.abs(FIT(skew, logp, weights, np.full(60, num_pairs)).scores - exact))
        for num_pairs in (1e3, 1e4)
    ]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)
    typical = []
    for num_pairs in (400, 40_000):
        seen, won = samples(rng, skew, logp, num_pairs)
        typical.append(np.median(np.abs(sampled_fit(seen, won, logp, num_pairs).scores - exact)))
    assert typical[0] / typical[1] == pytest.approx(10, rel=0.3)


def test_feedback_and_fit_agree_on_what_a_sample_is():
    """`Sampled.comparisons` fitted is the fit of the counts that it stands for."""
    n, count = 6, 60
    game = cg.games.random(jax.random.key(0), n)
    logp = np.log([0.45, 0.2, 0.15, 0.1, 0.05, 0.05])
    p = np.tile(np.exp(logp), (count, 1))
    compare = jax.jit(jax.vmap(cg.Sampled(game, 3).comparisons, (0, None)))
    sample = compare(jax.random.split(jax.random.key(0), count), jnp.asarray(logp))
    fit = FIT(sample.skew, np.log(p), sample.weights, np.asarray(sample.num_pairs))
    seen = np.asarray(sample.weights) * p[:, :, None] * 2 * 3 * n
    won = seen * (np.asarray(sample.skew) + 0.5)
    np.testing.assert_allclose(seen.sum((1, 2)), 2 * 3 * n, rtol=1e-12)
    np.testing.assert_allclose(2 * won, np.round(2 * won), rtol=0, atol=1e-10)  # halves: against itself
    assert np.max(np.abs(penalized_gradient(np.asarray(fit.scores), seen, won, p))) < 1e-12
