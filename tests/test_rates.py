"""Known rates are found, those of rules agree with local theory, and none is found where there is none."""

import jax.numpy as jnp
import numpy as np
import pytest

import comalgames as cg
from comalgames.diagnostics import fit_rate, spectrum

GAME = cg.games.comal_cycle()
NASH = cg.nash(GAME)
STEPS = np.arange(1_001)
LATER_STEPS = STEPS[1:]
LOG_SPACED = np.unique(np.round(np.logspace(0, 5, 200)))


# Sequences with a rate
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("size", [1e-3, 0.4])
def test_a_factor_a_step_is_found(factor, size):
    fit = fit_rate(STEPS, size * factor**STEPS)
    assert fit.kind == "linear"
    assert fit.reason == ""
    assert fit.rate == pytest.approx(factor, rel=1e-12)
    np.testing.assert_allclose(fit.at(STEPS[:300]), size * factor ** STEPS[:300], rtol=1e-9)
    assert fit.evidence > 1_000
    assert fit.variance_ratio > 1


@pytest.mark.parametrize("factor", [0.9, 0.97, 0.98])
@pytest.mark.parametrize("turn", [0.05, 0.1, 0.21, 1.0, np.pi / 2, 2.0, 3.0])
def test_a_factor_is_found_through_swings(factor, turn):
    """|cos| has zeros between the tops; in terms of the decay -log(rate) too, the error is below 1e-3."""
    fit = fit_rate(STEPS, factor**STEPS * np.abs(np.cos(turn * STEPS + 0.3)))
    assert fit.kind == "linear"
    assert np.log(fit.rate) == pytest.approx(np.log(factor), rel=1e-3)


@pytest.mark.parametrize("exponent", [-0.5, -1.0, -1.5, -2.0, -3.0])
@pytest.mark.parametrize("steps", [LATER_STEPS, LOG_SPACED], ids=["even", "log-spaced"])
def test_a_power_is_found(exponent, steps):
    fit = fit_rate(steps, 0.3 * steps**exponent)
    assert fit.kind == "power"
    assert fit.rate == pytest.approx(exponent, rel=1e-9)
    np.testing.assert_allclose(fit.at(steps), 0.3 * steps**exponent, rtol=1e-9)


@pytest.mark.parametrize("law", [lambda t: 0.98**t, lambda t: t**-1.0], ids=["linear", "power"])
def test_units_of_the_steps_and_of_the_gap_do_not_change_the_law(law):
    fit = fit_rate(LATER_STEPS, law(LATER_STEPS))
    queries = fit_rate(5 * LATER_STEPS, law(LATER_STEPS))
    smaller = fit_rate(LATER_STEPS, 1e-2 * law(LATER_STEPS), floor=1e-18)
    assert fit.kind == queries.kind == smaller.kind
    assert queries.rate == pytest.approx(fit.rate ** (1 / 5) if fit.kind == "linear" else fit.rate, rel=1e-9)
    assert smaller.rate == pytest.approx(fit.rate, rel=1e-9)
    assert smaller.at(500) == pytest.approx(1e-2 * fit.at(500), rel=1e-6)


def test_what_lies_at_rounding_is_left_out():
    noise = 1e-17 * np.abs(np.random.default_rng(0).normal(size=len(STEPS)))
    fit = fit_rate(STEPS, 0.9**STEPS + noise)
    assert fit.rate == pytest.approx(0.9, rel=1e-3)
    assert 0.9 ** fit.window[1] > 50 * np.finfo(float).eps >= 0.9 ** (fit.window[1] + 1)
    single = fit_rate(STEPS, (0.9**STEPS).astype(np.float32))
    assert single.window[1] < fit.window[1]
    assert single.rate == pytest.approx(0.9, rel=1e-5)
    # A divergence is right far below the precision of its type.
    assert fit_rate(STEPS, 0.9**STEPS, floor=1e-32).window[1] > 600


def test_burn_in_and_another_beginning_are_left_out():
    gaps = np.where(STEPS < 30, 1.0, 0.95 ** (STEPS - 30.0))
    assert fit_rate(STEPS, gaps).rate == pytest.approx(0.95, rel=1e-9)
    two_factors = 0.9**STEPS + 1e-3 * 0.99**STEPS
    assert fit_rate(STEPS, two_factors).rate == pytest.approx(0.99, rel=1e-6)
    shares = [fit_rate(STEPS, 0.97**STEPS, burn_in=share).window[0] for share in (0.1, 0.2, 0.5)]
    np.testing.assert_allclose(shares, [100, 200, 500], atol=1)


