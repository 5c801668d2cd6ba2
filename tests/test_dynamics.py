"""Where rules go and how fast: fixed points, multipliers, step-size thresholds, and the 3-cycle's table.

Closed forms are of the linearization at a fixed point where the game rotates with frequencies w. Equilibria
are computed here by linear programming and root finding, not by the package.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import (
    COMAL_FREQUENCY,
    COMAL_NASH,
    COMAL_PERIODS,
    COMAL_START,
    gap,
    log_normalize,
    one_step,
    random_game,
    random_policy,
)

import comalgames as cg
from comalgames.diagnostics import best_period, rotation_frequencies, spectrum
from comalgames.numerics import simplex

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
START = np.array(COMAL_START)
LOG_NASH = np.log(COMAL_NASH)


def interior_game(nash: np.ndarray, seed: int = 0) -> cg.PreferenceGame:
    """A random game whose Nash policy is the given interior one."""
    draws = np.random.default_rng(seed).normal(size=(len(nash), len(nash)))
    onto = np.eye(len(nash)) - np.outer(nash, nash) / (nash @ nash)
    skew = onto @ (draws - draws.T) @ onto
    skew = (skew - skew.T) / 2
    # Below 1/2: where a preference is certain, the Bradley-Terry fit clips it.
    return cg.PreferenceGame.from_skew(0.45 * skew / np.abs(skew).max())


def nash_policy(skew: np.ndarray) -> np.ndarray:
    """The Nash policy by linear programming, its support's indifference equations then solved exactly."""
    n = len(skew)
    found = scipy.optimize.linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([skew, -np.ones((n, 1))]), b_ub=np.zeros(n),
        A_eq=np.append(np.ones(n), 0.0)[None], b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
    )  # fmt: skip
    support = np.flatnonzero(found.x[:n] > 1e-7)
    rows = np.vstack([skew[np.ix_(support, support)], np.ones(len(support))])
    nash = np.zeros(n)
    nash[support] = np.linalg.lstsq(rows, np.append(np.zeros(len(support)), 1.0), rcond=None)[0]
    assert nash.min() >= 0
    assert np.max(skew @ nash) < 1e-14
    return nash


def qre(skew: np.ndarray, temperature: float, reference: np.ndarray) -> np.ndarray:
    """Log of the p with log p = N[log reference + A p / temperature], followed down from temperature 1."""
    logp = np.log(reference)
    for tau in np.geomspace(max(1.0, temperature), temperature, 30):
        logp = scipy.optimize.root(
            lambda z, tau=tau: z - log_normalize(np.log(reference) + skew @ np.exp(z) / tau), logp, tol=1e-15
        ).x
    assert qre_residual(skew, temperature, reference, logp) < 1e-12
    return logp


def qre_residual(skew: np.ndarray, temperature: float, reference: np.ndarray, logp: np.ndarray) -> float:
    response = np.log(reference) + np.einsum("...ij,...j->...i", skew, np.exp(logp)) / temperature
    return float(np.abs(logp - log_normalize(response)).max())


def log(policy: Any) -> jax.Array:
    """-inf where the policy excludes an action."""
    return jnp.log(jnp.asarray(policy))


def assert_same_spectrum(found: np.ndarray, expected: Any, atol: float = 1e-10) -> None:
    """Equal as multisets; whatever of `found` is left over (directions that a step forgets) must be 0."""
    left = list(found)
    for value in np.ravel(expected):
        nearest = int(np.argmin(np.abs(np.array(left) - value)))
        assert abs(left.pop(nearest) - value) < atol, (value, found)
    # A zero of multiplicity k is found to the k-th root of rounding; k is at most 2 where that occurs.
    assert np.all(np.abs(left) < 1e-7), (expected, found)


def both_signs(frequencies: Any) -> np.ndarray:
    return np.concatenate([np.ravel(frequencies), -np.ravel(frequencies)])


# Rotation frequencies ---------------------------------------------------------------------------------------


def test_frequencies_of_three_cycles_in_closed_form() -> None:
    np.testing.assert_allclose(rotation_frequencies(CYCLE, LOG_NASH), [COMAL_FREQUENCY], rtol=1e-14)
    for a, b, c in ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), (-0.4, -0.01, -0.3)):
        nash = np.abs([b, c, a]) / np.abs(a + b + c)
        expected = np.sqrt(abs(a * b * c) / abs(a + b + c))
        np.testing.assert_allclose(
            rotation_frequencies(cg.games.cycle(a, b, c), np.log(nash)), [expected], rtol=1e-13
        )


