"""Each published name is the minimizer of the loss that its paper trains on, found by enumeration.

Losses are written out here from the papers, on all answers with their exact weights, and minimized by a
general optimizer: nothing of the package is used to find where a step should go.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import COMAL_START, log_normalize, one_step, random_game, random_policy

import comalgames as cg
from comalgames.numerics.lambert import least_squares_policy

N = 4
GAME = random_game(N, seed=3)
SKEW = np.asarray(GAME.skew)
P = SKEW + 0.5
POLICY, REFERENCE = random_policy(N, seed=5), random_policy(N, seed=6)
LOGP, LOG_REFERENCE = np.log(POLICY), np.log(REFERENCE)
PAIRS = np.outer(POLICY, POLICY)
UNIFORM_PAIRS = np.full((N, N), 1 / N**2)

# Gradients at the minimum are below 1e-13; losses are curved by about the smallest probability squared.
CLOSE = {"rtol": 0, "atol": 1e-10}


def minimizer(loss: Callable[[Any], Any], start: np.ndarray = LOGP) -> np.ndarray:
    """The log-policy of least loss: Newton's method on scores, one of which is held."""

    def of_scores(free: Any) -> Any:
        return loss(jax.nn.log_softmax(jnp.append(free, 0.0)))

    gradient, hessian = jax.jit(jax.grad(of_scores)), jax.jit(jax.hessian(of_scores))
    found = scipy.optimize.minimize(
        lambda x: float(of_scores(x)), start[:-1] - start[-1], jac=gradient, hess=hessian,
        method="trust-exact", options={"gtol": 1e-11, "maxiter": 500},
    )  # fmt: skip
    x = found.x
    for _ in range(3):  # values tell steps below 1e-8 apart no longer; gradients do
        x = x - np.linalg.solve(hessian(x), gradient(x))
    assert np.abs(gradient(x)).max() < 1e-13
    return log_normalize(np.append(x, 0.0))


def margins(scores: Any) -> Any:
    return scores[:, None] - scores[None, :]


def labelled(anchor: np.ndarray, size: float, law: np.ndarray = PAIRS) -> Callable[[Any], Any]:
    """E over labelled pairs of (log-ratio margin, winner less loser - size / 2)^2: IPO, INPO, MNPO, ONPO."""

    def loss(logp: Any) -> Any:
        won = margins(logp - anchor)
        return jnp.sum(law * (P * (won - size / 2) ** 2 + (1 - P) * (-won - size / 2) ** 2))

    return loss


def regressed(anchor: np.ndarray, aims: np.ndarray, law: np.ndarray = UNIFORM_PAIRS) -> Callable[[Any], Any]:
    """E over pairs of (log-ratio margin - difference of aims)^2: REBEL, online IPO, EGPO."""
    return lambda logp: jnp.sum(law * (margins(logp - anchor) - margins(aims)) ** 2)


def logistic(margin: Any, probability: Any) -> Any:
    return probability * jax.nn.softplus(-margin) + (1 - probability) * jax.nn.softplus(margin)


def damped(pull: float) -> np.ndarray:
    return (1 - pull) * LOGP + pull * LOG_REFERENCE


def stepped(rule: Any, num_steps: int = 1) -> np.ndarray:
    return one_step(rule, GAME, POLICY, REFERENCE, num_steps)


def response(utility: Any, reference_weight: float, policy_weight: float) -> np.ndarray:
    """argmax <p, utility> - a KL(p || reference) - b KL(p || policy), as a minimization."""

    def loss(logp: Any) -> Any:
        p = jnp.exp(logp)
        penalty = reference_weight * (logp - LOG_REFERENCE) + policy_weight * (logp - LOGP)
        return jnp.sum(p * (penalty - utility))

    return minimizer(loss)


def the_better_of_two() -> np.ndarray:
    """The law of the preferred of two draws: 2 sum_j p_i p_j P_ij."""
    return np.log(2 * (PAIRS * P).sum(1))


def nca(beta: float) -> Callable[[Any], Any]:
    win = P @ POLICY

    def loss(logp: Any) -> Any:
        r = beta * (logp - LOGP)
        return jnp.sum(POLICY * (win * jax.nn.softplus(-r) + 0.5 * jax.nn.softplus(r)))

    return loss


