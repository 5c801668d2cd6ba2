"""Progress of a round of training, estimated on the answers that the round was trained on."""

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
    """The result of `progress`: changes of the policy in one round, as means over the prompts.

    Attributes:
        win_rate_last: win rate of the trained policy against the policy at the start of the round.
        win_rate_reference: win rate of the trained policy against the reference; nan without a reference.
        kl_last: KL(trained policy || policy at the start of the round), in nats.
        kl_reference: KL(trained policy || reference), in nats; nan without a reference.
        fit_residual: remaining share of the distance to the target, over all prompts, see `fit_residual`; nan
            without a target.
    """

    win_rate_last: float
    win_rate_reference: float
    kl_last: float
    kl_reference: float
    fit_residual: float


def progress(reached: Any, policies: Mapping[str, Any], feedback: Candidates, goal: Targets) -> Progress:
    """Estimate the win rates, KL divergences and fit residual of a round from its own answers.

    No new answers and no new comparisons are needed. Win rates weight the answers by `feedback.weights_logp`,
    with a bias of order 1 / K. They include the comparison of each answer with itself, at 1/2, which shrinks
    the distance of a win rate from 1/2 by a factor of about (K - 1) / K: by half with two answers. The KL
    estimates are unbiased, but answers that became likely only in this round are rarely in the sample, so
    that after a large step most estimates are too small. With all answers enumerated the numbers are exact.

    Args:
        reached: log-probabilities of the answers under the trained policy, `[..., K]`.
        policies: log-probabilities of the answers under the stored policies, by name, as in `targets`.
        feedback: the preferences between the answers and the policy that drew them. The KLs need a
            `behaviour_logp` of true log-probabilities, not only up to a constant.
        goal: the targets that the round was trained on.

    Raises:
        ValueError: a log-probability is above 0, nan or of the wrong shape; the message names the row.
    """
    if "logp" not in policies:
        raise ValueError(
            f"`policies` must contain 'logp', the policy at the start of the round, got {sorted(policies)}."
        )
    shape = feedback.behaviour_logp.shape
    here = jnp.asarray(validation.log_probabilities("reached", reached, shape), feedback.skew.dtype)
    weights = jnp.exp(feedback.weights_logp(here))

    def beside(name: str) -> tuple[float, float]:
        if name not in policies:
            return math.nan, math.nan
        other = jnp.asarray(policies[name], here.dtype)
        advantage = feedback.advantage(jax.random.key(0), other)
        won = 0.5 + jnp.sum(weights * advantage, axis=-1)
        # E_other [r log r - r + 1] with r = reached / other is KL(reached || other), because E_other [r] = 1.
        # No term is negative, and none diverges for an answer whose probability has become very small.
        d = here - other
        share = jnp.exp(other - feedback.behaviour_logp)  # importance weights
        divergence = jnp.mean(share * (jnp.exp(d) * d - jnp.expm1(d)), axis=-1)
        return float(jnp.mean(won)), float(jnp.mean(divergence))

    (won_last, kl_last), (won_reference, kl_reference) = beside("logp"), beside("reference")
    left = math.nan
    if goal.target is not None:
        start = jnp.asarray(policies["logp"], here.dtype)
        left = float(fit_residual(here, goal.target, start, pooled=True))
    return Progress(won_last, won_reference, kl_last, kl_reference, left)


def fit_residual(reached: Any, target: Any, start: Any, weights: Any = None, pooled: bool = False) -> Any:
    """The remaining share of the distance to the target: 0 at the target, 1 at the start of the round.

        sqrt( mean (margin of reached - margin of target)^2 / mean (margin of start - margin of target)^2 )

    per prompt, `[...]`, with means over pairs of answers; 0 if the round started at the target. The optimizer
    determines the effective step size of a rule: after a round with residual 0.9 the policy has moved by a
    tenth of the rule's step. With targets from a few sampled answers a part of the residual is noise that no
    policy can fit: compare residuals between rounds, not with 0.

    Args:
        reached: log-probabilities of the answers under the trained policy, `[..., K]`.
        target: the rule's proposal for the answers, `[..., K]`.
        start: log-probabilities under the policy at the start of the round, `[..., K]`.
        weights: probability with which each answer is drawn, as in `lm.losses`.
        pooled: whether to take the means over all prompts too, which gives one number with less noise.
    """
    left, whole = (losses.regression(each, target, weights) for each in (reached, start))
    if pooled:
        left, whole = left.mean(), whole.mean()
    return jnp.where(whole > 0, jnp.sqrt(left / jnp.where(whole > 0, whole, 1.0)), 0.0)
