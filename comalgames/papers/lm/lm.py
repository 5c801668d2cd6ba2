"""The paper on the tiny language model: its experiments with their settings, statements and figures.

COMAL (arXiv 2410.23223) shows its methods on language models; here a transformer is small enough for its
policy, its duality gap and its Nash policies to be known exactly.
"""

from __future__ import annotations

from comalgames.experiments import Measurement, Paper
from comalgames.papers.lm import lm_runs
from comalgames.papers.lm.figures import FIGURES
from comalgames.papers.lm.lm_runs import ALWAYS, FIT_STEPS, FIVE, NEVER, NUM_FIT_STEPS, SOMETIMES, TRAINING
from comalgames.papers.lm.statements import STATEMENTS

EXPERIMENTS = (
    Measurement(
        "exact",
        "Do networks that are trained by five published losses follow tables under the same rules?",
        lm_runs.trained,
        {"methods": FIVE, **TRAINING, "num_fit_steps": NUM_FIT_STEPS, "network_seed": 0},
    ),
    # The first networks are others than those of "exact", of which two of these would be copies.
    Measurement(
        "reference",
        "Should the reference be fixed or moved?",
        lm_runs.trained,
        {
            "methods": (SOMETIMES, NEVER, ALWAYS),
            **TRAINING,
            "num_fit_steps": NUM_FIT_STEPS,
            "network_seed": 2,
        },
        is_quick=False,
    ),
    Measurement(
        "sampled",
        "Which rules converge if answers are drawn and every pair is compared once?",
        lm_runs.trained,
        {
            "methods": FIVE,
            **TRAINING,
            "learning_rate": 5e-3,
            "num_fit_steps": 64,
            "network_seed": 0,
            "drawn": lm_runs.DRAWN,
        },
        is_quick=False,
    ),
    Measurement(
        "many rounds",
        "Does COMAL bring all networks to Nash in the end?",
        lm_runs.trained,
        {
            "methods": ("COMAL",),
            **TRAINING,
            "num_rounds": lm_runs.MANY_ROUNDS,
            "num_fit_steps": NUM_FIT_STEPS,
            "network_seed": 0,
        },
        is_quick=False,
    ),
    Measurement(
        "fit steps",
        "How many gradient steps does a round need?",
        lm_runs.fit_steps,
        {"methods": ("COMAL", "INPO"), **TRAINING, "num_fit_steps": FIT_STEPS, "network_seed": 0},
        is_quick=False,
    ),
)

PAPER = Paper(
    name="lm",
    title="From table to language model",
    source="the methods of COMAL, arXiv 2410.23223, on a small transformer",
    experiments=EXPERIMENTS,
    statements=STATEMENTS,
    figures=FIGURES,
)
