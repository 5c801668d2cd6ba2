"""Strategies that move the reference every few steps, near equilibrium, or a little in each step.

`COMAL` forwards each of its members to its strategy. A strategy forwards to the inner rule everything that it
does not change.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Generic

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, S, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.schedules import at
from comalgames.feedback import AbstractFeedback, Known, asked
from comalgames.numerics import simplex


class AbstractWhen(eqx.Module):
    """Base class of strategies: when and to which policy `COMAL` moves the reference of its inner rule."""

    def check(self, inner: AbstractUpdateRule[Any]) -> None:
        """Raise a ValueError for an inner rule whose reference this strategy cannot move."""

    def init(self, state: Any) -> Any:
        """The first state, made from that of the inner rule."""
        return state

    def propose(
        self, inner: AbstractUpdateRule[Any], key: PRNGKeyArray, state: Any, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], Any]:
        """The proposal of the inner rule."""
        return inner.propose(key, state, feedback)

    @abstractmethod
    def commit(self, inner: AbstractUpdateRule[Any], state: Any, logp: Float[Array, "*batch n"]) -> Any:
        """Commit with the inner rule, and move its reference where a move is due."""

    def move_reference(
        self, inner: AbstractUpdateRule[Any], state: Any, logp: Float[Array, "*batch n"]
    ) -> Any:
        """The state with another reference."""
        return inner.move_reference(state, logp)

    @abstractmethod
    def form(self, inner: Form) -> Form:
        """The form of `COMAL`, made from that of the inner rule."""

    def notes(self, inner: AbstractUpdateRule[Any], num_steps: int | None) -> tuple[str, ...]:
        """Warnings of this strategy around this rule."""
        return ()


class Every(AbstractWhen):
    """Move the reference to the policy every `period` steps.

    Args:
        period: number of steps of the inner rule between two moves, >= 1. `inner.shortest_period` is a value
            that suffices for a table whose steps are measured by entropy; a softmax policy that goes part of
            the way, or another mirror map, needs more.

    Raises:
        ValueError: `period` is not a whole number >= 1.
    """

    period: Any

    def __check_init__(self) -> None:
        if validation.is_concrete(self.period) and np.ndim(self.period) == 0:
            validation.count("period", self.period, minimum=1)
        elif validation.is_concrete(self.period):
            validation.positive("period", self.period)

    def commit(self, inner: AbstractUpdateRule[Any], state: Any, logp: Float[Array, "*batch n"]) -> Any:
        """Move the reference after every `period`-th step."""
        state = inner.commit(state, logp)
        due = is_due(self.period, state.step)
        return inner.move_reference(state, jnp.where(due, logp, state.reference))

    def form(self, inner: Form) -> Form:
        """A round is `period` steps, or the least common multiple with that of a nested COMAL."""
        return inner._replace(reference="jumps", period=_both(self.period, inner.period))

    def notes(self, inner: AbstractUpdateRule[Any], num_steps: int | None) -> tuple[str, ...]:
        """A warning if the period is too short for the inner rule to come near its equilibrium."""
        enough = math.ceil(inner.shortest_period)
        if float(self.period) >= enough:
            return ()
        return (
            f"COMAL's period of {self.period} is short for {type(inner).__name__} with pull "
            f"{float(inner.form(0).pull):.3g}: it may diverge; period={enough} would suffice.",
        )


class Follow(AbstractWhen):
    """Let the reference follow the policy as a moving average of log-probabilities.

        every `every` steps:   reference <- reference^(1 - rate) * policy^rate

    At a rate of 1 this is `Every(every)`. A slow reference reaches Nash in the last iterate, because it is
    always near the regularized equilibrium; between slow and fast there is a limit (0.1 is safe for
    `MMD(1.0, 0.1)` on COMAL's cycle, 0.3 cycles there).

    Args:
        rate: share of the policy, above 0 and at most 1.
        every: number of steps between two moves, >= 1.

    Raises:
        ValueError: `rate` or `every` is out of range.

    Reference: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
    Two-Player Zero-Sum Games", 2023, section 5 and appendix; Gorbatovski et al., "Learn Your Reference Model
    for Real Good Alignment", 2024 (TR-DPO, soft update).
    """

    rate: Any
    every: Any = 1

    def __check_init__(self) -> None:
        validation.share("rate", self.rate)
        if validation.is_concrete(self.every):
            validation.count("every", self.every, minimum=1)

    def commit(self, inner: AbstractUpdateRule[Any], state: Any, logp: Float[Array, "*batch n"]) -> Any:
        """Mix the policy reached into the reference where a move is due."""
        rate = at(self.rate, state.step)
        state = inner.commit(state, logp)
        if not (validation.is_concrete(self.every) and int(self.every) == 1):
            rate = jnp.where(is_due(self.every, state.step), rate, jnp.zeros_like(rate))
        return inner.move_reference(state, simplex.mix(state.reference, logp, rate))

    def form(self, inner: Form) -> Form:
        """No temperature: the game whose equilibrium is sought changes with every move."""
        return inner._replace(reference="follows", period=_both(self.every, inner.period), temperature=None)


class NearState(eqx.Module, Generic[S]):
    """The state of `COMAL` with `Near`: that of the inner rule, and whether the reference moves next.

    Attributes:
        inner: the state of the inner rule, which holds the policy, the reference and the step.
        near: whether the policy met the test in the last proposal, one for each policy.
        least: root of the least KL(policy || best response) since the reference moved, likewise.
        waited: number of steps since that was reached.
    """

    inner: Any
    near: Bool[Array, "*batch"]
    least: Float[Array, "*batch"]
    waited: Int[Array, "*batch"]

    # Not only arrays: `eqx.tree_at` reads them to find leaves.
    @property
    def logp(self) -> Any:
        """The current policy, `[..., n]`."""
        return self.inner.logp

    @property
    def reference(self) -> Any:
        """The current reference, `[..., n]`."""
        return self.inner.reference

    @property
    def step(self) -> Any:
        """Number of steps committed so far."""
        return self.inner.step


# Let A be the payoffs, r the reference, z any policy, and x+ ~ r exp(A z / tau), the best response to z in
# the game regularized around r. As z.T A z = 0, the logarithm of the sum that normalizes x+ is
#
#     log sum_i r_i exp((A z)_i / tau) = KL(z || x+) - KL(z || r).
#
# For a Nash policy x*, x*.T A z = -z.T A x* >= 0: no policy earns anything against x*. So
#
#     KL(x* || x+) = KL(x* || r) - x*.T A z / tau + KL(z || x+) - KL(z || r)
#                 <= KL(x* || r) - (1 - e^2) KL(z || r)    if KL(z || x+) <= e^2 KL(z || r).
#
# At the regularized equilibrium z = x+, so steps towards it meet the condition after finitely many. For two
# players the KLs are summed over both, and A z is each one's payoffs against the other.
#
# In floating point z comes no nearer to x+ than rounding errors allow, which an inner rule near the limit of
# its stability multiplies. When the policy has converged on the likely actions while an unlikely one, of
# probability 1e-60, still grows, both KLs consist of rounding errors, and comparing them could keep the
# reference for ever. So the reference also moves when KL(z || x+) is at most the machine epsilon and has not
# fallen for `PATIENCE` time constants of the inner rule. By the equation above KL(x* || r) then rises by at
# most the machine epsilon.
PATIENCE = 4.0

# More than any error, and finite in every precision.
LARGEST = 1e30


class Near(AbstractWhen):
    """Move the reference whenever a test shows that the policy is near the regularized equilibrium.

        KL(z || best) <= relative_error^2 * KL(z || reference),    best ~ reference * exp(advantage(z) / tau)

    When the policy z satisfies this condition, both policy and reference move to `best`, the best response of
    the regularized game. Then KL(Nash || reference) never increases by more than its rounding error, whatever
    the game, the temperature and the inner step size, and falls by at least
    `(1 - relative_error^2) KL(z || reference)` with each move. In floating point both also move when
    KL(z || best) is below the machine epsilon and has stopped falling, so that an action of tiny probability
    still grows when the likely actions have converged. An inner rule that does not converge leaves the
    reference unchanged, and cycles around it as it would alone. The test needs the advantage of the current
    policy, which most rules ask for anyway.

    Args:
        relative_error: above 0 and below 1. A smaller one needs more inner steps for a move, and gains more
            with each. From 0.1 to 0.4 the queries to a gap of 1e-4 differ by less than a quarter on random
            games of ten actions, for four step sizes and temperatures.

    Raises:
        ValueError: `relative_error` is not above 0 and below 1.

    Reference: Solodov and Svaiter, "An Inexact Hybrid Generalized Proximal Point Algorithm and Some New
    Results on the Theory of Bregman Functions", 2000.
    """

    relative_error: Any = 0.2

    def __check_init__(self) -> None:
        if not validation.is_concrete(self.relative_error):
            return
        validation.positive("relative_error", self.relative_error)
        if float(self.relative_error) >= 1:
            raise ValueError(
                f"`relative_error` must be above 0 and below 1, got {self.relative_error!r}: at 1 or more "
                f"the KL bound no longer decreases."
            )

    def check(self, inner: AbstractUpdateRule[Any]) -> None:
        """Refuse inner rules that move their reference or seek no KL-regularized equilibrium."""
        form = inner.form(0)
        if form.moves_reference:
            raise ValueError(
                "`inner` must hold its reference when COMAL has no period, but it is a COMAL itself. Give "
                "the outer one a period: COMAL(inner, period=200)."
            )
        if form.kl_temperature is None:
            raise ValueError(
                f"`inner` must seek the equilibrium of a game regularized by KL when COMAL has no period, "
                f"but {type(inner).__name__} with these arguments does not state a temperature. Give a "
                f"period: COMAL(inner, period=50). A rule of your own states one by Form(temperature=...)."
            )

    def init(self, state: Any) -> Any:
        """The first state, in which the policy is not marked as near."""
        batch = state.logp.shape[:-1]
        return NearState(
            state,
            near=jnp.zeros(batch, bool),
            least=jnp.full(batch, LARGEST, state.logp.dtype),
            waited=jnp.zeros(batch, jnp.int32),
        )

    def propose(
        self, inner: AbstractUpdateRule[Any], key: PRNGKeyArray, state: Any, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], Any]:
        """The proposal of the inner rule; near equilibrium, the best response in the regularized game."""
        logp, reference = state.logp, state.reference
        # The answer that the inner rule would get with its own key; another draw if it makes no such query.
        own_key = key if asked(inner, logp.shape).itself else jax.random.fold_in(key, 1)
        advantage = feedback.advantage(own_key, logp)
        target, after = inner.propose(key, state.inner, Known(feedback, logp, advantage))
        form = inner.form(state.step)
        best = simplex.log_normalize(reference + advantage / form.temperature)

        # One number for each policy: two players move together.
        def root(other: Array) -> Array:
            error = jnp.sqrt(feedback.over_players(simplex.kl_divergence(logp, other)))
            alike = error.reshape(*error.shape, *(1,) * (logp.ndim - 1 - error.ndim))
            return jnp.broadcast_to(alike, logp.shape[:-1])

        error, way = root(best), root(reference)
        fell = error < state.least
        waited = jnp.where(fell, 0, state.waited + 1)
        at_rounding = error <= float(np.finfo(logp.dtype).eps) ** 0.5
        patience = PATIENCE / jnp.minimum(form.pull, 1.0)
        stalled = at_rounding & (waited.astype(logp.dtype) >= patience)
        near = (error <= self.relative_error * way) | stalled
        least = jnp.where(near, LARGEST, jnp.minimum(error, state.least))
        state = NearState(after, near, least, jnp.where(near, 0, waited))
        return jnp.where(near[..., None], best, target), state

    def commit(self, inner: AbstractUpdateRule[Any], state: Any, logp: Float[Array, "*batch n"]) -> Any:
        """Where the policy was near, move the reference to the policy reached."""
        after = inner.commit(state.inner, logp)
        moved = inner.move_reference(after, jnp.where(state.near[..., None], logp, after.reference))
        return replace(state, inner=moved)

    def move_reference(
        self, inner: AbstractUpdateRule[Any], state: Any, logp: Float[Array, "*batch n"]
    ) -> Any:
        """The state with another reference."""
        return replace(state, inner=inner.move_reference(state.inner, logp))

    def form(self, inner: Form) -> Form:
        """Rounds have no fixed length, and the last step before a move goes to the best response."""
        return inner._replace(
            reference="jumps", period=None, advantage_weight=None, beta=None, needs_all_actions=True
        )


def is_due(period: Any, step: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether a multiple of `period` steps has been committed."""
    due: Array = step % jnp.asarray(period, step.dtype) == 0
    return due


def _both(period: Any, other: Any) -> Any:
    """The least common multiple of two periods; None if one of them is not fixed."""
    if period is None or other is None:
        return None
    if not all(validation.is_concrete(each) for each in (period, other)):
        return jnp.lcm(jnp.asarray(period, jnp.int32), jnp.asarray(other, jnp.int32))
    least = np.lcm(np.asarray(period).astype(int), np.asarray(other).astype(int))
    return int(least) if np.ndim(least) == 0 else least


__all__ = ["AbstractWhen", "Every", "Follow", "Near", "NearState", "State"]
