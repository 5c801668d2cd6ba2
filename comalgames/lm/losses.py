"""The published losses on the log-probabilities of K answers, for NumPy, JAX and torch arrays alike.

Each returns one number per prompt, `[...]`, for answers on the last axis. `target` and `anchor` are those of
`lm.targets`; both matter up to a constant per prompt only, except in `pointwise`. Whatever kind of array they
are, they become constants of `logp`'s kind: beside a torch tensor, tensors of its type on its device.

`weights`, in all of them, is how often each answer is drawn, `[..., K]`, summing to 1: the loss is then its
expectation over answers drawn independently. Leave it out for answers that the last policy did draw. Where
all answers are enumerated it is the policy itself, `exp(feedback.weights_logp(logp))`. (For a few answers
that another policy drew these weights correct little; see docs/formulas.md.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames import validation
from comalgames.numerics import losses

# What a configuration may ask for by name.
NAMES = ("regression", "pointwise", "logistic")


def regression(logp: Any, target: Any, weights: Any = None) -> Any:
    """Mean over all pairs of answers of the squared error of their margin, against the target's.

    With two answers and a hard label it is the loss that INPO and COMAL publish, `(log pi(w) - log pi(l) -
    (anchor(w) - anchor(l)) - 1 / (2 eta))^2`; with `MWU`, IPO's.

    Args:
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        target: the rule's proposal for them, `[..., K]`.
        weights: how often each answer is drawn, `[..., K]`; None for answers that the last policy drew.

    Reference: COMAL, arXiv 2410.23223, algorithm 3; Zhang et al., "Iterative Nash Policy Optimization", 2024.
    """
    target = _like(logp, "target", target)
    return _over_pairs(losses.regression(_margins(logp), _margins(target)), _like(logp, "weights", weights))


def pointwise(logp: Any, target: Any, weights: Any = None) -> Any:
    """Mean over the answers of the squared error of each log-probability against the target: SPPO's loss.

    Args:
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        target: the rule's proposal for them, `[..., K]`, its constant included.
        weights: how often each answer is drawn, `[..., K]`; None for answers that the last policy drew.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024.
    """
    each = losses.regression(logp, _like(logp, "target", target))
    return each.mean(-1) if weights is None else (_like(logp, "weights", weights) * each).sum(-1)


def logistic(logp: Any, anchor: Any, preference: Any, beta: Any, weights: Any = None) -> Any:
    """Mean over all pairs of DPO's cross-entropy of `sigmoid(beta * margin)` against the preference.

    Least at `anchor + scores / beta`, the Bradley-Terry scores that fit the preferences: near a tie they are
    four times the advantages. So with a mirror rule's anchor and beta = 1 / step_size it is not that rule but
    DPO damped by its reference, like the rule with four times the step at a quarter of the temperature; step
    limits, tables and residuals of the rule do not apply to it. beta = 4 / step_size keeps the rule's size.

    Args:
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        anchor: the rule's proposal under zero advantage, `[..., K]`; for DPO the reference's own.
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`, or labels.
        beta: DPO's regularization.
        weights: how often each answer is drawn, `[..., K]`; None for answers that the last policy drew.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """
    if np.shape(preference)[-2:] != (logp.shape[-1],) * 2:
        raise ValueError(
            f"`preference` must be of {logp.shape[-1]} answers among each other, [..., K, K], got "
            f"{np.shape(preference)}."
        )
    preference, anchor = _like(logp, "preference", preference), _like(logp, "anchor", anchor)
    each = losses.logistic(_margins(logp - anchor), preference, _like(logp, "beta", beta))
    return _over_pairs(each, _like(logp, "weights", weights))


def named(name: str, logp: Any, goal: Any, preference: Any = None, weights: Any = None) -> Any:
    """The loss of that name, on what a round knows: what a trainer's configuration chooses.

    Args:
        name: "regression" (INPO, COMAL, IPO, and every rule with a target), "pointwise" (SPPO) or "logistic"
            (DPO).
        logp: log-probabilities of the answers under the model that is trained, `[..., K]`.
        goal: the round's `lm.Targets`, its arrays of the same kind as `logp`.
        preference: for "logistic": of the row's answer to the column's, `[..., K, K]`.
        weights: how often each answer is drawn, `[..., K]`; None for answers that the last policy drew.

    Raises:
        ValueError: `name` is none of these, or the goal has no target, or no beta, and the loss needs one.
    """
    validation.known("name", name, NAMES)
    if name == "logistic":
        if goal.beta is None:
            raise ValueError(
                "`goal` has no beta, which the loss 'logistic' needs: its rule is not its anchor plus a "
                "multiple of the policy's own advantage. The loss 'regression' follows every rule that has a "
                "target."
            )
        return logistic(logp, goal.anchor, preference, goal.beta, weights)
    if goal.target is None:
        raise ValueError(
            f'`goal` has no target for the loss {name!r}: its rule, such as IterativeDPO, needs "logistic".'
        )
    return (regression if name == "regression" else pointwise)(logp, goal.target, weights)


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
    lengths = is_completion.sum(-1)
    if validation.is_concrete(lengths):
        on_host = np.asarray(lengths.cpu() if hasattr(lengths, "cpu") else lengths)
        empty = np.argwhere(on_host == 0)
        if len(empty):
            row = tuple(int(k) for k in empty[0])
            raise ValueError(
                f"`is_completion` has no token in {len(empty)} answers, the first at {row}: an empty answer "
                f"has no log-probability to train."
            )
    total = (token_logp * is_completion).sum(-1)
    return total / lengths if average else total


def _like(logp: Any, name: str, value: Any) -> Any:
    """The value as a constant that can be computed with beside `logp`."""
    if value is None and name != "weights":
        raise ValueError(f"`{name}` must be an array, got None (IterativeDPO has no target, only an anchor).")
    if value is None or not hasattr(logp, "new_tensor") or hasattr(value, "new_tensor"):
        return value
    return logp.new_tensor(np.array(value))


def _margins(scores: Any) -> Any:
    return scores[..., :, None] - scores[..., None, :]


def _over_pairs(loss: Any, weights: Any) -> Any:
    """Mean over ordered pairs: of two different answers, or of two drawn independently by their weights."""
    if weights is not None:
        return (weights[..., :, None] * weights[..., None, :] * loss).sum((-2, -1))
    k = loss.shape[-1]
    diagonal = loss.diagonal(0, -2, -1).sum(-1)
    return (loss.sum((-2, -1)) - diagonal) / (k * (k - 1))
