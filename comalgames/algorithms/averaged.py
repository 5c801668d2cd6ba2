"""Averaging of the policies of a rule, as an algorithm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.algorithms.base import AbstractAlgorithm, State
from comalgames.algorithms.guarantees import NASH, guaranteed
from comalgames.algorithms.wrapper import AbstractWrapper
from comalgames.feedback import AbstractFeedback


class AveragedState(State):
    """The state of `Averaged`: the average as its `logp`, and the state of the inner algorithm.

    Attributes:
        inner: the state of the inner algorithm, with its current policy.
    """

    inner: Any


@guaranteed(
    NASH,
    "around MWU: a step of order T^-1/2; around OptimisticMWU: a small step",
    "Freund and Schapire 1999; around OptimisticMWU: Cai et al. 2025",
    queries="inner",
)
class Averaged(AbstractWrapper[AveragedState]):
    """Play `inner`, and return the mean of all its policies so far, the first included.

        average' = average + (policy' - average) / (step + 2)

    The inner algorithm does not use the average: it queries its own policy. Therefore the gap of this
    algorithm's last policy is the `average_duality_gap` of the inner algorithm. Around `OptimisticMWU` it is
    the anytime averaging of A2L-OMWU with exact feedback.

    Args:
        inner: any algorithm, such as `MWU(0.1)`.

    Raises:
        ValueError: `inner` is not an algorithm.

    Reference: Freund and Schapire, "Adaptive Game Playing Using Multiplicative Weights", 1999. Averages as
    policies of their own: Cai et al., "From Average-Iterate to Last-Iterate Convergence in Games", 2025,
    arXiv 2506.03464.
    """

    inner: AbstractAlgorithm[Any]

    def __check_init__(self) -> None:
        if not isinstance(self.inner, AbstractAlgorithm):
            raise ValueError(f"`inner` must be an algorithm such as MWU(0.1), got {self.inner!r}.")

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> AveragedState:
        """The first state, whose average is the first policy."""
        return AveragedState(
            logp, reference, jnp.zeros((), jnp.int32), inner=self.inner.init(logp, reference)
        )

    def step(self, key: PRNGKeyArray, state: AveragedState, feedback: AbstractFeedback) -> AveragedState:
        """One step of the inner algorithm, and the average updated with its policy, in logarithms."""
        inner = self.inner.step(key, state.inner, feedback)
        count = (state.step + 2).astype(state.logp.dtype)
        logp = jnp.logaddexp(state.logp + jnp.log1p(-1.0 / count), inner.logp - jnp.log(count))
        logp = jax.nn.log_softmax(logp)
        return replace(state, logp=logp, reference=inner.reference, step=state.step + 1, inner=inner)
