"""The numbers of a rule's step, which diagnostics, trainers and COMAL read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from comalgames import regularizers
from comalgames.regularizers import Regularizer


class Form(NamedTuple):
    """The numbers of one step of a rule, and the names of the fields that they come from.

    Every entry has a neutral default, so that a rule states only the entries that apply to it. A rule that
    wraps another rule returns the form of the inner rule with its changes:
    `self.inner.form(step)._replace(...)`.

    Attributes:
        pull: weight m of the reference in the step; 0 for a rule without a reference. `COMAL` needs it.
        advantage_weight: s, if the target is the anchor plus s times the policy's own advantage; else None.
            The losses on labelled pairs and on win rates need it.
        beta: DPO's beta, for a rule that fits labels by the logistic loss; else None.
        temperature: tau, if the rule seeks the equilibrium of the game regularized by
            `tau * regularizer(policy, reference)`; None where it seeks something else or does not say.
        regularizer: that function.
        step: name of the field that sets the length of a step, such as "step_size" or "eta"; "" if none does.
        is_inverse: whether a larger value of that field means a shorter step.
        payoff_powers: for a rule that reads payoffs through its numbers only: multiplying all payoffs by c
            and each of these fields by c to its power leaves the path unchanged. None for other rules.
        reference: what happens to the reference: "held", "jumps" to the policy now and then, or "follows" it.
        period: number of steps after which the same kind of step comes again; None if the run decides.
        needs_all_actions: whether a step at one action needs the probabilities of all others, so that a
            sample of answers does not suffice.
        is_floored: whether log-probabilities below `regularizers.log_floor` all count as that.
        reads_log_odds: whether the step reads log-odds of preferences, which must not be exactly 0 or 1.
        is_random: whether steps draw random numbers of their own, so that a run needs a key.

    Example:
        >>> cg.INPO(eta=2.0, tau=0.1).form(step=0).pull
        0.05
    """

    pull: Any = 0.0
    advantage_weight: Any = None
    beta: Any = None
    temperature: Any = None
    regularizer: Regularizer = regularizers.kl
    step: str = ""
    is_inverse: bool = False
    payoff_powers: Mapping[str, int] | None = None
    reference: str = "held"
    period: Any = 1
    needs_all_actions: bool = False
    is_floored: bool = False
    reads_log_odds: bool = False
    is_random: bool = False

    @property
    def logistic_beta(self) -> Any:
        """The beta with which DPO's logistic loss trains the rule: `beta`, else 1 / `advantage_weight`."""
        if self.beta is not None:
            return self.beta
        return None if self.advantage_weight is None else 1.0 / self.advantage_weight

    @property
    def kl_temperature(self) -> Any:
        """The temperature, if the regularizer is KL(policy || reference); else None."""
        return self.temperature if self.regularizer is regularizers.kl else None

    @property
    def moves_reference(self) -> bool:
        """Whether the rule moves its reference, so that it aims at Nash."""
        return self.reference != "held"
