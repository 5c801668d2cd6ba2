"""Prediction of a rule's local behaviour at its fixed point, without a run."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, with_dtype
from comalgames.algorithms.contract import traced_queries
from comalgames.algorithms.schedules import AbstractSchedule
from comalgames.diagnostics.fixed_points import FAINT, WORDS, FixedPoint, fixed_point
from comalgames.diagnostics.local import rotation_frequencies, tangent_basis
from comalgames.diagnostics.members import NUM_MEMBERS, nash_members
from comalgames.diagnostics.stability import (
    NEUTRAL,
    StablePeriods,
    StableSteps,
    has_inner_steps,
    maps,
    maps_of_many,
    multipliers,
    radii,
    round_maps,
    stable_periods,
    stable_steps,
)
from comalgames.feedback import asked
from comalgames.games.preference import PreferenceGame

# Relative error up to which an eigenvector of the round counts as an eigenvector of the game's rotation.
SAME_MODE = 1e-6

# Frequencies and multipliers below these are rounding errors.
NO_TURN, FORGOTTEN = 1e-13, 1e-12

# A multiplier whose angle is this close to 0 or to pi counts as real.
STRAIGHT = 1e-9


class Prediction(NamedTuple):
    """The result of `predict`: the fixed point of a rule and the rule's behaviour near it.

    A round is one step, or the steps of `COMAL` between two moves of its reference.

    Attributes:
        point: the fixed point; None if none was found, in which case nothing is predicted.
        frequencies: rotation frequencies of the game there, radians per unit of step size, largest first.
        multipliers: eigenvalues of one round, linearized on the support; complex, largest modulus first.
            Directions inside the set of Nash policies, whose multiplier is 1, are left out.
        decay: factor per round of the mass of each action off the support.
        round_steps: number of steps per round; None for a self-tuning `COMAL`, whose rounds have no fixed
            length.
        queries: number of queries per step.
        radius: spectral radius of one round: the largest of the moduli and decays.
        members: the smallest and the largest radius found at members of a set of Nash policies, see
            `nash_members`; both are `radius` if the fixed point is isolated.
        decided_by: the mode that attains the radius, in words.
        steps: the range of step sizes for which the fixed point is attracting.
        periods: the spectral radius for each period of `COMAL`.
        notes: limitations of the prediction.
    """

    point: FixedPoint | None
    frequencies: np.ndarray
    multipliers: np.ndarray
    decay: np.ndarray
    round_steps: int | None
    queries: int
    radius: float
    members: tuple[float, float]
    decided_by: str
    steps: StableSteps
    periods: StablePeriods
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The verdict: "contracts", "rotates out", "neutral" (radius 1 to 11 digits) or "unknown".

        "depends" if a set of Nash policies has members where the rule contracts and others where it does not.
        """
        if math.isnan(self.radius):
            return "unknown"
        if self.members[0] < 1 - NEUTRAL and self.members[1] > 1 + NEUTRAL:
            return "depends"
        if abs(self.radius - 1) <= NEUTRAL:
            return "neutral"
        return "contracts" if self.radius < 1 else "rotates out"

    @property
    def rate_per_step(self) -> float:
        """Asymptotic factor of the error per step; nan if rounds have no fixed length."""
        return math.nan if self.round_steps is None else float(self.radius ** (1 / self.round_steps))

    @property
    def rate_per_query(self) -> float:
        """Asymptotic factor of the error per query; nan for a rule that makes no queries."""
        return math.nan if self.queries == 0 else float(self.rate_per_step ** (1 / self.queries))