def test_a_law_must_have_been_seen_for_so_many_decades():
    """Of the fall in log gap the first fifth is burn-in: the rest must be 3 decades, or 1.5 of the steps."""
    for decades, kind in ((3.6, "none"), (3.9, "linear")):
        steps = np.arange(decades * np.log(10) / -np.log(0.97))
        fit = fit_rate(steps, 0.97**steps)
        assert fit.kind == kind
        assert fit.decades == pytest.approx(0.8 * decades, abs=0.03)
    for decades, kind in ((1.82, "none"), (1.95, "power")):
        steps = np.unique(np.round(10 ** np.linspace(3, 3 + decades, 300)))
        fit = fit_rate(steps, steps**-0.5)
        assert fit.kind == kind
        assert np.log10(fit.window[1] / fit.window[0]) == pytest.approx(0.8 * decades, abs=0.03)


@pytest.mark.parametrize(("num_records", "is_known"), [(7, False), (8, True)])
def test_eight_records_decide(num_records, is_known):
    steps = np.arange(1, num_records + 1)
    for gaps, kind in ((0.1**steps, "linear"), (1.0 / 10**steps, "power")):
        fit = fit_rate(steps if kind == "linear" else 10**steps, gaps, burn_in=0)
        assert fit.kind == (kind if is_known else "none")
        assert is_known or f"{num_records} records" in fit.reason


def test_evidence_is_the_records_times_the_log_ratio_of_the_variances():
    """AIC of two lines, so the same number of parameters; on a hundred records or fewer."""
    for gaps in (0.97**LATER_STEPS, 1.0 / LATER_STEPS, 0.97**LATER_STEPS * (2 + np.cos(LATER_STEPS))):
        fit = fit_rate(LATER_STEPS, gaps)
        num_records = fit.evidence / np.log(fit.variance_ratio)
        assert num_records == pytest.approx(np.round(num_records), rel=1e-9)
        assert 50 < num_records <= 100


def test_a_run_that_ends_in_a_trough_counts_to_its_last_top():
    """The largest gap still to come follows |cos| down to the end, 5% of a swing's top."""
    gaps = 0.97**STEPS * np.abs(np.cos(0.05 * STEPS + 0.3))
    trough = int(np.flatnonzero(gaps[:345] < 0.05 * 0.97 ** STEPS[:345])[-1]) + 1
    fit = fit_rate(STEPS[:trough], gaps[:trough])
    assert np.log(fit.rate) == pytest.approx(np.log(0.97), rel=3e-3)
    assert fit.window[1] < trough - 10


@pytest.mark.parametrize("factor", [0.97, 0.98])
def test_records_that_thin_out_weigh_as_much_as_the_steps_between_them(factor):
    """A slow swing on log-spaced records; with equal weights the dense ones would make it 2% and more."""
    steps = np.unique(np.round(np.logspace(0, 3.2, 150)))
    fit = fit_rate(steps, factor**steps * (1 + 0.6 * np.cos(0.01 * steps + 0.3)))
    assert np.log(fit.rate) == pytest.approx(np.log(factor), rel=0.01)


# Sequences without one
# ------------------------------------------------------------------------------------------

NONE = {
    "plateau": (STEPS, 0.9**STEPS + 0.01),
    "late plateau": (STEPS, np.maximum(0.9**STEPS, 1e-4)),
    "constant": (STEPS, np.full(1_001, 0.3)),
    "rising": (STEPS, 0.1 + 1e-3 * STEPS),
    "growing": (STEPS, 1.01**STEPS),
    "cycling": (STEPS, 0.3 + 0.1 * np.cos(0.1 * STEPS)),
    "nan": (STEPS, np.where(STEPS == 500, np.nan, 0.9**STEPS)),
    "inf": (STEPS, np.where(STEPS > 500, np.inf, 0.9**STEPS)),
    "all zeros": (STEPS, np.zeros(1_001)),
    "too short": (STEPS[:5], 0.1 ** STEPS[:5]),
    "one record": ([1], [0.1]),
    "only step 0": ([0], [0.1]),
    "to a positive constant": (STEPS, 0.1 + 1 / (STEPS + 1)),
    "exp(-sqrt(t))": (STEPS, np.exp(-np.sqrt(STEPS))),
    "exp(-sqrt(t)), long": (np.arange(20_000), np.exp(-np.sqrt(np.arange(20_000)))),
    "exp(-t^2)": (STEPS, np.exp(-((STEPS / 50) ** 2))),
    "noise": (STEPS, 0.9**STEPS + 1e-6 * np.abs(np.random.default_rng(0).normal(size=1_001))),
}


@pytest.mark.parametrize("name", NONE)
def test_no_rate_is_found_where_there_is_none(name):
    fit = fit_rate(*NONE[name])
    assert fit.kind == "none"
    assert fit.reason
    assert np.isnan(fit.rate)
    assert np.isnan(fit.at(3.0))


