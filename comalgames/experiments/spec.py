"""Experiments, figures and papers: frozen descriptions that hold no results."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from comalgames import validation
from comalgames.drivers.sweep import sweep
from comalgames.experiments.claims import Claim, Statement

# Names of folders and files.
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@runtime_checkable
class AbstractExperiment(Protocol):
    """Base class of experiments: a name, a question, and a method that computes the answer."""

    @property
    def name(self) -> str:
        """A word for file names and for claims to refer to."""

    @property
    def question(self) -> str:
        """The question that the experiment answers, in one sentence."""

    @property
    def is_quick(self) -> bool:
        """Whether `--quick` runs it."""

    def run(self) -> Any:
        """The results, an `xarray.Dataset`."""

    def spec(self) -> dict[str, Any]:
        """The settings, for the record: JSON values only."""


@dataclass(frozen=True)
class Experiment:
    """One `sweep`: algorithms on games, with every setting that determines its numbers.

    Attributes:
        name: a word for file names and for claims to refer to.
        question: the question that the sweep answers, in one sentence.
        games: makes the games by name (a function, so that importing makes no arrays). Use
            `functools.partial` for one that takes numbers: spec.json then records them.
        algorithms: by name. A `functools.partial` makes a rule whose `repr` would hide a number, such as an
            optimizer's learning rate.
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
        """The `xarray.Dataset` of the sweep. Warnings of the sweep are in its attribute "notes"."""
        rules = {
            name: rule() if isinstance(rule, partial) else rule for name, rule in self.algorithms.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return sweep(self.games(), rules, **self.settings)

    def spec(self) -> dict[str, Any]:
        """Settings as JSON values; functions by name, with the numbers that they were given."""
        return {
            "name": self.name,
            "question": self.question,
            "games": plain(self.games),
            "algorithms": {
                name: plain(rule) if isinstance(rule, partial) else " ".join(repr(rule).split())
                for name, rule in self.algorithms.items()
            },
            "settings": plain(self.settings),
        }


@dataclass(frozen=True)
class Measurement:
    """A measurement that is no sweep: a function that computes an `xarray.Dataset` from settings.

    Attributes:
        name: a word for file names and for claims to refer to.
        question: the question that the measurement answers, in one sentence.
        measure: computes the results; called with `settings` as keyword arguments.
        settings: every number that decides the results, by name of the argument.
        is_quick: whether `--quick` runs it.
    """

    name: str
    question: str
    measure: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_quick: bool = True

    def run(self) -> Any:
        """The measured `xarray.Dataset`."""
        return self.measure(**self.settings)

    def spec(self) -> dict[str, Any]:
        """The name of the function, and its settings as JSON values."""
        return {
            "name": self.name,
            "question": self.question,
            "measure": plain(self.measure),
            "settings": plain(self.settings),
        }


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
    """Panels side by side, with a caption.

    Attributes:
        name: a word for file names: letters, digits, - and _.
        caption: the observation that the figure shows, in full sentences.
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
    """Everything the package says about one paper: experiments, statements with their claims, and figures.

    Attributes:
        name: the word that `comalgames reproduce` takes: letters, digits, - and _.
        title: of the paper.
        source: authors, year, number.
        experiments: what is run; no two of one name.
        statements: what must hold; no two claims of one id.
        figures: drawn from the results; no two of one name.

    Raises:
        ValueError: a name is no word or is taken twice, or something needs an experiment that is not there.
    """

    name: str
    title: str
    source: str
    experiments: tuple[AbstractExperiment, ...]
    statements: tuple[Statement, ...]
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

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of all statements."""
        return tuple(claim for statement in self.statements for claim in statement.claims)

    def spec(self) -> dict[str, Any]:
        """Every setting that decides a number, and the claims, as JSON values."""
        return {
            "paper": self.name,
            "title": self.title,
            "source": self.source,
            "experiments": [experiment.spec() for experiment in self.experiments],
            "claims": [
                {
                    "id": claim.id,
                    "sentence": statement.sentence,
                    "quantity": claim.quantity,
                    "reading": claim.reading.text,
                    "bound": str(claim.bound),
                }
                for statement in self.statements
                for claim in statement.claims
            ],
            "figures": [figure.name for figure in self.figures],
        }

    def spec_hash(self) -> str:
        """Eight hexadecimal digits that change when a setting or a claim does."""
        text = json.dumps(self.spec(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def plain(value: Any) -> Any:
    """A setting as JSON values: functions by name, `functools.partial` with its arguments.

    Args:
        value: a setting.
    """
    if isinstance(value, partial):
        named = (f"{name}={_shown(each)}" for name, each in value.keywords.items())
        return f"{plain(value.func)}({', '.join([*map(_shown, value.args), *named])})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else " ".join(repr(value).split())


def _shown(value: Any) -> str:
    """An argument as it stands in a call: text in quotes, functions and rules without."""
    shown = plain(value)
    return shown if isinstance(shown, str) and not isinstance(value, str) else repr(shown)
