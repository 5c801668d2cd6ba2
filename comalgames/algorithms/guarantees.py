"""What each rule converges to, under which step, and who says so: one row for every name.

The rows are held against runs by `tests/test_guarantees.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NASH = "last iterate: Nash"
REGULARIZED = "last iterate: regularized Nash"
AVERAGE = "average only"
OWN = "last iterate: its own limit"
NOTHING = "nothing"
INNER = "as the rule inside"

LIMITS = (NASH, REGULARIZED, AVERAGE, OWN, NOTHING, INNER)


class Guarantee(NamedTuple):
    """What is known of one rule on preference games with an interior Nash policy.

    Attributes:
        limit: one of `LIMITS`. "Average only": the last policy does not converge, the mean of all goes to
            Nash. "Its own limit": an equilibrium of another game, or a biased one.
        condition: under which its limit is reached; w is the largest frequency of rotation there.
        source: of the claim, or of the measurement.
        queries: in a step, as a word where it depends.
        same_as: for a published name, the rule that it is; else "".
    """

    limit: str
    condition: str
    source: str
    queries: str = "1"
    same_as: str = ""


GUARANTEES: Mapping[str, Guarantee] = {
    "Averaged": Guarantee(
        NASH, "around MWU: step of order T^-1/2; OptimisticMWU: a small step",
        "Freund and Schapire 1999", "inner",
    ),
    "BCO": Guarantee(NOTHING, "spirals out; its average is off too", "measured"),
    "COMAL": Guarantee(
        NASH, "any temperature; an inner rule that converges", "Liu et al. 2024", "inner"
    ),
    "ExactProx": Guarantee(REGULARIZED, "always", "Liu et al. 2024", "n"),
    "Extragradient": Guarantee(
        NASH, "step < 1 / w; tau > 0: regularized, step <= 1 / (1 + tau)", "Cen, Wei and Chi 2021",
        "2",
    ),
    "GPO": Guarantee(NOTHING, "spirals out; its average: Nash of the log-odds, another game", "measured"),
    "HistoryMirrorDescent": Guarantee(
        REGULARIZED, "temperature > 0 and a small step; with 0 nothing, or the average", "measured"
    ),
    "INPO": Guarantee(REGULARIZED, "1 / eta < 2 tau / (tau^2 + w^2)", "Zhang et al. 2024; derived"),
    "IterativeDPO": Guarantee(NOTHING, "spirals out; its average is off too", "Liu et al. 2024; measured"),
    "IterativeIPO": Guarantee(AVERAGE, "tau of order T^1/2", "Freund and Schapire 1999"),
    "MMD": Guarantee(
        REGULARIZED, "step < 2 tau / (w^2 - tau^2); any step if tau >= w", "Sokota et al. 2023; derived"
    ),
    "MWU": Guarantee(AVERAGE, "step of order T^-1/2", "Freund and Schapire 1999"),
    "MirrorDescent": Guarantee(REGULARIZED, "step < 2 tau / (tau^2 + w^2)", "Liu et al. 2024; derived"),
    "MovingReference": Guarantee(NASH, "a slow rate, such as .03", "Sokota et al. 2023; measured", "inner"),
    "NCA": Guarantee(NOTHING, "spirals out; its average is off too", "measured"),
    "NashEMA": Guarantee(
        REGULARIZED, "temperature > 0 and a small step; with 0 nothing", "measured; no proof is known"
    ),
    "NashMD": Guarantee(
        REGULARIZED, "step 2 / (tau (t + 2)); a constant one is biased", "Munos et al. 2023"
    ),
    "NashMDPG": Guarantee(
        REGULARIZED, "share 0 and a small step; any other share is biased",
        "Calandriello et al. 2024",
    ),
    "OnlineDPO": Guarantee(
        OWN, "small damping; near the equilibrium at beta / 4, not it", "Calandriello et al. 2024"
    ),
    "OptimisticMWU": Guarantee(NASH, "step < 1 / (3^1/2 w); theory: 1/4", "Wei et al. 2021"),
    "Parametric": Guarantee(INNER, "enough gradient steps a round", "measured", "inner"),
    "RegularizedMirrorDescent": Guarantee(
        REGULARIZED, "a small step; in its own regularizer's sense", "Tang et al. 2025; measured"
    ),
    "SPIN": Guarantee(OWN, "the data's law, at rate 1 - 1 / lambda; lambda > 1/2", "Chen et al. 2024", "0"),
    "SPPO": Guarantee(AVERAGE, "step of order T^-1/2; exact: a small step", "Wu et al. 2024"),
    # Published names of those.
    "DNO": Guarantee(AVERAGE, "eta of order T^1/2", "Rosset et al. 2024", same_as="MWU(1 / eta)"),
    "EGPO": Guarantee(
        REGULARIZED, "step <= 1 / (1 + tau): KL shrinks by 1 - eta tau", "Zhou et al. 2025", "2",
        "Extragradient(step_size, temperature)",
    ),
    "IterativeRLHF": Guarantee(
        OWN, "beta above 4 times the frequency, about", "measured", same_as="OnlineDPO(beta)"
    ),
    "MNPO": Guarantee(
        REGULARIZED, "tau > 0 and a small step; with 0 nothing", "Wu et al. 2025; measured",
        same_as="HistoryMirrorDescent",
    ),
    "MPO": Guarantee(
        NASH, "a period long enough", "Wang et al. 2024", same_as="COMAL(MMD(step_size, temperature), period)"
    ),
    "NashMirrorProx": Guarantee(
        REGULARIZED, "eta <= 2 beta", "Tiapkin et al. 2025, v1", "2",
        "Extragradient(eta / (beta (1 + eta)), beta)",
    ),
    "NashProx": Guarantee(
        NASH, "a period long enough", "Tiapkin et al. 2026, v2", same_as="COMAL(NashMDPG(...), period)"
    ),
    "ONPO": Guarantee(NASH, "1 / eta < 1 / (3^1/2 w)", "Zhang et al. 2025", same_as="OptimisticMWU(1 / eta)"),
    "OnlineIPO": Guarantee(
        REGULARIZED, "step < 2 tau / (tau^2 + w^2)", "Calandriello et al. 2024",
        same_as="MirrorDescent(step_size, temperature)",
    ),
    "OnlineIPOGradient": Guarantee(
        REGULARIZED, "a small step", "Calandriello et al. 2024", same_as="NashMDPG(step_size, temperature)"
    ),
    "REBEL": Guarantee(AVERAGE, "eta of order T^-1/2", "Gao et al. 2024", same_as="MWU(eta)"),
    "RLHF": Guarantee(
        REGULARIZED, "beta > w; with a fixed reward its maximizer", "derived",
        same_as="MirrorDescent(1 / beta, beta)",
    ),
    "RSPO": Guarantee(
        REGULARIZED, "a small step", "Tang et al. 2025", same_as="MMD, or RegularizedMirrorDescent"
    ),
    "SPO": Guarantee(
        AVERAGE, "step of order T^-1/2", "Swamy et al. 2024",
        same_as="MWU(step_size), or HistoryMirrorDescent",
    ),
}  # fmt: skip
