"""Claims A1 to A4 and A11: rules that reach Nash on the three-answer cycle, stop short of it, or cycle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from comalgames import games
from comalgames.algorithms import (
    COMAL,
    INPO,
    SPPO,
    AbstractAlgorithm,
    ExactProx,
    Extragradient,
    IterativeDPO,
    IterativeIPO,
    MirrorDescent,
    OptimisticMWU,
)
from comalgames.equilibria import nash
from comalgames.experiments import (
    Claim,
    Data,
    Experiment,
    Figure,
    Measurement,
    Panel,
    Statement,
    at_least,
    at_most,
    between,
    reads,
)
from comalgames.papers.reading import last, late_swing, regularized_error
from comalgames.papers.setting import (
    NASH,
    START,
    TEMPERATURE,
    cycle_game,
    on_both,
    random_games,
    with_losing_answer,
)

BASELINES: Mapping[str, AbstractAlgorithm[Any]] = {
    "INPO": INPO(eta=1.0, tau=TEMPERATURE),
    "iterative DPO": IterativeDPO(beta=4.0),  # near Nash its step is 4 / beta
    "iterative IPO": IterativeIPO(tau=1.0),
    "SPPO": SPPO(step_size=1.0),
}
FIVE = {"COMAL": COMAL(MirrorDescent(1.0, TEMPERATURE), period=20), **BASELINES}
OTHERS: Mapping[str, AbstractAlgorithm[Any]] = {
    "COMAL, exact": COMAL(ExactProx(TEMPERATURE), period=1),
    "optimistic MWU": OptimisticMWU(step_size=2.0),
    "extragradient": Extragradient(step_size=2.0),
}
SLOW: Mapping[str, AbstractAlgorithm[Any]] = {
    "iterative DPO": IterativeDPO(beta=4 / 0.3),
    "iterative IPO": IterativeIPO(tau=1 / 0.3),
    "SPPO": SPPO(step_size=0.3),
}
HEADLINE: Mapping[str, Any] = {"num_queries": 2000, "init": START, "metrics": ["policy"]}
PERIODS = (1, 3, 5, 6, 20, 100)

SECTION = "COMAL, synthetic experiment"

# Of the rules without a reference: the experiment, the step, the rule, and the subject of the sentence. The
# step of iterative DPO is that near Nash; on exact preferences iterative IPO takes the steps of SPPO.
WITHOUT_REFERENCE = tuple(
    (where, step, name, f"{subject} with step {step}{note}")
    for where, step in (("headline", "1"), ("small steps", "0.3"))
    for name, subject, note in (
        ("iterative DPO", "Iterative DPO", " (beta = 4/step)"),
        ("SPPO", "SPPO", ", or iterative IPO with tau = 1/step,"),
    )
)


def truth() -> Any:
    """The cycle's Nash policy and its win rates."""
    import xarray as xr

    game = games.comal_cycle()
    solution = nash(game)
    return xr.Dataset(
        {
            "nash_policy": ("answer", solution.policy),
            "win_rate_against_nash": ("answer", np.asarray(game.preference) @ solution.policy),
        },
        {"answer": list(game.names)},
        attrs={"unique": bool(solution.unique), "status": str(solution.status)},
    )


@reads("truth")
def nash_error(data: Data) -> float:
    """Largest error of the cycle's Nash policy and its win rates; inf unless it is certified as unique."""
    answers = data["truth"]
    if not (answers.attrs["unique"] and answers.attrs["status"] == "certified"):
        return float("inf")
    rates = answers["win_rate_against_nash"].values
    return float(max(np.abs(answers["nash_policy"].values - NASH).max(), np.abs(rates - 0.5).max()))


EXPERIMENTS = (
    *with_losing_answer(
        Experiment(
            "headline",
            "Which rules reach the Nash policy of the three-answer cycle, which stop short of it, and which "
            "cycle?",
            cycle_game,
            {**FIVE, **OTHERS},
            HEADLINE,
        )
    ),
    *with_losing_answer(
        Experiment(
            "small steps",
            "Do the rules without a reference also diverge with a step of 0.3 after enough queries?",
            cycle_game,
            SLOW,
            {"num_queries": 5000, "init": START},
            is_quick=False,
        )
    ),
    Experiment(
        "periods",
        "How often may COMAL move its reference?",
        cycle_game,
        {
            f"every {K} steps" if K > 1 else "every step": COMAL(MirrorDescent(1.0, TEMPERATURE), period=K)
            for K in PERIODS
        }
        | {"no period: when it is near": COMAL(MirrorDescent(1.0, TEMPERATURE))},
        {"num_queries": 600, "init": START},
    ),
    Experiment(
        "random games",
        "Do the rules have the same limits on random games of ten answers, from the uniform policy?",
        partial(random_games, num_games=10, num_answers=10, first_seed=0),
        FIVE,
        {"num_queries": 20_000, "record_every": 20},
        is_quick=False,
    ),
    Measurement(
        "truth",
        "Which policy is Nash on the three-answer cycle?",
        truth,
    ),
)

