"""Where a rule goes on a game and how fast: predicted at its fixed point, then measured by one run."""

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
from comalgames.diagnostics.page import page
from comalgames.diagnostics.prediction import Prediction, check_arguments, predict
from comalgames.diagnostics.rates import RateFit, fit_rate
from comalgames.drivers.arguments import starting_policy
from comalgames.drivers.trajectory import Carry, Run
from comalgames.equilibria import nash
from comalgames.games.preference import PreferenceGame

# A run is recorded by so many equal blocks of steps, each by its largest values.
MOST_BLOCKS = 4000

# If nobody says how long to run: until what is off should have shrunk by e^-45, below rounding, if the
# prediction is right, within these bounds; and this long if it predicts no convergence.
SHRINKAGE, SHORTEST, LONGEST, UNDECIDED = 45.0, 400, 100_000, 10_000


class Watched(NamedTuple):
    """What `watch` returns: of each block of steps its extremes, `[blocks]`; and the last policy.

    Attributes:
        gap: largest duality gap; infinite where a policy was not finite.
        distance: largest total variation to the target.
        lowest: smallest log-probability of an action of the support.
        spread: by how much the probabilities vary within each part of the run, `[parts]`: half the sum over
            the actions of largest minus smallest.
        logp: the last policy, `[n]`.
    """

    gap: Any
    distance: Any
    lowest: Any
    spread: Any
    logp: Any


def blocks(num_steps: int, most: int) -> tuple[np.ndarray, ...]:
    """Edges of about `most` equal blocks, of the steps before the last two quarters and of each of those."""
    size = max(1, -(-num_steps // most))
    parts = itertools.pairwise((0, *last_quarters(num_steps), num_steps))
    return tuple(_edges(np.arange(start, end, size), end) for start, end in parts)


def last_quarters(num_steps: int) -> tuple[int, int]:
    """The steps with which the last two quarters of a run begin."""
    quarter = max(1, round(LAST_PART * num_steps))
    return num_steps - 2 * quarter, num_steps - quarter


def _edges(starts: np.ndarray, end: int) -> np.ndarray:
    return np.append(starts, end).astype(np.int32)


def watch(
    game: Any, rule: Any, logp: Array, reference: Array, target: Array, support: Array, *parts: Array
) -> Watched:
    """Run a rule and keep the extremes of each block of steps; for use under `vmap`.

    Args:
        game: a preference game without prompts.
        rule: an algorithm that draws nothing.
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
        )

    def step(index: Any, carry: tuple[Carry, _Extremes]) -> tuple[Carry, _Extremes]:
        progress, extremes = carry
        return run.step(progress, index), observe(progress, extremes)

    def block(
        carry: tuple[Carry, _Extremes], ends: Array
    ) -> tuple[tuple[Carry, _Extremes], tuple[Array, ...]]:
        progress, extremes = carry
        zero = jnp.zeros((), logp.dtype)
        extremes = extremes._replace(gap=zero, distance=zero, lowest=zero)
        progress, extremes = jax.lax.fori_loop(ends[0], ends[1], step, (progress, extremes))
        return (progress, extremes), (extremes.gap, extremes.distance, extremes.lowest)

    progress, rows, spreads = run.begin(logp, reference), [], []
    for edges in parts:
        policy, zero = jnp.exp(progress.state.logp), jnp.zeros((), logp.dtype)
        pairs = jnp.stack([edges[:-1], edges[1:]], axis=1)
        start = _Extremes(zero, zero, zero, policy, policy)
        (progress, extremes), found = jax.lax.scan(block, (progress, start), pairs)
        rows.append(found)
        spreads.append(jnp.sum(extremes.high - extremes.low) / 2)
    gap, distance, lowest = (jnp.concatenate(column) for column in zip(*rows, strict=True))
    return Watched(gap, distance, lowest, jnp.stack(spreads), progress.state.logp)


class _Extremes(NamedTuple):
    """What the loop of `watch` carries: of the block so far, and of the part so far (the last two)."""

    gap: Array
    distance: Array
    lowest: Array
    high: Array
    low: Array


_watch = eqx.filter_jit(watch)


def evidence_of(watched: Watched, edges: tuple[np.ndarray, ...], aims_at_nash: Any) -> Evidence:
    """What decides on the outcome, from blocks on the last axis.

    Args:
        watched: of one run or of several.
        edges: what `blocks` returns.
        aims_at_nash: whether the distance is to Nash, bool or one for each run.
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
    )


class Diagnosis(NamedTuple):
    """What `diagnose` returns; its `repr` is a page to read.

    Attributes:
        game: what was played.
        rule: the rule.
        prediction: of its local behaviour, see `diagnostics.predict`.
        steps: the first step of each recorded block, `[blocks]`.
        gaps: the largest duality gap in each block.
        distances: the largest total variation to the fixed point in each block; nan where none was found.
        fit: the measured rate, of `quantity`; its envelope is the largest value from there on.
        quantity: "duality gap" where the rule aims at Nash, else "total variation to the fixed point": both
            are linear in what is off.
        evidence: what decides on the outcome.
        outcome: "Nash", "other fixed point", "cycle", "boundary" or "undecided"; see
            `diagnostics.outcome_codes`.
        num_steps: how many steps the run took.
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
        """The prediction's: "contracts", "rotates out", "neutral" or "unknown"."""
        return self.prediction.verdict

    @property
    def measured(self) -> np.ndarray:
        """The values of `quantity`, `[blocks]`."""
        return self.gaps if self.quantity == "duality gap" else self.distances

    def __repr__(self) -> str:
        return page(self)


def diagnose(
    game: PreferenceGame,
    rule: AbstractUpdateRule[Any],
    *,
    init: Any = None,
    reference: Any = None,
    num_steps: int | None = None,
) -> Diagnosis:
    """Where `rule` goes on `game`, and how fast: what theory says before a run, and what one run shows.

    First the fixed point that the rule aims at, the multipliers of its linearized map there, whether it
    attracts, at what rate, because of which mode, and which step sizes and periods would. Then a run with
    exact feedback: its rate, fitted to the largest gap from each step on, and where it ended, judged over the
    whole last quarter of its steps. Everything is computed in float64.

    Args:
        game: a preference game without prompts.
        rule: an update rule that draws no random numbers; not a `Parametric`.
        init: the first policy, positive probabilities `[n]`; uniform by default.
        reference: the first reference; `init` by default.
        num_steps: how many steps to run; by default as many as the prediction says are needed, from 400
            to 100,000.

    Raises:
        ValueError: an argument is none of the above.

    Example:
        >>> found = cg.diagnose(cg.games.comal_cycle(), cg.OptimisticMWU(1.0), init=[0.2, 0.5, 0.3])
        >>> found.verdict, found.outcome, round(found.prediction.rate_per_step, 4)
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
    evidence = evidence_of(watched, edges, is_gap)
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
    """The largest advantage that one action can have over another, 1 in a game where there is none."""
    return float(np.max(np.abs(np.asarray(game.skew)))) or 1.0


def _enough_steps(prediction: Prediction) -> int:
    rate, period = prediction.rate_per_step, prediction.round_steps or 1
    if not rate < 1:
        return max(UNDECIDED, 8 * period)
    wanted = SHRINKAGE / -math.log(max(rate, 1e-300))
    return max(period * math.ceil(min(max(wanted, SHORTEST), LONGEST) / period), 8 * period)
