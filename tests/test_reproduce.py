"""`comalgames reproduce --quick`, end to end: what it prints, saves and draws, and how a claim fails.

Each paper is run once for all tests (the fixture `run`).
"""

import base64
import contextlib
import csv
import dataclasses
import html.parser
import io
import json
import os
import re
import subprocess
import sys
from typing import Any, NamedTuple

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from comalgames import cli
from comalgames.experiments import Figure, Paper, Reading, Statement, at_least, at_most, load_run, report
from comalgames.experiments.page import page as report_page, setting as report_setting
from comalgames.experiments.run import chosen_experiments
from comalgames.papers import comal, registry

PAPERS = {name: registry.load(name) for name in registry.NAMES}

# The papers whose folders, pages and figures are looked at: every kind of experiment and of panel that any
# has when it is quick, but for the language model's.
LOOKED_AT = ("comal", "sppo")

# The claims that the paper must have.
DEMANDED = {
    *(f"A{k}" for k in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 29, 30, 31, 32)),
}


def command(*argv):
    """The exit code and what the command line printed to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(word) for word in argv])
    return code, out.getvalue(), err.getvalue()


class Run(NamedTuple):
    """A finished `reproduce --quick --json`."""

    paper: Paper
    code: int
    out: str
    err: str
    root: Any
    folder: Any


RUNS: dict[str, Run] = {}


@pytest.fixture(scope="session")
def run(request, tmp_path_factory):
    """Of each paper; `comal` is the one that is run where none is named."""
    name = request.param
    if name not in RUNS:
        root = tmp_path_factory.mktemp("results")
        argv = ("reproduce", *([] if name == "comal" else [name]), "--quick", "--out", str(root), "--json")
        if name == "lm":
            # Networks train for long enough that optimized code pays.
            flags = os.environ["XLA_FLAGS"].replace("--xla_backend_optimization_level=0", "")
            done = subprocess.run(
                [sys.executable, "-m", "comalgames", *argv],
                capture_output=True,
                text=True,
                env={**os.environ, "XLA_FLAGS": flags},
                timeout=600,
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            code, out, err = command(*argv)
        (folder,) = (root / name).iterdir()
        RUNS[name] = Run(PAPERS[name], code, out, err, root, folder)
    return RUNS[name]


def runs_of(names):
    """A mark: run the test for each of these papers. Training networks is slow."""
    slow = {"lm": [pytest.mark.slow]}
    params = [pytest.param(name, marks=slow.get(name, [])) for name in names]
    return pytest.mark.parametrize("run", params, indirect=True)


of_all, of_two = runs_of(PAPERS), runs_of(LOOKED_AT)
of_comal, of_lm = runs_of(["comal"]), runs_of(["lm"])


@pytest.fixture
def claims(run):
    return {claim["id"]: claim for claim in json.loads(run.out)}


# Statements
# ------------------------------------------------------------------------------------------

# A sentence that begins with one of these leans on the one before it, or is a clause without a verb.
LEANING = {
    *("and", "or", "but", "nor", "so", "yet", "then", "there", "here", "also", "still", "instead", "however"),
    *("which", "where", "while", "whereas", "when", "whose", "who", "what", "by", "that", "this", "these"),
    *("it", "its", "they", "their", "he", "she", "unless", "because", "for", "at", "in", "if", "not", "with"),
}

STATEMENTS = [(name, statement) for name, paper in PAPERS.items() for statement in paper.statements]


def test_every_statement_can_be_read_alone():
    for name, statement in STATEMENTS:
        sentence, words = statement.sentence, statement.sentence.split()
        assert re.match(r"[A-Z0-9]", sentence), (name, sentence)
        assert sentence.endswith("."), (name, sentence)
        assert not sentence.endswith(".."), (name, sentence)
        assert len(words) >= 5, (name, sentence)
        assert words[0].lower().strip(",:") not in LEANING, (name, sentence)
        assert "  " not in sentence, (name, sentence)
        assert sentence.count("(") == sentence.count(")"), (name, sentence)


TICS = re.compile(r"\bso many\b|\bis none\b|\broundings\b|\bleast at\b|\bas it is\b|[a-z]ised?\b|\blaw\b")
NOT_TICS = {"otherwise", "likewise", "precise", "noise", "exercise", "raised", "promised", "rise", "wise"}


def test_no_statement_caption_or_question_has_a_tic():
    for paper in PAPERS.values():
        texts = [statement.sentence for statement in paper.statements]
        texts += [claim.quantity for claim in paper.claims] + [figure.caption for figure in paper.figures]
        texts += [experiment.question for experiment in paper.experiments] + [paper.title]
        for text in texts:
            for found in TICS.finditer(text):
                word = re.search(rf"\w*{re.escape(found[0])}", text)[0]
                assert word in NOT_TICS, (paper.name, text, word)
            assert not re.match(r"(By what|What [a-z]+s )", text), (paper.name, text)


def test_questions_are_questions_and_captions_are_sentences():
    for paper in PAPERS.values():
        for experiment in paper.experiments:
            assert experiment.question.endswith("?"), (paper.name, experiment.question)
            assert experiment.question[0].isupper(), (paper.name, experiment.question)
        for figure in paper.figures:
            assert figure.caption[0].isupper(), (paper.name, figure.caption)
            assert figure.caption.rstrip(")").endswith("."), (paper.name, figure.caption)


def test_no_two_claims_of_a_paper_share_an_id_or_a_reading_and_bound():
    for name, paper in PAPERS.items():
        ids = [claim.id for claim in paper.claims]
        assert len(set(ids)) == len(ids), name
        decided = [(claim.reading.text, claim.bound) for claim in paper.claims]
        assert len(set(decided)) == len(decided), name


def test_every_sentence_stands_for_one_statement_of_its_paper():
    for name, paper in PAPERS.items():
        sentences = [statement.sentence for statement in paper.statements]
        assert len(set(sentences)) == len(sentences), name


# Settings
# ------------------------------------------------------------------------------------------


def test_specs_are_json_without_addresses_and_every_measurement_with_numbers_has_settings():
    for name, paper in PAPERS.items():
        text = json.dumps(paper.spec(), allow_nan=False)
        assert " at 0x" not in text, name
        assert "<locals>" not in text, f"{name}: a function within a function hides numbers"
        assert "<lambda>" not in text, name
        for claim in paper.claims:
            assert claim.reading.text, (name, claim.id)


def changed(value):
    """Another value of the same kind; None for a kind that has no other."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return None
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, dict):
        return {**value, "one more": 1}
    return (*value, value[-1]) if isinstance(value, tuple) and value else None


