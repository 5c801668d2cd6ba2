"""Guarantees: the limit of each rule, the condition under which it is reached, and the source.

A rule states its own by the decorator `guaranteed`; `tests/test_guarantees.py` holds each against runs.
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
        condition: the condition under which the limit is reached; w is the largest frequency of rotation at
            the limit.
        source: the source of the claim, or "measured".
        queries: number of queries in a step, as a word where it depends.
        same_as: for a published name, the rule that it returns; else "".
    """

    limit: str
    condition: str
    source: str
    queries: str = "1"
    same_as: str = ""


# Filled by `guaranteed`, when the modules of the rules are imported.
GUARANTEES: dict[str, Guarantee] = {}

Thing = TypeVar("Thing", bound=Callable[..., Any])


def guaranteed(
    limit: str, condition: str, source: str, queries: str = "1", same_as: str = ""
) -> Callable[[Thing], Thing]:
    """A decorator that states the guarantee of a rule, or of a published name, in `GUARANTEES`.

    Args:
        limit: one of `LIMITS`.
        condition: the condition under which the limit is reached.
        source: the source of the claim, or "measured".
        queries: number of queries in a step, as a word where it depends.
        same_as: for a published name, the rule that it returns.
    """

    def note(thing: Thing) -> Thing:
        GUARANTEES[thing.__name__] = Guarantee(limit, condition, source, queries, same_as)
        return thing

    return note
