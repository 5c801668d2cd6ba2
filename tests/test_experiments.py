"""Claims are decided by numbers; a saved run is complete or absent, and comes back unchanged."""

import csv
import dataclasses
import io
import json
import math
import os
import signal
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import comalgames as cg
from comalgames.experiments import (
    Bound,
    Claim,
    DamagedRun,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Paper,
    Reading,
    Silent,
    Statement,
    Verdict,
    at_least,
    at_most,
    between,
    check_claims,
    finished_run,
    load_run,
    page as pages,
    progress as progresses,
    reads,
    report,
    run_experiments,
    save_run,
    store,
)
from comalgames.experiments.spec import AbstractExperiment, plain


def cycle_games():
    return {"cycle": cg.games.comal_cycle(), "biased": cg.games.rock_paper_scissors(3, 1, 1)}


def odd_numbers():
    """One of every kind of array that experiments hold, and the floats that text would lose."""
    floats = np.array([0.1, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1 / 3])
    return xr.Dataset(
        {
            "float64": ("place", floats),
            "float32": (("row", "column"), np.float32([[0.1, 2], [3, np.nan]])),
            "integer": ("place", np.arange(7)),
            "yes": ("place", np.arange(7) % 2 == 0),
            "text": ("row", np.array(["", "ünï<code>"])),
            "number": ((), 2.5),
        },
        {"place": [f"p{k}" for k in range(7)], "weight": ("row", [0.25, 0.75])},
        attrs={"reward_pick": 27, "share": 0.1, "note": "a, b"},
    )


SMALL = Experiment(
    "small sweep",
    "Does it run?",
    cycle_games,
    {"MWU": cg.MWU(1.0), "extragradient": cg.Extragradient(1.0)},
    {"num_queries": 7, "num_seeds": 2, "record_every": 2, "metrics": ["policy", "entropy"]},
)
ODD = Measurement("odd numbers", "Do all kinds of numbers survive?", odd_numbers, is_quick=False)


AT_MOST_ONE = at_most(1.0)
SENTENCE = "A half is at most one."


def half(data):
    return 0.5


def claim(id="C1", measure=half, bound=AT_MOST_ONE, needs=("odd numbers",)):
    reading = Reading(measure, needs, measure.__name__)
    return Claim(id=id, quantity="a half", source="arithmetic", reading=reading, bound=bound)


def paper(*claims, figures=(), experiments=(SMALL, ODD), name="tiny"):
    statements = (Statement(SENTENCE, *claims),) if claims else ()
    return Paper(name, "A tiny paper", "nobody, 1900", experiments, statements, figures)


# Bounds, claims and papers
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "inside", "outside", "text"),
    [
        (at_most(1e-11), [1e-11, 0, -3, -math.inf], [1.1e-11, math.inf], "<= 1e-11"),
        (at_least(0.1), [0.1, 7, math.inf], [0.0999, -math.inf], ">= 0.1"),
        (between(0.05, 0.07), [0.05, 0.06, 0.07], [0.0499, 0.0701], "in [0.05, 0.07]"),
        (between(27, 27), [27], [26.999, 28], "= 27"),
        (Bound(), [-math.inf, 0, math.inf], [], "<= inf"),
    ],
)
def test_a_bound_includes_its_ends_and_never_nan(bound, inside, outside, text):
    assert [bound.holds(number) for number in inside] == [True] * len(inside)
    assert not any(bound.holds(number) for number in (*outside, math.nan))
    assert str(bound) == text


def test_claims_pass_fail_or_are_not_run():
    claims = (
        claim("inside"),
        claim("outside", bound=at_least(0.6)),
        claim("nan", measure=lambda data: math.nan),
        claim("elsewhere", needs=("odd numbers", "small sweep")),
        claim("needs nothing", needs=()),
        claim("reads", measure=lambda data: data["odd numbers"].attrs["share"], bound=between(0.1, 0.1)),
    )
    verdicts = check_claims(paper(*claims), {"odd numbers": odd_numbers()})
    assert {verdict.claim.id: verdict.status for verdict in verdicts} == {
        "inside": "passed",
        "outside": "failed",
        "nan": "failed",
        "elsewhere": "not run",
        "needs nothing": "passed",
        "reads": "passed",
    }
    assert [math.isnan(verdict.measured) for verdict in verdicts] == [False, False, True, True, False, False]


