"""A run's report and the index over all papers, as HTML pages that open offline."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from comalgames.experiments.spec import Paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

WORDS = {"passed": "pass", "failed": "FAIL", "not run": "not run"}

# A list of more numbers than this is shown by its ends.
MANY = 24

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
.source, .small { color: #555; }
.small { font-size: .82rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; overflow-wrap: normal; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
table.settings { width: auto; font-size: .82rem; }
table.settings td { padding: .15rem .6rem .15rem 0; max-width: 44rem; overflow-wrap: anywhere; }
table.settings td:first-child { min-width: 8rem; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.passed { color: #00623d; font-weight: 600; }
.failed { color: #a30000; font-weight: 700; }
.not-run { color: #666; }
figure { margin: 1.2rem 0; }
figure img, .card img { max-width: 100%; height: auto; display: block; }
figcaption { color: #333; max-width: 60rem; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .8rem; overflow-wrap: normal; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.2rem; }
.card { border: 1px solid #ddd; border-radius: 6px; padding: .9rem 1rem; }
.card h2 { font-size: 1.02rem; line-height: 1.3; margin: 0 0 .2rem; }
.card p { margin: .25rem 0; }
.card .picture { height: 12rem; display: flex; align-items: center; justify-content: center; margin: .6rem 0; }
.card .picture img { max-height: 100%; }
a { color: #00539f; }
@media (max-width: 44rem) {
  figure img { max-width: none; height: 16rem; }
  table.claims thead { display: none; }
  table.claims tr { display: block; border-bottom: 1px solid #ddd; padding: .5rem 0; }
  table.claims td { display: block; border: 0; padding: .1rem 0; }
  table.claims td br { display: none; }
  table.claims td span { margin-left: .5rem; }
  table.claims td .small { display: block; margin-left: 0; }
  table.claims td[data-label]::before { content: attr(data-label) ": "; color: #555; }
}
"""  # noqa: E501 (CSS)

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body>
"""

REPORT = """<h1>{title}</h1><p class="source">{source}</p>
<p><strong>{summary}</strong> The run that made this page measured every number; the raw records lie beside it
in <code>records.npz</code>.</p>
{figures}
<h2>Claims</h2>
<div class="scroll"><table class="claims"><thead><tr><th>id</th><th>claim</th><th>measured</th>
<th>must be</th></tr></thead><tbody>
{rows}
</tbody></table></div>
<h2>Experiments and their settings</h2>
{experiments}
<h2>Environment</h2><pre>{environment}</pre>
</body></html>
"""

INDEX = """<h1>Reproduced papers</h1>
<p>{summary} Each picture and title leads to the newest report of its paper.</p>
<div class="cards">
{cards}
</div>
</body></html>
"""


class Card(NamedTuple):
    """One paper of the index.

    Attributes:
        title: of the paper.
        source: authors, year, number.
        claims: as JSON values; empty if the paper has not been run.
        report: path of the report, relative to the index; None if the paper has not been run.
        picture: path of a figure, relative to the index, or None.
        when: date and time of the run, as the run folder says it.
    """

    title: str
    source: str
    claims: Sequence[Mapping[str, Any]] = ()
    report: str | None = None
    picture: str | None = None
    when: str = ""


def counted(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Number of claims of each status.

    Args:
        claims: as JSON values.
    """
    return {status: sum(claim["status"] == status for claim in claims) for status in WORDS}


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """A summary of the claims that passed, failed and were not run, in sentences.

    Args:
        claims: as JSON values.
    """
    counts = counted(claims)
    parts = [f"{counts['passed']} of {counts['passed'] + counts['failed']} claims hold."]
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed.")
    if counts["not run"]:
        parts.append(f"{counts['not run']} were not run (--quick).")
    return " ".join(parts)


def number(measured: float | None) -> str:
    """A measured number in four significant digits, or a dash.

    Args:
        measured: the number.
    """
    return "-" if measured is None else f"{measured:.4g}"


