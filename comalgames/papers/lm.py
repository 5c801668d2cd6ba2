"""From table to language model: rules as tables predict them, on a network that is trained by their losses.

What COMAL (arXiv 2410.23223) shows of its methods, on a transformer small enough for its policy, its duality
gap and its Nash policies to be known exactly.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from comalgames.experiments import Claim, Figure, Measurement, Panel, Paper, at_least, at_most, between
from comalgames.experiments.spec import Data
from comalgames.papers import lm_runs
from comalgames.papers.lm_runs import FIT_STEPS, LATE, NUM_FIT_STEPS, NUM_ROUNDS, PERIOD

# What a number is taken over.
ALL = f"{lm_runs.NUM_SEEDS} networks and {lm_runs.NUM_PROMPTS} prompts"

BASELINES = ("iterative DPO", "iterative IPO", "SPPO")
COMAL_SOURCE = "COMAL, arXiv 2410.23223, synthetic experiment"
NEW = "not in the paper"

# Rounds in which the baselines are still near their table's; later a small error has grown to any size.
EARLY = slice(None, PERIOD + 1)

# Rounds of the first and of the second period; record 0 has no round.
FIRST, SECOND = slice(1, PERIOD + 1), slice(PERIOD + 1, 2 * PERIOD + 1)

SECOND_HALF = slice(NUM_ROUNDS // 2, None)


def smallest_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The smallest gap in the second half of the run, over all networks and prompts."""
    gaps = data[experiment]["duality_gap"].sel(algorithm=algorithm).isel(record=SECOND_HALF)
    return float(gaps.min(skipna=False))


def swing(data: Data, experiment: str, algorithm: str) -> float:
    """The largest minus the smallest gap in the second half, the smallest over networks and prompts."""
    gaps = data[experiment]["duality_gap"].sel(algorithm=algorithm).isel(record=SECOND_HALF)
    return float((gaps.max("record", skipna=False) - gaps.min("record", skipna=False)).min(skipna=False))


def growth_of_kl(data: Data, algorithm: str) -> float:
    """KL(Nash, last policy) over KL(Nash, policy after PERIOD rounds), median over networks and prompts."""
    kl = data["exact"]["kl_to_nash"].sel(algorithm=algorithm)
    return float((kl.isel(record=-1) / kl.isel(record=PERIOD)).median(skipna=False))


def largest_late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The largest gap in the last period of the run, over all networks and prompts."""
    return float(data[experiment]["duality_gap"].sel(algorithm=algorithm).isel(record=LATE).max(skipna=False))


def late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The largest gap in the last period of the run, median over networks and prompts."""
    gaps = (
        data[experiment]["duality_gap"].sel(algorithm=algorithm).isel(record=LATE).max("record", skipna=False)
    )
    return float(gaps.median(skipna=False))


def middle_late_gap(data: Data, experiment: str, algorithm: str) -> float:
    """The mean gap in the last period of the run, median over networks and prompts."""
    gaps = (
        data[experiment]["duality_gap"]
        .sel(algorithm=algorithm)
        .isel(record=LATE)
        .mean("record", skipna=False)
    )
    return float(gaps.median(skipna=False))


def distance_to_regularized(data: Data, experiment: str, algorithm: str) -> float:
    """Largest |last gap / the regularized equilibrium's - 1|, over networks and prompts."""
    runs = data[experiment]
    ratio = runs["duality_gap"].sel(algorithm=algorithm).isel(record=-1) / runs["regularized_gap"]
    return float(np.abs(ratio - 1).max(skipna=False))


def middle_bias(data: Data) -> float:
    """The mean late gap of INPO on drawn answers over the regularized equilibrium's, median."""
    runs = data["sampled"]
    late = runs["duality_gap"].sel(algorithm="INPO").isel(record=LATE).mean("record", skipna=False)
    return float((late / runs["regularized_gap"]).median(skipna=False))


def regularized_over(data: Data, experiment: str) -> float:
    """The regularized equilibrium's gap over COMAL's largest late one, median over networks and prompts."""
    runs = data[experiment]
    late = runs["duality_gap"].sel(algorithm="COMAL").isel(record=LATE).max("record", skipna=False)
    return float((runs["regularized_gap"] / late).median(skipna=False))


