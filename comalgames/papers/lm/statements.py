"""Claims LM1 to LM8: published rules that train the tiny language model."""

from __future__ import annotations

from comalgames.experiments import Claim, Statement, at_least, at_most, between
from comalgames.papers.lm import readings as read
from comalgames.papers.lm.lm_runs import (
    ALWAYS,
    FIT_STEPS,
    FIVE,
    MANY_ROUNDS,
    NEVER,
    NUM_FIT_STEPS,
    NUM_NETWORKS,
    NUM_PROMPTS,
    NUM_ROUNDS,
    PERIOD,
    SOMETIMES,
)
from comalgames.papers.setting import OURS

# The numbers are taken over these.
ALL = f"{NUM_NETWORKS} networks and {NUM_PROMPTS} prompts"

BASELINES = ("iterative DPO", "iterative IPO", "SPPO")
COMAL_SOURCE = "ours; for tables COMAL, synthetic experiment"

# A late gap of at most this counts as near Nash (LM3.all).
NEAR = 0.02


def short(name: str) -> str:
    """A rule's name in the id of a claim."""
    return name.split()[-1]


def subject(name: str) -> str:
    """A rule's name at the beginning of a sentence."""
    return name[0].upper() + name[1:]


# Who cycles, who stops short and who arrives.
EXACT = (
    *(
        Statement(
            f"{subject(name)}, training a small transformer on its published loss, does not converge: its "
            "duality gap goes up and down.",
            Claim(
                id=f"LM1.{short(name)}",
                quantity="largest minus smallest duality gap in the second half of the run, smallest over "
                + ALL,
                source=COMAL_SOURCE,
                reading=read.smallest_swing("exact", name),
                bound=at_least(0.1),
            ),
        )
        for name in BASELINES
    ),
    *(
        Statement(
            f"{subject(name)}, training a small transformer on its published loss, never comes near Nash.",
            Claim(
                id=f"LM1.{short(name)}.gap",
                quantity=f"smallest duality gap in the second half of the run, over {ALL}",
                source=COMAL_SOURCE,
                reading=read.smallest_gap("exact", name),
                bound=at_least(0.1),
            ),
        )
        for name in BASELINES
    ),
    *(
        Statement(
            f"{subject(name)}, training a small transformer on its published loss, moves away from Nash once "
            "bad answers have lost their mass.",
            Claim(
                id=f"LM1.{short(name)}.kl",
                quantity=f"KL(Nash, last policy) / KL(Nash, policy after {PERIOD} rounds), median over {ALL}",
                source=COMAL_SOURCE,
                reading=read.growth_of_kl(name, PERIOD),
                bound=at_least(2.0),
            ),
        )
        for name in BASELINES
    ),
    Statement(
        "INPO, training a small transformer, stops at the duality gap of the regularized game's exact "
        "equilibrium.",
        Claim(
            id="LM2.limit",
            quantity=f"largest |last gap / the equilibrium's - 1|, over {ALL}",
            source=f"{COMAL_SOURCE}; INPO",
            reading=read.distance_to_regularized("exact", "INPO"),
            bound=at_most(0.03),
        ),
    ),
    Statement(
        "INPO, training a small transformer, does not reach Nash.",
        Claim(
            id="LM2.gap",
            quantity=f"smallest duality gap in the second half of the run, over {ALL}",
            source=f"{COMAL_SOURCE}; INPO",
            reading=read.smallest_gap("exact", "INPO"),
            bound=at_least(0.05),
        ),
    ),
    Statement(
        "COMAL, which trains a small transformer on INPO's loss and moves the reference to the network "
        f"reached every {PERIOD} rounds, reaches Nash.",
        Claim(
            id="LM3.nash",
            quantity=f"largest duality gap in the last period, median over {ALL}",
            source=f"{COMAL_SOURCE}; theorem 1",
            reading=read.late_gap("exact", "COMAL"),
            bound=at_most(0.003),
        ),
    ),
    Statement(
        "COMAL brings at least nineteen of twenty pairs of first network and prompt to a duality gap of at "
        f"most {NEAR} within {MANY_ROUNDS} rounds of training a small transformer.",
        # Fewer within 80 rounds, because some networks arrive late.
        Claim(
            id="LM3.all",
            quantity=f"share of such pairs whose largest gap in the last period is at most {NEAR}, of {ALL}",
            source=f"{COMAL_SOURCE}; theorem 1",
            reading=read.share_of_small_late_gaps("many rounds", "COMAL", NEAR),
            bound=at_least(0.95),
        ),
    ),
    Statement(
        "COMAL, training a small transformer, ends at a duality gap far below the regularized equilibrium's, "
        "where a fixed reference stops.",
        Claim(
            id="LM3.ratio",
            quantity=f"the regularized equilibrium's gap / COMAL's largest late gap, median over {ALL}",
            source=COMAL_SOURCE,
            reading=read.regularized_over("exact", "COMAL"),
            bound=at_least(50.0),
        ),
    ),
)

