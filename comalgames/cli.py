"""The command line: reproduce a paper, solve a game from a file, redraw figures, list, check the set-up.

Nothing heavy is imported before a command runs: `--help` and `--version` load no JAX.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comalgames.papers import registry

if TYPE_CHECKING:
    from comalgames.experiments import Paper
    from comalgames.experiments.report import Published

OK, FAILED, BAD_INPUT, DAMAGED, INTERRUPTED = 0, 1, 2, 3, 130

REPRODUCE = """Run the experiments of papers, check their claims, and draw their figures.

A paper is skipped if DIR holds a complete run of it with the same settings, the same versions of Python and
packages, the same devices and the same --quick; so an interrupted or repeated command goes on with the papers
that are not finished. Settings are compared by a hash of numbers, names of functions and claims: it does not
see changes of this package's code within one version. After such a change use --fresh."""


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
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        from comalgames.experiments import DamagedRun

        print(f"comalgames: {error}", file=sys.stderr)
        return DAMAGED if isinstance(error, DamagedRun) else BAD_INPUT
    except (ArithmeticError, OSError) as error:
        print(f"comalgames: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("comalgames: interrupted.", file=sys.stderr)
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """argparse, with the nearest command in the message when a command is unknown."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            try:
                _known(str(action.metavar or action.dest), value, action.choices)
            except ValueError as error:
                raise argparse.ArgumentError(None, str(error)) from error

    @property
    def options(self) -> tuple[str, ...]:
        """The options that the parser knows."""
        return tuple(self._option_string_actions)


def _known(name: str, value: Any, accepted: Iterable[str]) -> None:
    """Refuse a word that is not accepted, with the nearest one that is."""
    from comalgames import validation

    validation.known(name, value, list(accepted))


def _complaint(unknown: Sequence[str], options: Sequence[str]) -> str:
    """The message about words that no argument took."""
    word = unknown[0].partition("=")[0]
    try:
        _known("option", word, options)
    except ValueError as error:
        if word.startswith("-"):
            return str(error)
    return f"unrecognized arguments: {' '.join(unknown)}"


def _parser() -> _Parser:
    # The package is there before its command line is; its own imports are not repeated here.
    about = (sys.modules["comalgames"].__doc__ or "").partition("\n")[0]
    parser = _Parser(prog="comalgames", description=about)
    parser.add_argument("--version", action="version", version=f"comalgames {metadata.version('comalgames')}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    reproduce = commands.add_parser(
        "reproduce",
        help="run a paper's experiments and check its claims",
        description=REPRODUCE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reproduce.add_argument(
        "papers", nargs="*", default=["comal"], metavar="paper", help="default: comal; or all"
    )
    reproduce.add_argument(
        "--quick",
        action="store_true",
        help="run only experiments of seconds; the others are listed as not run",
    )
    reproduce.add_argument(
        "--fresh", action="store_true", help="run papers again that have a complete run with these settings"
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


# reproduce and plot
# ------------------------------------------------------------------------------------------


def _reproduce(arguments: argparse.Namespace) -> int:
    for name in arguments.papers:
        _known("paper", name, [*registry.NAMES, "all"])
    names = registry.NAMES if "all" in arguments.papers else tuple(dict.fromkeys(arguments.papers))
    from comalgames.experiments import finished_run, report, store
    from comalgames.experiments.progress import display

    out, quick = arguments.out, arguments.quick
    talk = sys.stderr if arguments.json else sys.stdout
    store.check_root(out)
    papers = registry.load_all(names)
    kept = {} if arguments.fresh else {paper.name: finished_run(out, paper, quick) for paper in papers}
    expected = {
        key: seconds
        for paper in papers
        if kept.get(paper.name) is None
        for key, seconds in _expected(paper, out, quick).items()
    }
    progress = display(expected, talk)
    published: list[Published] = []
    try:
        for paper in papers:
            folder = kept.get(paper.name)
            if folder is None:
                published.append(report.publish(paper, out, quick, progress))
            else:
                progress.say(
                    f"{paper.name}: kept {folder}, a complete run with these settings (--fresh runs it again)"
                )
                published.append(report.saved(paper, folder))
            report.write_index(out, registry.load_all())
    except KeyboardInterrupt:
        progress.close()
        done = ", ".join(each.paper for each in published) or "no paper"
        print(
            f"comalgames: interrupted; nothing was kept of the paper that ran. Finished: {done}. The same "
            "command goes on with the others.",
            file=sys.stderr,
        )
        return INTERRUPTED
    finally:
        progress.close()
    print(f"{report.overview(published)}\n\n{out / 'index.html'}", file=talk, flush=True)
    claims = [{"paper": each.paper, **claim} for each in published for claim in each.claims]
    if arguments.json:
        print(json.dumps(claims, indent=2))
    return FAILED if any(claim["status"] == "failed" for claim in claims) else OK


def _expected(paper: Paper, out: Path, quick: bool) -> dict[tuple[str, str], float]:
    """Seconds of each experiment: as in the last run that was saved, else equal shares of the paper's."""
    from comalgames.experiments import store
    from comalgames.experiments.run import chosen_experiments

    chosen = [experiment.name for experiment in chosen_experiments(paper, quick)]
    entry, before = registry.PAPERS[paper.name], store.saved_seconds(out, paper.name)
    share = (entry.quick_seconds if quick else entry.seconds) / max(1, len(chosen))
    return {(paper.name, name): before.get(name, share) for name in chosen}


def _plot(arguments: argparse.Namespace) -> int:
    from comalgames.experiments import load_run, report, store

    spec, _, _ = load_run(arguments.folder)
    (paper,) = registry.load_all([spec["paper"]])
    figures = report.redrawn_figures(paper, arguments.folder)
    for path in store.save_figures(arguments.folder / "figures", figures):
        print(path)
    return OK


# nash
# ------------------------------------------------------------------------------------------


def _nash(arguments: argparse.Namespace) -> int:
    import warnings

    import jax
    import numpy as np

    from comalgames import games
    from comalgames.equilibria import nash
    from comalgames.equilibria.picks import picks
    from comalgames.equilibria.solution import SETTLED

    exclude = [label for label in arguments.exclude.split(",") if label.strip()]
    with jax.enable_x64(True), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if arguments.file.suffix.lower() in (".toc", ".soc"):
            game = games.from_rankings(arguments.file, exclude)
        else:
            game = games.from_winrates(arguments.file, arguments.symmetrize, exclude)
        solution = nash(game)
        chosen = picks(game, solution.policy)
    for warning in caught:
        print(f"comalgames: {warning.message}", file=sys.stderr)
    if solution.status not in SETTLED:
        gap = f"the best policy has a duality gap of {solution.gap:.3g}"
        doubt = f"{gap}, but its support depends on payoffs no larger than rounding error"
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
        "status": str(solution.status),
        "support": support,
        "unique": bool(solution.unique),
        "dimension": int(solution.dimension),
        "win_rate_against_nash": dict(zip(game.names, map(float, against), strict=True)),
        "reward_pick": game.names[chosen.reward_pick],
        "nash_beats_reward_pick": chosen.nash_beats_reward,
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
        f"It is NOT the only Nash policy (their set has dimension {answer['dimension']}"
        f"{', up to rounding of the payoffs' if answer['status'] == 'tied' else ''}); this one has the "
        f"largest support of all."
    )
    pick, beats = answer["reward_pick"], answer["nash_beats_reward_pick"]
    if policy.get(pick) == 1.0:
        verdict = "the Nash policy's own pick"
    elif pick in policy:
        verdict = "the Nash policy plays it too; against each other they tie"
    else:
        verdict = f"the Nash policy beats it {beats:.1%} of the time"
    return "\n".join(
        [
            f"Nash policy over {len(rates)} options (duality gap {answer['duality_gap']:.1e}, certified):",
            *listed(policy, ".6f"),
            "It is the only Nash policy." if answer["unique"] else several,
            f"A Bradley-Terry reward fitted on uniform pairs (Borda) would pick {pick}: {verdict}.",
            "Win rate of every option against the Nash policy (no option is above 50%):",
            *listed(rates, "7.2%"),
        ]
    )


