"""A softmax policy that follows any update rule by gradient steps on a published loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import INNER, guaranteed
from comalgames.algorithms.wrapper import AbstractWrapper
from comalgames.feedback import AbstractFeedback
from comalgames.numerics import simplex
from comalgames.parametric.models import Function, LogLinear, Tabular
from comalgames.parametric.objectives import AbstractObjective, Laws, Regression

# Folded into a round's key for the gradient steps: a number that no `split` of it by a feedback reaches.
FIT_STREAM = 0x5EED


class ParametricState(State):
    """What a `Parametric` remembers besides the policy.

    Attributes:
        inner: the rule's state.
        params: the parameters.
        optimizer_state: the optimizer's, carried from round to round.
        offset: log-probabilities of the first policy minus its model's scores, `[..., n]`.
        mean: the mean of all policies so far, as probabilities `[..., n]`.
    """

    inner: Any
    params: Any
    optimizer_state: Any
    offset: Float[Array, "*batch n"]
    mean: Float[Array, "*batch n"]


@guaranteed(INNER, "enough gradient steps a round", "measured", queries="inner")
class Parametric(AbstractWrapper[ParametricState]):
    """A policy given by the softmax of a model's scores, trained towards what an update rule proposes.

        policy = softmax(offset + logits(params))
        each round:   params <- params after num_fit_steps gradient steps on the loss of the rule's proposal

    The rule is the same object that a table follows; `COMAL` inside takes the policy *reached* as its next
    reference, not the one aimed at. The offset makes the first policy the one that `solve` is given: so runs
    of different models start at the same policy. A round costs the rule's queries, however many gradient
    steps it takes.

    Args:
        inner: any update rule, such as `MirrorDescent(1.0, 0.1)` or `COMAL(MirrorDescent(1.0, 0.1), 20)`.
        logits: the model: `Tabular()`, `LogLinear(features)`, `MLP(features)`, or a function
            `params -> scores` `[..., n]`. Leading axes are prompts that share the parameters, and the loss is
            their mean; with `Tabular` they share nothing, and each learns as if it were alone.
        params: its first parameters, a pytree of floating-point arrays; None for `Tabular` (zeros) and
            `LogLinear` (zeros).
        optimizer: an optax optimizer, such as `optax.sgd(0.1)` or `optax.adam(1e-2)`. In a sweep pass one
            object to all: each call of optax makes functions of its own, which are compiled anew.
        num_fit_steps: gradient steps in a round, >= 1.
        loss: an objective, such as `objectives.Regression()` or `objectives.LabelledPairs()`.

    Raises:
        ValueError: an argument is not as above, `loss` needs a rule that steps by the policy's advantage and
            `inner` does not, or (when a run begins) the model's scores do not fit the game.

    Example:
        >>> import optax
        >>> rule = cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1), period=20)
        >>> learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.5), num_fit_steps=20)
        >>> game = cg.games.comal_cycle()
        >>> cg.solve(game, learner, 2000, init=[0.2, 0.5, 0.3]).policy
        array([0.36363636, 0.27272727, 0.36363636])

    Reference: COMAL, arXiv 2410.23223, on implementing its inner step with published losses.
    """

    inner: AbstractUpdateRule[Any]
    logits: Any
    params: Any
    optimizer: optax.GradientTransformation = eqx.field(static=True)
    num_fit_steps: Any
    loss: AbstractObjective

    def __init__(
        self,
        inner: AbstractUpdateRule[Any],
        logits: Any,
        params: Any,
        optimizer: optax.GradientTransformation,
        num_fit_steps: Any,
        loss: AbstractObjective | None = None,
    ) -> None:
        self.inner = inner
        self.logits = logits if isinstance(logits, eqx.Module) or not callable(logits) else Function(logits)
        is_table = isinstance(logits, Tabular) and isinstance(params, (list, tuple, np.ndarray))
        self.params = jnp.asarray(validation.real_array("params", params)) if is_table else params
        self.optimizer = optimizer
        self.num_fit_steps = num_fit_steps
        self.loss = Regression() if loss is None else loss

    def __check_init__(self) -> None:
        if not isinstance(self.inner, AbstractUpdateRule):
            raise ValueError(
                f"`inner` must be an update rule such as MWU(0.1), or COMAL inside, as in "
                f"Parametric(COMAL(rule, period), ...); got {self.inner!r}."
            )
        given = self.logits.function if isinstance(self.logits, Function) else self.logits
        if not callable(given) or isinstance(given, type):
            raise ValueError(
                f"`logits` must be a model such as Tabular() or a function params -> scores, got {given!r}."
            )
        if not isinstance(self.optimizer, optax.GradientTransformation):
            raise ValueError(
                f"`optimizer` must be an optax optimizer such as optax.sgd(0.1), got {self.optimizer!r}."
            )
        if validation.is_concrete(self.num_fit_steps):
            validation.count("num_fit_steps", self.num_fit_steps, minimum=1)
        if not isinstance(self.loss, AbstractObjective):
            raise ValueError(
                f"`loss` must be an instance of one of comalgames.objectives: Regression() follows every "
                f"rule, LabelledPairs() is IPO's, INPO's and COMAL's loss, Logistic() DPO's, Pointwise() "
                f"SPPO's and RSPO's, PolicyGradient() RLHF's, KTO(), NCA(), BCO(); got {self.loss!r}."
            )
        if self.loss.needs != "target" and self.inner.form(0).advantage_weight is None:
            raise ValueError(
                f"`loss` {type(self.loss).__name__} is made of {self.loss.needs} of the current policy and "
                f"cannot follow `inner` {self.inner!r}, whose form states no advantage_weight: its target is "
                f"not its anchor plus a multiple of the policy's own advantage. Use objectives.Regression(), "
                f"which follows every rule, or a rule such as MirrorDescent; for iterative DPO, "
                f"MWU(1 / beta) with Logistic()."
            )
        if self.params is None and not isinstance(self.logits, (Tabular, LogLinear)):
            raise ValueError(
                "`params` must be the model's first parameters, such as mlp.initial(jax.random.key(0)); got "
                "None."
            )
        for leaf in jax.tree.leaves(self.params):
            if not eqx.is_inexact_array_like(leaf):
                raise ValueError(f"`params` must be a pytree of floating-point arrays; it holds {leaf!r}.")

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> ParametricState:
        """The state before the first round, at exactly the policy `logp`."""
        params = self._first_params(logp)
        scores = self.logits(params)
        shape = np.shape(scores)
        try:
            fits = shape[-1:] == logp.shape[-1:] and np.broadcast_shapes(shape, logp.shape) == logp.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"`logits` gives scores of shape {shape} for policies of shape {logp.shape}: features must "
                f"be [..., n, d] with n = {logp.shape[-1]} actions, and the game's prompts before that."
            )
        return ParametricState(
            logp=logp,
            reference=reference,
            step=jnp.zeros((), jnp.int32),
            inner=self.inner.init(logp, reference),
            params=params,
            optimizer_state=self.optimizer.init(params),
            offset=logp - scores,
            mean=jnp.exp(logp),
        )

    def step(self, key: PRNGKeyArray, state: ParametricState, feedback: AbstractFeedback) -> ParametricState:
        """One round. The rule's key is the one that a table would give it, so both meet the same noise."""
        laws = Laws(state.logp, state.inner.reference, jnp.log(state.mean))
        lesson, inner = self.loss.teach(key, self.inner, state.inner, laws, feedback)
        fit_key = jax.random.fold_in(key, FIT_STREAM)
        shares_nothing = isinstance(self.logits, Tabular) and state.params.shape == state.logp.shape

        def loss(params: Any, k: Any) -> Array:
            logp = simplex.log_normalize(state.offset + self.logits(params))
            per_prompt = self.loss(jax.random.fold_in(fit_key, k), logp, lesson)
            return jnp.sum(per_prompt) if shares_nothing else jnp.mean(per_prompt)

        def fit_step(k: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, optimizer_state = carry
            gradient = jax.grad(loss)(params, k)
            # optax mixes integers with floats.
            with jax.numpy_dtype_promotion("standard"):
                updates, optimizer_state = self.optimizer.update(gradient, optimizer_state, params)
                return optax.apply_updates(params, updates), optimizer_state

        num = jnp.asarray(self.num_fit_steps).astype(jnp.int32)
        carry = (state.params, state.optimizer_state)
        params, optimizer_state = jax.lax.fori_loop(0, num, fit_step, carry)
        logp = simplex.log_normalize(state.offset + self.logits(params))
        inner = self.inner.commit(inner, logp)
        count = (state.step + 2).astype(logp.dtype)
        return replace(
            state,
            logp=logp,
            reference=inner.reference,
            step=state.step + 1,
            inner=inner,
            params=params,
            optimizer_state=optimizer_state,
            mean=state.mean + (jnp.exp(logp) - state.mean) / count,
        )

    def form(self, step: Any) -> Form:
        """The form of the inner rule; random if the loss draws pairs or answers."""
        form = super().form(step)
        return form._replace(is_random=form.is_random or self.loss.is_random, payoff_powers=None)

    def _first_params(self, logp: Float[Array, "*batch n"]) -> Any:
        if self.params is not None:
            return jax.tree.map(jnp.asarray, self.params)
        return jnp.zeros_like(logp) if isinstance(self.logits, Tabular) else self.logits.initial()