# Networks beside tables, and how far a round's training gets.
TABLES = (
    *(
        Statement(
            f"{name} on a small transformer has the same duality gap in all rounds as a table that follows "
            "the same rule from the same first policy, for most networks and prompts.",
            Claim(
                id=f"LM4.{name}",
                quantity=f"largest difference of the two gaps over the rounds, median over {ALL}",
                source=OURS,
                reading=read.distance_to_table(name),
                bound=at_most(0.01),
            ),
        )
        for name in ("COMAL", "INPO")
    ),
    *(
        Statement(
            f"{subject(name)} on a small transformer has in its first {PERIOD} rounds the duality gap of the "
            f"same rule as a table from the same first policy{note}, for most networks and prompts.",
            Claim(
                id=f"LM4.{short(name)}",
                quantity=f"largest difference of the two gaps over these rounds, median over {ALL}",
                source=OURS,
                reading=read.distance_to_table(name, PERIOD + 1),
                bound=at_most(bound),
            ),
        )
        for name, note, bound in (
            ("iterative DPO", "", 0.02),
            ("iterative IPO", "", 0.02),
            ("SPPO", ", but for the small difference between the minimum of its loss and its step", 0.1),
        )
    ),
    *(
        Statement(
            f"{NUM_FIT_STEPS} gradient steps of Adam bring a small transformer near the target of a round of "
            f"{name}.",
            Claim(
                id=f"LM5.{short(name)}",
                quantity=f"fit residual (share of the way left), median over {when} {PERIOD} rounds and "
                f"{ALL}",
                source=OURS,
                reading=read.median_residual(name, first, first + PERIOD),
                bound=at_most(0.1),
            ),
        )
        for name in FIVE
        # Until its reference moves COMAL is INPO. Record 0 has no round.
        for when, first in [("the second", PERIOD + 1) if name == "COMAL" else ("the first", 1)]
    ),
    Statement(
        "INPO's last round on a small transformer begins next to its target, so that the fit residual says "
        "nothing about the training.",
        Claim(
            id="LM5.stop",
            quantity="largest root mean square distance of margins to the target at the last round's start, "
            f"nats, over {ALL}",
            source=OURS,
            reading=read.way_left("INPO"),
            bound=at_most(0.01),
        ),
    ),
    Statement(
        "Adam, reinitialized in each of INPO's last rounds, moves a converged small transformer by more than "
        "the distance to its target.",
        Claim(
            id="LM5.noise",
            quantity=f"fit residual, median over the last {PERIOD} rounds and {ALL}",
            source=OURS,
            reading=read.median_residual("INPO", -PERIOD, None),
            bound=at_least(1.0),
        ),
    ),
)

# Should the reference be fixed or moved? On first networks of their own.
REFERENCE = (
    Statement(
        "INPO's loss with a fixed reference stops a small transformer at the regularized equilibrium.",
        Claim(
            id="LM6.never",
            quantity=f"largest |last gap / the equilibrium's - 1|, over {ALL}",
            source=OURS,
            reading=read.distance_to_regularized("reference", NEVER),
            bound=at_most(0.03),
        ),
    ),
    Statement(
        "INPO's loss with a reference that moves every round makes a small transformer cycle.",
        Claim(
            id="LM6.always",
            quantity=f"largest minus smallest duality gap in the second half of the run, smallest over {ALL}",
            source=OURS,
            reading=read.smallest_swing("reference", ALWAYS),
            bound=at_least(0.1),
        ),
    ),
    Statement(
        f"INPO's loss with a reference that moves every {PERIOD} rounds, when the inner rounds have come "
        "near their equilibrium, brings a small transformer to Nash.",
        Claim(
            id="LM6.sometimes",
            quantity=f"largest duality gap in the last period, median over {ALL}",
            source=OURS,
            reading=read.late_gap("reference", SOMETIMES),
            bound=at_most(0.003),
        ),
    ),
)

DRAWN = "on answers that a small transformer draws and labels drawn for them"

SAMPLED = (
    *(
        Statement(
            f"{subject(name)} does not come near Nash {DRAWN}.",
            Claim(
                id=f"LM7.{short(name)}",
                quantity=f"smallest duality gap in the second half of the run, over {ALL}",
                source="COMAL, synthetic experiment with preference samples",
                reading=read.smallest_gap("sampled", name),
                bound=at_least(0.1),
            ),
        )
        for name in BASELINES
    ),
    Statement(
        f"INPO stays at the duality gap of its regularized equilibrium {DRAWN}.",
        Claim(
            id="LM7.INPO",
            quantity=f"mean late gap / the regularized equilibrium's, median over {ALL}",
            source=OURS,
            reading=read.bias_ratio(),
            bound=between(0.9, 1.1),
        ),
    ),
    Statement(
        f"COMAL reaches the gap that its own sampling noise causes {DRAWN}.",
        Claim(
            id="LM7.COMAL",
            quantity=f"mean duality gap in the last period, median over {ALL}",
            source=OURS,
            reading=read.mean_late_gap("sampled", "COMAL"),
            bound=at_most(0.05),
        ),
    ),
    Statement(
        f"COMAL ends at a duality gap several times lower than INPO's {DRAWN}.",
        Claim(
            id="LM7.ratio",
            quantity=f"INPO's mean late gap / COMAL's, median over {ALL}",
            source=OURS,
            reading=read.sampled_ratio(),
            bound=at_least(5.0),
        ),
    ),
)

FIT = (
    Statement(
        f"COMAL with {FIT_STEPS[0]} gradient steps per round leaves a small transformer far from Nash after "
        f"{NUM_ROUNDS} rounds.",
        Claim(
            id="LM8.few",
            quantity=f"largest duality gap in the last period, median over {ALL}",
            source=OURS,
            reading=read.gap_after_fits("COMAL", FIT_STEPS[0]),
            bound=at_least(0.1),
        ),
    ),
    Statement(
        f"COMAL with {FIT_STEPS[-1]} gradient steps per round brings a small transformer to Nash within "
        f"{NUM_ROUNDS} rounds.",
        Claim(
            id="LM8.many",
            quantity=f"largest duality gap in the last period, median over {ALL}",
            source=OURS,
            reading=read.gap_after_fits("COMAL", FIT_STEPS[-1]),
            bound=at_most(1e-3),
        ),
    ),
)

STATEMENTS = (*EXACT, *TABLES, *REFERENCE, *SAMPLED, *FIT)
