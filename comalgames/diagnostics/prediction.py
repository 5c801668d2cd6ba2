"""What a rule will do near the fixed point it aims at, told before any run."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, AbstractUpdateRule, with_dtype
from comalgames.algorithms.contract import questions_of
from comalgames.algorithms.schedules import AbstractSchedule
from comalgames.diagnostics.fixed_points import WORDS, FixedPoint, fixed_point
from comalgames.diagnostics.local import rotation_frequencies, tangent_basis
from comalgames.diagnostics.stability import (
    NEUTRAL,
    StablePeriods,
    StableSteps,
    has_inner_steps,
    maps,
    multipliers,
    round_maps,
    stable_periods,
    stable_steps,
)
from comalgames.feedback import asked
from comalgames.games.preference import PreferenceGame

# An eigenvector is a rotation of the game if the game turns it into itself up to this share.
SAME_MODE = 1e-6

# A frequency below this is rounding, and so is a multiplier below that.
NO_TURN, FORGOTTEN = 1e-13, 1e-12

# A multiplier whose angle is this close to 0 or to half a circle is real.
STRAIGHT = 1e-9


class Prediction(NamedTuple):
    """What `predict` returns: a rule at the fixed point it aims at.

    A round is one step, or what `COMAL` does between two moves of its reference.

    Attributes:
        point: the fixed point, with its gap; None where none was found, and then there is no prediction.
        frequencies: at which the game turns policies there, radians per unit of step size, largest first.
        multipliers: by what a round multiplies what is off on the support, complex, largest modulus first;
            directions inside the set of Nash policies, whose multiplier is 1, are left out.
        decay: by what a round multiplies the mass of each action off the support.
        round_steps: steps of a round; None for a self-tuning `COMAL`, whose rounds end when it likes.
        queries: of one step.
        radius: the largest of the moduli and decays: the factor of a round in the long run.
        decided_by: which mode that is, in words.
        steps: for which step sizes the fixed point attracts.
        periods: with which periods it does, for `COMAL`.
        notes: what limits the prediction.
    """

    point: FixedPoint | None
    frequencies: np.ndarray
    multipliers: np.ndarray
    decay: np.ndarray
    round_steps: int | None
    queries: int
    radius: float
    decided_by: str
    steps: StableSteps
    periods: StablePeriods
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """ "contracts", "rotates out", "neutral" (neither, to 11 digits), or "unknown"."""
        if math.isnan(self.radius):
            return "unknown"
        if abs(self.radius - 1) <= NEUTRAL:
            return "neutral"
        return "contracts" if self.radius < 1 else "rotates out"

    @property
    def rate_per_step(self) -> float:
        """The factor of a step in the long run; nan if rounds have no fixed length."""
        return math.nan if self.round_steps is None else float(self.radius ** (1 / self.round_steps))

    @property
    def rate_per_query(self) -> float:
        """The factor of a query in the long run; nan for a rule that asks nothing."""
        return math.nan if self.queries == 0 else float(self.rate_per_step ** (1 / self.queries))


def predict(
    game: PreferenceGame, rule: AbstractUpdateRule[Any], *, logp: Any = None, reference: Any = None
) -> Prediction:
    """The fixed point that a rule aims at, how it moves near it, and which of its settings attract.

    Everything is read off the rule itself: the linearized map of its whole state, memory and reference
    included, and its own steps for the mass of actions that the fixed point does not use.

    Args:
        game: a preference game without prompts.
        rule: an update rule that draws no random numbers; not a `Parametric`.
        logp: the first policy, log-probabilities `[n]`; uniform by default. It decides little: where the
            reference is, if that is not given, and where the search starts for a rule that no theory knows.
        reference: the first reference, log-probabilities `[n]`; `logp` by default.

    Raises:
        ValueError: an argument is none of the above.

    Example:
        >>> found = cg.diagnostics.predict(cg.games.comal_cycle(), cg.OptimisticMWU(1.0))
        >>> found.verdict, round(found.rate_per_step, 4), round(found.steps.high, 4)
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
    """Refuse what cannot be linearized at one policy: other games, prompts, rules that are none or draw."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got {type(game).__name__}. A matrix of win rates "
            f"becomes one by cg.PreferenceGame(matrix)."
        )
    if game.policy_shape[:-1]:
        raise ValueError(
            f"`game` must have no prompts, got leading axes {game.policy_shape[:-1]}: each prompt has fixed "
            f"points of its own. Take one, such as cg.PreferenceGame.from_skew(game.skew[0])."
        )
    if not isinstance(rule, AbstractUpdateRule):
        inside = "; diagnose the rule inside it" if isinstance(rule, AbstractAlgorithm) else ""
        raise ValueError(
            f"`rule` must be an update rule such as MWU(0.1) or COMAL(MirrorDescent(1.0, 0.1), 20), whose "
            f"state is policies and numbers, got {_named(rule)}{inside}."
        )
    questions_of(rule, game.policy_shape)
    if rule.form(0).is_random:
        raise ValueError(
            f"`rule` must not draw random numbers, got {_named(rule)}: a step has to be one map of the "
            f"state. `diagnostics.noise_floor` says what noise does near a fixed point."
        )


def _named(rule: Any) -> str:
    return f"a {type(rule).__name__}" if isinstance(rule, AbstractAlgorithm) else repr(rule)


def _of_point(game: PreferenceGame, rule: Any, point: FixedPoint | None) -> Prediction:
    period, queries = rule.form(0).period, asked(rule, game.num_actions).cost
    if point is None:
        nothing = np.zeros(0)
        why = "no fixed point was found"
        return Prediction(
            None, nothing, nothing.astype(complex), nothing, period, queries, math.nan, why,
            StableSteps("", math.nan, math.nan, why), StablePeriods(nothing, why), _notes(rule, point),
        )  # fmt: skip
    with np.errstate(divide="ignore"):
        frequencies = rotation_frequencies(game, np.log(point.policy))
    if period is None:
        found, decay, basis = *_self_tuned(game, rule, point, frequencies), None
    else:
        found, decay, basis = _linear(game, rule, point, period)
    on, off = float(np.abs(found).max(initial=0.0)), float(decay.max(initial=0.0))
    # What a rule remembers has multipliers too, but without a policy that could be off it decides nothing.
    unit = "step" if period == 1 else "round"
    moves = game.num_actions - 1 - point.dimension > 0
    radius = max(on, off) if moves else 1.0
    if not moves:
        decided = "nothing: every policy nearby is a fixed point"
    elif radius < FORGOTTEN:
        decided = f"nothing: one {unit} lands on it from anywhere nearby"
    elif off >= on:
        decided = _slack_in_words(game, point, decay, unit)
    else:
        decided = _mode_in_words(game, point, found[0], basis, unit)
    return Prediction(
        point, frequencies, found, decay, period, queries, radius, decided,
        stable_steps(game, rule, point), stable_periods(game, rule, point), _notes(rule, point),
    )  # fmt: skip


def _linear(
    game: PreferenceGame, rule: Any, point: FixedPoint, period: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers and decays of a round, and the round's map."""
    with jax.enable_x64(True):
        game64, rule64 = with_dtype((game.without_names(), rule), jnp.float64)
        logps = jnp.asarray(point.logp), jnp.asarray(point.reference)
        parts = jax.tree.map(
            lambda leaf: np.asarray(leaf)[None],
            eqx.filter_jit(maps)(game64, rule64, *logps, jnp.asarray(period)),
        )
    whole = round_maps(parts, point.support, np.asarray([period]) if has_inner_steps(rule) else None)
    found = multipliers(whole, point.dimension)[0]
    return found, np.exp(parts.drift[0][~point.support]), whole[0]


