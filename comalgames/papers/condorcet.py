"""Shares of judges: Nash is mixed if and only if no answer wins every majority, which becomes the rule.

Liu, Long, Shi, Su and Xiao, "Statistical Impossibility and Possibility of Aligning LLMs with Human
Preferences: From Condorcet Paradox to Nash Equilibrium", 2025, arXiv 2503.10990. Only its abstract was seen.
Judges rank answers independently and uniformly (the impartial culture, the Luce model with equal weights); a
preference is a share of judges.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np

from comalgames import games
from comalgames.equilibria import nash
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Panel,
    Paper,
    Statement,
    at_most,
    reads,
)
from comalgames.games import PreferenceGame

NUM_JUDGES = 3
NUM_ANSWERS = (3, 6, 12, 24, 48)

# Fewest games with and without a winner for a comparison of the two kinds.
FEWEST = 50

# Share of the 216 profiles of three judges on three answers whose majorities cycle.
CYCLING = 12 / 216


def preferences(ranks: np.ndarray) -> np.ndarray:
    """The share of judges who prefer i to j, from ranks `[..., judges, answers]`; larger is better."""
    share = (ranks[..., :, None] > ranks[..., None, :]).mean(-3)
    return np.asarray(np.where(np.eye(ranks.shape[-1], dtype=bool), 0.5, share))


def impartial_culture(num_games: int, num_judges: int, num_answers: int, seed: int) -> np.ndarray:
    """Preferences of judges whose rankings are uniform and independent, `[games, answers, answers]`."""
    return preferences(np.random.default_rng(seed).random((num_games, num_judges, num_answers)))


def enumerated_winner(preference: np.ndarray) -> np.ndarray:
    """Whether some answer beats each of the others by majority, one game after another."""
    answers = range(preference.shape[-1])
    return np.array(
        [any(all(game[i, j] > 0.5 for j in answers if j != i) for i in answers) for game in preference]
    )


def probability_of_a_winner(num_answers: int) -> float:
    """Probability that one of n answers beats each other one by a majority of three uniform judges.

    If an answer is better than shares u, v, w of all answers for the three judges, another loses to it by
    majority with probability q = u v + u w + v w - 2 u v w. The shares are uniform and independent: the
    probability is n times the integral of q^(n - 1), a polynomial, by an exact Gauss rule.
    """
    nodes, weights = np.polynomial.legendre.leggauss(num_answers)
    nodes, weights = (nodes + 1) / 2, weights / 2
    u, v, w = np.meshgrid(nodes, nodes, nodes, indexing="ij")
    loses = (u * v + u * w + v * w - 2 * u * v * w) ** (num_answers - 1)
    return float(num_answers * np.einsum("ijk,i,j,k->", loses, weights, weights, weights))


def mixed_nash(num_games: int, num_judges: int, num_answers: int, seed: int) -> Any:
    """Whether the Nash policy is mixed, by `nash`, and whether there is a winner, by enumeration."""
    import xarray as xr

    preference = impartial_culture(num_games, num_judges, num_answers, seed)
    with jax.enable_x64(True):
        solution = nash(PreferenceGame(preference))
    return xr.Dataset(
        {
            "mixed": ("game", np.asarray(solution.support).sum(-1) > 1),
            "winner": ("game", enumerated_winner(preference)),
        }
    )


def profiles(num_answers: int) -> Any:
    """The number of majority cycles in every profile of three judges."""
    import xarray as xr

    rankings = list(itertools.permutations(range(num_answers)))
    ranks = np.array(list(itertools.product(rankings, repeat=NUM_JUDGES)))
    with jax.enable_x64(True):
        cycles = games.majority_cycles(PreferenceGame(preferences(ranks)))
    return xr.Dataset({"cycles": ("profile", np.asarray(cycles))})


def growing(num_answers: tuple[int, ...], num_games: int, num_judges: int, seed: int) -> Any:
    """Shares of games without a majority cycle and without a Condorcet winner, by number of answers."""
    import xarray as xr

    acyclic, no_winner = [], []
    with jax.enable_x64(True):
        for n in num_answers:
            game = PreferenceGame(impartial_culture(num_games, num_judges, n, seed))
            acyclic.append(float(np.mean(games.majority_cycles(game) == 0)))
            no_winner.append(float(np.mean(games.condorcet_winner(game) < 0)))
    return xr.Dataset(
        {
            "without a cycle": ("answers", acyclic),
            "bound": ("answers", [(1 - CYCLING) ** (n // 3) for n in num_answers]),
            "without a winner": ("answers", no_winner),
            "predicted": ("answers", [1 - probability_of_a_winner(n) for n in num_answers]),
        },
        {"answers": list(num_answers)},
        {"num_games": num_games},
    )


@reads("mixed Nash")
def disagreements(data: Data) -> float:
    """Number of games in which Nash is mixed beside a winner, or pure without; nan with too few of a kind."""
    mixed, winner = data["mixed Nash"]["mixed"].values, data["mixed Nash"]["winner"].values
    if min(winner.sum(), (~winner).sum()) < FEWEST:
        return float("nan")
    return float(np.count_nonzero(mixed == winner))


@reads("profiles")
def cycling_profiles(data: Data) -> float:
    """Difference of the number of profiles with a majority cycle from 12, without its sign."""
    return float(np.abs((data["profiles"]["cycles"] > 0).sum() - round(CYCLING * 216)))


def standard_errors(data: Data, measured: str, predicted: str) -> np.ndarray:
    """Measured minus predicted share over the standard error of a share, by number of answers."""
    runs = data["growing"]
    share = runs[predicted].values
    error = np.sqrt(share * (1 - share) / runs.attrs["num_games"])
    return np.asarray((runs[measured].values - share) / error)


@reads("growing")
def excess_over_bound(data: Data) -> float:
    """Largest excess of the share without a cycle over its bound, in standard errors."""
    return float(standard_errors(data, "without a cycle", "bound").max())


@reads("growing")
def last_share(data: Data) -> float:
    """Share of games without a majority cycle at the largest number of answers."""
    return float(data["growing"]["without a cycle"][-1])


@reads("growing")
def error_of_winners(data: Data) -> float:
    """Largest error of the share without a winner, in standard errors."""
    return float(np.abs(standard_errors(data, "without a winner", "predicted")).max())


LIU = "Liu et al. 2025, arXiv 2503.10990, abstract"
CULTURE = "three judges who rank the answers uniformly and independently"

# Five standard errors: a share that is right exceeds them once in a million draws.
ERRORS = 5.0

STATEMENTS = (
    Statement(
        "The Nash policy of the game of shares of judges is mixed if and only if no answer beats each other "
        f"one by majority, in 400 games of seven answers with {CULTURE}.",
        Claim(
            id="A36.mixed",
            quantity="number of games that contradict; winners by enumeration",
            source=LIU,
            reading=disagreements(),
            bound=at_most(0.0),
        ),
    ),
    Statement(
        "Exactly 12 of the 216 profiles of three judges on three answers have a majority cycle.",
        Claim(
            id="A36.profiles",
            quantity="difference of the number of profiles with a majority cycle from 12",
            source="known (the Condorcet paradox with three voters)",
            reading=cycling_profiles(),
            bound=at_most(0.0),
        ),
    ),
    Statement(
        f"The share of games of n answers without a majority cycle, with {CULTURE}, is at most "
        "(17/18)^floor(n/3), because disjoint triples cycle independently with probability 1/18, for n from "
        "3 to 48.",
        Claim(
            id="A36.exponential",
            quantity="largest excess over the bound, an equality at n = 3, standard errors of 2,000 games",
            source=f"{LIU} (exponentially fast); the bound is ours",
            reading=excess_over_bound(),
            bound=at_most(ERRORS),
        ),
    ),
    Statement(
        f"Fewer than one in a hundred games of 48 answers with {CULTURE} has majorities without a cycle.",
        Claim(
            id="A36.cycles",
            quantity="share of 2,000 games without a majority cycle",
            source=LIU,
            reading=last_share(),
            bound=at_most(0.01),
        ),
    ),
    Statement(
        "The share of games of n answers in which no answer beats each other one, so that Nash is mixed, is "
        f"1 - n E[q^(n - 1)] with {CULTURE}, where q = uv + uw + vw - 2uvw for independent uniform numbers "
        "u, v and w.",
        Claim(
            id="A36.winner",
            quantity="largest error of the share, standard errors of 2,000 games, n from 3 to 48",
            source=f"{LIU} (the share tends to 1); the formula is ours",
            reading=error_of_winners(),
            bound=at_most(ERRORS),
        ),
    ),
)

FIGURES = (
    Figure(
        "condorcet",
        "Three judges who rank answers uniformly and independently: share of 2,000 games without a majority "
        "cycle, with its bound, and without a Condorcet winner, with its exact value, by number of answers.",
        (
            Panel(
                "lines",
                "growing",
                "majorities of three judges",
                {
                    "x": "answers",
                    "y": {"without a cycle": "no cycle", "without a winner": "no Condorcet winner"},
                    "bound": {"bound": "bound of no cycle", "predicted": "exact, no winner"},
                    "xlabel": "answers",
                    "ylabel": "share of games",
                    "logy": False,
                },
            ),
        ),
    ),
)

PAPER = Paper(
    name="condorcet",
    title="Nash is mixed if and only if no answer wins every majority",
    source="Liu, Long, Shi, Su and Xiao 2025, arXiv 2503.10990",
    experiments=(
        Measurement(
            "mixed Nash",
            "Is the Nash policy mixed exactly where there is no Condorcet winner?",
            mixed_nash,
            {"num_games": 400, "num_judges": NUM_JUDGES, "num_answers": 7, "seed": 0},
        ),
        Measurement(
            "profiles",
            "How many profiles of three judges on three answers have a majority cycle?",
            profiles,
            {"num_answers": 3},
        ),
        Measurement(
            "growing",
            "How often do majorities cycle, and how often is there no winner, by number of answers?",
            growing,
            {"num_answers": NUM_ANSWERS, "num_games": 2000, "num_judges": NUM_JUDGES, "seed": 0},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
