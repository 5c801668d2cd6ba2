"""The command line: what it prints, how it ends, and that no input ends in a traceback."""

import inspect
import json
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
from helpers import COMAL_NASH

import comalgames as cg
from comalgames import cli, equilibria, experiments
from comalgames.algorithms.guarantees import GUARANTEES

MARINER = str(resources.files("comalgames") / "data" / "mariner.toc")
OK, FAILED, BAD_INPUT, DAMAGED, INTERRUPTED = 0, 1, 2, 3, 130

CYCLE_CSV = "a,b,c\n0.5,0.1,0.8\n0.9,0.5,0.1\n0.2,0.9,0.5\n"


@pytest.fixture
def comalgames(capsys):
    """Run a command line; gives its exit code, stdout and stderr."""

    def run(*argv):
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as ended:  # argparse's own way to end
            code = ended.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture
def refused(comalgames):
    """Run a command line that must be refused; gives its message."""

    def run(*argv):
        code, out, err = comalgames(*argv)
        assert code == BAD_INPUT
        assert out == ""
        return err

    return run


def file_with(folder, text, name="rates.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# nash, on the real votes
# ------------------------------------------------------------------------------------------


def test_nash_of_the_mariner_votes_is_trajectory_22(comalgames):
    code, out, err = comalgames("nash", MARINER)
    assert (code, err) == (OK, "")
    lines = out.splitlines()
    assert lines[0].startswith("Nash policy over 32 options (duality gap ")
    assert lines[1].split() == ["Trajectory", "22", "1.000000"]
    assert lines[2] == "It is the only Nash policy."
    assert "Borda) would pick Trajectory 27: the Nash policy beats it 55.0% of the time." in lines[3]
    rates = dict(line.rsplit(maxsplit=1) for line in lines[5:])
    assert len(rates) == 32
    assert max(float(rate.rstrip("%")) for rate in rates.values()) == 50.0
    assert rates["  Trajectory 27"] == "45.00%"


@pytest.fixture(scope="module")
def answers():
    """JSON answers for the mariner votes by what is excluded, as the command line prints them."""
    import contextlib
    import io

    found = {}
    for exclude in ("", "22", "22,25,23,27"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert cli.main(["nash", MARINER, "--exclude", exclude, "--json"]) == OK
        found[exclude] = json.loads(out.getvalue())
    return found


def test_json_says_the_same(answers):
    answer = answers[""]
    assert answer["policy"] == {"Trajectory 22": 1.0}
    assert answer["support"] == ["Trajectory 22"]
    assert answer["unique"] is True
    assert answer["duality_gap"] == 0.0
    assert answer["reward_pick"] == "Trajectory 27"
    assert answer["nash_beats_reward_pick"] == pytest.approx(0.55, abs=1e-15)
    assert len(answer["win_rate_against_nash"]) == 32


def test_a_set_that_rounding_makes_is_said_to_be_one(comalgames, tmp_path):
    """Five points of a disc game: the payoffs are of rank two only up to their rounding."""
    x, y = np.random.default_rng(0).uniform(0.3, 1, 5) * [
        np.cos(angles := 1.2566 * np.arange(5)),
        np.sin(angles),
    ]
    rates = 0.5 + (np.outer(x, y) - np.outer(y, x)) / 2
    file = tmp_path / "disc.csv"
    np.savetxt(file, rates, delimiter=",", fmt="%.17g")
    out = comalgames("nash", file, "--symmetrize")[1]
    assert "dimension 2, up to rounding of the payoffs" in out


def test_without_22_the_nash_policy_is_not_unique(answers, comalgames):
    assert answers["22"]["unique"] is False
    assert "Trajectory 22" not in answers["22"]["win_rate_against_nash"]
    out = comalgames("nash", MARINER, "--exclude", " 22 ")[1]
    assert "It is NOT the only Nash policy" in out


def test_without_the_favourites_the_nash_policy_is_mixed(answers):
    answer = answers["22,25,23,27"]
    assert set(answer["support"]) == {"Trajectory 4", "Trajectory 5", "Trajectory 21"}
    assert set(answer["policy"]) == set(answer["support"])
    assert abs(answer["duality_gap"]) <= 1e-12
    assert answer["unique"] is True
    # From the votes alone: no option beats the printed mixture.
    game = cg.games.from_rankings(MARINER, exclude=("22", "25", "23", "27"))
    policy = np.array([answer["policy"].get(name, 0.0) for name in game.names])
    rates = np.asarray(game.preference) @ policy
    assert rates.max() <= 0.5 + 1e-12
    printed = [answer["win_rate_against_nash"][name] for name in game.names]
    np.testing.assert_allclose(printed, rates, rtol=0, atol=1e-15)


def test_exclude_takes_names_as_well_as_numbers(comalgames, answers):
    code, out, _ = comalgames("nash", MARINER, "--exclude", "Trajectory 22", "--json")
    assert code == OK
    assert json.loads(out) == answers["22"]


def test_an_option_to_exclude_that_is_not_there_is_refused(refused):
    assert "Did you mean" in refused("nash", MARINER, "--exclude", "Trajectory 33")


# nash, on win rates
# ------------------------------------------------------------------------------------------


def test_nash_of_a_csv_of_win_rates(comalgames, tmp_path):
    code, out, err = comalgames("nash", file_with(tmp_path, CYCLE_CSV), "--json")
    assert (code, err) == (OK, "")
    answer = json.loads(out)
    assert list(answer["policy"]) == ["a", "b", "c"]
    np.testing.assert_allclose(list(answer["policy"].values()), COMAL_NASH, rtol=0, atol=1e-14)
    np.testing.assert_allclose(list(answer["win_rate_against_nash"].values()), 0.5, rtol=0, atol=1e-14)
    # Borda: b wins 1.5 / 3, c 1.6 / 3, a 1.4 / 3; c's share against (4, 3, 4)/11 is one half.
    assert answer["reward_pick"] == "c"
    assert answer["nash_beats_reward_pick"] == pytest.approx(0.5, abs=1e-14)


def test_a_nash_policy_that_is_the_rewards_pick_says_so(comalgames, tmp_path):
    _, out, _ = comalgames("nash", file_with(tmp_path, "new,old\n0.5,0.7\n0.3,0.5\n"))
    assert "would pick new: the Nash policy's own pick.\n" in out


def test_win_rates_that_do_not_add_up_need_symmetrize_which_says_what_it_changed(comalgames, tmp_path):
    path = file_with(tmp_path, "0.5,0.8\n0.3,0.5\n")
    code, out, err = comalgames("nash", path)
    assert (code, out) == (BAD_INPUT, "")
    assert "off by 0.1" in err
    code, out, err = comalgames("nash", path, "--symmetrize", "--json")
    assert code == OK
    assert json.loads(out)["win_rate_against_nash"]["1"] == pytest.approx(0.25, abs=1e-15)
    assert "symmetrize=True changed" in err


def test_a_game_without_a_certified_solution_is_a_failed_run(comalgames, tmp_path, monkeypatch):
    real = equilibria.nash
    monkeypatch.setattr(equilibria, "nash", lambda game: real(game)._replace(status="failed", gap=0.123))
    code, out, err = comalgames("nash", file_with(tmp_path, CYCLE_CSV))
    assert (code, out) == (FAILED, "")
    assert "no certified Nash policy" in err
    assert "0.123" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n0.5,0.6\n0.4,zero\n", ["line 3", "'zero'"]),
        ("a,b\n0.5,0.6\n0.4\n", ["line 3", "expected 2 win rates"]),
        ("a,b\n0.5,\n0.4,0.5\n", ["line 2", "a against b is missing"]),
        ("a,b\n\n0.5,1.6\n-0.6,0.5\n", ["line 3", "'1.6'"]),
        ('a,b\n0.5,"0.6\n0.4,0.5\n', ["line 3", "not a CSV"]),
        ("", ["contains no win rates"]),
        ("a,b\n", ["contains no win rates"]),
        (bytes(range(256)), ["not a text file"]),
    ],
)
def test_a_malformed_csv_is_refused_with_its_line(refused, tmp_path, text, words):
    message = refused("nash", file_with(tmp_path, text))
    assert message.startswith("comalgames: rates.csv")
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1: 1,2,3\n2: 1,2\n", "line 2"),
        ("# a comment\nnonsense\n", "line 2"),
        ("1: 1,{2,3\n", "line 1"),
        ("", "contains no rankings"),
        (b"1: \xff\xfe", "not a text file"),
    ],
)
def test_malformed_rankings_are_refused_with_their_line(refused, tmp_path, text, word):
    assert word in refused("nash", file_with(tmp_path, text, "votes.toc"))


