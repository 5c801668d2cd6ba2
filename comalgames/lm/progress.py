"""How far a round of training got, estimated on the answers that the round was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
        fit_residual: what is left of the way to the target, see `fit_residual`; nan without a target.
    """

    win_rate_last: float
    win_rate_reference: float
    kl_last: float
    kl_reference: float
    fit_residual: float


def progress(reached: Any, policies: Mapping[str, Any], feedback: Candidates, goal: Targets) -> Progress:
    """What a round changed, from the log-probabilities of its answers under the policy that it reached.

    Expectations over a policy are taken over the K answers with the weights `feedback.weights_logp` gives
    them: no new answers and no new comparisons, and a bias of order 1 / K. With all answers enumerated the
    numbers are exact.

    Args:
        reached: log-probabilities of the answers under the policy reached, `[..., K]`.
        policies: those under the stored policies, by name, as `targets` takes them.
        feedback: the answers' preferences among each other, and who drew them.
        goal: what the round was trained towards.

    Raises:
        ValueError: a log-probability is above 0, nan or of the wrong shape; the message names the row.
    """
    shape = feedback.behaviour_logp.shape
    here = jnp.asarray(validation.log_probabilities("reached", reached, shape), feedback.skew.dtype)
    weights = jnp.exp(feedback.weights_logp(here))

    def beside(name: str) -> tuple[float, float]:
        if name not in policies:
            return math.nan, math.nan
        other = jnp.asarray(policies[name], here.dtype)
        advantage = feedback.advantage(jax.random.key(0), other)
        won = 0.5 + jnp.sum(weights * advantage, axis=-1)
        # exp(d) - 1 - d has the expectation of -d, is never negative, and its noise is smaller.
        d = other - here
        divergence = jnp.sum(weights * (jnp.expm1(d) - d), axis=-1)
        return float(jnp.mean(won)), float(jnp.mean(divergence))

    (won_last, kl_last), (won_reference, kl_reference) = beside("logp"), beside("reference")
    left = math.nan if goal.target is None else fit_residual(here, goal.target, policies["logp"])
    return Progress(won_last, won_reference, kl_last, kl_reference, left)


def fit_residual(reached: Any, target: Any, start: Any) -> float:
    """The share of the way to the target that training left: 0 at the target, 1 where the round began.

        sqrt( mean (margin of reached - margin of target)^2 / mean (margin of start - margin of target)^2 )

    with the means over all pairs of answers and all prompts. The optimiser is the real step size of a rule: a
    residual of 0.9 says that this round took a tenth of the rule's step. With targets from a few sampled
    answers a part of it is noise that no policy fits, so compare rounds with each other, not with 0.

    Args:
        reached: log-probabilities of the answers under the policy reached, `[..., K]`.
        target: the rule's proposal for them.
        start: log-probabilities under the policy the round began with.
    """
    here, there, before = (np.asarray(each, np.float64) for each in (reached, target, start))
    left, whole = (np.mean(losses.regression(each, there)) for each in (here, before))
    return float(np.sqrt(left / whole)) if whole > 0 else 0.0
