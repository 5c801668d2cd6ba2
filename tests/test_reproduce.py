"""`comalgames reproduce --quick`, end to end: what it prints, saves and draws, and how a claim fails."""

import base64
import contextlib
import csv
import dataclasses
import html.parser
import importlib
import io
import json
import re
from typing import Any, NamedTuple

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from comalgames import cli, report
from comalgames.experiments import Figure, Paper, at_least, at_most, load_run
from comalgames.papers import comal

PAPERS = {name: importlib.import_module(module).PAPER for name, module in cli.PAPERS.items()}

# What must be claimed.
DEMANDED = {
    "A1",
    "A2",
    "A3",
    "A4",
    "A5",
    "A7",
    "A8",
    "A9",
    "A10",
    "A11",
    "A12",
    "A13",
    "A14",
    "A15",
    "A16",
    "A29",
    "A30",
    "A31",
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
    folder: Any


@pytest.fixture(scope="module", params=PAPERS)
def run(request, tmp_path_factory):
    """Of each paper; `comal` is the one that is run where none is named."""
    root, name = tmp_path_factory.mktemp("results"), request.param
    code, out, err = command(
        "reproduce", *([] if name == "comal" else [name]), "--quick", "--out", root, "--json"
    )
    (folder,) = (root / name).iterdir()
    return Run(PAPERS[name], code, out, err, folder)


of_comal = pytest.mark.parametrize("run", ["comal"], indirect=True)
of_lm = pytest.mark.parametrize("run", ["lm"], indirect=True)


@pytest.fixture(scope="module")
def claims(run):
    return {claim["id"]: claim for claim in json.loads(run.out)}


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


# What each of the other papers must claim.
DEMANDED_OF = {
    "inpo": {"A6", "A15", "A16"},
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
}


def test_the_other_papers_have_every_claim_that_was_demanded():
    assert set(DEMANDED_OF) | {"comal", "lm"} == set(PAPERS)
    for name, demanded in DEMANDED_OF.items():
        assert {claim.id.partition(".")[0] for claim in PAPERS[name].claims} == demanded


@of_lm
def test_quick_shows_who_cycles_who_stops_short_and_who_arrives_on_a_network(run, claims):
    assert ids_run(claims) == {"LM1", "LM2", "LM3", "LM4", "LM5"}


def test_it_succeeds_and_every_claim_that_was_run_holds(run, claims):
    assert run.code == 0
    assert [name for name, claim in claims.items() if claim["status"] == "failed"] == []


def test_stdout_holds_json_only_and_progress_goes_to_stderr(run):
    assert run.out.startswith("[\n")
    assert json.loads(run.out)
    assert run.paper.title in run.err
    quick = next(experiment for experiment in run.paper.experiments if experiment.is_quick)
    assert f"ran {quick.name}: " in run.err
    assert "claims hold" in run.err


def test_every_claim_is_listed_with_what_was_measured(run, claims):
    assert list(claims) == [claim.id for claim in run.paper.claims]
    for claim in run.paper.claims:
        listed = claims[claim.id]
        assert listed["paper"] == run.paper.name
        assert (listed["sentence"], listed["source"]) == (claim.sentence, claim.source)
        assert listed["bound"] == str(claim.bound)
        if listed["status"] == "not run":
            assert listed["passed"] is None
            assert listed["measured"] is None
        else:
            assert listed["passed"] is True
            assert claim.bound.holds(listed["measured"])


def test_what_is_not_quick_is_marked_as_not_run(run, claims):
    slow = {experiment.name for experiment in run.paper.experiments if not experiment.is_quick}
    assert slow or run.paper.name not in ("comal", "lm")
    for claim in run.paper.claims:
        assert (claims[claim.id]["status"] == "not run") == bool(slow & set(claim.needs)), claim.id


@of_comal
def test_a_measured_number_is_that_of_the_saved_records(run, claims):
    """From the records alone: COMAL's last gap (A4), and Nash's share against the reward's pick (A29)."""
    data = load_run(run.folder)[1]
    gaps = data["headline"]["duality_gap"].sel(game="cycle", algorithm="COMAL", seed=0).values
    assert claims["A4.finite"]["measured"] == gaps[np.isfinite(gaps)][-1] <= 1e-11
    against = data["mariner"]["against_nash"].sel(option="Trajectory 27").item()
    assert claims["A29.beats"]["measured"] == pytest.approx(1 - against, abs=1e-15)


# The folder
# ------------------------------------------------------------------------------------------


def test_the_folder_holds_everything(run):
    files = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    drawn = [
        figure.name
        for figure in run.paper.figures
        if all(e.is_quick for e in run.paper.experiments if e.name in figure.needs)
    ]
    assert drawn or run.paper.name == "inpo"  # whose figure is of its slow run
    assert files == {
        "spec.json",
        "environment.json",
        "records.npz",
        "metrics.csv",
        "claims.json",
        "report.html",
        *(f"figures/{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")),
    }
    assert all((run.folder / name).stat().st_size > 0 for name in files)
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{run.paper.spec_hash()}", run.folder.name)


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


