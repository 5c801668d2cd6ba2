"""Sampled feedback: comparisons with drawn opponents and drawn winners."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.feedback.base import AbstractFeedback, Comparisons, both_ways, check_game, with_prompts
from comalgames.games.preference import PreferenceGame
from comalgames.numerics import pairs


class Sampled(AbstractFeedback):
    """Sampled feedback, with opponents drawn from the queried policy and winners drawn by the preferences.

    A query draws `num_opponents` opponents and compares every action with each of them `num_comparisons`
    times, at a cost of `n * num_opponents * num_comparisons` comparisons. The advantages are unbiased, with
    variance at most 1 / (4 num_opponents) each. All actions are compared with the same opponents.

    Args:
        game: a preference game; leading axes are prompts, with independent draws.
        num_opponents: number of opponents per query, >= 1.
        num_comparisons: number of comparisons of every action with each opponent, >= 1.

    Raises:
        ValueError: the game has payoffs, not preferences, or a number is not a whole number >= 1.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7 (one comparison).
    """

    game: PreferenceGame
    num_opponents: Float[Array, ""]
    num_comparisons: Float[Array, ""]
    # Few opponents are drawn individually, and their numbers determine shapes; for many only counts are
    # drawn, and other numbers need no new compilation.
    few: tuple[int, int] | None = eqx.field(static=True)

    def __init__(self, game: PreferenceGame, num_opponents: int, num_comparisons: int = 1) -> None:
        check_game("Sampled", game)
        num_opponents = validation.count("num_opponents", num_opponents, minimum=1)
        num_comparisons = validation.count("num_comparisons", num_comparisons, minimum=1)
        self.game = game.without_names()
        self.num_opponents = jnp.asarray(num_opponents, game.dtype)
        self.num_comparisons = jnp.asarray(num_comparisons, game.dtype)
        many = pairs.are_many(num_opponents * num_comparisons, game.num_actions)
        self.few = None if many else (num_opponents, num_comparisons)

    def __repr__(self) -> str:
        numbers = (self.num_opponents, self.num_comparisons)
        known = [int(number) if validation.is_concrete(number) else number for number in numbers]
        return f"Sampled(num_opponents={known[0]}, num_comparisons={known[1]})"

    @property
    def is_random(self) -> bool:
        """True: opponents and winners are drawn."""
        return True

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Share of comparisons that each action won, minus 1/2."""
        opponent_key, winner_key = jax.random.split(key)
        logp = with_prompts(opponent_logp, self.game)
        skew = jnp.broadcast_to(self.game.skew, (*logp.shape, logp.shape[-1]))
        if self.few is None:
            met = self.num_comparisons * pairs.counts(opponent_key, logp, self.num_opponents)
            won = pairs.counted_wins(winner_key, skew, jnp.broadcast_to(met[..., None, :], skew.shape))
            return jnp.sum(won, axis=-1) / (self.num_opponents * self.num_comparisons) - 0.5
        num_opponents, num_comparisons = self.few
        opponents = pairs.draw(opponent_key, logp, (num_opponents,))
        against = jnp.take_along_axis(skew, opponents[..., None, :], axis=-1)
        return jnp.mean(pairs.wins(winner_key, against, num_comparisons), axis=-1) - 0.5

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Estimated preferences minus 1/2, from `num_opponents * num_comparisons` comparisons per pair."""
        num = self.num_opponents * self.num_comparisons
        won = pairs.counted_wins(key, self.game.skew, jnp.broadcast_to(num, self.game.skew.shape)) / num
        lower = jnp.tril(won - 0.5, -1)
        return lower - lower.swapaxes(-1, -2)

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """Comparisons of pairs drawn from the policy, in the same number as in an advantage query."""
        pair_key, winner_key = jax.random.split(key)
        logp = with_prompts(logp, self.game)
        n = self.game.num_actions
        num_pairs = n * self.num_opponents * self.num_comparisons
        if self.few is None:
            of_pair = (logp[..., :, None] + logp[..., None, :]).reshape(*logp.shape[:-1], n * n)
            seen = pairs.counts(pair_key, of_pair, num_pairs).reshape(*logp.shape, n)
            won = pairs.counted_wins(winner_key, jnp.broadcast_to(self.game.skew, seen.shape), seen)
            return both_ways(logp, (won - seen / 2) / num_pairs, seen / num_pairs, num_pairs)
        drawn = pairs.draw(pair_key, logp, (n * math.prod(self.few), 2))
        first, second = drawn[..., 0], drawn[..., 1]
        margins = pairs.wins(winner_key, pairs.entries(self.game.skew, first, second)) - 0.5
        share = jnp.broadcast_to(1 / num_pairs, margins.shape)
        seen, won = (pairs.tally(first, second, amount, n) for amount in (share, share * margins))
        return both_ways(logp, won, seen, num_pairs)

    def covariance(self, opponent_logp: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Covariance of the advantages of one query, from drawing both opponents and winners.

        Args:
            opponent_logp: the queried policy, normalized log-probabilities `[n]`; the game has no prompts.
        """
        q = jnp.exp(opponent_logp)
        skew = self.game.skew
        mean = skew @ q
        of_opponents = (skew * q) @ skew.T - jnp.outer(mean, mean)
        of_winners = jnp.diag((0.25 - skew**2) @ q) / self.num_comparisons
        return (of_opponents + of_winners) / self.num_opponents