def _self_tuned(
    game: PreferenceGame, rule: Any, point: FixedPoint, frequencies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of a round that solves exactly, which a self-tuning round comes near: 1 / (1 -+ i w / temperature)."""
    tau = float(rule.form(0).kl_temperature)
    turning = frequencies[: len(frequencies) - point.dimension // 2]
    both = np.concatenate([1 / (1 - 1j * turning / tau), 1 / (1 + 1j * turning / tau)])
    slack = -(np.asarray(game.skew, np.float64) @ point.policy)[~point.support]
    return both[np.argsort(-np.abs(both))], np.exp(-slack / tau)


def _mode_in_words(
    game: PreferenceGame, point: FixedPoint, multiplier: complex, whole: Any, unit: str
) -> str:
    """Which deviation a multiplier belongs to."""
    size, angle = abs(multiplier), abs(np.angle(multiplier))
    does = f"a {unit} multiplies it by {size:.6g}"
    if STRAIGHT < angle < np.pi - STRAIGHT:
        does += f" and turns it by {angle:.4g} rad, full circle in {2 * np.pi / angle:.3g} {unit}s"
    elif angle >= np.pi - STRAIGHT:
        does += " and throws it to the other side"
    if whole is None:
        return f"the slowest rotation: {does}"
    frequency = _frequency_of(game, point, multiplier, whole)
    if frequency is None:
        return f"one mode of several that the rule mixes: {does}"
    if frequency < NO_TURN:
        return f"a straight pull: {does}"
    return f"the rotation of frequency {frequency:.6g} rad per unit of step size: {does}"


def _frequency_of(
    game: PreferenceGame, point: FixedPoint, multiplier: complex, whole: np.ndarray
) -> float | None:
    """The game's frequency in the eigenvector's directions, if it is one rotation."""
    values, vectors = np.linalg.eig(whole)
    used = point.support
    p = point.policy[used]
    metric = np.diag(p) - np.outer(p, p)
    turn = np.asarray(game.skew, np.float64)[np.ix_(used, used)] @ metric
    basis = tangent_basis(np.ones(len(p), bool))
    vector = basis @ vectors[: basis.shape[1], int(np.argmin(np.abs(values - multiplier)))]
    turned = basis @ (basis.T @ (turn @ vector))
    norm = np.linalg.norm(vector)
    if norm == 0:
        return None
    weight = (vector.conj() @ metric @ turned) / (vector.conj() @ metric @ vector)
    same = np.linalg.norm(turned - weight * vector) <= SAME_MODE * norm
    return float(abs(weight)) if same else None


def _slack_in_words(game: PreferenceGame, point: FixedPoint, decay: np.ndarray, unit: str) -> str:
    slack = -(np.asarray(game.skew, np.float64) @ point.policy)
    off = np.flatnonzero(~point.support)
    worst = off[int(np.argmax(decay))]
    return (
        f"the mass of action {game.names[worst]!r}, which loses {slack[worst]:.4g} against the fixed point "
        f"(its slack): a {unit} multiplies it by {decay.max():.6g}"
    )


def _notes(rule: Any, point: FixedPoint | None) -> tuple[str, ...]:
    notes = []
    if point is not None and point.dimension:
        notes.append(
            f"Nash is not unique: the set of Nash policies has {point.dimension} dimension"
            f"{'s' if point.dimension > 1 else ''}, and nothing pulls along it (multiplier 1, that often). "
            f"The verdict is about the distance to the set."
        )
    leaves = jax.tree.leaves(rule, is_leaf=lambda leaf: isinstance(leaf, AbstractSchedule))
    if any(isinstance(leaf, AbstractSchedule) for leaf in leaves):
        notes.append("Its numbers change from step to step; what is predicted is for those of the first.")
    if rule.form(0).period is None:
        notes.append(
            "Predicted for rounds that solve exactly, per round; how long a round takes, it chooses."
        )
    if point is not None and point.kind == "own":
        notes.append(f"Its fixed point is {WORDS['own']}: neither Nash nor an equilibrium that theory names.")
    return tuple(notes)