def distance_to_table(data: Data, algorithm: str, records: slice) -> float:
    """Largest difference of a network's gap from its table's, median over networks and prompts."""
    runs = data["exact"].sel(algorithm=algorithm).isel(record=records)
    largest = np.abs(runs["duality_gap"] - runs["table_gap"]).max("record", skipna=False)
    return float(largest.median(skipna=False))


def middle_residual(data: Data, algorithm: str, rounds: slice) -> float:
    """Fit residual, median over the given rounds, networks and prompts."""
    residual = data["exact"]["fit_residual"].sel(algorithm=algorithm)
    return float(residual.isel(record=rounds).median(skipna=False))


def way_left(data: Data) -> float:
    """How far INPO's last round had to go, the largest over networks and prompts, nats."""
    return float(data["exact"]["distance"].sel(algorithm="INPO").isel(record=-1).max(skipna=False))


def sampled_ratio(data: Data) -> float:
    """INPO's mean late gap over COMAL's, on drawn answers: the median over networks and prompts."""
    late = data["sampled"]["duality_gap"].isel(record=LATE).mean("record", skipna=False)
    return float((late.sel(algorithm="INPO") / late.sel(algorithm="COMAL")).median(skipna=False))


def gap_after_fits(data: Data, num_fit_steps: int) -> float:
    """COMAL's largest late gap with so many gradient steps a round, median over networks and prompts."""
    return float(
        data["fit steps"]["gap"].sel(algorithm="COMAL", fit_steps=num_fit_steps).median(skipna=False)
    )


EXPERIMENTS = (
    Measurement(
        "exact",
        "Do networks that are trained by five published losses do what tables do under the same rules?",
        lm_runs.exact,
    ),
    Measurement(
        "reference",
        "Should the reference be fixed or moved?",
        lm_runs.reference_schedules,
        is_quick=False,
    ),
    Measurement(
        "sampled",
        "What remains if answers are drawn and every pair is compared once?",
        lm_runs.sampled,
        is_quick=False,
    ),
    Measurement(
        "fit steps",
        "How many gradient steps does a round need?",
        lm_runs.fit_steps,
        is_quick=False,
    ),
)

