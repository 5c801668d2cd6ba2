"""Models: scores of actions as tables, linear functions of features, or small networks.

A model is a function `params -> scores`, `[..., n]`; the policy is the softmax of the scores. Leading axes
are prompts, which share the parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation

__all__ = ["MLP", "LogLinear", "Tabular"]


class Tabular(eqx.Module):
    """One parameter per action (and prompt): `scores = params`."""

    def __call__(self, params: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """Scores, equal to the parameters."""
        return params


class LogLinear(eqx.Module):
    """Scores that are linear in features of the actions: `scores = features @ params`.

    With fewer than n - 1 features it cannot represent every policy. Each prompt has its own features; the
    parameters are shared.

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
    """Scores by a small network that is applied to the features of each action.

    The network has hidden layers of tanh units and a linear output.

    Args:
        features: `[..., n, d]`, d numbers for each action (of each prompt). With features that are different
            for all actions, such as one-hot or random ones, a wide enough network can represent every policy.
        widths: number of units of each hidden layer, such as (32, 32); a number for a single hidden layer.

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
        """Random parameters: weights of variance 1 / (number of inputs), and offsets of 0, for each layer.

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
        self._check(params)
        *hidden, (weights, offset) = params
        units = self.features
        for hidden_weights, hidden_offset in hidden:
            units = jnp.tanh(units @ hidden_weights + hidden_offset)
        return (units @ weights + offset)[..., 0]

    def _check(self, params: Any) -> None:
        """Refuse parameters of a network with other layers."""
        sizes = (self.features.shape[-1], *self.widths, 1)
        wanted = [((inputs, outputs), (outputs,)) for inputs, outputs in itertools.pairwise(sizes)]
        shapes = [tuple(np.shape(each) for each in layer) for layer in params]
        if shapes != wanted:
            raise ValueError(
                f"`params` must be the weights and offsets of layers of the shapes {wanted}, for {sizes[0]} "
                f"features and `widths` of {self.widths}, got {shapes}; mlp.initial(key) makes them."
            )


class Function(eqx.Module):
    """A model given by a function."""

    function: Any = eqx.field(static=True)

    def __call__(self, params: Any) -> Any:
        """Scores returned by the function."""
        return self.function(params)


def _features(features: Any) -> Float[Array, "*prompts n d"]:
    if validation.is_concrete(features):
        features = validation.real_array("features", features)
    if features.ndim < 2 or 0 in features.shape:
        raise ValueError(
            f"`features` must be [..., n, d], d >= 1 numbers for each of n actions, got shape "
            f"{features.shape}."
        )
    return jnp.asarray(features)
