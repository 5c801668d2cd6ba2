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
    """One algorithm in the contract table.

    Attributes:
        make: makes the algorithm from its leaves.
        leaves: numbers with which it runs well.
        other_leaves: other numbers, which need the same compilation.
        arrives: the algorithm with numbers under which its guarantee holds, and how many steps to give it;
            for one entry of each class.
        may_be_zero: its numbers that may be 0, where 0 has a meaning.
        is_linear: whether it reads payoffs through its numbers only, so that flips can be corrected.
        on_answers: what the language-model bridge makes of it: "target", "labels" (a fit), or "refused".
    """

    make: Callable[..., cg.AbstractAlgorithm[Any]]
    leaves: tuple[float, ...]
    other_leaves: tuple[float, ...]
    arrives: tuple[cg.AbstractAlgorithm[Any], int] | None = None
    may_be_zero: tuple[str, ...] = ()
    is_linear: bool = True
    on_answers: str = "target"

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
    "MWU": Entry(cg.MWU, (0.3,), (1.0,), arrives=(cg.MWU(0.5), 4000)),
    "MWU, step size falling": Entry(lambda start: cg.MWU(Cooling(start)), (1.0,), (3.0,)),
    "SPPO": Entry(cg.SPPO, (0.3,), (1.0,), arrives=(cg.SPPO(0.5, exact=True), 4000)),
    "IterativeIPO": Entry(cg.IterativeIPO, (2.0,), (1.0,), arrives=(cg.IterativeIPO(2.0), 4000)),
    "IterativeDPO": Entry(
        cg.IterativeDPO,
        (10.0,),
        (4.0,),
        arrives=(cg.IterativeDPO(4.0), 4000),
        is_linear=False,
        on_answers="labels",
    ),
    "MirrorDescent": Entry(
        cg.MirrorDescent,
        (0.3, 0.1),
        (1.0, 0.05),
        arrives=(cg.MirrorDescent(1.0, 0.1), 2000),
        may_be_zero=("temperature",),
    ),
    "MMD": Entry(
        cg.MMD, (0.5, 0.1), (2.0, 0.05), arrives=(cg.MMD(1.0, 0.1), 2000), may_be_zero=("temperature",)
    ),
    "INPO": Entry(cg.INPO, (2.0, 0.1), (1.0, 0.2), arrives=(cg.INPO(1.0, 0.1), 2000), may_be_zero=("tau",)),
    "Extragradient": Entry(
        cg.Extragradient,
        (2.0, 0.0),
        (1.0, 0.1),
        arrives=(cg.Extragradient(2.0), 2000),
        may_be_zero=("temperature",),
    ),
    "OptimisticMWU": Entry(
        cg.OptimisticMWU, (1.0,), (0.3,), arrives=(cg.OptimisticMWU(2.0), 2000), on_answers="refused"
    ),
    "ExactProx": Entry(cg.ExactProx, (0.1,), (0.5,), arrives=(cg.ExactProx(0.1), 2), on_answers="refused"),
    "RegularizedMirrorDescent": Entry(
        regularized(cg.regularizers.chi_squared),
        (0.3, 0.1),
        (0.5, 0.05),
        arrives=(cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.kl), 2000),
        may_be_zero=("temperature",),
    ),
    # Contracts demand finite log-probabilities, which the projection keeps with small steps only.
    "RegularizedMirrorDescent, euclidean": Entry(
        geometry(cg.regularizers.chi_squared, cg.mirrors.euclidean),
        (0.01, 0.1),
        (0.02, 0.05),
        on_answers="refused",
    ),
    "Parametric": Entry(
        taught(cg.objectives.Regression()),
        (1.0, 0.1, 20, 5),
        (0.5, 0.2, 12, 3),
        arrives=(
            cg.Parametric(cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20), cg.Tabular(), None, optax.sgd(0.5), 20),
            2000,
        ),
        is_linear=False,
    ),
    "SPPO, exact": Entry(
        lambda step_size: cg.SPPO(step_size, exact=True), (0.3,), (1.0,), on_answers="refused"
    ),
    "NCA": Entry(cg.NCA, (4.0,), (2.0,), arrives=(cg.NCA(2.0), 4000), is_linear=False),
    "BCO": Entry(cg.BCO, (8.0,), (4.0,), arrives=(cg.BCO(4.0), 20000), is_linear=False),
    "GPO": Entry(cg.GPO, (20.0,), (10.0,), arrives=(cg.GPO(4.0), 4000), is_linear=False),
    "OnlineDPO": Entry(
        cg.OnlineDPO,
        (2.0, 0.5),
        (1.0, 0.3),
        arrives=(cg.OnlineDPO(1.0, 0.2), 2000),
        is_linear=False,
        on_answers="labels",
    ),
    "NashMD": Entry(
        cg.NashMD,
        (0.3, 0.1),
        (1.0, 0.05),
        arrives=(cg.NashMD(cg.InverseTime(2.0 / 0.1, 2.0), 0.1), 100000),
        may_be_zero=("temperature",),
    ),
    "NashMD, step size falling": Entry(
        lambda scale, tau: cg.NashMD(cg.InverseTime(scale, 2.0), tau), (2.0, 0.5), (1.0, 1.0)
    ),
    "NashEMA": Entry(
        cg.NashEMA,
        (0.3, 0.1, 0.5),
        (0.5, 0.05, 0.2),
        arrives=(cg.NashEMA(0.3, 0.1, 0.5), 2000),
        may_be_zero=("temperature",),
    ),
    "NashMDPG": Entry(
        cg.NashMDPG,
        (0.3, 0.1, 0.2),
        (1.0, 0.05, 0.0),
        arrives=(cg.NashMDPG(0.3, 0.1), 20000),
        may_be_zero=("temperature",),
        on_answers="refused",
    ),
    "HistoryMirrorDescent": Entry(
        history,
        (0.3, 0.1, 0.5),
        (0.5, 0.2, 0.7),
        arrives=(cg.HistoryMirrorDescent(0.3, 0.1, (0.5, 0.5), (0.2, 0.8)), 2000),
        may_be_zero=("temperature",),
        on_answers="refused",
    ),
    "HistoryMirrorDescent, against itself": Entry(
        lambda step_size, tau: cg.HistoryMirrorDescent(step_size, tau, (0.7, 0.3)),
        (0.5, 0.1),
        (1.0, 0.2),
        on_answers="refused",
    ),
    "SPIN": Entry(cg.SPIN, (20.0,), (40.0,), arrives=(cg.SPIN(2.0), 100), is_linear=False),
    "Averaged": Entry(
        lambda step_size: cg.Averaged(cg.MWU(step_size)),
        (0.3,),
        (1.0,),
        arrives=(cg.Averaged(cg.OptimisticMWU(1.0)), 20000),
    ),
    "MovingReference": Entry(
        lambda step, tau, rate: cg.MovingReference(cg.MMD(step, tau), rate), (1.0, 0.1, 0.03), (0.5, 0.2, 0.1)
    ),
    "COMAL of NashMDPG": Entry(
        comal(cg.NashMDPG), (1.0, 0.1, 0.0, 150), (0.5, 0.1, 0.0, 240), on_answers="refused"
    ),
    "COMAL of OnlineDPO": Entry(
        comal(cg.OnlineDPO), (0.4, 0.2, 20), (1.0, 0.2, 12), is_linear=False, on_answers="labels"
    ),
    "COMAL of MirrorDescent": Entry(comal(cg.MirrorDescent), (1.0, 0.1, 20), (0.5, 0.2, 12)),
    "COMAL of Extragradient": Entry(comal(cg.Extragradient), (1.0, 0.1, 10), (2.0, 0.1, 7)),
    "COMAL of ExactProx": Entry(comal(cg.ExactProx), (0.3, 1), (1.0, 2), on_answers="refused"),
    "COMAL of RegularizedMirrorDescent": Entry(
        comal(regularized(cg.regularizers.chi_squared)), (0.5, 0.1, 15), (0.3, 0.2, 10)
    ),
    "COMAL of MirrorDescent, tuned": Entry(
        tuned(cg.MirrorDescent),
        (1.0, 0.1, 0.3),
        (0.5, 0.2, 0.7),
        arrives=(cg.COMAL(cg.MirrorDescent(1.0, 0.1)), 2000),
        on_answers="refused",
    ),
    "COMAL of Extragradient, tuned": Entry(
        tuned(cg.Extragradient), (1.0, 0.1, 0.3), (2.0, 0.1, 0.7), on_answers="refused"
    ),
    "COMAL of ExactProx, tuned": Entry(tuned(cg.ExactProx), (0.3, 0.3), (1.0, 0.7), on_answers="refused"),
    "COMAL of COMAL": Entry(nested, (1.0, 0.1, 20, 30), (0.5, 0.2, 12, 18)),
}

