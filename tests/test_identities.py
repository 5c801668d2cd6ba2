"""Each rule's step against its paper's loss, minimized by other means, and identities between rules.

Expectations are sums over every pair (or triple) of answers. The losses, their minimizers and the
two-sequence and two-step forms are NumPy and SciPy; the package supplies only the step under test.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import COMAL_NASH, COMAL_START, log_normalize, one_step, random_game, random_policy
from scipy.special import expit, lambertw

import comalgames as cg

# (game, current policy, reference): three answers and seven, neither at its reference.
CASES = [
    pytest.param(cg.games.comal_cycle(), np.array(COMAL_START), np.array([0.5, 0.25, 0.25]), id="3-cycle"),
    pytest.param(random_game(7, seed=3), random_policy(7, seed=4), random_policy(7, seed=5), id="random 7"),
]
each_case = pytest.mark.parametrize(("game", "policy", "reference"), CASES)

# Least squares on at most 49 pairs, log-probabilities below 10 and condition numbers below 100.
LEAST_SQUARES = {"rtol": 0, "atol": 1e-12}


def preference(game: Any) -> np.ndarray:
    return np.asarray(game.skew) + 0.5


def differences(n: int) -> np.ndarray:
    """One row per ordered pair (y, y'): row @ h = h(y) - h(y')."""
    eye = np.eye(n)
    return (eye[:, None, :] - eye[None, :, :]).reshape(n * n, n)


def least_squares(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The h of minimal norm that minimizes sum weights (rows @ h - targets)^2."""
    root = np.sqrt(weights)
    return np.linalg.lstsq(root[:, None] * rows, root * targets, rcond=1e-13)[0]


def labelled_pairs(game: Any, law: np.ndarray, margin: float) -> np.ndarray:
    """Minimizer of E (h(winner) - h(loser) - margin)^2 over h; pairs from `law` [n, n], raw labels.

    Both outcomes of each pair are enumerated: nothing is known here about what their mean is.
    """
    P = preference(game)
    rows, n = differences(len(P)), len(P)
    won, lost = law * P, law * P.T
    return least_squares(
        np.vstack([rows, -rows]), np.full(2 * n * n, margin), np.concatenate([won.ravel(), lost.ravel()])
    )


def triples(game: Any, law: np.ndarray, opponent: np.ndarray, step_size: float) -> np.ndarray:
    """Minimizer over h of E (h(y) - h(y') - step_size [P(y > y'') - P(y' > y'')])^2, y'' from `opponent`."""
    P = preference(game)
    rows = differences(len(P))
    targets = step_size * (P[:, None, :] - P[None, :, :]).reshape(len(rows), -1)
    weights = law.ravel()[:, None] * opponent
    return least_squares(np.repeat(rows, len(P), axis=0), targets.ravel(), weights.ravel())


# Losses on pairs --------------------------------------------------------------------------------------------


@each_case
@pytest.mark.parametrize(("eta", "tau"), [(1 / 0.3, 0.1), (0.5, 0.5), (0.002, 0.002 / 3)])
def test_inpo_minimizes_the_nash_loss_of_comals_code(
    game: Any, policy: Any, reference: Any, eta: float, tau: float
) -> None:
    # (log pi(w) - (tau/eta) log ref(w) - (1 - tau/eta) log pi_t(w) - [the same of l] - 1/(2 eta))^2, pairs
    # from pi_t
    h = labelled_pairs(game, np.outer(policy, policy), 1 / (2 * eta))
    expected = log_normalize((1 - tau / eta) * np.log(policy) + tau / eta * np.log(reference) + h)
    # Targets 1/(2 eta) = 250 with comal.sh's numbers: 250 times the rounding.
    np.testing.assert_allclose(
        one_step(cg.INPO(eta, tau), game, policy, reference), expected, rtol=0, atol=1e-12 * max(1, 1 / eta)
    )


