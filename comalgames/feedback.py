"""What a learning rule may ask: actions' advantages against an opponent, and how often each beats each.

Every answer is a function of a key and the question alone, so runs with the same keys meet the same noise.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.games.base import PRECISION, AbstractGame, PreferenceGame
from comalgames.numerics import pairs

# More sets of candidates than this are not enumerated.
MOST_SETS = 1 << 17

# Mean scores of candidates are compared to this many decimals: the same numbers summed in another order must
# rank the same.
SCORE_DECIMALS = 6


class Comparisons(NamedTuple):
    """What is known of pairs that were drawn from a policy, independently for the two places.

    Attributes:
        skew: how often the row's action was preferred to the column's, minus 1/2, `[..., n, n]`.
        weights: how large a share of all pairs is (row, column), divided by the row's probability, `[..., n,
            n]`; for exact feedback the column's probability. (The share itself would underflow.)
        logp: the policy they were drawn from, log-probabilities `[..., n]`; not always the one asked about.
        num_pairs: how many pairs were drawn; infinite for exact feedback.
    """

    skew: Float[Array, "*batch n n"]
    weights: Float[Array, "*batch n n"]
    logp: Float[Array, "*batch n"]
    num_pairs: float | Float[Array, ""] = math.inf


class AbstractFeedback(eqx.Module):
    """Where a rule's information comes from; the rule need not know whether it is exact or sampled."""

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether answers depend on the key, so that a run needs one."""

    @abstractmethod
    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Each action's win rate against the opponent minus 1/2 (or its payoff), `[..., n]`; one query."""

    @abstractmethod
    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """How often the row's action is preferred to the column's, minus 1/2, `[..., n, n]`."""

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """Sum over the players of one number per policy: twice it, for one policy plays both sides."""
        return 2.0 * each

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """Preferences on pairs drawn from a policy; by default all pairs, each with its exact weight."""
        skew, n = self.pairwise(key), logp.shape[-1]
        batch = np.broadcast_shapes(skew.shape[:-2], logp.shape[:-1])
        weights = jnp.broadcast_to(jnp.exp(logp)[..., None, :], (*batch, n, n))
        return Comparisons(skew, weights, jnp.broadcast_to(logp, (*batch, n)))


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
    """A reward that stays, whoever is asked about: what RLHF with a fixed reward model maximises.

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


class Overheard(AbstractFeedback):
    """Feedback that remembers the advantages it was asked for, so that nobody need ask twice.

    Attributes:
        feedback: who answers.
        answers: every opponent asked about, and the answer.
    """

    feedback: AbstractFeedback
    answers: list[tuple[Any, Any]] = eqx.field(static=True, default_factory=list)

    @property
    def is_random(self) -> bool:
        """Whether `feedback` is."""
        return self.feedback.is_random

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The answer of `feedback`, remembered."""
        answer = self.feedback.advantage(key, opponent_logp)
        self.answers.append((opponent_logp, answer))
        return answer

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The answer of `feedback`."""
        return self.feedback.pairwise(key)

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """The answer of `feedback`."""
        return self.feedback.comparisons(key, logp)

    def over_players(self, each: Float[Array, "*batch"]) -> Float[Array, "*prompts"]:
        """That of `feedback`."""
        return self.feedback.over_players(each)

    def about(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"] | None:
        """What was answered about this very array; None if nobody asked."""
        return next((answer for opponent, answer in self.answers if opponent is logp), None)


class Sampled(AbstractFeedback):
    """Feedback by comparisons: opponents drawn from the queried policy, winners drawn by the preferences.

    A query draws `num_opponents` opponents and compares every action with each of them `num_comparisons`
    times, so it costs `n * num_opponents * num_comparisons` comparisons. The advantages it returns are
    unbiased, with variance at most 1 / (4 num_opponents) each. Actions meet the same opponents.

    Args:
        game: a preference game; leading axes are prompts, each with draws of its own.
        num_opponents: how many opponents a query draws, >= 1.
        num_comparisons: how often every action is compared with each of them, >= 1.

    Raises:
        ValueError: the game has payoffs, not preferences, or a number is not a whole number >= 1.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7 (one comparison).
    """

    game: PreferenceGame
    num_opponents: Float[Array, ""]
    num_comparisons: Float[Array, ""]
    # Few are drawn one after another, and then their numbers set shapes; of many only counts are drawn, and
    # other numbers need no compilation.
    few: tuple[int, int] | None = eqx.field(static=True)

    def __init__(self, game: PreferenceGame, num_opponents: int, num_comparisons: int = 1) -> None:
        _check_game("Sampled", game)
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
        """Always."""
        return True

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Share of comparisons won, minus 1/2."""
        opponent_key, winner_key = jax.random.split(key)
        logp = _with_prompts(opponent_logp, self.game)
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
        """Every pair compared `num_opponents * num_comparisons` times; exactly skew."""
        num = self.num_opponents * self.num_comparisons
        won = pairs.counted_wins(key, self.game.skew, jnp.broadcast_to(num, self.game.skew.shape)) / num
        lower = jnp.tril(won - 0.5, -1)
        return lower - lower.swapaxes(-1, -2)

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """As many comparisons as a query makes, each of a pair drawn from the policy."""
        pair_key, winner_key = jax.random.split(key)
        logp = _with_prompts(logp, self.game)
        n = self.game.num_actions
        num_pairs = n * self.num_opponents * self.num_comparisons
        if self.few is None:
            of_pair = (logp[..., :, None] + logp[..., None, :]).reshape(*logp.shape[:-1], n * n)
            seen = pairs.counts(pair_key, of_pair, num_pairs).reshape(*logp.shape, n)
            won = pairs.counted_wins(winner_key, jnp.broadcast_to(self.game.skew, seen.shape), seen)
            return _both_ways(logp, (won - seen / 2) / num_pairs, seen / num_pairs, num_pairs)
        drawn = pairs.draw(pair_key, logp, (n * math.prod(self.few), 2))
        first, second = drawn[..., 0], drawn[..., 1]
        margins = pairs.wins(winner_key, pairs.entries(self.game.skew, first, second)) - 0.5
        share = jnp.broadcast_to(1 / num_pairs, margins.shape)
        seen, won = (pairs.tally(first, second, amount, n) for amount in (share, share * margins))
        return _both_ways(logp, won, seen, num_pairs)

    def covariance(self, opponent_logp: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Covariance of the advantages of one query: of drawing opponents, and of drawing winners.

        Args:
            opponent_logp: the queried policy, normalised log-probabilities `[n]`; the game has no prompts.
        """
        q = jnp.exp(opponent_logp)
        skew = self.game.skew
        mean = skew @ q
        of_opponents = (skew * q) @ skew.T - jnp.outer(mean, mean)
        of_winners = jnp.diag((0.25 - skew**2) @ q) / self.num_comparisons
        return (of_opponents + of_winners) / self.num_opponents


class RegressedPairs(AbstractFeedback):
    """What the squared loss on labelled pairs learns of the advantages, as preference pipelines collect them.

    The answer to a query is the least-squares solution h of `h(chosen) - h(rejected) = 1/2` over pairs of a
    chosen and a rejected action: the minimiser of INPO's, IPO's and COMAL's loss is the rule's target with h
    in the place of the advantage. With two candidates drawn from the policy and labels drawn by the
    preferences, h is the advantage (but for a constant per prompt). Any other way of collecting pairs is
    another algorithm, with another limit:

    - pairs drawn from a fixed `behaviour` teach the win rate against that policy;
    - the best against the worst (or second) of several candidates, labelled as won, makes COMAL stop where
      the ranking by mean scores says, which need not be Nash.

    Args:
        game: a preference game; leading axes are prompts.
        num_sets: sets of candidates that a query draws; None weights every possible set with its exact
            probability, at most 131,072 of them.
        num_candidates: actions in a set, >= 2. They are ranked by their mean win rate against the set, the
            first drawn first where those are equal.
        rejected: "worst" or "second": which one the best of them is paired with.
        labels: "drawn" (by the preference of the pair, so that the better-ranked may lose) or "ranked" (the
            better-ranked counts as preferred). With two candidates "ranked" is a deterministic judge.
        behaviour: probabilities `[n]` of the policy that draws candidates; None for the queried policy.

    Raises:
        ValueError: the game has payoffs, a number or word is not one of the above, `behaviour` is not a
            policy, or there are too many sets to enumerate.

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
        _check_game("RegressedPairs", game)
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
                f"`num_sets` must be given: {self.num_candidates} candidates of {game.num_actions} actions "
                f"are {game.num_actions**self.num_candidates} sets, more than {MOST_SETS} to enumerate."
            )

    @property
    def is_random(self) -> bool:
        """Unless every set is weighted exactly."""
        return self.num_sets is not None

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """The least-squares solution h, with mean 0 over each set of actions that pairs connect."""
        seen = self.comparisons(key, opponent_logp)
        return pairs.least_squares(seen.weights, seen.skew)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """Pairs are drawn from a policy here: there is no matrix of all of them."""
        raise ValueError("RegressedPairs knows only pairs that a policy draws; use Exact or Sampled.")

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """The pairs that a query collects; their weights are divided by the candidates' policy."""
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
        return _both_ways(logp, won, seen, float(self.num_sets or math.inf))

    def _candidates_logp(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """The policy that draws candidates, for each prompt (and policy of a batch)."""
        law = logp if self.behaviour_logp is None else jnp.broadcast_to(self.behaviour_logp, logp.shape)
        return _with_prompts(law, self.game)

    def _pair(self, sets: Int[Array, "*batch sets candidates"]) -> tuple[Array, Array]:
        """The best of each set and the one it is paired with, `[..., sets]` each."""
        if self.num_candidates == 2 and self.labels == "drawn":
            return sets[..., 0], sets[..., 1]
        size = self.num_candidates
        rows = jnp.broadcast_to(sets[..., :, None], (*sets.shape, size)).reshape(*sets.shape[:-2], -1)
        columns = jnp.broadcast_to(sets[..., None, :], (*sets.shape, size)).reshape(*sets.shape[:-2], -1)
        against = pairs.entries(self.game.skew, rows, columns).reshape(*sets.shape, size)
        # Scores that differ by rounding are equal; then the first drawn is ranked first.
        scores = jnp.round(jnp.sum(against, axis=-1), SCORE_DECIMALS)
        ranked = jnp.take_along_axis(sets, jnp.argsort(-scores, axis=-1, stable=True), axis=-1)
        return ranked[..., 0], ranked[..., 1 if self.rejected == "second" else -1]


class Candidates(AbstractFeedback):
    """Feedback on K sampled answers per prompt, which are a game of K actions.

    Log-probabilities of the answers are known up to a constant per prompt only. An opponent's weight on an
    answer is `softmax(opponent_logp - behaviour_logp)` over the K: the plain mean where the opponent drew
    them, else self-normalised importance weights, biased of order 1 / K. An answer meets itself, at 1/2.

    Args:
        preference: probability that the row's answer is preferred to the column's, `[..., K, K]`, P + P.T =
            1; hard labels 0 and 1 are a special case.
        behaviour_logp: log-probabilities of the answers under the policy that drew them, `[..., K]`.

    Raises:
        ValueError: `preference` is not a preference matrix of at least two answers, or `behaviour_logp` does
            not fit it.

    Reference: Munos et al., "Nash Learning from Human Feedback", 2023, section 7.
    """

    skew: Float[Array, "*prompts k k"]
    behaviour_logp: Float[Array, "*prompts k"]

    def __init__(self, preference: Any, behaviour_logp: Any) -> None:
        if validation.is_concrete(preference):
            preference = validation.preference_matrix(preference)
        if preference.shape[-1] < 2:
            raise ValueError(
                f"`preference` must compare at least 2 answers a prompt, got shape {preference.shape}: one "
                f"answer teaches nothing."
            )
        behaviour_logp = validation.log_probabilities(
            "behaviour_logp", behaviour_logp, tuple(preference.shape[:-1])
        )
        self.skew = jnp.asarray(preference) - 0.5
        self.behaviour_logp = jnp.asarray(behaviour_logp, self.skew.dtype)

    @property
    def is_random(self) -> bool:
        """Never: the drawing has been done."""
        return False

    def advantage(
        self, key: PRNGKeyArray, opponent_logp: Float[Array, "*batch n"]
    ) -> Float[Array, "*batch n"]:
        """Each answer's win rate against the opponent as the answers show it, minus 1/2."""
        weights = jnp.exp(self.weights_logp(opponent_logp))
        return jnp.einsum("...ij,...j->...i", self.skew, weights, precision=PRECISION)

    def weights_logp(self, logp: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """What each answer counts in an expectation over a policy, as logarithms `[..., K]`; they sum to 1.

        Args:
            logp: log-probabilities of the answers under that policy, `[..., K]`, up to a constant per prompt.
        """
        return jax.nn.log_softmax(logp - self.behaviour_logp, axis=-1)

    def pairwise(self, key: PRNGKeyArray) -> Float[Array, "*prompts n n"]:
        """The preferences among the answers, minus 1/2."""
        return self.skew

    def comparisons(self, key: PRNGKeyArray, logp: Float[Array, "*batch n"]) -> Comparisons:
        """All pairs of answers, each with the weights that the policy gives them."""
        weights_logp = self.weights_logp(logp)
        weights = jnp.broadcast_to(jnp.exp(weights_logp)[..., None, :], (*logp.shape, logp.shape[-1]))
        return Comparisons(jnp.broadcast_to(self.skew, weights.shape), weights, weights_logp)


def _check_game(name: str, game: Any) -> None:
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` of {name} must be a PreferenceGame, whose preferences can be drawn, got a "
            f"{type(game).__name__}."
        )


def _with_prompts(logp: Any, game: PreferenceGame) -> Array:
    """One policy per prompt."""
    n = game.num_actions
    return jnp.broadcast_to(logp, (*np.broadcast_shapes(logp.shape[:-1], game.policy_shape[:-1]), n))


def _both_ways(logp: Any, margins: Any, shares: Any, num_pairs: Any) -> Comparisons:
    """Pairs (first, second), each seen from both of its sides.

    Args:
        logp: the policy they were drawn from.
        margins: share of all pairs that are these and won by the first, minus half their share.
        shares: share of all pairs that are these.
        num_pairs: how many there were.
    """
    won, seen = margins - margins.swapaxes(-1, -2), shares + shares.swapaxes(-1, -2)
    known = seen > 0
    p = jnp.exp(logp)[..., :, None]
    weights = jnp.where(known, seen / jnp.where(known, 2.0 * p, 1.0), 0.0)
    return Comparisons(won / jnp.where(known, seen, 1.0), weights, logp, num_pairs)