def predict(
    game: PreferenceGame, rule: AbstractUpdateRule[Any], *, logp: Any = None, reference: Any = None
) -> Prediction:
    """Compute a rule's fixed point, its convergence rate there, and the stable step sizes and periods.

    The prediction uses the rule's own code: the Jacobian of its whole state, memory and reference included,
    and its own steps for the mass of actions outside the support of the fixed point.

    Args:
        game: a preference game without prompts.
        rule: an update rule that draws no random numbers; not a `Parametric`.
        logp: the first policy, log-probabilities `[n]`; uniform by default. It matters only as the default
            reference, and as the starting point of the search if the fixed point is not known from theory.
        reference: the first reference, log-probabilities `[n]`; `logp` by default.

    Raises:
        ValueError: an argument is not as described.

    Example:
        >>> prediction = cg.diagnostics.predict(cg.games.comal_cycle(), cg.OptimisticMWU(1.0))
        >>> prediction.verdict, round(prediction.rate_per_step, 4), round(prediction.steps.high, 4)
        ('contracts', 0.9769, 2.7639)

    Reference: Daskalakis and Panageas, "The Limit Points of (Optimistic) Gradient Descent in Min-Max
    Optimization", 2018, for reading local behaviour off the Jacobian.
    """
    check_arguments(game, rule)
    start = np.asarray(game.uniform() if logp is None else logp, np.float64)
    anchor = start if reference is None else np.asarray(reference, np.float64)
    for name, policy in (("logp", start), ("reference", anchor)):
        validation.log_policy(name, policy)
        if policy.shape != (game.num_actions,):
            raise ValueError(
                f"`{name}` must be one policy over {game.num_actions} actions, got {policy.shape}."
            )
    return _of_point(game, rule, fixed_point(game, rule, start, anchor))


