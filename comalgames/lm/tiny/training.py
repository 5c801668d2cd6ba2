"""Train a tiny language model round by round, as a trainer does that follows the bridge.

Nothing of any rule is written here: what to aim at and when to move the reference are asked of the rule.
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
    """What training left behind; record 0 is the first policy, record t that after t rounds.

    Attributes:
        model: the last network.
        reference: the network that was the reference at the end.
        logp: the policies, exactly: log-probabilities of all answers, `[rounds + 1, prompts, answers]`.
        duality_gap: of each of them, `[rounds + 1, prompts]`.
        distance: how far each round had to go, `[rounds, prompts]`: the root mean square, over pairs of
            answers drawn by the policy that it began with, of the margins' distance to the rule's exact
            target (of all answers and true preferences; what a table would step to). In nats.
        fit_residual: the share of that distance left after the round, `[rounds, prompts]`: 0 where training
            reached the exact target, 1 where it got no nearer. It counts what noise in drawn answers and
            labels does as well. (`lm.fit_residual` estimates it where only a round's answers are known.)
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

    A round asks the rule, by `lm.targets`, where the answers' log-probabilities should go, and takes gradient
    steps towards it. The reference is a stored network: the one *reached* when `lm.schedule` says so. The
    function can be mapped: `jax.vmap(lambda model: train(game, rule, model, 100))(models)` is many networks
    at the cost of one compilation.

    Args:
        game: one preference game over all answers for each prompt of the model.
        rule: any rule that `lm.policies_of` accepts. A rule that fits labels, `IterativeDPO`, needs
            the loss "logistic". With a mirror rule that loss is damped DPO, see `lm.losses.logistic`.
        model: the first network, and the first reference.
        num_rounds: how many rounds.
        fit: how a round trains.
        drawn: how answers are drawn and compared; None, the default, for all answers, all pairs, and the
            preferences themselves as labels.
        key: a random key, for drawn answers and rules that draw something.

    Raises:
        ValueError: the game does not fit the model, `num_rounds` is not a whole number >= 0, the loss does
            not fit the rule, the rule makes no sense on sampled answers, or `drawn` comes without a key.

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
        lesson = rounds.lesson(round_key, game, numbers, last, reference, todo.round, drawn)
        reached = rounds.fitted(fit, last, lesson, drawn)
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
            f"`fit` must be a tiny.Fit and `drawn` a tiny.Drawn or None, got {fit!r}, {drawn!r}."
        )
    if not isinstance(model, Transformer):
        raise ValueError(f"`model` must be a tiny.Transformer, got a {type(model).__name__}.")
    expected = (model.prompts.shape[-2], model.num_answers)
    if not isinstance(game, PreferenceGame) or game.policy_shape != expected:
        came = game.policy_shape if isinstance(game, PreferenceGame) else type(game).__name__
        raise ValueError(
            f"`game` must be a PreferenceGame over {expected[1]} answers for each of {expected[0]} prompts, "
            f"policies of shape {expected} as the model has them; got {came}."
        )
    policies_of(rule)
    is_logistic = fit.loss == "logistic"
    if (fits_labels(rule) and not is_logistic) or (is_logistic and rule.form(0).logistic_beta is None):
        raise ValueError(
            f"`fit` has the loss {fit.loss!r}, which {type(rule).__name__} does not train on: a rule that "
            f"fits labels (IterativeDPO) needs 'logistic'; one with several queries, 'regression'."
        )
    if key is None and (drawn is not None or rule.form(0).is_random):
        raise ValueError("`key` is needed to draw answers: pass jax.random.key(0).")