@each_case
def test_with_uniform_pairs_the_nash_loss_is_another_algorithm(
    game: Any, policy: Any, reference: Any
) -> None:
    eta, tau = 1 / 0.3, 0.1
    n = len(policy)
    h = labelled_pairs(game, np.full((n, n), 1 / n**2), 1 / (2 * eta))
    minimizer = log_normalize((1 - tau / eta) * np.log(policy) + tau / eta * np.log(reference) + h)
    assert np.abs(one_step(cg.INPO(eta, tau), game, policy, reference) - minimizer).max() > 1e-3
    # It is the step whose opponent is uniform, not the policy.
    against_uniform = (
        (1 - tau / eta) * np.log(policy) + tau / eta * np.log(reference) + preference(game).mean(1) / eta
    )
    np.testing.assert_allclose(minimizer, log_normalize(against_uniform), **LEAST_SQUARES)


@each_case
@pytest.mark.parametrize("tau", [0.1, 1.0, 3.0])
def test_iterative_ipo_minimizes_the_ipo_loss(game: Any, policy: Any, reference: Any, tau: float) -> None:
    h = labelled_pairs(game, np.outer(policy, policy), 1 / (2 * tau))
    expected = log_normalize(np.log(policy) + h)
    np.testing.assert_allclose(one_step(cg.IterativeIPO(tau), game, policy), expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(one_step(cg.MWU(1 / tau), game, policy), expected, rtol=0, atol=1e-11)


@each_case
@pytest.mark.parametrize("beta", [0.5, 10.0])
def test_iterative_dpo_minimizes_the_logistic_loss(
    game: Any, policy: Any, reference: Any, beta: float
) -> None:
    P, law = preference(game), np.outer(policy, policy)
    rows = differences(len(P))

    def loss(h: np.ndarray) -> tuple[float, np.ndarray]:
        """-E log sigmoid(beta [h(winner) - h(loser)]) on raw labels, h = log pi / pi_t; and its gradient."""
        margins = beta * rows @ h
        wins = (law * P).ravel()
        return np.sum(wins * np.logaddexp(0, -margins)), rows.T @ (-wins * beta * expit(-margins))

    found = scipy.optimize.minimize(loss, np.zeros(len(P)), jac=True, method="BFGS", options={"gtol": 1e-12})
    # BFGS stops where the loss no longer changes, at 1e-16: its argument is then good to about 1e-8. Two
    # Newton steps by least squares bring it to rounding.
    h = found.x
    for _ in range(2):
        margins = beta * rows @ h
        curvature = (law * P).ravel() * beta**2 * expit(margins) * expit(-margins)
        h = h - np.linalg.lstsq(rows.T @ (curvature[:, None] * rows), loss(h)[1], rcond=1e-12)[0]
    assert np.abs(h - found.x - np.mean(h - found.x)).max() < 1e-5
    assert np.abs(loss(h)[1]).max() < 1e-15 * max(1, beta)
    expected = log_normalize(np.log(policy) + h)
    np.testing.assert_allclose(one_step(cg.IterativeDPO(beta), game, policy), expected, rtol=0, atol=1e-11)


# Regressions on three samples -------------------------------------------------------------------------------


@each_case
@pytest.mark.parametrize(("step_size", "temperature"), [(0.3, 0.1), (2.0, 0.05)])
@pytest.mark.parametrize("pairs", ["uniform", "skewed", "on-policy"])
def test_mirror_descent_minimizes_the_three_sample_loss_under_any_pair_law(
    game: Any, policy: Any, reference: Any, step_size: float, temperature: float, pairs: str
) -> None:
    n = len(policy)
    law = {
        "uniform": np.full((n, n), 1 / n**2),
        "skewed": random_policy(n * n, seed=8).reshape(n, n),
        "on-policy": np.outer(policy, policy),
    }[pairs]
    pull = step_size * temperature
    base = (1 - pull) * np.log(policy) + pull * np.log(reference)
    expected = log_normalize(base + triples(game, law, policy, step_size))
    rule = cg.MirrorDescent(step_size, temperature)
    np.testing.assert_allclose(one_step(rule, game, policy, reference), expected, **LEAST_SQUARES)


@each_case
@pytest.mark.parametrize(("step_size", "temperature"), [(0.3, 0.1), (2.0, 0.05)])
def test_extragradient_is_two_three_sample_fits(
    game: Any, policy: Any, reference: Any, step_size: float, temperature: float
) -> None:
    n = len(policy)
    law, pull = np.full((n, n), 1 / n**2), step_size * temperature
    base = (1 - pull) * np.log(policy) + pull * np.log(reference)
    half = np.exp(log_normalize(base + triples(game, law, policy, step_size)))
    expected = log_normalize(base + triples(game, law, half, step_size))
    rule = cg.Extragradient(step_size, temperature)
    np.testing.assert_allclose(one_step(rule, game, policy, reference), expected, **LEAST_SQUARES)


@each_case
@pytest.mark.parametrize(("learning_rate", "beta"), [(0.1, 0.1), (0.02, 0.01)])
def test_a_gradient_step_on_the_three_sample_loss_is_a_mirror_step(
    game: Any, policy: Any, reference: Any, learning_rate: float, beta: float
) -> None:
    """One SGD step on logits, with uniform pairs, is MirrorDescent(4 lr / (n beta), beta)."""
    P, n = preference(game), len(policy)
    logits = np.log(policy) + 0.7  # a softmax model's logits are not normalized
    rows = differences(n)
    gaps = rows @ (log_normalize(logits) - np.log(reference))
    targets = (P[:, None, :] - P[None, :, :]).reshape(n * n, n) / beta
    # Gradient of sum_{y, y'} n^-2 sum_{y''} policy(y'') (gap - target)^2 by hand; the normalizer drops out
    # of gaps.
    gradient = 2 * rows.T @ (np.sum(policy * (gaps[:, None] - targets), axis=1)) / n**2
    expected = log_normalize(logits - learning_rate * gradient)
    rule = cg.MirrorDescent(4 * learning_rate / (n * beta), beta)
    np.testing.assert_allclose(one_step(rule, game, policy, reference), expected, rtol=0, atol=1e-13 / beta)

    def loss(logits: Any) -> Any:
        gaps = jnp.asarray(rows) @ (jax.nn.log_softmax(logits) - jnp.log(jnp.asarray(reference)))
        return jnp.sum(jnp.asarray(policy) * (gaps[:, None] - jnp.asarray(targets)) ** 2) / n**2

    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(logits)), gradient, rtol=0, atol=1e-12 / beta)


