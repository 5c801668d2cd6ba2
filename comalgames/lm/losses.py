"""The published losses on the log-probabilities of K answers, for NumPy, JAX and torch arrays alike.

Each returns one number per prompt, `[...]`, for answers on the last axis. `target` and `anchor` are those of
`lm.targets`, as arrays of the same kind as `logp`; both matter up to a constant per prompt only, except in
`pointwise`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames import losses


def regression(logp: Any, target: Any) -> Any:
    """Mean over all pairs of answers of the squared error of their margin, against the target's.

    With two answers and a hard label it is the loss that INPO and COMAL publish, `(log pi(w) - log pi(l) -
    (anchor(w) - anchor(l)) - 1 / (2 eta))^2`; with `MWU`, IPO's.

    Args:
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        target: the rule's proposal for them, `[..., K]`.

    Reference: COMAL, arXiv 2410.23223, algorithm 3; Zhang et al., "Iterative Nash Policy Optimization", 2024.
    """
    return _over_pairs(losses.regression(_margins(logp), _margins(target)))


def pointwise(logp: Any, target: Any) -> Any:
    """Mean over the answers of the squared error of each log-probability against the target: SPPO's loss.

    Args:
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        target: the rule's proposal for them, `[..., K]`, its constant included.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024.
    """
    return losses.regression(logp, target).mean(-1)


def logistic(logp: Any, anchor: Any, preference: Any, beta: Any) -> Any:
    """Mean over all pairs of DPO's cross-entropy of `sigmoid(beta * margin)` against the preference.

    Args:
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        anchor: the rule's proposal under zero advantage, `[..., K]`; for DPO the reference's own.
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`, or labels.
        beta: DPO's regularisation; 1 / step_size of the rule.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """
    return _over_pairs(losses.logistic(_margins(logp - anchor), preference, beta))


def sequence_logp(token_logp: Any, is_completion: Any, average: bool = False) -> Any:
    """Log-probability of each answer: the sum over its tokens.

    Args:
        token_logp: log-probability of each token, `[..., tokens]`.
        is_completion: 1 for the answer's own tokens, 0 for prompt and padding, `[..., tokens]`.
        average: divide by the number of tokens. The result is then no log-probability of anything: rules
            weigh long answers less, and no table of this package predicts what they do.

    Raises:
        ValueError: an answer has no tokens; the message names it.
    """
    mask = np.asarray(is_completion)
    empty = mask.sum(-1) == 0
    if empty.any():
        rows = [tuple(int(k) for k in row) for row in np.argwhere(empty)[:3]]
        raise ValueError(
            f"`is_completion` has no token in {int(empty.sum())} answers, such as {rows[0]}: empty."
        )
    total = (token_logp * is_completion).sum(-1)
    return total / is_completion.sum(-1) if average else total


def _margins(scores: Any) -> Any:
    return scores[..., :, None] - scores[..., None, :]


def _over_pairs(loss: Any) -> Any:
    """Mean over ordered pairs of two different answers."""
    k = loss.shape[-1]
    diagonal = loss.diagonal(0, -2, -1).sum(-1)
    return (loss.sum((-2, -1)) - diagonal) / (k * (k - 1))
