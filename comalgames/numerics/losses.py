"""The published losses on log-probabilities, elementwise, for NumPy, JAX and torch arrays alike.

`log_ratio` is the log-probability of an answer minus the rule's *anchor* at it (its proposal under zero
advantage): `(1 - pull) * base + pull * reference`; for DPO, IPO and SPPO simply the reference model's.
`margin` is the log-ratio of one answer minus that of another. Preferences are probabilities; a hard label is
0 or 1.
"""

from __future__ import annotations

import importlib
from typing import Any


def regression(margin: Any, target_margin: Any) -> Any:
    """Squared error of a margin against the difference that the rule proposes.

    Its expectation over any law of pairs that connects all answers is least exactly at the rule's target.

    Args:
        margin: of log-probabilities, or of log-ratios; nats.
        target_margin: the same difference of the target.

    Reference: Gao et al., "REBEL: Reinforcement Learning via Regressing Relative Rewards", 2024, equation 4.
    """
    return (margin - target_margin) ** 2


def squared(margin: Any, preference: Any, step_size: Any) -> Any:
    """IPO's loss, and INPO's and COMAL's: (margin - step_size (preference - 1/2))^2.

    Least at the rule's target only if both answers are drawn, independently, from the policy that is the
    opponent, and labelled by the preferences.

    Args:
        margin: of log-ratios; nats.
        preference: probability that the first answer is preferred to the second, or a label 0 or 1.
        step_size: weight of the advantage in the rule; 1 / tau for IPO, 1 / eta for INPO.

    Reference: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
    2023, equation 17; COMAL, arXiv 2410.23223, algorithm 3.
    """
    return (margin - step_size * (preference - 0.5)) ** 2


def logistic(margin: Any, preference: Any, beta: Any) -> Any:
    """DPO's loss: cross-entropy of `sigmoid(beta margin)` against the preference.

    Least at the Bradley-Terry scores of the preferences, divided by beta.

    Args:
        margin: of log-ratios; nats.
        preference: probability that the first answer is preferred to the second, or a label 0 or 1.
        beta: DPO's regularization.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """
    return _cross_entropy(beta * margin, preference)


def pointwise(log_ratio: Any, win_rate: Any, step_size: Any) -> Any:
    """SPPO's loss: (log_ratio - step_size (win_rate - 1/2))^2, for answers drawn from the last policy.

    Args:
        log_ratio: nats.
        win_rate: how often the answer is preferred to the last policy's.
        step_size: 1 / beta in the paper's code.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024.
    """
    return (log_ratio - step_size * (win_rate - 0.5)) ** 2


def bco(log_ratio: Any, win_rate: Any, beta: Any) -> Any:
    """BCO's loss: cross-entropy of `sigmoid(beta log_ratio)` against the answer's win rate.

    Args:
        log_ratio: nats.
        win_rate: how often the answer is preferred to the last policy's.
        beta: regularization.

    Reference: Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """
    return _cross_entropy(beta * log_ratio, win_rate)


def nca(log_ratio: Any, win_rate: Any, beta: Any) -> Any:
    """NCA's loss: -win_rate log sigmoid(r) - 1/2 log sigmoid(-r), with r = beta log_ratio.

    Args:
        log_ratio: nats.
        win_rate: how often the answer is preferred to the last policy's.
        beta: regularization; at 1 the minimizer is `policy' = 2 policy * win_rate`, best-of-2 sampling.

    Reference: Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024.
    """
    r = beta * log_ratio
    return win_rate * _softplus(-r) + 0.5 * _softplus(r)


def kto(log_ratio: Any, win_rate: Any, beta: Any, baseline: Any) -> Any:
    """KTO's loss: the mean of 1 - sigmoid(r - z) when the answer wins and 1 - sigmoid(z - r) when it loses.

    It saturates: for fixed win rates it is linear in the sigmoid and has no finite minimizer, so it defines
    gradient steps but no policy to go to.

    Args:
        log_ratio: against the reference, nats; r = beta log_ratio.
        win_rate: how often the answer is preferred to the last policy's.
        beta: regularization.
        baseline: z, KTO's reference point: beta KL(policy || reference), not differentiated.

    Reference: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024, equation 8.
    """
    r = beta * log_ratio - baseline
    return win_rate * _sigmoid(-r) + (1.0 - win_rate) * _sigmoid(r)


def unflipped(label: Any, rate: Any) -> Any:
    """The unbiased soft label from one that was flipped with a known rate: (label - rate) / (1 - 2 rate).

    Losses linear in the label, or squared, are on average what they would be on clean labels. It leaves
    [0, 1]: a logistic loss with it is unbiased and still convex, but unbounded below for a single pair.

    Args:
        label: 0 or 1, or a probability.
        rate: how often labels are flipped, in [0, 1/2).

    Reference: Natarajan et al., "Learning with Noisy Labels", 2013, lemma 1; Chowdhury et al., "Provably
    Robust DPO", 2024.
    """
    return (label - rate) / (1.0 - 2.0 * rate)


def _cross_entropy(logit: Any, probability: Any) -> Any:
    return probability * _softplus(-logit) + (1.0 - probability) * _softplus(logit)


def _softplus(x: Any) -> Any:
    """log(1 + exp(x)), for numbers of any size."""
    xp = _namespace(x)
    positive = (x + xp.abs(x)) / 2.0
    return positive + xp.log1p(xp.exp(-xp.abs(x)))


def _sigmoid(x: Any) -> Any:
    return (_namespace(x).tanh(x / 2.0) + 1.0) / 2.0


def _namespace(x: Any) -> Any:
    """The module whose `exp` and `abs` are those of the array's kind."""
    kind = type(x).__module__.partition(".")[0]
    names = {"torch": "torch", "jax": "jax.numpy", "jaxlib": "jax.numpy"}
    return importlib.import_module(names.get(kind, "numpy"))
