"""The command line: reproduce a paper, solve a game from a file, redraw figures, list, check the set-up."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import comalgames as cg
from comalgames import report, validation
from comalgames.algorithms.guarantees import GUARANTEES
from comalgames.experiments import DamagedRun, Paper, environment, load_run
from comalgames.experiments.store import save_figures
from comalgames.papers.reward_models import picks

OK, FAILED, BAD_INPUT, DAMAGED, INTERRUPTED = 0, 1, 2, 3, 130

# Importing a paper costs nothing but its module; none is imported before it is asked for.
PAPERS = {
    name: f"comalgames.papers.{name}"
    for name in (
        "comal", "inpo", "sppo", "nash_md", "egpo", "online_ipo", "mpo", "onpo", "spo", "mnpo",
        "general_preference", "judges", "best_of_n", "spin", "lm",
    )
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code.

    0 fine, 1 a claim or run failed, 2 bad input, 3 damaged data, 130 interrupted.
    """
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(_complaint(unknown, arguments.options))
    try:
        return int(arguments.run(arguments))
    except DamagedRun as error:
        print(f"comalgames: {error}", file=sys.stderr)
        return DAMAGED
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        print(f"comalgames: {error}", file=sys.stderr)
        return BAD_INPUT
    except (ArithmeticError, OSError) as error:
        print(f"comalgames: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("comalgames: interrupted; nothing was kept of this run.", file=sys.stderr)
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """argparse, with the nearest command in the message when a command is unknown."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            try:
                validation.known(str(action.metavar or action.dest), value, action.choices)
            except ValueError as error:
                raise argparse.ArgumentError(None, str(error)) from error

    @property
    def options(self) -> tuple[str, ...]:
        """The options that it knows."""
        return tuple(self._option_string_actions)


def _complaint(unknown: Sequence[str], options: Sequence[str]) -> str:
    """What to say of words that no argument took."""
    word = unknown[0].partition("=")[0]
    try:
        validation.known("option", word, options)
    except ValueError as error:
        if word.startswith("-"):
            return str(error)
    return f"unrecognized arguments: {' '.join(unknown)}"


def _parser() -> _Parser:
    parser = _Parser(prog="comalgames", description=cg.__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=f"comalgames {cg.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    reproduce = commands.add_parser("reproduce", help="run a paper's experiments and check its claims")
    reproduce.add_argument(
        "papers", nargs="*", default=["comal"], metavar="paper", help="default: comal; or all"
    )
    reproduce.add_argument(
        "--quick", action="store_true", help="only what takes seconds; lists the rest as not run"
    )
    reproduce.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )
    reproduce.add_argument("--json", action="store_true", help="print the claims as JSON")
    reproduce.set_defaults(run=_reproduce)

    solve = commands.add_parser("nash", help="the exact Nash policy of a game in a file")
    solve.add_argument(
        "file", type=Path, metavar="FILE", help="a CSV of win rates, or PrefLib complete orders"
    )
    solve.add_argument("--exclude", default="", metavar="A,B", help="names of options to leave out")
    solve.add_argument(
        "--symmetrize", action="store_true", help="average a CSV with P + P.T != 1, and say how much"
    )
    solve.add_argument("--json", action="store_true", help="print JSON")
    solve.set_defaults(run=_nash)

    plot = commands.add_parser("plot", help="draw a saved run's figures again")
    plot.add_argument("folder", type=Path, metavar="DIR", help="a run folder, such as results/comal/<date>")
    plot.set_defaults(run=_plot)

    listing = commands.add_parser("list", help="papers, algorithms and games")
    listing.add_argument(
        "kinds", nargs="*", metavar="kind", help="papers, algorithms, games; default: all of them"
    )
    listing.set_defaults(run=_list)

    doctor = commands.add_parser("doctor", help="versions, devices, precision, writable folders")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)
    for command in (reproduce, solve, plot, listing, doctor):
        command.set_defaults(options=command.options)
    return parser


def _paper(name: str) -> Paper:
    module = importlib.import_module(PAPERS[validation.known("paper", name, PAPERS)])
    paper: Paper = module.PAPER
    return paper


def _reproduce(arguments: argparse.Namespace) -> int:
    for name in arguments.papers:
        validation.known("paper", name, [*PAPERS, "all"])
    names = list(PAPERS) if "all" in arguments.papers else list(dict.fromkeys(arguments.papers))
    talk = sys.stderr if arguments.json else sys.stdout
    everything = []
    for name in names:
        claims, _ = report.publish(
            _paper(name), arguments.out, arguments.quick, lambda line: print(line, file=talk, flush=True)
        )
        everything += [{"paper": name, **claim} for claim in claims]
    if arguments.json:
        print(json.dumps(everything, indent=2))
    return FAILED if any(claim["status"] == "failed" for claim in everything) else OK


def _plot(arguments: argparse.Namespace) -> int:
    spec, data, _ = load_run(arguments.folder)
    paper = _paper(spec["paper"])
    try:
        figures = report.drawn_figures(paper, data)
    except KeyError as error:
        message = f"{arguments.folder} lacks {error}, which this version's figures show; reproduce it again."
        raise DamagedRun(message) from error
    for path in save_figures(arguments.folder / "figures", figures):
        print(path)
    return OK


def _nash(arguments: argparse.Namespace) -> int:
    exclude = [label for label in arguments.exclude.split(",") if label.strip()]
    with jax.enable_x64(True), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if arguments.file.suffix.lower() in (".toc", ".soc"):
            game = cg.games.from_rankings(arguments.file, exclude)
        else:
            game = cg.games.from_winrates(arguments.file, arguments.symmetrize, exclude)
        solution = cg.nash(game)
        found = picks(game, solution.policy)
    for warning in caught:
        print(f"comalgames: {warning.message}", file=sys.stderr)
    if solution.status != "certified":
        gap = f"the best found has gap {solution.gap:.3g}"
        doubt = f"{gap}, but which options it needs hangs on payoffs of the size of rounding"
        print(
            f"comalgames: no certified Nash policy; {doubt if solution.status == 'undecided' else gap}.",
            file=sys.stderr,
        )
        return FAILED
    against = 0.5 + np.asarray(game.skew) @ solution.policy
    support = [game.names[i] for i in np.flatnonzero(solution.support)]
    answer = {
        "policy": {game.names[i]: float(solution.policy[i]) for i in np.flatnonzero(solution.support)},
        "duality_gap": float(solution.gap),
        "support": support,
        "unique": bool(solution.unique),
        "dimension": int(solution.dimension),
        "win_rate_against_nash": dict(zip(game.names, map(float, against), strict=True)),
        "reward_pick": game.names[found.reward_pick],
        "nash_beats_reward_pick": found.nash_beats_reward,
    }
    print(json.dumps(answer, indent=2) if arguments.json else _describe(answer))
    return OK


def _describe(answer: dict[str, Any]) -> str:
    policy, rates = answer["policy"], answer["win_rate_against_nash"]
    width = max(len(name) for name in rates)

    def listed(numbers: dict[str, float], form: str) -> list[str]:
        ordered = sorted(numbers.items(), key=lambda item: -item[1])
        return [f"  {name:<{width}}  {number:{form}}" for name, number in ordered]

    several = (
        f"It is NOT the only Nash policy (their set has dimension {answer['dimension']}); this one has the "
        f"largest support of all."
    )
    pick, beats = answer["reward_pick"], answer["nash_beats_reward_pick"]
    if policy.get(pick) == 1.0:
        verdict = "the Nash policy's own pick"
    elif pick in policy:
        verdict = "one that the Nash policy plays too; against each other they tie"
    else:
        verdict = f"the Nash policy beats it {beats:.1%} of the time"
    return "\n".join(
        [
            f"Nash policy over {len(rates)} options (duality gap {answer['duality_gap']:.1e}, certified):",
            *listed(policy, ".6f"),
            "It is the only Nash policy." if answer["unique"] else several,
            f"A Bradley-Terry reward fitted on uniform pairs (Borda) would pick {pick}: {verdict}.",
            "Win rate of every option against the Nash policy (none is above 50%):",
            *listed(rates, "7.2%"),
        ]
    )


def _list(arguments: argparse.Namespace) -> int:
    listings = {"papers": _papers, "algorithms": _algorithms, "games": _games}
    for kind in arguments.kinds:
        validation.known("kind", kind, listings)
    print("\n\n".join("\n".join(listings[kind]()) for kind in arguments.kinds or listings))
    return OK


def _papers() -> list[str]:
    papers = [_paper(name) for name in PAPERS]
    lines = [f"  {paper.name:<26}{paper.title}. {len(paper.claims)} claims." for paper in papers]
    return ["papers (comalgames reproduce NAME)", *lines]


def _games() -> list[str]:
    functions = inspect.getmembers(cg.games, inspect.isfunction)
    lines = [f"  {name:<26}{_summary(function)}" for name, function in functions]
    return ["games (comalgames.games.NAME)", *lines]


def _algorithms() -> list[str]:
    """A table: what each converges to, under which step, who says so, and what a step costs."""
    head = ("name", "converges to", "queries", "under which step", "source")
    rows = [
        (name, known.limit, known.queries, known.condition, known.source)
        for name, known in GUARANTEES.items()
        if not known.same_as
    ]
    names = [(name, known.same_as, known.limit) for name, known in GUARANTEES.items() if known.same_as]
    return [
        "algorithms (comalgames.NAME); w is the largest frequency of rotation at the limit",
        *_columns([head, *rows]),
        "",
        "published names of those, with their papers' numbers",
        *_columns([("name", "is", "converges to"), *names]),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _summary(thing: Any) -> str:
    """The first paragraph of its docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def _doctor(arguments: argparse.Namespace) -> int:
    def writable(folder: Path) -> bool:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            return False

    checks = {
        **environment(),
        "comalgames": cg.__version__,
        "x64": jnp.result_type(float) == jnp.float64,
        "compilation_cache": os.environ.get("JAX_COMPILATION_CACHE_DIR", "none"),
        "writable": {str(folder): writable(folder) for folder in (Path.cwd(), Path(tempfile.gettempdir()))},
        "cores": os.cpu_count(),
    }
    if arguments.json:
        print(json.dumps(checks, indent=2))
    else:
        for name, value in checks.items():
            print(f"{name:<20}{value}")
        if not checks["x64"]:
            print("\nx64 is off (the default): gaps below 1e-6 are rounding. For smaller ones put")
            print(
                'jax.config.update("jax_enable_x64", True) first. reproduce, nash and qre use float64 anyway.'
            )
    return OK