def test_claims_are_measured_in_float64():
    is_double = claim(measure=lambda data: float(jnp.zeros(1).dtype == jnp.float64), bound=at_least(1))
    with jax.enable_x64(False):
        (verdict,) = check_claims(paper(is_double), {"odd numbers": None})
    assert verdict.status == "passed"


# Statements and readings
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fragment",
    [
        "and it falls.",
        "which is not Nash.",
        "It falls.",
        "It falls in every single step",
        "",
        "so it does and holds.",
    ],
)
def test_a_fragment_is_no_statement(fragment):
    with pytest.raises(ValueError, match="`sentence` must be read alone"):
        Statement(fragment, claim())


def test_a_statement_needs_a_claim_and_every_row_of_it_carries_the_sentence():
    with pytest.raises(ValueError, match=r"`claims` of .* are missing"):
        Statement(SENTENCE)
    both = paper(claim("one"), claim("two"))
    rows = store.claims_as_json(check_claims(both, {"odd numbers": None}))
    assert [(row["id"], row["sentence"]) for row in rows] == [("one", SENTENCE), ("two", SENTENCE)]


def test_a_claim_takes_keywords_only():
    with pytest.raises(TypeError):
        Claim("C1", "a half", "arithmetic", Reading(half, ()), AT_MOST_ONE)


@reads("always")
def scaled(data, experiment: str, factor: float = 2.0) -> float:
    """Twice a number."""
    return factor * data[experiment]


def test_a_reading_carries_its_needs_and_the_call_that_made_it():
    reading = scaled("small sweep", factor=3.0)
    assert reading.needs == ("always", "small sweep")
    assert reading({"small sweep": 2.0}) == 6.0
    assert reading.text == f"{__name__}.scaled(experiment='small sweep', factor=3.0)"
    assert scaled("small sweep").text.endswith("factor=2.0)"), "defaults are part of the call"
    assert scaled.__doc__ == "Twice a number."
    with pytest.raises(TypeError):
        scaled()


def test_a_need_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'small sweep'"):
        paper(claim(needs=("smal sweep",)))
    figure = Figure("curves", "Curves.", (Panel("gap", "odd nombers"),))
    with pytest.raises(ValueError, match="Did you mean 'odd numbers'"):
        paper(figures=(figure,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiments": (SMALL, SMALL)}, "two of 'small sweep'"),
        ({"statements": (Statement(SENTENCE, claim("A")), Statement(SENTENCE, claim("A")))}, "two of 'A'"),
        ({"figures": (Figure("f", "F.", ()), Figure("f", "G.", ()))}, "two of 'f'"),
        ({"experiments": (dataclasses.replace(ODD, name="odd/numbers"),), "statements": ()}, "slash"),
        ({"figures": (Figure("../f", "F.", ()),)}, "names files"),
        ({"name": "../elsewhere"}, "names files"),
        ({"name": ""}, "names files"),
    ],
)
def test_names_that_would_overwrite_or_leave_the_run_folder_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(paper(claim()), **changes)


def test_both_kinds_of_experiment_are_experiments():
    assert isinstance(SMALL, AbstractExperiment)
    assert isinstance(ODD, AbstractExperiment)
    assert not isinstance(claim(), AbstractExperiment)


# The spec
# ------------------------------------------------------------------------------------------


def test_the_spec_is_json_and_names_everything_that_decides_a_number():
    spec = json.loads(json.dumps(paper(claim()).spec(), allow_nan=False))
    small, odd = spec["experiments"]
    assert small["algorithms"] == {name: repr(rule) for name, rule in SMALL.algorithms.items()}
    assert small["settings"] == {**SMALL.settings}
    assert small["games"].endswith("cycle_games")
    assert odd["measure"].endswith("odd_numbers")
    (row,) = spec["claims"]
    assert row == {"id": "C1", "sentence": SENTENCE, "quantity": "a half", "reading": "half", "bound": "<= 1"}


def numbers(first, *, scale):
    return xr.Dataset({"x": ("n", scale * np.arange(first))})


def made_games(num_games, weights):
    return {f"game {k}": cg.games.comal_cycle() for k in range(num_games)}


