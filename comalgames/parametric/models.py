"""Scores of actions as functions of parameters: tables, linear functions of features, small networks.

A model is any function `params -> scores`, `[..., n]`; the policy is the softmax of the scores. Leading axes
are prompts that share the parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation

__all__ = ["MLP", "LogLinear", "Tabular"]


class Tabular(eqx.Module):
    """One parameter per action (and prompt): `scores = params`."""

    def __call__(self, params: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """The parameters themselves."""
        return params


class LogLinear(eqx.Module):
    """Scores linear in features of the actions: `scores = features @ params`.

    With fewer features than actions minus one it cannot represent every policy. The features of a prompt's
    actions belong to that prompt; the parameters are shared.

    Args:
        features: `[..., n, d]`, d numbers for each action (of each prompt).

    Raises:
        ValueError: `features` is not a finite array with at least two axes.
    """

    features: Float[Array, "*prompts n d"]

    def __init__(self, features: Any) -> None:
        self.features = _features(features)

    def __call__(self, params: Float[Array, " d"]) -> Float[Array, "*prompts n"]:
        """Scores `[..., n]` for parameters `[d]`."""
        if jnp.shape(params) != self.features.shape[-1:]:
            raise ValueError(
                f"`params` must be one number per feature, shape {self.features.shape[-1:]}, got "
                f"{jnp.shape(params)}."
            )
        return jnp.einsum("...d,d->...", self.features, params)

    def initial(self) -> Float[Array, " d"]:
        """Parameters of the uniform policy: zeros."""
        return jnp.zeros(self.features.shape[-1], self.features.dtype)


class MLP(eqx.Module):
    """Scores by a small network of the features of each action, the same for all actions and prompts.

    Layers of tanh units, then one linear unit.

    Args:
        features: `[..., n, d]`, d numbers for each action (of each prompt). Features that tell the actions
            apart, such as one-hot ones or random ones, let a wide enough network represent every policy.
        widths: number of units of each hidden layer, such as (32, 32), or of the only one.

    Raises:
        ValueError: `features` is not a finite array with at least two axes, or a width not a whole number >=
            1.
    """

    features: Float[Array, "*prompts n d"]
    widths: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, features: Any, widths: Sequence[int] | int = (32,)) -> None:
        self.features = _features(features)
        sizes = [widths] if isinstance(widths, int) else widths
        self.widths = tuple(validation.count("widths", width, minimum=1) for width in sizes)

    def initial(self, key: PRNGKeyArray) -> list[tuple[Array, Array]]:
        """Parameters at random: weights and offsets of each layer, of variance 1 / (number of inputs).

        Args:
            key: a JAX random key.
        """
        sizes = (self.features.shape[-1], *self.widths, 1)
        layers = []
        for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            weights = jax.random.normal(jax.random.fold_in(key, k), (inputs, outputs), self.features.dtype)
            layers.append((weights / inputs**0.5, jnp.zeros(outputs, self.features.dtype)))
        return layers

    def __call__(self, params: list[tuple[Array, Array]]) -> Float[Array, "*prompts n"]:
        """Scores `[..., n]`."""
        *hidden, (weights, offset) = params
        units = self.features
        for hidden_weights, hidden_offset in hidden:
            units = jnp.tanh(units @ hidden_weights + hidden_offset)
        return (units @ weights + offset)[..., 0]


class Function(eqx.Module):
    """A model that is a user's own function."""

    function: Any = eqx.field(static=True)

    def __call__(self, params: Any) -> Any:
        """The function's scores."""
        return self.function(params)


def _features(features: Any) -> Float[Array, "*prompts n d"]:
    if validation.is_concrete(features):
        features = validation.real_array("features", features)
    if features.ndim < 2:
        raise ValueError(
            f"`features` must be [..., n, d], d numbers for each of n actions, got shape {features.shape}."
        )
    return jnp.asarray(features)
