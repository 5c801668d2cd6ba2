"""Results that are ours: found with this package, and stated in no publication that we know of.

docs/new.md explains each of them. Two more stand beside the papers that they are about: the weights with
which MNPO converges (A28.players and A28.few in mnpo.py), and SPO's queue of opponents (A23.queue in spo.py).
"""

from __future__ import annotations

from comalgames.experiments.spec import Paper
from comalgames.papers.ours import (
    best_period,
    best_period_formula,
    boundary,
    merged_pairs,
    other_draws,
    ranked_pairs,
    reward_pick,
    stale_labels,
    which_nash,
    wrong_labels,
)

PARTS = (
    best_period_formula,
    best_period,
    which_nash,
    stale_labels,
    ranked_pairs,
    merged_pairs,
    wrong_labels,
    reward_pick,
    other_draws,
    boundary,
)

PAPER = Paper(
    name="ours",
    title="Results that are ours: limits, periods and certificates that we found in no publication",
    source="this package",
    experiments=tuple(experiment for part in PARTS for experiment in part.EXPERIMENTS),
    statements=tuple(statement for part in PARTS for statement in part.STATEMENTS),
    figures=tuple(figure for part in PARTS for figure in part.FIGURES),
)