def check_arguments(game: Any, rule: Any) -> None:
    """Raise a ValueError unless the game is one preference game and the rule is deterministic."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}. Convert a matrix of win rates with "
            f"cg.PreferenceGame(matrix)."
        )
    if game.policy_shape[:-1]:
        raise ValueError(
            f"`game` must have no prompts, got leading axes {game.policy_shape[:-1]}: each prompt has its "
            f"own fixed points. Select one prompt, as in cg.PreferenceGame.from_skew(game.skew[0])."
        )
    if not isinstance(rule, AbstractUpdateRule):
        inside = "; diagnose the rule inside it" if isinstance(rule, AbstractAlgorithm) else ""
        raise ValueError(
            f"`rule` must be an update rule such as MWU(0.1) or COMAL(MirrorDescent(1.0, 0.1), 20), whose "
            f"state consists of policies and numbers, got {_described(rule)}{inside}."
        )
    traced_queries(rule, game.policy_shape)
    if rule.form(0).is_random:
        raise ValueError(
            f"`rule` must not draw random numbers, got {_described(rule)}: its step must be a deterministic "
            f"map of the state. For the effect of sampling noise use `diagnostics.noise_floor`."
        )


def _described(rule: Any) -> str:
    return f"a {type(rule).__name__}" if isinstance(rule, AbstractAlgorithm) else repr(rule)


def _of_point(game: PreferenceGame, rule: Any, point: FixedPoint | None) -> Prediction:
    period, queries = rule.form(0).period, asked(rule, game.num_actions).cost
    if point is None:
        nothing = np.zeros(0)
        why = "no fixed point was found"
        return Prediction(
            None, nothing, nothing.astype(complex), nothing, period, queries, math.nan, (math.nan, math.nan),
            why, StableSteps("", math.nan, math.nan, why), StablePeriods(nothing, why), _notes(rule, point),
        )  # fmt: skip
    with np.errstate(divide="ignore"):
        frequencies = rotation_frequencies(game, np.log(point.policy))
    if period is None:
        factors, decay, basis = *_self_tuned(game, rule, point, frequencies), None
    else:
        factors, decay, basis = _linear(game, rule, point, period)
    on, off = float(np.abs(factors).max(initial=0.0)), float(decay.max(initial=0.0))
    unit = "step" if period == 1 else "round"
    # If all policies nearby are fixed points, the multipliers of the rule's memory are irrelevant.
    moves = game.num_actions - 1 - point.dimension > 0
    radius = max(on, off) if moves else 1.0
    if moves and not (math.isfinite(on) and math.isfinite(off)):
        radius, decided = math.nan, f"none: the linearized map of a {unit} is not finite"
    elif not moves:
        decided = "none: every policy nearby is a fixed point"
    elif radius < FORGOTTEN:
        decided = f"none: one {unit} reaches the fixed point from any policy nearby"
    elif off >= on:
        decided = _slack_in_words(game, point, decay, unit)
    else:
        decided = _mode_in_words(game, point, factors[0], basis, unit)
    others = _radii_of_members(game, rule, point) if point.dimension and moves else np.zeros(0)
    members = float(np.min(others, initial=radius)), float(np.max(others, initial=radius))
    return Prediction(
        point, frequencies, factors, decay, period, queries, radius, members, decided,
        stable_steps(game, rule, point), stable_periods(game, rule, point), _notes(rule, point, members),
    )  # fmt: skip


def _radii_of_members(game: PreferenceGame, rule: Any, point: FixedPoint) -> np.ndarray:
    """Spectral radius of one round at members of the set of Nash policies around a fixed point."""
    policies = nash_members(game, point.policy, point.support)
    logps = np.where(point.support, np.log(np.where(point.support, policies, 1.0)), FAINT)
    period = rule.form(0).period
    if period is None:
        largest = []
        for logp, policy in zip(logps, policies, strict=True):
            with np.errstate(divide="ignore"):
                frequencies = rotation_frequencies(game, np.log(policy))
            factors, decay = _self_tuned(game, rule, point._replace(logp=logp), frequencies)
            largest.append(max(np.abs(factors).max(initial=0.0), decay.max(initial=0.0)))
        return np.asarray(largest)
    with jax.enable_x64(True):
        game64, rule64 = with_dtype((game.without_names(), rule), jnp.float64)
        rules = jax.tree.map(
            lambda leaf: (
                jnp.broadcast_to(leaf, (len(logps), *jnp.shape(leaf))) if eqx.is_array(leaf) else leaf
            ),
            rule64,
        )
        held = logps if rule.form(0).moves_reference else np.broadcast_to(point.reference, logps.shape)
        periods = jnp.full(len(logps), period)
        parts = jax.tree.map(
            np.asarray, maps_of_many(game64, rules, jnp.asarray(logps), jnp.asarray(held), periods)
        )
    counts = np.full(len(logps), period) if has_inner_steps(rule) else None
    return radii(parts, point.support, point.dimension, counts)


def _linear(
    game: PreferenceGame, rule: Any, point: FixedPoint, period: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers and decays of one round, and its linearized map."""
    with jax.enable_x64(True):
        game64, rule64 = with_dtype((game.without_names(), rule), jnp.float64)
        logps = jnp.asarray(point.logp), jnp.asarray(point.reference)
        parts = jax.tree.map(
            lambda leaf: np.asarray(leaf)[None],
            eqx.filter_jit(maps)(game64, rule64, *logps, jnp.asarray(period)),
        )
    whole = round_maps(parts, point.support, np.asarray([period]) if has_inner_steps(rule) else None)
    factors = multipliers(whole, point.dimension)[0]
    return factors, np.exp(parts.drift[0][~point.support]), whole[0]


