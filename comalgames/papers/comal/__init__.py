"""COMAL: the claims of the paper, and those that this package adds, one file per question.

Liu et al., "COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences", arXiv 2410.23223.
"""

from __future__ import annotations

from comalgames.experiments.spec import Paper
from comalgames.papers.comal import (
    annotators,
    exact_steps,
    final_policies,
    headline,
    inexact,
    inner_steps,
    label_flips,
    losses,
    noise,
    one_algorithm,
    optimizer,
    outer_rate,
    phase,
    published_constants,
    reward_models,
    samples,
    self_tuning,
    spiral,
    step_sizes,
)

# Each holds the experiments, statements and figures of one question. The paper's own claims:
IN_THE_PAPER = (headline, exact_steps, final_policies, samples)

# Claims that are not in the paper, on the same game and beyond:
ADDED = (
    spiral,
    outer_rate,
    inner_steps,
    one_algorithm,
    step_sizes,
    reward_models,
    losses,
    optimizer,
    published_constants,
    label_flips,
    noise,
    annotators,
    self_tuning,
    inexact,
    phase,
)

PARTS = (*IN_THE_PAPER, *ADDED)

PAPER = Paper(
    name="comal",
    title="COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences",
    source="Liu et al., arXiv 2410.23223",
    experiments=tuple(experiment for part in PARTS for experiment in part.EXPERIMENTS),
    statements=tuple(statement for part in PARTS for statement in part.STATEMENTS),
    figures=tuple(figure for part in PARTS for figure in part.FIGURES),
)
