"""The duality gap of a regularized game."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import regularizers, validation
from comalgames.games.base import AbstractGame
from comalgames.numerics import simplex
from comalgames.numerics.simplex import LogPolicy
from comalgames.regularizers import Regularizer

# A best response is taken for one if deviating from it gains less than this many roundings of the payoffs.
SOLVED = 1e4


class RegularizedGap(eqx.Module):
    """The duality gap of the regularized game; made by `regularized_gap`.

    Attributes:
        temperature: tau > 0, in units of payoff.
        reference_logp: the reference's log-probabilities `[..., n]`.
        regularizer: a function `(p, reference) -> number`, convex in p.
    """

    temperature: float | Float[Array, ""]
    reference_logp: Float[Array, "*batch n"]
    regularizer: Regularizer = eqx.field(static=True, default=regularizers.kl)

    def __call__(self, game: AbstractGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
        """The regularized gap, per prompt."""
        validation.log_policy("logp", logp)
        reference_logp = self.reference_logp.astype(logp.dtype)
        temperature = jnp.asarray(self.temperature, logp.dtype)
        advantage = game.advantage(logp)
        if self.regularizer is regularizers.kl:
            response = simplex.log_normalize(reference_logp + advantage / temperature)
            return temperature * game.over_players(simplex.kl_divergence(logp, response))
        return game.over_players(self._gain(logp, advantage, temperature, reference_logp))

    # What a best response gains. Its derivative is the one at a fixed response, for that one is a maximum. A
    # response that is none (the regularizer is not convex, or not smooth) would make the gap too small.
    def _gain(
        self, logp: LogPolicy, advantage: Array, temperature: Array, reference_logp: Array
    ) -> Float[Array, "*batch"]:
        response, excess = regularizers.equilibrium(
            self.regularizer,
            jnp.zeros((advantage.shape[-1],) * 2, advantage.dtype),
            *jax.lax.stop_gradient((advantage, temperature, reference_logp)),
        )

        def payoff(logp: Array) -> Array:
            penalty = regularizers.value(self.regularizer, logp, reference_logp)
            return jnp.sum(jnp.exp(logp) * advantage, axis=-1) - temperature * penalty

        gain = jnp.maximum(payoff(jnp.log(response)) - payoff(jnp.asarray(logp)), 0.0)
        return jnp.where(excess <= SOLVED * float(np.finfo(gain.dtype).eps) * (1.0 + gain), gain, jnp.nan)


def regularized_gap(
    temperature: float | Float[Array, ""],
    reference_logp: LogPolicy,
    regularizer: Regularizer = regularizers.kl,
) -> RegularizedGap:
    """The metric: duality gap of the game regularized by `temperature * regularizer(policy, reference)`.

    Each player's payoff is reduced by that much. For KL it is computed without cancellation as
    `2 temperature KL(policy || response)`, where `response ~ reference * exp(advantage / temperature)` is the
    best response in that game. For any other regularizer the best response is found by an interior-point
    method, to rounding of the payoffs; where that fails, as it may if the regularizer is not convex or not
    smooth, the gap is nan.

    Args:
        temperature: tau > 0, in units of payoff.
        reference_logp: the reference's normalized log-probabilities `[..., n]`.
        regularizer: a function `(p, reference) -> number` of two probability vectors, convex in p.

    Raises:
        ValueError: `temperature` is not a finite number above 0, `reference_logp` is not normalized, or
            `regularizer` is not a function of two policies with one finite real value.
    """
    validation.positive("temperature", temperature)
    validation.log_policy("reference_logp", reference_logp)
    regularizers.check(regularizer)
    return RegularizedGap(jnp.asarray(temperature, float), jnp.asarray(reference_logp), regularizer)