CLAIMS = (
    *(
        Claim(
            f"LM1.{name.split()[-1]}",
            f"{name[0].upper()}{name[1:]}, training a network, does not converge: its gap goes up and down,",
            COMAL_SOURCE,
            f"largest minus smallest duality gap in the second half of the run, smallest over {ALL}",
            partial(swing, experiment="exact", algorithm=name),
            at_least(0.1),
            ("exact",),
        )
        for name in BASELINES
    ),
    *(
        Claim(
            f"LM1.{name.split()[-1]}.gap",
            f"that of {name} never comes near 0,",
            COMAL_SOURCE,
            f"smallest duality gap in the second half of the run, over {ALL}",
            partial(smallest_gap, experiment="exact", algorithm=name),
            at_least(0.1),
            ("exact",),
        )
        for name in BASELINES
    ),
    *(
        Claim(
            f"LM1.{name.split()[-1]}.kl",
            f"and once bad answers have lost their mass, {name} moves away from Nash.",
            COMAL_SOURCE,
            f"KL(Nash, last policy) / KL(Nash, policy after {PERIOD} rounds), median over {ALL}",
            partial(growth_of_kl, algorithm=name),
            at_least(2.0),
            ("exact",),
        )
        for name in BASELINES
    ),
    Claim(
        "LM2.limit",
        "INPO, training a network, stops at the gap of the regularized game's exact equilibrium,",
        f"{COMAL_SOURCE}; INPO",
        "largest |last gap / the equilibrium's - 1|",
        partial(distance_to_regularized, experiment="exact", algorithm="INPO"),
        at_most(0.03),
        ("exact",),
    ),
    Claim(
        "LM2.gap",
        "which is not Nash.",
        f"{COMAL_SOURCE}; INPO",
        "smallest duality gap in the second half of the run",
        partial(smallest_gap, experiment="exact", algorithm="INPO"),
        at_least(0.05),
        ("exact",),
    ),
    Claim(
        "LM3.nash",
        f"COMAL, the same loss with the reference moved every {PERIOD} rounds to the network reached, goes "
        "on to Nash,",
        f"{COMAL_SOURCE}; theorem 1",
        f"largest duality gap in the last period, median over {ALL}",
        partial(late_gap, experiment="exact", algorithm="COMAL"),
        at_most(0.003),
        ("exact",),
    ),
    Claim(
        "LM3.all",
        "every one of the networks on every prompt,",
        f"{COMAL_SOURCE}; theorem 1",
        f"largest duality gap in the last period, over {ALL}",
        partial(largest_late_gap, experiment="exact", algorithm="COMAL"),
        at_most(0.02),
        ("exact",),
    ),
    Claim(
        "LM3.ratio",
        "far below where the fixed reference stops.",
        COMAL_SOURCE,
        f"the regularized equilibrium's gap / COMAL's largest late gap, median over {ALL}",
        partial(regularized_over, experiment="exact"),
        at_least(50.0),
        ("exact",),
    ),
    *(
        Claim(
            f"LM4.{name}",
            f"{name} on most networks does in all rounds what the same rule does as a table from the same "
            "first policy.",
            NEW,
            f"largest difference of the two gaps over the rounds, median over {ALL}",
            partial(distance_to_table, algorithm=name, records=slice(None)),
            at_most(0.01),
            ("exact",),
        )
        for name in ("COMAL", "INPO")
    ),
    *(
        Claim(
            f"LM4.{name.split()[-1]}",
            f"{name[0].upper()}{name[1:]} does so in its first {PERIOD} rounds{note}.",
            NEW,
            f"largest difference of the two gaps over these rounds, median over {ALL}",
            partial(distance_to_table, algorithm=name, records=EARLY),
            at_most(bound),
            ("exact",),
        )
        for name, note, bound in (
            ("iterative DPO", "", 0.02),
            ("iterative IPO", "", 0.02),
            ("SPPO", ", but for the little by which its loss has another minimum than its table's step", 0.1),
        )
    ),
    *(
        Claim(
            f"LM5.{name.split()[-1]}",
            f"{NUM_FIT_STEPS} steps of Adam bring {name} near the target of a round.",
            NEW,
            f"fit residual: share of the way left, median over {when} {PERIOD} rounds, networks, prompts",
            partial(middle_residual, algorithm=name, rounds=rounds),
            at_most(0.1),
            ("exact",),
        )
        for name in lm_runs.FIVE
        # Until its reference moves COMAL is INPO.
        for when, rounds in [("the second", SECOND) if name == "COMAL" else ("the first", FIRST)]
    ),
    Claim(
        "LM5.stop",
        "At the end INPO's residual says nothing of its training: next to nothing is left to go,",
        NEW,
        "largest root mean square distance of margins to the target at the last round's start, nats",
        way_left,
        at_most(0.01),
        ("exact",),
    ),
    Claim(
        "LM5.noise",
        "less than what Adam, started afresh, moves a network that is there.",
        NEW,
        f"fit residual, median over the last {PERIOD} rounds, networks and prompts",
        partial(middle_residual, algorithm="INPO", rounds=LATE),
        at_least(1.0),
        ("exact",),
    ),
    Claim(
        "LM6.never",
        "Should the reference be fixed or moved? Fixed, other networks stop at the regularized equilibrium;",
        NEW,
        "largest |last gap / the equilibrium's - 1|",
        partial(distance_to_regularized, experiment="reference", algorithm=lm_runs.NEVER),
        at_most(0.03),
        ("reference",),
    ),
    Claim(
        "LM6.always",
        "moved every round, they cycle;",
        NEW,
        f"largest minus smallest duality gap in the second half of the run, smallest over {ALL}",
        partial(swing, experiment="reference", algorithm=lm_runs.ALWAYS),
        at_least(0.1),
        ("reference",),
    ),
    Claim(
        "LM6.sometimes",
        "moved when the inner rounds have come near their equilibrium, they reach Nash.",
        NEW,
        f"largest duality gap in the last period, median over {ALL}",
        partial(late_gap, experiment="reference", algorithm=lm_runs.SOMETIMES),
        at_most(0.003),
        ("reference",),
    ),
    *(
        Claim(
            f"LM7.{name.split()[-1]}",
            f"{name[0].upper()}{name[1:]} does not come near Nash on drawn answers and labels either.",
            "COMAL, synthetic experiment with preference samples",
            f"smallest duality gap in the second half of the run, over {ALL}",
            partial(smallest_gap, experiment="sampled", algorithm=name),
            at_least(0.1),
            ("sampled",),
        )
        for name in BASELINES
    ),
    Claim(
        "LM7.INPO",
        "INPO stays at its bias there,",
        NEW,
        f"mean late gap / the regularized equilibrium's, median over {ALL}",
        middle_bias,
        between(0.9, 1.1),
        ("sampled",),
    ),
    Claim(
        "LM7.COMAL",
        "and COMAL comes down to its noise,",
        NEW,
        f"mean duality gap in the last period, median over {ALL}",
        partial(middle_late_gap, experiment="sampled", algorithm="COMAL"),
        at_most(0.05),
        ("sampled",),
    ),
    Claim(
        "LM7.ratio",
        "several times lower.",
        NEW,
        f"INPO's mean late gap / COMAL's, median over {ALL}",
        sampled_ratio,
        at_least(5.0),
        ("sampled",),
    ),
    Claim(
        "LM8.few",
        f"A rule needs rounds that are trained: with {FIT_STEPS[0]} gradient steps a round "
        f"COMAL's network is still far from Nash after {NUM_ROUNDS} rounds,",
        NEW,
        f"largest duality gap in the last period, median over {ALL}",
        partial(gap_after_fits, num_fit_steps=FIT_STEPS[0]),
        at_least(0.1),
        ("fit steps",),
    ),
    Claim(
        "LM8.many",
        f"and with {FIT_STEPS[-1]} it has arrived.",
        NEW,
        f"largest duality gap in the last period, median over {ALL}",
        partial(gap_after_fits, num_fit_steps=FIT_STEPS[-1]),
        at_most(1e-3),
        ("fit steps",),
    ),
)

