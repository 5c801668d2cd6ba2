"""The figures of the runs on the tiny language model."""

from __future__ import annotations

from comalgames.experiments import Figure, Panel
from comalgames.papers.lm.lm_runs import NUM_NETWORKS, NUM_PROMPTS, NUM_ROUNDS, PERIOD
from comalgames.papers.lm.statements import BASELINES

ROUNDS = {"xlabel": "rounds", "ylabel": "duality gap"}

TABLES = {"beside": "table_gap", "beside_label": "as tables"}

MEDIANS = f"medians over {NUM_NETWORKS} first networks and {NUM_PROMPTS} prompts, quartiles shaded"

FIGURES = (
    Figure(
        "lm",
        "One transformer answers four prompts, each with nine answers, of which three good ones beat each "
        f"other in a cycle. Five rules train it, each on its published loss; {MEDIANS}. Left: all answers "
        "and exact preferences. Iterative DPO, iterative IPO and SPPO cycle, INPO stops at its regularized "
        "equilibrium, and COMAL reaches Nash. Thin black lines: the same rules as tables, from the same "
        "first policies. Middle: answers drawn by the network, each pair compared once. Right: the share of "
        "the distance to the rule's exact target that remains after a round, in the runs at the left. It "
        "carries no information once the distance itself is small, as for INPO and COMAL at the end: the "
        "rest is the noise of the optimizer.",
        (
            Panel("gap", "exact", "all answers, exact preferences", {**ROUNDS, **TABLES, "bottom": 1e-4}),
            Panel(
                "gap",
                "sampled",
                "answers drawn, pairs compared once",
                {**ROUNDS, "bottom": 1e-4, "legend": None},
            ),
            Panel(
                "gap",
                "exact",
                "how far a round's training gets",
                {
                    "curve": "fit_residual",
                    "xlabel": "rounds",
                    "ylabel": "fit residual (share of the way left)",
                    "bottom": 1e-3,
                    "legend": None,
                },
            ),
        ),
    ),
    Figure(
        "lm_tables",
        "Networks beside tables that follow the same rules from the same first policies (thin black lines); "
        f"{MEDIANS}. Left: INPO and COMAL, which reduce errors. Right: three rules that cycle, and amplify "
        "errors.",
        (
            Panel(
                "gap",
                "exact",
                "rules with a reference",
                {**ROUNDS, **TABLES, "algorithms": ("COMAL", "INPO"), "bottom": 1e-4},
            ),
            Panel(
                "gap",
                "exact",
                "rules without one",
                {**ROUNDS, **TABLES, "algorithms": BASELINES, "until": NUM_ROUNDS // 2, "bottom": 0.1},
            ),
        ),
    ),
    Figure(
        "reference_schedule",
        f"A network trained on one loss, INPO's, with three references; {MEDIANS}. With a fixed reference "
        "it stops at the regularized equilibrium. With a reference that moves every round it cycles. With a "
        f"reference that moves every {PERIOD} rounds, near the inner equilibrium, it reaches Nash.",
        (Panel("gap", "reference", "one loss; the reference is ...", {**ROUNDS, "bottom": 1e-4}),),
    ),
    Figure(
        "lm_fit_steps",
        "The number of gradient steps sets the step size. Left: the gaps of COMAL's and INPO's networks "
        f"after {NUM_ROUNDS} rounds, by gradient steps per round; medians and quartiles. Right: the share of "
        "the distance to the target that remains after the first round. With few gradient steps per round "
        "covers a small part of it: the rule is the same, and its steps are smaller.",
        (
            Panel(
                "lines",
                "fit steps",
                f"after {NUM_ROUNDS} rounds",
                {
                    "x": "fit_steps",
                    "y": "gap",
                    "series": "algorithm",
                    "band": ("game", "seed"),
                    "xlabel": "gradient steps per round",
                    "ylabel": f"largest duality gap, last {PERIOD} rounds",
                    "logx": True,
                    "legend": "lower left",
                },
            ),
            Panel(
                "lines",
                "fit steps",
                "share of the way that the first round leaves",
                {
                    "x": "fit_steps",
                    "y": {"first_residual": "share of the way left"},
                    "band": ("game", "seed"),
                    "xlabel": "gradient steps per round",
                    "ylabel": "fit residual of the first round",
                    "logx": True,
                },
            ),
        ),
    ),
)