# Published names: a rule with the paper's own numbers, and how many steps it is given.
PUBLISHED: dict[str, tuple[cg.AbstractAlgorithm[Any], int]] = {
    "MovingReference": (cg.MovingReference(cg.MMD(1.0, 0.1), 0.03), 2000),
    "DNO": (cg.DNO(2.0), 4000),
    "EGPO": (cg.EGPO(0.9, 0.1), 2000),
    "IterativeRLHF": (cg.IterativeRLHF(1.0), 2000),
    "MNPO": (cg.MNPO(1 / 0.3, 0.1), 2000),
    "MPO": (cg.MPO(1.0, 0.1, 20), 2000),
    "NashMirrorProx": (cg.NashMirrorProx(2 * 0.1, 0.1), 2000),
    "NashProx": (cg.NashProx(1.0, 0.1, 300), 12000),
    "ONPO": (cg.ONPO(0.5), 2000),
    "OnlineIPO": (cg.OnlineIPO(1.0, 0.1), 2000),
    "OnlineIPOGradient": (cg.OnlineIPOGradient(0.3, 0.1), 20000),
    "REBEL": (cg.REBEL(0.5), 4000),
    "RLHF": (cg.RLHF(0.25), 2000),
    "RSPO": (cg.RSPO(1.0, 0.1), 2000),
    "SPO": (cg.SPO(0.5), 4000),
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