ROUNDS = {"xlabel": "rounds", "ylabel": "duality gap"}

TABLES = {"beside": "table_gap", "beside_label": "as tables"}

FIGURES = (
    Figure(
        "lm",
        "One transformer answers four prompts, each with nine answers, of which three good ones beat each "
        "other in a cycle. Five rules train it, each on its published loss; medians over 5 first networks "
        "and 4 prompts, quartiles shaded. Left: all answers and exact preferences. Iterative DPO, iterative "
        "IPO and SPPO cycle, INPO stops at its regularized equilibrium, COMAL goes on to Nash. Thin black "
        "lines: the same rules as tables, from the same first policies. Middle: answers drawn by the "
        "network, each pair compared once. Right: what a round's training leaves of the way to the rule's "
        "exact target, in the runs at the left. It says nothing once the way itself is next to nothing, as "
        "for INPO and COMAL at the end: what is left then is the optimizer's own noise.",
        (
            Panel(
                "gap",
                "exact",
                "all answers, exact preferences",
                {**ROUNDS, **TABLES, "bottom": 1e-4},
            ),
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
        "Networks beside tables that follow the same rules from the same first policies (thin black lines; "
        "medians of 5 first networks and 4 prompts, quartiles of the networks shaded). Left: INPO and COMAL, "
        "which forget errors. Right: three rules that cycle, and magnify them.",
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
        "Should the reference be fixed or moved? A network trained on one and the same loss, INPO's: medians "
        "of 5 first networks and 4 prompts, quartiles shaded. Fixed, it stops at the regularized "
        f"equilibrium. Moved every round, it cycles. Moved every {PERIOD} rounds, near the inner "
        "equilibrium, it reaches Nash.",
        (Panel("gap", "reference", "one loss; the reference is ...", {**ROUNDS, "bottom": 1e-4}),),
    ),
    Figure(
        "lm_fit_steps",
        f"The optimizer is the step size. Left: where COMAL's and INPO's networks are after {NUM_ROUNDS} "
        "rounds, by gradient steps a round; medians and quartiles. Right: what the first round leaves of its "
        "way. With few steps a round goes a small part of it: the rule is the same, its steps are smaller.",
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
                    "xlabel": "gradient steps a round",
                    "ylabel": f"largest duality gap, last {PERIOD} rounds",
                    "logx": True,
                    "legend": "lower left",
                },
            ),
            Panel(
                "lines",
                "fit steps",
                "what the first round leaves",
                {
                    "x": "fit_steps",
                    "y": {"first_residual": "share of the way left"},
                    "band": ("game", "seed"),
                    "xlabel": "gradient steps a round",
                    "ylabel": "fit residual of the first round",
                    "logx": True,
                },
            ),
        ),
    ),
)

PAPER = Paper(
    name="lm",
    title="From table to language model",
    source="what COMAL, arXiv 2410.23223, shows of its methods, on a small transformer",
    experiments=EXPERIMENTS,
    claims=CLAIMS,
    figures=FIGURES,
)
