"""`diagnose`: its page against closed forms of local theory, printed tables, and the run it makes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import COMAL_FREQUENCY, COMAL_NASH, COMAL_PERIODS, COMAL_START, random_game, random_policy

import comalgames as cg
from comalgames.diagnostics.members import nash_members

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 2


def at_once(rule, game=CYCLE, **settings):
    """What theory says; the run is as short as may be."""
    return cg.diagnose(
        game, rule, **({"init": COMAL_START} if game is CYCLE else {}), num_steps=4, **settings
    )


def skew_game(skew):
    return cg.PreferenceGame.from_skew(np.asarray(skew, np.float64))


# Printed digits, from another program -----------------------------------------------------------------------

MULTIPLIERS = [
    (cg.OptimisticMWU(1.0), "0.976869"),
    (cg.Extragradient(1.0), "0.978912"),
    (cg.MWU(1.0), "1.0216"),
    (cg.IterativeDPO(10.0), "1.003485"),
    (cg.COMAL(cg.ExactProx(0.05), 1), "0.2328"),
    (cg.COMAL(cg.ExactProx(0.1), 1), "0.4318"),
    (cg.COMAL(cg.ExactProx(0.3), 1), "0.8207"),
    (cg.MMD(0.5, 0.1), "0.95730"),
    (cg.MMD(2.0, 0.1), "0.89975"),
    (cg.MMD(5.0, 0.1), "0.95126"),
    (cg.Extragradient(0.5, 0.1), "0.94460"),
    (cg.MirrorDescent(1.0, 0.1), "0.9227"),
    (cg.MMD(1.0, 0.1), "0.9277"),
    (cg.Extragradient(1.0, 0.1), "0.8779"),
    (cg.Extragradient(1.0 / 1.1, 0.1), "0.8909"),  # Nash mirror-prox with eta = 1
]


@pytest.mark.parametrize(("rule", "printed"), MULTIPLIERS, ids=[repr(rule) for rule, _ in MULTIPLIERS])
def test_printed_multipliers(rule, printed):
    found = at_once(rule).prediction
    digits = len(printed.partition(".")[2])
    assert f"{found.radius:.{digits}f}" == printed
    assert found.verdict == ("contracts" if float(printed) < 1 else "rotates out")


def test_the_printed_multiplier_of_comal_with_few_inner_steps():
    """Rounds of 15 steps of MMD, eta 0.2, tau 0.1."""
    found = at_once(cg.COMAL(cg.MMD(0.2, 0.1), 15)).prediction
    assert f"{found.radius:.6f}" == "0.995589"


THRESHOLDS = [
    (0.01, "0.4590", "0.4611", "5.00", "5.26"),
    (0.05, "2.2150", "2.4909", "5.50", "7.59"),
    (0.10, "3.8880", "6.3612", "5.61", "12.8"),
    (0.15, "4.7803", "16.895", "5.39", "28.2"),
    (0.25, "4.9547", None, "4.64", None),
]


@pytest.mark.parametrize(("tau", "explicit", "implicit", "extragradient", "mirror_prox"), THRESHOLDS)
def test_printed_step_size_limits(tau, explicit, implicit, extragradient, mirror_prox):
    def limit(rule):
        steps = at_once(rule).prediction.steps
        assert (steps.parameter, steps.low) == ("step_size", 0.0)
        return steps.high

    found = at_once(cg.MirrorDescent(0.3, tau)).prediction
    (w,) = found.frequencies
    np.testing.assert_allclose(found.steps.high, 2 * tau / (tau**2 + w**2), rtol=1e-8)
    assert f"{found.steps.high:.4f}" == explicit
    half_step = limit(cg.Extragradient(0.3, tau))
    assert f"{half_step:.2f}" == extragradient
    if implicit is None:
        assert tau > w
        assert limit(cg.MMD(0.3, tau)) == np.inf
        return
    np.testing.assert_allclose(limit(cg.MMD(0.3, tau)), 2 * tau / (w**2 - tau**2), rtol=1e-8)
    digits = len(implicit.partition(".")[2])
    assert f"{limit(cg.MMD(0.3, tau)):.{digits}f}" == implicit
    # Nash mirror-prox with eta is extragradient with eta / (1 + eta tau).
    assert f"{half_step / (1 - half_step * tau):.3g}" == mirror_prox


def test_limits_of_rules_that_reach_nash_and_of_inverse_steps():
    assert f"{at_once(cg.Extragradient(1.0)).prediction.steps.high:.4f}" == "4.7871"
    assert f"{at_once(cg.OptimisticMWU(1.0)).prediction.steps.high:.4f}" == "2.7639"
    for rule in (cg.MWU(1.0), cg.SPPO(1.0)):
        assert at_once(rule).prediction.steps.high == 0.0
    inpo = at_once(cg.INPO(1.0, 0.1)).prediction.steps
    explicit = at_once(cg.MirrorDescent(1.0, 0.1)).prediction.steps
    assert (inpo.parameter, inpo.high) == ("eta", np.inf)
    np.testing.assert_allclose(inpo.low, 1 / explicit.high, rtol=1e-9)
    for rule, parameter in ((cg.IterativeIPO(1.0), "tau"), (cg.IterativeDPO(1.0), "beta")):
        steps = at_once(rule).prediction.steps
        assert (steps.parameter, steps.low) == (parameter, np.inf)
    prox = at_once(cg.COMAL(cg.ExactProx(0.1), 1)).prediction.steps
    assert "takes no step" in prox.reason


@pytest.mark.parametrize(("step_size", "temperature", "failing", "best", "rate"), COMAL_PERIODS)
def test_printed_periods_of_comal(step_size, temperature, failing, best, rate):
    rule = cg.COMAL(cg.MirrorDescent(step_size, temperature), best)
    found = at_once(rule).prediction
    assert list(found.periods.failing) == failing
    assert found.periods.smallest == min(set(range(1, 100)) - set(failing))
    assert found.periods.best == best
    assert f"{found.rate_per_step:.4f}" == rate
    # Its exact rounds, of infinitely many steps, would be those of the proximal point method.
    np.testing.assert_allclose(
        at_once(cg.COMAL(cg.ExactProx(temperature), 1)).prediction.radius,
        temperature / np.hypot(temperature, COMAL_FREQUENCY),
        rtol=1e-9,
    )


def test_comal_may_contract_around_an_unstable_inner_rule():
    found = at_once(cg.COMAL(cg.MirrorDescent(4.5, 0.1), 4)).prediction
    assert f"{found.rate_per_step:.4f}" == "0.9814"
    assert found.periods.best == 4
    assert len(found.periods.failing) > 50


@pytest.mark.parametrize("period", [1, 7, 30])
@pytest.mark.parametrize("inner", [cg.MirrorDescent(1.0, 0.1), cg.Extragradient(2.0, 0.1)], ids=repr)
def test_radii_of_all_periods_are_those_of_each(inner, period):
    """From powers of one linearized step; `spectrum` differentiates the whole round."""
    radii = at_once(cg.COMAL(inner, 20)).prediction.periods.radii
    whole = cg.diagnostics.spectrum(CYCLE, cg.COMAL(inner, period), np.log(COMAL_NASH), num_steps=period)
    np.testing.assert_allclose(radii[period - 1], np.abs(whole).max(), rtol=1e-8)


# Where it aims ----------------------------------------------------------------------------------------------


def test_where_rules_aim():
    assert at_once(cg.MWU(1.0)).prediction.point.kind == "nash"
    assert at_once(cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)).prediction.point.kind == "nash"
    regularized = at_once(cg.INPO(1.0, 0.1)).prediction.point
    assert regularized.kind == "regularized"
    np.testing.assert_allclose(regularized.policy, cg.qre(CYCLE, 0.1, COMAL_START).policy, atol=1e-13)
    assert f"{regularized.gap:.4f}" == "0.0588"
    anchored = at_once(cg.INPO(1.0, 0.1), reference=[0.3, 0.3, 0.4]).prediction.point
    np.testing.assert_allclose(anchored.policy, cg.qre(CYCLE, 0.1, [0.3, 0.3, 0.4]).policy, atol=1e-13)
    chi = cg.RegularizedMirrorDescent(0.5, 0.3, cg.regularizers.chi_squared)
    general = at_once(chi).prediction.point
    np.testing.assert_allclose(
        general.policy, cg.qre(CYCLE, 0.3, COMAL_START, cg.regularizers.chi_squared).policy, atol=1e-9
    )


class Mixing(cg.AbstractUpdateRule):
    """Half way to an exact best response at temperature 1/4 around uniform; asks about a mixture."""

    def propose(self, key, state, feedback):
        mixture = jax.nn.log_softmax(0.5 * state.logp)
        return 0.5 * state.logp + 2.0 * feedback.advantage(key, mixture), state


def test_a_fixed_point_that_no_theory_names_is_found_and_checked():
    found = cg.diagnose(CYCLE, Mixing(), init=COMAL_START, num_steps=2000)
    point = found.prediction.point
    assert point.kind == "own"
    logp = jnp.asarray(point.logp)
    after, _ = Mixing().propose(jax.random.key(0), Mixing().init(logp, logp), cg.Exact(CYCLE))
    np.testing.assert_allclose(jax.nn.log_softmax(after), logp, atol=1e-9)
    assert found.outcome == "other fixed point"
    assert found.fit.kind == "linear"
    np.testing.assert_allclose(found.fit.rate, found.prediction.rate_per_step, rtol=5e-3)
    assert "fixed point of its own" in repr(found)


# The run beside the prediction ------------------------------------------------------------------------------

RULES = {
    "COMAL": cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20),
    "COMAL, exact": cg.COMAL(cg.ExactProx(0.1), 1),
    "extragradient": cg.Extragradient(2.0),
    "optimistic": cg.OptimisticMWU(1.0),
}


@pytest.mark.parametrize(("name", "seed"), [("COMAL", 1), *((name, 3) for name in RULES)])
def test_on_random_games_the_measured_rate_is_the_predicted_one(name, seed):
    """Nash policies on part of the actions: rotation on the support, slack off it."""
    game = random_game(5 + seed, seed)
    assert not cg.nash(game).support.all()
    found = cg.diagnose(game, RULES[name])
    assert found.verdict == "contracts"
    assert found.outcome == "Nash"
    assert found.fit.kind == "linear"
    # Tops of slow oscillations are seen a few times only.
    predicted, measured = np.log(found.prediction.rate_per_step), np.log(found.fit.rate)
    assert abs(measured / predicted - 1) < 0.05


def test_slack_decides_where_it_is_slower_than_rotation():
    """An action that loses 0.001 against a fast cycle: its mass decays by exp(-eta slack) a step."""
    skew = np.zeros((4, 4))
    skew[:3, :3] = RPS
    skew[3, :3], skew[:3, 3] = -0.001, 0.001
    found = cg.diagnose(skew_game(skew), cg.Extragradient(2.0))
    assert "its slack" in found.prediction.decided_by
    np.testing.assert_allclose(found.prediction.rate_per_step, np.exp(-2.0 * 0.001), rtol=1e-9)
    np.testing.assert_allclose(np.log(found.fit.rate), -2.0 * 0.001, rtol=0.02)


@pytest.mark.parametrize(
    ("rule", "verdict", "outcome"),
    [
        (cg.MWU(1.0), "rotates out", "boundary"),
        (cg.MirrorDescent(1.0, 0.1), "contracts", "other fixed point"),
        (cg.MirrorDescent(4.5, 0.1), "rotates out", "cycle"),
        (cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20), "contracts", "Nash"),
        (cg.COMAL(cg.MirrorDescent(1.0, 0.1), 4), "rotates out", "boundary"),
        (cg.OptimisticMWU(1.0), "contracts", "Nash"),
        (cg.OptimisticMWU(2.8), "rotates out", "cycle"),
    ],
    ids=repr,
)
def test_verdicts_and_outcomes(rule, verdict, outcome):
    found = cg.diagnose(CYCLE, rule, init=COMAL_START)
    assert (found.verdict, found.outcome) == (verdict, outcome)
    page = repr(found)
    assert verdict in page
    assert f"ends            {outcome}" in page
    assert max(map(len, page.splitlines())) <= 120


def test_a_gap_that_is_small_on_the_way_is_not_taken_for_nash():
    """On the near-degenerate cycle optimistic weights pass near Nash and come back."""
    found = cg.diagnose(
        cg.games.cycle(1e-3, 0.5, 0.5), cg.OptimisticMWU(1.0), init=[0.6, 0.3, 0.1], num_steps=300
    )
    assert found.gaps.min() < 0.01
    assert found.outcome != "Nash"


@pytest.mark.parametrize("num_steps", [4, 5, 9, 13])
@pytest.mark.parametrize("rule", [cg.MWU(1.0), cg.MirrorDescent(1.0, 0.1)], ids=repr)
def test_a_few_steps_decide_nothing(rule, num_steps):
    assert cg.diagnose(CYCLE, rule, init=COMAL_START, num_steps=num_steps).outcome == "undecided"


def test_a_run_within_a_round_decides_nothing():
    """The inner problem is solved in the first step, and the reference moves after the run only."""
    rule = cg.COMAL(cg.ExactProx(0.1), 1000)
    assert cg.diagnose(CYCLE, rule, init=COMAL_START, num_steps=900).outcome == "undecided"
    assert cg.diagnose(CYCLE, rule, init=COMAL_START).outcome == "Nash"


@pytest.mark.parametrize("num_steps", [400, 1000, 2000])
@pytest.mark.parametrize(
    "rule", [cg.OptimisticMWU(0.01), cg.OptimisticMWU(0.1), cg.Extragradient(0.1), cg.MWU(1e-9)], ids=repr
)
def test_a_slow_run_is_undecided(rule, num_steps):
    """The first three reach Nash from everywhere, and the last one the boundary, after more steps."""
    found = cg.diagnose(CYCLE, rule, init=COMAL_START, num_steps=num_steps)
    assert found.outcome == "undecided"


def test_a_spiral_is_no_cycle_in_spite_of_its_turns():
    """The factor of the last quarter is 0.9, within 1.25 of 1, and the policy has made more than one turn."""
    rule = cg.Extragradient(0.1)
    found = cg.diagnose(CYCLE, rule, init=COMAL_START, num_steps=2000)
    assert found.evidence.path > 2 * found.evidence.spread
    assert found.prediction.rate_per_step**500 > 1 / 1.25
    assert found.outcome == "undecided"
    assert cg.diagnose(CYCLE, rule, init=COMAL_START, num_steps=200_000).outcome == "Nash"


def test_without_a_prediction_a_spiral_is_told_by_its_fall():
    """A circle of modulus 0.9996^t with a turn in 30 steps: the last quarters fall by 4%, both alike."""
    quarter = 100
    shrinks = 0.9996**quarter

    def code(shrinks):
        before = cg.diagnostics.Evidence(
            gap=0.3 * shrinks, gap_before=0.3, spread=0.2 * shrinks, spread_before=0.2, lowest=-2.0,
            distance=np.nan, path=1.5, num_steps=quarter, period=1, rate=np.nan,
        )  # fmt: skip
        return int(cg.diagnostics.outcome_codes(before, 0.5))

    assert code(1.0) == cg.diagnostics.OUTCOMES.index("cycle")
    assert code(shrinks) == code(1 / shrinks) == cg.diagnostics.OUTCOMES.index("undecided")


def test_self_tuning_comal():
    found = cg.diagnose(CYCLE, cg.COMAL(cg.MirrorDescent(1.0, 0.1)), init=COMAL_START)
    assert found.outcome == "Nash"
    assert found.prediction.round_steps is None
    np.testing.assert_allclose(found.prediction.radius, 0.1 / np.hypot(0.1, COMAL_FREQUENCY), rtol=1e-9)
    page = repr(found)
    assert "no period to choose" in page
    # Its inner rule converges below its own limit, at Nash.
    limit = 2 * 0.1 / (0.1**2 + COMAL_FREQUENCY**2)
    np.testing.assert_allclose(found.prediction.steps.high, limit, rtol=1e-9)
    with pytest.raises(ValueError, match="must be a COMAL with a period"):
        cg.diagnostics.spectrum(CYCLE, cg.COMAL(cg.MirrorDescent(1.0, 0.1)), np.log(COMAL_NASH))


# Other games ------------------------------------------------------------------------------------------------


def test_along_a_set_of_nash_policies_nothing_pulls():
    which = [0, 1, 2, 2]
    game = skew_game(RPS[np.ix_(which, which)])
    found = cg.diagnose(game, cg.Extragradient(2.0), init=[0.4, 0.3, 0.2, 0.1])
    assert found.prediction.point.dimension == 1
    assert found.verdict == "contracts"
    assert "not unique" in repr(found)
    a = 2.0 * 0.5 / np.sqrt(3)
    np.testing.assert_allclose(found.prediction.radius, abs(1 + 1j * a - a**2), rtol=1e-9)
    assert found.outcome == "Nash"
    np.testing.assert_allclose(np.log(found.fit.rate), np.log(found.prediction.radius), rtol=0.02)


def two_triangles():
    """Two triangles around the origin, radii 0.2 and 1. The outer one alone is rock-paper-scissors."""
    angles = np.arange(3) * 2 * np.pi / 3
    return cg.games.disc(
        [
            [r * np.cos(a + turn), r * np.sin(a + turn)]
            for r, turn in ((0.2, 0.0), (1.0, np.pi / 3))
            for a in angles
        ]
    )


# Frequency of rock-paper-scissors, the largest of the set: the square of a member's frequency is the
# determinant of sum_i p_i x_i x_i^T in the scale of the payoffs, at most that of points of the outer radius
# in all directions. The policy that `nash` selects has about half of it.
OUTER = 0.5 / np.sqrt(3)
NEAR_OUTER = [0.001] * 3 + [0.3323] * 2 + [0.3324]


@pytest.mark.parametrize(("step_size", "verdict"), [(3.4, "contracts"), (3.6, "depends"), (6.0, "depends")])
def test_a_verdict_on_a_set_speaks_of_its_members(step_size, verdict):
    """Extragradient multiplies by 1 + i a - a^2 with a = step_size * frequency, and contracts for a < 1."""
    found = cg.diagnose(two_triangles(), cg.Extragradient(step_size), init=NEAR_OUTER, num_steps=2000)
    assert found.prediction.point.dimension == 3
    assert found.verdict == verdict
    assert (found.outcome == "Nash") == (verdict == "contracts")
    assert found.prediction.radius < 1
    if verdict == "depends":
        a = step_size * OUTER
        np.testing.assert_allclose(found.prediction.members[1], abs(1 + 1j * a - a**2), rtol=5e-3)
    assert found.prediction.members[0] <= found.prediction.radius <= found.prediction.members[1]
    page = " ".join(repr(found).split())
    assert "that of the policy shown" in page
    assert "no bound over all members" in page


@pytest.mark.parametrize(
    "rule",
    [cg.COMAL(cg.MirrorDescent(3.0, 0.1), 20), cg.COMAL(cg.MirrorDescent(3.0, 0.1)), cg.MMD(3.0, 0.1)],
    ids=repr,
)
def test_members_of_a_set_for_other_rules(rule):
    found = at_once(rule, two_triangles()).prediction
    low, high = found.members
    assert low <= found.radius <= high
    assert (low < high) == (found.point.kind == "nash")


@pytest.mark.parametrize("rule", [cg.Extragradient(2.0), cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)], ids=repr)
def test_an_action_that_ties_at_an_end_of_the_set_does_not_change_the_verdict(rule):
    """The last action earns 0 against one end of the set, and less than 0 against all other members."""
    skew = np.zeros((5, 5))
    skew[:4, :4] = RPS[np.ix_([0, 1, 2, 2], [0, 1, 2, 2])]
    skew[4, :4] = 0.1, -0.2, 0.1, -0.3
    skew[:4, 4] = -skew[4, :4]
    found = cg.diagnose(skew_game(skew), rule, num_steps=400).prediction
    assert found.point.support.tolist() == [True] * 4 + [False]
    assert found.verdict == "contracts"
    assert found.members[1] <= 1.0


def test_members_of_a_nash_set_are_nash_and_far_apart():
    for game in (two_triangles(), skew_game(RPS[np.ix_([0, 1, 2, 2, 2], [0, 1, 2, 2, 2])])):
        solution = cg.nash(game)
        members = nash_members(game, solution.policy, solution.support)
        np.testing.assert_allclose(members.sum(-1), 1.0, rtol=1e-12)
        assert np.all(members[:, solution.support] > 0)
        assert np.max(members @ np.asarray(game.skew).T) < 1e-12
        assert np.linalg.matrix_rank(members - solution.policy, tol=1e-6) == solution.dimension


def test_games_of_one_and_two_actions_and_ties():
    one = cg.diagnose(cg.PreferenceGame([[0.5]]), cg.MWU(1.0))
    assert one.outcome == "Nash"
    assert "of 1 actions" in repr(one) or "1 action" in repr(one)
    two = cg.diagnose(cg.PreferenceGame([[0.5, 0.7], [0.3, 0.5]]), cg.MWU(1.0))
    # The worse action loses 0.2 against the better one.
    np.testing.assert_allclose(two.prediction.radius, np.exp(-0.2), rtol=1e-9)
    assert (two.verdict, two.outcome) == ("contracts", "Nash")
    np.testing.assert_allclose(two.fit.rate, np.exp(-0.2), rtol=1e-3)
    ties = cg.diagnose(skew_game(np.zeros((3, 3))), cg.MWU(1.0))
    assert (ties.verdict, ties.outcome) == ("neutral", "Nash")


def test_a_pure_nash_policy():
    game = cg.games.bradley_terry([0.0, 1.0, 3.0])
    found = cg.diagnose(game, cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20))
    assert found.prediction.frequencies.size == 0
    assert (found.verdict, found.outcome) == ("contracts", "Nash")
    np.testing.assert_allclose(np.log(found.fit.rate), np.log(found.prediction.rate_per_step), rtol=0.02)


def test_it_is_in_float64_whatever_the_game():
    with jax.enable_x64(False):
        game = cg.games.cycle(0.1, 0.2, 0.3)
        assert game.dtype == np.float32
        found = cg.diagnose(game, cg.OptimisticMWU(1.0))
    assert found.gaps.min() < 1e-14
    assert found.outcome == "Nash"


# Wrong inputs -----------------------------------------------------------------------------------------------


class Drawing(cg.AbstractUpdateRule):
    """It draws something."""

    def form(self, step):
        return cg.Form(is_random=True)

    def propose(self, key, state, feedback):
        return state.logp + jax.random.normal(key, state.logp.shape), state


LEARNER = cg.Parametric(cg.MWU(1.0), cg.Tabular(), None, optax.sgd(0.5), 2, cg.objectives.Regression())


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("game", "rule", "settings", "words"),
    [
        (np.eye(3), cg.MWU(1.0), {}, "`game` must be a PreferenceGame.*PreferenceGame\\(matrix\\)"),
        (random_game(3, 0, (2,)), cg.MWU(1.0), {}, "`game` must have no prompts"),
        (cg.ZeroSumGame(RPS), cg.MWU(1.0), {}, "`game` must be a PreferenceGame"),
        (CYCLE, "MWU", {}, "`rule` must be an update rule"),
        (CYCLE, LEARNER, {}, "diagnose the rule inside it"),
        (CYCLE, Drawing(), {}, "must not draw random numbers"),
        (CYCLE, cg.MWU(1.0), {"init": [0.5, 0.5]}, "`init`"),
        (CYCLE, cg.MWU(1.0), {"init": random_policy(2, 3)}, "`init` must be one policy"),
        (CYCLE, cg.MWU(1.0), {"num_steps": 0}, "`num_steps` must be"),
    ],
)
def test_wrong_inputs_are_named(game, rule, settings, words):
    with pytest.raises(ValueError, match=words):
        cg.diagnose(game, rule, **settings)


@pytest.mark.usefixtures("as_users_have_it")
def test_it_is_drawn():
    for rule in (cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20), cg.MWU(1.0)):
        left, right = cg.plot_diagnosis(cg.diagnose(CYCLE, rule, init=COMAL_START))
        assert left.get_xlabel() == "real part"
        assert right.get_yscale() == "log"
    with pytest.raises(ValueError, match="a result of `diagnose`"):
        cg.plot_diagnosis("diagnosis")


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-9])
def test_rules_whose_map_is_not_finite_have_a_diagnosis(size):
    """Newton's method ends where a map is not finite, and a mode near a vertex may have no length."""
    game = cg.PreferenceGame.from_skew(size * np.array([[0, 1, 1], [-1, 0, 1], [-1, -1, 0]]) / 2)
    for beta, damping in itertools.product((1e-8, 1e-4, 1e4, 1e8), (1e-8, 1e-4, 0.5, 1.0)):
        found = cg.diagnose(game, cg.OnlineDPO(beta, damping), num_steps=8)
        assert found.verdict in ("contracts", "rotates out", "neutral", "unknown")
        if found.prediction.point is not None:
            assert np.all(np.isfinite(found.prediction.point.policy))


@pytest.mark.parametrize(
    "rule",
    [
        cg.RegularizedMirrorDescent(1e200, 1e8, cg.regularizers.chi_squared, cg.mirrors.euclidean),
        cg.COMAL(cg.NashMDPG(1e8, 1e-8), 150),
        cg.COMAL(cg.MirrorDescent(1e8, 1e-8), 20),
        cg.COMAL(cg.Extragradient(1e8, 1e-8), 10),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_rules_with_absurd_numbers_do_not_contract(rule):
    """Their maps grow beyond floating point, or the run does."""
    assert cg.diagnose(CYCLE, rule, num_steps=8).verdict in ("rotates out", "unknown")
