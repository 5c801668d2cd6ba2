"""The table of papers, by the names that `comalgames reproduce` takes; none is imported before it is used."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from comalgames.experiments.spec import Paper


class Entry(NamedTuple):
    """The location of a paper, and its approximate running time on two cores.

    Attributes:
        module: holds the paper as `PAPER`.
        seconds: of a full run; only as good as an estimate before the first run needs to be.
        quick_seconds: of a run with `--quick`.
    """

    module: str
    seconds: float
    quick_seconds: float


PAPERS = {
    "comal": Entry("comalgames.papers.comal", 145, 22),
    "inpo": Entry("comalgames.papers.inpo", 7, 3),
    "sppo": Entry("comalgames.papers.sppo", 3, 3),
    "nash_md": Entry("comalgames.papers.nash_md", 7, 4),
    "egpo": Entry("comalgames.papers.egpo", 35, 7),
    "nash_mirror_prox": Entry("comalgames.papers.nash_mirror_prox", 5, 5),
    "online_ipo": Entry("comalgames.papers.online_ipo", 13, 3),
    "mpo": Entry("comalgames.papers.mpo", 7, 7),
    "onpo": Entry("comalgames.papers.onpo", 8, 8),
    "spo": Entry("comalgames.papers.spo", 5, 5),
    "full_support": Entry("comalgames.papers.full_support", 5, 5),
    "slow_omwu": Entry("comalgames.papers.slow_omwu", 3, 3),
    "mnpo": Entry("comalgames.papers.mnpo", 8, 8),
    "general_preference": Entry("comalgames.papers.general_preference", 9, 9),
    "judges": Entry("comalgames.papers.judges", 11, 3),
    "regressions": Entry("comalgames.papers.regressions", 2, 2),
    "condorcet": Entry("comalgames.papers.condorcet", 4, 4),
    "best_of_n": Entry("comalgames.papers.best_of_n", 4, 4),
    "spin": Entry("comalgames.papers.spin", 1, 1),
    "ours": Entry("comalgames.papers.ours", 40, 5),
    "lm": Entry("comalgames.papers.lm", 160, 25),
}
NAMES = tuple(PAPERS)


def load(name: str) -> Paper:
    """The paper of this name.

    Args:
        name: one of `NAMES`.

    Raises:
        ValueError: there is no paper of this name.
    """
    if name not in PAPERS:
        from comalgames import validation

        validation.known("paper", name, PAPERS)
    paper: Paper = importlib.import_module(PAPERS[name].module).PAPER
    return paper


def load_all(names: Iterable[str] = NAMES) -> list[Paper]:
    """The papers of these names, in this order.

    Args:
        names: of the papers; all by default.
    """
    return [load(name) for name in names]
