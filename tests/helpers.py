"""The contract table: every algorithm, with numbers it runs well with. A new algorithm joins here.

Also the few games, policies and comparisons that several test files share.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

import comalgames as cg


class Cooling(cg.AbstractSchedule):
    """A step size that shrinks: start / sqrt(1 + step)."""

    start: float | Float[Array, ""]

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start / jnp.sqrt(1 + step.astype(jnp.asarray(self.start).dtype))


class Entry(NamedTuple):
    """How to make an algorithm from its leaves, and two choices of leaves that need the same compilation."""

    make: Callable[..., cg.AbstractAlgorithm[Any]]
    leaves: tuple[float, ...]
    other_leaves: tuple[float, ...]

    @property
    def rule(self) -> cg.AbstractAlgorithm[Any]:
        return self.make(*self.leaves)

    @property
    def other_rule(self) -> cg.AbstractAlgorithm[Any]:
        return self.make(*self.other_leaves)


def regularized(regularizer: Any) -> Callable[..., cg.AbstractAlgorithm[Any]]:
    return lambda step_size, temperature: cg.RegularizedMirrorDescent(step_size, temperature, regularizer)


def geometry(regularizer: Any, mirror: Any) -> Callable[..., cg.AbstractAlgorithm[Any]]:
    return lambda step_size, temperature: cg.RegularizedMirrorDescent(
        step_size, temperature, regularizer, mirror
    )


def taught(loss: Any) -> Callable[..., cg.AbstractAlgorithm[Any]]:
    def make(step_size: float, temperature: float, period: int, num_fit_steps: int) -> cg.Parametric:
        rule = cg.COMAL(cg.MirrorDescent(step_size, temperature), period)
        return cg.Parametric(rule, cg.Tabular(), None, OPTIMIZER, num_fit_steps, loss)

    return make


def comal(inner: Callable[..., Any]) -> Callable[..., cg.AbstractAlgorithm[Any]]:
    return lambda *leaves: cg.COMAL(inner(*leaves[:-1]), leaves[-1])


def tuned(inner: Callable[..., Any]) -> Callable[..., cg.AbstractAlgorithm[Any]]:
    return lambda *leaves: cg.COMAL(inner(*leaves[:-1]), when=cg.Near(leaves[-1]))


def nested(step_size: float, temperature: float, period: int, outer_period: int) -> cg.COMAL:
    return cg.COMAL(cg.COMAL(cg.MirrorDescent(step_size, temperature), period), outer_period)


def history(step_size: float, temperature: float, share: Any) -> cg.HistoryMirrorDescent:
    weights = (share, 1 - share)
    return cg.HistoryMirrorDescent(step_size, temperature, weights, weights)


# One object: every call of optax makes functions of its own, and they would be compiled anew.
OPTIMIZER = optax.sgd(0.5)

CONTRACT = {
    "MWU": Entry(cg.MWU, (0.3,), (1.0,)),
    "MWU, step size falling": Entry(lambda start: cg.MWU(Cooling(start)), (1.0,), (3.0,)),
    "SPPO": Entry(cg.SPPO, (0.3,), (1.0,)),
    "IterativeIPO": Entry(cg.IterativeIPO, (2.0,), (1.0,)),
    "IterativeDPO": Entry(cg.IterativeDPO, (10.0,), (4.0,)),
    "MirrorDescent": Entry(cg.MirrorDescent, (0.3, 0.1), (1.0, 0.05)),
    "MMD": Entry(cg.MMD, (0.5, 0.1), (2.0, 0.05)),
    "INPO": Entry(cg.INPO, (2.0, 0.1), (1.0, 0.2)),
    "Extragradient": Entry(cg.Extragradient, (2.0, 0.0), (1.0, 0.1)),
    "OptimisticMWU": Entry(cg.OptimisticMWU, (1.0,), (0.3,)),
    "ExactProx": Entry(cg.ExactProx, (0.1,), (0.5,)),
    "RegularizedMirrorDescent": Entry(regularized(cg.regularizers.chi_squared), (0.3, 0.1), (0.5, 0.05)),
    # Contracts demand finite log-probabilities, which the projection keeps with small steps only.
    "RegularizedMirrorDescent, euclidean": Entry(
        geometry(cg.regularizers.chi_squared, cg.mirrors.euclidean), (0.01, 0.1), (0.02, 0.05)
    ),
    "Parametric": Entry(taught(cg.objectives.Regression()), (1.0, 0.1, 20, 5), (0.5, 0.2, 12, 3)),
    "SPPO, exact": Entry(lambda step_size: cg.SPPO(step_size, exact=True), (0.3,), (1.0,)),
    "NCA": Entry(cg.NCA, (4.0,), (2.0,)),
    "BCO": Entry(cg.BCO, (8.0,), (4.0,)),
    "GPO": Entry(cg.GPO, (20.0,), (10.0,)),
    "OnlineDPO": Entry(cg.OnlineDPO, (2.0, 0.5), (1.0, 0.3)),
    "NashMD": Entry(cg.NashMD, (0.3, 0.1), (1.0, 0.05)),
    "NashMD, step size falling": Entry(
        lambda scale, tau: cg.NashMD(cg.InverseTime(scale, 2.0), tau), (2.0, 0.5), (1.0, 1.0)
    ),
    "NashEMA": Entry(cg.NashEMA, (0.3, 0.1, 0.5), (0.5, 0.05, 0.2)),
    "NashMDPG": Entry(cg.NashMDPG, (0.3, 0.1, 0.2), (1.0, 0.05, 0.0)),
    "HistoryMirrorDescent": Entry(history, (0.3, 0.1, 0.5), (0.5, 0.2, 0.7)),
    "HistoryMirrorDescent, against itself": Entry(
        lambda step_size, tau: cg.HistoryMirrorDescent(step_size, tau, (0.7, 0.3)), (0.5, 0.1), (1.0, 0.2)
    ),
    "SPIN": Entry(cg.SPIN, (20.0,), (40.0,)),
    "Averaged": Entry(lambda step_size: cg.Averaged(cg.MWU(step_size)), (0.3,), (1.0,)),
    "MovingReference": Entry(
        lambda step, tau, rate: cg.MovingReference(cg.MMD(step, tau), rate), (1.0, 0.1, 0.03), (0.5, 0.2, 0.1)
    ),
    "COMAL of NashMDPG": Entry(comal(cg.NashMDPG), (1.0, 0.1, 0.0, 150), (0.5, 0.1, 0.0, 240)),
    "COMAL of OnlineDPO": Entry(comal(cg.OnlineDPO), (0.4, 0.2, 20), (1.0, 0.2, 12)),
    "COMAL of MirrorDescent": Entry(comal(cg.MirrorDescent), (1.0, 0.1, 20), (0.5, 0.2, 12)),
    "COMAL of Extragradient": Entry(comal(cg.Extragradient), (1.0, 0.1, 10), (2.0, 0.1, 7)),
    "COMAL of ExactProx": Entry(comal(cg.ExactProx), (0.3, 1), (1.0, 2)),
    "COMAL of RegularizedMirrorDescent": Entry(
        comal(regularized(cg.regularizers.chi_squared)), (0.5, 0.1, 15), (0.3, 0.2, 10)
    ),
    "COMAL of MirrorDescent, tuned": Entry(tuned(cg.MirrorDescent), (1.0, 0.1, 0.3), (0.5, 0.2, 0.7)),
    "COMAL of Extragradient, tuned": Entry(tuned(cg.Extragradient), (1.0, 0.1, 0.3), (2.0, 0.1, 0.7)),
    "COMAL of ExactProx, tuned": Entry(tuned(cg.ExactProx), (0.3, 0.3), (1.0, 0.7)),
    "COMAL of COMAL": Entry(nested, (1.0, 0.1, 20, 30), (0.5, 0.2, 12, 18)),
}

COMAL_START = (0.2, 0.5, 0.3)
COMAL_NASH = np.array([4.0, 3.0, 4.0]) / 11

# The 3-cycle rotates around its Nash policy at this frequency.
COMAL_FREQUENCY = np.sqrt(5.28) / 11

# COMAL with K inner steps, as another program found: the periods that do not converge, and the best one
# with its rate per step.
COMAL_PERIODS: list[tuple[float, float, list[int], int, str]] = [
    (0.3, 0.1, [*range(1, 11)], 62, "0.9823"),
    (0.3, 0.3, [*range(1, 6)], 29, "0.9947"),
    (1.0, 0.05, [*range(1, 9)], 51, "0.9153"),
    (1.0, 0.1, [*range(1, 6)], 19, "0.9309"),
    (1.0, 0.3, [*range(1, 4)], 9, "0.9806"),
    (3.0, 0.1, [*range(1, 4)], 6, "0.7960"),
    (3.5, 0.1, [1, 2, 3, 8, 9, 10, 16, 17], 5, "0.8612"),
]


def random_game(num_actions: int = 10, seed: int = 0, prompts: tuple[int, ...] = ()) -> cg.PreferenceGame:
    return cg.games.random(jax.random.key(seed), num_actions, prompts)


def random_policy(*shape: int, seed: int = 0) -> np.ndarray:
    """Policies bounded away from the boundary: at least a tenth of uniform."""
    weights = np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])
    return 0.9 * weights + 0.1 / shape[-1]


def log_normalize(scores: Any) -> np.ndarray:
    """NumPy's own, so that tests do not lean on the package's."""
    scores = np.asarray(scores)
    top = scores.max(-1, keepdims=True)
    return scores - top - np.log(np.exp(scores - top).sum(-1, keepdims=True))


def one_step(
    rule: Any, game: Any, policy: Any, reference: Any = None, num_steps: int = 1, **changes: Any
) -> np.ndarray:
    """Log-policy after exact steps of `rule`, straight from its own `init` and `step`, without the loop."""
    logp = jnp.log(jnp.asarray(policy))
    state = rule.init(logp, logp if reference is None else jnp.log(jnp.asarray(reference)))
    for _ in range(num_steps):
        state = rule.step(jax.random.key(0), state, cg.Exact(game))
    return np.asarray(state.logp)


def gap(game: Any, policy: Any) -> np.ndarray:
    """2 max_i (P policy)_i - 1, in NumPy."""
    return 2 * np.max(np.einsum("...ij,...j->...i", np.asarray(game.skew), policy), axis=-1)
