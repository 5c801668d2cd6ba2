"""Divergences of the policy from the reference, as papers write them: functions of two probability vectors.

All but `entropy` are convex in the policy and 0, their least value, at the reference. Their curvature c
there, along directions that sum to 0 (d^2 R = c sum_i dp_i^2 / reference_i, `squared_l2` excepted), says how
hard they pull beside KL, whose c is 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation

Regularizer: TypeAlias = Callable[[Any, Any], Any]


def kl(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """KL(p || reference) = sum_i p_i log(p_i / reference_i), in nats; RLHF's "reverse KL".

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    return jnp.sum(p * (jnp.log(p) - jnp.log(reference)))


def forward_kl(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """KL(reference || p) = sum_i reference_i log(reference_i / p_i), in nats.

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Kullback and Leibler, "On Information and Sufficiency", 1951.
    """
    return jnp.sum(reference * (jnp.log(reference) - jnp.log(p)))


def chi_squared(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Pearson's chi-squared divergence sum_i (p_i - reference_i)^2 / reference_i.

    Args:
        p: probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Pearson, "On the Criterion that a Given System of Deviations ...", 1900.
    """
    return jnp.sum((p - reference) ** 2 / reference)


def jensen_shannon(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Jensen-Shannon divergence KL(p || m) / 2 + KL(reference || m) / 2, m = (p + reference) / 2, in nats.

    Between 0 and log 2. Its curvature at the reference is c = 1/4, so it pulls four times less than KL.

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Lin, "Divergence Measures Based on the Shannon Entropy", 1991.
    """
    mean = (p + reference) / 2
    return (kl(p, mean) + kl(reference, mean)) / 2


def hellinger(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Squared Hellinger distance sum_i (sqrt(p_i) - sqrt(reference_i))^2 / 2.

    Between 0 and 1, and `1 - sum_i sqrt(p_i reference_i)`: a quarter of `alpha_divergence(0.5)`.

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Le Cam, "Asymptotic Methods in Statistical Decision Theory", 1986.
    """
    return jnp.sum((jnp.sqrt(p) - jnp.sqrt(reference)) ** 2) / 2


def squared_l2(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Squared Euclidean distance sum_i (p_i - reference_i)^2.

    Its gradient is bounded, so that regularized equilibria may give probability 0.

    Args:
        p: probabilities `[n]`.
        reference: probabilities `[n]`.

    Reference: Perolat et al., "From Poincare Recurrence to Convergence in Imperfect Information Games:
    Finding Equilibrium via Regularization", 2021.
    """
    return jnp.sum((p - reference) ** 2)


def entropy(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Negative Shannon entropy sum_i p_i log p_i of the policy, in nats; it ignores the reference.

    It is `kl` from the uniform policy, less log n. `COMAL` refuses it: its equilibrium does not move with the
    reference.

    Args:
        p: positive probabilities `[n]`.
        reference: does not matter.

    Reference: Mertikopoulos and Sandholm, "Learning in Games via Reinforcement and Regularization", 2016.
    """
    return jnp.sum(p * jnp.log(p))


class AbstractFamily:
    """A divergence made from numbers; equal to, and hashed like, any other made from the same.

    So a rule made twice compiles once. It is written as the call that makes it.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    @property
    def order(self) -> float:
        """The number that sets it apart from others of its family."""
        return float(self.arguments[0])

    @property
    @abstractmethod
    def maker(self) -> str:
        """The name of the function that makes it."""

    @abstractmethod
    def __call__(self, p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
        """The divergence of `p` from `reference`."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.arguments == getattr(other, "arguments", None)

    def __hash__(self) -> int:
        return hash((type(self), self.arguments))

    def __repr__(self) -> str:
        return f"{self.maker}({', '.join(_written(argument) for argument in self.arguments)})"


# sum_i p_i ((p_i / reference_i)^power - 1) for probabilities, without cancellation as the power goes to 0.
def _power_sum(p: Array, reference: Array, power: float) -> Array:
    return jnp.sum(p * jnp.expm1(power * (jnp.log(p) - jnp.log(reference))))


class _Tsallis(AbstractFamily):
    maker = "tsallis"

    def __call__(self, p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
        order = self.order
        return kl(p, reference) if order == 1 else _power_sum(p, reference, order - 1) / (order - 1)


def tsallis(q: float) -> Regularizer:
    """The relative Tsallis entropy of order q > 0; `kl` at q = 1, `chi_squared` at q = 2.

        (sum_i p_i^q reference_i^(1 - q) - 1) / (q - 1)

    Its curvature at the reference is c = q. It is q times `alpha_divergence(q)`.

    Args:
        q: the order, one number > 0, known before anything compiles. For q above 3 it overflows at policies
            that concentrate where the reference is at `LOG_FLOOR`.

    Raises:
        ValueError: `q` is not a finite number above 0.

    Reference: Tsallis, "Generalized Entropy-Based Criterion for Consistent Testing", 1998.
    """
    validation.positive("q", _static("q", q))
    return _Tsallis(float(q))


class _Renyi(AbstractFamily):
    maker = "renyi"

    def __call__(self, p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
        order = self.order
        if order == 1:
            return kl(p, reference)
        return jnp.log1p(_power_sum(p, reference, order - 1)) / (order - 1)


def renyi(alpha: float) -> Regularizer:
    """The Renyi divergence of order 0 < alpha <= 1 in nats; `kl` at alpha = 1.

        log(sum_i p_i^alpha reference_i^(1 - alpha)) / (alpha - 1)

    Its curvature at the reference is c = alpha. Orders above 1 are refused: they are not convex in p.

    Args:
        alpha: the order, one number in (0, 1], known before anything compiles.

    Raises:
        ValueError: `alpha` is not in (0, 1].

    Reference: van Erven and Harremoes, "Renyi Divergence and Kullback-Leibler Divergence", 2014.
    """
    validation.positive("alpha", _static("alpha", alpha))
    if alpha > 1:
        raise ValueError(
            f"`alpha` must be in (0, 1], got {alpha!r}: of a higher order the Renyi divergence is not convex "
            f"in the policy. Use tsallis(alpha) or alpha_divergence(alpha), which increase with it and are."
        )
    return _Renyi(float(alpha))


class _Alpha(AbstractFamily):
    maker = "alpha_divergence"

    def __call__(self, p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
        order = self.order
        if order == 1:
            return kl(p, reference)
        if order == 0:
            return forward_kl(p, reference)
        # Both are the same sum; each is accurate up to its own limit.
        if order > 0.5:
            return _power_sum(p, reference, order - 1) / (order * (order - 1))
        return _power_sum(reference, p, -order) / (order * (order - 1))


def alpha_divergence(a: float) -> Regularizer:
    """The alpha (power) divergence of any order a; `kl` at a = 1, `forward_kl` at a = 0.

        (sum_i p_i^a reference_i^(1 - a) - 1) / (a (a - 1))

    Its curvature at the reference is c = 1 for every order. At a = 1/2 it is 4 `hellinger`, at a = 2 half of
    `chi_squared`; exchanging the policies turns a into 1 - a.

    Args:
        a: the order, one finite number, known before anything compiles. Orders outside of [-2, 3] overflow
            where one policy is at `LOG_FLOOR` and the other is not.

    Raises:
        ValueError: `a` is not a finite number.

    Reference: Cressie and Read, "Multinomial Goodness-of-Fit Tests", 1984, in the scaling of Cichocki and
    Amari, "Families of Alpha- Beta- and Gamma- Divergences", 2010, equation 8.
    """
    _finite("a", _static("a", a))
    return _Alpha(float(a))


class _WeightedSum(AbstractFamily):
    maker = "weighted_sum"

    def __call__(self, p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
        terms = [weight * regularizer(p, reference) for weight, regularizer in self.arguments]
        total: Array = sum(terms[1:], terms[0])
        return total


def weighted_sum(*terms: tuple[float, Regularizer]) -> Regularizer:
    """The sum of regularizers times positive weights; with one term, that regularizer scaled.

        sum_k weight_k regularizer_k(p, reference)

    Args:
        terms: pairs `(weight, regularizer)`, such as `weighted_sum((0.5, kl), (0.5, chi_squared))`; the
            weights are finite numbers > 0, known before anything compiles.

    Raises:
        ValueError: there is no term, a term is not such a pair, or a weight is not a finite number above 0
            (a negative one would take the convexity away).

    Reference: Tang et al., "RSPO: Regularized Self-Play Alignment of Large Language Models", 2025, whose best
    results mix forward and reverse KL.
    """
    if not terms:
        raise ValueError("`terms` must be pairs (weight, regularizer), got none.")
    for term in terms:
        if not (isinstance(term, tuple) and len(term) == 2 and callable(term[1])):
            raise ValueError(f"`terms` must be pairs (weight, regularizer), such as (0.5, kl); got {term!r}.")
        validation.positive("weight", _static("weight", term[0]))
    return _WeightedSum(*((float(weight), regularizer) for weight, regularizer in terms))


def name(regularizer: Any) -> str:
    """What to call a regularizer in a sentence: its `__name__`, or how it is written."""
    return str(getattr(regularizer, "__name__", None) or repr(regularizer))


def _written(argument: Any) -> str:
    if isinstance(argument, tuple):
        return f"({', '.join(_written(part) for part in argument)})"
    return name(argument) if callable(argument) else repr(argument)


def _static(argument: str, value: Any) -> Any:
    if not validation.is_concrete(value) or callable(value):
        raise ValueError(
            f"`{argument}` must be one number known before anything compiles, got {value!r}. Make one rule "
            f"for each value, outside of jit and vmap."
        )
    return value


def _finite(argument: str, value: Any) -> None:
    is_number = np.asarray(value).dtype.kind in "fiu" and np.ndim(value) == 0
    if not is_number or not math.isfinite(float(value)):
        raise ValueError(f"`{argument}` must be a finite number, got {value!r}.")
