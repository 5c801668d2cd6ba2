"""Divergences of the policy from the reference, as functions of two probability vectors.

All but `entropy` are convex in the policy and minimized at the reference with value 0. Their curvature there,
the c in d^2 R = c sum_i dp_i^2 / reference_i for directions that sum to 0 (except for `squared_l2`), is their
strength relative to KL, whose c is 1.
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

    It is between 0 and log 2. Its curvature at the reference is c = 1/4, a quarter of the curvature of KL.

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Lin, "Divergence Measures Based on the Shannon Entropy", 1991.
    """
    mean = (p + reference) / 2
    return (kl(p, mean) + kl(reference, mean)) / 2


def hellinger(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Squared Hellinger distance sum_i (sqrt(p_i) - sqrt(reference_i))^2 / 2.

    It is between 0 and 1, equals `1 - sum_i sqrt(p_i reference_i)`, and is a quarter of
    `alpha_divergence(0.5)`.

    Args:
        p: positive probabilities `[n]`.
        reference: positive probabilities `[n]`.

    Reference: Le Cam, "Asymptotic Methods in Statistical Decision Theory", 1986.
    """
    return jnp.sum((jnp.sqrt(p) - jnp.sqrt(reference)) ** 2) / 2


def squared_l2(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Squared Euclidean distance sum_i (p_i - reference_i)^2.

    Its gradient is bounded, so that regularized equilibria may have zero probabilities.

    Args:
        p: probabilities `[n]`.
        reference: probabilities `[n]`.

    Reference: Perolat et al., "From Poincare Recurrence to Convergence in Imperfect Information Games:
    Finding Equilibrium via Regularization", 2021.
    """
    return jnp.sum((p - reference) ** 2)


def entropy(p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
    """Negative Shannon entropy sum_i p_i log p_i of the policy, in nats; it ignores the reference.

    It equals `kl` from the uniform policy minus log n. `COMAL` refuses it, because the regularized
    equilibrium does not depend on the reference.

    Args:
        p: positive probabilities `[n]`.
        reference: not used.

    Reference: Mertikopoulos and Sandholm, "Learning in Games via Reinforcement and Regularization", 2016.
    """
    return jnp.sum(p * jnp.log(p))


class AbstractFamily:
    """Base class of divergences with parameters, which are compared and hashed by their parameters.

    Equal divergences share compilations. The `repr` is the call that makes the divergence.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    @property
    def order(self) -> float:
        """The order of the divergence."""
        return float(self.arguments[0])

    @property
    @abstractmethod
    def maker(self) -> str:
        """The name of the function that makes the divergence."""

    @abstractmethod
    def __call__(self, p: Float[Array, " n"], reference: Float[Array, " n"]) -> Float[Array, ""]:
        """The divergence of `p` from `reference`."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.arguments == getattr(other, "arguments", None)

    def __hash__(self) -> int:
        return hash((type(self), self.arguments))

    def __repr__(self) -> str:
        return f"{self.maker}({', '.join(_written(argument) for argument in self.arguments)})"


# sum_i p_i ((p_i / reference_i)^power - 1), without cancellation for a power near 0.
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
        q: the order, a number > 0, not traced. For q above 3 it overflows at policies that concentrate on
            actions whose reference log-probability is at `LOG_FLOOR`.

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

    Its curvature at the reference is c = alpha. Orders above 1 are not accepted, because they are not convex
    in p.

    Args:
        alpha: the order, a number in (0, 1], not traced.

    Raises:
        ValueError: `alpha` is not in (0, 1].

    Reference: van Erven and Harremoes, "Renyi Divergence and Kullback-Leibler Divergence", 2014.
    """
    validation.positive("alpha", _static("alpha", alpha))
    if alpha > 1:
        raise ValueError(
            f"`alpha` must be in (0, 1], got {alpha!r}: for higher orders the Renyi divergence is not convex "
            f"in the policy. Use tsallis(alpha) or alpha_divergence(alpha), which are convex."
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
        # Both expressions are the same sum; each is accurate near its own limit.
        if order > 0.5:
            return _power_sum(p, reference, order - 1) / (order * (order - 1))
        return _power_sum(reference, p, -order) / (order * (order - 1))


def alpha_divergence(a: float) -> Regularizer:
    """The alpha (power) divergence of any order a; `kl` at a = 1, `forward_kl` at a = 0.

        (sum_i p_i^a reference_i^(1 - a) - 1) / (a (a - 1))

    Its curvature at the reference is c = 1 for every order. At a = 1/2 it is 4 times `hellinger`, at a = 2
    half of `chi_squared`. Exchanging the policies changes the order from a to 1 - a.

    Args:
        a: the order, a finite number, not traced. Orders outside of [-2, 3] overflow for actions where one
            policy is at `LOG_FLOOR` and the other is not.

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
    """A weighted sum of regularizers with positive weights.

        sum_k weight_k regularizer_k(p, reference)

    Args:
        terms: pairs `(weight, regularizer)`, such as `weighted_sum((0.5, kl), (0.5, chi_squared))`; the
            weights are finite numbers > 0, not traced.

    Raises:
        ValueError: there is no term, a term is not such a pair, or a weight is not a finite number above 0
            (a negative weight would destroy convexity).

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
    """The name of a regularizer in messages: its `__name__`, or else its `repr`."""
    return str(getattr(regularizer, "__name__", None) or repr(regularizer))


def _written(argument: Any) -> str:
    if isinstance(argument, tuple):
        return f"({', '.join(_written(part) for part in argument)})"
    return name(argument) if callable(argument) else repr(argument)


def _static(argument: str, value: Any) -> Any:
    if not validation.is_concrete(value) or callable(value):
        raise ValueError(
            f"`{argument}` must be a number that is not traced by JAX, got {value!r}. Make one rule for each "
            f"value, outside of jit and vmap."
        )
    return value


def _finite(argument: str, value: Any) -> None:
    is_number = np.asarray(value).dtype.kind in "fiu" and np.ndim(value) == 0
    if not is_number or not math.isfinite(float(value)):
        raise ValueError(f"`{argument}` must be a finite number, got {value!r}.")
