"""What a recorded path of policies did: how much it would regret, how far it went, how fast it turned."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from comalgames import validation
from comalgames.games.base import AbstractGame

# A deviation from the centre below this many roundings of the policies has no direction.
ROUNDINGS = 16


def external_regret(game: AbstractGame, logps: Any) -> np.ndarray:
    """How much more the best single action would have earned than the policies of a path did, so far.

        regret_t = max_i sum_{s <= t} advantage_s,i - sum_{s <= t} <policy_s, advantage_s>

    A policy's advantage is against itself: this is the regret of a rule in self-play. The duality gap of the
    average of the first t policies is `2 regret_t / t` in a preference game, and the sum of both players'
    regrets over t in a zero-sum game.

    Args:
        game: what is played.
        logps: the policies in order, one a step, as normalized log-probabilities `[records, ..., n]`
            (`[records, ..., 2, n]` in a two-player game).

    Returns:
        The running regret, in units of payoff, `[records, ...]`: one per player in a two-player game.

    Raises:
        ValueError: `game` is no game, or `logps` is not a path of its normalized policies.

    Example:
        >>> path = cg.solve(game, cg.MWU(0.1), 1_000, metrics=["logp"]).history["logp"]
        >>> regret = cg.paths.external_regret(game, path)
        >>> bool(regret[-1] < np.log(3) / 0.1 + 0.1 * len(path) / 8)  # Hedge's bound; payoffs range over 1
        True

    Reference: Freund and Schapire, "Adaptive Game Playing Using Multiplicative Weights", 1999.
    """
    if not isinstance(game, AbstractGame):
        raise ValueError(
            f"`game` must be a PreferenceGame or a ZeroSumGame, got a {type(game).__name__}; pass "
            f"cg.PreferenceGame(...) of it."
        )
    path = _path("logps", logps)
    shape = game.policy_shape
    if path.ndim != len(shape) + 1 or path.shape[1:] != shape:
        raise ValueError(
            f"`logps` must have the shape [records, {', '.join(map(str, shape))}] of this game's policies, "
            f'got {path.shape}; record them by `cg.solve(..., metrics=["logp"]).history["logp"]`.'
        )
    advantage = np.asarray(game.advantage(jnp.asarray(path, game.dtype)), np.float64)
    earned = np.sum(np.exp(path) * advantage, axis=-1)
    best = np.cumsum(advantage, axis=0).max(-1)
    return np.asarray(best - np.cumsum(earned, axis=0))


def path_length(logps: Any) -> np.ndarray:
    """How far a path of policies has gone: the sum so far of `|policy_{t+1} - policy_t|_1`, 0 at first.

    It stays bounded if the policies converge linearly; of policies that cycle it grows in proportion to t.

    Args:
        logps: the policies in order as normalized log-probabilities `[records, ..., n]`.

    Returns:
        `[records, ...]`, with one number per prompt and player.

    Raises:
        ValueError: `logps` is not a path of normalized policies.

    Example:
        >>> history = cg.solve(game, cg.Extragradient(1.0), 2_000, metrics=["logp"]).history
        >>> length = cg.paths.path_length(history["logp"])
        >>> bool(length[-1] - length[1_000] < 1e-6)  # it has arrived
        True
    """
    path = np.exp(_path("logps", logps))
    moved = np.abs(np.diff(path, axis=0)).sum(-1)
    return np.concatenate([np.zeros_like(path[:1, ..., 0]), np.cumsum(moved, axis=0)])


class Rotation(NamedTuple):
    """What `rotation` returns.

    Attributes:
        angle: by which the path turns from one record to the next, in radians, >= 0; its mean over the path.
        period: records that a full turn takes, `2 pi / angle`; inf if it does not turn.
        plane_share: how much of the path's squared distance from the centre lies in the plane in which the
            turning is measured, in [0, 1]. Well below 1, the path turns in several planes at once.
    """

    angle: float
    period: float
    plane_share: float


def rotation(logps: Any, center_logp: Any) -> Rotation:
    """How fast a path of policies turns around a centre, such as a Nash policy.

    Deviations are measured as `(p - center) / sqrt(center)` on the centre's support, in which a game's
    rotation near Nash is one of circles. The plane is that of the two directions with most of the path in
    them, and the angle is followed record by record, so it must stay below pi from one record to the next:
    record densely. Near an interior Nash policy, with w its one rotation frequency, multiplicative weights
    turn by `arctan(step_size w)` a step, and a rule in general by the argument of the eigenvalue that
    `diagnostics.spectrum` lists first.

    Where the path shrinks, its early records decide on the plane, and all count alike for the angle. Those
    that have come within rounding of the centre, and all after the first of them, are left out.

    Args:
        logps: the policies in order as normalized log-probabilities `[records, n]`; of one player, without
            prompts.
        center_logp: what the path turns around, normalized log-probabilities `[n]`; -inf marks actions off
            its support, of which at least 3 must be on it, for two have no plane.

    Raises:
        ValueError: `logps` is not a path of normalized policies of two or more records, `center_logp` is not
            one policy over the same actions with 3 or more on its support, or the path starts at the centre.

    Example:
        >>> path = cg.solve(game, cg.MWU(0.01), 1_000, metrics=["logp"]).history["logp"]
        >>> turn = cg.paths.rotation(path, cg.nash(game).logp)
        >>> round(turn.plane_share, 6)  # three actions have no other plane
        1.0
    """
    path = _path("logps", logps)
    if path.ndim != 2 or len(path) < 2:
        raise ValueError(
            f"`logps` must be one path of two or more policies, [records, n], got shape {path.shape}; pass "
            f"one prompt and one player at a time."
        )
    validation.log_policy("center_logp", center_logp)
    center = np.exp(np.asarray(center_logp, np.float64))
    if center.shape != path.shape[1:]:
        raise ValueError(
            f"`center_logp` must be one policy over the path's {path.shape[1]} actions, got shape "
            f"{center.shape}."
        )
    support = center > 0
    if np.count_nonzero(support) < 3:
        raise ValueError(
            f"`center_logp` must have 3 or more actions on its support, got {np.count_nonzero(support)}; a "
            f"path around it has no plane to turn in. `cg.kl_to` tells how far it is."
        )
    scale = np.sqrt(center[support])
    deviation = (np.exp(path)[:, support] - center[support]) / scale
    size = np.linalg.norm(deviation, axis=-1)
    # What a rounding of the policies makes of a deviation.
    arrived = size <= ROUNDINGS * _precision(logps) * np.linalg.norm(scale)
    kept = int(np.argmax(arrived)) if arrived.any() else len(path)
    if kept < 2:
        raise ValueError(
            "`logps` must start away from `center_logp`, but it is there at record 0 or 1; start elsewhere."
        )
    deviation = deviation[:kept]
    _, lengths, directions = np.linalg.svd(deviation, full_matrices=False)
    plane = deviation @ directions[:2].T
    angles = np.unwrap(np.arctan2(plane[:, 1], plane[:, 0]))
    angle = abs(float(angles[-1] - angles[0])) / (kept - 1)
    share = float(np.sum(lengths[:2] ** 2) / np.sum(lengths**2))
    return Rotation(angle, 2 * np.pi / angle if angle > 0 else np.inf, share)


def _precision(logps: Any) -> float:
    """Of the numbers as they came; NumPy's default for what has none."""
    kind = np.asarray(logps).dtype
    return float(np.finfo(kind if kind.kind == "f" else np.float64).eps)


def _path(name: str, logps: Any) -> np.ndarray:
    """`logps` in float64; a `ValueError` if it is not a path `[records, ..., n]` of normalized policies."""
    try:
        path = np.asarray(logps, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be log-probabilities, [records, ..., n], one policy per record: {error}."
        ) from error
    if path.ndim < 2 or path.size == 0:
        raise ValueError(
            f"`{name}` must be a path of policies, [records, ..., n], got shape {path.shape}; stack them."
        )
    validation.log_policy(name, path)
    return path


__all__ = ["Rotation", "external_regret", "path_length", "rotation"]
