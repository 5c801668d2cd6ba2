"""What a softmax policy is trained on in one round: the published losses, each with its law of pairs.

A rule says where to go. An objective is a way to go there by gradient steps: its exact minimizer, over all
policies, is the rule's target, or what the class says instead.
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

LAWS = ("policy", "uniform", "reference", "replay")


class Laws(eqx.Module):
    """The policies that pairs may be drawn from in a round, log-probabilities `[..., n]` each.

    Attributes:
        policy: the one the round began with.
        reference: the rule's.
        replay: the mean of all policies so far: a buffer of all past answers, paired afresh.
    """

    policy: Float[Array, "*batch n"]
    reference: Float[Array, "*batch n"]
    replay: Float[Array, "*batch n"]

    def named(self, law: str) -> Float[Array, "*batch n"]:
        """The policy called so in `LAWS`."""
        if law == "uniform":
            return jnp.full_like(self.policy, -jnp.log(self.policy.shape[-1]))
        drawn: Array = getattr(self, law)
        return drawn


class Lesson(eqx.Module):
    """What stays the same during one round of training.

    Attributes:
        drawn: the policy that pairs or answers are drawn from, log-probabilities `[..., n]`.
        step_size: the weight of the advantage in the rule; 1 for a rule that has no such weight.
        target: the rule's proposal, up to a constant, `[..., n]`; for objectives on it.
        anchor: the rule's proposal under zero advantage, normalized, `[..., n]`; for the others.
        seen: the labelled pairs of the round, for objectives on labels.
        win_rate: each action's, against the policy the round began with, for objectives on win rates.
    """

    drawn: Float[Array, "*batch n"]
    step_size: Any
    target: Float[Array, "*batch n"] | None = None
    anchor: Float[Array, "*batch n"] | None = None
    seen: Comparisons | None = None
    win_rate: Float[Array, "*batch n"] | None = None


class AbstractObjective(eqx.Module):
    """A loss to train on, and what a round of training needs to know for it."""

    # "target": differences of the rule's proposal; "labels": labelled pairs; "win rates": one per answer.
    # The latter two need a rule whose proposal is its anchor plus a multiple of the policy's advantage.
    needs: ClassVar[str]

    @property
    def law(self) -> str:
        """Which of `LAWS` pairs or answers are drawn from."""
        return "policy"

    @property
    def is_random(self) -> bool:
        """Whether gradient steps draw pairs or answers."""
        return False

    @abstractmethod
    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The loss of a policy, per prompt. The key draws what the objective samples anew at every step."""

    def teach(
        self, key: PRNGKeyArray, rule: AbstractUpdateRule[Any], state: Any, laws: Laws,
        feedback: AbstractFeedback,
    ) -> tuple[Lesson, Any]:  # fmt: skip
        """The lesson of a round, and the rule's state with what it learnt."""
        drawn, step_size = laws.named(self.law), rule.form(state.step).advantage_weight
        if self.needs == "target":
            target, state = rule.propose(key, state, feedback)
            return Lesson(drawn, 1.0 if step_size is None else step_size, target=target), state
        proposal, _ = rule.propose(key, state, NoAdvantage())
        anchor = simplex.log_normalize(proposal)  # a proposal's constant means nothing
        if self.needs == "labels":
            return Lesson(drawn, step_size, anchor=anchor, seen=feedback.comparisons(key, drawn)), state
        win_rate = feedback.advantage(key, state.logp) + 0.5
        return Lesson(drawn, step_size, anchor=anchor, win_rate=win_rate), state