def test_every_setting_of_every_experiment_is_in_the_hash():
    for name, paper in PAPERS.items():
        hashes = {paper.spec_hash()}
        count = 1
        for k, experiment in enumerate(paper.experiments):
            for key, value in experiment.settings.items():
                other = changed(value)
                if other is None:
                    continue
                settings = {**experiment.settings, key: other}
                replaced = dataclasses.replace(experiment, settings=settings)
                experiments = (*paper.experiments[:k], replaced, *paper.experiments[k + 1 :])
                hashes.add(dataclasses.replace(paper, experiments=experiments).spec_hash())
                count += 1
        assert len(hashes) == count, name


def test_the_language_model_shows_what_decides_its_numbers():
    for experiment in PAPERS["lm"].spec()["experiments"]:
        wanted = {"eta", "tau", "period", "learning_rate", "num_rounds", "num_fit_steps", "network_seed"}
        wanted |= {"num_networks", "num_prompts", "width", "draw_seed", "game_seed"}
        assert wanted <= set(experiment["settings"]), experiment["name"]
    sampled = next(e for e in PAPERS["lm"].spec()["experiments"] if e["name"] == "sampled")
    assert sampled["settings"]["drawn"] == {"num_sets": 512, "num_candidates": 5, "batch_size": 32}


def test_rules_that_hide_an_optimizer_show_its_learning_rate():
    spec = next(e for e in PAPERS["comal"].spec()["experiments"] if e["name"] == "inner losses")
    learners = {name: rule for name, rule in spec["algorithms"].items() if "MWU" not in name}
    assert len(learners) == 6
    for name, rule in learners.items():
        assert re.search(r"learning_rate=[\d.]+, num_fit_steps=\d+\)$", rule), (name, rule)


# Claims
# ------------------------------------------------------------------------------------------


def test_the_paper_has_every_claim_that_was_demanded():
    assert {claim.id.partition(".")[0] for claim in comal.PAPER.claims} == DEMANDED


def ids_run(claims):
    return {name.partition(".")[0] for name, claim in claims.items() if claim["status"] != "not run"}


