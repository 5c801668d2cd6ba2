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
from comalgames.parametric.objectives import AbstractObjective, Distributions, Regression

# Number folded into the key of a round for the gradient steps; it differs from all keys that a feedback
# splits.
FIT_STREAM = 0x5EED


class ParametricState(State):
    """The state of a `Parametric`.

    Attributes:
        inner: state of the inner rule.
        params: parameters of the model.
        optimizer_state: state of the optimizer, kept from round to round.
        offset: log-probabilities of the first policy minus the first scores of the model, `[..., n]`.
        mean: mean of all policies so far, probabilities `[..., n]`.
    """

    inner: Any
    params: Any
    optimizer_state: Any
    offset: Float[Array, "*batch n"]
    mean: Float[Array, "*batch n"]


@guaranteed(INNER, "enough gradient steps per round", "measured", queries="inner")
class Parametric(AbstractWrapper[ParametricState]):
    """A softmax policy with parameters, trained by gradient steps towards the proposals of an update rule.

        policy = softmax(offset + logits(params))
        each round:   params <- params after num_fit_steps gradient steps on the loss of the rule's proposal

    The rule is the same object as for tabular policies; a `COMAL` inside moves its reference to the trained
    policy, not to the target. The offset makes the first policy equal to the `init` of `solve`, so that runs
    of different models start at the same policy. The queries of a round are those of the rule, independent of
    the number of gradient steps.

    Args:
        inner: any update rule, such as `MirrorDescent(1.0, 0.1)` or `COMAL(MirrorDescent(1.0, 0.1), 20)`.
        logits: the model: `Tabular()`, `LogLinear(features)`, `MLP(features)`, or a function
            `params -> scores` `[..., n]`. Leading axes are prompts that share the parameters, and the loss is
            the mean over them; with `Tabular` prompts share no parameters and learn independently.
        params: the first parameters, a pytree of floating-point arrays; None for `Tabular` and `LogLinear`,
            which start from zeros.
        optimizer: an optax optimizer, such as `optax.sgd(0.1)` or `optax.adam(1e-2)`. In a sweep, pass the
            same object to all: each call of optax makes new functions, which would be compiled again.
        num_fit_steps: number of gradient steps per round, >= 1.
        loss: an objective, such as `objectives.Regression()` or `objectives.LabelledPairs()`.

    Raises:
        ValueError: an argument is not as described, `loss` needs a rule whose proposal contains the policy's
            advantage and `inner` is another rule, or (at the start of a run) the scores of the model do not
            fit the game.

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
                f"`inner` must be an update rule such as MWU(0.1), or a COMAL as in "
                f"Parametric(COMAL(rule, period), ...), got {self.inner!r}."
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
                f"`loss` must be an instance of a class in comalgames.objectives: Regression() (for every "
                f"rule), LabelledPairs() (IPO, INPO, COMAL), Logistic() (DPO), Pointwise() (SPPO, RSPO), "
                f"PolicyGradient() (RLHF), KTO(), NCA() or BCO(); got {self.loss!r}."
            )
        if self.loss.needs != "target" and self.inner.form(0).advantage_weight is None:
            raise ValueError(
                f"`loss` {type(self.loss).__name__} uses {self.loss.needs} of the current policy and cannot "
                f"follow `inner` {self.inner!r}, whose form has no advantage_weight: its target is not its "
                f"anchor plus a multiple of the advantage against the policy. Use objectives.Regression(), "
                f"which follows every rule, or a rule such as MirrorDescent; for iterative DPO, use "
                f"MWU(1 / beta) with Logistic()."
            )
        if self.params is None and not isinstance(self.logits, (Tabular, LogLinear)):
            raise ValueError(
                "`params` must be the first parameters of the model, such as mlp.initial(jax.random.key(0)), "
                "got None."
            )
        for leaf in jax.tree.leaves(self.params):
            if not eqx.is_inexact_array_like(leaf):
                raise ValueError(f"`params` must be a pytree of floating-point arrays, got a leaf {leaf!r}.")

    def init(self, logp: Float[Array, "*batch n"], reference: Float[Array, "*batch n"]) -> ParametricState:
        """The state before the first round, whose policy is exactly `logp`."""
        params = self._first_params(logp)
        scores = self.logits(params)
        shape = np.shape(scores)
        try:
            fits = shape[-1:] == logp.shape[-1:] and np.broadcast_shapes(shape, logp.shape) == logp.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"`logits` must return scores that broadcast to policies of shape {logp.shape}, got shape "
                f"{shape}: features must be [..., n, d] with n = {logp.shape[-1]} actions, preceded by the "
                f"prompts of the game."
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
        """One round; the rule gets the same key as for a tabular policy, hence the same noise."""
        distributions = Distributions(state.logp, state.inner.reference, jnp.log(state.mean))
        lesson, inner = self.loss.teach(key, self.inner, state.inner, distributions, feedback)
        fit_key = jax.random.fold_in(key, FIT_STREAM)
        shares_nothing = isinstance(self.logits, Tabular) and state.params.shape == state.logp.shape

        def loss(params: Any, k: Any) -> Array:
            logp = simplex.log_normalize(state.offset + self.logits(params))
            per_prompt = self.loss(jax.random.fold_in(fit_key, k), logp, lesson)
            return jnp.sum(per_prompt) if shares_nothing else jnp.mean(per_prompt)

        def fit_step(k: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, optimizer_state = carry
            gradient = jax.grad(loss)(params, k)
            # optax adds integers to floats, which strict promotion forbids.
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
