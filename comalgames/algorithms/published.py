"""Published names of rules that equal other rules under a change of parameters, which they return.

Each takes its paper's own numbers. `tests/test_published.py` holds each against the minimizer of the loss
that its paper trains on, found by enumeration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comalgames import regularizers, validation
from comalgames.algorithms.base import AbstractUpdateRule
from comalgames.algorithms.comal import COMAL
from comalgames.algorithms.dpo import OnlineDPO
from comalgames.algorithms.extragradient import Extragradient
from comalgames.algorithms.guarantees import AVERAGE, NASH, OWN, REGULARIZED, guaranteed
from comalgames.algorithms.history import HistoryMirrorDescent
from comalgames.algorithms.mirror_descent import INPO, MMD, MWU, MirrorDescent
from comalgames.algorithms.optimistic import OptimisticMWU
from comalgames.algorithms.policy_gradient import NashMDPG
from comalgames.algorithms.regularized import RegularizedMirrorDescent
from comalgames.algorithms.schedules import AbstractSchedule, Number
from comalgames.algorithms.when import Follow
from comalgames.regularizers import Regularizer


def _number(name: str, value: Number) -> Any:
    """The value, refused if it is a schedule, of which no other schedule can be made here."""
    validation.positive(name, value)
    if isinstance(value, AbstractSchedule):
        raise ValueError(
            f"`{name}` must be a number here, got the schedule {value!r}: pass it to the rule that this "
            f"function returns."
        )
    return value


@guaranteed(AVERAGE, "eta of order T^1/2", "Rosset et al. 2024", same_as="MWU(1 / eta)")
def DNO(eta: Number) -> MWU:
    """Direct Nash optimization, each round trained to its minimum: `MWU(1 / eta)`.

        policy' ~ policy * exp(win rate / eta)

    Args:
        eta: > 0, the *inverse* of a step size.

    Reference: Rosset et al., "Direct Nash Optimization", 2024, algorithm 1.
    """
    return MWU(1.0 / _number("eta", eta))


@guaranteed(AVERAGE, "eta of order T^-1/2", "Gao et al. 2024", same_as="MWU(eta)")
def REBEL(eta: Number) -> MWU:
    """Regression to relative rewards, which are the win rates against the current policy: `MWU(eta)`.

        policy' ~ policy * exp(eta * win rate)

    Args:
        eta: step size, > 0.

    Reference: Gao et al., "REBEL: Reinforcement Learning via Regressing Relative Rewards", 2024, equation 4.
    """
    return MWU(eta)


@guaranteed(
    AVERAGE, "step of order T^-1/2", "Swamy et al. 2024", same_as="MWU(step_size), or HistoryMirrorDescent"
)
def SPO(step_size: Number, queue: int = 1) -> MWU | HistoryMirrorDescent:
    """Self-play preference optimization (Swamy) with Hedge: `MWU`, against the mean of the last policies.

        policy' ~ policy * exp(step_size * mean_{j < queue} win rate against policy[t - j])

    Its average reaches Nash. The queue makes its last policy spiral out faster, because the opponents are
    past policies.

    Args:
        step_size: eta > 0.
        queue: how many of the last policies the opponent is drawn from, >= 1, and at most as many as the run
            has steps.

    Reference: Swamy et al., "A Minimaximalist Approach to Reinforcement Learning from Human Feedback", 2024.
    """
    length = validation.count("queue", queue, minimum=1)
    if length == 1:
        return MWU(step_size)
    return HistoryMirrorDescent(step_size, 0.0, opponent_weights=(1.0 / length,) * length)


@guaranteed(
    REGULARIZED,
    "step < 2 tau / (tau^2 + w^2)",
    "Calandriello et al. 2024",
    same_as="MirrorDescent(step_size, temperature)",
    anywhere="step <= tau / (tau^2 + 1/4), proved; measured: twice that, if also step * tau <= 1",
)
def OnlineIPO(step_size: Number, temperature: Number) -> MirrorDescent:
    """Online IPO, its first version (three answers a comparison): `MirrorDescent`, under another name.

    Args:
        step_size: eta > 0; by SGD of rate lr on n actions it is 4 lr / (n temperature).
        temperature: beta > 0.

    Reference: Calandriello et al., "Human Alignment of Large Language Models through Online Preference
    Optimisation", 2024; Zhou et al., "Extragradient Preference Optimization", 2025, section 3.
    """
    return MirrorDescent(step_size, temperature)


@guaranteed(
    REGULARIZED, "a small step", "Calandriello et al. 2024", same_as="NashMDPG(step_size, temperature)"
)
def OnlineIPOGradient(step_size: Number, temperature: Number) -> NashMDPG:
    """Online IPO, its second version (pairs of the policy, not differentiated): self-play policy gradient.

    `NashMDPG` without a mixture.

    Args:
        step_size: learning rate, > 0; of the paper's loss it is `4 / temperature` times that.
        temperature: tau > 0.

    Reference: Calandriello et al., "Human Alignment of Large Language Models through Online Preference
    Optimisation", 2024, proposition 4.2.
    """
    return NashMDPG(step_size, temperature)


@guaranteed(
    REGULARIZED,
    "step <= 1 / (1 + tau): KL shrinks by 1 - eta tau",
    "Zhou et al. 2025",
    queries="2",
    same_as="Extragradient(step_size, temperature)",
    anywhere="the same",
)
def EGPO(step_size: Number, temperature: Number) -> Extragradient:
    """Extragradient preference optimization: `Extragradient` with a temperature, under another name.

    Args:
        step_size: eta > 0.
        temperature: beta > 0.

    Reference: Zhou et al., "Extragradient Preference Optimization (EGPO)", 2025, theorem 1.
    """
    return Extragradient(step_size, temperature)


@guaranteed(
    REGULARIZED,
    "eta <= 2 beta",
    "Tiapkin et al. 2025, v1",
    queries="2",
    same_as="Extragradient(eta / (beta (1 + eta)), beta)",
)
def NashMirrorProx(step_size: Number, temperature: Number) -> Extragradient:
    """Nash mirror prox: both of its steps are proximal. `Extragradient(eta / (beta (1 + eta)), beta)`.

        policy' = argmax win rate(half) - beta KL(. || reference) - (beta / eta) KL(. || policy)

    Args:
        step_size: its eta > 0, without unit.
        temperature: its beta > 0.

    Reference: Tiapkin et al., "Accelerating Nash Learning from Human Feedback via Mirror Prox", 2025, arXiv
    2505.19731, version 1.
    """
    eta, beta = _number("step_size", step_size), _number("temperature", temperature)
    return Extragradient(eta / (beta * (1.0 + eta)), beta)


@guaranteed(NASH, "a sufficiently long period", "measured", same_as="COMAL(NashMDPG(...), period)")
def NashProx(step_size: Number, temperature: Number, period: Any) -> COMAL[Any]:
    """Proximal point Nash learning: self-play policy gradient inside `COMAL`.

    Args:
        step_size: learning rate, > 0.
        temperature: of each regularized game, > 0.
        period: gradient steps of each.

    Only the abstract of its paper was verified: self-play policy gradient, which is equivalent to online IPO,
    within a proximal point method. Steps, inner stopping rule and bounds of the paper were not.

    Reference: Tiapkin et al., "Proximal Point Nash Learning from Human Feedback", 2026, arXiv 2505.19731,
    version 2, which is another paper than version 1.
    """
    return COMAL(OnlineIPOGradient(step_size, temperature), period)


@guaranteed(
    NASH,
    "a sufficiently long period",
    "Wang et al. 2024",
    same_as="COMAL(MMD(step_size, temperature), period)",
)
def MPO(step_size: Number, temperature: Number, period: Any) -> COMAL[Any]:
    """Magnetic preference optimization: `COMAL` around `MMD`, with the magnet moved periodically.

    Args:
        step_size: eta > 0.
        temperature: of the magnet, > 0.
        period: steps between two moves of the magnet.

    Reference: Wang et al., "Magnetic Preference Optimization", 2024, algorithm 1.
    """
    return COMAL(MMD(step_size, temperature), period)


@guaranteed(NASH, "a slow rate, such as .03", "Sokota et al. 2023; measured", queries="inner")
def MovingReference(inner: AbstractUpdateRule[Any], rate: Any) -> COMAL[Any]:
    """A reference that moves a share `rate` of the way to the policy: `COMAL(inner, when=Follow(rate))`.

        after every step:   reference <- reference^(1 - rate) * policy^rate

    Around `MMD` it is magnetic mirror descent with a moving magnet.

    Args:
        inner: any update rule with a reference.
        rate: share of the policy, above 0 and at most 1.

    Reference: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
    Two-Player Zero-Sum Games", 2023, section 5 and appendix.
    """
    return COMAL(inner, when=Follow(rate))


@guaranteed(
    NASH,
    "1 / eta < 1 / (3^1/2 w)",
    "Wei et al. 2021; its paper bounds the average",
    same_as="OptimisticMWU(1 / eta)",
    anywhere="eta >= 1; proved for 4",
)
def ONPO(eta: Number) -> OptimisticMWU:
    """Optimistic online mirror descent for preferences: `OptimisticMWU(1 / eta)`.

        policy[t] ~ anchor[t] * exp(u[t-1] / eta),    anchor[t+1] ~ anchor[t] * exp(u[t] / eta),    u[-1] = 0

    Elimination of the anchor gives one sequence from the two sequences of the paper. The paper bounds the
    gap of the average only; convergence of the last policy is that of `OptimisticMWU`.

    Args:
        eta: > 0, the *inverse* of a step size.

    Reference: Zhang et al., "Improving LLM General Preference Alignment via Optimistic Online Mirror
    Descent", 2025.
    """
    return OptimisticMWU(1.0 / _number("eta", eta))


@guaranteed(
    REGULARIZED,
    "tau > 0 and a small step; at 0 the limit is Nash if the opponent is the current policy, sum_j j^2 "
    "weights[j] > 1, the numbers j + 1 with weights[j] > 0 have no common divisor above 2, and the step is "
    "small",
    "Wu et al. 2025; measured; derived",
    same_as="HistoryMirrorDescent",
)
def MNPO(
    eta: Number, tau: Number, weights: Sequence[float] = (0.5, 0.5), opponents: str = "policy"
) -> HistoryMirrorDescent:
    """Multiplayer Nash preference optimization with its own past as the players.

        policy' ~ [prod_j policy[t-j]^weights[j]]^(1 - tau/eta) * reference^(tau/eta) * exp(win rate / eta)

    Without a temperature two players spiral away from Nash. Three equal ones reach an exact Nash policy in
    the last iterate, with one query a step and a memory of policies only; see `HistoryMirrorDescent`.

    Args:
        eta: > 0, the *inverse* of a step size.
        tau: temperature, 0 <= tau <= eta.
        weights: of the current policy, the one before, ...; they sum to 1.
        opponents: "policy": the win rate is that against the current policy, which is what the published loss
            on pairs of that policy learns; "past": against the mean of the players, as the paper's update
            says.

    Reference: Wu et al., "Multiplayer Nash Preference Optimization", 2025.
    """
    validation.known("opponents", opponents, ("policy", "past"))
    step_size = 1.0 / _number("eta", eta)
    INPO(eta, tau)  # refuses the same numbers
    players = tuple(weights)
    return HistoryMirrorDescent(step_size, tau, players, players if opponents == "past" else (1.0,))


@guaranteed(REGULARIZED, "a small step", "Tang et al. 2025", same_as="MMD, or RegularizedMirrorDescent")
def RSPO(
    step_size: Number, temperature: Number, regularizer: Regularizer = regularizers.kl
) -> MMD | RegularizedMirrorDescent:
    """Regularized self-play policy optimization: `MMD` for the reverse KL, else `RegularizedMirrorDescent`.

        policy' = argmax win rate - temperature R(., reference) - KL(. || policy) / step_size

    With any other regularizer than `regularizers.kl` the package takes its gradient at the current policy:
    the same fixed points, with an explicit step.

    Args:
        step_size: eta > 0.
        temperature: lambda >= 0.
        regularizer: a function `(p, reference) -> number`.

    Reference: Tang et al., "RSPO: Regularized Self-Play Alignment of Large Language Models", 2025.
    """
    if regularizer is regularizers.kl:
        return MMD(step_size, temperature)
    return RegularizedMirrorDescent(step_size, temperature, regularizer)


@guaranteed(
    REGULARIZED,
    "beta > w; with a fixed reward the limit is the maximizer of the regularized reward",
    "derived",
    same_as="MirrorDescent(1 / beta, beta)",
)
def RLHF(beta: Number) -> MirrorDescent:
    """One exact round of RLHF, from the reference: `MirrorDescent(1 / beta, beta)`, whose pull is 1.

        policy' ~ reference * exp(reward / beta)

    The reward is the win rate against the current policy, recomputed in every round; without `COMAL` the rule
    converges if beta is above the rotation frequency. With `feedback=cg.Reward(reward)` the reward is
    fixed, and the first round reaches the limit. With a Bradley-Terry reward fitted to pairs of the current
    policy it is `OnlineDPO(beta)`.

    Args:
        beta: strength of KL(policy || reference), > 0.

    Reference: Ouyang et al., "Training Language Models to Follow Instructions with Human Feedback", 2022;
    Rafailov et al., "Direct Preference Optimization", 2023, equation 4.
    """
    return MirrorDescent(1.0 / _number("beta", beta), beta)


@guaranteed(OWN, "beta above about 4 times the frequency", "measured", same_as="OnlineDPO(beta)")
def IterativeRLHF(beta: Number) -> OnlineDPO:
    """RLHF whose Bradley-Terry reward is fitted anew to pairs of each policy: `OnlineDPO(beta)`.

    Args:
        beta: strength of KL(policy || reference), > 0.

    Reference: Rafailov et al., "Direct Preference Optimization", 2023, equations 4 and 7.
    """
    return OnlineDPO(beta)
