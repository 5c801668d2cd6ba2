"""Properties of a recorded path of policies: regret, length and rotation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from comalgames import validation
from comalgames.games.base import AbstractGame

# Deviations from the centre below this multiple of the rounding errors of the policies have no direction.
EPSILONS = 16


def external_regret(game: AbstractGame, logps: Any) -> np.ndarray:
    """External regret of a path of policies in self-play, relative to the best single action in hindsight.

        regret_t = max_i sum_{s <= t} advantage_s,i - sum_{s <= t} <policy_s, advantage_s>

    The advantage at step s is against the policy of that step. The duality gap of the average of the first t
    policies is `2 regret_t / t` in a preference game, and the sum of the regrets of both players divided by t
    in a zero-sum game.

    Args:
        game: the game.
        logps: the policies of consecutive steps, normalized log-probabilities `[records, ..., n]`
            (`[records, ..., 2, n]` in a two-player game).

    Returns:
        The regret after each step, in units of payoff, `[records, ...]`: one per player in a two-player game.

    Raises:
        ValueError: `game` is not a game, or `logps` is not a path of normalized policies of the game.

    Example:
        >>> path = cg.solve(game, cg.MWU(0.1), 1_000, metrics=["logp"]).history["logp"]
        >>> regret = cg.paths.external_regret(game, path)
        >>> bool(regret[-1] < np.log(3) / 0.1 + 0.1 * len(path) / 8)  # Hedge's bound; payoffs range over 1
        True

    Reference: Freund and Schapire, "Adaptive Game Playing Using Multiplicative Weights", 1999.
    """
    if not isinstance(game, AbstractGame):
        raise ValueError(
            f"`game` must be a PreferenceGame or a ZeroSumGame, got a {type(game).__name__}; convert a "
            f"matrix of win rates with cg.PreferenceGame(matrix)."
        )
    path = _path("logps", logps)
    shape = game.policy_shape
    if path.ndim != len(shape) + 1 or path.shape[1:] != shape:
        raise ValueError(
            f"`logps` must have the shape [records, {', '.join(map(str, shape))}] of this game's policies, "
            f'got {path.shape}; record it with `cg.solve(..., metrics=["logp"]).history["logp"]`.'
        )
    advantage = np.asarray(game.advantage(jnp.asarray(path, game.dtype)), np.float64)
    earned = np.sum(np.exp(path) * advantage, axis=-1)
    best = np.cumsum(advantage, axis=0).max(-1)
    return np.asarray(best - np.cumsum(earned, axis=0))


def path_length(logps: Any) -> np.ndarray:
    """Length of a path of policies: the cumulative sum of `|policy_{t+1} - policy_t|_1`, starting at 0.

    It is bounded if the policies converge linearly, and grows in proportion to t if they cycle.

    Args:
        logps: the policies in order, normalized log-probabilities `[records, ..., n]`.

    Returns:
        The length up to each record, `[records, ...]`, one number per prompt and player.

    Raises:
        ValueError: `logps` is not a path of normalized policies.

    Example:
        >>> history = cg.solve(game, cg.Extragradient(1.0), 2_000, metrics=["logp"]).history
        >>> length = cg.paths.path_length(history["logp"])
        >>> bool(length[-1] - length[1_000] < 1e-6)  # the path has converged
        True
    """
    path = np.exp(_path("logps", logps))
    moved = np.abs(np.diff(path, axis=0)).sum(-1)
    return np.concatenate([np.zeros_like(path[:1, ..., 0]), np.cumsum(moved, axis=0)])


class Rotation(NamedTuple):
    """The result of `rotation`.

    Attributes:
        angle: mean angle of rotation from one record to the next, in radians, >= 0.
        period: number of records per full turn, `2 pi / angle`; inf without rotation.
        plane_share: share of the squared distances from the centre that lies in the plane of the measured
            rotation, in [0, 1]. If it is well below 1, the path rotates in several planes.
    """

    angle: float
    period: float
    plane_share: float


def rotation(logps: Any, center_logp: Any) -> Rotation:
    """Measure the rotation of a path of policies around a centre, such as a Nash policy.

    Deviations are measured as `(p - center) / sqrt(center)` on the support of the centre, in which the
    rotation of a game near Nash is circular. The plane is spanned by the two principal directions of the
    path, and the angle is unwrapped from record to record, so that it must change by less than pi between
    records. Near an interior Nash policy with a single rotation frequency w, multiplicative weights rotate by
    `arctan(step_size w)` per step, and any rule by the argument of the first eigenvalue of
    `diagnostics.spectrum`.

    If the path converges, its early records determine the plane, while all records have equal weight for the
    angle. The first record within rounding errors of the centre, and all later ones, are left out.

    Args:
        logps: the policies in order, normalized log-probabilities `[records, n]`, of one player and without
            prompts.
        center_logp: the centre of the rotation, normalized log-probabilities `[n]`; -inf marks actions off
            its support, which must have at least 3 actions.

    Raises:
        ValueError: `logps` is not a path of normalized policies of two or more records, `center_logp` is not
            one policy over the same actions with 3 or more on its support, or the path starts at the centre.

    Example:
        >>> path = cg.solve(game, cg.MWU(0.01), 1_000, metrics=["logp"]).history["logp"]
        >>> turn = cg.paths.rotation(path, cg.nash(game).logp)
        >>> round(turn.plane_share, 6)  # with three actions there is only one plane
        1.0
    """
    path = _path("logps", logps)
    if path.ndim != 2 or len(path) < 2:
        raise ValueError(
            f"`logps` must be one path of two or more policies, [records, n], got shape {path.shape}; select "
            f"one prompt and one player."
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
            f"`center_logp` must have 3 or more actions on its support, got {np.count_nonzero(support)}: "
            f"there is no plane of rotation. To measure the distance from it, use `cg.kl_to`."
        )
    scale = np.sqrt(center[support])
    deviation = (np.exp(path)[:, support] - center[support]) / scale
    size = np.linalg.norm(deviation, axis=-1)
    # Rounding errors of the policies, in units of the deviation.
    arrived = size <= EPSILONS * _precision(logps) * np.linalg.norm(scale)
    kept = int(np.argmax(arrived)) if arrived.any() else len(path)
    if kept < 2:
        raise ValueError(
            "`logps` must not reach `center_logp` before its third record, but record 0 or 1 equals it up to "
            "rounding errors; use another initial policy."
        )
    deviation = deviation[:kept]
    _, lengths, directions = np.linalg.svd(deviation, full_matrices=False)
    plane = deviation @ directions[:2].T
    angles = np.unwrap(np.arctan2(plane[:, 1], plane[:, 0]))
    angle = abs(float(angles[-1] - angles[0])) / (kept - 1)
    share = float(np.sum(lengths[:2] ** 2) / np.sum(lengths**2))
    return Rotation(angle, 2 * np.pi / angle if angle > 0 else np.inf, share)


def _precision(logps: Any) -> float:
    """Machine epsilon of the dtype of the policies; of float64 if they are not floating-point."""
    kind = np.asarray(logps).dtype
    return float(np.finfo(kind if kind.kind == "f" else np.float64).eps)


def _path(name: str, logps: Any) -> np.ndarray:
    """The path in float64; raises a ValueError unless it is `[records, ..., n]` of normalized policies."""
    try:
        path = np.asarray(logps, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be log-probabilities, [records, ..., n], one policy per record: {error}."
        ) from error
    if path.ndim < 2 or path.size == 0:
        raise ValueError(
            f"`{name}` must be a path of policies, [records, ..., n], got shape {path.shape}; stack the "
            f"policies of all records."
        )
    validation.log_policy(name, path)
    return path


__all__ = ["Rotation", "external_regret", "path_length", "rotation"]
