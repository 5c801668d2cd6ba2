"""Diagnosis of a rule on a game: predicted limit and convergence rate, and one run to compare them with."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, with_dtype
from comalgames.diagnostics.outcomes import LAST_PART, OUTCOMES, Evidence, outcome_codes
from comalgames.diagnostics.page import as_text
from comalgames.diagnostics.prediction import Prediction, check_arguments, predict
from comalgames.diagnostics.rates import RateFit, fit_rate
from comalgames.drivers.arguments import starting_policy
from comalgames.drivers.trajectory import Carry, Run
from comalgames.equilibria import nash
from comalgames.games.preference import PreferenceGame

# Largest number of equal blocks of steps in the record of a run, which keeps each block's largest values.
MOST_BLOCKS = 4000

# Default length of a run: the steps after which the predicted error is exp(-45), below rounding error, within
# the bounds SHORTEST and LONGEST; UNDECIDED if no convergence is predicted.
SHRINKAGE, SHORTEST, LONGEST, UNDECIDED = 45.0, 400, 100_000, 10_000


class Watched(NamedTuple):
    """The result of `watch`: extreme values within each block of steps, `[blocks]`, and the last policy.

    Attributes:
        gap: largest duality gap; infinite if a policy was not finite.
        distance: largest total variation distance to the target.
        lowest: smallest log-probability of an action of the support.
        spread: variation of the probabilities within each part of the run, `[parts]`: half the sum over the
            actions of the largest minus the smallest probability.
        path: total variation distance covered step by step within each part, `[parts]`.
        logp: the last policy, `[n]`.
    """

    gap: Any
    distance: Any
    lowest: Any
    spread: Any
    path: Any
    logp: Any


def blocks(num_steps: int, most: int) -> tuple[np.ndarray, ...]:
    """Edges of about `most` equal blocks of steps, for the first half and the last two quarters of a run."""
    size = max(1, -(-num_steps // most))
    parts = itertools.pairwise((0, *last_quarters(num_steps), num_steps))
    return tuple(_edges(np.arange(start, end, size), end) for start, end in parts)


def last_quarters(num_steps: int) -> tuple[int, int]:
    """The first step of each of the last two quarters of a run."""
    quarter = max(1, round(LAST_PART * num_steps))
    return num_steps - 2 * quarter, num_steps - quarter


def _edges(starts: np.ndarray, end: int) -> np.ndarray:
    return np.append(starts, end).astype(np.int32)


def watch(
    game: Any, rule: Any, logp: Array, reference: Array, target: Array, support: Array, *parts: Array
) -> Watched:
    """Run a rule and record the extreme values within each block of steps; for use under `vmap`.

    Args:
        game: a preference game without prompts.
        rule: an algorithm that draws no random numbers.
        logp: the first policy, log-probabilities `[n]`.
        reference: the first reference.
        target: probabilities `[n]`.
        support: the actions whose probability is watched, bool `[n]`.
        *parts: edges of consecutive blocks of steps, the last edge of one the first of the next.
    """
    run = Run(game, rule, None, jax.random.key(0), {}, False, 1)

    def observe(progress: Carry, extremes: _Extremes) -> _Extremes:
        logp, policy = progress.state.logp, jnp.exp(progress.state.logp)
        broken = jnp.any(jnp.isnan(logp))
        lowest = jnp.minimum(extremes.lowest, jnp.min(jnp.where(support, logp, 0.0)))
        return _Extremes(
            gap=jnp.where(broken, jnp.inf, jnp.maximum(extremes.gap, game.gap(game.advantage(logp)))),
            distance=jnp.maximum(extremes.distance, jnp.sum(jnp.abs(policy - target)) / 2),
            lowest=jnp.where(broken, extremes.lowest, lowest),
            high=jnp.maximum(extremes.high, policy),
            low=jnp.minimum(extremes.low, policy),
            path=extremes.path,
        )

    def step(index: Any, carry: tuple[Carry, _Extremes]) -> tuple[Carry, _Extremes]:
        progress, extremes = carry
        after, extremes = run.step(progress, index), observe(progress, extremes)
        moved = jnp.sum(jnp.abs(jnp.exp(after.state.logp) - jnp.exp(progress.state.logp))) / 2
        return after, extremes._replace(path=extremes.path + moved)

    def block(
        carry: tuple[Carry, _Extremes], ends: Array
    ) -> tuple[tuple[Carry, _Extremes], tuple[Array, ...]]:
        progress, extremes = carry
        zero = jnp.zeros((), logp.dtype)
        extremes = extremes._replace(gap=zero, distance=zero, lowest=zero)
        progress, extremes = jax.lax.fori_loop(ends[0], ends[1], step, (progress, extremes))
        return (progress, extremes), (extremes.gap, extremes.distance, extremes.lowest)

    progress, rows, spreads, paths = run.begin(logp, reference), [], [], []
    for edges in parts:
        policy, zero = jnp.exp(progress.state.logp), jnp.zeros((), logp.dtype)
        pairs = jnp.stack([edges[:-1], edges[1:]], axis=1)
        start = _Extremes(zero, zero, zero, policy, policy, zero)
        (progress, extremes), recorded = jax.lax.scan(block, (progress, start), pairs)
        rows.append(recorded)
        last = jnp.exp(progress.state.logp)
        spread = jnp.maximum(extremes.high, last) - jnp.minimum(extremes.low, last)
        spreads.append(jnp.sum(spread) / 2)
        paths.append(extremes.path)
    gap, distance, lowest = (jnp.concatenate(column) for column in zip(*rows, strict=True))
    return Watched(gap, distance, lowest, jnp.stack(spreads), jnp.stack(paths), progress.state.logp)


class _Extremes(NamedTuple):
    """Running extremes in the loop of `watch`: of the block, and of the part (`high`, `low`, `path`)."""

    gap: Array
    distance: Array
    lowest: Array
    high: Array
    low: Array
    path: Array


_watch = eqx.filter_jit(watch)


def evidence_of(
    watched: Watched, edges: tuple[np.ndarray, ...], aims_at_nash: Any, period: Any, rate: Any
) -> Evidence:
    """The evidence for the outcome of one or several runs, from records with blocks on the last axis.

    Args:
        watched: records of one run or of several.
        edges: block edges as returned by `blocks`.
        aims_at_nash: whether the distance is measured to Nash; a bool, or one for each run.
        period: number of steps per round, 1 if rounds have no fixed length; or one for each run.
        rate: predicted factor of the error per step, nan if unknown; or one for each run.
    """
    begin = np.cumsum([len(each) - 1 for each in edges])
    before, last = slice(begin[0], begin[1]), slice(begin[1], begin[2])
    gap = watched.gap[..., last].max(-1)
    return Evidence(
        gap=gap,
        gap_before=watched.gap[..., before].max(-1),
        spread=watched.spread[..., 2],
        spread_before=watched.spread[..., 1],
        lowest=np.where(np.isfinite(gap), watched.lowest[..., last].min(-1), watched.lowest.min(-1)),
        distance=np.where(aims_at_nash, np.nan, watched.distance[..., last].max(-1)),
        path=watched.path[..., 2],
        num_steps=int(edges[2][-1] - edges[2][0]),
        period=period,
        rate=rate,
    )


class Diagnosis(NamedTuple):
    """The result of `diagnose`; its `repr` is a summary of one page.

    Attributes:
        game: the game.
        rule: the rule.
        prediction: the predicted local behaviour, see `diagnostics.predict`.
        steps: the first step of each recorded block, `[blocks]`.
        gaps: the largest duality gap in each block.
        distances: the largest total variation distance to the fixed point in each block; nan without one.
        fit: the measured rate of `quantity`, see `diagnostics.fit_rate`.
        quantity: "duality gap" if the rule converges to Nash, else "total variation to the fixed point"; both
            are linear in the error.
        evidence: the numbers that decide on the outcome.
        outcome: "Nash", "other fixed point", "cycle", "boundary" or "undecided"; see
            `diagnostics.outcome_codes`.
        num_steps: number of steps of the run.
        policy: the last policy, probabilities `[n]`.
    """

    game: PreferenceGame
    rule: Any
    prediction: Prediction
    steps: np.ndarray
    gaps: np.ndarray
    distances: np.ndarray
    fit: RateFit
    quantity: str
    evidence: Evidence
    outcome: str
    num_steps: int
    policy: np.ndarray

    @property
    def verdict(self) -> str:
        """The predicted behaviour: "contracts", "rotates out", "depends", "neutral" or "unknown"."""
        return self.prediction.verdict

    @property
    def measured(self) -> np.ndarray:
        """The recorded values of `quantity`, `[blocks]`."""
        return self.gaps if self.quantity == "duality gap" else self.distances

    def __repr__(self) -> str:
        return as_text(self)


def diagnose(
    game: PreferenceGame,
    rule: AbstractUpdateRule[Any],
    *,
    init: Any = None,
    reference: Any = None,
    num_steps: int | None = None,
) -> Diagnosis:
    """Predict where `rule` converges on `game` and how fast, and compare with one run.

    The prediction covers the rule's fixed point, the eigenvalues of its linearized map there, the convergence
    rate and the mode that decides it, and the step sizes and periods for which the fixed point is attracting.
    The run uses exact feedback: its rate is fitted to the largest gap still to come, and its outcome is
    judged over the last quarter of its steps. Everything is computed in float64.

    Args:
        game: a preference game without prompts.
        rule: an update rule that draws no random numbers; not a `Parametric`.
        init: the first policy, positive probabilities `[n]`; uniform by default.
        reference: the first reference; `init` by default.
        num_steps: number of steps of the run; by default derived from the predicted rate, from 400 to
            100,000.

    Raises:
        ValueError: an argument is not as described.

    Example:
        >>> diagnosis = cg.diagnose(cg.games.comal_cycle(), cg.OptimisticMWU(1.0), init=[0.2, 0.5, 0.3])
        >>> diagnosis.verdict, diagnosis.outcome, round(diagnosis.prediction.rate_per_step, 4)
        ('contracts', 'Nash', 0.9769)

    Reference: Daskalakis and Panageas, "The Limit Points of (Optimistic) Gradient Descent in Min-Max
    Optimization", 2018, for reading local behaviour off the Jacobian.
    """
    check_arguments(game, rule)
    if num_steps is not None:
        num_steps = validation.count("num_steps", num_steps, minimum=4)
    with jax.enable_x64(True):
        game64 = with_dtype(game, jnp.float64)
        start = starting_policy("init", init, game64)
        anchor = start if reference is None else starting_policy("reference", reference, game64)
    for name, policy in (("init", start), ("reference", anchor)):
        if policy.ndim > 1:
            raise ValueError(f"`{name}` must be one policy `[{game.num_actions}]`, got shape {policy.shape}.")
    prediction = predict(game, rule, logp=start, reference=anchor)
    point = prediction.point
    num_steps = _enough_steps(prediction) if num_steps is None else num_steps
    edges = blocks(num_steps, MOST_BLOCKS)
    with jax.enable_x64(True):
        target = np.full(game.num_actions, np.nan) if point is None else point.policy
        watched = _watch(
            game64.without_names(), with_dtype(rule, jnp.float64), start, anchor, jnp.asarray(target),
            jnp.asarray(nash(game).support), *map(jnp.asarray, edges),
        )  # fmt: skip
        watched = jax.tree.map(np.asarray, watched)
    steps = np.concatenate([each[:-1] for each in edges])
    is_gap = point is None or point.kind == "nash"
    evidence = evidence_of(watched, edges, is_gap, prediction.round_steps or 1, prediction.rate_per_step)
    code = outcome_codes(evidence, largest_payoff(game))
    return Diagnosis(
        game=game,
        rule=rule,
        prediction=prediction,
        steps=steps,
        gaps=watched.gap,
        distances=watched.distance,
        fit=fit_rate(steps, watched.gap if is_gap else watched.distance),
        quantity="duality gap" if is_gap else "total variation to the fixed point",
        evidence=evidence,
        outcome=OUTCOMES[int(code)],
        num_steps=num_steps,
        policy=np.exp(watched.logp),
    )


def largest_payoff(game: PreferenceGame) -> float:
    """The largest payoff `max |P - 1/2|` of a game; 1 if all payoffs are 0."""
    return float(np.max(np.abs(np.asarray(game.skew)))) or 1.0


def _enough_steps(prediction: Prediction) -> int:
    rate, period = prediction.rate_per_step, prediction.round_steps or 1
    if not rate < 1:
        return max(UNDECIDED, 8 * period)
    wanted = SHRINKAGE / -math.log(max(rate, 1e-300))
    return max(period * math.ceil(min(max(wanted, SHORTEST), LONGEST) / period), 8 * period)
