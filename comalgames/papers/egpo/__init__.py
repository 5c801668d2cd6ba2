"""EGPO against online IPO, Nash-MD and their policy gradients, in its authors' own simulation.

Zhou et al., "Extragradient Preference Optimization (EGPO)", 2025, arXiv 2503.08942. Ten random games of ten
answers; references with standard normal scores; policies begin at them. Temperatures, steps of SGD and
numbers of iterations are those of its public simulation, except for fewer iterations at temperature 0.001;
the games are our own draws. The mixture share of Nash-MD-PG is that of its language-model script, and Nash-MD
mixes twice as much as in its simulation: see docs/deviations.md.
"""

from __future__ import annotations

from comalgames.experiments.spec import Paper
from comalgames.papers.egpo import best_steps, contraction, original, simulation

PARTS = (contraction, simulation, best_steps, original)

PAPER = Paper(
    name="egpo",
    title="EGPO against online IPO, Nash-MD and policy gradients",
    source="Zhou et al. 2025, arXiv 2503.08942",
    experiments=tuple(experiment for part in PARTS for experiment in part.EXPERIMENTS),
    statements=tuple(statement for part in PARTS for statement in part.STATEMENTS),
    figures=tuple(figure for part in PARTS for figure in part.FIGURES),
)
