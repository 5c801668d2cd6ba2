"""Run a paper and publish it: a run folder with its report, the index over all papers, and text tables."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from comalgames.experiments.claims import Data
from comalgames.experiments.page import WORDS, Card, counted, index, number, page, summary
from comalgames.experiments.progress import display
from comalgames.experiments.run import Silent, check_claims, chosen_experiments, run_experiments
from comalgames.experiments.spec import Paper
from comalgames.experiments.store import (
    DamagedRun,
    check_root,
    claims_as_json,
    environment,
    load_run,
    read_claims,
    run_folders,
    save_figures,
    save_run,
    write_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure


class Published(NamedTuple):
    """A paper's claims and where its run was saved.

    Attributes:
        paper: the name of the paper.
        claims: as JSON values.
        folder: the run folder.
        seconds: the run took; 0 for a run that was there already.
    """

    paper: str
    claims: list[dict[str, Any]]
    folder: Path
    seconds: float


def publish(paper: Paper, out: Path, quick: bool = False, progress: Silent | None = None) -> Published:
    """Run a paper's experiments, check its claims, draw its figures, and save all of it below `out`.

    Args:
        paper: what to run.
        out: the root of the run folders.
        quick: leave out experiments that are not marked quick.
        progress: shows what runs; by default a bar on a terminal, and lines elsewhere.

    Raises:
        ValueError: `out` cannot be written to (before anything runs).
    """
    check_root(out)
    if progress is None:
        progress = display({(paper.name, each.name): 1.0 for each in chosen_experiments(paper, quick)})
    progress.say(f"{paper.title} ({paper.source})")
    began = time.perf_counter()
    data, seconds = run_experiments(paper, quick, progress)
    verdicts = check_claims(paper, data)
    claims = claims_as_json(verdicts)

    def finish(folder: Path) -> None:
        figures = drawn_figures(paper, data)
        save_figures(folder / "figures", figures)
        about = json.dumps(environment(), indent=2)
        write_text(folder / "report.html", page(paper, paper.spec(), claims, figures, about))

    folder = save_run(out, paper, data, verdicts, finish, {"quick": quick, "seconds": seconds})
    progress.say(f"\n{table(claims)}\n\n{summary(claims)} See {folder / 'report.html'}\n")
    return Published(paper.name, claims, folder, time.perf_counter() - began)


def drawn_figures(paper: Paper, data: Data) -> dict[str, MplFigure]:
    """Every figure of the paper whose experiments are in `data`, by name.

    Args:
        paper: whose figures.
        data: the results by experiment.
    """
    from comalgames.experiments import panels

    return {
        figure.name: panels.draw(figure, data)
        for figure in paper.figures
        if all(need in data for need in figure.needs)
    }


def write_index(root: Path, papers: Sequence[Paper]) -> Path:
    """Write `index.html` over the newest run of every paper below `root`, and return its path.

    Args:
        root: the root of the run folders.
        papers: those listed first, in this order, run or not; runs of others follow.
    """
    known = [paper.name for paper in papers]
    others = sorted({path.parents[1].name for path in root.glob("[!.]*/[!.]*/report.html")} - {*known})
    cards = [_card(root, name) for name in (*known, *others)]
    titles = {paper.name: Card(paper.title, paper.source) for paper in papers}
    shown = [card or titles.get(name) for name, card in zip((*known, *others), cards, strict=True)]
    write_text(root / "index.html", index([card for card in shown if card is not None]))
    return root / "index.html"


def _card(root: Path, name: str) -> Card | None:
    """The newest intact run of a paper, or None."""
    for folder in run_folders(root, name):
        try:
            spec, claims = json.loads((folder / "spec.json").read_text()), read_claims(folder)
            title, source, _ = spec["title"], spec["source"], [claim["status"] for claim in claims]
        except (OSError, ValueError, TypeError, KeyError):
            continue
        drawn = {path.stem for path in (folder / "figures").glob("*.png")}
        order = (*spec.get("figures", ()), *sorted(drawn))
        first = next((name for name in order if name in drawn), None)
        here = folder.relative_to(root).as_posix()
        picture = None if first is None else f"{here}/figures/{first}.png"
        stamp = folder.name
        when = f"run on {stamp[:4]}-{stamp[4:6]}-{stamp[6:8]} at {stamp[9:11]}:{stamp[11:13]}"
        return Card(title, source, claims, f"{here}/report.html", picture, when)
    return None


def saved(paper: Paper, folder: Path) -> Published:
    """A run that was saved before, as `publish` returns it.

    Args:
        paper: what was run.
        folder: its run folder.
    """
    return Published(paper.name, read_claims(folder), folder, 0.0)


def redrawn_figures(paper: Paper, folder: Path) -> dict[str, MplFigure]:
    """A saved run's figures, drawn from its records alone.

    Args:
        paper: whose figures.
        folder: the run folder.

    Raises:
        DamagedRun: the records lack something that the figures show.
    """
    _, data, _ = load_run(folder)
    try:
        return drawn_figures(paper, data)
    except KeyError as error:
        message = f"{folder} lacks {error}, which this version's figures show; reproduce it again."
        raise DamagedRun(message) from error


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The claims as text for a terminal: verdict, id, measured number, bound, sentence.

    Args:
        claims: as JSON values.
    """
    lines = []
    for claim in claims:
        verdict, measured = WORDS[claim["status"]], number(claim["measured"])
        lines.append(f"{verdict:<8}{claim['id']:<22}{measured:>12} {claim['bound']:<18} {claim['sentence']}")
    return "\n".join(lines)


def overview(published: Sequence[Published]) -> str:
    """One line per paper: claims that passed, failed and were not run, seconds, and the run folder.

    Args:
        published: the papers, in the order shown.
    """
    rows: list[tuple[str, ...]] = [("paper", "passed", "failed", "not run", "seconds", "run folder")]
    for each in published:
        counts = counted(each.claims)
        took = f"{each.seconds:.1f}" if each.seconds else "kept"
        rows.append((each.paper, *(str(counts[status]) for status in WORDS), took, str(each.folder)))
    counts = counted([claim for each in published for claim in each.claims])
    total = f"{sum(each.seconds for each in published):.1f}"
    rows.append(("all", *(str(counts[status]) for status in WORDS), total, ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if 0 < k < 5 else f"{cell:<{width}}"
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