def test_the_report_shows_every_claim_with_its_verdict(run, claims):
    text = Page((run.folder / "report.html").read_text(encoding="utf-8")).text
    words = {"passed": "pass", "not run": "not run"}
    for claim in claims.values():
        row = rf"{re.escape(claim['id'])}{re.escape(claim['sentence'])}.*?{re.escape(claim['bound'])}"
        assert re.search(row + words[claim["status"]], text, re.DOTALL), claim["id"]
    assert json.dumps(json.loads((run.folder / "environment.json").read_text()), indent=2) in text


NASTY = "<script>alert(1)</script> & \"quotes\" 'n' <b>"


def test_the_report_escapes_everything_that_came_from_outside():
    experiment = dataclasses.replace(
        comal.PAPER.experiments[0], question=NASTY, name=NASTY.replace("/", "-"), algorithms={NASTY: 1}
    )
    claim = dict.fromkeys(("id", "sentence", "source", "quantity", "bound"), NASTY)
    claim |= {"measured": 1.0, "status": "failed", "passed": False}
    paper = Paper("nasty", NASTY, NASTY, (experiment,), (), (Figure("empty", NASTY, ()),))
    drawn = {"empty": matplotlib.figure.Figure((1, 1))}
    page = Page(report.page(paper, paper.spec(), [claim], drawn, NASTY))
    plain = Page(report.page(comal.PAPER, comal.PAPER.spec(), [], {}, ""))
    assert set(page.elements) <= {*plain.elements, "img", "figure", "figcaption", "br", "span", "code"}
    assert {"script", "b"}.isdisjoint(page.elements)
    # Title twice, source, caption, five fields of the claim, the experiment's question and rule, environment.
    assert page.text.count("alert(1)") >= 11
    assert NASTY in page.text


# Drawing again
# ------------------------------------------------------------------------------------------


def pixels(folder):
    return {path.name: matplotlib.image.imread(path) for path in sorted(folder.glob("*.png"))}


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
        kept = [claim for claim in comal.PAPER.claims if claim.needs == ("mariner",)]
        broken = [dataclasses.replace(claim, bound=bound) for claim in kept if claim.id == "A29.beats"]
        kept = [claim for claim in kept if claim.id != "A29.beats"]
        small = dataclasses.replace(
            comal.PAPER,
            experiments=tuple(e for e in comal.PAPER.experiments if e.name == "mariner"),
            claims=(*kept, *broken),
            figures=(),
        )
        monkeypatch.setattr(comal, "PAPER", small)
        monkeypatch.setattr(cli, "PAPERS", {"comal": cli.PAPERS["comal"]})

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
    broken = dataclasses.replace(comal.PAPER.claims[0], id="nan", measure=lambda data: float("nan"))
    monkeypatch.setattr(comal, "PAPER", dataclasses.replace(comal.PAPER, claims=(broken,)))
    code, out, _ = command("reproduce", "--out", tmp_path, "--json")
    assert code == 1
    (claim,) = json.loads(out)
    assert (claim["measured"], claim["status"]) == (None, "failed")