def _self_tuned(
    game: PreferenceGame, rule: Any, point: FixedPoint, frequencies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers `1 / (1 -+ i w / temperature)` and decays of a round that solves its inner problem exactly.

    A self-tuning round approximates such a round.
    """
    tau = float(rule.form(0).kl_temperature)
    turning = frequencies[: len(frequencies) - point.dimension // 2]
    both = np.concatenate([1 / (1 - 1j * turning / tau), 1 / (1 + 1j * turning / tau)])
    slack = -(np.asarray(game.skew, np.float64) @ point.policy)[~point.support]
    return both[np.argsort(-np.abs(both))], np.exp(-slack / tau)


def _mode_in_words(
    game: PreferenceGame, point: FixedPoint, multiplier: complex, whole: Any, unit: str
) -> str:
    """A description of the mode of a multiplier."""
    size, angle = abs(multiplier), abs(np.angle(multiplier))
    effect = f"each {unit} multiplies it by {size:.6g}"
    if STRAIGHT < angle < np.pi - STRAIGHT:
        effect += f" and rotates it by {angle:.4g} rad, one turn in {2 * np.pi / angle:.3g} {unit}s"
    elif angle >= np.pi - STRAIGHT:
        effect += " and reverses its sign"
    if whole is None:
        return f"the slowest rotation: {effect}"
    frequency = _frequency_of(game, point, multiplier, whole)
    if frequency is None:
        return f"a mode that mixes several rotations of the game: {effect}"
    if frequency < NO_TURN:
        return f"a mode without rotation: {effect}"
    return f"the rotation of frequency {frequency:.6g} rad per unit of step size: {effect}"


def _frequency_of(
    game: PreferenceGame, point: FixedPoint, multiplier: complex, whole: np.ndarray
) -> float | None:
    """The game's rotation frequency along a multiplier's eigenvector; None if it mixes several rotations."""
    values, vectors = np.linalg.eig(whole)
    used = point.support
    p = point.policy[used]
    metric = np.diag(p) - np.outer(p, p)
    turn = np.asarray(game.skew, np.float64)[np.ix_(used, used)] @ metric
    basis = tangent_basis(np.ones(len(p), bool))
    vector = basis @ vectors[: basis.shape[1], int(np.argmin(np.abs(values - multiplier)))]
    turned = basis @ (basis.T @ (turn @ vector))
    norm, length = np.linalg.norm(vector), vector.conj() @ metric @ vector
    if norm == 0 or length == 0:  # near a vertex the variance underflows
        return None
    weight = (vector.conj() @ metric @ turned) / length
    same = np.linalg.norm(turned - weight * vector) <= SAME_MODE * norm
    return float(abs(weight)) if same else None


def _slack_in_words(game: PreferenceGame, point: FixedPoint, decay: np.ndarray, unit: str) -> str:
    slack = -(np.asarray(game.skew, np.float64) @ point.policy)
    off = np.flatnonzero(~point.support)
    worst = off[int(np.argmax(decay))]
    return (
        f"the mass of action {game.names[worst]!r}, whose win rate against the fixed point is "
        f"{slack[worst]:.4g} below 1/2 (its slack): each {unit} multiplies it by {decay.max():.6g}"
    )


def _notes(
    rule: Any, point: FixedPoint | None, members: tuple[float, float] = (math.nan, math.nan)
) -> tuple[str, ...]:
    notes = []
    if point is not None and point.dimension:
        notes.append(
            f"The Nash policy is not unique: the Nash set has dimension {point.dimension}, and along it the "
            f"multiplier is 1, so that rates are those of the distance to the set. The prediction above is "
            f"that of the policy shown; here and at {NUM_MEMBERS} other members of the set the error is "
            f"multiplied by {members[0]:.4g} to {members[1]:.4g} per round, no bound over all members."
        )
    leaves = jax.tree.leaves(rule, is_leaf=lambda leaf: isinstance(leaf, AbstractSchedule))
    if any(isinstance(leaf, AbstractSchedule) for leaf in leaves):
        notes.append("The rule's parameters change over time; the prediction uses their values at step 0.")
    if rule.form(0).period is None:
        notes.append(
            "The prediction is per round and assumes that rounds solve their inner problem exactly; the rule "
            "chooses their length."
        )
    if point is not None and point.kind == "own":
        notes.append(
            f"The rule converges to {WORDS['own']}, which is neither a Nash policy nor a regularized "
            f"equilibrium."
        )
    return tuple(notes)