# list and doctor
# ------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    listings: dict[str, Callable[[], list[str]]] = {
        "papers": _papers,
        "algorithms": _algorithms,
        "games": _games,
    }
    for kind in arguments.kinds:
        _known("kind", kind, listings)
    print("\n\n".join("\n".join(listings[kind]()) for kind in arguments.kinds or listings))
    return OK


def _papers() -> list[str]:
    lines = [f"  {paper.name:<26}{paper.title}. {len(paper.claims)} claims." for paper in registry.load_all()]
    return ["papers (comalgames reproduce NAME)", *lines]


def _games() -> list[str]:
    import inspect

    from comalgames import games

    functions = inspect.getmembers(games, inspect.isfunction)
    lines = [f"  {name:<26}{_summary(function)}" for name, function in functions]
    return ["games (comalgames.games.NAME)", *lines]


def _algorithms() -> list[str]:
    """A table: the limit of each, under which step, its source, and the queries of a step."""
    from comalgames.algorithms.guarantees import GUARANTEES

    head = ("name", "converges to", "queries", "under which step", "source")
    rows = [
        (name, known.limit, known.queries, known.condition, known.source)
        for name, known in GUARANTEES.items()
        if not known.same_as
    ]
    names = [(name, known.same_as, known.limit) for name, known in GUARANTEES.items() if known.same_as]
    return [
        "algorithms (comalgames.NAME); w is the largest rotation frequency at the limit",
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
    import inspect

    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def _doctor(arguments: argparse.Namespace) -> int:
    import jax.numpy as jnp

    from comalgames.experiments import environment

    def writable(folder: Path) -> bool:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            return False

    checks = {
        **environment(),
        "comalgames": metadata.version("comalgames"),
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
            print("\nx64 is off (the default): gaps below 1e-6 are rounding error. For smaller ones call")
            print(
                'jax.config.update("jax_enable_x64", True) first. reproduce, nash and qre use float64 anyway.'
            )
    return OK