def test_a_measurement_is_called_with_the_settings_that_the_spec_records():
    measurement = Measurement("m", "How many?", numbers, {"first": 3, "scale": 0.5})
    np.testing.assert_array_equal(measurement.run()["x"].values, [0, 0.5, 1])
    assert measurement.spec()["settings"] == {"first": 3, "scale": 0.5}


def test_partial_functions_in_the_spec_show_their_numbers():
    settings = {"games": partial(made_games, 3, weights=(1.5, "w")), "rule": cg.MWU(0.25)}
    assert plain(settings) == {
        "games": f"{__name__}.made_games(3, weights=[1.5, 'w'])",
        "rule": "MWU(step_size=0.25)",
    }
    assert plain(partial(made_games, cg.MWU(0.25))) == f"{__name__}.made_games(MWU(step_size=0.25))"
    assert plain({"a": np.array([1.0, 2.5]), "b": np.int64(3), "c": (1, None)}) == {
        "a": [1.0, 2.5],
        "b": 3,
        "c": [1, None],
    }


def test_a_partial_among_the_algorithms_makes_the_rule():
    made = dataclasses.replace(SMALL, algorithms={"MWU": partial(cg.MWU, 1.0)})
    assert made.spec()["algorithms"]["MWU"].endswith("MWU(1.0)")
    whole = dataclasses.replace(SMALL, algorithms={"MWU": cg.MWU(1.0)})
    assert made.run()["duality_gap"].equals(whole.run()["duality_gap"])


def test_the_spec_hash_changes_with_a_setting_and_only_then():
    plain = paper(claim())
    assert plain.spec_hash() == plain.spec_hash() == paper(claim()).spec_hash()
    changed = [
        dataclasses.replace(SMALL, settings={**SMALL.settings, "num_queries": 8}),
        dataclasses.replace(SMALL, settings={**SMALL.settings, "init": (0.2, 0.5, 0.3)}),
        dataclasses.replace(SMALL, algorithms={**SMALL.algorithms, "MWU": cg.MWU(1.5)}),
        dataclasses.replace(SMALL, games=odd_numbers),
        dataclasses.replace(SMALL, games=partial(made_games, 1, (1.0,))),
        dataclasses.replace(SMALL, games=partial(made_games, 2, (1.0,))),
    ]
    hashes = [paper(claim(), experiments=(experiment, ODD)).spec_hash() for experiment in changed]
    for settings in ({"first": 3}, {"first": 4}, {"first": 3.5}, {"first": (3, 4)}):
        odd = dataclasses.replace(ODD, settings=settings)
        hashes.append(paper(claim(), experiments=(SMALL, odd)).spec_hash())
    hashes += [paper(claim(bound=at_most(2.0))).spec_hash(), plain.spec_hash()]
    hashes.append(paper(claim(measure=scaled)).spec_hash())
    reworded = Statement("A half is less than one.", claim())
    hashes.append(dataclasses.replace(plain, statements=(reworded,)).spec_hash())
    assert len(set(hashes)) == len(hashes)


# Running
# ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    """Results of both experiments, run while x64 is off."""
    with jax.enable_x64(False):
        return run_experiments(paper())[0]


def test_experiments_run_in_float64_whatever_the_setting(data):
    assert list(data) == ["small sweep", "odd numbers"]
    assert data["small sweep"]["duality_gap"].dtype == np.float64
    assert data["small sweep"].sizes["record"] == 5  # steps 0, 2, 4, 6, 7


def test_quick_leaves_out_what_is_not_quick():
    tiny = paper(experiments=(dataclasses.replace(ODD, name="quick", is_quick=True), ODD))
    ticks = iter([10.0, 12.5])
    told = Told()
    data, seconds = run_experiments(tiny, True, told, lambda: next(ticks))
    assert list(data) == ["quick"]
    assert seconds == {"quick": 2.5}
    assert told.heard == [("started", "tiny", "quick"), ("finished", "tiny", "quick", 2.5)]


class Told(Silent):
    """Notes everything that it is told."""

    def __init__(self):
        self.heard = []

    def started(self, paper, experiment):
        self.heard.append(("started", paper, experiment))

    def finished(self, paper, experiment, seconds):
        self.heard.append(("finished", paper, experiment, seconds))


EXPECTED = {("a", "x"): 10.0, ("a", "y"): 30.0, ("b", "x"): 60.0}