def test_frequencies_are_the_eigenvalues_of_the_rotation() -> None:
    for n, seed in ((5, 1), (6, 2), (9, 3)):
        p = random_policy(n, seed=seed)
        skew = np.asarray(random_game(n, seed=seed).skew)
        frequencies = rotation_frequencies(random_game(n, seed=seed), np.log(p))
        assert frequencies.shape == ((n - 1) // 2,)
        assert np.all(np.diff(frequencies) <= 0)
        direct = np.linalg.eigvals(skew @ (np.diag(p) - np.outer(p, p)))
        assert_same_spectrum(direct, 1j * both_signs(frequencies))


def test_actions_of_probability_zero_have_no_frequency() -> None:
    game = random_game(10)
    nash = nash_policy(np.asarray(game.skew))
    support = np.flatnonzero(nash)
    assert 1 < len(support) < 10
    with np.errstate(divide="ignore"):
        found = rotation_frequencies(game, np.log(nash))
    inside = cg.PreferenceGame.from_skew(game.skew[np.ix_(support, support)])
    np.testing.assert_allclose(found, rotation_frequencies(inside, np.log(nash[support])), rtol=1e-12)
    assert found.shape == ((len(support) - 1) // 2,)


def test_no_preference_game_rotates_faster_than_its_bounds() -> None:
    for seed in range(50):
        n = 3 + seed % 6
        game, p = random_game(n, seed=seed), random_policy(n, seed=seed)
        fastest = rotation_frequencies(game, np.log(p))[0]
        largest = np.abs(np.asarray(game.skew)).max()
        assert fastest <= 2 * largest / np.pi
        assert fastest <= largest * np.sqrt((1 - p @ p) / 2)
    # Rock, paper, scissors attains the second.
    uniform = np.full(3, 1 / 3)
    np.testing.assert_allclose(
        rotation_frequencies(cg.games.rock_paper_scissors(), np.log(uniform)),
        [0.5 * np.sqrt(1 / 3)],
        rtol=1e-14,
    )


def test_frequencies_and_spectra_refuse_what_is_no_policy() -> None:
    with pytest.raises(ValueError, match=r"pass jnp\.log"):
        rotation_frequencies(CYCLE, COMAL_NASH)
    with pytest.raises(ValueError, match="no prompts"):
        rotation_frequencies(random_game(3, prompts=(2,)), LOG_NASH)
    with pytest.raises(ValueError, match="`reference` must be normalized"):
        spectrum(CYCLE, cg.MMD(1.0, 0.1), LOG_NASH, reference=COMAL_NASH)
    with pytest.raises(ValueError, match="`num_steps` must be"):
        spectrum(CYCLE, cg.MWU(1.0), LOG_NASH, num_steps=0)


# Local multipliers ------------------------------------------------------------------------------------------

# Games with one and with two frequencies, their Nash policy interior.
FIVE = random_policy(5, seed=5)
INTERIOR = [
    pytest.param(CYCLE, COMAL_NASH, id="3-cycle"),
    pytest.param(interior_game(FIVE), FIVE, id="5 answers"),
]
each_interior = pytest.mark.parametrize(("game", "nash"), INTERIOR)


def omwu(a: np.ndarray) -> list[complex]:
    """Roots of x^2 - x (1 + 2 i a) + i a."""
    return [root for each in a for root in np.roots([1, -(1 + 2j * each), 1j * each])]


@each_interior
@pytest.mark.parametrize("step_size", [0.3, 1.0, 3.0])
def test_multipliers_of_rules_without_a_reference_at_nash(game: Any, nash: Any, step_size: float) -> None:
    a = step_size * both_signs(rotation_frequencies(game, np.log(nash)))
    assert_same_spectrum(spectrum(game, cg.MWU(step_size), np.log(nash)), 1 + 1j * a)
    assert_same_spectrum(spectrum(game, cg.Extragradient(step_size), np.log(nash)), 1 + 1j * a - a**2)
    # OMWU remembers an advantage too: twice the directions, and the constant that its memory may hold.
    found = spectrum(game, cg.OptimisticMWU(step_size), np.log(nash))
    assert len(found) == 2 * len(nash) - 1
    assert_same_spectrum(found, omwu(a))
    moduli = np.abs(found)
    assert np.all(np.diff(moduli) <= 1e-12)
    # Iterative DPO with beta is MWU with step 4 / beta.
    assert_same_spectrum(spectrum(game, cg.IterativeDPO(4 / step_size), np.log(nash)), 1 + 1j * a)


@each_interior
@pytest.mark.parametrize(("step_size", "temperature"), [(0.3, 0.1), (2.0, 0.05), (1.0, 0.5)])
def test_multipliers_of_regularized_rules_at_their_equilibrium(
    game: Any, nash: Any, step_size: float, temperature: float
) -> None:
    reference = random_policy(len(nash), seed=11)
    logp = qre(np.asarray(game.skew), temperature, reference)
    w = both_signs(rotation_frequencies(game, logp))
    eta, tau = step_size, temperature
    explicit, implicit = 1 - eta * tau + 1j * eta * w, (1 + 1j * eta * w) / (1 + eta * tau)
    for rule, multipliers in (
        (cg.MirrorDescent(eta, tau), explicit),
        (cg.RegularizedMirrorDescent(eta, tau, cg.regularizers.kl), explicit),
        (cg.INPO(1 / eta, tau), explicit),
        (cg.MMD(eta, tau), implicit),
        (cg.Extragradient(eta, tau), (1 - eta * tau) * (1 + 1j * eta * w) - eta**2 * w**2),
    ):
        found = spectrum(game, rule, logp, reference=np.log(reference))
        assert len(found) == len(nash) - 1  # the reference stays where it is and is left out
        assert_same_spectrum(found, multipliers)
    several = spectrum(game, cg.MMD(eta, tau), logp, reference=np.log(reference), num_steps=7)
    assert_same_spectrum(several, implicit**7)


@each_interior
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_multipliers_of_exact_comal_at_nash(game: Any, nash: Any, temperature: float) -> None:
    w = both_signs(rotation_frequencies(game, np.log(nash)))
    found = spectrum(game, cg.COMAL(cg.ExactProx(temperature), 1), np.log(nash))
    assert_same_spectrum(found, 1 / (1 - 1j * w / temperature))
    np.testing.assert_allclose(
        abs(found[0]), temperature / np.sqrt(temperature**2 + np.min(np.abs(w)) ** 2), rtol=1e-9
    )


@each_interior
@pytest.mark.parametrize(
    ("step_size", "temperature", "period"),
    [(0.3, 0.1, 10), (0.3, 0.1, 50), (1.0, 0.1, 3), (3.0, 0.05, 7), (1.0, 0.3, 1)],
)
def test_multipliers_of_comal_with_finitely_many_inner_steps(
    game: Any, nash: Any, step_size: float, temperature: float, period: int
) -> None:
    eta, tau = step_size, temperature
    w = both_signs(rotation_frequencies(game, np.log(nash)))
    exact = tau / (tau - 1j * w)
    for inner, multiplier in (
        (cg.MirrorDescent(eta, tau), 1 - eta * tau + 1j * eta * w),
        (cg.MMD(eta, tau), (1 + 1j * eta * w) / (1 + eta * tau)),
        (cg.Extragradient(eta, tau), (1 - eta * tau) * (1 + 1j * eta * w) - eta**2 * w**2),
    ):
        found = spectrum(game, cg.COMAL(inner, period), np.log(nash), num_steps=period)
        # One round from (policy, reference) ends with the two equal: half of the directions are forgotten.
        assert len(found) == 2 * (len(nash) - 1)
        # Extragradient solves for its own fixed point, which is the same equilibrium, from its own anchor:
        # the weight that `period` steps put on the reference is 1 - multiplier^period times that
        # equilibrium's response.
        assert_same_spectrum(found, exact + multiplier**period * (1 - exact))
    assert_same_spectrum(
        spectrum(game, cg.COMAL(cg.MirrorDescent(eta, tau), 1), np.log(nash)),
        spectrum(game, cg.MWU(eta), np.log(nash)),
    )


def test_a_batch_has_the_multipliers_of_its_members() -> None:
    policies = random_policy(2, 3, seed=3)
    together = spectrum(CYCLE, cg.MMD(1.0, 0.1), np.log(policies))
    apart = [spectrum(CYCLE, cg.MMD(1.0, 0.1), np.log(policy)) for policy in policies]
    assert_same_spectrum(together, apart)
    assert len(together) == 4


def test_the_spectrum_is_that_of_finite_differences() -> None:
    """Away from fixed points too, and for a rule with its own regularizer, whose curvature is in it."""
    rule = cg.RegularizedMirrorDescent(0.5, 0.3, cg.regularizers.chi_squared)
    reference = random_policy(3, seed=12)
    found = spectrum(CYCLE, rule, np.log(START), reference=np.log(reference), num_steps=2)
    basis = np.array([[1, -1, 0], [1, 1, -2]]).T / np.sqrt([2, 6])
    h = 1e-5
    columns = [
        (
            one_step(rule, CYCLE, np.exp(log_normalize(np.log(START) + h * v)), reference, num_steps=2)
            - one_step(rule, CYCLE, np.exp(log_normalize(np.log(START) - h * v)), reference, num_steps=2)
        )
        / (2 * h)
        for v in basis.T
    ]
    # Central differences: truncation h^2 = 1e-10, rounding 1e-16 / h = 1e-11.
    assert_same_spectrum(found, np.linalg.eigvals(basis.T @ np.array(columns).T), atol=1e-8)


# Step-size thresholds ---------------------------------------------------------------------------------------


def threshold(make: Any, logp: np.ndarray, reference: np.ndarray, below: float, above: float) -> float:
    """The step size at which the spectral radius crosses 1."""

    def margin(step_size: float) -> float:
        return abs(spectrum(CYCLE, make(step_size), logp, reference=np.log(reference))[0]) - 1

    return float(scipy.optimize.brentq(margin, below, above, xtol=1e-10))


@pytest.mark.parametrize(
    ("temperature", "frequency", "explicit", "implicit", "extragradient"),
    [
        (0.01, "0.20851", "0.4590", "0.4611", "5.00"),
        (0.05, "0.20651", "2.2150", "2.4909", "5.50"),
        (0.10, "0.20357", "3.8880", "6.3612", "5.61"),
        (0.15, "0.20064", "4.7803", "16.895", "5.39"),
        (0.25, "0.19599", "4.9547", None, "4.64"),
    ],
)
def test_thresholds_of_regularized_rules(
    temperature: float, frequency: str, explicit: str, implicit: str | None, extragradient: str
) -> None:
    """The digits of an independent program; the closed forms to the bisection's precision."""
    tau, logp = temperature, qre(np.asarray(CYCLE.skew), temperature, START)
    (w,) = rotation_frequencies(CYCLE, logp)
    assert f"{w:.5f}" == frequency
    found = threshold(lambda s: cg.MirrorDescent(s, tau), logp, START, 0.2, 6.0)
    np.testing.assert_allclose(found, 2 * tau / (tau**2 + w**2), rtol=1e-8)
    assert f"{found:.4f}" == explicit
    if implicit is None:
        assert tau > w
        assert abs(spectrum(CYCLE, cg.MMD(1e6, tau), logp, reference=np.log(START))[0]) < 1
    else:
        found = threshold(lambda s: cg.MMD(s, tau), logp, START, 0.2, 30.0)
        np.testing.assert_allclose(found, 2 * tau / (w**2 - tau**2), rtol=1e-8)
        assert f"{found:.4f}".startswith(implicit) or f"{found:.3f}" == implicit
    found = threshold(lambda s: cg.Extragradient(s, tau), logp, START, 1.0, 7.0)
    assert f"{found:.2f}" == extragradient


def test_thresholds_of_rules_that_reach_nash() -> None:
    found = threshold(cg.Extragradient, LOG_NASH, COMAL_NASH, 1.0, 7.0)
    np.testing.assert_allclose(found, 1 / COMAL_FREQUENCY, rtol=1e-8)
    assert f"{found:.4f}" == "4.7871"
    found = threshold(cg.OptimisticMWU, LOG_NASH, COMAL_NASH, 1.0, 4.0)
    np.testing.assert_allclose(found, 1 / (np.sqrt(3) * COMAL_FREQUENCY), rtol=1e-8)
    assert f"{found:.4f}" == "2.7639"


def test_spectral_radii_at_step_size_one() -> None:
    logp = qre(np.asarray(CYCLE.skew), 0.1, START)
    for rule, at, radius in (
        (cg.MWU(1.0), LOG_NASH, "1.0216"),
        (cg.IterativeDPO(10.0), LOG_NASH, "1.0035"),
        (cg.Extragradient(1.0), LOG_NASH, "0.9789"),
        (cg.OptimisticMWU(1.0), LOG_NASH, "0.9769"),
        (cg.MirrorDescent(1.0, 0.1), logp, "0.9227"),
        (cg.MMD(1.0, 0.1), logp, "0.9277"),
        (cg.Extragradient(1.0, 0.1), logp, "0.8779"),
        (cg.Extragradient(1.0 / 1.1, 0.1), logp, "0.8909"),  # Nash mirror-prox
    ):
        assert f"{abs(spectrum(CYCLE, rule, at, reference=np.log(START))[0]):.4f}" == radius


@pytest.mark.parametrize(("step_size", "temperature", "diverging", "best", "rate"), COMAL_PERIODS)
def test_periods_of_comal(step_size: float, temperature: float, diverging: Any, best: int, rate: str) -> None:
    rule = cg.MirrorDescent(step_size, temperature)
    radii = {
        period: abs(spectrum(CYCLE, cg.COMAL(rule, period), LOG_NASH, num_steps=period)[0])
        for period in range(1, 81)
    }
    assert [period for period, radius in radii.items() if radius >= 1] == diverging
    per_step = {period: radius ** (1 / period) for period, radius in radii.items()}
    assert min(per_step, key=per_step.__getitem__) == best
    assert f"{per_step[best]:.4f}" == rate
    assert best_period(CYCLE, rule) == best
    # `shortest_period` does for explicit inner steps up to 0.7 of their own limit.
    if step_size < 0.7 * 2 * temperature / (temperature**2 + COMAL_FREQUENCY**2):
        assert radii[int(np.ceil(rule.shortest_period))] < 1


@pytest.mark.parametrize("seed", range(4))
def test_the_best_period_is_the_fastest_of_the_linearized_rounds(seed: int) -> None:
    """With several frequencies: the largest eigenvalue of the step that runs, on the support of Nash."""
    game = random_game(7, seed=seed)
    solution = cg.nash(game)
    used = np.flatnonzero(solution.support)
    inside = cg.PreferenceGame.from_skew(np.asarray(game.skew)[np.ix_(used, used)])
    if len(used) < 3:
        assert best_period(game, cg.MirrorDescent(1.0, 0.1)) == 1
        return
    rule = cg.MirrorDescent(1.0, 0.1)
    radii = [
        abs(spectrum(inside, cg.COMAL(rule, k), np.log(solution.policy[used]), num_steps=k)[0])
        for k in range(1, 41)
    ]
    rates = -np.log(radii) / np.arange(1, 41)
    assert best_period(inside, rule) == int(np.argmax(rates)) + 1
    lost = solution.slack[~solution.support].min(initial=np.inf)
    off = lost * (1 - 0.9 ** np.arange(1, 41)) / 0.1 / np.arange(1, 41)
    assert best_period(game, rule) == int(np.argmax(np.minimum(rates, off))) + 1


def test_the_best_period_refuses_rules_that_it_cannot_linearize() -> None:
    for rule, reason in (
        (cg.Extragradient(1.0, 0.1), "mirror rule"),
        (cg.MWU(1.0), "temperature"),
        (cg.MirrorDescent(30.0, 0.1), "smaller step"),
        (cg.MirrorDescent(cg.InverseTime(1.0, 0.1), 0.1), "schedule"),
        (cg.MirrorDescent(1.0, cg.Geometric(0.1, 0.9)), "schedule"),
        (cg.MMD(cg.InverseTime(1.0, 0.1), 0.1), "schedule"),
    ):
        with pytest.raises(ValueError, match=reason):
            best_period(CYCLE, rule)


def test_the_best_period_refuses_games_with_prompts() -> None:
    with pytest.raises(ValueError, match="no prompts"):
        best_period(random_game(3, seed=0, prompts=(2,)), cg.MirrorDescent(1.0, 0.1))


def test_comal_may_converge_around_an_unstable_inner_rule() -> None:
    rule = cg.MirrorDescent(4.5, 0.1)
    equilibrium = qre(np.asarray(CYCLE.skew), 0.1, START)
    assert abs(spectrum(CYCLE, rule, equilibrium, reference=np.log(START))[0]) > 1
    rates = [abs(spectrum(CYCLE, cg.COMAL(rule, k), LOG_NASH, num_steps=k)[0]) ** (1 / k) for k in (3, 4, 5)]
    assert f"{rates[1]:.4f}" == "0.9814"
    assert min(rates[0], rates[2]) > 1


def test_few_inner_steps_diverge_faster_than_none() -> None:
    """Per round, K = 2 ... 5 grows at least as fast as K = 1 (which is MWU) until it turns, at K = 6."""
    radii = [
        abs(spectrum(CYCLE, cg.COMAL(cg.MirrorDescent(1.0, 0.1), k), LOG_NASH, num_steps=k)[0])
        for k in range(1, 7)
    ]
    assert [f"{radius:.4f}" for radius in radii[:3]] == ["1.0216", "1.0355", "1.0396"]
    assert f"{radii[4]:.4f}" == "1.0158"
    assert radii[5] < 1


# Fixed points -----------------------------------------------------------------------------------------------

RANDOM = random_game(10, seed=0, prompts=(10,))
NASH_OF_RANDOM = np.stack([nash_policy(skew) for skew in np.asarray(RANDOM.skew)])
TEMPERATURE = 0.2


@pytest.mark.parametrize(
    "rule",
    [
        cg.MirrorDescent(1.0, 0.2),
        cg.MMD(1.0, 0.2),
        cg.INPO(1.0, 0.2),
        cg.Extragradient(1.0, 0.2),
        cg.ExactProx(0.2),
        cg.RegularizedMirrorDescent(1.0, 0.2, cg.regularizers.kl),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_regularized_rules_reach_the_equilibrium_of_the_regularized_game(rule: Any) -> None:
    reference = random_policy(10, 10, seed=4)
    metric = cg.regularized_gap(TEMPERATURE, jnp.log(jnp.asarray(reference)))
    result = cg.solve(RANDOM, rule, 400, reference=reference, metrics={"regularized gap": metric})
    # Ten terms of a few units each, divided by the temperature.
    assert qre_residual(np.asarray(RANDOM.skew), TEMPERATURE, reference, result.logp) < 1e-13
    assert np.all(result.history["regularized gap"][-1] < 1e-25)  # quadratic in the residual
    # That equilibrium is not Nash.
    assert np.all(result.history["duality_gap"][-1] > 1e-3)


def test_inpo_stops_where_algorithms_md_says() -> None:
    for start, expected in ((START, "0.0588"), (np.full(3, 1 / 3), "0.0245")):
        result = cg.solve(CYCLE, cg.MirrorDescent(0.3, 0.1), 2000, init=start, metrics=())
        assert f"{gap(CYCLE, result.policy):.4f}" == expected


@pytest.mark.parametrize(
    ("inner", "period", "rounds"),
    [
        (cg.ExactProx(0.05), 1, 400),
        (cg.MirrorDescent(1.0, 0.1), 20, 1000),
        (cg.MMD(1.0, 0.1), 20, 1000),
        (cg.Extragradient(2.0, 0.1), 20, 500),
    ],
    ids=["ExactProx", "MirrorDescent", "MMD", "Extragradient"],
)
def test_comal_reaches_nash(inner: Any, period: int, rounds: int) -> None:
    result = cg.solve(CYCLE, cg.COMAL(inner, period), 100 * period, init=START, metrics=())
    np.testing.assert_allclose(result.policy, COMAL_NASH, rtol=0, atol=1e-14)
    # Of ten random games one is nearly degenerate and slow: there the gap rebounds, while KL to Nash still
    # falls from quarter to quarter, until it is the square of rounding.
    steps = rounds * period
    history = cg.solve(
        RANDOM,
        cg.COMAL(inner, period),
        steps,
        record_every=steps // 4,
        metrics=[cg.kl_to(log(NASH_OF_RANDOM))],
    ).history
    assert np.all(history["KLTo"][1:] < np.maximum(history["KLTo"][:-1], 1e-28))
    assert np.all(history["KLTo"][-1] < 0.1 * history["KLTo"][0])
    assert np.median(history["duality_gap"][-1]) < 1e-14


@pytest.mark.parametrize("temperature", [0.03, 0.3, 3.0])
def test_exact_comal_never_moves_away_from_nash(temperature: float) -> None:
    for game, nash in ((CYCLE, COMAL_NASH), (RANDOM, NASH_OF_RANDOM)):
        start = random_policy(*nash.shape, seed=6)
        rule = cg.COMAL(cg.ExactProx(temperature), 1)
        kl = cg.solve(game, rule, 60, init=start, metrics=[cg.kl_to(log(nash))]).history["KLTo"]
        assert np.all(np.diff(kl, axis=0) < 1e-15 * kl[0])
        assert np.all(kl[-1] < 0.9 * kl[0])


def test_weight_off_the_support_decays_at_the_rate_of_its_slack() -> None:
    # The third random game: 5 of its 10 answers are off the support, and every rule is at Nash well before
    # the end.
    game, nash = cg.PreferenceGame.from_skew(RANDOM.skew[2]), NASH_OF_RANDOM[2]
    slack, off = -(np.asarray(game.skew) @ nash), nash == 0
    assert np.count_nonzero(off) == 5
    for rule, rate, num_steps in (
        (cg.COMAL(cg.ExactProx(0.05), 1), 1 / 0.05, 500),
        (cg.OptimisticMWU(1.0), 1.0, 20_000),
        (cg.Extragradient(1.0), 1.0, 20_000),
        # Twenty steps of pull m from the reference move sum_k (1 - m)^k as far as one.
        (cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20), (1 - 0.9**20) / (20 * 0.1), 20_000),
    ):
        logp = cg.solve(game, rule, num_steps, metrics=["logp"], record_every=100).history["logp"]
        # Log-probabilities of -1e4 carry errors of 1e-12; their differences over 100 steps are at least 0.1.
        np.testing.assert_allclose((logp[-2] - logp[-3])[off] / 100, -rate * slack[off], rtol=1e-10)


def test_kl_to_the_equilibrium_contracts_as_the_theorems_say() -> None:
    reference = random_policy(10, 10, seed=4)
    logps = [qre(skew, 0.2, ref) for skew, ref in zip(np.asarray(RANDOM.skew), reference, strict=True)]
    metric = {"kl": cg.kl_to(jnp.asarray(np.stack(logps)))}
    for rule, factor in (
        (cg.Extragradient(1.0, 0.2), 1 - 0.2),  # Cen, Wei and Chi: eta <= 1 / (tau + 1) for centred payoffs
        (cg.Extragradient(0.1, 0.2), 1 - 0.02),
        (cg.MMD(0.8, 0.2), 1 / 1.16),  # Sokota et al.: eta <= tau / (1/2)^2
        (cg.MMD(0.1, 0.2), 1 / 1.02),
    ):
        kl = cg.solve(
            RANDOM, rule, 40, init=random_policy(10, 10, seed=7), reference=reference, metrics=metric
        ).history["kl"]
        assert np.all(kl[1:] <= factor * kl[:-1] + 1e-15)


# A regularizer of one's own ---------------------------------------------------------------------------------


def chi2(p: Any, reference: Any) -> Any:
    return jnp.sum((p - reference) ** 2 / reference)


def test_comal_with_a_regularizer_of_ones_own_reaches_nash() -> None:
    rule = cg.COMAL(cg.RegularizedMirrorDescent(step_size=1.0, temperature=0.1, regularizer=chi2), period=50)
    biased = cg.games.rock_paper_scissors(3, 1, 1)
    result = cg.solve(biased, rule, 20_000, init=START, record_every=1000)
    assert result.history["duality_gap"][-1] < 1e-11
    np.testing.assert_allclose(result.policy, [0.2, 0.6, 0.2], rtol=0, atol=1e-10)
    # In games with dominated answers log-probabilities off the support fall without end; nothing may break.
    result = cg.solve(RANDOM, rule, 20_000, record_every=1000)
    assert np.all(result.first_nonfinite == -1)
    assert np.all(np.isfinite(result.logp))
    assert np.min(result.logp) < -1000
    assert np.all(np.isfinite(result.history["duality_gap"]))


# The 3-cycle's table ----------------------------------------------------------------------------------------

# From an independent program: rule, rounds, steps per round; final gap, largest gap and lowest log10
# probability over the last fifth of the rounds, KL(Nash || policy), gap of the average policy. As printed
# there; None where the number is rounding, NOT_PRINTED where docs/deviations.md says why there is none.
# KL(QRE || policy) is covered by the tests of fixed points.
NOT_PRINTED = ""
FALLING = cg.NashMD(cg.InverseTime(20.0, 2.0), 0.1)


class Lagging(cg.Follow):
    """The reference follows the policy of the step before, as that program's does."""

    def commit(self, inner: Any, state: Any, logp: Any) -> Any:
        lagging = simplex.mix(state.reference, state.logp, self.rate)
        return inner.move_reference(inner.commit(state, logp), lagging)


TABLE = [
    (cg.MWU(0.1), 2000, 1, "0.351", "0.426", "0.232", "0.003", "-1.21"),
    (cg.MWU(0.3), 2000, 1, "0.767", "0.767", "1.64", "0.01", "-3.51"),
    (cg.MWU(1.0), 2000, 1, "0.789", "0.8", "8.13", "0.0096", "-13.8"),
    (cg.MWU(10.0), 500, 1, "0.6", "0.8", "45.1", "0.018", "-60.9"),
    (cg.IterativeDPO(10.0), 2000, 1, "0.648", "0.798", "3.95", "0.033", "-7.2"),
    (cg.MirrorDescent(0.3, 0.1), 2000, 1, "0.0588", "0.0588", "0.0211", "0.06", "-0.561"),
    (cg.MirrorDescent(500.0, 1 / 1500), 500, 1, "0.723", "0.8", "111", "0.07", "-241"),
    (cg.MMD(0.3, 0.1), 2000, 1, "0.0588", "0.0588", "0.0211", "0.06", "-0.561"),
    (cg.MirrorDescent(10.0, 0.1), 500, 1, "0.548", "0.768", "2.8", "0.088", "-3.56"),
    (cg.MirrorDescent(4.0, 0.25), 500, 1, "0.166", "0.166", "0.0713", "0.17", "-0.697"),
    (cg.Extragradient(0.3, 0.1), 2000, 1, "0.0588", "0.0588", "0.0211", "0.06", "-0.561"),
    (cg.Extragradient(2.0, 0.1), 2000, 1, "0.0588", "0.0588", "0.0211", "0.059", "-0.561"),
    (cg.Extragradient(0.3), 2000, 1, "0.00689", "0.0146", "6.09e-05", "0.0015", "-0.579"),
    (cg.Extragradient(2.0), 2000, 1, None, None, None, "0.00015", "-0.564"),
    (cg.OptimisticMWU(0.3), 2000, 1, "0.00653", "0.0138", "5.81e-05", "0.0016", "-0.579"),
    (cg.OptimisticMWU(2.0), 2000, 1, None, None, None, "0.00024", "-0.564"),
    (cg.COMAL(cg.ExactProx(0.1), 1), 60, 1, None, None, None, "0.0048", "-0.564"),
    (cg.COMAL(cg.ExactProx(1.0), 1), 200, 1, "0.0032", "0.00883", "2.99e-05", "0.0037", "-0.575"),
    (cg.COMAL(cg.MirrorDescent(0.3, 0.1), 12), 600, 12, "0.00306", "0.0109", "2.51e-05", "0.00032", "-0.576"),
    (cg.COMAL(cg.MirrorDescent(0.3, 0.1), 10), 600, 10, "0.217", "0.338", "0.134", "0.0011", "-1.03"),
    (cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20), 60, 20, None, None, None, "0.0046", "-0.564"),
    (cg.COMAL(cg.MirrorDescent(3.0, 0.1), 6), 60, 6, None, None, None, "0.0038", "-0.564"),
    (cg.COMAL(cg.Extragradient(3.0, 0.1), 10), 60, 10, None, None, None, "0.0048", "-0.564"),
    (cg.COMAL(cg.MMD(1.0, 0.1), 20), 60, 20, None, None, None, "0.0043", "-0.564"),
    (cg.COMAL(cg.MirrorDescent(0.3, 0.1), 50), 100, 50, None, None, None, "0.0024", "-0.564"),
    (cg.COMAL(cg.MirrorDescent(0.3, 0.1), 1), 2000, 1, "0.767", "0.767", "1.64", "0.01", "-3.51"),
    (cg.SPPO(0.3, exact=True), 2000, 1, "0.767", "0.767", "1.64", "0.01", "-3.51"),
    (cg.SPPO(1.0, exact=True), 2000, 1, "0.798", "0.8", "8.12", "0.0092", "-13.7"),
    (cg.SPPO(10.0, exact=True), 500, 1, "0.8", "0.8", "49.2", "0.016", "-77.9"),
    (cg.GPO(10.0), 2000, 1, "0.666", "0.799", "3.5", "0.025", "-7.43"),
    (cg.NCA(1.0), 2000, 1, "0.6", "0.6", NOT_PRINTED, "0.17", "-537"),
    (cg.BCO(10.0), 2000, 1, "0.245", "0.795", "3.37", "0.021", "-6.29"),
    (cg.SPO(0.3, queue=10), 2000, 1, "0.799", "0.8", "7.63", "0.028", "-11.8"),
    (cg.NashEMA(0.3, 0.0, 0.1), 2000, 1, "0.385", "0.8", "10.7", "0.038", "-16.7"),
    (cg.NashEMA(0.3, 0.0, 0.5), 2000, 1, "0.378", "0.798", "3.71", "0.014", "-6.8"),
    (cg.MNPO(1 / 0.3, 0.0), 2000, 1, "0.449", "0.465", "0.279", "0.0068", "-1.31"),
    (cg.MNPO(1 / 0.3, 0.0, opponents="past"), 2000, 1, "0.558", "0.708", "1.02", "0.011", "-2.49"),
    (cg.MNPO(1 / 0.3, 0.1), 2000, 1, "0.0588", "0.0588", "0.0211", "0.061", "-0.561"),
    (cg.MNPO(1 / 0.3, 0.1, opponents="past"), 2000, 1, "0.0588", "0.0588", "0.0211", "0.061", "-0.561"),
    (cg.MirrorDescent(3.8, 0.1), 20_000, 1, "0.0588", "0.0588", "0.0211", "0.059", "-0.561"),
    (cg.MirrorDescent(4.0, 0.1), 20_000, 1, "0.0208", "0.174", "0.000961", "0.06", "-0.734"),
    (cg.NashMD(0.3, 0.1), 2000, 1, "0.0557", "0.0557", "0.0223", "0.057", "-0.562"),
    (FALLING, 20_000, 1, "0.0588", "0.0588", "0.0211", "0.059", "-0.561"),
    (cg.OnlineDPO(1.0), 500, 1, "0.162", "0.162", "0.0689", "0.16", "-0.692"),
    (cg.OnlineIPOGradient(0.3, 0.1), 20_000, 1, "0.0588", "0.0588", "0.0211", "0.059", "-0.561"),
    (cg.NashMDPG(0.3, 0.1, 0.125), 20_000, 1, "0.0737", "0.0737", "0.028", "0.074", "-0.585"),
    (cg.Extragradient(0.3, 0.001), 40_000, 1, "0.000948", "0.000948", "2.62e-06", "0.001", "-0.565"),
    (cg.NashMirrorProx(0.2, 0.1), 2000, 1, "0.0588", "0.0588", "0.0211", NOT_PRINTED, "-0.561"),
    (cg.NashProx(1.0, 0.1, 300), 40, 300, None, NOT_PRINTED, None, "0.0072", "-0.564"),
    (cg.MovingReference(cg.MMD(1.0, 0.1), 0.03), 2000, 1, None, None, None, "0.0021", "-0.564"),
    (cg.COMAL(cg.MMD(1.0, 0.1), when=Lagging(1.0)), 2000, 1, "0.462", "0.8", "6", "0.0076", "-10.2"),
]


@pytest.mark.parametrize(
    ("rule", "rounds", "period", "final", "largest", "kl", "average", "lowest"),
    TABLE,
    ids=[" ".join(repr(row[0]).split()) for row in TABLE],
)
@pytest.mark.filterwarnings("ignore:COMAL's period")
def test_the_three_cycle(
    rule: Any, rounds: int, period: int, final: Any, largest: Any, kl: Any, average: str, lowest: str
) -> None:
    result = cg.solve(CYCLE, rule, rounds * period, init=START, metrics=["logp"])
    logp = result.history["logp"][::period]
    gaps, tail = gap(CYCLE, np.exp(logp)), slice(-(rounds // 5), None)
    found = {
        "final": (gaps[-1], final, 3),
        "largest": (gaps[tail].max(), largest, 3),
        "kl": (COMAL_NASH @ (LOG_NASH - logp[-1]), kl, 3),
        "average": (gap(CYCLE, np.exp(logp).mean(0)), average, 2),
        "lowest": (logp[tail].min() / np.log(10), lowest, 3),
    }
    for name, (value, printed, digits) in found.items():
        if printed == NOT_PRINTED:
            continue
        if printed is None:
            assert abs(value) < 1e-13, name
        else:
            assert float(f"{value:.{digits}g}") == float(printed), name


def test_self_play_against_data_in_the_table() -> None:
    result = cg.solve(CYCLE, cg.SPIN(2.0), 100, init=START, reference=[0.6, 0.3, 0.1], metrics=["policy"])
    assert f"{gap(CYCLE, result.policy):.1f}" == "0.4"
    assert f"{COMAL_NASH @ (LOG_NASH - result.logp):.3f}" == "0.261"
    assert f"{gap(CYCLE, result.history['policy'].mean(0)):.2f}" == "0.39"
    # Half of the way in logarithms a step: the error halves.
    error = np.abs(np.log(result.history["policy"][:20]) - np.log([0.6, 0.3, 0.1])).max(-1)
    np.testing.assert_allclose(error[11:] / error[10:-1], 0.5, rtol=2e-3)


def test_a_deterministic_judge_in_the_table() -> None:
    """COMAL then solves the game of majorities."""
    judge = cg.PreferenceGame.from_skew(np.sign(np.asarray(CYCLE.skew)) / 2)
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)
    result = cg.solve(judge, rule, 2000, init=START, metrics=())
    np.testing.assert_allclose(result.policy, 1 / 3, rtol=0, atol=1e-13)
    assert f"{gap(CYCLE, result.policy):.4f}" == "0.0667"
    assert f"{COMAL_NASH @ (LOG_NASH - result.logp):.5f}" == "0.00855"


def test_sppos_published_step_leaves_the_interior_at_once() -> None:
    """From the first step on its digits are chaotic: they depend on the rounding of -1e3."""
    logp = cg.solve(CYCLE, cg.SPPO(1000.0, exact=True), 200, init=START, metrics=["logp"]).history["logp"]
    assert np.all(logp[2:].min(-1) < -100)
    np.testing.assert_allclose(gap(CYCLE, np.exp(logp[-1])), 0.8, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:COMAL's period")
def test_comals_repository_numbers_diverge() -> None:
    """With eta = 0.002 and tau / eta = 1/3, refreshed every 12: chaotically along the boundary."""
    rule = cg.INPO(0.002, 0.002 / 3)
    logp = cg.solve(CYCLE, cg.COMAL(rule, 12), 1200, init=START, metrics=["logp"]).history["logp"][::12]
    assert np.all(gap(CYCLE, np.exp(logp[-20:])) > 0.3)
    assert np.median(logp[-20:].min(-1)) < -100 * np.log(10)
    assert np.all(logp[-20:].min(-1) < -50 * np.log(10))
    # What ratio 1/3 would need: (1 - m)^2 + (w / eta)^2 < 1, at its own equilibrium for temperature eta / 3.
    equilibrium = qre(np.asarray(CYCLE.skew), 0.3 / 3, START)
    (w,) = rotation_frequencies(CYCLE, equilibrium)
    radius = abs(spectrum(CYCLE, cg.INPO(0.3, 0.1), equilibrium, reference=np.log(START))[0])
    np.testing.assert_allclose(radius, np.hypot(2 / 3, w / 0.3), rtol=1e-10)
