"""How far a round of training got, estimated on the answers that the round was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from comalgames import validation
from comalgames.feedback import Candidates
from comalgames.lm import losses
from comalgames.lm.bridge import Targets


class Progress(NamedTuple):
    """What a round changed; means over the prompts.

    Attributes:
        win_rate_last: how often the policy reached is preferred to the one the round began with.
        win_rate_reference: how often it is preferred to the reference; nan without one.
        kl_last: KL(reached || the policy the round began with), nats.
        kl_reference: KL(reached || reference), nats; nan without one.
        fit_residual: what is left of the way to the target, of all prompts together, see `fit_residual`; nan
            without a target.
    """

    win_rate_last: float
    win_rate_reference: float
    kl_last: float
    kl_reference: float
    fit_residual: float


def progress(reached: Any, policies: Mapping[str, Any], feedback: Candidates, goal: Targets) -> Progress:
    """What a round changed, from the log-probabilities of its answers under the policy that it reached.

    All of it is estimated on the round's answers: no new answers, no new comparisons. Win rates weigh them
    by `feedback.weights_logp`, with a bias of order 1 / K; an answer meets itself, at 1/2, which shrinks a
    win rate's distance from 1/2 by about (K - 1) / K: with two answers to half of it. The KLs are unbiased,
    but what a policy says that it said hardly before is seldom among the answers: after a large step they
    come out too small. With all answers enumerated the numbers are exact.

    Args:
        reached: log-probabilities of the answers under the policy reached, `[..., K]`.
        policies: those under the stored policies, by name, as `targets` takes them.
        feedback: the answers' preferences among each other, and who drew them; for the KLs its
            `behaviour_logp` must be true log-probabilities, not only up to a constant.
        goal: what the round was trained towards.

    Raises:
        ValueError: a log-probability is above 0, nan or of the wrong shape; the message names the row.
    """
    if "logp" not in policies:
        raise ValueError("`policies` must hold 'logp', the policy that the round began with.")
    shape = feedback.behaviour_logp.shape
    here = jnp.asarray(validation.log_probabilities("reached", reached, shape), feedback.skew.dtype)
    weights = jnp.exp(feedback.weights_logp(here))

    def beside(name: str) -> tuple[float, float]:
        if name not in policies:
            return math.nan, math.nan
        other = jnp.asarray(policies[name], here.dtype)
        advantage = feedback.advantage(jax.random.key(0), other)
        won = 0.5 + jnp.sum(weights * advantage, axis=-1)
        # E_other [r log r - r + 1] with r = reached / other is KL(reached || other), for E_other [r] = 1; no
        # term is negative, and none explodes where the policy has left an answer.
        d = here - other
        share = jnp.exp(other - feedback.behaviour_logp)  # of other, beside who drew the answers
        divergence = jnp.mean(share * (jnp.exp(d) * d - jnp.expm1(d)), axis=-1)
        return float(jnp.mean(won)), float(jnp.mean(divergence))

    (won_last, kl_last), (won_reference, kl_reference) = beside("logp"), beside("reference")
    left = math.nan
    if goal.target is not None:
        start = jnp.asarray(policies["logp"], here.dtype)
        left = float(fit_residual(here, goal.target, start, pooled=True))
    return Progress(won_last, won_reference, kl_last, kl_reference, left)


def fit_residual(reached: Any, target: Any, start: Any, weights: Any = None, pooled: bool = False) -> Any:
    """The share of the way to the target that training left: 0 at the target, 1 where the round began.

        sqrt( mean (margin of reached - margin of target)^2 / mean (margin of start - margin of target)^2 )

    per prompt, `[...]`, with the means over pairs of answers; 0 where there was no way to go. The optimizer
    is the real step size of a rule: a residual of 0.9 says that this round took a tenth of the rule's step.
    With targets from a few sampled answers a part of it is noise that no policy fits: compare rounds with
    each other, not with 0.

    Args:
        reached: log-probabilities of the answers under the policy reached, `[..., K]`.
        target: the rule's proposal for them.
        start: log-probabilities under the policy the round began with.
        weights: how often each answer is drawn, as in `lm.losses`.
        pooled: one number for all prompts, with the means over them too; steadier where targets are noisy.
    """
    left, whole = (losses.regression(each, target, weights) for each in (reached, start))
    if pooled:
        left, whole = left.mean(), whole.mean()
    return jnp.where(whole > 0, jnp.sqrt(left / jnp.where(whole > 0, whole, 1.0)), 0.0)
