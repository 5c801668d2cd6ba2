"""DNO, REBEL and RSPO: one round, trained to its minimum, is a step of a mirror rule.

Rosset et al., "Direct Nash Optimization", 2024, arXiv 2404.03715; Gao et al., "REBEL", 2024, arXiv
2404.16767; Tang et al., "RSPO: Regularized Self-Play Alignment of Large Language Models", 2025, arXiv
2503.00030. Losses are written out in NumPy and minimized by SciPy. In rounds, DNO and REBEL are
multiplicative weights (papers `spo` and `comal`), and RSPO with the reverse KL is magnetic mirror descent
(paper `mpo`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from scipy.special import expit, log_softmax, softmax

from comalgames import games
from comalgames.algorithms import DNO, REBEL, RSPO
from comalgames.experiments import (
    Claim,
    Data,
    Figure,
    Measurement,
    Paper,
    Statement,
    at_least,
    at_most,
    reads,
)
from comalgames.feedback import Exact
from comalgames.papers.setting import OURS

ETA, TEMPERATURE = 0.7, 0.4

Value = tuple[float, np.ndarray]


def margins(scores: np.ndarray) -> np.ndarray:
    """Score of the row's answer minus that of the column's."""
    return np.asarray(scores[:, None] - scores[None, :])


def dno(scores: np.ndarray, p: np.ndarray, reference: np.ndarray, win_rate: np.ndarray) -> Value:
    """Cross-entropy of sigmoid(eta margin of log-ratios) and sigmoid(margin of win rates), uniform pairs."""
    margin, label = ETA * margins(scores - np.log(p)), expit(margins(win_rate))
    value = np.sum(np.logaddexp(0, margin) - label * margin)
    return float(value), 2 * ETA * (expit(margin) - label).sum(1)


def rebel(scores: np.ndarray, p: np.ndarray, reference: np.ndarray, win_rate: np.ndarray) -> Value:
    """Square of margin of log-ratios / eta minus margin of win rates, on pairs drawn from the policy."""
    error = margins(scores - np.log(p)) / ETA - margins(win_rate)
    weight = np.outer(p, p)
    return float(np.sum(weight * error**2)), 4 * (weight * error).sum(1) / ETA


def rspo(scores: np.ndarray, p: np.ndarray, reference: np.ndarray, win_rate: np.ndarray) -> Value:
    """Minus win rate plus temperature KL(. || reference) plus KL(. || policy) / eta."""
    new, logp = softmax(scores), log_softmax(scores)
    each = -win_rate + TEMPERATURE * (logp - np.log(reference)) + (logp - np.log(p)) / ETA
    return float(new @ each), new * (each - new @ each)


def mirror_step(p: np.ndarray, reference: np.ndarray, win_rate: np.ndarray) -> np.ndarray:
    """Log-probabilities of (p * reference^(eta lambda) * exp(eta * win rate))^(1/(1 + eta lambda))."""
    pull = ETA * TEMPERATURE
    return np.asarray(log_softmax((np.log(p) + pull * np.log(reference) + ETA * win_rate) / (1 + pull)))


# The rule, the value and the gradient of the published loss, and the formula of its minimum.
RULES: dict[str, tuple[Any, Callable[..., Value], Callable[..., np.ndarray]]] = {
    "DNO": (DNO(ETA), dno, lambda p, _, win_rate: log_softmax(np.log(p) + win_rate / ETA)),
    "REBEL": (REBEL(ETA), rebel, lambda p, _, win_rate: log_softmax(np.log(p) + ETA * win_rate)),
    "RSPO": (RSPO(ETA, TEMPERATURE), rspo, mirror_step),
}


def one_round(num_games: int, num_answers: int, seed: int) -> Any:
    """Differences from the formula, of the package and of the minimum of the loss; lengths of the steps.

    On random games, from random policies and with random references.
    """
    import xarray as xr

    rng, shape = np.random.default_rng(seed), (len(RULES), num_games)
    errors, lengths = np.zeros(shape), np.zeros(shape)
    with jax.enable_x64(True):
        for k in range(num_games):
            game = games.random(jax.random.key(seed + k), num_answers)
            p, reference = 0.9 * rng.dirichlet(np.ones(num_answers), 2) + 0.1 / num_answers
            start, anchor = jnp.log(jnp.asarray(p)), jnp.log(jnp.asarray(reference))
            for row, (rule, loss, formula) in enumerate(RULES.values()):
                step = np.asarray(rule.step(jax.random.key(0), rule.init(start, anchor), Exact(game)).logp)
                known = p, reference, np.asarray(game.preference) @ p
                found = scipy.optimize.minimize(loss, np.log(p), known, jac=True, options={"gtol": 1e-10})
                both = np.array([step, log_softmax(found.x)])
                errors[row, k] = np.abs(both - formula(*known)).max()
                lengths[row, k] = np.abs(step - np.log(p)).max()
    axes = ("rule", "game")
    return xr.Dataset({"error": (axes, errors), "length": (axes, lengths)}, {"rule": list(RULES)})


@reads("one round")
def largest_error(data: Data, rule: str) -> float:
    """Largest difference from the formula of a log-probability of the package or of the minimum."""
    return float(data["one round"]["error"].sel(rule=rule).max(skipna=False))


@reads("one round")
def shortest_step(data: Data) -> float:
    """The smallest change of a policy, of its log-probability that changes most."""
    return float(data["one round"]["length"].min(skipna=False))


STATEMENTS = (
    *(
        Statement(
            f"A round of {name} with {numbers}, {loss}, ends at the policy {policy}, up to a constant, on 20 "
            "random games of six answers.",
            Claim(
                id=f"A37.{name}",
                quantity="largest difference from the formula of a log-probability, package and SciPy",
                source=OURS,
                reading=largest_error(name),
                bound=at_most(1e-5),
            ),
        )
        for name, numbers, loss, policy in (
            (
                "DNO",
                f"eta = {ETA}",
                "trained to the minimum of its cross-entropy on uniform pairs",
                "policy * exp(win rate / eta)",
            ),
            (
                "REBEL",
                f"eta = {ETA}",
                "trained to the minimum of its squared loss on pairs of the policy",
                "policy * exp(eta * win rate)",
            ),
            (
                "RSPO",
                f"eta = {ETA} and temperature lambda = {TEMPERATURE}",
                "trained to the maximum of its objective with the reverse KL",
                "(policy * reference^(eta lambda) * exp(eta * win rate))^(1/(1 + eta lambda))",
            ),
        )
    ),
    Statement(
        f"A round of DNO, REBEL or RSPO with eta = {ETA} moves the policy in each of 20 random games of six "
        "answers, in which it is compared with the minimum of its loss.",
        Claim(
            id="A37.length",
            quantity="smallest change of the log-probability that changes most, 20 random games",
            source=OURS,
            reading=shortest_step(),
            bound=at_least(0.01),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()

PAPER = Paper(
    name="regressions",
    title="DNO, REBEL and RSPO: a round is a step of a mirror rule",
    source="Rosset et al. 2024, arXiv 2404.03715; Gao et al. 2024, arXiv 2404.16767; Tang et al. 2025, "
    "arXiv 2503.00030",
    experiments=(
        Measurement(
            "one round",
            "Is a step of the rule the minimum of its published loss?",
            one_round,
            {"num_games": 20, "num_answers": 6, "seed": 0},
        ),
    ),
    statements=STATEMENTS,
    figures=FIGURES,
)