def page(
    paper: Paper,
    spec: Mapping[str, Any],
    claims: Sequence[Mapping[str, Any]],
    figures: Mapping[str, MplFigure],
    environment: str,
) -> str:
    """The report as one self-contained HTML page.

    Args:
        paper: whose title, source and captions are shown.
        spec: the settings of the experiments.
        claims: as JSON values.
        figures: by name.
        environment: text about versions and devices.
    """
    captions = {figure.name: figure.caption for figure in paper.figures}
    return HEAD.format(title=html.escape(paper.title), style=STYLE) + REPORT.format(
        title=html.escape(paper.title),
        source=html.escape(paper.source),
        summary=html.escape(summary(claims)),
        figures="\n".join(_figure(drawn, captions[name]) for name, drawn in figures.items()),
        rows="\n".join(_row(claim) for claim in claims),
        experiments="\n".join(_experiment(experiment) for experiment in spec["experiments"]),
        environment=html.escape(environment),
    )


def index(cards: Sequence[Card]) -> str:
    """The page over all papers: verdicts, one figure each, and links to the reports.

    Args:
        cards: one a paper, in the order shown.
    """
    claims = [claim for card in cards for claim in card.claims]
    return HEAD.format(title="Reproduced papers", style=STYLE) + INDEX.format(
        summary=html.escape(summary(claims)), cards="\n".join(map(_card, cards))
    )


def _card(card: Card) -> str:
    title, source = html.escape(card.title), html.escape(card.source)
    if card.report is None:
        return (
            f'<div class="card"><h2>{title}</h2><p class="small">{source}</p>'
            '<p class="not-run">not run yet</p></div>'
        )
    counts, link = counted(card.claims), html.escape(card.report)
    words = {"passed": "hold", "failed": "FAILED", "not run": "not run"}
    verdict = ", ".join(
        f'<span class="{status.replace(" ", "-")}">{counts[status]} {word}</span>'
        for status, word in words.items()
        if counts[status]
    )
    picture = ""
    if card.picture is not None:
        image = f'<img src="{html.escape(card.picture)}" alt="A figure of: {title}" loading="lazy">'
        picture = f'<a class="picture" href="{link}">{image}</a>'
    return (
        f'<div class="card"><h2><a href="{link}">{title}</a></h2><p class="small">{source}</p>'
        f'{picture}<p>{verdict}</p><p class="small">{html.escape(card.when)}</p></div>'
    )


def _figure(drawn: MplFigure, caption: str) -> str:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    image = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    picture = f'<img src="data:image/png;base64,{image}" alt="{text}">'
    return f'<figure><div class="scroll">{picture}</div><figcaption>{text}</figcaption></figure>'


def _row(claim: Mapping[str, Any]) -> str:
    cells = {key: html.escape(str(value)) for key, value in claim.items()}
    status = claim["status"]
    return (
        f"<tr><td>{cells['id']}<br><span class={status.replace(' ', '-')}>{WORDS[status]}</span></td>"
        f"<td>{cells['sentence']}<br>"
        f"<span class=small>{cells['quantity']} &mdash; {cells['source']}</span></td>"
        f"<td class=number data-label=measured>{number(claim['measured'])}</td>"
        f'<td class=number data-label="must be">{cells["bound"]}</td></tr>'
    )


def _experiment(experiment: Mapping[str, Any]) -> str:
    """The question of an experiment, and a table of its settings."""
    rows = [(key, experiment[key]) for key in ("games", "measure") if key in experiment]
    rows += [(f"algorithm {name}", rule) for name, rule in experiment.get("algorithms", {}).items()]
    rows += list(_flat(experiment.get("settings", {})))
    table = "".join(
        f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(setting(value))}</code></td></tr>"
        for name, value in rows
    )
    return (
        f"<h3>{html.escape(experiment['name'])}</h3><p>{html.escape(experiment['question'])}</p>"
        f'<div class="scroll"><table class="settings"><tbody>{table}</tbody></table></div>'
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings by name; those of a mapping within, by both names."""
    rows: list[tuple[str, Any]] = []
    for name, value in settings.items():
        rows += _flat(value, f"{prefix}{name}: ") if isinstance(value, Mapping) else [(prefix + name, value)]
    return rows


def setting(value: Any) -> str:
    """A setting as text: numbers in up to six digits, long lists by their first and last entries.

    Args:
        value: a JSON value.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value) if value is None or isinstance(value, bool) else value
    if isinstance(value, (list, tuple)):
        if len(value) > MANY:
            return (
                f"{setting(value[0])}, {setting(value[1])}, ..., {setting(value[-1])} ({len(value)} values)"
            )
        return ", ".join(map(setting, value))
    return f"{value:.6g}"
