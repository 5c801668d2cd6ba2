"""Mirror rules with one query per step: six published rules that differ only in two weights."""

from __future__ import annotations

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractMirrorRule, State
from comalgames.algorithms.form import Form
from comalgames.algorithms.guarantees import AVERAGE, REGULARIZED, guaranteed
from comalgames.algorithms.schedules import Number, at
from comalgames.feedback import AbstractFeedback
from comalgames.numerics.lambert import least_squares_policy


@guaranteed(AVERAGE, "step of order T^-1/2", "Freund and Schapire 1999")
class MWU(AbstractMirrorRule):
    """Multiplicative weights (Hedge): multiply each probability by `exp(step_size * advantage)`.

        policy' ~ policy * exp(step_size * advantage)

    The average policy approaches Nash at T^-1/2 for a step of that order; the last one spirals away from an
    interior Nash policy for every step size: KL(Nash || policy) grows each step by
    log E_policy exp(step_size * advantage).

    Args:
        step_size: eta > 0, in units of 1 / payoff.

    Raises:
        ValueError: `step_size` is not a finite number above 0.

    Reference: Freund and Schapire, "Adaptive Game Playing Using Multiplicative Weights", 1999; the
    divergence: Bailey and Piliouras, "Multiplicative Weights Update in Zero-Sum Games", 2018.
    """

    step_size: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)

    def form(self, step: Any) -> Form:
        """The step size is eta; there is no reference."""
        return Form(
            advantage_weight=at(self.step_size, step), step="step_size", payoff_powers={"step_size": -1}
        )


@guaranteed(AVERAGE, "step of order T^-1/2; with exact=True a small step", "Wu et al. 2024")
class SPPO(AbstractMirrorRule):
    """Self-play preference optimization with the intended step, exponential weights on the win rate.

        policy' ~ policy * exp(step_size * (win rate - 1/2))

    As a table this is `MWU`, with its guarantee for the average and none for the last policy. SPPO's squared
    loss uses 1/2 in place of the unknown normalizer, and therefore its minimizer over all policies is not
    this step. With `exact=True` the step is that minimizer:

        policy' = policy * exp(x - W(c exp(x))),    x = step_size * (win rate - 1/2)

    W is Lambert's function and c >= 0 makes it a policy. The two differ at third order in the step; with the
    published step of 1000 they are far apart, and both leave the interior at once.

    Args:
        step_size: eta > 0, the published 1 / beta (their beta = 1e-3 is a step of 1000).
        exact: whether to go to the minimizer of the published loss.

    Raises:
        ValueError: `step_size` is not a finite number above 0, or `exact` is not True or False.

    Reference: Wu et al., "Self-Play Preference Optimization for Language Model Alignment", 2024,
    equation 3.3. The minimizer by Lambert's function: Xu et al., "Approximation of Log-Partition Function in
    Policy Mirror Descent Induces Implicit Regularization for LLM Post-Training", 2026, arXiv 2602.05933.
    """

    step_size: Number
    exact: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        if not isinstance(self.exact, bool):
            raise ValueError(f"`exact` must be True or False, got {self.exact!r}.")

    def form(self, step: Any) -> Form:
        """The step size is eta; the exact minimizer is not linear in the advantage."""
        weight = None if self.exact else at(self.step_size, step)
        return Form(
            advantage_weight=weight,
            step="step_size",
            payoff_powers={"step_size": -1},
            needs_all_actions=self.exact,
        )

    def propose(
        self, key: PRNGKeyArray, state: State, feedback: AbstractFeedback
    ) -> tuple[Float[Array, "*batch n"], State]:
        """Apply one of the two formulas in the docstring of the class."""
        if not self.exact:
            return super().propose(key, state, feedback)
        aim = at(self.step_size, state.step) * feedback.advantage(key, state.logp)
        return least_squares_policy(state.logp, aim), state


@guaranteed(AVERAGE, "tau of order T^1/2", "Freund and Schapire 1999")
class IterativeIPO(AbstractMirrorRule):
    """IPO repeated with the last policy as its reference: exactly `MWU` with step 1 / tau.

        policy' ~ policy * exp(advantage / tau)

    It is the minimizer over all policies of the IPO loss
    `E (log(policy'(w)/policy(w)) - log(policy'(l)/policy(l)) - 1/(2 tau))^2` with both answers drawn from the
    current policy.

    Args:
        tau: IPO's regularization, > 0.

    Raises:
        ValueError: `tau` is not a finite number above 0.

    Reference: Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
    2023, equation 17, iterated as in COMAL, arXiv 2410.23223, section 5.
    """

    tau: Number

    def __check_init__(self) -> None:
        validation.positive("tau", self.tau)

    def form(self, step: Any) -> Form:
        """The step size is 1 / tau; there is no reference."""
        return Form(
            advantage_weight=1.0 / at(self.tau, step), step="tau", is_inverse=True, payoff_powers={"tau": 1}
        )


