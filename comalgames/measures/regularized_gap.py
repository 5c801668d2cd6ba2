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

# A best response is accepted if deviating from it gains less than this multiple of the payoffs' rounding
# errors.
SOLVED = 1e4


class RegularizedGap(eqx.Module):
    """The duality gap of the regularized game; made by `regularized_gap`.

    Attributes:
        temperature: tau > 0, in units of payoff.
        reference_logp: log-probabilities of the reference, `[..., n]`.
        regularizer: a function `(p, reference) -> number`, convex in p.
    """

    temperature: float | Float[Array, ""]
    reference_logp: Float[Array, "*batch n"]
    regularizer: Regularizer = eqx.field(static=True, default=regularizers.kl)

    def __call__(self, game: AbstractGame, logp: LogPolicy) -> Float[Array, "*prompts"]:
        """Duality gap of the regularized game, per prompt."""
        validation.log_policy("logp", logp)
        validation.comparable("logp", logp, self.reference_logp)
        reference_logp = self.reference_logp.astype(logp.dtype)
        temperature = jnp.asarray(self.temperature, logp.dtype)
        advantage = game.advantage(logp)
        if self.regularizer is regularizers.kl:
            response = simplex.log_normalize(reference_logp + advantage / temperature)
            return temperature * game.over_players(simplex.kl_divergence(logp, response))
        return game.over_players(self._gain(logp, advantage, temperature, reference_logp))

    # The gain of a best response. Its derivative is that with the response fixed (envelope theorem). If the
    # response is not a best one (a regularizer that is not convex or not smooth), the gain would be too
    # small.
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
    """The duality gap of the game regularized by `temperature * regularizer(policy, reference)`, as a metric.

    The payoff of each player is reduced by the regularizer. For KL the gap is computed without cancellation
    as `2 temperature KL(policy || response)`, where `response ~ reference * exp(advantage / temperature)` is
    the best response in the regularized game. For other regularizers the best response is computed by an
    interior-point method, to rounding error of the payoffs; if that fails, which is possible for a
    regularizer that is not convex or not smooth, the gap is nan.

    Args:
        temperature: tau > 0, in units of payoff.
        reference_logp: normalized log-probabilities of the reference, `[..., n]`.
        regularizer: a function `(p, reference) -> number` of two probability vectors, convex in p.

    Raises:
        ValueError: `temperature` is not a finite number above 0, `reference_logp` is not normalized, or
            `regularizer` is not a function of two policies with one finite real value.
    """
    validation.positive("temperature", temperature)
    validation.log_policy("reference_logp", reference_logp)
    regularizers.check(regularizer)
    return RegularizedGap(jnp.asarray(temperature, float), jnp.asarray(reference_logp), regularizer)
