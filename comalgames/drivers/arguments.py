"""Arguments of the drivers, checked and converted to the shape and dtype of the game."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm
from comalgames.algorithms.contract import traced_queries
from comalgames.feedback import AbstractFeedback, Asked, Candidates
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame


def check_pair(game: AbstractGame, algorithm: AbstractAlgorithm[Any]) -> None:
    """Raise a ValueError unless the arguments are a game and an algorithm."""
    if not isinstance(game, AbstractGame):
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}. A matrix of win "
            f"rates becomes one by cg.PreferenceGame(matrix)."
        )
    if not isinstance(algorithm, AbstractAlgorithm):
        raise ValueError(f"`algorithm` must be a learning rule such as MWU(0.1), got {algorithm!r}.")


def check_feedback(feedback: Any, game: AbstractGame) -> None:
    """Raise a ValueError unless `feedback` is a feedback object for a game of this kind and shape."""
    if not isinstance(feedback, AbstractFeedback):
        raise ValueError(f"`feedback` must be an AbstractFeedback such as Exact(game), got {feedback!r}.")
    other = getattr(feedback, "game", None)
    if isinstance(other, AbstractGame):
        is_alike = isinstance(other, PreferenceGame) == isinstance(game, PreferenceGame)
        if not is_alike or not _fits(other.policy_shape, game.policy_shape):
            raise ValueError(
                f"`feedback` must be of a game like the one that is played, a {type(game).__name__} with "
                f"policies of shape {game.policy_shape}; it is of a {type(other).__name__} with policies of "
                f"shape {other.policy_shape}."
            )
    elif isinstance(feedback, Candidates) and not _fits(feedback.behaviour_logp.shape, game.policy_shape):
        raise ValueError(
            f"`feedback` must have one candidate per action, for policies of shape {game.policy_shape}, got "
            f"Candidates of shape {feedback.behaviour_logp.shape}."
        )


def _fits(shape: tuple[int, ...], policy_shape: tuple[int, ...]) -> bool:
    """Whether policies of this shape have the same actions, and prompts that broadcast to the others'."""
    try:
        broadcast = np.broadcast_shapes(shape, policy_shape)
    except ValueError:
        return False
    return shape[-1] == policy_shape[-1] and broadcast == policy_shape


def check_queries(game: AbstractGame, algorithm: AbstractAlgorithm[Any], shape: tuple[int, ...]) -> Asked:
    """The queries of a step on policies of this shape; those that the game cannot answer are refused."""
    queries = traced_queries(algorithm, shape)
    if queries.pairs and not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`algorithm` {algorithm!r} reads pairwise preferences, which a {type(game).__name__} does "
            f"not have; use a PreferenceGame, or a rule such as MirrorDescent, Extragradient or "
            f"OptimisticMWU."
        )
    if algorithm.form(0).reads_log_odds and isinstance(game, PreferenceGame):
        check_odds("game", algorithm, game.skew)
    return queries


def check_odds(name: str, algorithm: AbstractAlgorithm[Any], skew: Any) -> None:
    """Refuse preferences of exactly 0 or 1, which have no log-odds."""
    if not validation.is_concrete(skew):
        return
    certain = np.argwhere(np.abs(np.asarray(skew)) >= 0.5)
    if len(certain):
        pair = tuple(int(k) for k in certain[0])
        raise ValueError(
            f"`{name}` must have no preference of exactly 0 or 1 for {algorithm!r}, which reads their "
            f"log-odds; the one at {pair} is {float(np.asarray(skew)[pair]) + 0.5:g} (and {len(certain) - 1} "
            f"more). Add noise by cg.games.flip_labels(game, 0.01), or use a rule on win rates, such as MWU."
        )


def starting_policy(name: str, policy: Any, game: AbstractGame) -> Float[Array, "*batch n"]:
    """A user's policy (probabilities) as log-probabilities of the game's shape; None is uniform."""
    if policy is None:
        return game.uniform()
    return _fitted(name, game.log_probabilities(name, policy), game)


