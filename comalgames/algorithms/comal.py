"""COMAL: run any rule that has a reference, and move the reference whenever the policy has come near."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import S
from comalgames.algorithms.wrapper import AbstractReferenceSchedule
from comalgames.feedback import AbstractFeedback, Overheard
from comalgames.numerics import simplex

# How near COMAL comes to each regularised equilibrium by default. From 0.1 to 0.4 the queries to a gap of
# 1e-4 differ by less than a quarter on random games of ten actions, for four step sizes and temperatures.
RELATIVE_ERROR = 0.2


def _period(period: Any) -> Any:
    return None if isinstance(period, str) and period == "auto" else period


# Let A be the payoffs, r the reference, z any policy, and x+ ~ r exp(A z / tau), the best response to z in
# the game regularised around r. As z.T A z = 0, the logarithm of the sum that normalises x+ is
#
#     log sum_i r_i exp((A z)_i / tau) = KL(z || x+) - KL(z || r).
#
# For a Nash policy x*, x*.T A z = -z.T A x* >= 0: no policy earns anything against x*. So
#
#     KL(x* || x+) = KL(x* || r) - x*.T A z / tau + KL(z || x+) - KL(z || r)
#                 <= KL(x* || r) - (1 - e^2) KL(z || r)    if KL(z || x+) <= e^2 KL(z || r).
#
# At the regularised equilibrium z = x+, so steps towards it meet the condition after finitely many. For two
# players the KLs are summed over both, and A z is each one's payoffs against the other.
class COMAL(AbstractReferenceSchedule[S]):
    """Convergent meta-alignment: a proximal-point loop around a solver of regularised games.

        whenever the policy is near the equilibrium of `inner`:   reference <- policy

    Each round brings the policy near the equilibrium of the game regularised around the reference; moving the
    reference there and going on converges, in the last iterate, to an exact Nash policy.

    Without a `period` it finds out by itself what near is. It moves when the policy z meets

        KL(z || best) <= relative_error^2 * KL(z || reference),
        best ~ reference * exp(advantage(z) / tau),

    to `best`, the best response of the regularised game. Then KL(Nash, reference) never increases, whatever
    the game, the temperature and the inner step size, and falls by at least `(1 - relative_error^2) KL(z ||
    reference)` with each move. There is no period to choose, and none that diverges: an inner rule that does
    not converge leaves the reference where it is, and cycles around it as it would alone. The test is of the
    advantage that `inner` asks for anyway.

    With a `period` it moves every `period` steps of `inner`: what a trainer of language models does, who sees
    a few answers of a policy only, and what losses on labelled pairs ask for. With an exact inner solve,
    `COMAL(ExactProx(t), period=1)`, KL(Nash, policy) never increases either; with too few inner steps the
    loop diverges, and period 1 around `MirrorDescent` is `MWU`. A step of COMAL is one step of `inner`, and
    costs as much.

    Args:
        inner: any update rule with a reference (its `pull` is above 0), such as `MirrorDescent(1.0, 0.1)`,
            `Extragradient`, `RegularizedMirrorDescent` or `ExactProx`. Without a period its regulariser must
            be KL.
        period: steps of `inner` between two moves of the reference, >= 1; None (or "auto"), the default, to
            move when the test says so. `inner.shortest_period` is a value that will do for steps measured by
            entropy that a table takes (a softmax policy that goes part of the way, or another mirror map,
            asks for more); below it `solve` warns.
        relative_error: how near is near, above 0 and below 1, if there is no period. Smaller asks for more
            inner steps a move, and gains more with each.

    Raises:
        ValueError: `inner` is not an update rule, has no reference or ignores it, `period` is not a whole
            number >= 1, `relative_error` is not above 0 and below 1, or there is no period and `inner` does
            not say what equilibrium it seeks, or is a `COMAL`, which moves its reference itself.

    Reference: Liu et al., "COMAL: A Convergent Meta-Algorithm for Aligning LLMs with General Preferences",
    arXiv 2410.23223, algorithm 1. The test is that of Solodov and Svaiter, "A Hybrid Approximate
    Extragradient-Proximal Point Algorithm", 1999, with KL for the squared distance.
    """

    period: Any = eqx.field(default=None, converter=_period)
    relative_error: Any = RELATIVE_ERROR

    def __check_init__(self) -> None:
        self._check_inner()
        _check_relative_error(self.relative_error)
        if self.period is None:
            self._check_that_it_tunes_itself()
        elif validation.is_concrete(self.period) and np.ndim(self.period) == 0:
            validation.count("period", self.period, minimum=1)
        elif validation.is_concrete(self.period):
            validation.positive("period", self.period)

    def _check_that_it_tunes_itself(self) -> None:
        name = type(self.inner).__name__
        if isinstance(self.inner, COMAL):
            raise ValueError(
                "`inner` must leave its reference where it is when COMAL has no period, but it is a COMAL "
                "itself. Give the outer one a period: COMAL(inner, period=200)."
            )
        if self.inner.kl_temperature(0) is None:
            raise ValueError(
                f"`inner` must seek the equilibrium of a game regularised by KL when COMAL has no period, "
                f"but {name} with these arguments does not say that it does. Give a period: COMAL(inner, "
                f"period=50). A rule of your own needs the method `kl_temperature`."
            )

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> S:
        """The inner rule's state; without a period also whether the reference moves next."""
        state = self.inner.init(logp, reference)
        return state if self.period is not None else replace(state, moving=jnp.zeros(logp.shape[:-1], bool))

    def propose(
        self, key: PRNGKeyArray, state: S, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], S]:
        """The inner rule's proposal, or the best response in its game where the policy is near that."""
        if self.period is not None:
            return self.inner.propose(key, state, feedback)
        heard = Overheard(feedback)
        target, after = self.inner.propose(key, state, heard)
        advantage = self._advantage(key, state, heard)
        best = simplex.log_normalize(state.reference + advantage / self.inner.kl_temperature(state.step))
        error, way = (
            feedback.over_players(simplex.kl_divergence(state.logp, other))
            for other in (best, state.reference)
        )
        near = error <= self.relative_error**2 * way
        # Per policy: two players move together.
        near = near.reshape(*near.shape, *(1,) * (state.logp.ndim - 1 - near.ndim))
        near = jnp.broadcast_to(near, state.logp.shape[:-1])
        return jnp.where(near[..., None], best, target), replace(after, moving=near)

    def _advantage(self, key: PRNGKeyArray, state: S, heard: Overheard) -> Any:
        """The current policy's: what the inner rule heard if it asked, else one more query."""
        if not self.inner.queries_itself:
            return heard.feedback.advantage(jax.random.fold_in(key, 1), state.logp)
        advantage = heard.about(state.logp)
        if advantage is None:
            name = type(self.inner).__name__
            raise ValueError(
                f"{name} must ask about `state.logp` as it is, as its `queries_itself` says; make "
                f"`queries_itself` False if it does not."
            )
        return advantage

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """Where it is due, move the inner rule's reference to the policy reached."""
        state = self.inner.commit(state, logp)
        if state.moving is not None and self.period is None:
            due = state.moving[..., None]
        else:
            due = state.step % jnp.asarray(self.period, state.step.dtype) == 0
        return self.inner.move_reference(state, jnp.where(due, logp, state.reference))

    def queries(self, num_actions: int) -> int:
        """The inner rule's, and one for the test if that rule does not ask about its own policy."""
        tests = self.period is None and not self.inner.queries_itself
        return self.inner.queries(num_actions) + int(tests)

    def advantage_weight(self, step: Any) -> Any:
        """The inner rule's; None without a period, for the last step before a move goes elsewhere."""
        return None if self.period is None else self.inner.advantage_weight(step)

    def logistic_beta(self, step: Any) -> Any:
        """The inner rule's; None without a period."""
        return None if self.period is None else self.inner.logistic_beta(step)

    @property
    def queries_itself(self) -> bool:
        """Whether the inner rule does; without a period always."""
        return self.period is None or self.inner.queries_itself

    @property
    def needs_all_actions(self) -> bool:
        """Whether the inner rule does; without a period always, for the test is one of whole policies."""
        return self.period is None or self.inner.needs_all_actions

    def notes(self) -> tuple[str, ...]:
        """The inner rule's, and a warning if the period is too short for it to come near its equilibrium."""
        if self.period is None:
            return self.inner.notes()
        enough = math.ceil(self.shortest_period)
        if float(self.period) >= enough:
            return self.inner.notes()
        return (
            *self.inner.notes(),
            f"COMAL's period of {self.period} is short for {type(self.inner).__name__} with pull "
            f"{float(self.pull):.3g}: it may diverge; period={enough} would do.",
        )


def _check_relative_error(relative_error: Any) -> None:
    if not validation.is_concrete(relative_error):
        return
    validation.positive("relative_error", relative_error)
    if float(relative_error) >= 1:
        raise ValueError(
            f"`relative_error` must be above 0 and below 1, got {relative_error!r}: from 1 on nothing is "
            f"gained."
        )