class NoAdvantage(AbstractFeedback):
    """Feedback under which nothing is better than anything: a rule's proposal is then its anchor."""

    @property
    def is_random(self) -> bool:
        """Never."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Zero."""
        return jnp.zeros_like(opponent_logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Not known: the number of actions is not."""
        raise ValueError("objectives on pairs need a rule that asks for advantages, not for all pairs.")


class Regression(AbstractObjective):
    """Squared error of log-probability margins against the target's, on pairs of any law (online IPO, REBEL).

        E_{y, y' ~ law} [(log pi(y) - log pi(y')) - (target(y) - target(y'))]^2

    Least exactly at the rule's target, for every law that reaches every action, and for every rule. With
    uniform pairs of n actions, one SGD step of size lr on `Tabular` scores is the share 4 lr / n of the way
    to the target: an exact mirror step with smaller numbers.

    Args:
        law: what pairs are drawn from: "policy", "uniform", "reference" or "replay" (the mean of all policies
            so far).
        num_pairs: how many pairs every gradient step draws; None for the expectation over all.

    Raises:
        ValueError: `law` is none of these, or `num_pairs` is not a whole number >= 1.

    Reference: Calandriello et al., "Human Alignment of Large Language Models through Online Preference
    Optimisation", 2024; Gao et al., "REBEL", 2024.
    """

    law: str = eqx.field(static=True, default="uniform")
    num_pairs: int | None = eqx.field(static=True, default=None)
    needs: ClassVar[str] = "target"

    def __check_init__(self) -> None:
        validation.known("law", self.law, LAWS)
        _check_num("num_pairs", self.num_pairs)

    @property
    def is_random(self) -> bool:
        """If pairs are drawn."""
        return self.num_pairs is not None

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The formula above."""
        if self.num_pairs is None:
            share = _product(lesson.drawn)
        else:
            drawn = pairs.draw(key, lesson.drawn, (self.num_pairs, 2))
            counted = jnp.full(drawn.shape[:-1], 1 / self.num_pairs, logp.dtype)
            share = pairs.tally(drawn[..., 0], drawn[..., 1], counted, logp.shape[-1])
        return _mean(share, losses.regression(_margins(logp), _margins(_known(lesson.target))))


class LabelledPairs(AbstractObjective):
    """IPO's, INPO's and COMAL's loss: squared error of margins on pairs that were compared and labelled.

        E_{y, y' ~ policy, label} [h(y) - h(y') - step_size (label - 1/2)]^2,    h = log pi - anchor

    Least at the rule's target if the pairs are drawn from the policy that the round began with, both answers
    independently: then averaging over y' turns labels into win rates against that policy. Drawn from anything
    else the same formula has another minimizer (the win rates against what was drawn): another algorithm,
    with another limit.

    Args:
        law: "policy". The others, "uniform", "reference" and "replay", are there to show what they do.

    Raises:
        ValueError: `law` is none of these.

    Reference: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
    2023, equation 17; Zhang et al., "Iterative Nash Policy Optimization", 2024; COMAL, arXiv 2410.23223.
    """

    law: str = eqx.field(static=True, default="policy")
    needs: ClassVar[str] = "labels"

    def __check_init__(self) -> None:
        validation.known("law", self.law, LAWS)

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The formula above."""
        share, preference = _labelled(lesson)
        margins = _margins(logp - _known(lesson.anchor))
        return _mean(share, losses.squared(margins, preference, lesson.step_size))


class Logistic(AbstractObjective):
    """DPO's loss on labelled pairs: cross-entropy of `sigmoid(margin / step_size)` against the label.

        -E_{y, y' ~ policy} [P(y > y') log sigmoid((h(y) - h(y')) / step_size)],    h = log pi - anchor

    Least at `anchor + step_size * scores`, the Bradley-Terry scores that fit the preferences on the pairs:
    near a tie they are four times the advantages. With `MWU` it is iterative DPO with beta = 1 / step_size;
    with a rule that has a reference, DPO damped by it.

    Args:
        law: what pairs are drawn from, as in `LabelledPairs`.

    Raises:
        ValueError: `law` is none of these.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equation 7.
    """

    law: str = eqx.field(static=True, default="policy")
    needs: ClassVar[str] = "labels"

    def __check_init__(self) -> None:
        validation.known("law", self.law, LAWS)

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The formula above."""
        share, preference = _labelled(lesson)
        margins = _margins(logp - _known(lesson.anchor))
        return _mean(share, losses.logistic(margins, preference, 1.0 / lesson.step_size))


class Pointwise(AbstractObjective):
    """SPPO's and RSPO's loss: squared error of log-probabilities of single answers drawn from the policy.

        E_{y ~ policy} [log pi(y) - target(y)]^2

    The target is not normalized and the policy is, so the exact minimizer is not quite the rule's target: the
    two differ at third order in the step without a reference, at second with one, and not at all at the
    rule's fixed point. `centred` leaves a constant per prompt free, and then they agree; without it the
    constant of the rule's own proposal counts, as SPPO's 1/2 is part of SPPO. With
    `MWU` this is SPPO's loss; with a reference, RSPO's with the squared log-ratio to the reference (the two
    squares add up to one around the rule's target, and a constant).

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
        """The formula above."""
        p, error = jnp.exp(lesson.drawn), logp - _known(lesson.target)
        if self.centred:
            error = error - jnp.sum(p * error, axis=-1, keepdims=True)
        return jnp.sum(p * losses.regression(error, 0.0), axis=-1)


class PolicyGradient(AbstractObjective):
    """Policy gradient on the KL-regularized reward, as RLHF does it: REINFORCE on answers of the policy.

        E_{y ~ pi} [log pi(y) - target(y)] / step_size
          = -E_pi [advantage] + (pull / step_size) KL(pi || reference) + (1 - pull) / step_size KL(pi || base)

    Least at the rule's target. With a pull of 1 it is RLHF with the win rate against the current policy as
    its reward; one gradient step a round refreshes the reward at every step.

    Args:
        num_samples: how many answers every gradient step draws; None for the expectation over all.

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
        """If answers are drawn."""
        return self.num_samples is not None

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """A number whose gradient is that of the formula above, for the answers drawn."""
        now = jax.lax.stop_gradient(logp)
        if self.num_samples is None:
            share = jnp.exp(now)
        else:
            drawn = pairs.draw(key, now, (self.num_samples,))
            share = jnp.mean(jax.nn.one_hot(drawn, logp.shape[-1], dtype=logp.dtype), axis=-2)
        error = now - _known(lesson.target)
        # A constant reward has no gradient on average; without it the samples' noise is smaller.
        error = error - jnp.sum(jnp.exp(now) * error, axis=-1, keepdims=True)
        surrogate: Array = jnp.sum(share * error * logp, axis=-1) / lesson.step_size
        return surrogate


class NCA(AbstractObjective):
    """NCA's loss on answers drawn from the policy: least at `anchor + step_size log(2 win_rate)`.

    That minimizer is a policy only up to its normalizer; with `MWU` of step 1 it is exactly one, the law of
    the better of two samples.

    Reference: Chen et al., "Noise Contrastive Alignment of Language Models with Explicit Rewards", 2024.
    """

    needs: ClassVar[str] = "win rates"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The mean of `losses.nca`."""
        return _over_answers(losses.nca, logp, lesson)


class BCO(AbstractObjective):
    """BCO's loss on answers drawn from the policy: least at `anchor + step_size logit(win_rate)`.

    That minimizer is a policy only up to its normalizer.

    Reference: Jung et al., "Binary Classifier Optimization for Large Language Model Alignment", 2024.
    """

    needs: ClassVar[str] = "win rates"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The mean of `losses.bco`."""
        return _over_answers(losses.bco, logp, lesson)


class KTO(AbstractObjective):
    """KTO's loss on answers drawn from the policy; it has no finite minimizer, only gradient steps.

    For fixed win rates the loss falls all the way as the log-ratios of winning answers grow without bound. So
    how many gradient steps a round takes decides where it leads.

    Reference: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024, equation 8.
    """

    needs: ClassVar[str] = "win rates"

    def __call__(
        self, key: PRNGKeyArray, logp: Float[Array, "*batch n"], lesson: Lesson
    ) -> Float[Array, "*batch"]:
        """The mean of `losses.kto`; its baseline is the KL to the anchor, and not differentiated."""
        beta = 1.0 / lesson.step_size
        log_ratio = logp - _known(lesson.anchor)
        divergence = jnp.sum(jnp.exp(logp) * log_ratio, axis=-1, keepdims=True)
        baseline = jax.lax.stop_gradient(jnp.maximum(beta * divergence, 0.0))
        return _over_answers(partial(losses.kto, baseline=baseline), logp, lesson)


def _check_num(name: str, value: Any) -> None:
    if value is not None:
        validation.count(name, value, minimum=1)


def _known(value: Array | None) -> Array:
    assert value is not None  # `teach` fills in what `needs` names
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
    """Each pair's share of all, and how often the first was preferred."""
    seen = lesson.seen
    assert seen is not None  # `teach` fills it in for objectives on labels
    return jnp.exp(seen.logp)[..., :, None] * seen.weights, seen.skew + 0.5