STATEMENTS = (
    Statement(
        "The unique Nash policy of the three-answer cycle is (4, 3, 4)/11, and it wins exactly half of the "
        "time against every answer.",
        Claim(
            id="A1",
            quantity="largest error of a probability or win rate",
            source=SECTION,
            reading=nash_error(),
            bound=at_most(1e-14),
        ),
    ),
    *(
        Statement(
            f"{subject} does not converge on the three-answer cycle, with and without a fourth answer that "
            "loses 90% of the time: its duality gap rises and falls.",
            Claim(
                id=f"A2.{name.split()[-1]}.{step}",
                quantity="largest minus smallest duality gap in the second half of the run, two games",
                source=SECTION,
                reading=late_swing(on_both(where), name),
                bound=at_least(0.4),
            ),
        )
        for where, step, name, subject in WITHOUT_REFERENCE
    ),
    Statement(
        "INPO with a step of 1 on the three-answer cycle, below the limit 2 tau/(tau^2 + w^2) = 3.9, "
        "converges to the equilibrium of the regularized game, with and without a fourth answer that loses "
        "90% of the time.",
        Claim(
            id="A3.limit",
            quantity="largest difference of a probability, two games",
            source=f"{SECTION}; INPO",
            reading=regularized_error(on_both("headline"), "INPO", TEMPERATURE),
            bound=at_most(1e-12),
        ),
    ),
    Statement(
        "INPO does not reach the Nash policy of the three-answer cycle: its duality gap stops at a positive "
        "constant.",
        Claim(
            id="A3.gap",
            quantity="last duality gap",
            source=f"{SECTION}; INPO",
            reading=last("headline", "INPO"),
            bound=between(0.05, 0.07),
        ),
    ),
    *(
        Statement(
            f"COMAL with {solves} reaches the Nash policy of the three-answer cycle in the last iterate, "
            "with and without a fourth answer that loses 90% of the time.",
            Claim(
                id=f"A4.{label}",
                quantity="last duality gap, the larger of two games",
                source="COMAL, theorem 1 and synthetic experiment",
                reading=last(on_both("headline"), name),
                bound=at_most(1e-11),
            ),
        )
        for label, name, solves in (
            ("finite", "COMAL", "20 inner steps before each move of the reference"),
            ("exact", "COMAL, exact", "exact inner solves"),
        )
    ),
    # Optimistic MWU does as well: it is ONPO, claim A22.last.
    Statement(
        "Extragradient with step 2 and no regularization reaches the Nash policy of the three-answer cycle, "
        "with and without a fourth answer that loses 90% of the time, as COMAL does.",
        Claim(
            id="A11",
            quantity="last duality gap, the larger of two games",
            source="known (Korpelevich 1976; Wei et al. 2021, arXiv 2006.09517)",
            reading=last(on_both("headline"), "extragradient"),
            bound=at_most(1e-11),
        ),
    ),
)

FIGURES = (
    Figure(
        "headline",
        "Left: the first 200 steps of five rules on the simplex of the three-answer cycle; squares mark the "
        "policies after them. Right: the duality gap of the last policy against queries. The three rules "
        "without a reference spiral to the boundary (SPPO as a table is iterative IPO, so that their lines "
        "coincide), INPO stops at the equilibrium of the regularized game, and COMAL reaches Nash.",
        (
            Panel(
                "simplex",
                "headline",
                "policies, first 200 steps",
                {
                    "algorithms": tuple(FIVE),
                    "game": "cycle",
                    "nash": NASH,
                    "names": ("a", "b", "c"),
                    "until": 200,
                },
            ),
            Panel(
                "gap",
                "headline",
                "duality gap, three-answer cycle",
                {"algorithms": tuple(FIVE), "until": 1000},
            ),
        ),
    ),
    Figure(
        "periods",
        "COMAL around mirror descent (step 1, temperature 0.1), by how often it moves its reference. With "
        "periods of up to 5 steps it diverges, and with a period of 1 it is multiplicative weights; with "
        "periods of 6 steps or more it converges to Nash. Without a period it moves its reference when the "
        "policy is near the inner equilibrium, and cannot diverge.",
        (Panel("gap", "periods", "how often the reference moves"),),
    ),
    Figure(
        "random_games",
        "The same five rules on ten random games of ten answers, from the uniform policy: median and "
        "quartiles over the games. COMAL converges to Nash, on some games slowly; INPO stops at the "
        "regularized equilibrium; the others keep cycling.",
        (Panel("gap", "random games", "ten random games of 10 answers"),),
    ),
)