# SPPO's squared loss ----------------------------------------------------------------------------------------


def sppo_minimizer(game: Any, policy: np.ndarray, step_size: float) -> np.ndarray:
    """Log of the normalized pi that minimizes E_policy (log pi / pi_t - step_size (win rate - 1/2))^2.

    With h = log(pi / pi_t), multiplier c for sum pi = 1: h - eta a + c e^h = 0, h = eta a - W(c e^(eta a)).
    """
    a = step_size * (preference(game) @ policy - 0.5)

    def h(c: float) -> np.ndarray:
        return a - lambertw(c * np.exp(a)).real

    c = scipy.optimize.brentq(lambda c: policy @ np.exp(h(c)) - 1, 0, 10, xtol=1e-16, rtol=1e-15)
    return np.log(policy) + h(c)


@each_case
def test_sppo_minimizes_its_loss_when_the_constant_is_free(game: Any, policy: Any, reference: Any) -> None:
    step_size = 0.7
    win_rates = preference(game) @ policy
    # E_policy (h - eta (w - 1/2))^2 with the mean taken off: columns h and a constant.
    design = np.hstack([np.eye(len(policy)), np.ones((len(policy), 1))])
    h = least_squares(design, step_size * (win_rates - 0.5), policy)[:-1]
    expected = log_normalize(np.log(policy) + h)
    for rule in (cg.SPPO(step_size), cg.MWU(step_size)):
        np.testing.assert_allclose(one_step(rule, game, policy), expected, **LEAST_SQUARES)


