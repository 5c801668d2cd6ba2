"""Feedback without noise: the game's own advantages, or a fixed reward."""

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
    """Feedback without noise, read off the game itself. It never uses its key.

    Attributes:
        game: what is played.
    """

    game: AbstractGame

    @property
    def is_random(self) -> bool:
        """Never."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The game's own `advantage`."""
        return self.game.advantage(opponent_logp)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The preference matrix minus 1/2; only a `PreferenceGame` has one."""
        if not isinstance(self.game, PreferenceGame):
            raise ValueError(f"{type(self.game).__name__} has no pairwise preferences; use a PreferenceGame.")
        return self.game.skew

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """The game's own."""
        return self.game.over_players(each)


class Reward(AbstractFeedback):
    """A reward that stays, whoever is asked about: what RLHF with a fixed reward model maximizes.

    Args:
        reward: one number per action `[n]` or `[..., n]`, a constant does not matter. Such as the win rate
            against a fixed policy, or the scores of `bradley_terry.fit`.

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
            if reward.ndim == 0:
                raise ValueError(f"`reward` must have one number for each action, got {reward!r}.")
        self.reward = jnp.asarray(reward)

    @property
    def is_random(self) -> bool:
        """Never."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The reward."""
        try:
            fits = np.broadcast_shapes(self.reward.shape, opponent_logp.shape) == opponent_logp.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"`reward` of shape {self.reward.shape} does not fit policies of shape "
                f"{opponent_logp.shape}: it needs one number for each action, on the last axis."
            )
        return jnp.broadcast_to(self.reward.astype(opponent_logp.dtype), opponent_logp.shape)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """A reward compares nothing."""
        raise ValueError("Reward knows a number per action, not preferences; use Exact or Sampled.")
