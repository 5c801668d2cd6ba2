"""Feedback by regression on labelled pairs, as preference pipelines collect them."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.feedback.base import AbstractFeedback, Comparisons, both_ways, check_game, with_prompts
from comalgames.feedback.exact import Exact
from comalgames.games.preference import PreferenceGame
from comalgames.numerics import pairs

# Largest number of sets of candidates that are enumerated.
MOST_SETS = 1 << 17


# Decimals to which mean scores of candidates are compared, so that the order of summation has no effect.
SCORE_DECIMALS = 6


class RegressedPairs(AbstractFeedback):
    """Advantages estimated by least squares from labelled pairs, as collected by preference pipelines.

    The result of a query is the least-squares solution h of `h(chosen) - h(rejected) = 1/2` over pairs of a
    chosen and a rejected action: the minimizer of the loss of INPO, IPO and COMAL is the rule's target with h
    in place of the advantage. With two candidates drawn from the policy and labels drawn by the preferences,
    h is the advantage up to a constant per prompt, if every possible set has its exact weight. From N drawn
    sets h is a ratio of random numbers, and its bias is of order 1/N. With n actions it is, up to a constant,

        E[h] = advantage + n / (2 N) (advantage - mean payoff against the uniform policy) + O(1/N^2)

    for N so large that every action is drawn many times. An action that was not drawn has the mean of the
    others.

    With a constant N the mean step of a rule therefore vanishes near Nash and not at it; `Sampled` is
    unbiased. Any other way of collecting pairs gives another algorithm with another limit:

    - with pairs drawn from a fixed `behaviour`, h is the win rate against that policy;
    - with the best and the worst (or second) of several candidates, labelled by their rank, the limit of
      COMAL depends on the ranking by mean scores and need not be Nash.

    Args:
        game: a preference game; leading axes are prompts.
        num_sets: number N of sets of candidates per query, drawn independently; None weights every possible
            set with its exact probability, which is limited to 131,072 sets.
        num_candidates: number of actions in a set, >= 2. They are ranked by their mean win rate against the
            set, with ties in the order of drawing.
        rejected: "worst" or "second", the candidate that is paired with the best one.
        labels: "drawn" (by the preference of the pair, so that the higher-ranked action may lose) or "ranked"
            (the higher-ranked action is preferred). With two candidates "ranked" is a deterministic judge.
        behaviour: probabilities `[n]` of the policy that draws candidates; None for the queried policy.

    Raises:
        ValueError: the game has payoffs, an argument is not as described, `behaviour` is not a policy, or
            there are too many sets to enumerate.

    Reference: COMAL, arXiv 2410.23223, its repository (best against second of five, labels ranked); Zhang et
    al., "Iterative Nash Policy Optimization", 2024 (best against worst).
    """

    game: PreferenceGame
    behaviour_logp: Float[Array, " n"] | None
    num_sets: int | None = eqx.field(static=True)
    num_candidates: int = eqx.field(static=True)
    rejected: str = eqx.field(static=True)
    labels: str = eqx.field(static=True)

    def __init__(
        self,
        game: PreferenceGame,
        num_sets: int | None = None,
        num_candidates: int = 2,
        rejected: str = "worst",
        labels: str = "drawn",
        behaviour: Any = None,
    ) -> None:
        check_game("RegressedPairs", game)
        self.game = game.without_names()
        self.num_sets = None if num_sets is None else validation.count("num_sets", num_sets, minimum=1)
        self.num_candidates = validation.count("num_candidates", num_candidates, minimum=2)
        self.rejected = validation.known("rejected", rejected, ("worst", "second"))
        self.labels = validation.known("labels", labels, ("drawn", "ranked"))
        self.behaviour_logp = None
        if behaviour is not None:
            policy = validation.policy("behaviour", behaviour, game.num_actions)
            self.behaviour_logp = jnp.log(jnp.asarray(policy, game.dtype))
        if num_sets is None and game.num_actions**self.num_candidates > MOST_SETS:
            raise ValueError(
                f"`num_sets` must be a whole number, got None: {self.num_candidates} candidates of "
                f"{game.num_actions} actions give {game.num_actions**self.num_candidates} sets, and at most "
                f"{MOST_SETS} are enumerated."
            )

    @property
    def is_random(self) -> bool:
        """Whether sets are drawn instead of weighted exactly."""
        return self.num_sets is not None

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The least-squares solution h, with mean 0 over each connected set of actions."""
        seen = self.comparisons(key, opponent_logp)
        return pairs.least_squares(seen.weights, seen.skew)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Raises a ValueError, because only pairs drawn from a policy are available."""
        raise ValueError(
            "`feedback` must have all pairwise preferences for this rule, got RegressedPairs, which has only "
            "pairs drawn from a policy; use Exact or Sampled."
        )

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """The labelled pairs of one query, with weights relative to the policy that draws the candidates."""
        set_key, winner_key = jax.random.split(key)
        n, size = self.game.num_actions, self.num_candidates
        logp = self._candidates_logp(logp)
        if self.num_sets is None and size == 2 and self.labels == "drawn":
            return Exact(self.game).comparisons(key, logp)
        if self.num_sets is None:
            every = jnp.asarray(np.indices((n,) * size).reshape(size, -1).T)
            sets = jnp.broadcast_to(every, (*logp.shape[:-1], *every.shape))
            chance = jnp.exp(jnp.sum(jnp.take_along_axis(logp[..., None, :], sets, axis=-1), axis=-1))
        else:
            sets = pairs.draw(set_key, logp, (self.num_sets, size))
            chance = jnp.full(sets.shape[:-1], 1 / self.num_sets, logp.dtype)
        best, other = self._pair(sets)
        margins = pairs.entries(self.game.skew, best, other)
        if self.labels == "ranked":
            margins = jnp.full_like(margins, 0.5)
        elif self.num_sets is not None:
            margins = pairs.wins(winner_key, margins) - 0.5
        seen, won = (pairs.tally(best, other, amount, n) for amount in (chance, chance * margins))
        return both_ways(logp, won, seen, float(self.num_sets or math.inf))

    def _candidates_logp(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """The policy that draws candidates, for each prompt (and policy of a batch)."""
        drawing = logp if self.behaviour_logp is None else jnp.broadcast_to(self.behaviour_logp, logp.shape)
        return with_prompts(drawing, self.game)

    def _pair(self, sets: Int[Array, "*batch sets candidates"]) -> tuple[Array, Array]:
        """The best action of each set and the action paired with it, `[..., sets]` each."""
        if self.num_candidates == 2 and self.labels == "drawn":
            return sets[..., 0], sets[..., 1]
        size = self.num_candidates
        rows = jnp.broadcast_to(sets[..., :, None], (*sets.shape, size)).reshape(*sets.shape[:-2], -1)
        columns = jnp.broadcast_to(sets[..., None, :], (*sets.shape, size)).reshape(*sets.shape[:-2], -1)
        against = pairs.entries(self.game.skew, rows, columns).reshape(*sets.shape, size)
        # Scores that differ by rounding errors are ties, which are broken by the order of drawing.
        scores = jnp.round(jnp.sum(against, axis=-1), SCORE_DECIMALS)
        ranked = jnp.take_along_axis(sets, jnp.argsort(-scores, axis=-1, stable=True), axis=-1)
        return ranked[..., 0], ranked[..., 1 if self.rejected == "second" else -1]