@each_case
def test_with_its_published_constant_sppo_differs_at_third_order(
    game: Any, policy: Any, reference: Any
) -> None:
    # The closed form is the minimizer: no normalized policy near it has a smaller loss.
    minimizer = sppo_minimizer(game, policy, 1.0)
    np.testing.assert_allclose(np.exp(minimizer).sum(), 1, rtol=1e-13)
    advantage = preference(game) @ policy - 0.5

    def loss(logp: np.ndarray) -> float:
        return float(policy @ (logp - np.log(policy) - advantage) ** 2)

    rng = np.random.default_rng(0)
    for _ in range(20):
        assert loss(log_normalize(minimizer + 1e-3 * rng.normal(size=len(policy)))) > loss(minimizer)
    # h - h_MWU = -eta^3 a Var(a) / 2 + O(eta^4), up to the normalizer: halving the step divides it by 8.
    variance = policy @ advantage**2
    errors = []
    for step_size in (0.1, 0.05, 0.025):
        error = sppo_minimizer(game, policy, step_size) - one_step(cg.SPPO(step_size), game, policy)
        errors.append(error - policy @ error)
        predicted = -(step_size**3) * (advantage - policy @ advantage) * variance / 2
        assert np.abs(errors[-1] - predicted).max() < 2 * step_size * np.abs(predicted).max()
    ratios = [np.abs(errors[k]).max() / np.abs(errors[k + 1]).max() for k in range(2)]
    np.testing.assert_allclose(ratios, 8, rtol=0.05)


# Proximal objectives ----------------------------------------------------------------------------------------


@each_case
@pytest.mark.parametrize(("step_size", "temperature"), [(0.3, 0.1), (5.0, 0.5)])
def test_mmd_maximizes_its_proximal_objective(
    game: Any, policy: Any, reference: Any, step_size: float, temperature: float
) -> None:
    advantage = preference(game) @ policy - 0.5

    def negative_objective(scores: np.ndarray) -> tuple[float, np.ndarray]:
        """-(<p, a> - tau KL(p || ref) - KL(p || policy) / eta) at p = softmax(scores), and its gradient."""
        logp = log_normalize(scores)
        p = np.exp(logp)
        value = -advantage + temperature * (logp - np.log(reference)) + (logp - np.log(policy)) / step_size
        return p @ value, p * (value - p @ value)

    found = scipy.optimize.minimize(
        negative_objective, np.zeros(len(policy)), jac=True, method="BFGS", options={"gtol": 1e-13}
    )
    step = one_step(cg.MMD(step_size, temperature), game, policy, reference)
    # The minimizer of a smooth function is found to the square root of rounding.
    np.testing.assert_allclose(step, log_normalize(found.x), rtol=0, atol=1e-6)
    assert np.abs(negative_objective(step)[1]).max() < 1e-15


@each_case
def test_extragradient_is_two_mirror_steps(game: Any, policy: Any, reference: Any) -> None:
    A, eta, tau = np.asarray(game.skew), 0.8, 0.2
    base = (1 - eta * tau) * np.log(policy) + eta * tau * np.log(reference)
    half = np.exp(base + eta * A @ policy)
    half /= half.sum()
    expected = log_normalize(base + eta * A @ half)
    step = one_step(cg.Extragradient(eta, tau), game, policy, reference)
    np.testing.assert_allclose(step, expected, rtol=0, atol=1e-14)
    # With temperature 0 the reference has no say.
    expected = log_normalize(
        np.log(policy) + eta * A @ np.exp(log_normalize(np.log(policy) + eta * A @ policy))
    )
    np.testing.assert_allclose(
        one_step(cg.Extragradient(eta), game, policy, reference), expected, rtol=0, atol=1e-14
    )


@each_case
def test_optimistic_mwu_is_onpo(game: Any, policy: Any, reference: Any) -> None:
    """Two sequences: theta_t = N[anchor_t + s u_{t-1}], anchor_{t+1} = N[anchor_t + s u_t], u_{-1} = 0."""
    A, step_size = np.asarray(game.skew), 0.7
    result = cg.solve(game, cg.OptimisticMWU(step_size), 200, init=policy, metrics=["logp"])
    anchor, utility = np.log(policy), np.zeros(len(policy))
    for logp in result.history["logp"]:
        theta = log_normalize(anchor + step_size * utility)
        # Two hundred roundings; the dynamics contracts.
        np.testing.assert_allclose(logp, theta, rtol=0, atol=1e-12)
        utility = A @ np.exp(theta)
        anchor = log_normalize(anchor + step_size * utility)


