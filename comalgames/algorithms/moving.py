"""A reference that follows the policy a little with every step, instead of jumping there now and then."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from comalgames import validation
from comalgames.algorithms.base import S, at
from comalgames.algorithms.wrapper import AbstractReferenceSchedule
from comalgames.numerics import simplex


class MovingReference(AbstractReferenceSchedule[S]):
    """Run `inner`, and let its reference follow the policy as a geometric moving average.

        after every step:   reference <- reference^(1 - rate) * policy^rate

    Around `MMD` it is magnetic mirror descent with a moving magnet. Slow enough, it reaches Nash in the last
    iterate, as `COMAL` does: the reference is then always near the regularised equilibrium. At rate 1 it is
    `COMAL` with period 1, which is `MWU` and diverges; in between there is a limit (0.1 is safe for
    `MMD(1.0, 0.1)` on COMAL's cycle, 0.3 is slow).

    Args:
        inner: any update rule with a reference.
        rate: above 0 and at most 1.

    Raises:
        ValueError: `inner` has no reference, or `rate` is out of range.

    Reference: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
    Two-Player Zero-Sum Games", 2023, section 5 and appendix.
    """

    rate: Any

    def __check_init__(self) -> None:
        self._check_inner()
        validation.share("rate", self.rate)

    def kl_temperature(self, step: Any) -> Any:
        """None: the game whose equilibrium is sought changes with every step."""
        return None

    def commit(self, state: S, logp: Float[Array, "*batch n"]) -> S:
        """Move the reference a little towards the policy reached."""
        rate = at(self.rate, state.step)
        state = self.inner.commit(state, logp)
        return self.inner.move_reference(state, simplex.mix(state.reference, logp, rate))
