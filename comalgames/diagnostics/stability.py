"""Stability of a rule's fixed point as a function of its step size and its period."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from comalgames.algorithms.base import with_dtype
from comalgames.algorithms.schedules import AbstractSchedule
from comalgames.algorithms.wrapper import innermost
from comalgames.diagnostics.fixed_points import HELD, FixedPoint
from comalgames.diagnostics.local import (
    UNMOVED,
    eigenvalues,
    linearize,
    on_support,
    settled_state,
    without_held_reference,
)
from comalgames.feedback import Exact
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame

# Moduli this close to 1 count as 1: eigenvalues carry rounding errors.
NEUTRAL = 1e-11

# Step sizes of the first scan, evenly spaced on a logarithmic scale, and their number; FEW_STEPS in games of
# more than SMALL_GAME actions. Each refinement scans the interval between two neighbours with the same
# number.
SMALLEST_STEP, LARGEST_STEP = 1e-3, 1e4
NUM_STEPS, FEW_STEPS, SMALL_GAME, REFINEMENTS = 256, 64, 32, 5

# Largest period tried.
LONGEST_PERIOD = 100


class StableSteps(NamedTuple):
    """The range of a rule's step parameter for which its fixed point is attracting.

    All other parameters keep their values.

    Attributes:
        parameter: name of the parameter: "step_size", or "eta", "tau" or "beta", which are inverse steps; ""
            if the rule has none.
        low: lower end of the stable range that contains the rule's value, or of the lowest stable range if
            the rule's value is not stable. 0 if all smaller values (down to a step of 1e-3) are stable.
        high: upper end of that range; infinite if all larger values (up to a step of 1e4) are stable. If no
            value is stable, both ends are 0 for a step size and infinite for an inverse step.
        reason: the reason why no range is given; "" if one is.
    """

    parameter: str
    low: float
    high: float
    reason: str = ""


class StablePeriods(NamedTuple):
    """The spectral radius of one round of `COMAL` at Nash for each period, other parameters unchanged.

    Attributes:
        radii: spectral radius of one round for periods 1, 2, ..., `[periods]`; `COMAL` contracts where it is
            below 1.
        reason: the reason why no radii are given; "" if they are.
    """

    radii: np.ndarray
    reason: str = ""

    @property
    def failing(self) -> tuple[int, ...]:
        """The periods that do not contract."""
        return tuple(int(k) + 1 for k in np.flatnonzero(~(self.radii < 1 - NEUTRAL)))

    @property
    def smallest(self) -> int | None:
        """The smallest period that contracts; None if none does."""
        working = np.flatnonzero(self.radii < 1 - NEUTRAL)
        return int(working[0]) + 1 if working.size else None

    @property
    def best(self) -> int | None:
        """The period with the fastest rate per step; None if none contracts."""
        if self.smallest is None:
            return None
        return int(np.argmin(np.log(np.maximum(self.radii, 1e-300)) / np.arange(1, len(self.radii) + 1))) + 1


class Maps(NamedTuple):
    """The parts of a linearized round at a fixed point, each `[cells, ...]`.

    Attributes:
        step: Jacobian of one step (of the inner rule, for `COMAL`) with a fixed reference.
        move: Jacobian of moving the reference.
        drift: change of each log-probability in one round, `[..., n]`.
    """

    step: Any
    move: Any
    drift: Any


def has_inner_steps(rule: Any) -> bool:
    """Whether a round consists of equal steps of an inner rule, and one move of its reference."""
    form = rule.form(0)
    jumps = form.reference == "jumps" and form.period is not None
    return jumps and hasattr(rule, "inner") and not rule.inner.form(0).moves_reference


def maps(game: AbstractGame, rule: Any, logp: Array, reference: Array, period: Any) -> Maps:
    """The parts of a linearized round of `rule` at a fixed point; for use under `vmap` over rules.

    Args:
        game: a preference game without prompts.
        rule: an update rule.
        logp: the fixed point.
        reference: the reference at the fixed point.
        period: number of steps per round.
    """
    inner = rule.inner if has_inner_steps(rule) else rule
    state, one = settled_state(game, inner, logp, reference), jnp.asarray(1)
    key, exact = jax.random.key(0), Exact(game)
    end = jax.lax.fori_loop(0, period, lambda _, now: inner.step(key, now, exact), state)
    step = linearize(game, inner, state, one if inner is not rule else period)
    move = linearize(game, inner, state, jnp.asarray(0), moves=inner is not rule)
    return Maps(step, move, end.logp - logp)


@eqx.filter_jit
def maps_of_many(game: AbstractGame, rules: Any, logp: Array, reference: Array, periods: Array) -> Maps:
    """The `maps` of rules with a leading axis, each at its own fixed point `[cells, n]`."""
    along = (None, eqx.if_array(0), 0, 0, 0)
    parts: Maps = eqx.filter_vmap(maps, in_axes=along)(game, rules, logp, reference, periods)
    return parts


@eqx.filter_jit
def _drifts(game: AbstractGame, inner: Any, logp: Array, reference: Array, longest: int) -> Array:
    """Change of each log-probability after 1, 2, ... steps, `[longest, n]`."""

    def body(state: Any, _: Any) -> tuple[Any, Array]:
        state = inner.step(jax.random.key(0), state, Exact(game))
        return state, state.logp - logp

    state = settled_state(game, inner, logp, reference)
    drifts: Array = jax.lax.scan(body, state, None, length=longest)[1]
    return drifts


def round_maps(parts: Maps, support: np.ndarray, periods: np.ndarray | None) -> np.ndarray:
    """The linear map of one round on the support, `[cells, size, size]`.

    Constants added to a policy's log-probabilities, and a reference that equals the policy, are left out.

    Args:
        parts: the parts of many cells, as NumPy arrays.
        support: bool mask of the actions with positive probability, `[n]`.
        periods: number of steps `parts.step` per round, `[cells]`; None if `parts.step` is the whole round
            and the reference is not moved after it.
    """
    step, directions = on_support(np.asarray(parts.step), support)
    if periods is None:
        return without_held_reference(step, directions)
    move, _ = on_support(np.asarray(parts.move), support)
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.stack([_power(each, int(k)) for each, k in zip(step, periods, strict=True)])
        whole = move @ powers
    size = step.shape[-1]
    policy, held = slice(0, directions), slice(directions, 2 * directions)
    if not np.allclose(move[..., held, policy], np.eye(directions), rtol=0, atol=UNMOVED):
        return np.asarray(whole)  # the reference moves only part of the way to the policy
    # After a move the reference equals the policy, so that one of the two suffices between rounds.
    keep = np.delete(np.arange(size), held)
    merge = np.eye(size)[:, keep]
    merge[held, policy] = np.eye(directions)
    with np.errstate(invalid="ignore"):
        return np.asarray((whole @ merge)[..., keep, :])


def _power(matrix: np.ndarray, exponent: int) -> np.ndarray:
    finite = np.all(np.isfinite(matrix))
    return np.linalg.matrix_power(matrix, exponent) if finite else np.full_like(matrix, np.inf)


def multipliers(rounds: np.ndarray, dimension: int) -> np.ndarray:
    """Eigenvalues of rounds, largest modulus first, without the `dimension` of them that are nearest to 1."""
    values = eigenvalues(rounds)
    if dimension:
        with np.errstate(invalid="ignore"):
            nearest = np.argsort(np.where(np.isfinite(values), np.abs(values - 1), np.inf), axis=-1)
        kept = np.sort(nearest[..., dimension:], axis=-1)
        values = np.take_along_axis(values, kept, axis=-1)
    return values


def radii(parts: Maps, support: np.ndarray, dimension: int, periods: np.ndarray | None) -> np.ndarray:
    """Spectral radius of one round at the fixed point, `[cells]`.

    Args:
        parts: the parts of many cells, as NumPy arrays.
        support: bool mask of the actions with positive probability, `[n]`.
        dimension: dimension of the set of fixed points.
        periods: number of steps per round, as for `round_maps`.
    """
    on = np.abs(multipliers(round_maps(parts, support, periods), dimension)).max(-1, initial=0.0)
    with np.errstate(over="ignore"):
        off = np.exp(np.asarray(parts.drift)[..., ~support]).max(-1, initial=0.0)
    return np.asarray(np.where(np.isnan(off), np.inf, np.maximum(on, off)))


# Step sizes -------------------------------------------------------------------------------------------------


def stable_steps(game: PreferenceGame, rule: Any, point: FixedPoint) -> StableSteps:
    """The range of step sizes for which a rule's fixed point is attracting, other parameters unchanged.

    For a self-tuning `COMAL`, whose reference never moves away from Nash, it is the range for which its inner
    rule converges.

    Args:
        game: a preference game without prompts.
        rule: an update rule.
        point: the rule's fixed point.
    """
    if rule.form(0).period is None and hasattr(rule, "inner"):
        rule = rule.inner
    form, inner = rule.form(0), innermost(rule)
    period, parameter, inverse = form.period, form.step, form.is_inverse
    if not parameter:
        return StableSteps(
            "", np.nan, np.nan, f"{type(inner).__name__} takes no step size that could be too large"
        )
    if isinstance(getattr(inner, parameter), AbstractSchedule):
        return StableSteps(parameter, np.nan, np.nan, f"{parameter} changes from step to step")
    if period is None:
        return StableSteps(parameter, np.nan, np.nan, "the rule decides during the run when a round ends")
    if point.support.size - 1 - point.dimension == 0:
        return StableSteps(parameter, np.nan, np.nan, "every policy nearby is a fixed point")
    num = NUM_STEPS if game.num_actions <= SMALL_GAME else FEW_STEPS
    depends = False

    def of_steps(steps: np.ndarray) -> np.ndarray:
        nonlocal depends
        with jax.enable_x64(True):
            values = jnp.asarray(1.0 / steps if inverse else steps)
            game64, rule64 = with_dtype((game.without_names(), rule), jnp.float64)

            def with_step(value: Array) -> Any:
                return eqx.tree_at(lambda r: getattr(innermost(r), parameter), rule64, value)

            rules = eqx.filter_vmap(with_step)(values)
            whole = (len(steps), game.num_actions)
            logp = jnp.broadcast_to(jnp.asarray(point.logp), whole)
            reference = jnp.broadcast_to(jnp.asarray(point.reference), whole)
            counts = jnp.full(len(steps), period)
            parts = jax.tree.map(np.asarray, maps_of_many(game64, rules, logp, reference, counts))
        shifts = np.abs(parts.drift[:, point.support]).max(-1) / np.maximum(1.0, steps)
        depends = depends or bool(np.any(shifts[steps <= 1.0] > HELD))
        periods = np.full(len(steps), period) if has_inner_steps(rule) else None
        return radii(parts, point.support, point.dimension, periods)

    grid = np.geomspace(SMALLEST_STEP, LARGEST_STEP, num)
    scanned = of_steps(grid)
    if depends and point.kind == "own":
        return StableSteps(parameter, np.nan, np.nan, f"the fixed point depends on {parameter}")
    here = float(np.asarray(getattr(inner, parameter)))
    low, high = _range(of_steps, grid, scanned, 1.0 / here if inverse else here)
    if inverse:
        low, high = (np.inf if high == 0 else 1.0 / high), (np.inf if low == 0 else 1.0 / low)
    return StableSteps(parameter, *_accepted(inner, parameter, here, float(low), float(high)))


def _accepted(rule: Any, parameter: str, here: float, low: float, high: float) -> tuple[float, float]:
    """The part of the range that the rule accepts; INPO, for example, refuses an eta below tau."""

    def refuses(value: float) -> bool:
        try:
            replace(rule, **{parameter: value})
        except ValueError:
            return True
        return False

    def edge(end: float) -> float:
        good = here
        if not (0 < end < np.inf and refuses(end)) or refuses(good):
            return end
        while abs(good - end) > 1e-15 * good and good != (middle := (good + end) / 2) != end:
            good, end = (good, middle) if refuses(middle) else (middle, end)
        return good

    return edge(low), edge(high)


def _range(of_steps: Any, grid: np.ndarray, scanned: np.ndarray, here: float) -> tuple[float, float]:
    """The stable range of step sizes that contains `here`, else the lowest one; (0, 0) if none is stable."""
    holds = scanned <= 1 + NEUTRAL
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(int), [0]])))
    stable = [
        (start, end - 1) for start, end in edges.reshape(-1, 2) if np.any(scanned[start:end] < 1 - NEUTRAL)
    ]
    if not stable:
        return 0.0, 0.0
    place = np.searchsorted(grid, here)
    around = [ends for ends in stable if ends[0] - 1 <= place <= ends[1] + 1]
    first, last = (around or stable)[0]
    low = 0.0 if first == 0 else _edge(of_steps, grid[first - 1], grid[first], len(grid), rising=False)
    high = np.inf
    if last < len(grid) - 1:
        high = _edge(of_steps, grid[last], grid[last + 1], len(grid), rising=True)
    if not low <= here <= high and (first, last) != stable[0]:
        return _range(of_steps, grid, scanned, 0.0)
    return low, high


def _edge(of_steps: Any, low: float, high: float, num: int, rising: bool) -> float:
    """The step size between two others at which the spectral radius crosses 1, to about 12 digits."""
    for _ in range(REFINEMENTS):
        steps = np.linspace(low, high, num)
        grows = of_steps(steps) > 1 + NEUTRAL
        k = int(np.argmax(grows)) if rising else len(grows) - int(np.argmax(grows[::-1])) - 1
        low, high = (steps[max(k - 1, 0)], steps[k]) if rising else (steps[k], steps[min(k + 1, num - 1)])
        if high - low <= 1e-12 * high:
            break
    return (low + high) / 2


# Periods ----------------------------------------------------------------------------------------------------


def stable_periods(game: PreferenceGame, rule: Any, point: FixedPoint) -> StablePeriods:
    """The spectral radius of one round of `COMAL` for periods 1 to 100, from one linearized inner step.

    The linearized round consists of `period` equal inner steps and the move of the reference.

    Args:
        game: a preference game without prompts.
        rule: an update rule.
        point: the rule's fixed point.
    """
    form = rule.form(0)
    if form.reference == "follows":
        return StablePeriods(np.zeros(0), "the rule moves its reference at every step")
    if not form.moves_reference:
        return StablePeriods(np.zeros(0), "the rule does not move its reference")
    if form.period is None:
        return StablePeriods(np.zeros(0), "self-tuning, no period to choose; KL to Nash never increases")
    if not has_inner_steps(rule):
        return StablePeriods(np.zeros(0), "the inner rule has its own period")
    if point.support.size - 1 - point.dimension == 0:
        return StablePeriods(np.zeros(0), "every policy nearby is a fixed point")
    with jax.enable_x64(True):
        game64, rule64 = with_dtype((game.without_names(), rule), jnp.float64)
        logp, reference = jnp.asarray(point.logp), jnp.asarray(point.reference)
        parts = jax.tree.map(
            np.asarray, eqx.filter_jit(maps)(game64, rule64, logp, reference, jnp.asarray(1))
        )
        drifts = np.asarray(_drifts(game64, rule64.inner, logp, reference, LONGEST_PERIOD))
    periods = np.arange(1, LONGEST_PERIOD + 1)
    step, move = (np.broadcast_to(each, (len(periods), *each.shape)) for each in parts[:2])
    repeated = Maps(step, move, drifts)
    return StablePeriods(radii(repeated, point.support, point.dimension, periods))
