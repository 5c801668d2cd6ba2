"""After how many queries does each rule's duality gap stay below a level? One sweep over all rules.

Run by `make bench-convergence`; writes a run folder (table, figure, report) below results/convergence.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import comalgames as cg
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_least,
    at_most,
    between,
    load_run,
    reads,
    report,
)

# Gaps of every policy decide where a level is reached; one of THINNING is kept for the figures.
LEVELS = (1e-2, 1e-4, 1e-6, 1e-8)
NUM_QUERIES, THINNING = 20_000, 20
# Games of 10 and of 100 actions.
NUM_GAMES = {10: 100, 100: 10}
FAMILIES = {
    "COMAL's cycle": "cycle",
    "biased RPS": "rps",
    "random, n = 10": "random 10,",
    "random, n = 100": "random 100,",
}


def chi_squared(p: Any, reference: Any) -> Any:
    """A user's own regularizer: the chi-squared divergence."""
    return jnp.sum((p - reference) ** 2 / reference)


RULES = {
    "MWU": cg.MWU(1.0),
    "iterative IPO": cg.IterativeIPO(1.0),
    "SPPO": cg.SPPO(1.0),
    "iterative DPO": cg.IterativeDPO(4.0),
    "INPO": cg.INPO(eta=1.0, tau=0.1),
    "mirror descent": cg.MirrorDescent(1.0, 0.1),
    "MMD": cg.MMD(1.0, 0.1),
    "chi-squared": cg.RegularizedMirrorDescent(1.0, 0.1, chi_squared),
    "EGPO": cg.Extragradient(1.0, 0.1),
    "exact prox": cg.ExactProx(0.1),
    "optimistic MWU": cg.OptimisticMWU(1.0),
    "extragradient": cg.Extragradient(2.0),
    "SPPO, exact": cg.SPPO(1.0, exact=True),
    "NCA": cg.NCA(2.0),
    "BCO": cg.BCO(4.0),
    "GPO": cg.GPO(4.0),
    "SPO, queue of 10": cg.SPO(1.0, queue=10),
    "MNPO": cg.MNPO(1.0, 0.1),
    "MNPO, no temperature": cg.MNPO(1.0, 0.0, (1 / 3, 1 / 3, 1 / 3)),
    "online DPO": cg.OnlineDPO(0.4, 0.1),
    "Nash-MD": cg.NashMD(1.0, 0.1),
    "Nash-MD, falling": cg.NashMD(cg.InverseTime(20.0, 2.0), 0.1),
    "Nash-EMA": cg.NashEMA(1.0, 0.1, 0.5),
    "Nash-MD-PG": cg.NashMDPG(1.0, 0.1, 0.125),
    "online IPO, gradient": cg.OnlineIPOGradient(1.0, 0.1),
    "Nash mirror prox": cg.NashMirrorProx(0.2, 0.1),
    "average of MWU": cg.Averaged(cg.MWU(0.03)),
    "average of OMWU": cg.Averaged(cg.OptimisticMWU(1.0)),
    "moving magnet": cg.MovingReference(cg.MMD(1.0, 0.1), 0.03),
    "COMAL, self-tuning": cg.COMAL(cg.MirrorDescent(1.0, 0.1)),
    "COMAL, MMD (MPO)": cg.MPO(1.0, 0.1, 20),
    "COMAL, gradient": cg.NashProx(1.0, 0.1, 300),
    "COMAL, online DPO": cg.COMAL(cg.OnlineDPO(0.4, 0.1), period=20),
    "COMAL": cg.COMAL(cg.MirrorDescent(1.0, 0.1), period=20),
    "COMAL, tau .03": cg.COMAL(cg.MirrorDescent(1.0, 0.03), period=100),
    "COMAL, chi-squared": cg.COMAL(cg.RegularizedMirrorDescent(1.0, 0.1, chi_squared), period=50),
    "COMAL, extragradient": cg.COMAL(cg.Extragradient(2.0, 0.1), period=20),
    "COMAL, exact": cg.COMAL(cg.ExactProx(0.1), period=1),
}

ONE_LOOP = ("MWU", "iterative DPO", "INPO", "EGPO", "optimistic MWU", "extragradient")
COMALS = tuple(name for name in RULES if name.startswith("COMAL"))


def make_games(num_games: Mapping[int, int]) -> dict[str, cg.PreferenceGame]:
    """Two three-action cycles, and numbers of random games by their number of actions."""
    # Preferences of 0 and 1 have no log-odds, which GPO needs.
    biased = cg.PreferenceGame.from_skew(0.9 * cg.games.rock_paper_scissors(3, 1, 1).skew)
    games = {"cycle": cg.games.comal_cycle(), "rps": biased}
    for n, num in num_games.items():
        games |= {f"random {n}, {seed}": cg.games.random(jax.random.key(seed), n) for seed in range(num)}
    return games


