"""What an experiment, a claim, a figure and a paper are: frozen descriptions that hold no results."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

from comalgames import validation
from comalgames.drivers.sweep import sweep

# Names of folders and files.
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# The results of a paper's experiments: an xarray.Dataset by experiment name.
Data = Mapping[str, Any]


@runtime_checkable
class AbstractExperiment(Protocol):
    """Anything with a name, a question, and a way to get the numbers that answer it."""

    @property
    def name(self) -> str:
        """A word for file names and for claims to refer to."""

    @property
    def question(self) -> str:
        """What it asks, in one sentence."""

    @property
    def is_quick(self) -> bool:
        """Whether `--quick` runs it."""

    def run(self) -> Any:
        """Its results, an `xarray.Dataset`."""

    def spec(self) -> dict[str, Any]:
        """Its settings, for the record: JSON values only."""


@dataclass(frozen=True)
class Experiment:
    """One `sweep`: algorithms on games, everything that decides its numbers spelt out.

    Attributes:
        name: a word for file names and for claims to refer to.
        question: what it asks, in one sentence.
        games: makes the games by name (a function, so that importing makes no arrays).
        algorithms: by name.
        settings: keyword arguments of `sweep`: `num_steps` or `num_queries`, `init`, `metrics`, ...
        is_quick: whether `--quick` runs it.
    """

    name: str
    question: str
    games: Callable[[], Mapping[str, Any]]
    algorithms: Mapping[str, Any]
    settings: Mapping[str, Any]
    is_quick: bool = True

    def run(self) -> Any:
        """The sweep's `xarray.Dataset`. What the sweep warns of is in its attribute "notes"."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return sweep(self.games(), self.algorithms, **self.settings)

    def spec(self) -> dict[str, Any]:
        """Settings as JSON values; functions by name."""
        return {
            "name": self.name,
            "question": self.question,
            "games": _plain(self.games),
            "algorithms": {name: repr(rule) for name, rule in self.algorithms.items()},
            "settings": {name: _plain(value) for name, value in self.settings.items()},
        }


@dataclass(frozen=True)
class Measurement:
    """Numbers that no sweep gives: a function that computes an `xarray.Dataset`.

    Attributes:
        name: a word for file names and for claims to refer to.
        question: what it asks, in one sentence.
        measure: computes the results; takes nothing, so all settings are in its code.
        is_quick: whether `--quick` runs it.
    """

    name: str
    question: str
    measure: Callable[[], Any]
    is_quick: bool = True

    def run(self) -> Any:
        """The measured `xarray.Dataset`."""
        return self.measure()

    def spec(self) -> dict[str, Any]:
        """The name of the function that holds the settings."""
        return {"name": self.name, "question": self.question, "measure": _plain(self.measure)}


@dataclass(frozen=True)
class Bound:
    """The interval a measured number must lie in, ends included; an end may be infinite.

    Attributes:
        low: the smallest number accepted.
        high: the largest number accepted.
    """

    low: float = float("-inf")
    high: float = float("inf")

    def holds(self, measured: float) -> bool:
        """Whether `measured` lies inside; nan never does."""
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
class Claim:
    """A sentence that a measured number decides.

    Attributes:
        id: short and unique within the paper, such as "A4.exact".
        sentence: what is claimed.
        source: where it was claimed.
        quantity: what the measured number is, with its unit.
        measure: computes it from the results of the experiments in `needs`.
        bound: where it must lie.
        needs: names of the experiments it is read from.
    """

    id: str
    sentence: str
    source: str
    quantity: str
    measure: Callable[[Data], float]
    bound: Bound
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One set of axes, drawn from one experiment's saved results.

    Attributes:
        kind: which drawing function of `panels.PANELS`.
        experiment: whose results.
        title: above the axes.
        options: keyword arguments of the drawing function.
    """

    kind: str
    experiment: str
    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """Panels side by side, with a caption that says what to see.

    Attributes:
        name: a word for file names: letters, digits, - and _.
        caption: what a reader should see in it.
        panels: from left to right.
    """

    name: str
    caption: str
    panels: tuple[Panel, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the experiments it is drawn from."""
        return tuple(panel.experiment for panel in self.panels)


@dataclass(frozen=True)
class Paper:
    """Everything the package says about one paper: what was run, what must hold, what to look at.

    Attributes:
        name: the word that `comalgames reproduce` takes: letters, digits, - and _.
        title: of the paper.
        source: authors, year, number.
        experiments: what is run; no two of one name.
        claims: what must hold; no two of one id.
        figures: what to look at; no two of one name.

    Raises:
        ValueError: a name is no word or is taken twice, or something needs an experiment that is not there.
    """

    name: str
    title: str
    source: str
    experiments: tuple[AbstractExperiment, ...]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]

    def __post_init__(self) -> None:
        names = [experiment.name for experiment in self.experiments]
        figures = [figure.name for figure in self.figures]
        for word in (self.name, *figures):
            if not SLUG.fullmatch(word):
                raise ValueError(f"`name` {word!r} names files: only letters, digits, - and _ are accepted.")
        for kind, words in (
            ("experiments", names),
            ("claims", [claim.id for claim in self.claims]),
            ("figures", figures),
        ):
            twice = sorted({word for word in words if words.count(word) > 1})
            if twice:
                raise ValueError(f"`{kind}` must have names of their own; there are two of {twice[0]!r}.")
            if any("/" in word for word in words):
                raise ValueError(f"`{kind}` must have names without a slash, got {words}.")
        needs = [need for claim in self.claims for need in claim.needs]
        for need in needs + [need for figure in self.figures for need in figure.needs]:
            validation.known("needs", need, names)

    def spec(self) -> dict[str, Any]:
        """Every setting that decides a number, as JSON values."""
        return {
            "paper": self.name,
            "title": self.title,
            "source": self.source,
            "experiments": [experiment.spec() for experiment in self.experiments],
            "claims": [{"id": claim.id, "bound": str(claim.bound)} for claim in self.claims],
        }

    def spec_hash(self) -> str:
        """Eight hexadecimal digits that change when a setting does."""
        text = json.dumps(self.spec(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    if isinstance(value, partial):
        arguments = [*map(repr, value.args), *(f"{name}={each!r}" for name, each in value.keywords.items())]
        return f"{_plain(value.func)}({', '.join(arguments)})"
    if callable(value):
        return (
            f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        )
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