# Regularizers -----------------------------------------------------------------------------------------------


def test_gradients_of_regularizers() -> None:
    p, reference = random_policy(2, 6, seed=9), random_policy(2, 6, seed=10)
    by_hand = {
        cg.regularizers.kl: np.log(p / reference) + 1,
        cg.regularizers.forward_kl: -reference / p,
        cg.regularizers.chi_squared: 2 * (p - reference) / reference,
    }
    values = {
        cg.regularizers.kl: np.sum(p * np.log(p / reference), -1),
        cg.regularizers.forward_kl: np.sum(reference * np.log(reference / p), -1),
        cg.regularizers.chi_squared: np.sum(p**2 / reference, -1) - 1,
    }
    logs = jnp.log(jnp.asarray(p)), jnp.log(jnp.asarray(reference))
    for regularizer, expected in by_hand.items():
        np.testing.assert_allclose(cg.regularizers.gradient(regularizer, *logs), expected, rtol=1e-13)
        np.testing.assert_allclose(cg.regularizers.value(regularizer, *logs), values[regularizer], rtol=1e-13)


def test_gradients_of_regularizers_where_probabilities_underflow() -> None:
    logp = jnp.array([[0.0, -1000.0, -5000.0], [0.0, -5000.0, -1000.0]])

    def squares(p: Any, reference: Any) -> Any:
        """0/0 for probabilities whose squares underflow."""
        return jnp.sum(p**2 / reference**2)

    for regularizer in (cg.regularizers.kl, cg.regularizers.forward_kl, cg.regularizers.chi_squared, squares):
        assert np.all(np.isfinite(cg.regularizers.gradient(regularizer, logp, logp[::-1])))
        assert np.all(np.isfinite(cg.regularizers.gradient(regularizer, logp, logp)))


@each_case
def test_regularized_mirror_descent_by_hand(game: Any, policy: Any, reference: Any) -> None:
    A, eta, tau = np.asarray(game.skew), 0.5, 0.2
    gradients = {
        cg.regularizers.kl: np.log(policy / reference) + 1,
        cg.regularizers.forward_kl: -reference / policy,
        cg.regularizers.chi_squared: 2 * (policy - reference) / reference,
    }
    for regularizer, gradient in gradients.items():
        rule = cg.RegularizedMirrorDescent(eta, tau, regularizer)
        expected = log_normalize(np.log(policy) + eta * (A @ policy - tau * gradient))
        np.testing.assert_allclose(one_step(rule, game, policy, reference), expected, rtol=0, atol=1e-13)


# Names that are one algorithm -------------------------------------------------------------------------------


@each_case
def test_one_family_in_four_parametrizations(game: Any, policy: Any, reference: Any) -> None:
    eta, tau = 1.5, 0.1
    explicit = eta / (1 + eta * tau)
    rules = [
        cg.MMD(eta, tau),
        cg.MirrorDescent(explicit, tau),
        cg.INPO(1 / explicit, tau),  # eta of INPO = 1 / eta of MMD + tau
        cg.INPO(1 / eta + tau, tau),
        cg.RegularizedMirrorDescent(explicit, tau, cg.regularizers.kl),
    ]
    runs = [cg.solve(game, rule, 200, init=policy, reference=reference, metrics=()).logp for rule in rules]
    for logp in runs[1:]:
        np.testing.assert_allclose(logp, runs[0], rtol=0, atol=1e-12)
    # In the other direction: the same numbers are different algorithms.
    step, other = (one_step(rule, game, policy, reference) for rule in (cg.MirrorDescent(eta, tau), rules[0]))
    assert np.abs(step - other).max() > 1e-3