def test_the_reason_says_what_is_the_matter():
    assert "not finite at step 500" in fit_rate(*NONE["nan"]).reason
    assert "rounding" in fit_rate(*NONE["all zeros"]).reason
    assert "does not fall" in fit_rate(*NONE["constant"]).reason
    assert "fewer than" in fit_rate(*NONE["too short"]).reason
    assert "quarters" in fit_rate(*NONE["exp(-sqrt(t))"]).reason
    assert "decades" in fit_rate(*NONE["cycling"]).reason


LOGARITHMS = {
    "log(t) / t": lambda t: np.log(t) / t,
    "(1 + log t) / t": lambda t: (1 + np.log(t)) / t,
    "log(t)^2 / t": lambda t: np.log(t) ** 2 / t,
    "1 / (t log t)": lambda t: 1 / (t * np.log(t)),
    "sqrt(log(t) / t)": lambda t: np.sqrt(np.log(t) / t),
    "log(t) / sqrt(t)": lambda t: np.log(t) / np.sqrt(t),
    "log(t) / t^2": lambda t: np.log(t) / t**2,
}
SPANS = [(0.5, 4.0), (0.5, 6.0), (2.0, 4.5), (2.0, 8.0)]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("name", LOGARITHMS)
def test_a_power_with_a_logarithm_is_no_pure_power(name, span):
    steps = np.unique(np.round(np.logspace(*span, 600)))
    fit = fit_rate(steps, LOGARITHMS[name](steps), floor=0.0)
    assert fit.kind == "none"
    assert "decades" in fit.reason or "logarithmic factor" in fit.reason
    # Records of all steps, as a run makes them
    fit = fit_rate(LATER_STEPS[1:], LOGARITHMS[name](LATER_STEPS[1:]))
    assert fit.kind == "none"


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("exponent", [-0.5, -1.0, -2.0])
def test_a_power_is_told_from_one_with_a_logarithm(exponent, span):
    """Pure, with a shift that is forgotten, and with records that oscillate."""
    steps = np.unique(np.round(np.logspace(*span, 600)))
    for gaps in (steps**exponent, (steps + 10 ** span[0]) ** exponent):
        assert fit_rate(steps, gaps, floor=0.0).kind == "power"
    for turn in np.linspace(0.5, 2.5, 20):
        fit = fit_rate(LATER_STEPS, np.abs(np.cos(turn * LATER_STEPS)) * LATER_STEPS**exponent)
        assert "logarithmic" not in fit.reason


# A logarithm under perturbations: noise, oscillations that are dense or sparse in the records, and units in
# which the logarithm does not count from 1, such as queries.
PERTURBED = {
    "noise of 1%": lambda t: np.exp(0.01 * np.random.default_rng(0).normal(size=len(t))),
    "noise of 10%": lambda t: np.exp(0.1 * np.random.default_rng(1).normal(size=len(t))),
    "slow oscillation": lambda t: 1 + 0.3 * np.sin(0.05 * t),
    "fast oscillation": lambda t: np.abs(np.cos(1.7 * t)),
    "periodic in log t": lambda t: 1 + 0.05 * np.sin(3 * np.log(t)),
}
RECORDS = {
    "all": np.arange(2.0, 20_001),
    "few": np.arange(2.0, 1_001),
    "every 20": np.arange(20.0, 20_001, 20),
    "log-spaced": np.unique(np.round(np.logspace(0.5, 6, 60))),
}


@pytest.mark.parametrize("perturbation", PERTURBED)
@pytest.mark.parametrize("records", RECORDS)
def test_a_perturbed_logarithm_is_not_called_a_pure_power(records, perturbation):
    steps = RECORDS[records]
    for law in (lambda t: np.log(t) / t, lambda t: np.log(t) ** 2 / t, lambda t: np.log(t) / np.sqrt(t)):
        fit = fit_rate(steps, law(steps) * PERTURBED[perturbation](steps), floor=0.0)
        assert fit.kind == "none"
        assert fit.reason


@pytest.mark.parametrize("queries", [2, 10, 100])
def test_a_logarithm_is_found_in_units_of_queries(queries):
    steps = RECORDS["all"]
    fit = fit_rate(queries * steps, np.log(steps) / steps)
    assert fit.kind == "none"
    assert "logarithmic factor" in fit.reason


@pytest.mark.parametrize("exponent", [-0.5, -1.0, -2.0])
@pytest.mark.parametrize("records", RECORDS)
def test_a_power_is_found_in_noise_of_one_percent(records, exponent):
    steps = RECORDS[records]
    for noise in PERTURBED["noise of 1%"](steps), np.exp(0.01 * np.sin(0.05 * steps)):
        fit = fit_rate(steps, steps**exponent * noise, floor=0.0)
        assert fit.kind == "power"
        assert fit.rate == pytest.approx(exponent, abs=0.02)


