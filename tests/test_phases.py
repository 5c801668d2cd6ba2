"""Phase diagrams: how runs end over two of a rule's numbers, against the closed forms of stability."""

import numpy as np
import pytest
from helpers import COMAL_FREQUENCY, COMAL_START, random_game

import comalgames as cg

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
WORDS = ["Nash", "other fixed point", "cycle", "boundary", "undecided"]


def outcomes(dataset):
    return np.array(WORDS)[dataset["outcome"].values]


@pytest.fixture(scope="module")
def comal():
    """COMAL around mirror descent, temperature 0.1."""
    return cg.phase_diagram(
        CYCLE,
        lambda step_size, period: cg.COMAL(cg.MirrorDescent(step_size, 0.1), period),
        x={"step_size": np.geomspace(0.2, 5.0, 12)},
        y={"period": np.arange(1, 25)},
        init=COMAL_START,
    )


@pytest.fixture(scope="module")
def mirror_descent():
    return cg.phase_diagram(
        CYCLE,
        cg.MirrorDescent,
        x={"step_size": np.geomspace(0.5, 9.0, 14)},
        y={"temperature": [0.03, 0.1, 0.25]},
        init=COMAL_START,
        num_steps=8000,
    )


def test_theory_of_comal_is_the_closed_form(comal):
    """|g + lambda^K (1 - g)| with g = tau / (tau - i w), lambda = 1 - s tau + i s w."""
    s, periods = comal["step_size"].values, comal["period"].values[:, None]
    g = 0.1 / (0.1 - 1j * COMAL_FREQUENCY)
    closed = np.abs(g + (1 - 0.1 * s + 1j * s * COMAL_FREQUENCY) ** periods * (1 - g))
    np.testing.assert_allclose(comal["radius"].values, closed, rtol=1e-9)
    np.testing.assert_allclose(comal["predicted_rate"].values, closed ** (1 / periods), rtol=1e-9)


def test_comals_runs_end_where_theory_says(comal):
    ends, radius = outcomes(comal), comal["radius"].values
    assert np.all(ends[radius < 0.95] == "Nash")
    assert set(ends[radius > 1.01]) <= {"cycle", "boundary"}
    assert np.sum(radius < 0.95) > 50
    assert np.sum(radius > 1.01) > 50
    assert comal["final_gap"].values[radius < 0.95].max() < 1e-6


def test_comals_rates_are_the_predicted_ones(comal):
    measured, predicted = comal["rate"].values, comal["predicted_rate"].values
    known = np.isfinite(measured) & (comal["radius"].values < 0.9)
    assert known.sum() > 40
    errors = np.abs(np.log(measured[known]) / np.log(predicted[known]) - 1)
    assert np.median(errors) < 0.02
    assert errors.max() < 0.1


def test_mirror_descent_stops_at_its_equilibrium_below_the_limit_and_cycles_above(mirror_descent):
    for tau in mirror_descent["temperature"].values:
        rows = mirror_descent.sel(temperature=tau)
        logp = cg.qre(CYCLE, float(tau), COMAL_START).logp
        (w,) = cg.diagnostics.rotation_frequencies(CYCLE, logp)
        steps = rows["step_size"].values
        np.testing.assert_allclose(rows["radius"].values, np.abs(1 - steps * tau + 1j * steps * w), rtol=1e-8)
        limit = 2 * tau / (tau**2 + w**2)
        ends = outcomes(rows)
        assert set(ends[steps > 1.05 * limit]) <= {"cycle", "boundary"}
        calm = (steps < 0.95 * limit) & (rows["radius"].values < 0.995)
        assert np.all(ends[calm] == "other fixed point")
        gap = 2 * np.max(np.asarray(CYCLE.skew) @ np.exp(logp))
        np.testing.assert_allclose(rows["final_gap"].values[calm], gap, rtol=1e-5)


def test_each_cell_is_the_run_that_solve_makes(mirror_descent):
    """The last policy's gap, without the grid."""
    for k, tau in ((3, 0.1), (12, 0.03)):
        step = float(mirror_descent["step_size"].values[k])
        alone = cg.solve(CYCLE, cg.MirrorDescent(step, tau), 8000, init=COMAL_START, metrics=["policy"])
        found = float(mirror_descent["final_gap"].sel(temperature=tau)[k])
        if alone.history["duality_gap"][-2000:].std() < 1e-12:
            np.testing.assert_allclose(found, alone.duality_gap, rtol=1e-9)
        else:  # a cycle may be met at another place: rounding grows
            assert alone.history["duality_gap"][-2000:].min() <= found + 1e-12
            assert found <= alone.history["duality_gap"][-2000:].max() + 1e-12


def test_rules_without_a_reference_and_other_numbers():
    found = cg.phase_diagram(
        CYCLE,
        lambda step_size, temperature: cg.Extragradient(step_size, temperature),
        x={"step_size": [1.0, 4.0, 5.2]},
        y={"temperature": [0.0, 0.1]},
        init=COMAL_START,
        num_steps=3000,
    )
    a = found["step_size"].values * COMAL_FREQUENCY
    np.testing.assert_allclose(found["radius"].values[0], np.abs(1 + 1j * a - a**2), rtol=1e-9)
    assert outcomes(found)[0].tolist() == ["Nash", "Nash", outcomes(found)[0][2]]
    assert outcomes(found)[0][2] in ("cycle", "boundary")
    assert outcomes(found)[1][0] == "other fixed point"