def test_what_is_not_a_file_is_refused(refused, tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path / "missing.toc", tmp_path, tmp_path / "a" / "b.csv"):
        assert f"there is no file {path}" in refused("nash", path)


# Words that are not known
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "suggestion"),
    [
        (["reproduc"], "'reproduce'"),
        (["nsh", "file.csv"], "'nash'"),
        (["reproduce", "comall"], "'comal'"),
        (["reproduce", "comal", "comla"], "'comal'"),
        (["reproduce", "--qiuck"], "'--quick'"),
        (["reproduce", "--uot=there"], "'--out'"),
        (["nash", "file.csv", "--symetrize"], "'--symmetrize'"),
        (["doctor", "--jason"], "'--json'"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(refused, argv, suggestion):
    assert f"Did you mean {suggestion}" in refused(*argv)


@pytest.mark.parametrize("argv", [[], ["nash"], ["plot"], ["nash", "a.csv", "b.csv"], ["--quick"]])
def test_a_command_line_with_too_little_or_too_much_is_refused(refused, argv):
    assert "usage:" in refused(*argv)


def test_help_and_version(comalgames):
    code, out, _ = comalgames("--help")
    assert code == OK
    for command in ("reproduce", "nash", "plot", "list", "doctor"):
        assert command in out
    code, out, _ = comalgames("--version")
    assert (code, out) == (OK, f"comalgames {cg.__version__}\n")


HELP = """
import sys, types
package = types.ModuleType("comalgames")
package.__path__ = [{path!r}]  # without running its __init__.py
sys.modules["comalgames"] = package
from comalgames import cli
try:
    cli.main([{option!r}])
except SystemExit as ended:
    assert ended.code == 0
heavy = {{"jax", "numpy", "scipy", "matplotlib", "equinox", "xarray"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option):
    code = HELP.format(path=str(resources.files("comalgames")), option=option)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "comalgames" in done.stdout


def test_the_help_of_reproduce_says_what_the_hash_does_not_see(comalgames):
    out = " ".join(comalgames("reproduce", "--help")[1].split())
    for words in (
        "--fresh",
        "is skipped",
        "does not see changes of this package's code",
        "--quick",
    ):
        assert words in out


def test_the_description_is_the_first_line_of_the_package(comalgames):
    assert cg.__doc__.partition("\n")[0] in " ".join(comalgames("--help")[1].split())


# Runs that cannot be
# ------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_runs(refused, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("an experiment ran")

    monkeypatch.setattr("comalgames.experiments.report.run_experiments", fail)
    in_the_way = file_with(tmp_path, "a file", "results")
    for out in (in_the_way, in_the_way / "below"):
        assert f"cannot write to {out}" in refused("reproduce", "--quick", "--out", out)
    with pytest.raises(AssertionError, match="an experiment ran"):
        cli.main(["reproduce", "--quick", "--out", str(tmp_path / "fine")])


def test_ctrl_c_says_that_nothing_was_kept_of_the_paper_that_ran(comalgames, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("comalgames.experiments.report.run_experiments", interrupt)
    code, _, err = comalgames("reproduce", "--out", tmp_path)
    assert code == INTERRUPTED
    assert "nothing was kept of the paper that ran. Finished: no paper." in err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_a_failed_run_and_leaves_nothing(comalgames, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("comalgames.experiments.report.run_experiments", lambda *args: ({}, {}))
    monkeypatch.setattr("comalgames.experiments.store._write_arrays", full)
    code, _, err = comalgames("reproduce", "--out", tmp_path)
    assert code == FAILED
    assert "No space left on device" in err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def run_folder(tmp_path):
    """A saved run of the paper in which no experiment was run."""
    from comalgames.papers.comal import PAPER

    return experiments.save_run(tmp_path, PAPER, {}, experiments.check_claims(PAPER, {}), lambda folder: None)


def test_plot_refuses_what_is_no_run_folder(refused, tmp_path):
    for path in (tmp_path, tmp_path / "missing", file_with(tmp_path, "text", "file")):
        assert "is not a run folder" in refused("plot", path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("records.npz", None),
        ("claims.json", None),
        ("records.npz", b"PK\x03\x04 but no more"),
        ("spec.json", b"{"),
        ("spec.json", b"[]"),
        ("spec.json", b"{}"),
    ],
)
def test_plot_says_that_a_run_folder_is_damaged(comalgames, run_folder, name, content):
    if content is None:
        (run_folder / name).unlink()
    else:
        (run_folder / name).write_bytes(content)
    code, out, err = comalgames("plot", run_folder)
    assert (code, out) == (DAMAGED, "")
    assert f"{run_folder} is damaged" in err


def test_plot_says_that_records_lack_what_the_figures_show(comalgames, run_folder):
    import xarray as xr

    from comalgames.experiments.store import _write_arrays

    _write_arrays(run_folder / "records.npz", {"final policies": xr.Dataset({"other": ("n", [1.0])})})
    code, _, err = comalgames("plot", run_folder)
    assert code == DAMAGED
    assert "win_rate" in err


def test_plot_refuses_a_paper_it_does_not_know(comalgames, run_folder):
    spec = json.loads((run_folder / "spec.json").read_text())
    for paper in ("all", "../../etc/passwd", "comals"):
        (run_folder / "spec.json").write_text(json.dumps({**spec, "paper": paper}))
        code, _, err = comalgames("plot", run_folder)
        assert code == BAD_INPUT
        assert "`paper` must be one of best_of_n, comal" in err


# list and doctor
# ------------------------------------------------------------------------------------------


def test_list_names_every_paper_algorithm_and_game_with_what_it_is(comalgames):
    code, out, err = comalgames("list", "papers", "games")
    assert (code, err) == (OK, "")
    described = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line[:2] == "  "}
    games = {name for name in cg.games.__all__ if not inspect.isclass(getattr(cg.games, name))}
    assert {"comal", *games} <= set(described)
    # Whole sentences: nothing is cut off at the end of a docstring's line.
    assert [name for name, text in described.items() if not text.endswith(".")] == []
    assert "Abstract" not in out
    code, out, err = comalgames("list", "algorithms")
    assert (code, err) == (OK, "")
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines() if line[:2] == "  "}
    assert set(GUARANTEES) <= set(rows)
    for name, known in GUARANTEES.items():
        assert f"{name} {known.same_as or known.limit}" in rows[name]
    assert comalgames("list")[1].count("(comalgames") == 3
    assert comalgames("list", "algoritms")[0] == BAD_INPUT


def test_doctor_reports_versions_devices_precision_and_writable_folders(comalgames):
    code, out, err = comalgames("doctor", "--json")
    assert (code, err) == (OK, "")
    checks = json.loads(out)
    assert checks["comalgames"] == cg.__version__
    assert checks["packages"]["numpy"] == np.__version__
    assert checks["x64"] is True  # conftest.py switched it on
    assert checks["devices"]
    assert checks["writable"]
    assert all(isinstance(writable, bool) for writable in checks["writable"].values())


def test_doctor_in_words_says_the_same(comalgames):
    code, out, _ = comalgames("doctor")
    assert code == OK
    shown = {line.split()[0]: line for line in out.splitlines() if line}
    assert {"python", "devices", "packages", "x64", "compilation_cache", "writable"} <= set(shown)
    assert shown["x64"].endswith("True")


# A process of its own: without x64, without this file's way of calling
# ------------------------------------------------------------------------------------------


def process(*argv):
    return subprocess.run(
        [sys.executable, "-m", "comalgames", *argv], capture_output=True, text=True, timeout=120
    )


def test_the_module_runs_and_solves_in_float64_although_x64_is_off(tmp_path):
    done = process("nash", str(file_with(tmp_path, CYCLE_CSV)), "--json")
    assert (done.returncode, done.stderr) == (OK, "")
    policy = json.loads(done.stdout)["policy"]
    np.testing.assert_allclose(list(policy.values()), COMAL_NASH, rtol=0, atol=1e-14)


def test_the_module_ends_with_the_exit_code_and_one_line(tmp_path):
    done = process("nash", str(tmp_path / "missing.csv"))
    assert done.returncode == BAD_INPUT
    assert done.stdout == ""
    assert done.stderr == f"comalgames: there is no file {tmp_path / 'missing.csv'}.\n"