def starting_logp(name: str, logp: Any, game: AbstractGame) -> Float[Array, "*batch n"]:
    """Log-probabilities, checked if they are concrete, in the game's shape and dtype; None is uniform."""
    if logp is None:
        return game.uniform()
    validation.log_policy(name, logp)
    return _fitted(name, logp, game)


def with_reference(logp: Any, reference: Any) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """The first policy and reference, broadcast against one another."""
    try:
        np.broadcast_shapes(logp.shape, reference.shape)
    except ValueError as error:
        raise ValueError(
            f"`reference` of shape {reference.shape} does not fit first policies of shape {logp.shape}."
        ) from error
    logp, reference = jnp.broadcast_arrays(logp, reference)
    return logp, reference


def continued(
    state: Any, game: AbstractGame, algorithm: AbstractAlgorithm[Any], num_steps: int, **starts: Any
) -> tuple[Any, Any]:
    """The state from which a run continues, and the number of steps taken before.

    Args:
        state: of an earlier run, as `Result.state`.
        game: what is played, which must be of the same shape.
        algorithm: what goes on, with numbers of the game's dtype; its state must have the same structure.
        num_steps: how many steps are to come.
        starts: the arguments that a state replaces, by name, the first policy first; they must be None.
    """
    for name, value in starts.items():
        if value is not None:
            raise ValueError(
                f"`state` and `{name}` exclude each other: a state contains its policy and its reference. "
                f"Omit `{name}` to continue the run, or `state` to start a new one."
            )
    kind = type(state).__name__
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, state)
    try:
        shape = np.shape(state.logp)
        step = int(state.step) if validation.is_concrete(state.step) else state.step
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"`state` must be the state of an earlier run, result.state, got a value of type {kind}. To "
            f"start from a policy, pass it as `{next(iter(starts))}`."
        ) from error
    if not _fits(game.policy_shape, shape):
        raise ValueError(
            f"`state` has policies of shape {shape}, which do not fit the game's policies of shape "
            f"{game.policy_shape}."
        )
    if validation.is_concrete(step) and not 0 <= step <= validation.LARGEST - num_steps:
        raise ValueError(
            f"`state` has taken {step} steps; with `num_steps` of {num_steps} they must be at most "
            f"{validation.LARGEST}."
        )
    _check_kind(state, algorithm, shape, game.dtype)
    return state, step


def _check_kind(
    state: Any, algorithm: AbstractAlgorithm[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Refuse a state of another structure than that which the algorithm makes of policies of this shape."""
    policy: Any = jax.eval_shape(lambda: jnp.zeros(shape, dtype))
    numbers, rest = eqx.partition(algorithm, eqx.is_array)
    made = eqx.filter_eval_shape(
        lambda numbers, *logps: eqx.combine(numbers, rest).init(*logps), numbers, policy, policy
    )
    structure: Any = jax.tree.structure(made)
    if structure != jax.tree.structure(state):
        raise ValueError(
            f"`state` must be of the kind that {type(algorithm).__name__} makes, a {type(made).__name__}, "
            f"got a {type(state).__name__} of another structure. Use the algorithm of the earlier run."
        )
    for (path, like), leaf in zip(jax.tree.leaves_with_path(made), jax.tree.leaves(state), strict=True):
        wanted, got = ((str(getattr(each, "dtype", type(each))), np.shape(each)) for each in (like, leaf))
        if wanted != got:
            raise ValueError(
                f"`state` must have {wanted[0]} of shape {wanted[1]} at {jax.tree_util.keystr(path)}, got "
                f"{got[0]} of shape {got[1]}: it is from a run in another precision, or of another game."
            )


def _fitted(name: str, logp: Any, game: AbstractGame) -> Float[Array, "*batch n"]:
    try:
        shape = np.broadcast_shapes(np.shape(logp), game.policy_shape)
    except ValueError as error:
        raise ValueError(
            f"`{name}` of shape {np.shape(logp)} does not fit the game's policies of shape "
            f"{game.policy_shape}."
        ) from error
    return jnp.broadcast_to(jnp.asarray(logp, game.dtype), shape)