def pointwise(aims: np.ndarray, centred: bool) -> Callable[[Any], Any]:
    def loss(logp: Any) -> Any:
        error = logp - LOGP - aims
        error = error - jnp.sum(POLICY * error) if centred else error
        return jnp.sum(POLICY * error**2)

    return loss


MIXTURE = log_normalize(damped(0.3 * 0.2))
MIXED = np.exp(MIXTURE)
HALF = log_normalize(damped(0.2) + SKEW @ POLICY)  # EGPO's, step 1, temperature .2
LOG_ODDS = np.log(P / P.T)
MINIMIZERS: dict[str, tuple[Any, Callable[[], np.ndarray]]] = {
    "DNO": (
        cg.DNO(eta=2.0),
        lambda: minimizer(
            lambda logp: jnp.sum(
                UNIFORM_PAIRS
                * logistic(2.0 * margins(logp - LOGP), jax.nn.sigmoid(jnp.asarray(margins(P @ POLICY))))
            )
        ),
    ),
    "REBEL": (cg.REBEL(0.7), lambda: minimizer(regressed(LOGP, 0.7 * P @ POLICY, PAIRS))),
    "SPO": (cg.SPO(0.7), lambda: response(P @ POLICY, 0.0, 1 / 0.7)),
    "iterative IPO": (cg.IterativeIPO(2.0), lambda: minimizer(labelled(LOGP, 1 / 2.0))),
    "SPPO, a free constant": (cg.SPPO(2.0), lambda: minimizer(pointwise(2.0 * SKEW @ POLICY, True))),
    "SPPO, exact": (
        cg.SPPO(2.0, exact=True),
        lambda: minimizer(pointwise(2.0 * (P @ POLICY - 0.5), False)),
    ),
    "SPPO, exact, large": (
        cg.SPPO(30.0, exact=True),
        lambda: minimizer(pointwise(30.0 * (P @ POLICY - 0.5), False)),
    ),
    "INPO": (cg.INPO(2.0, 0.3), lambda: minimizer(labelled(damped(0.15), 0.5))),
    "online IPO": (
        cg.OnlineIPO(0.5, 0.3),
        lambda: minimizer(regressed(damped(0.15), 0.5 * P @ POLICY)),
    ),
    "EGPO": (cg.EGPO(1.0, 0.2), lambda: minimizer(regressed(damped(0.2), P @ np.exp(HALF)))),
    "Nash-MD": (cg.NashMD(0.3, 0.2), lambda: minimizer(labelled(MIXTURE, 0.3, np.outer(MIXED, MIXED)))),
    "RSPO, reverse KL": (cg.RSPO(0.7, 0.4), lambda: response(P @ POLICY, 0.4, 1 / 0.7)),
    "RLHF": (cg.RLHF(0.4), lambda: response(P @ POLICY, 0.4, 0.0)),
    "online DPO": (
        cg.OnlineDPO(0.8),
        lambda: minimizer(lambda logp: jnp.sum(PAIRS * logistic(0.8 * margins(logp - LOG_REFERENCE), P))),
    ),
    "online DPO, damped": (
        cg.OnlineDPO(0.8, 0.25),
        lambda: minimizer(
            lambda logp: jnp.sum(PAIRS * logistic(0.8 / 0.25 * margins(logp - damped(0.25)), P))
        ),
    ),
    "NCA": (cg.NCA(1.0), lambda: minimizer(nca(1.0))),
    "best of two": (cg.NCA(1.0), the_better_of_two),
    "GPO": (cg.GPO(2.0), lambda: minimizer(pointwise(LOG_ODDS @ POLICY / 2.0, True))),
    "SPIN": (
        cg.SPIN(1.7),
        lambda: minimizer(
            lambda logp: jnp.sum(
                np.outer(REFERENCE, POLICY) * jax.nn.softplus(-1.7 * margins(logp - LOGP))
            )
        ),
    ),
    "MNPO": (cg.MNPO(2.0, 0.3), lambda: minimizer(labelled(damped(0.15), 0.5))),
}  # fmt: skip