def measured(
    algorithms: Mapping[str, Any],
    num_games: Mapping[int, int],
    levels: tuple[float, ...],
    num_queries: int,
    thinning: int,
) -> Any:
    """Thinned gaps of a sweep, with the number of queries after which each gap stays below each level."""
    import xarray as xr

    games = make_games(num_games)
    runs = []
    for name, rule in algorithms.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            run = cg.sweep(games, {name: rule}, num_queries=num_queries, progress=False)
        gaps, queries = run["duality_gap"].values[:, 0, 0], run["queries"].values[:, 0]
        below = [[stays_below(*pair, level) for level in levels] for pair in zip(gaps, queries, strict=True)]
        kept = (
            run[["duality_gap", "final_duality_gap"]].isel(record=slice(None, None, thinning)).copy(deep=True)
        )
        kept["below"] = (("game", "algorithm", "level"), np.array(below)[:, None])
        runs.append(kept.pad(record=(0, num_queries // thinning + 1 - kept.sizes["record"])))
    return xr.concat(runs, "algorithm").assign_coords(level=list(levels))


def stays_below(gaps: np.ndarray, queries: np.ndarray, level: float) -> float:
    """Queries of the first record from which on all are below `level`; inf if the last is not."""
    known = np.isfinite(queries)
    gaps, queries = gaps[known], queries[known]
    above = np.flatnonzero(~(gaps < level))
    if len(above) and above[-1] == len(gaps) - 1:
        return float("inf")
    return float(queries[above[-1] + 1] if len(above) else queries[0])


def family(dataset: Any, rule: str, prefix: str) -> Any:
    """The runs of a rule on the games of a family."""
    chosen = [str(name) for name in dataset["game"].values if str(name).startswith(prefix)]
    return dataset.sel(algorithm=rule, game=chosen).isel(seed=0)


def text_table(dataset: Any) -> str:
    """Queries to stay below each level over the games of a family: quartiles, and how many games reach it."""

    def shown(value: float) -> str:
        return f"{value:,.0f}" if np.isfinite(value) else "-"

    lines = []
    for label, prefix in FAMILIES.items():
        lines.append(
            f"\n{label}: queries after which the gap stays below a level, median [quartiles] (share of games)"
        )
        lines.append(
            f"  {'':<22}" + "".join(f"{level:>34g}" for level in LEVELS) + f"{'last gap, median':>34}"
        )
        for rule in RULES:
            runs = family(dataset, rule, prefix)
            cells = []
            for level in LEVELS:
                reached = runs["below"].sel(level=level).values
                low, middle, high = np.quantile(reached, (0.25, 0.5, 0.75), method="higher")
                share = np.isfinite(reached).mean()
                cells.append(f"{shown(middle)} [{shown(low)}, {shown(high)}] ({share:.0%})")
            low, middle, high = np.quantile(runs["final_duality_gap"], (0.25, 0.5, 0.75))
            cells.append(f"{middle:.1e} [{low:.0e}, {high:.0e}]")
            lines.append(f"  {rule:<22}" + "".join(f"{cell:>34}" for cell in cells))
    return "\n".join(lines)


@reads("all rules")
def median_last_gap(data: Data, rule: str) -> float:
    """Median over the 10-action games of the last gap."""
    return float(family(data["all rules"], rule, "random 10,")["final_duality_gap"].median())


@reads("all rules")
def rise(data: Data, rule: str) -> float:
    """Median gap over the last tenth of the run divided by the one over the first hundredth."""
    gaps = family(data["all rules"], rule, "random 10,")["duality_gap"].transpose("game", "record").values
    return float(np.median(gaps[:, -100:]) / np.median(gaps[:, 5:10]))


BENCHMARK = Paper(
    name="convergence",
    title="Convergence of every rule: queries until the duality gap stays below a level",
    source="comalgames benchmark",
    experiments=(
        Measurement(
            "all rules",
            "After how many queries does each rule's gap stay below a level?",
            measured,
            {
                "algorithms": RULES,
                "num_games": NUM_GAMES,
                "levels": LEVELS,
                "num_queries": NUM_QUERIES,
                "thinning": THINNING,
            },
        ),
    ),
    statements=(
        Statement(
            "INPO stops near a duality gap of 0.13 on random games of ten actions.",
            Claim(
                id="inpo",
                quantity="median last duality gap of 100 games",
                source="local theory",
                reading=median_last_gap("INPO"),
                bound=between(0.05, 0.2),
            ),
        ),
        Statement(
            "COMAL has a median duality gap below 1e-4 after 20,000 queries on random games of ten actions.",
            Claim(
                id="comal",
                quantity="median last duality gap of 100 games",
                source="COMAL, theorem 1",
                reading=median_last_gap("COMAL"),
                bound=at_most(1e-4),
            ),
        ),
        Statement(
            "MWU moves away from Nash on random games of ten actions: its duality gap grows from the first "
            "200 queries to the last 2,000.",
            Claim(
                id="mwu",
                quantity="ratio of median duality gaps of 100 games",
                source="Bailey and Piliouras 2018",
                reading=rise("MWU"),
                bound=at_least(1.2),
            ),
        ),
    ),
    figures=tuple(
        Figure(
            "convergence_" + prefix.strip(",").replace(" ", "_"),
            f"{label}: duality gap of the last policy against queries, median and quartiles over the games.",
            (
                Panel("gap", "all rules", f"{label}: one loop", {"algorithms": ONE_LOOP, "prefix": prefix}),
                Panel("gap", "all rules", f"{label}: COMAL", {"algorithms": COMALS, "prefix": prefix}),
            ),
        )
        for label, prefix in FAMILIES.items()
    ),
)


def main() -> None:
    """Run the benchmark, print the table, save the run folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results"))
    published = report.publish(BENCHMARK, parser.parse_args().out)
    print(text_table(load_run(published.folder)[1]["all rules"]))


if __name__ == "__main__":
    main()