@of_comal
def test_quick_runs_claims_of_most_of_them(run, claims):
    run_ids = ids_run(claims)
    assert {"A1", "A2", "A3", "A4", "A5", "A9", "A11", "A13", "A15", "A29"} <= run_ids


# The claims that each of the other papers must have.
DEMANDED_OF = {
    "inpo": {"A6"},
    "sppo": {"A17"},
    "nash_md": {"A18"},
    "egpo": {"A19"},
    "online_ipo": {"A20"},
    "mpo": {"A21"},
    "onpo": {"A22"},
    "spo": {"A23"},
    "general_preference": {"A24"},
    "judges": {"A25"},
    "best_of_n": {"A26"},
    "spin": {"A27"},
    "mnpo": {"A28"},
    "ours": {"N2", "N3", "N5", "N6", "N7", "N8", "N9", "N10"},
    "nash_mirror_prox": {"A33"},
    "slow_omwu": {"A34"},
    "full_support": {"A35"},
    "condorcet": {"A36"},
    "regressions": {"A37"},
}


def test_the_other_papers_have_every_claim_that_was_demanded():
    assert set(DEMANDED_OF) | {"comal", "lm"} == set(PAPERS)
    assert sum(len(paper.claims) for paper in PAPERS.values()) == 257
    for name, demanded in DEMANDED_OF.items():
        assert {claim.id.partition(".")[0] for claim in PAPERS[name].claims} == demanded


@of_lm
def test_quick_shows_who_cycles_who_stops_short_and_who_arrives_on_a_network(run, claims):
    assert ids_run(claims) == {"LM1", "LM2", "LM3", "LM4", "LM5"}


@of_all
def test_it_succeeds_and_every_claim_that_was_run_holds(run, claims):
    assert run.code == 0
    assert [name for name, claim in claims.items() if claim["status"] == "failed"] == []


@of_two
def test_stdout_holds_json_only_and_progress_goes_to_stderr(run):
    assert run.out.startswith("[\n")
    assert json.loads(run.out)
    assert run.paper.title in run.err
    quick = next(experiment for experiment in run.paper.experiments if experiment.is_quick)
    count = len(chosen_experiments(run.paper, quick=True))
    assert f"running {run.paper.name}: {quick.name} ({count} left, " in run.err
    assert f"ran {quick.name}: " in run.err
    assert "claims hold" in run.err
    assert re.search(rf"^{run.paper.name} +\d+ +0 +\d+ +[\d.]+ +{re.escape(str(run.folder))}$", run.err, re.M)
    assert run.err.endswith(f"\n{run.root / 'index.html'}\n")


@of_all
def test_every_claim_is_listed_with_what_was_measured(run, claims):
    assert list(claims) == [claim.id for claim in run.paper.claims]
    for statement in run.paper.statements:
        for claim in statement.claims:
            listed = claims[claim.id]
            assert listed["paper"] == run.paper.name
            assert (listed["sentence"], listed["source"]) == (statement.sentence, claim.source)
            assert listed["bound"] == str(claim.bound)
            if listed["status"] == "not run":
                assert listed["passed"] is None
                assert listed["measured"] is None
            else:
                assert listed["passed"] is claim.bound.holds(listed["measured"])


@of_all
def test_what_is_not_quick_is_marked_as_not_run(run, claims):
    slow = {experiment.name for experiment in run.paper.experiments if not experiment.is_quick}
    assert slow or run.paper.name not in ("comal", "lm")
    for claim in run.paper.claims:
        assert (claims[claim.id]["status"] == "not run") == bool(slow & set(claim.needs)), claim.id


@of_comal
def test_a_measured_number_is_that_of_the_saved_records(run, claims):
    """From the records alone: COMAL's last gap (A4), and Nash's share against the reward's pick (A29)."""
    data = load_run(run.folder)[1]
    rows = [
        data[name]["duality_gap"].sel(game=game, algorithm="COMAL", seed=0).values
        for name, game in (("headline", "cycle"), ("headline, losing answer", "losing answer"))
    ]
    assert claims["A4.finite"]["measured"] == max(row[np.isfinite(row)][-1] for row in rows) <= 1e-11
    against = data["mariner"]["against_nash"].sel(option="Trajectory 27").item()
    assert claims["A29.beats"]["measured"] == pytest.approx(1 - against, abs=1e-15)


# The folder
# ------------------------------------------------------------------------------------------