@guaranteed(
    REGULARIZED,
    "step < 2 tau / (tau^2 + w^2)",
    "Liu et al. 2024; derived; from every start Sokota et al. 2023",
    anywhere="step <= tau / (tau^2 + 1/4), proved; measured: twice that, if also step * tau <= 1",
)
class MirrorDescent(AbstractMirrorRule):
    """Mirror descent on the KL-regularized game, with an explicit step for the regularizer (online IPO).

        policy' ~ policy^(1 - eta tau) * reference^(eta tau) * exp(eta * advantage)

    With temperature > 0 its only interior fixed point is the equilibrium of the game regularized by
    temperature * KL(policy || reference). It converges there locally iff eta < 2 tau / (tau^2 + w^2), w the
    largest rotation frequency there. That equilibrium is in general not Nash; inside `COMAL` the same step
    reaches Nash.

    Args:
        step_size: eta > 0, in units of 1 / payoff.
        temperature: tau >= 0, in units of payoff. `step_size * temperature` may exceed 1.

    Raises:
        ValueError: `step_size` is not a finite number above 0, or `temperature` not one of at least 0.

    Reference: COMAL, arXiv 2410.23223, algorithm 2; Calandriello et al., "Human Alignment of Large Language
    Models through Online Preference Optimisation", 2024.
    """

    step_size: Number
    temperature: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)

    def form(self, step: Any) -> Form:
        """The pull is eta tau, and the step size is eta."""
        step_size, temperature = at(self.step_size, step), at(self.temperature, step)
        return Form(
            pull=step_size * temperature,
            advantage_weight=step_size,
            temperature=temperature,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
        )


@guaranteed(REGULARIZED, "step < 2 tau / (w^2 - tau^2); any step if tau >= w", "Sokota et al. 2023; derived")
class MMD(AbstractMirrorRule):
    """Magnetic mirror descent: `MirrorDescent` with the regularizer's gradient taken implicitly.

        policy' ~ [policy * reference^(eta tau) * exp(eta * advantage)]^(1 / (1 + eta tau))

    The same algorithm as `MirrorDescent(eta / (1 + eta tau), tau)`. It contracts locally iff
    eta < 2 tau / (w^2 - tau^2), and for every step size if tau >= w.

    Args:
        step_size: eta > 0, in units of 1 / payoff.
        temperature: tau >= 0, in units of payoff.

    Raises:
        ValueError: `step_size` is not a finite number above 0, or `temperature` not one of at least 0.

    Reference: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
    Two-Player Zero-Sum Games", 2023, equation 5.
    """

    step_size: Number
    temperature: Number

    def __check_init__(self) -> None:
        validation.positive("step_size", self.step_size)
        validation.non_negative("temperature", self.temperature)

    def form(self, step: Any) -> Form:
        """The pull is eta tau / (1 + eta tau), and the step size is eta / (1 + eta tau)."""
        step_size, temperature = at(self.step_size, step), at(self.temperature, step)
        strength = step_size * temperature
        return Form(
            pull=strength / (1.0 + strength),
            advantage_weight=step_size / (1.0 + strength),
            temperature=temperature,
            step="step_size",
            payoff_powers={"step_size": -1, "temperature": 1},
        )


@guaranteed(
    REGULARIZED,
    "1 / eta < 2 tau / (tau^2 + w^2)",
    "Zhang et al. 2024; derived; from every start Sokota et al. 2023",
    anywhere="1 / eta <= tau / (tau^2 + 1/4), proved; measured: twice that, if also tau <= eta",
)
class INPO(AbstractMirrorRule):
    """Iterative Nash policy optimization, in its own parameters: `MirrorDescent(1 / eta, tau)`.

        policy' ~ policy^(1 - tau/eta) * reference^(tau/eta) * exp(advantage / eta)

    It stops at the equilibrium of the regularized game, whose duality gap is a positive constant unless that
    equilibrium happens to be Nash.

    Args:
        eta: > 0, the *inverse* of a step size.
        tau: strength of KL(policy || reference), 0 <= tau <= eta: else the step has a negative weight on the
            current policy and the paper's loss no longer defines it.

    Raises:
        ValueError: `eta` or `tau` is not finite, out of range, or tau > eta.

    Reference: Zhang et al., "Iterative Nash Policy Optimization", 2024, equation 8.
    """

    eta: Number
    tau: Number

    def __check_init__(self) -> None:
        validation.positive("eta", self.eta)
        validation.non_negative("tau", self.tau)
        values: tuple[Any, Any] = (self.tau, self.eta)
        known = all(validation.is_concrete(value) and not callable(value) for value in values)
        if known and float(values[0]) > float(values[1]):
            raise ValueError(
                f"`tau` must be at most `eta`, got tau={self.tau!r}, eta={self.eta!r} (eta is an inverse "
                f"step size). For larger steps use MirrorDescent(1 / eta, tau)."
            )

    def form(self, step: Any) -> Form:
        """The pull is tau / eta, and the step size is 1 / eta."""
        eta, tau = at(self.eta, step), at(self.tau, step)
        return Form(
            pull=tau / eta,
            advantage_weight=1.0 / eta,
            temperature=tau,
            step="eta",
            is_inverse=True,
            payoff_powers={"eta": 1, "tau": 1},
        )
