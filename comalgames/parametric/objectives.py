"""Objectives: published losses for training a softmax policy, each with its distribution of pairs.

An objective approaches the target of an update rule by gradient steps: its exact minimizer over all policies
is the target of the rule, unless the class states another one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule
from comalgames.feedback import AbstractFeedback, Comparisons
from comalgames.numerics import losses, pairs, simplex

__all__ = [
    "BCO",
    "KTO",
    "NCA",
    "AbstractObjective",
    "LabelledPairs",
    "Logistic",
    "Pointwise",
    "PolicyGradient",
    "Regression",
]

DISTRIBUTIONS = ("policy", "uniform", "reference", "replay")


class Distributions(eqx.Module):
    """The distributions from which pairs may be drawn in a round, log-probabilities `[..., n]` each.

    Attributes:
        policy: the policy at the start of the round.
        reference: the reference of the rule.
        replay: the mean of all policies so far, which is the distribution of a buffer of all past answers.
    """

    policy: Float[Array, "*batch n"]
    reference: Float[Array, "*batch n"]
    replay: Float[Array, "*batch n"]

    def by_name(self, name: str) -> Float[Array, "*batch n"]:
        """The distribution with the given name in `DISTRIBUTIONS`."""
        if name == "uniform":
            return jnp.full_like(self.policy, -jnp.log(self.policy.shape[-1]))
        drawn: Array = getattr(self, name)
        return drawn


class Lesson(eqx.Module):
    """The training data of one round.

    Attributes:
        drawn: the distribution of pairs or answers, log-probabilities `[..., n]`.
        step_size: the weight of the advantage in the rule; 1 for a rule without such a weight.
        target: the rule's proposal, up to a constant, `[..., n]`; for objectives with a target.
        anchor: the rule's proposal under zero advantage, normalized, `[..., n]`; for all other objectives.
        seen: the labelled pairs of the round, for objectives on labels.
        win_rate: win rate of each action against the policy at the start of the round, for objectives on win
            rates.
    """

    drawn: Float[Array, "*batch n"]
    step_size: Any
    target: Float[Array, "*batch n"] | None = None
    anchor: Float[Array, "*batch n"] | None = None
    seen: Comparisons | None = None
    win_rate: Float[Array, "*batch n"] | None = None


class AbstractObjective(eqx.Module):
    """Base class of objectives: a loss, and the data that a round of training needs for it."""

    # "target": the rule's proposal; "labels": labelled pairs; "win rates": one win rate per answer. The
    # latter two need a rule whose proposal is its anchor plus a multiple of the policy's advantage.
    needs: ClassVar[str]

    @property
    def distribution(self) -> str:
        """Name of the distribution of pairs or answers, one of `DISTRIBUTIONS`."""
        return "policy"

    @property
    def is_random(self) -> bool:
        """Whether gradient steps draw pairs or answers."""
        return False

    @abstractmethod
    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Loss of a policy, per prompt; the key is used for pairs or answers drawn at every gradient step."""

    def teach(
        self, key: PRNGKeyArray, rule: AbstractUpdateRule[Any], state: Any, distributions: Distributions,
        feedback: AbstractFeedback,
    ) -> tuple[Lesson, Any]:  # fmt: skip
        """The training data of a round, and the state of the rule after its queries."""
        drawn = distributions.by_name(self.distribution)
        step_size = rule.form(state.step).advantage_weight
        if self.needs == "target":
            target, state = rule.propose(key, state, feedback)
            return Lesson(drawn, 1.0 if step_size is None else step_size, target=target), state
        proposal, _ = rule.propose(key, state, NoAdvantage())
        anchor = simplex.log_normalize(proposal)  # proposals are defined up to a constant
        if self.needs == "labels":
            return Lesson(drawn, step_size, anchor=anchor, seen=feedback.comparisons(key, drawn)), state
        win_rate = feedback.advantage(key, state.logp) + 0.5
        return Lesson(drawn, step_size, anchor=anchor, win_rate=win_rate), state


