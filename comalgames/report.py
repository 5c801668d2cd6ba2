"""A run as one HTML page that opens offline, and as a table in the terminal."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as MplFigure

from comalgames import panels
from comalgames.experiments import Data, Paper, check_claims, environment, run_experiments, save_run
from comalgames.experiments.store import check_root, claims_as_json, save_figures, write_text

WORDS = {"passed": "pass", "failed": "FAIL", "not run": "not run"}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }}
h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
.source, .small {{ color: #555; }}
.small {{ font-size: .82rem; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }}
td.number {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
.passed {{ color: #00623d; font-weight: 600; }}
.failed {{ color: #a30000; font-weight: 700; }}
.not-run {{ color: #666; }}
figure {{ margin: 1.2rem 0; }}
figure img {{ max-width: 100%; height: auto; }}
figcaption {{ color: #333; max-width: 60rem; }}
pre {{ background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .8rem; }}
</style></head><body>
<h1>{title}</h1><p class="source">{source}</p>
<p><strong>{summary}</strong> Every number was measured by the run that made this page; the raw records lie beside
it in <code>records.npz</code>.</p>
{figures}
<h2>Claims</h2>
<table><thead><tr><th>id</th><th>claim</th><th>measured</th><th>must be</th><th></th></tr></thead><tbody>
{rows}
</tbody></table>
<h2>Experiments</h2>
<table><thead><tr><th>name</th><th>question</th><th>algorithms</th></tr></thead><tbody>
{experiments}
</tbody></table>
<h2>Environment</h2><pre>{environment}</pre>
</body></html>
"""  # noqa: E501 (HTML)


def publish(
    paper: Paper, out: Path, quick: bool = False, tell: Callable[[str], None] = print
) -> tuple[list[dict[str, Any]], Path]:
    """Run a paper's experiments, check its claims, draw its figures, and save all of it below `out`.

    Args:
        paper: what to run.
        out: the root of the run folders.
        quick: leave out experiments that are not marked quick.
        tell: called with a line of text now and then.

    Returns:
        The claims as JSON values, and the run folder.

    Raises:
        ValueError: `out` cannot be written to (before anything runs).
    """
    check_root(out)
    tell(f"{paper.title} ({paper.source})")
    data = run_experiments(paper, quick, lambda line: tell(f"  ran {line}"))
    verdicts = check_claims(paper, data)
    claims = claims_as_json(verdicts)

    def finish(folder: Path) -> None:
        figures = drawn_figures(paper, data)
        save_figures(folder / "figures", figures)
        about = json.dumps(environment(), indent=2)
        write_text(folder / "report.html", page(paper, paper.spec(), claims, figures, about))

    folder = save_run(out, paper, data, verdicts, finish)
    tell(f"\n{table(claims)}\n\n{summary(claims)} See {folder / 'report.html'}")
    return claims, folder


def drawn_figures(paper: Paper, data: Data) -> dict[str, MplFigure]:
    """Every figure of the paper whose experiments are in `data`, by name."""
    return {
        figure.name: panels.draw(figure, data)
        for figure in paper.figures
        if all(need in data for need in figure.needs)
    }


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many claims passed, failed and were not run, as a sentence."""
    counts = {status: sum(claim["status"] == status for claim in claims) for status in WORDS}
    parts = [f"{counts['passed']} of {counts['passed'] + counts['failed']} claims hold."]
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed.")
    if counts["not run"]:
        parts.append(f"{counts['not run']} were not run (--quick).")
    return " ".join(parts)


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The claims as text for a terminal: verdict, id, measured number, bound, sentence."""
    lines = []
    for claim in claims:
        verdict, measured = WORDS[claim["status"]], number(claim["measured"])
        lines.append(f"{verdict:<8}{claim['id']:<22}{measured:>12} {claim['bound']:<18} {claim['sentence']}")
    return "\n".join(lines)


def number(measured: float | None) -> str:
    """A measured number in four significant digits; a dash where there is none."""
    return "-" if measured is None else f"{measured:.4g}"


def page(
    paper: Paper,
    spec: Mapping[str, Any],
    claims: Sequence[Mapping[str, Any]],
    figures: Mapping[str, MplFigure],
    environment: str,
) -> str:
    """The report as one self-contained HTML page."""
    captions = {figure.name: figure.caption for figure in paper.figures}
    return PAGE.format(
        title=html.escape(paper.title),
        source=html.escape(paper.source),
        summary=html.escape(summary(claims)),
        figures="\n".join(_figure(drawn, captions[name]) for name, drawn in figures.items()),
        rows="\n".join(_row(claim) for claim in claims),
        experiments="\n".join(_experiment(experiment) for experiment in spec["experiments"]),
        environment=html.escape(environment),
    )


def _figure(drawn: MplFigure, caption: str) -> str:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    image = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    picture = f'<img src="data:image/png;base64,{image}" alt="{text}">'
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def _row(claim: Mapping[str, Any]) -> str:
    cells = {key: html.escape(str(value)) for key, value in claim.items()}
    status = claim["status"]
    return (
        f"<tr><td>{cells['id']}</td><td>{cells['sentence']}<br><span class=small>{cells['quantity']} &mdash; "
        f"{cells['source']}</span></td><td class=number>{number(claim['measured'])}</td><td "
        f"class=number>{cells['bound']}</td><td class={status.replace(' ', '-')}>{WORDS[status]}</td></tr>"
    )


def _experiment(experiment: Mapping[str, Any]) -> str:
    rules = experiment.get("algorithms", {"measured by": experiment.get("measure", "")})
    listed = "<br>".join(
        f"{html.escape(name)}: <code>{html.escape(rule)}</code>" for name, rule in rules.items()
    )
    question = html.escape(experiment["question"])
    return (
        f"<tr><td>{html.escape(experiment['name'])}</td><td>{question}</td><td class=small>{listed}</td></tr>"
    )