@of_two
def test_the_folder_holds_everything(run):
    files = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    drawn = [
        figure.name
        for figure in run.paper.figures
        if all(e.is_quick for e in run.paper.experiments if e.name in figure.needs)
    ]
    assert drawn
    assert files == {
        "spec.json",
        "environment.json",
        "run.json",
        "records.npz",
        "metrics.csv",
        "claims.json",
        "report.html",
        *(f"figures/{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")),
    }
    assert all((run.folder / name).stat().st_size > 0 for name in files)
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{run.paper.spec_hash()}", run.folder.name)


@of_two
def test_claims_json_is_what_was_printed(run, claims):
    saved = json.loads((run.folder / "claims.json").read_text())
    assert [{"paper": run.paper.name, **claim} for claim in saved] == list(claims.values())


@of_comal
def test_metrics_csv_holds_the_last_gaps_of_the_claims(run, claims):
    with (run.folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "duality_gap"]
    (last,) = (
        float(row["last"]) for row in rows if (row["experiment"], row["algorithm"]) == ("headline", "INPO")
    )
    assert last == claims["A3.gap"]["measured"]


@of_two
def test_figures_are_not_blank_and_pdfs_are_pdfs(run):
    for path in (run.folder / "figures").iterdir():
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF-")
        else:
            colours = np.unique(matplotlib.image.imread(path).reshape(-1, 4), axis=0)
            assert len(colours) > 50, path.name


# The report
# ------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """What a page asks a browser to load, the elements in it, and its text."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.elements, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        wanted = ("src", "href", "data", "srcset", "poster", "action", "background")
        self.loads += [value for name, value in attributes if name in wanted]
        self.elements += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


