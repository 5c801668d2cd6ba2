"""Published losses on the log-probabilities of K answers, for NumPy, JAX and torch arrays.

Each loss returns one number per prompt, `[...]`; answers are on the last axis. `target` and `anchor` are
fields of `lm.Targets`; a constant added to them per prompt has no effect, except in `pointwise`. They are
converted to constants of the array type of `logp`; for a torch tensor, with its dtype and device.

`weights` is the probability with which each answer is drawn, `[..., K]`, summing to 1: the loss is then the
expectation over independently drawn answers. Omit it for answers that the last policy drew. If all answers
are enumerated, it is the policy itself, `exp(feedback.weights_logp(logp))`. (For a few answers drawn by
another policy these weights correct little; see docs/formulas.md.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames import validation
from comalgames.numerics import losses

# Names of the losses in a configuration.
NAMES = ("regression", "pointwise", "logistic")


def regression(logp: Any, target: Any, weights: Any = None) -> Any:
    """Mean squared error of the margins between answers, relative to the margins of the target.

    The mean is over all pairs of answers. With two answers and a hard label it is the published loss of INPO
    and COMAL, `(log pi(w) - log pi(l) - (anchor(w) - anchor(l)) - 1 / (2 eta))^2`; with `MWU` it is the loss
    of IPO.

    Args:
        logp: log-probabilities of the answers under the trained model, `[..., K]`.
        target: the rule's proposal for the answers, `[..., K]`.
        weights: probability with which each answer is drawn, `[..., K]`; None for answers that the last
            policy drew.

    Reference: COMAL, arXiv 2410.23223, algorithm 3; Zhang et al., "Iterative Nash Policy Optimization", 2024.
    """
    target = _like(logp, "target", target)
    return _over_pairs(losses.regression(_margins(logp), _margins(target)), _like(logp, "weights", weights))


def pointwise(logp: Any, target: Any, weights: Any = None) -> Any:
    """Mean squared error of the log-probabilities relative to the target: the loss of SPPO.

    Args:
        logp: log-probabilities of the answers under the trained model, `[..., K]`.
        target: the rule's proposal for the answers, `[..., K]`; its constant matters.
        weights: probability with which each answer is drawn, `[..., K]`; None for answers that the last
            policy drew.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024.
    """
    each = losses.regression(logp, _like(logp, "target", target))
    return each.mean(-1) if weights is None else (_like(logp, "weights", weights) * each).sum(-1)


def logistic(logp: Any, anchor: Any, preference: Any, beta: Any, weights: Any = None) -> Any:
    """Mean cross-entropy of `sigmoid(beta * margin)` against the preference over all pairs: the loss of DPO.

    It is minimized at `anchor + scores / beta`, where `scores` are the Bradley-Terry scores that fit the
    preferences; near a tie they are four times the advantages. With the anchor of a mirror rule and beta =
    1 / step_size it therefore does not follow that rule, but a DPO damped by the reference, similar to the
    rule with four times the step at a quarter of the temperature. Step limits, tables and residuals of the
    rule do not apply to it. beta = 4 / step_size gives steps of the rule's size.

    Args:
        logp: log-probabilities of the answers under the trained model, `[..., K]`.
        anchor: the rule's proposal under zero advantage, `[..., K]`; for DPO, the log-probabilities under the
            reference.
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`, or labels.
        beta: regularization strength of DPO.
        weights: probability with which each answer is drawn, `[..., K]`; None for answers that the last
            policy drew.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """
    if np.shape(preference)[-2:] != (logp.shape[-1],) * 2:
        raise ValueError(
            f"`preference` must be of {logp.shape[-1]} answers against each other, with shape [..., K, K], "
            f"got shape {np.shape(preference)}."
        )
    preference, anchor = _like(logp, "preference", preference), _like(logp, "anchor", anchor)
    each = losses.logistic(_margins(logp - anchor), preference, _like(logp, "beta", beta))
    return _over_pairs(each, _like(logp, "weights", weights))


def named(name: str, logp: Any, goal: Any, preference: Any = None, weights: Any = None) -> Any:
    """The value of the loss with the given name, for the targets of one round.

    Args:
        name: "regression" (INPO, COMAL, IPO, and every rule with a target), "pointwise" (SPPO) or "logistic"
            (DPO).
        logp: log-probabilities of the answers under the trained model, `[..., K]`.
        goal: the `lm.Targets` of the round, with arrays of the same type as `logp`.
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`; used by
            "logistic".
        weights: probability with which each answer is drawn, `[..., K]`; None for answers that the last
            policy drew.

    Raises:
        ValueError: `name` is not one of these, or the loss needs a target or a beta that the goal lacks.
    """
    validation.known("name", name, NAMES)
    if name == "logistic":
        if goal.beta is None:
            raise ValueError(
                "`goal` must have a beta for the loss 'logistic', got None: the rule's proposal is not its "
                "anchor plus a multiple of the advantage against the policy. Use the loss 'regression', "
                "which works for every rule with a target."
            )
        return logistic(logp, goal.anchor, preference, goal.beta, weights)
    if goal.target is None:
        raise ValueError(
            f"`goal` must have a target for the loss {name!r}, got None: its rule, such as IterativeDPO, "
            f"needs 'logistic'."
        )
    return (regression if name == "regression" else pointwise)(logp, goal.target, weights)


def sequence_logp(token_logp: Any, is_completion: Any, average: bool = False) -> Any:
    """Log-probability of each answer, summed over its tokens.

    Args:
        token_logp: log-probability of each token, `[..., tokens]`.
        is_completion: 1 for tokens of the answer, 0 for prompt and padding, `[..., tokens]`.
        average: whether to divide by the number of tokens. The result is then not a log-probability: long
            answers have less weight, and the predictions of this package for exact policies do not apply.

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
                f"`is_completion` must mark at least one token of each answer; it has no token in "
                f"{len(empty)} answers, the first at {row}. Remove empty answers."
            )
    total = (token_logp * is_completion).sum(-1)
    return total / lengths if average else total


def _like(logp: Any, name: str, value: Any) -> Any:
    """The value as a constant of the array type of `logp`."""
    if value is None and name != "weights":
        raise ValueError(
            f"`{name}` must be an array, got None (IterativeDPO has only an anchor; use the loss 'logistic')."
        )
    if value is None or not hasattr(logp, "new_tensor") or hasattr(value, "new_tensor"):
        return value
    return logp.new_tensor(np.array(value))


def _margins(scores: Any) -> Any:
    return scores[..., :, None] - scores[..., None, :]


def _over_pairs(loss: Any, weights: Any) -> Any:
    """Mean over ordered pairs of different answers, or of answers drawn independently by their weights."""
    if weights is not None:
        return (weights[..., :, None] * weights[..., None, :] * loss).sum((-2, -1))
    k = loss.shape[-1]
    diagonal = loss.diagonal(0, -2, -1).sum(-1)
    return (loss.sum((-2, -1)) - diagonal) / (k * (k - 1))