# Runs of rules
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "printed", "num_steps"),
    [
        (cg.Extragradient(1.0), 0.978912, 2_000),
        (cg.OptimisticMWU(1.0), 0.976869, 2_000),
        # A proximal step turns by arctan(w / temperature) and shrinks by that angle's cosine.
        (cg.COMAL(cg.ExactProx(0.1), 1), (1 + (0.20889318714683736 / 0.1) ** 2) ** -0.5, 60),
    ],
    ids=["extragradient", "optimistic", "exact COMAL"],
)
def test_a_rule_contracts_by_the_modulus_of_its_spectrum(rule, printed, num_steps):
    modulus = abs(spectrum(GAME, rule, NASH.logp)[0])
    assert modulus == pytest.approx(printed, abs=6e-7)
    metrics = {"kl": cg.kl_to(NASH.logp), "tv": cg.total_variation_to(NASH.logp)}
    result = cg.solve(GAME, rule, num_steps, metrics=metrics)
    for name, power, floor in (("duality_gap", 1, None), ("tv", 1, None), ("kl", 2, 1e-32)):
        fit = fit_rate(result.steps, result.history[name], floor=floor)
        assert fit.kind == "linear", name
        assert np.log(fit.rate) == pytest.approx(power * np.log(modulus), rel=1e-3), name


def test_the_average_of_a_convergent_rule_has_the_power_minus_one():
    """If the sum of the distances to Nash converges, the average is off by that sum divided by t."""
    run = cg.trajectory(GAME, cg.OptimisticMWU(1.0), 60_000, record_every=50)
    # The distance of step 1,000 is 0.977^1,000 of the first.
    steps, gaps = (np.asarray(each)[20:] for each in (run.steps + 1, run.records["average_duality_gap"]))
    fit = fit_rate(steps, gaps, burn_in=0)
    assert fit.kind == "power"
    assert fit.rate == pytest.approx(-1, abs=1e-5)


def test_multiplicative_weights_have_no_rate_and_their_average_no_pure_power():
    result = cg.solve(GAME, cg.MWU(0.5), 1_000)
    assert fit_rate(result.steps, result.history["duality_gap"]).kind == "none"
    # Started next to Nash, the path is a slow spiral, whose radius grows by exp(t (0.01 frequency)^2 / 2),
    # which is 1.5 at the end. The sum of the distances to Nash, which is divided by t, is at most of the size
    # of the first radius plus the last one: the average falls more slowly than 1 / t.
    start = jnp.log(NASH.policy + 1e-4 * np.array([1.0, -2.0, 1.0]))
    near = cg.trajectory(GAME, cg.MWU(0.01), 200_000, logp=start, record_every=200)
    fit = fit_rate(near.steps + 1, near.records["average_duality_gap"])
    assert fit.kind == "none"
    assert "a power of the steps fits better" in fit.reason
    way = np.asarray(near.steps + 1) * np.asarray(near.records["average_duality_gap"])
    early, late = (np.max(way[begin : begin + 100]) for begin in (0, len(way) - 100))
    assert late / early == pytest.approx((1 + np.exp(200_000 * (0.01 * 0.20889) ** 2 / 2)) / 2, rel=0.05)


# Wrong inputs
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([1, 2, 3], [0.1, 0.2]), "`steps` and `gaps` must be two lists of the same length"),
        (([], []), "`steps` and `gaps` must be two lists"),
        ((STEPS, np.ones((1_001, 2))), "fit the gaps of several runs one by one"),
        (([1, 1, 2], [0.3, 0.2, 0.1]), "`steps` must be >= 0 and increasing"),
        (([-1, 1, 2], [0.3, 0.2, 0.1]), "`steps` must be >= 0 and increasing"),
        (([1, np.nan, 2], [0.3, 0.2, 0.1]), "`steps` must be finite"),
        ((["a", "b"], [0.3, 0.2]), "`steps` must hold real numbers"),
        (([1, 2], ["a", "b"]), "`gaps` must hold real numbers"),
        (([1, 2, 3], [0.3, -0.2, 0.1]), "`gaps` must be >= 0 up to rounding error, got -0.2"),
    ],
)
def test_wrong_records_are_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        fit_rate(*arguments)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"floor": -1.0}, "`floor` must be a finite number >= 0"),
        ({"floor": np.inf}, "`floor` must be"),
        ({"burn_in": 1.0}, r"`burn_in` must be a share in \[0, 1\), got 1.0"),
        ({"burn_in": -0.1}, "`burn_in` must be"),
    ],
)
def test_wrong_options_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        fit_rate(STEPS, 0.9**STEPS, **options)


def test_gaps_below_0_by_rounding_are_no_complaint():
    assert fit_rate(STEPS, np.where(STEPS > 400, -1e-17, 0.9**STEPS)).rate == pytest.approx(0.9, rel=1e-6)