@pytest.mark.parametrize("name", MINIMIZERS)
def test_a_step_is_the_minimizer_of_the_published_loss(name: str) -> None:
    rule, expected = MINIMIZERS[name]
    found = stepped(rule)
    np.testing.assert_allclose(found, expected(), **CLOSE)
    assert np.abs(found - LOGP).max() > 1e-2  # a step that goes nowhere would prove nothing


def test_the_minimizer_sees_a_wrong_factor() -> None:
    """The same comparison, with twice the step, with another temperature, with pairs of another law."""
    aim = minimizer(labelled(damped(0.15), 0.5))
    uniform = minimizer(labelled(damped(0.15), 0.5, UNIFORM_PAIRS))
    for wrong in (stepped(cg.INPO(1.0, 0.3)), stepped(cg.INPO(2.0, 0.4)), uniform):
        assert np.abs(wrong - aim).max() > 1e-2


def test_nash_mirror_prox_takes_two_proximal_steps() -> None:
    eta, beta = 0.6, 0.3
    half = response(P @ POLICY, beta, beta / eta)
    np.testing.assert_allclose(
        stepped(cg.NashMirrorProx(eta, beta)), response(P @ np.exp(half), beta, beta / eta), **CLOSE
    )


def test_mpo_is_proximal_steps_and_a_moved_magnet() -> None:
    logp, magnet = LOGP, LOG_REFERENCE
    for k in range(1, 5):
        here, there = logp, magnet

        def loss(new: Any, here: Any = here, there: Any = there) -> Any:
            penalty = 0.2 * (new - there) + (new - here) / 0.8
            return jnp.sum(jnp.exp(new) * (penalty - P @ np.exp(here)))

        logp = minimizer(loss, here)
        magnet = logp if k % 2 == 0 else magnet
    np.testing.assert_allclose(stepped(cg.MPO(0.8, 0.2, 2), 4), logp, **CLOSE)


def test_onpo_fits_twice_a_round() -> None:
    """Its two sequences, by two fits of its loss a round, on pairs of the policy; three rounds."""
    eta = 2.0
    anchor, logp = LOGP, LOGP
    for _ in range(3):
        law = np.outer(np.exp(logp), np.exp(logp))
        anchor = minimizer(labelled(anchor, 1 / eta, law), anchor)
        logp = minimizer(labelled(anchor, 1 / eta, law), anchor)
    np.testing.assert_allclose(stepped(cg.ONPO(eta), 3), logp, **CLOSE)


def test_mnpo_stands_on_its_past() -> None:
    """From the second round on the anchor is a mixture of two policies; the pairs are the last one's."""
    for opponents in ("policy", "past"):
        rule = cg.MNPO(2.0, 0.3, (0.7, 0.3), opponents)
        first = stepped(rule)
        anchor = 0.85 * (0.7 * first + 0.3 * LOGP) + 0.15 * LOG_REFERENCE
        last = np.exp(first)
        if opponents == "policy":
            expected = minimizer(labelled(anchor, 0.5, np.outer(last, last)), first)
        else:  # the paper's update: the mean of the win rates against both
            aims = 0.5 * (0.7 * P @ last + 0.3 * P @ POLICY)
            expected = minimizer(regressed(anchor, aims), first)
        np.testing.assert_allclose(stepped(rule, 2), expected, **CLOSE)


def test_a_queue_is_hedge_against_the_mean_of_those_in_it() -> None:
    policies = [POLICY]
    logp = LOGP
    for _ in range(5):
        logp = log_normalize(logp + 0.5 * P @ np.mean(policies[-3:], axis=0))
        policies.append(np.exp(logp))
    np.testing.assert_allclose(stepped(cg.SPO(0.5, queue=3), 5), logp, rtol=0, atol=1e-13)


def test_nash_ema_answers_an_average_of_parameters() -> None:
    logp, average = LOGP, LOGP
    for _ in range(4):
        logp = log_normalize(0.94 * logp + 0.06 * LOG_REFERENCE + 0.3 * P @ np.exp(average))
        average = log_normalize(0.8 * average + 0.2 * logp)
    np.testing.assert_allclose(stepped(cg.NashEMA(0.3, 0.2, 0.2), 4), logp, rtol=0, atol=1e-13)


def gradient_step(loss: Callable[[Any], Any], rate: float) -> np.ndarray:
    """One step of gradient descent on scores."""
    return log_normalize(
        LOGP - rate * jax.grad(lambda scores: loss(jax.nn.log_softmax(scores)))(jnp.asarray(LOGP))
    )


