"""Guarantees: the limit of each rule, the condition under which it is reached, and the source.

A rule states its guarantee by the decorator `guaranteed`; `tests/test_guarantees.py` tests each by runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

NASH = "last iterate: Nash"
REGULARIZED = "last iterate: regularized Nash"
AVERAGE = "average only"
OWN = "last iterate: its own limit"
NOTHING = "nothing"
INNER = "as the rule inside"

LIMITS = (NASH, REGULARIZED, AVERAGE, OWN, NOTHING, INNER)


class Guarantee(NamedTuple):
    """The guarantee of one rule on preference games with an interior Nash policy.

    Attributes:
        limit: one of `LIMITS`. "Average only": the last policy does not converge, the mean of all goes to
            Nash. "Its own limit": an equilibrium of another game, or a biased one.
        condition: the condition under which the limit is reached from nearby; w is the largest frequency of
            rotation at the limit.
        anywhere: the condition under which it is reached from every start, with payoffs of at most 1/2; ""
            where none is known.
        source: the source of the claim, or "measured".
        queries: number of queries in a step, as a word where it depends.
        same_as: for a published name, the rule that it returns; else "".
    """

    limit: str
    condition: str
    source: str
    queries: str = "1"
    same_as: str = ""
    anywhere: str = ""


# Filled by `guaranteed`, when the modules of the rules are imported.
GUARANTEES: dict[str, Guarantee] = {}

Thing = TypeVar("Thing", bound=Callable[..., Any])


def guaranteed(
    limit: str, condition: str, source: str, queries: str = "1", same_as: str = "", anywhere: str = ""
) -> Callable[[Thing], Thing]:
    """A decorator that states the guarantee of a rule, or of a published name, in `GUARANTEES`.

    Args:
        limit: one of `LIMITS`.
        condition: the condition under which the limit is reached from nearby.
        source: the source of the claim, or "measured".
        queries: number of queries in a step, as a word where it depends.
        same_as: for a published name, the rule that it returns.
        anywhere: the condition under which the limit is reached from every start.
    """

    def note(thing: Thing) -> Thing:
        GUARANTEES[thing.__name__] = Guarantee(limit, condition, source, queries, same_as, anywhere)
        return thing

    return note


def as_markdown() -> str:
    """The page of all rules that have been imported, as Markdown: docs/rules.md."""
    lines = [
        "# Rules",
        "",
        "`make rules` writes this page from the guarantees stated in the code of the rules; do not edit it.",
        "A test runs each rule under its condition and compares the result with the limit. The conditions",
        "near the limit follow from the linearized step; w is the largest rotation frequency at the limit.",
        "Farther from the limit a rule may cycle even if they hold. The conditions from every start hold for",
        "payoffs of at most 1/2. t is the index of the step and T the number of steps.",
    ]
    ordered = sorted(GUARANTEES.items(), key=lambda item: item[0].lower())
    for limit in LIMITS:
        rows = [(name, known) for name, known in ordered if known.limit == limit and not known.same_as]
        if rows:
            lines += ["", f"## {_HEADINGS[limit]}", ""]
            lines += _table(
                ("rule", "near the limit", "from every start", "queries per step", "source"),
                [
                    (f"`{name}`", known.condition, known.anywhere or "-", known.queries, known.source)
                    for name, known in rows
                ],
            )
    names = [(name, known) for name, known in ordered if known.same_as]
    lines += ["", "## Published names of these rules", ""]
    lines += _table(
        ("name", "rule", "limit", "near the limit", "from every start", "source"),
        [
            (
                f"`{name}`",
                _code(known.same_as),
                known.limit,
                known.condition,
                known.anywhere or "-",
                known.source,
            )
            for name, known in names
        ],
    )
    return "\n".join(lines) + "\n"


_HEADINGS = {
    NASH: "The last policy converges to Nash",
    REGULARIZED: "The last policy converges to the equilibrium of the regularized game",
    AVERAGE: "Only the average policy converges to Nash",
    OWN: "The last policy converges to another limit",
    NOTHING: "Neither the last policy nor the average converges to Nash",
    INNER: "The limit is that of the inner rule",
}


def _code(names: str) -> str:
    """The names set as code, with the "or" between them outside."""
    return "`" + names.replace(", or ", "`, or `") + "`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table in Markdown, one line for each row."""
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]