@each_case
def test_names_of_multiplicative_weights(game: Any, policy: Any, reference: Any) -> None:
    expected = log_normalize(np.log(policy) + 0.4 * np.asarray(game.skew) @ policy)
    for rule in (
        cg.MWU(0.4),
        cg.SPPO(0.4),
        cg.IterativeIPO(1 / 0.4),
        cg.MirrorDescent(0.4, 0.0),
        cg.COMAL(cg.MirrorDescent(0.4, 0.1), 1),
    ):
        # COMAL's reference is its policy, whatever it began with, from its second step on; at first, its
        # init.
        np.testing.assert_allclose(one_step(rule, game, policy, policy), expected, rtol=0, atol=1e-14)
    mwu = cg.solve(game, cg.MWU(0.4), 100, init=policy, metrics=()).logp
    with pytest.warns(UserWarning, match="period of 1 is short"):
        comal = cg.solve(game, cg.COMAL(cg.MirrorDescent(0.4, 0.1), 1), 100, init=policy, metrics=()).logp
    np.testing.assert_allclose(comal, mwu, rtol=1e-11, atol=1e-12)


# Facts about every preference game --------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [cg.MWU(1.0), cg.OptimisticMWU(0.5), cg.Extragradient(1.0)], ids=repr)
def test_average_exploitability_is_average_regret(rule: Any) -> None:
    """In self-play the policy earns 0 at every step, so regret is the sum of advantages."""
    game = random_game(7, seed=3)
    result = cg.solve(game, rule, 300, metrics=["policy"])
    policies = result.history["policy"]
    payoffs = policies @ np.asarray(game.skew).T  # advantage of every action at every step
    earned = np.einsum("ti,ti->t", policies, payoffs)
    np.testing.assert_allclose(earned, 0, atol=1e-15)
    rounds = np.arange(1, len(policies) + 1)
    regret = np.max(np.cumsum(payoffs, 0), axis=1) - np.cumsum(earned)
    # 300 terms of at most 1/2, divided by their number again.
    np.testing.assert_allclose(result.history["average_duality_gap"] / 2, regret / rounds, rtol=0, atol=1e-15)


@pytest.mark.parametrize("step_size", [0.1, 1.0])
def test_mwu_moves_away_from_an_interior_nash_policy_by_a_known_amount(step_size: float) -> None:
    """KL(Nash || policy) grows by log E_policy exp(eta * advantage) >= 0, exactly, each step."""
    for game, nash in (
        (cg.games.comal_cycle(), COMAL_NASH),
        (cg.games.rock_paper_scissors(3, 1, 1), np.array([1, 3, 1]) / 5),
    ):
        metrics = ["policy", "logp", cg.kl_to(jnp.log(jnp.asarray(nash)))]
        result = cg.solve(game, cg.MWU(step_size), 200, init=COMAL_START, metrics=metrics)
        kl = np.sum(nash * (np.log(nash) - result.history["logp"]), axis=-1)
        p = result.history["policy"]
        growth = np.log(np.sum(p * np.exp(step_size * p @ np.asarray(game.skew).T), axis=-1))
        np.testing.assert_allclose(np.diff(kl), growth[:-1], rtol=0, atol=1e-14)
        assert np.all(growth > 0)
        np.testing.assert_allclose(result.history["KLTo"], kl, rtol=0, atol=1e-14)


@each_case
def test_the_regularized_gap_is_both_players_gain(game: Any, policy: Any, reference: Any) -> None:
    """Against both players' best responses in J(p, q) = p.T A q - tau KL(p || ref) + tau KL(q || ref)."""
    A, tau = np.asarray(game.skew), 0.2

    def negative_gain(scores: np.ndarray) -> float:
        logp = log_normalize(scores)
        p = np.exp(logp)
        return -(p @ A @ policy - tau * p @ (logp - np.log(reference)))

    best = -scipy.optimize.minimize(
        negative_gain, np.log(reference), method="BFGS", options={"gtol": 1e-9}
    ).fun
    stay = -tau * policy @ np.log(policy / reference)
    found = cg.regularized_gap(tau, jnp.log(jnp.asarray(reference)))(game, jnp.log(jnp.asarray(policy)))
    np.testing.assert_allclose(found, 2 * (best - stay), rtol=0, atol=1e-11)