def test_online_ipo_is_one_gradient_step_on_its_loss() -> None:
    """On uniform pairs and three answers: eta = 4 lr / (n beta)."""
    beta, rate = 0.3, 0.1
    loss = regressed(LOG_REFERENCE, P @ POLICY / beta)
    np.testing.assert_allclose(
        gradient_step(loss, rate), stepped(cg.OnlineIPO(4 * rate / (N * beta), beta)), rtol=0, atol=1e-13
    )


def test_online_ipos_second_version_is_one_gradient_step_on_pairs_of_the_policy() -> None:
    """The pairs' law is not differentiated; in units of the loss the rate is 4 / temperature."""
    tau, rate = 0.3, 0.05
    found = gradient_step(labelled(LOG_REFERENCE, 1 / tau), rate)
    np.testing.assert_allclose(found, stepped(cg.OnlineIPOGradient(4 * rate / tau, tau)), rtol=0, atol=1e-13)


def test_nash_md_pg_is_reinforce_against_the_mixture() -> None:
    tau, share, rate = 0.2, 0.25, 0.4
    mixture = np.exp(log_normalize((1 - share) * LOGP + share * LOG_REFERENCE))
    reward = P @ mixture - 0.5 - tau * (LOGP - LOG_REFERENCE)
    found = gradient_step(lambda logp: -jnp.sum(POLICY * reward * logp), rate)
    np.testing.assert_allclose(found, stepped(cg.NashMDPG(rate, tau, share)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_nca_and_bco_are_minimized_up_to_a_constant(beta: float) -> None:
    """If log-ratios need not belong to a policy, each answer's loss is minimized at the rule's target."""
    win = P @ POLICY

    def least(each: Callable[[float, float], float]) -> np.ndarray:
        return np.array([scipy.optimize.minimize_scalar(lambda h, w=w: each(h, w), tol=1e-12).x for w in win])

    def soft(x: float) -> float:
        return float(np.logaddexp(0, x))

    for rule, each in (
        (cg.NCA(beta), lambda h, w: w * soft(-beta * h) + 0.5 * soft(beta * h)),
        (cg.BCO(beta), lambda h, w: w * soft(-beta * h) + (1 - w) * soft(beta * h)),
    ):
        np.testing.assert_allclose(stepped(rule), log_normalize(LOGP + least(each)), rtol=0, atol=1e-6)


def least_over_policies(rule: Any, win: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """The policy of least NCA or BCO loss of answers drawn from `policy`, log-probabilities."""
    lost = 0.5 if isinstance(rule, cg.NCA) else 1 - win

    def loss(logp: Any) -> Any:
        r = rule.beta * (logp - np.log(policy))
        return jnp.sum(policy * (win * jnp.logaddexp(0.0, -r) + lost * jnp.logaddexp(0.0, r)))

    return minimizer(loss, np.log(policy))


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kind", [cg.NCA, cg.BCO])
def test_nca_and_bco_differ_from_their_minimizer_at_third_order(kind: Any, beta: float) -> None:
    """Over policies, normalization has a multiplier: beta (d loss / d r) = multiplier * policy' / policy."""
    for size, tolerance in ((0.01, 0.1), (0.001, 0.01)):
        game = cg.PreferenceGame.from_skew(size * SKEW)
        advantage, rule = size * SKEW @ POLICY, kind(beta)
        start = jnp.asarray(LOGP)
        step = rule.step(jax.random.key(0), rule.init(start, start), cg.Exact(game)).logp
        difference = least_over_policies(rule, 0.5 + advantage, POLICY) - np.asarray(step)
        if kind is cg.BCO:
            h = 4 * advantage / beta
            expected = -h * (POLICY @ h**2) / 2
        else:
            h = 2 * advantage / beta
            expected = -2 * h * (1 - beta) * (1 - beta / 2) * (POLICY @ advantage**2) / beta**2
        largest = np.abs(margins(expected)).max()
        # Newton's method finds log-probabilities to about 1e-14.
        np.testing.assert_allclose(
            margins(difference), margins(expected), rtol=0, atol=tolerance * largest + 1e-12
        )


STEEP = (0.7, 0.28, 0.02)
DISTANCES = [
    (cg.BCO(4.0), COMAL_START, "0.6%"),
    (cg.BCO(1.0), COMAL_START, "7%"),
    (cg.BCO(0.3), COMAL_START, "28%"),
    (cg.BCO(4.0), STEEP, "4%"),
    (cg.BCO(1.0), STEEP, "23%"),
    (cg.BCO(0.3), STEEP, "50%"),
    (cg.NCA(4.0), COMAL_START, "0.3%"),
    (cg.NCA(1.0), COMAL_START, "0%"),
    (cg.NCA(0.3), COMAL_START, "8%"),
    (cg.NCA(4.0), STEEP, "1%"),
    (cg.NCA(0.3), STEEP, "18%"),
]


@pytest.mark.parametrize(("rule", "policy", "documented"), DISTANCES)
def test_the_documented_distance_of_nca_and_bco_from_their_minimizer(
    rule: Any, policy: Any, documented: str
) -> None:
    policy = np.array(policy)
    game = cg.PreferenceGame.from_skew(np.asarray(cg.games.comal_cycle().skew, np.float64))
    start = jnp.log(policy)
    step = np.asarray(rule.step(jax.random.key(0), rule.init(start, start), cg.Exact(game)).logp)
    least = least_over_policies(rule, np.asarray(game.preference) @ policy, policy)
    size = 100 * np.abs(margins(step - least)).max() / np.abs(margins(step - np.log(policy))).max()
    assert f"{size:.1f}%" == documented if "." in documented else f"{size:.0f}%" == documented
    assert documented == "0%" or documented in str(type(rule).__doc__)
    if "28%" in documented:
        assert np.abs(np.exp(step - least) - 1).max() == pytest.approx(0.54, abs=0.005)


# The limit of online DPO ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preference", [0.5, 0.6, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_online_dpo_on_two_actions_ends_at_the_log_odds(preference: float, beta: float) -> None:
    game = cg.PreferenceGame([[0.5, preference], [1 - preference, 0.5]])
    reference = np.array([0.3, 0.7])
    ends = cg.solve(game, cg.OnlineDPO(beta), 200, init=reference).logp
    shift = np.asarray(ends) - np.log(reference)
    np.testing.assert_allclose(shift[0] - shift[1], np.log(preference / (1 - preference)) / beta, atol=1e-9)
    near = cg.qre(game, beta / 4, reference).logp - np.log(reference)
    np.testing.assert_allclose(near[0] - near[1], 4 * (preference - 0.5) / beta, atol=1e-9)


def test_the_documented_limits_of_online_dpo_at_a_strong_preference() -> None:
    game = cg.PreferenceGame([[0.5, 0.99], [0.01, 0.5]])
    ends = cg.solve(game, cg.OnlineDPO(1.0), 200).policy
    assert (f"{ends[0]:.2f}", f"{cg.qre(game, 0.25).policy[0]:.3f}") == ("0.99", "0.877")


def test_at_the_limit_of_online_dpo_win_rates_are_those_of_bradley_terry() -> None:
    ends = np.asarray(cg.solve(GAME, cg.OnlineDPO(2.0, 0.5), 500, init=REFERENCE).logp)
    model = 1 / (1 + np.exp(-2.0 * margins(ends - LOG_REFERENCE)))
    np.testing.assert_allclose(P @ np.exp(ends), model @ np.exp(ends), atol=1e-10)


def test_near_ties_the_limit_of_online_dpo_is_the_equilibrium_at_a_quarter_of_beta() -> None:
    """The difference falls with the square of the payoffs, relative to the way from the reference."""
    sizes = []
    for size in (0.1, 0.05, 0.025):
        game = cg.PreferenceGame.from_skew(size * SKEW)
        ends = np.asarray(cg.solve(game, cg.OnlineDPO(1.0, 0.5), 500, init=REFERENCE).logp)
        near = cg.qre(game, 0.25, REFERENCE).logp
        sizes.append(np.abs(margins(ends - near)).max() / np.abs(margins(near - LOG_REFERENCE)).max())
    np.testing.assert_allclose(np.array(sizes[:-1]) / sizes[1:], 4.0, rtol=0.1)


def test_sppos_minimizer_differs_from_multiplicative_weights_at_third_order() -> None:
    """By -x Var(x) / 2 where x = eta * advantage, up to a constant and higher orders."""
    for eta, tolerance in ((0.02, 0.02), (0.002, 0.002)):
        x = eta * SKEW @ POLICY
        difference = stepped(cg.SPPO(eta, exact=True)) - stepped(cg.SPPO(eta))
        expected = -x * (POLICY @ x**2) / 2
        np.testing.assert_allclose(
            margins(difference), margins(expected), rtol=tolerance, atol=tolerance * np.abs(expected).max()
        )


def test_sppos_minimizer_is_a_policy_at_any_step() -> None:
    for eta in (1e-8, 1e-3, 1.0, 1e3, 1e5):
        start = jnp.asarray(LOGP)
        state = cg.SPPO(eta, exact=True).propose(
            jax.random.key(0), cg.SPPO(eta).init(start, start), cg.Exact(GAME)
        )
        # Log-probabilities of -1e4 carry roundings of 1e-12.
        np.testing.assert_allclose(np.exp(state[0]).sum(), 1.0, rtol=0, atol=1e-13 * (1 + eta))


# An action of probability d = exp(-rarity) and aim x has log q/p = r. The other one, of aim -d x, loses W = c
# with c / d = exp(r) - 1 - x, so that sum q = 1, and x - r = W(c exp(x)) = c exp(r), up to terms of d exp(r).
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rarity", [100.0, 300.0, 800.0, 2000.0])
@pytest.mark.parametrize("aim", [3.0, 50.0, 400.0, 5000.0])
def test_sppos_minimizer_does_not_forget_actions_whose_probability_underflows(dtype, rarity, aim) -> None:
    def excess(r: float) -> float:
        return np.log(max(aim - r, 1e-300)) - (2 * r - rarity + np.log1p(-(1 + aim) * np.exp(-r)))

    lowest = np.log1p(aim) * (1 + 1e-12)
    grown = scipy.optimize.brentq(excess, lowest, aim, xtol=1e-13) if excess(aim) < 0 else aim
    logp = jnp.asarray([0.0, -rarity], dtype)
    found = least_squares_policy(logp, jnp.asarray([-np.exp(-rarity) * aim, aim], dtype))
    tolerance = 16 * np.finfo(dtype).eps * (rarity + aim) + 1e-12
    np.testing.assert_allclose(found[1] + rarity, grown, rtol=0, atol=tolerance)


@pytest.mark.parametrize("eta", [10.0, 100.0, 1000.0])
def test_sppos_minimizer_is_the_same_in_float32(eta: float) -> None:
    """On COMAL's cycle, where most probabilities underflow; each of 50 steps adds a rounding error of eta."""
    single, double = (
        cg.solve(
            cg.PreferenceGame.from_skew(np.asarray(cg.games.comal_cycle().skew, dtype)),
            cg.SPPO(eta, exact=True),
            50,
            init=[0.2, 0.5, 0.3],
            metrics=["logp"],
        ).history["logp"]
        for dtype in (np.float32, np.float64)
    )
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=50 * eta * np.finfo(np.float32).eps)


def test_rlhf_with_a_reward_that_stays_is_done_in_one_round() -> None:
    reward = np.array([0.3, -0.2, 0.9, 0.0])
    results = [
        cg.solve(GAME, cg.RLHF(0.5), k, init=POLICY, reference=REFERENCE, feedback=cg.Reward(reward)).logp
        for k in (1, 5)
    ]
    for found in results:
        np.testing.assert_allclose(found, response(reward, 0.5, 0.0), **CLOSE)


def test_the_average_is_the_mean_of_all_policies() -> None:
    result = cg.solve(GAME, cg.MWU(1.0), 30, init=POLICY, metrics=["policy"])
    averaged = cg.solve(GAME, cg.Averaged(cg.MWU(1.0)), 30, init=POLICY)
    np.testing.assert_allclose(averaged.policy, result.history["policy"].mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        averaged.history["duality_gap"], result.history["average_duality_gap"], rtol=0, atol=1e-13
    )


def test_a_moving_reference_at_rate_one_is_comal_with_period_one() -> None:
    inner = cg.MMD(1.0, 0.1)
    follows = cg.solve(GAME, cg.MovingReference(inner, 1.0), 20, init=POLICY, reference=REFERENCE).logp
    state = cg.COMAL(inner, 1).init(jnp.asarray(LOGP), jnp.asarray(LOG_REFERENCE))
    for _ in range(20):
        state = cg.COMAL(inner, 1).step(jax.random.key(0), state, cg.Exact(GAME))
    np.testing.assert_allclose(follows, state.logp, rtol=1e-12)


CERTAIN = cg.Candidates([[0.5, 1.0], [0.0, 0.5]], [-1.0, -2.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cg.NashMD(2.0, 0.6), ("`step_size` times `temperature`", "at most 1", "2.0", "0.6")),
        (lambda: cg.NashMD(cg.InverseTime(3.0, 1.0), 0.5), ("`step_size` times", "InverseTime")),
        (
            lambda: cg.solve(GAME, cg.RLHF(1.0), 1, feedback=cg.Reward([0.0, 1.0])),
            ("`reward`", "(2,)", "(4,)", "per action"),
        ),
        (lambda: cg.NashEMA(1.0, 0.1, 0.0), ("`decay`", "above 0 and at most 1", "got 0.0")),
        (lambda: cg.NashMDPG(1.0, 0.1, 1.0), ("`mixture_share`", "[0, 1)", "1.0")),
        (lambda: cg.OnlineDPO(1.0, 1.5), ("`damping`", "at most 1", "1.5")),
        (lambda: cg.MovingReference(cg.MWU(1.0), 0.1), ("`inner`", "pull is 0", "MWU")),
        (lambda: cg.MovingReference(cg.MMD(1.0, 0.1), 2.0), ("`rate`", "at most 1", "2.0")),
        (lambda: cg.Averaged(0.1), ("`inner`", "an algorithm", "0.1")),
        (lambda: cg.SPPO(1.0, exact="yes"), ("`exact`", "True or False", "'yes'")),
        (lambda: cg.HistoryMirrorDescent(1.0, 0.0, (0.5, 0.6)), ("`base_weights`", "sum to 1", "0.6")),
        (lambda: cg.HistoryMirrorDescent(1.0, 0.0, (1.0,), 0.5), ("`opponent_weights`", "a tuple", "0.5")),
        (lambda: cg.SPO(1.0, queue=0), ("`queue`", ">= 1", "0")),
        (lambda: cg.MNPO(0.1, 0.2), ("`tau`", "at most `eta`")),
        (lambda: cg.MNPO(1.0, 0.1, opponents="self"), ("`opponents`", "'self'", "past, policy")),
        (lambda: cg.DNO(cg.Geometric(1.0, 0.5)), ("`eta`", "schedule")),
        (lambda: cg.DNO(0.0), ("`eta`", "> 0")),
        (lambda: cg.Reward(0.5), ("`reward`", "per action")),
        (lambda: cg.Reward([0.5, np.nan]), ("`reward`", "finite")),
        (lambda: cg.InverseTime(0.0), ("`scale`", "> 0")),
        (
            lambda: cg.solve(cg.games.rock_paper_scissors(), cg.GPO(1.0), 5),
            ("`game`", "exactly 0 or 1", "GPO(beta=1.0)", "flip_labels"),
        ),
        (
            lambda: cg.lm.targets(cg.GPO(1.0), None, {"logp": [-1.0, -2.0]}, CERTAIN),
            ("`feedback`", "exactly 0 or 1"),
        ),
        (lambda: cg.sweep({"g": GAME}, {"r": cg.SPIN(2.0)}, num_queries=9), ("`num_queries`", "SPIN")),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused(as_users_have_it: None, call: Any, words: Any) -> None:
    with pytest.raises(ValueError, match="`") as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_a_run_shorter_than_the_memory_is_noted() -> None:
    rule = cg.SPO(0.3, queue=10)
    with pytest.warns(UserWarning, match="10 weights runs for 9 steps"):
        cg.solve(GAME, rule, 9)
    for settings in ({"num_steps": 9}, {"num_queries": 9}):
        with pytest.warns(UserWarning, match="10 weights runs for 9 steps"):
            cg.sweep({"g": GAME}, {"r": rule}, **settings)
    assert cg.solve(GAME, rule, 10).notes == ()