def test_the_time_left_is_scaled_by_how_slow_the_finished_experiments_were():
    left = progresses.Remaining(EXPECTED)
    assert (left.total, left.seconds) == (3, 100.0)
    left.finish("a", "x", 2.0)
    assert left.seconds == 90.0, "two seconds say nothing about the machine"
    left.finish("a", "y", 78.0)
    assert left.seconds == pytest.approx(60.0 * 80 / 40)
    left.finish("b", "x", 1.0)
    assert left.seconds == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a few seconds"),
        (11, "about 10 s"),
        (94, "about 90 s"),
        (95, "about 2 min"),
        (600, "about 10 min"),
    ],
)
def test_durations_are_as_rough_as_they_are_known(seconds, words):
    assert progresses.about(seconds) == words


def test_a_log_gets_a_line_before_and_after_each_experiment():
    stream = io.StringIO()
    log = progresses.display(EXPECTED, stream)
    log.started("a", "x")
    log.finished("a", "x", 12.3)
    log.started("a", "y")
    assert stream.getvalue().splitlines() == [
        "running a: x (3 left, about 2 min)",
        "  ran x: 12.3 s",
        "running a: y (2 left, about 2 min)",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_one_line_that_is_drawn_anew():
    terminal = Terminal()
    bar = progresses.Bar(progresses.Remaining(EXPECTED), terminal, disable=False)
    bar.started("a", "x")
    bar.say("text above the bar")
    bar.finished("a", "x", 12.3)
    bar.started("a", "y")
    bar.close()
    shown = terminal.getvalue()
    assert "a: x" in shown
    assert "3 left, about 2 min" in shown
    assert "a: y" in shown
    assert "1/3" in shown
    assert shown.count("\n") <= 2, "only the text above ends a line"
    assert "text above the bar" in shown


@pytest.mark.parametrize("expected", [{}, EXPECTED])
def test_a_terminal_gets_lines_if_there_is_nothing_to_show_or_the_bar_is_switched_off(expected, monkeypatch):
    real = progresses.Bar
    monkeypatch.setattr(progresses, "Bar", lambda *args: real(*args, disable=True))
    assert isinstance(progresses.display(expected, Terminal()), progresses.Log)


# Saving and loading
# ------------------------------------------------------------------------------------------

TINY = paper(claim(), claim("failing", bound=at_least(2.0)), claim("nan", measure=lambda data: math.nan))


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    return save_run(root, TINY, data, check_claims(TINY, data), lambda folder: None)


def save(root, data=None, finish=lambda folder: None):
    data = {"odd numbers": odd_numbers()} if data is None else data
    return save_run(root, TINY, data, check_claims(TINY, data), finish)


def same_bits(one, other):
    """Equal values of one type, nan equal to nan and -0.0 different from 0.0."""
    if one.dtype.kind == "f":
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return one.dtype == other.dtype and np.array_equal(one, other)


def test_a_run_comes_back_bit_by_bit(saved, data):
    spec, loaded, claims = load_run(saved)
    assert spec == {"schema": 2, **json.loads(json.dumps(TINY.spec()))}
    assert set(loaded) == set(data)
    for name, before in data.items():
        after = loaded[name]
        assert set(after.data_vars) == set(before.data_vars)
        assert set(after.coords) == set(before.coords)
        assert after.attrs == before.attrs
        for variable in before.variables:
            assert after[variable].dims == before[variable].dims
            assert same_bits(after[variable].values, before[variable].values), (name, variable)
    assert [(c["id"], c["passed"], c["status"]) for c in claims] == [
        ("C1", True, "passed"),
        ("failing", False, "failed"),
        ("nan", False, "failed"),
    ]
    assert [c["measured"] for c in claims] == [0.5, 0.5, None]


def test_claims_json_says_what_was_claimed_by_whom_and_what_must_hold(saved):
    first = json.loads((saved / "claims.json").read_text())[0]
    assert first == {
        "id": "C1",
        "sentence": SENTENCE,
        "source": "arithmetic",
        "quantity": "a half",
        "measured": 0.5,
        "bound": "<= 1",
        "passed": True,
        "status": "passed",
    }


def test_a_claim_that_was_not_run_is_neither_passed_nor_failed(tmp_path):
    verdicts = [Verdict(SENTENCE, claim(), math.nan, "not run")]
    folder = save_run(tmp_path, TINY, {}, verdicts, lambda folder: None)
    (entry,) = load_run(folder)[2]
    assert (entry["measured"], entry["passed"], entry["status"]) == (None, None, "not run")


def test_metrics_csv_holds_the_last_record_of_every_curve(saved, data):
    sweep = data["small sweep"]
    with (saved / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    curves = ("duality_gap", "average_duality_gap", "best_duality_gap", "entropy")
    keys = {(r["experiment"], r["game"], r["algorithm"], int(r["seed"]), r["metric"]) for r in rows}
    expected = {
        ("small sweep", game, rule, seed, curve)
        for game in ("cycle", "biased")
        for rule in SMALL.algorithms
        for seed in range(2)
        for curve in curves
    }
    assert keys == expected
    assert len(rows) == len(expected)
    for row in rows:
        run = sweep.sel(game=row["game"], algorithm=row["algorithm"], seed=int(row["seed"]))
        # 7 queries are 7 steps or, at two queries a step, 3.
        steps, queries = (3, 6) if row["algorithm"] == "extragradient" else (7, 7)
        assert (int(row["steps"]), int(row["queries"])) == (steps, queries)
        (last,) = np.flatnonzero(run["steps"].values == steps)
        assert float(row["last"]) == run[row["metric"]].values[last]


def test_the_environment_is_recorded(saved):
    environment = json.loads((saved / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["packages"]["comalgames"] == cg.__version__
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))


def test_runs_within_a_second_get_folders_of_their_own(tmp_path):
    folders = {save(tmp_path) for _ in range(3)}
    assert len(folders) == 3
    for folder in folders:
        assert TINY.spec_hash() in folder.name
        assert set(load_run(folder)[1]) == {"odd numbers"}


# Complete or absent
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("no figure"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_finished_leaves_nothing(tmp_path, error):
    def finish(folder):
        (folder / "figures").mkdir()
        (folder / "figures" / "half.png").write_text("half")
        raise error

    with pytest.raises(type(error)):
        save(tmp_path, finish=finish)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / TINY.name).iterdir()) == []


def test_the_folder_appears_only_when_everything_is_in_it(tmp_path):
    seen = []

    def finish(folder):
        seen.extend(path.name for path in (tmp_path / TINY.name).iterdir() if not path.name.startswith("."))
        (folder / "report.html").write_text("done")

    folder = save(tmp_path, finish=finish)
    assert seen == []
    assert (folder / "report.html").read_text() == "done"
    assert list((tmp_path / TINY.name).iterdir()) == [folder]


KILLED = """
import sys, time
from pathlib import Path
import numpy as np, xarray as xr
from comalgames.experiments import Measurement, Paper, save_run

def finish(folder):
    (folder / "report.html").write_text("half")
    print("in the middle", flush=True)
    time.sleep(120)

paper = Paper("tiny", "t", "s", (Measurement("m", "q", lambda: None),), (), ())
save_run(Path(sys.argv[1]), paper, {"m": xr.Dataset({"x": ("n", np.zeros(9))})}, [], finish)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_in_the_middle_leaves_no_folder_that_looks_complete(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "in the middle\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    left = list((tmp_path / "tiny").iterdir())
    assert [path.name for path in left if not path.name.startswith(".unfinished-")] == []
    # What it left does not disturb the next run.
    assert set(load_run(save(tmp_path))[1]) == {"odd numbers"}


# Runs that are there already
# ------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path):
    """A published run of a paper whose experiment takes no time."""
    tiny = paper(claim(), experiments=(dataclasses.replace(ODD, is_quick=True),))
    return tiny, tmp_path, report.publish(tiny, tmp_path, progress=Silent())


def test_a_complete_run_with_the_same_settings_is_found_again(published):
    tiny, root, run = published
    assert finished_run(root, tiny, quick=False) == run.folder
    assert report.saved(tiny, run.folder).claims == run.claims
    assert json.loads((run.folder / "run.json").read_text())["quick"] is False
    assert set(store.saved_seconds(root, "tiny")) == {"odd numbers"}


def test_other_settings_flags_versions_and_damage_are_no_finished_run(published, monkeypatch):
    tiny, root, run = published
    assert finished_run(root, tiny, quick=True) is None
    other = dataclasses.replace(tiny, statements=(Statement(SENTENCE, claim(bound=at_most(0.7))),))
    assert finished_run(root, other, quick=False) is None
    here = store.environment()
    for changed in ({"python": "3.0"}, {"packages": {**here["packages"], "jax": "0.0"}}, {"devices": ["?"]}):
        with monkeypatch.context() as patch:
            patch.setattr(store, "environment", lambda changed=changed: {**here, **changed})
            assert finished_run(root, tiny, quick=False) is None
    (run.folder / "records.npz").write_bytes(b"PK")
    assert finished_run(root, tiny, quick=False) is None
    (run.folder / "environment.json").unlink()
    assert finished_run(root, tiny, quick=False) is None


def test_of_several_runs_the_newest_counts(published):
    tiny, root, run = published
    again = report.publish(tiny, root, progress=Silent())
    assert again.folder != run.folder
    assert finished_run(root, tiny, quick=False) == again.folder
    (again.folder / "claims.json").unlink()
    assert finished_run(root, tiny, quick=False) == run.folder


# The index and the overview
# ------------------------------------------------------------------------------------------


def test_the_index_lists_papers_with_verdicts_figures_and_links(published):
    tiny, root, run = published
    (run.folder / "figures").mkdir(exist_ok=True)
    for name in ("second", "first"):
        (run.folder / "figures" / f"{name}.png").write_bytes(b"")
    other = dataclasses.replace(tiny, name="other", title="Another <paper>")
    path = report.write_index(root, [other])
    text = path.read_text(encoding="utf-8")
    assert path == root / "index.html"
    assert "Another &lt;paper&gt;" in text
    assert "not run yet" in text
    here = run.folder.relative_to(root).as_posix()
    assert f'<a href="{here}/report.html">A tiny paper</a>' in text
    assert f'src="{here}/figures/first.png"' in text, "one figure"
    assert "second.png" not in text
    assert "1 hold" in text
    assert "1 of 1 claims hold." in text
    assert text.index("Another") < text.index("A tiny paper"), "the papers asked for come first"
    assert 'name="viewport"' in text
    assert [each.name for each in root.iterdir() if each.name.startswith(".")] == []


def test_the_index_shows_the_newest_intact_run(published):
    tiny, root, run = published
    again = report.publish(tiny, root, progress=Silent())
    assert again.folder.name in report.write_index(root, [tiny]).read_text()
    (again.folder / "claims.json").write_text("{")
    text = report.write_index(root, [tiny]).read_text()
    assert again.folder.name not in text
    assert run.folder.name in text


def test_the_overview_has_one_line_a_paper_and_a_sum(published):
    _, _, run = published
    failed = {**run.claims[0], "status": "failed", "passed": False}
    lines = report.overview(
        [run._replace(seconds=1.25), run._replace(paper="b", claims=[failed], seconds=0.0)]
    )
    rows = [line.split() for line in lines.splitlines()]
    assert rows[0] == ["paper", "passed", "failed", "not", "run", "seconds", "run", "folder"]
    assert rows[1] == ["tiny", "1", "0", "0", "1.2", str(run.folder)]
    assert rows[2] == ["b", "0", "1", "0", "kept", str(run.folder)]
    assert rows[3] == ["all", "1", "1", "0", "1.2"]


def test_settings_are_shown_in_few_digits_and_long_lists_by_their_ends():
    assert pages.setting([0.1 + 0.2, 3, "a", None, True]) == "0.3, 3, a, null, true"
    assert pages.setting(list(range(100))) == "0, 1, ..., 99 (100 values)"


# Damage
# ------------------------------------------------------------------------------------------


@pytest.fixture
def small_run(tmp_path):
    """A run folder of its own for a test to damage, with few enough bytes to try them all."""
    dataset = xr.Dataset({"x": ("n", np.arange(3.0)), "s": ("n", ["u", "v", "w"])}, attrs={"k": 1.5})
    return save(tmp_path, {"m": dataset}, lambda folder: None)


def test_a_flipped_byte_anywhere_in_the_records_is_noticed_or_harmless(small_run):
    """Harmless: a date, or one of the two copies of what a zip file says about itself."""
    path = small_run / "records.npz"
    whole, before = path.read_bytes(), load_run(small_run)[1]["m"]
    noticed = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0xFF if place % 2 else 0x01
        path.write_bytes(bytes(changed))
        try:
            after = load_run(small_run)[1]
        except DamagedRun:
            noticed += 1
        else:
            assert list(after) == ["m"]
            assert after["m"].identical(before)
    # Data, checksums and the directory are more than half of the bytes.
    assert noticed > len(whole) / 2


def test_truncated_records_are_noticed(small_run):
    path = small_run / "records.npz"
    whole = path.read_bytes()
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedRun, match="damaged"):
            load_run(small_run)


@pytest.mark.parametrize("name", ["claims.json", "records.npz"])
def test_a_missing_file_is_noticed(small_run, name):
    (small_run / name).unlink()
    with pytest.raises(DamagedRun, match=name):
        load_run(small_run)


@pytest.mark.parametrize("name", ["spec.json", "claims.json"])
@pytest.mark.parametrize("text", ["", '{"schema": 1, "pap', "7", "null", "[1, 2", "{}", "\x00\xff"])
def test_json_that_is_cut_short_or_something_else_is_noticed(small_run, name, text):
    (small_run / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedRun):
        load_run(small_run)


def test_a_member_that_is_missing_or_has_another_shape_is_noticed(small_run):
    path = small_run / "records.npz"
    with np.load(path) as archive:
        members = dict(archive)
    for changed in (
        {name: values for name, values in members.items() if name != "m/x"},
        {name: values for name, values in members.items() if name != "m/.layout"},
        {**members, "m/x": np.zeros(4)},
        {**members, "m/.layout": np.array("[1]")},
    ):
        with path.open("wb") as file:
            np.savez(file, **changed)
        with pytest.raises(DamagedRun):
            load_run(small_run)


def test_what_is_no_run_folder_is_said_to_be_none(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match="not a run folder"):
            load_run(path)


# No pickle
# ------------------------------------------------------------------------------------------


class Trap:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_objects_are_not_saved(tmp_path):
    objects = np.empty(2, object)
    objects[:] = ["text", {"a": 1}]
    with pytest.raises(ValueError, match="`m/x` holds Python objects"):
        save(tmp_path, {"m": xr.Dataset({"x": ("n", objects)})})
    assert list((tmp_path / TINY.name).iterdir()) == []


def test_text_in_an_object_array_is_saved_as_text(tmp_path):
    names = np.array(["one", "three"], object)
    folder = save(tmp_path, {"m": xr.Dataset({"x": ("n", names)})})
    np.testing.assert_array_equal(load_run(folder)[1]["m"]["x"].values, ["one", "three"])


def test_a_pickle_in_the_records_is_refused_and_not_run(small_run, tmp_path):
    path, sprung = small_run / "records.npz", tmp_path / "sprung"
    with np.load(path) as archive:
        members = dict(archive)
    members["m/x"] = np.array([Trap(sprung), None, None], object)
    with path.open("wb") as file:
        np.savez(file, **members)
    with pytest.raises(DamagedRun, match="allow_pickle=False"):
        load_run(small_run)
    assert not sprung.exists()
    with np.load(path, allow_pickle=True) as archive:
        archive["m/x"]
    assert sprung.exists(), "the trap itself does not work"


def test_records_are_plain_npz_members_named_after_experiment_and_variable(saved):
    with zipfile.ZipFile(saved / "records.npz") as archive:
        names = set(archive.namelist())
    assert {"small sweep/duality_gap.npy", "small sweep/steps.npy", "odd numbers/yes.npy"} <= names


# Importing
# ------------------------------------------------------------------------------------------

IMPORTS = """
import sys
import jax
before = dict(jax.config.values)
import comalgames
heavy = {"xarray", "pandas", "torch", "nashpy", "nbformat"} & set(sys.modules)
assert not heavy, heavy
import comalgames.papers.comal as comal
assert "xarray" not in sys.modules
assert dict(jax.config.values) == before, "importing changed JAX's settings"
assert not jax.config.jax_enable_x64
assert not jax.live_arrays(), "importing made an array"
print(comal.PAPER.spec_hash())
"""


def test_importing_makes_no_arrays_and_changes_no_settings_and_the_spec_hash_is_the_same_everywhere():
    from comalgames.papers.comal import PAPER

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTS],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == PAPER.spec_hash()
    assert "0x" not in json.dumps(PAPER.spec()), "an address in the spec changes with every process"
