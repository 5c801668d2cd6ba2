"""Claims: full sentences that are decided by measured numbers, and the readings that compute these."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

# The results of a paper's experiments: an xarray.Dataset by experiment name.
Data = Mapping[str, Any]

P = ParamSpec("P")

# A sentence of fewer words has no room for the algorithm, the game and the number's meaning.
FEWEST_WORDS = 5


@dataclass(frozen=True)
class Bound:
    """The closed interval that a measured number must lie in; an end may be infinite.

    Attributes:
        low: the smallest number accepted.
        high: the largest number accepted.
    """

    low: float = float("-inf")
    high: float = float("inf")

    def holds(self, measured: float) -> bool:
        """Whether `measured` lies in the interval; nan never does."""
        return bool(self.low <= measured <= self.high)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"= {self.low:g}"
        if self.low == float("-inf"):
            return f"<= {self.high:g}"
        if self.high == float("inf"):
            return f">= {self.low:g}"
        return f"in [{self.low:g}, {self.high:g}]"


def at_most(high: float) -> Bound:
    """The measured number must not exceed `high`.

    Args:
        high: the largest number accepted.
    """
    return Bound(high=high)


def at_least(low: float) -> Bound:
    """The measured number must reach `low`.

    Args:
        low: the smallest number accepted.
    """
    return Bound(low=low)


def between(low: float, high: float) -> Bound:
    """The measured number must lie in [low, high].

    Args:
        low: the smallest number accepted.
        high: the largest number accepted.
    """
    return Bound(low, high)


@dataclass(frozen=True)
class Reading:
    """One number that is computed from the results of experiments, with the names of those it needs.

    Attributes:
        measure: computes the number from the results by experiment.
        needs: names of the experiments it is read from.
        text: the call that made the reading, which spec.json records.
    """

    measure: Callable[[Data], float]
    needs: tuple[str, ...]
    text: str = ""

    def __call__(self, data: Data) -> float:
        """The number, from the results by experiment."""
        return float(self.measure(data))


def reads(*needs: str) -> Callable[[Callable[Concatenate[Data, P], float]], Callable[P, Reading]]:
    """Turn a function of `(data, ...)` into one that takes the other arguments and returns a `Reading`.

    An argument named `experiment` is the name of one more experiment that the reading needs, or a tuple of
    several:

        @reads()
        def last(data: Data, experiment: str, algorithm: str) -> float: ...

        reading = last("headline", "COMAL")  # reading.needs == ("headline",); reading(data) is a number

    Args:
        needs: names of experiments that the function reads whatever its arguments.
    """

    def decorate(function: Callable[Concatenate[Data, P], float]) -> Callable[P, Reading]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def make(*args: P.args, **kwargs: P.kwargs) -> Reading:
            bound = signature.bind(None, *args, **kwargs)
            bound.apply_defaults()
            _, *chosen = bound.arguments.items()
            experiment = dict(chosen).get("experiment", ())
            more = (experiment,) if isinstance(experiment, str) else tuple(experiment)
            listed = ", ".join(f"{name}={value!r}" for name, value in chosen)
            return Reading(
                lambda data: function(data, *args, **kwargs),
                (*needs, *more),
                f"{function.__module__}.{function.__qualname__}({listed})",
            )

        return make

    return decorate


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A measured number and the interval it must lie in for its statement to hold.

    Attributes:
        id: short and unique within the paper, such as "A4.exact".
        quantity: what the measured number is, with its unit.
        source: where the statement was made first.
        reading: computes the number from the results of the experiments that it needs.
        bound: where the number must lie.
    """

    id: str
    quantity: str
    source: str
    reading: Reading
    bound: Bound

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the experiments that the number is read from."""
        return self.reading.needs


@dataclass(frozen=True, init=False)
class Statement:
    """A full sentence that can be read alone, and the claims that decide it.

    Args:
        sentence: begins with a capital letter or a digit, has at least five words and ends with a full stop.
        claims: the measured numbers that the sentence stands for, each beside its bound.

    Attributes:
        sentence: what is claimed.
        claims: what decides it; every row that is printed or saved carries the sentence.

    Raises:
        ValueError: `sentence` is a fragment, or there are no claims.
    """

    sentence: str
    claims: tuple[Claim, ...]

    def __init__(self, sentence: str, *claims: Claim) -> None:
        whole = re.match(r"[A-Z0-9]", sentence) and sentence.endswith(".")
        if not whole or len(sentence.split()) < FEWEST_WORDS:
            raise ValueError(
                f"`sentence` must be read alone, got {sentence!r}: begin with a capital letter, end with a "
                f"full stop, and use at least {FEWEST_WORDS} words."
            )
        if not claims:
            raise ValueError(f"`claims` of {sentence!r} are missing: pass one `Claim` or more.")
        object.__setattr__(self, "sentence", sentence)
        object.__setattr__(self, "claims", claims)
