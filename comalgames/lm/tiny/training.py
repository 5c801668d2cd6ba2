"""Training of a tiny language model on the targets of a rule, round by round.

The code is independent of the rule: targets come from `lm.targets`, reference moves from `lm.schedule`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames.algorithms.base import AbstractUpdateRule, with_dtype
from comalgames.games import PreferenceGame
from comalgames.lm.bridge import fits_labels, policies_of, schedule
from comalgames.lm.tiny import rounds
from comalgames.lm.tiny.model import Transformer
from comalgames.lm.tiny.rounds import Drawn, Fit
from comalgames.measures.metrics import duality_gap


class Run(NamedTuple):
    """The result of `train`; record 0 is the first policy, record t the policy after t rounds.

    Attributes:
        model: the last network.
        reference: the network that is the reference at the end.
        logp: the exact policies, log-probabilities of all answers, `[rounds + 1, prompts, answers]`.
        duality_gap: duality gap of each policy, `[rounds + 1, prompts]`.
        distance: distance in nats from the start of each round to the rule's exact target, which uses all
            answers and the true preferences, `[rounds, prompts]`: the root mean square of the differences in
            margin over pairs of answers drawn by the policy at the start of the round.
        fit_residual: remaining share of that distance after the round, `[rounds, prompts]`: 0 at the exact
            target, 1 if training came no closer. It includes the effect of noise in drawn answers and labels.
            (`lm.fit_residual` estimates it from the answers of a round alone.)
    """

    model: Transformer
    reference: Transformer
    logp: Float[Array, "records prompts answers"]
    duality_gap: Float[Array, "records prompts"]
    distance: Float[Array, "rounds prompts"]
    fit_residual: Float[Array, "rounds prompts"]


def train(
    game: PreferenceGame,
    rule: AbstractUpdateRule[Any],
    model: Transformer,
    num_rounds: int,
    fit: Fit | None = None,
    drawn: Drawn | None = None,
    key: PRNGKeyArray | None = None,
) -> Run:
    """Train a network to follow an update rule, round by round.

    Each round computes the rule's targets for the log-probabilities of the answers, by `lm.targets`, and
    takes gradient steps towards them. The reference is a stored network, replaced by the trained network in
    the rounds given by `lm.schedule`. The function can be mapped:
    `jax.vmap(lambda model: train(game, rule, model, 100))(models)` trains many networks with one compilation.

    Args:
        game: a preference game over all answers, for each prompt of the model.
        rule: any rule that `lm.policies_of` accepts. A rule that fits labels, `IterativeDPO`, needs the loss
            "logistic". With a mirror rule that loss is a damped DPO, see `lm.losses.logistic`.
        model: the first network, and the first reference.
        num_rounds: number of rounds.
        fit: loss and optimizer settings of a round.
        drawn: sampling of answers and comparisons; None, the default, uses all answers, all pairs, and the
            true preferences.
        key: a random key, for drawn answers and for rules that draw random numbers.

    Raises:
        ValueError: the game does not fit the model, `num_rounds` is not a whole number >= 0, the loss does
            not fit the rule, the rule is not defined on sampled answers, or `drawn` is given without a key.

    Example:
        >>> game = cg.games.random(jax.random.key(0), 9, prompts=2)
        >>> model = cg.lm.tiny.Transformer(jax.random.key(1), num_prompts=2)
        >>> run = cg.lm.tiny.train(game, cg.INPO(eta=1.0, tau=0.1), model, num_rounds=3)
        >>> run.duality_gap.shape
        (4, 2)
    """
    fit = Fit() if fit is None else fit
    _check(game, rule, model, fit, drawn, key)
    key = jax.random.key(0) if key is None else key
    numbers = with_dtype(rule, model.unembed.dtype)
    last = reference = model
    logps, distances, residuals = [rounds.answers_logp(model)], [], []
    for todo in schedule(rule, num_rounds):
        round_key = jax.random.fold_in(key, todo.round)
        data = rounds.round_data(round_key, game, numbers, last, reference, todo.round, drawn)
        reached = rounds.fitted(fit, last, data, drawn)
        logps.append(rounds.answers_logp(reached))
        reference_logp = rounds.answers_logp(reference)
        distance, residual = rounds.distance_and_residual(
            round_key, game, numbers, *logps[-2:], reference_logp, todo.round
        )
        distances.append(distance)
        residuals.append(residual)
        last = reached
        if "reference" in todo.stores:
            reference = reached
    logp = jnp.stack(logps)
    nothing = jnp.zeros((0, *logp.shape[1:-1]), logp.dtype)
    return Run(
        model=last,
        reference=reference,
        logp=logp,
        duality_gap=duality_gap(game, logp),
        distance=jnp.stack(distances) if distances else nothing,
        fit_residual=jnp.stack(residuals) if residuals else nothing,
    )


def _check(game: Any, rule: Any, model: Any, fit: Fit, drawn: Drawn | None, key: Any) -> None:
    if not isinstance(fit, Fit) or not isinstance(drawn, Drawn | None):
        raise ValueError(
            f"`fit` must be a tiny.Fit and `drawn` a tiny.Drawn or None, got {fit!r} and {drawn!r}."
        )
    if not isinstance(model, Transformer):
        raise ValueError(f"`model` must be a tiny.Transformer, got a {type(model).__name__}.")
    expected = (model.prompts.shape[-2], model.num_answers)
    if not isinstance(game, PreferenceGame) or game.policy_shape != expected:
        came = game.policy_shape if isinstance(game, PreferenceGame) else type(game).__name__
        raise ValueError(
            f"`game` must be a PreferenceGame over {expected[1]} answers for each of {expected[0]} prompts, "
            f"with policies of shape {expected} like the model, got {came}."
        )
    policies_of(rule)
    is_logistic = fit.loss == "logistic"
    if (fits_labels(rule) and not is_logistic) or (is_logistic and rule.form(0).logistic_beta is None):
        raise ValueError(
            f"`fit` must have a loss that fits the rule, got {fit.loss!r} for {type(rule).__name__}: a rule "
            f"that fits labels (IterativeDPO) needs 'logistic'; a rule with several queries, 'regression'."
        )
    if key is None and (drawn is not None or rule.form(0).is_random):
        raise ValueError("`key` is needed to draw answers, got None; pass one such as jax.random.key(0).")