@of_two
def test_the_report_is_self_contained(run):
    text = (run.folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    pictures = [value for value in page.loads if value.startswith("data:image/png;base64,")]
    assert pictures == page.loads, "the page loads something"
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(page.elements)
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not any("url(" in sheet or "@import" in sheet for sheet in style)
    assert len(pictures) == len(list((run.folder / "figures").glob("*.png")))
    for picture in pictures:
        assert base64.b64decode(picture.partition(",")[2], validate=True).startswith(b"\x89PNG")


@of_two
def test_the_report_shows_every_claim_with_its_verdict(run, claims):
    text = Page((run.folder / "report.html").read_text(encoding="utf-8")).text
    words = {"passed": "pass", "failed": "FAIL", "not run": "not run"}
    for claim in claims.values():
        row = f"{claim['id']}{words[claim['status']]}{claim['sentence']}"
        assert re.search(rf"{re.escape(row)}.*?{re.escape(claim['bound'])}", text, re.DOTALL), claim["id"]
    assert json.dumps(json.loads((run.folder / "environment.json").read_text()), indent=2) in text


@of_two
def test_the_report_shows_every_setting_of_every_experiment(run):
    text = Page((run.folder / "report.html").read_text(encoding="utf-8")).text
    for experiment in run.paper.spec()["experiments"]:
        assert f"{experiment['name']}{experiment['question']}" in text
        for name, rule in experiment.get("algorithms", {}).items():
            assert f"algorithm {name}{rule}" in text
        for name, value in experiment["settings"].items():
            if not isinstance(value, (dict, list)):
                assert f"{name}{report_setting(value)}" in text, (experiment["name"], name)


@of_two
def test_the_index_leads_to_the_report(run):
    text = (run.root / "index.html").read_text(encoding="utf-8")
    here = Page(text)
    report_path = (run.folder / "report.html").relative_to(run.root).as_posix()
    assert report_path in here.loads
    for path in here.loads:
        assert (run.root / path).is_file(), path
    for paper in PAPERS.values():
        assert paper.title in here.text
    assert here.text.count("not run yet") == len(PAPERS) - 1


NASTY = "<script>alert(1)</script> & \"quotes\" 'n' <b>"


def test_the_report_escapes_everything_that_came_from_outside():
    experiment = dataclasses.replace(
        comal.PAPER.experiments[0], question=NASTY, name=NASTY.replace("/", "-"), algorithms={NASTY: 1}
    )
    claim = dict.fromkeys(("id", "sentence", "source", "quantity", "bound"), NASTY)
    claim |= {"measured": 1.0, "status": "failed", "passed": False}
    paper = Paper("nasty", NASTY, NASTY, (experiment,), (), (Figure("empty", NASTY, ()),))
    drawn = {"empty": matplotlib.figure.Figure((1, 1))}
    page = Page(report_page(paper, paper.spec(), [claim], drawn, NASTY))
    plain = Page(report_page(comal.PAPER, comal.PAPER.spec(), [], {}, ""))
    assert set(page.elements) <= {*plain.elements, "img", "figure", "figcaption", "br", "span", "code"}
    assert {"script", "b"}.isdisjoint(page.elements)
    # Title twice, source, caption, five fields of the claim, the experiment's question and rule, environment.
    assert page.text.count("alert(1)") >= 11
    assert NASTY in page.text


# Drawing again
# ------------------------------------------------------------------------------------------


def pixels(folder):
    return {path.name: matplotlib.image.imread(path) for path in sorted(folder.glob("*.png"))}


@of_two
def test_plot_draws_the_same_pixels_from_what_was_saved_alone(run, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("an experiment ran")

    for name in ("Experiment", "Measurement"):
        monkeypatch.setattr(f"comalgames.experiments.spec.{name}.run", fail)
    before = pixels(run.folder / "figures")
    for path in (run.folder / "figures").iterdir():
        path.unlink()
    code, out, err = command("plot", run.folder)
    assert (code, err) == (0, "")
    after = pixels(run.folder / "figures")
    assert after.keys() == before.keys()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    written = {path.name for path in (run.folder / "figures").iterdir()}
    assert {line.rpartition("/")[2] for line in out.splitlines()} == written
    assert {name.removesuffix(".pdf") for name in written if name.endswith(".pdf")} == {
        name.removesuffix(".png") for name in before
    }


@of_comal
def test_a_figure_of_other_numbers_has_other_pixels(run):
    """So that the test above can fail."""
    data = load_run(run.folder)[1]
    figure = next(figure for figure in comal.PAPER.figures if figure.name == "mariner")
    paper = dataclasses.replace(comal.PAPER, figures=(figure,))
    changed = {"mariner": data["mariner"].assign(against_nash=1 - data["mariner"]["against_nash"])}
    one, other = (report.drawn_figures(paper, some)["mariner"] for some in (data, changed))
    shots = []
    for drawn in (one, other):
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png")
        buffer.seek(0)
        shots.append(matplotlib.image.imread(buffer))
    assert not np.array_equal(*shots)


# Failing claims
# ------------------------------------------------------------------------------------------


@pytest.fixture
def mariner_alone(monkeypatch):
    """The paper cut down to its quickest experiment, two claims that hold and one that can be broken."""

    def with_bound(bound):
        kept, broken = [], []
        for statement in comal.PAPER.statements:
            claim, *_ = statement.claims
            if claim.id == "A29.beats":
                broken.append(Statement(statement.sentence, dataclasses.replace(claim, bound=bound)))
            elif claim.needs == ("mariner",):
                kept.append(statement)
        small = dataclasses.replace(
            comal.PAPER,
            experiments=tuple(e for e in comal.PAPER.experiments if e.name == "mariner"),
            statements=(*kept, *broken),
            figures=(),
        )
        monkeypatch.setattr(comal, "PAPER", small)
        monkeypatch.setattr(registry, "PAPERS", {"comal": registry.PAPERS["comal"]})
        monkeypatch.setattr(registry, "NAMES", ("comal",))
        monkeypatch.setattr(registry, "load_all", lambda names=("comal",): [registry.load(n) for n in names])
        return small

    return with_bound


def test_a_claim_that_fails_ends_with_1_and_is_published_as_failing(mariner_alone, tmp_path):
    mariner_alone(at_least(0.9))
    code, out, _ = command("reproduce", "--out", tmp_path)
    assert code == 1
    assert re.search(r"^FAIL +A29\.beats +0\.55 >= 0\.9 ", out, re.MULTILINE)
    assert "2 of 3 claims hold. 1 failed." in out
    (folder,) = (tmp_path / "comal").iterdir()
    claims = {claim["id"]: claim for claim in json.loads((folder / "claims.json").read_text())}
    assert claims["A29.beats"]["passed"] is False
    assert claims["A29.beats"]["status"] == "failed"
    assert claims["A29.nash"]["passed"] is True
    text = (folder / "report.html").read_text()
    assert text.count("class=failed>FAIL<") == 1
    assert "1 failed." in Page(text).text


def test_the_same_claims_with_their_own_bounds_end_with_0(mariner_alone, tmp_path):
    mariner_alone(at_most(0.6))
    code, out, _ = command("reproduce", "all", "--out", tmp_path)
    assert code == 0
    assert "3 of 3 claims hold." in out
    assert "FAIL" not in out


def test_a_claim_that_cannot_be_measured_fails(mariner_alone, tmp_path, monkeypatch):
    """nan is not inside any bound, and JSON has no nan."""
    mariner_alone(at_most(0.6))
    nan = Reading(lambda data: float("nan"), ())
    broken = dataclasses.replace(comal.PAPER.claims[0], id="nan", reading=nan)
    statement = Statement("This claim cannot be measured.", broken)
    monkeypatch.setattr(comal, "PAPER", dataclasses.replace(comal.PAPER, statements=(statement,)))
    code, out, _ = command("reproduce", "--out", tmp_path, "--json")
    assert code == 1
    (claim,) = json.loads(out)
    assert (claim["measured"], claim["status"]) == (None, "failed")


# Runs that are there already
# ------------------------------------------------------------------------------------------


def run_folders(root):
    return sorted(path.name for path in (root / "comal").iterdir())


def test_a_second_reproduce_keeps_the_first_run_and_says_so(mariner_alone, tmp_path):
    mariner_alone(at_most(0.6))
    assert command("reproduce", "--out", tmp_path)[0] == 0
    before = run_folders(tmp_path)
    code, out, _ = command("reproduce", "--out", tmp_path)
    assert code == 0
    assert run_folders(tmp_path) == before
    folder = tmp_path / "comal" / before[0]
    assert f"comal: kept {folder}, a complete run with these settings (--fresh runs it again)" in out
    assert "running" not in out
    assert re.search(r"^comal +3 +0 +0 +kept ", out, re.MULTILINE)


def test_a_kept_run_fails_if_its_claims_did(mariner_alone, tmp_path):
    mariner_alone(at_least(0.9))
    assert [command("reproduce", "--out", tmp_path)[0] for _ in range(2)] == [1, 1]
    assert len(run_folders(tmp_path)) == 1


def test_fresh_quick_and_other_settings_run_again(mariner_alone, tmp_path):
    mariner_alone(at_most(0.6))
    for k, argv in enumerate(([], ["--fresh"], ["--quick"]), 1):
        assert command("reproduce", "--out", tmp_path, *argv)[0] == 0
        assert len(run_folders(tmp_path)) == k
    mariner_alone(at_most(0.7))
    assert command("reproduce", "--out", tmp_path)[0] == 0
    assert len(run_folders(tmp_path)) == 4


def test_an_interrupted_reproduce_keeps_finished_papers_and_goes_on(mariner_alone, tmp_path, monkeypatch):
    """Two papers; the second is interrupted the first time."""
    small = mariner_alone(at_most(0.6))
    second = dataclasses.replace(small, name="second", title="The second paper")
    papers = {"comal": small, "second": second}
    monkeypatch.setattr(registry, "NAMES", tuple(papers))
    monkeypatch.setattr(registry, "PAPERS", dict.fromkeys(papers, registry.Entry("", 1, 1)))
    monkeypatch.setattr(registry, "load_all", lambda names=tuple(papers): [papers[name] for name in names])
    real, interrupted = report.run_experiments, []

    def interrupt(paper, *rest):
        if paper.name == "second" and not interrupted:
            interrupted.append(paper)
            raise KeyboardInterrupt
        return real(paper, *rest)

    monkeypatch.setattr(report, "run_experiments", interrupt)
    code, _, err = command("reproduce", "all", "--out", tmp_path)
    assert code == cli.INTERRUPTED
    assert "interrupted" in err
    assert "Finished: comal." in err
    assert len(run_folders(tmp_path)) == 1
    index = (tmp_path / "index.html").read_text()
    assert "The second paper" in index, "the index is written after each paper"
    assert "not run yet" in index
    code, out, _ = command("reproduce", "all", "--out", tmp_path)
    assert code == 0
    assert len(run_folders(tmp_path)) == 1
    assert "comal: kept " in out
    assert "running second: mariner (1 left, " in out
    assert "not run yet" not in (tmp_path / "index.html").read_text()
    assert re.search(r"^all +6 +0 +0 ", out, re.MULTILINE)