class NoAdvantage(AbstractFeedback):
    """Feedback with zero advantages, under which the proposal of a rule is its anchor."""

    @property
    def is_random(self) -> bool:
        """False: the feedback is deterministic."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Zero for every action."""
        return jnp.zeros_like(opponent_logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Raises a ValueError, because the number of actions is unknown."""
        raise ValueError(
            "`inner` must query advantages for objectives on labels or win rates, got a rule that queries "
            "all pairs; use objectives.Regression()."
        )


class Regression(AbstractObjective):
    """Squared error of log-probability margins relative to those of the target (online IPO, REBEL).

        E_{y, y' ~ distribution} [(log pi(y) - log pi(y')) - (target(y) - target(y'))]^2

    It is minimized exactly at the target of the rule, for every rule and every distribution with full
    support. With uniform pairs of n actions, an SGD step with learning rate lr on `Tabular` scores moves by
    the share 4 lr / n of the distance to the target: an exact mirror step with smaller parameters.

    Args:
        distribution: the distribution of pairs: "policy", "uniform", "reference" or "replay" (the mean of all
            policies so far).
        num_pairs: number of pairs drawn in every gradient step; None for the expectation over all pairs.

    Raises:
        ValueError: `distribution` is not one of these, or `num_pairs` is not a whole number >= 1.

    Reference: Calandriello et al., "Human Alignment of Large Language Models through Online Preference
    Optimisation", 2024; Gao et al., "REBEL", 2024.
    """

    distribution: str = eqx.field(static=True, default="uniform")
    num_pairs: int | None = eqx.field(static=True, default=None)
    needs: ClassVar[str] = "target"

    def __check_init__(self) -> None:
        validation.known("distribution", self.distribution, DISTRIBUTIONS)
        _check_num("num_pairs", self.num_pairs)

    @property
    def is_random(self) -> bool:
        """Whether pairs are drawn."""
        return self.num_pairs is not None

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Loss of a policy, per prompt."""
        if self.num_pairs is None:
            share = _product(lesson.drawn)
        else:
            drawn = pairs.draw(key, lesson.drawn, (self.num_pairs, 2))
            counted = jnp.full(drawn.shape[:-1], 1 / self.num_pairs, logp.dtype)
            share = pairs.tally(drawn[..., 0], drawn[..., 1], counted, logp.shape[-1])
        return _mean(share, losses.regression(_margins(logp), _margins(_known(lesson.target))))


class LabelledPairs(AbstractObjective):
    """Squared error of margins on labelled pairs: the loss of IPO, INPO and COMAL.

        E_{y, y' ~ policy, label} [h(y) - h(y') - step_size (label - 1/2)]^2,    h = log pi - anchor

    It is minimized at the target of the rule if both answers are drawn independently from the policy at the
    start of the round: the mean of the labels over y' is then the win rate against that policy. With any
    other distribution the minimizer has the win rates against that distribution instead, which gives another
    algorithm with another limit.

    Args:
        distribution: the distribution of pairs, "policy"; "uniform", "reference" and "replay" are available
            for comparison.

    Raises:
        ValueError: `distribution` is not one of these.

    Reference: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
    2023, equation 17; Zhang et al., "Iterative Nash Policy Optimization", 2024; COMAL, arXiv 2410.23223.
    """

    distribution: str = eqx.field(static=True, default="policy")
    needs: ClassVar[str] = "labels"

    def __check_init__(self) -> None:
        validation.known("distribution", self.distribution, DISTRIBUTIONS)

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Loss of a policy, per prompt."""
        share, preference = _labelled(lesson)
        margins = _margins(logp - _known(lesson.anchor))
        return _mean(share, losses.squared(margins, preference, lesson.step_size))


class Logistic(AbstractObjective):
    """Cross-entropy of `sigmoid(margin / step_size)` on labelled pairs: the loss of DPO.

        -E_{y, y' ~ policy} [P(y > y') log sigmoid((h(y) - h(y')) / step_size)],    h = log pi - anchor

    It is minimized at `anchor + step_size * scores`, where `scores` are the Bradley-Terry scores that fit the
    preferences on the pairs; near a tie they are four times the advantages. With `MWU` it is iterative DPO
    with beta = 1 / step_size; with a rule that has a reference, DPO damped by the reference.

    Args:
        distribution: the distribution of pairs, as in `LabelledPairs`.

    Raises:
        ValueError: `distribution` is not one of these.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """

    distribution: str = eqx.field(static=True, default="policy")
    needs: ClassVar[str] = "labels"

    def __check_init__(self) -> None:
        validation.known("distribution", self.distribution, DISTRIBUTIONS)

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Loss of a policy, per prompt."""
        share, preference = _labelled(lesson)
        margins = _margins(logp - _known(lesson.anchor))
        return _mean(share, losses.logistic(margins, preference, 1.0 / lesson.step_size))


class Pointwise(AbstractObjective):
    """Squared error of log-probabilities on answers drawn from the policy: the loss of SPPO and RSPO.

        E_{y ~ policy} [log pi(y) - target(y)]^2

    The policy is normalized and the target is not, so that the exact minimizer differs from the target of the
    rule: at third order in the step size without a reference, at second order with one. They agree at the
    fixed point of the rule, and always if `centred` makes the loss independent of a constant per prompt.
    Without `centred` the constant of the proposal matters, such as the 1/2 in SPPO. With `MWU` this is the
    loss of SPPO; with a reference, that of RSPO with the squared log-ratio to the reference (the sum of both
    squares is one square around the rule's target plus a constant).

    Args:
        centred: whether to take the variance of the error instead of its mean square.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024; Tang et al.,
    "RSPO: Regularized Self-Play Alignment of Large Language Models", 2025.
    """

    centred: bool = eqx.field(static=True, default=False)
    needs: ClassVar[str] = "target"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Loss of a policy, per prompt."""
        p, error = jnp.exp(lesson.drawn), logp - _known(lesson.target)
        if self.centred:
            error = error - jnp.sum(p * error, axis=-1, keepdims=True)
        return jnp.sum(p * losses.regression(error, 0.0), axis=-1)


class PolicyGradient(AbstractObjective):
    """Policy gradient (REINFORCE) on the KL-regularized reward, with answers of the policy, as in RLHF.

        E_{y ~ pi} [log pi(y) - target(y)] / step_size
          = -E_pi [advantage] + (pull / step_size) KL(pi || reference) + (1 - pull) / step_size KL(pi || base)

    It is minimized at the target of the rule. With a pull of 1 it is RLHF with the win rate against the
    current policy as the reward; with one gradient step per round the reward is updated at every step.

    Args:
        num_samples: number of answers drawn in every gradient step; None for the expectation over all
            answers.

    Raises:
        ValueError: `num_samples` is not a whole number >= 1.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7; Calandriello et al., 2024,
    proposition 4.2.
    """

    num_samples: int | None = eqx.field(static=True, default=None)
    needs: ClassVar[str] = "target"

    def __check_init__(self) -> None:
        _check_num("num_samples", self.num_samples)

    @property
    def is_random(self) -> bool:
        """Whether answers are drawn."""
        return self.num_samples is not None

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Surrogate whose gradient is the policy gradient, per prompt."""
        now = jax.lax.stop_gradient(logp)
        if self.num_samples is None:
            share = jnp.exp(now)
        else:
            drawn = pairs.draw(key, now, (self.num_samples,))
            share = jnp.mean(jax.nn.one_hot(drawn, logp.shape[-1], dtype=logp.dtype), axis=-2)
        error = now - _known(lesson.target)
        # Baseline: a constant reward has gradient 0 in expectation, and subtracting it reduces the noise.
        error = error - jnp.sum(jnp.exp(now) * error, axis=-1, keepdims=True)
        surrogate: Array = jnp.sum(share * error * logp, axis=-1) / lesson.step_size
        return surrogate


class NCA(AbstractObjective):
    """The loss of NCA on answers drawn from the policy, minimized at `anchor + step_size log(2 win_rate)`.

    The minimizer is in general not normalized, and softmax policies then come to rest elsewhere: see
    `cg.NCA` for the difference. With `MWU` and step size 1 it is normalized: it is the distribution of the
    better of two samples.

    Reference: Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024.
    """

    needs: ClassVar[str] = "win rates"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Mean of `losses.nca`, per prompt."""
        return _over_answers(losses.nca, logp, lesson)


class BCO(AbstractObjective):
    """The loss of BCO on answers drawn from the policy, minimized at `anchor + step_size logit(win_rate)`.

    The minimizer is in general not normalized, and softmax policies then come to rest elsewhere: see
    `cg.BCO` for the difference.

    Reference: Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """

    needs: ClassVar[str] = "win rates"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Mean of `losses.bco`, per prompt."""
        return _over_answers(losses.bco, logp, lesson)


class KTO(AbstractObjective):
    """The loss of KTO on answers drawn from the policy; it has no finite minimizer.

    For fixed win rates the loss decreases as the log-ratios of winning answers grow without bound, so that
    the result of a round depends on the number of gradient steps.

    Reference: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024, equation 8.
    """

    needs: ClassVar[str] = "win rates"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """Mean of `losses.kto`, per prompt; the baseline is the KL to the anchor, without gradient."""
        beta = 1.0 / lesson.step_size
        log_ratio = logp - _known(lesson.anchor)
        divergence = jnp.sum(jnp.exp(logp) * log_ratio, axis=-1, keepdims=True)
        baseline = jax.lax.stop_gradient(jnp.maximum(beta * divergence, 0.0))
        return _over_answers(partial(losses.kto, baseline=baseline), logp, lesson)


def _check_num(name: str, value: Any) -> None:
    if value is not None:
        validation.count(name, value, minimum=1)


def _known(value: Array | None) -> Array:
    assert value is not None  # set by `teach` according to `needs`
    return value


def _margins(scores: Float[Array, "*batch n"]) -> Float[Array, "*batch n n"]:
    return scores[..., :, None] - scores[..., None, :]


def _product(logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n n"]:
    p = jnp.exp(logp)
    return p[..., :, None] * p[..., None, :]


def _mean(share: Float[Array, "*batch n n"], loss: Float[Array, "*batch n n"]) -> Float[Array, "*batch"]:
    return jnp.sum(share * loss, axis=(-2, -1))


def _over_answers(
    loss: Callable[[Any, Any, Any], Any], logp: Float[Array, "*batch n"], lesson: Lesson
) -> Float[Array, "*batch"]:
    """Mean of `loss(log_ratio, win_rate, beta)` over answers drawn from the policy."""
    each = loss(logp - _known(lesson.anchor), _known(lesson.win_rate), 1.0 / lesson.step_size)
    return jnp.sum(jnp.exp(lesson.drawn) * each, axis=-1)


def _labelled(lesson: Lesson) -> tuple[Array, Array]:
    """Share of each pair in all pairs, and frequency with which its first action was preferred."""
    seen = lesson.seen
    assert seen is not None  # set by `teach` for objectives on labels
    return jnp.exp(seen.logp)[..., :, None] * seen.weights, seen.skew + 0.5