def test_a_game_whose_nash_policy_leaves_actions_out():
    """Mass off the support decays by exp(-slack / tau) a round of exact COMAL."""
    game = random_game(10, 3)
    found = cg.phase_diagram(
        game,
        lambda temperature, period: cg.COMAL(cg.ExactProx(temperature), period),
        x={"temperature": [0.05, 0.3]},
        y={"period": [1, 2]},
        num_steps=400,
    )
    solution = cg.nash(game)
    w = cg.diagnostics.rotation_frequencies(game, solution.logp)
    for k, tau in enumerate((0.05, 0.3)):
        on = tau / np.sqrt(tau**2 + w.min() ** 2)
        off = np.exp(-solution.slack[~solution.support].min() / tau)
        np.testing.assert_allclose(found["radius"].values[:, k], max(on, off), rtol=1e-6)


def test_the_whole_grid_is_one_compilation():
    traced = []

    class Traced(cg.AbstractUpdateRule):
        step_size: float
        temperature: float

        def propose(self, key, state, feedback):
            traced.append(1)
            return state.logp + self.step_size * feedback.advantage(key, state.logp), state

    def run(values):
        return cg.phase_diagram(
            CYCLE, Traced, x={"step_size": values}, y={"temperature": [0.1, 0.2]}, num_steps=50
        )

    run([0.1, 0.2, 0.3])
    once = len(traced)
    run([0.4, 0.5, 0.6])
    assert len(traced) - once < once  # the errors of plain numbers are told by a first look at each rule
    assert once < 40


def test_self_tuning_comal_has_no_line_of_theory_and_ends_at_nash():
    found = cg.phase_diagram(
        CYCLE,
        lambda step_size, relative_error: cg.COMAL(
            cg.MirrorDescent(step_size, 0.1), when=cg.Near(relative_error)
        ),
        x={"step_size": [0.5, 1.0, 3.0]},
        y={"relative_error": [0.1, 0.5]},
        init=COMAL_START,
    )
    assert np.all(np.isnan(found["radius"].values))
    assert np.all(outcomes(found) == "Nash")


def test_contracting_runs_are_undecided_until_they_arrive():
    """MMD converges for all of these step sizes; the slowest of them move by rounding error only."""
    rows = {
        num_steps: cg.phase_diagram(
            CYCLE,
            cg.MMD,
            x={"step_size": np.geomspace(1e-9, 1.0, 28)},
            y={"temperature": [0.1, 0.15]},
            init=COMAL_START,
            num_steps=num_steps,
        )
        for num_steps in (4, 5, 12, 2000)
    }
    for num_steps, found in rows.items():
        assert np.all(found["radius"].values < 1)
        arrives = found["predicted_rate"].values ** (0.7 * num_steps) < 1e-8
        ends = outcomes(found)
        assert np.all(ends[arrives] == "other fixed point")
        assert np.all(ends[found["predicted_rate"].values ** num_steps > 1e-4] == "undecided")
    assert arrives.sum() > 5


STEPS = {"step_size": [0.1, 1.0]}


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": {"step": [0.1]}}, "step_size"),
        ({"x": {"step_size": 0.1}}, "`x` must have a list"),
        ({"x": {"step_size": [0.1, np.nan]}}, "finite numbers for 'step_size'"),
        ({"x": {"step_size": [0.1], "temperature": [0.1]}}, "`x` must name one number"),
        ({"y": STEPS}, "`y` must be another number"),
        ({"make_rule": cg.MWU(0.1)}, "`make_rule` must be a function"),
        ({"make_rule": lambda step_size, temperature: "MWU"}, "`rule` must be an update rule"),
        ({"game": random_game(3, 0, (2,))}, "`game` must have no prompts"),
        ({"game": np.eye(3)}, "`game` must be a PreferenceGame"),
        ({"x": {"step_size": [-1.0, 0.1]}}, "`step_size` must be"),
        ({"num_steps": 0}, "`num_steps` must be"),
    ],
)
def test_wrong_inputs_are_named(changes, words):
    arguments = {
        "game": CYCLE,
        "make_rule": cg.MirrorDescent,
        "x": STEPS,
        "y": {"temperature": [0.1]},
        "num_steps": 100,
    }
    arguments |= changes
    with pytest.raises(ValueError, match=words):
        cg.phase_diagram(arguments.pop("game"), arguments.pop("make_rule"), **arguments)


def test_the_diagram_is_drawn_with_its_line(comal):
    axes = cg.plot_phase(comal)
    legends = [ax.get_legend() for ax in axes]
    labels = [text.get_text() for legend in legends if legend for text in legend.texts]
    assert "Nash" in labels
    assert any("theory" in label for label in labels)
    with pytest.raises(ValueError, match="phase_diagram"):
        cg.plot_phase({"outcome": 1})
