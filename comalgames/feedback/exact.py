"""Feedback without noise: exact advantages of a game, or a fixed reward."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.feedback.base import AbstractFeedback
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame


class Exact(AbstractFeedback):
    """Exact feedback from a game; keys are ignored.

    Attributes:
        game: the game.
    """

    game: AbstractGame

    @property
    def is_random(self) -> bool:
        """False: the feedback is deterministic."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Exact advantage of each action against the opponent."""
        return self.game.advantage(opponent_logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The preference matrix minus 1/2; only a `PreferenceGame` has one."""
        if not isinstance(self.game, PreferenceGame):
            raise ValueError(
                f"`game` must be a PreferenceGame to have pairwise preferences, got a "
                f"{type(self.game).__name__}; use a rule that queries advantages."
            )
        return self.game.skew

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum of one number per policy over the two players of the game."""
        return self.game.over_players(each)


class Reward(AbstractFeedback):
    """Feedback from a fixed reward, independent of the opponent, as in RLHF with a fixed reward model.

    Args:
        reward: one number per action, `[n]` or `[..., n]`, up to a constant; for example the win rate against
            a fixed policy, or the scores of `bradley_terry.fit`.

    Raises:
        ValueError: `reward` is not an array of finite real numbers.

    Example:
        >>> reward = cg.Reward([0.0, 1.0, 0.0])
        >>> cg.solve(cg.games.comal_cycle(), cg.RLHF(beta=0.5), 1, feedback=reward).policy
        array([0.10650698, 0.78698604, 0.10650698])

    Reference: Ouyang et al., "Training Language Models to Follow Instructions with Human Feedback", 2022.
    """

    reward: Float[Array, "*prompts n"]

    def __init__(self, reward: Any) -> None:
        if validation.is_concrete(reward):
            reward = validation.real_array("reward", reward)
            if reward.ndim == 0 or reward.size == 0:
                raise ValueError(
                    f"`reward` must be an array with one number per action on the last axis, got shape "
                    f"{reward.shape}."
                )
        self.reward = jnp.asarray(reward)

    @property
    def is_random(self) -> bool:
        """False: the feedback is deterministic."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The reward of each action."""
        try:
            fits = np.broadcast_shapes(self.reward.shape, opponent_logp.shape) == opponent_logp.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"`reward` must have one number per action on the last axis, got shape {self.reward.shape} "
                f"for policies of shape {opponent_logp.shape}."
            )
        return jnp.broadcast_to(self.reward.astype(opponent_logp.dtype), opponent_logp.shape)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Raises a ValueError, because a reward has no pairwise preferences."""
        raise ValueError(
            "`feedback` must have pairwise preferences, got a Reward, which has one number per action; use "
            "Exact or Sampled."
        )
