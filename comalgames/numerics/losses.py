"""Published losses on log-probabilities, elementwise, for NumPy, JAX and torch arrays.

`log_ratio` is the log-probability of an answer minus the anchor of the rule (its proposal under zero
advantage), `(1 - pull) * base + pull * reference`; for DPO, IPO and SPPO the anchor is the reference model.
`margin` is the log-ratio of one answer minus that of another. Preferences are probabilities; hard labels are
0 or 1.
"""

from __future__ import annotations

import importlib
from typing import Any


def regression(margin: Any, target_margin: Any) -> Any:
    """Squared error of a margin relative to the margin of the target.

    For every distribution of pairs that connects all answers, its expectation is minimized exactly at the
    target of the rule.

    Args:
        margin: difference of log-probabilities, or of log-ratios, in nats.
        target_margin: the corresponding difference of the target.

    Reference: Gao et al., "REBEL: Reinforcement Learning via Regressing Relative Rewards", 2024, equation 4.
    """
    return (margin - target_margin) ** 2


def squared(margin: Any, preference: Any, step_size: Any) -> Any:
    """The loss of IPO, INPO and COMAL, (margin - step_size (preference - 1/2))^2.

    Its expectation is minimized at the target of the rule only if both answers are drawn independently from
    the policy that is the opponent, and labelled by the preferences.

    Args:
        margin: difference of log-ratios, in nats.
        preference: probability that the first answer is preferred to the second, or a label 0 or 1.
        step_size: weight of the advantage in the rule; 1 / tau for IPO, 1 / eta for INPO.

    Reference: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
    2023, equation 17; COMAL, arXiv 2410.23223, algorithm 3.
    """
    return (margin - step_size * (preference - 0.5)) ** 2


def logistic(margin: Any, preference: Any, beta: Any) -> Any:
    """The loss of DPO, the cross-entropy of `sigmoid(beta margin)` against the preference.

    Its expectation is minimized at the Bradley-Terry scores of the preferences divided by beta.

    Args:
        margin: difference of log-ratios, in nats.
        preference: probability that the first answer is preferred to the second, or a label 0 or 1.
        beta: regularization strength of DPO.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """
    return _cross_entropy(beta * margin, preference)


def pointwise(log_ratio: Any, win_rate: Any, step_size: Any) -> Any:
    """The loss of SPPO, (log_ratio - step_size (win_rate - 1/2))^2, for answers drawn from the last policy.

    Args:
        log_ratio: log-ratio in nats.
        win_rate: win rate of the answer against the last policy.
        step_size: step size; 1 / beta in the paper's code.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024.
    """
    return (log_ratio - step_size * (win_rate - 0.5)) ** 2


def bco(log_ratio: Any, win_rate: Any, beta: Any) -> Any:
    """The loss of BCO, the cross-entropy of `sigmoid(beta log_ratio)` against the win rate of the answer.

    Args:
        log_ratio: log-ratio in nats.
        win_rate: win rate of the answer against the last policy.
        beta: regularization strength.

    Reference: Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """
    return _cross_entropy(beta * log_ratio, win_rate)


def nca(log_ratio: Any, win_rate: Any, beta: Any) -> Any:
    """The loss of NCA, -win_rate log sigmoid(r) - 1/2 log sigmoid(-r), with r = beta log_ratio.

    Args:
        log_ratio: log-ratio in nats.
        win_rate: win rate of the answer against the last policy.
        beta: regularization strength; at 1 the minimizer is `policy' = 2 policy * win_rate`, best-of-2
            sampling.

    Reference: Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024.
    """
    r = beta * log_ratio
    return win_rate * _softplus(-r) + 0.5 * _softplus(r)


def kto(log_ratio: Any, win_rate: Any, beta: Any, baseline: Any) -> Any:
    """The loss of KTO, the mean of 1 - sigmoid(r - z) for a win and 1 - sigmoid(z - r) for a loss.

    For fixed win rates it is linear in the sigmoid and has no finite minimizer: it defines gradient steps,
    but no target policy.

    Args:
        log_ratio: log-ratio to the reference in nats; r = beta log_ratio.
        win_rate: win rate of the answer against the last policy.
        beta: regularization strength.
        baseline: the reference point z of KTO, beta KL(policy || reference), without gradient.

    Reference: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024, equation 8.
    """
    r = beta * log_ratio - baseline
    return win_rate * _sigmoid(-r) + (1.0 - win_rate) * _sigmoid(r)


def unflipped(label: Any, rate: Any) -> Any:
    """Unbiased soft label from a label that was flipped with a known rate, (label - rate) / (1 - 2 rate).

    The expectation of a loss that is linear in the label is that on clean labels; the same holds for the
    squared loss up to a constant. The soft label may be outside of [0, 1]: a logistic loss with it is
    unbiased and convex, but unbounded below for a single pair.

    Args:
        label: 0 or 1, or a probability.
        rate: probability with which labels are flipped, in [0, 1/2).

    Reference: Natarajan et al., "Learning with Noisy Labels", 2013, lemma 1; Chowdhury et al., "Provably
    Robust DPO", 2024.
    """
    return (label - rate) / (1.0 - 2.0 * rate)


def _cross_entropy(logit: Any, probability: Any) -> Any:
    return probability * _softplus(-logit) + (1.0 - probability) * _softplus(logit)


def _softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    xp = _namespace(x)
    positive = (x + xp.abs(x)) / 2.0
    return positive + xp.log1p(xp.exp(-xp.abs(x)))


def _sigmoid(x: Any) -> Any:
    return (_namespace(x).tanh(x / 2.0) + 1.0) / 2.0


def _namespace(x: Any) -> Any:
    """The module with the functions `exp` and `abs` for the type of the array."""
    kind = type(x).__module__.partition(".")[0]
    names = {"torch": "torch", "jax": "jax.numpy", "jaxlib": "jax.numpy"}
    return importlib.import_module(names.get(kind, "numpy"))
