"""A TRL trainer on a rule's targets: configuration, collator and loss."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from comalgames import validation
from comalgames.lm import losses
from comalgames.lm.bridge import Targets
from comalgames.lm.trl.dataset import SIDES
from comalgames.lm.trl.models import completion_logps

# Columns of numbers that the loss reads in addition to the log-probabilities of the answers.
COLUMNS = ("preference", "beta", *(f"{what}_{side}" for what in ("target", "anchor") for side in SIDES))


# Settings of TRL's losses, with their defaults; the losses of this package ignore them.
TRLS_OWN = {
    "loss_type": ["sigmoid"], "loss_weights": None, "beta": 0.1, "label_smoothing": 0.0, "ld_alpha": None,
    "f_divergence_type": "reverse_kl", "use_weighting": False, "sync_ref_model": False,
}  # fmt: skip


@dataclass
class PreferenceConfig(DPOConfig):
    """TRL's `DPOConfig` with the settings that a round needs.

    Attributes:
        loss: "regression" (INPO, COMAL, IPO, and every rule with a target), "pointwise" (SPPO) or "logistic"
            (DPO), which takes its beta from the rule.
        average_log_probs: whether to divide the log-probability of an answer by its number of tokens; all
            columns must then be computed with `average=True` too. Long answers have less weight then, and the
            predictions of this package do not apply.
        bf16: False; the columns of log-probabilities are computed in the precision of the checkpoint, and the
            rounding errors of another precision would exceed the distance between target and anchor.
        remove_unused_columns: False, so that the extra columns reach the loss.
        precompute_ref_log_probs: True, so that no second model is kept on the device.
        report_to: "none".
    """

    loss: str = "regression"
    average_log_probs: bool = False
    bf16: bool | None = False
    remove_unused_columns: bool | None = False
    precompute_ref_log_probs: bool = True
    report_to: Any = "none"

    def __post_init__(self) -> None:
        validation.known("loss", self.loss, losses.NAMES)
        for name, needed in (("remove_unused_columns", False), ("precompute_ref_log_probs", True)):
            if getattr(self, name) is not needed:
                raise ValueError(
                    f"`{name}` must be {needed} in a PreferenceConfig, got {getattr(self, name)!r}; omit it."
                )
        for name, default in TRLS_OWN.items():
            if getattr(self, name) != default:
                raise ValueError(
                    f"`{name}` has no effect on the losses of a rule, got {getattr(self, name)!r}; keep its "
                    f"default {default!r}. Choose the loss by `loss` ({', '.join(losses.NAMES)}), and set "
                    f"its parameters in the rule."
                )
        super().__post_init__()


@dataclass
class PreferenceCollator(DataCollatorForPreference):
    """TRL's collator for pairs, extended by the columns of numbers from `build_dataset`.

    Raises:
        ValueError: an answer is empty, or longer than `max_length` with its prompt; the message names it.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad the examples to a batch: all chosen answers, then all rejected answers, and the columns."""
        for example, side in itertools.product(examples, SIDES):
            answer_length = len(example[f"{side}_ids"])
            length = len(example["prompt_ids"]) + answer_length
            who = f"prompt {example.get('prompt_number', '?')}, answer {example.get(f'{side}_number', '?')}"
            if answer_length == 0:
                raise ValueError(
                    f"`train_dataset` must not contain empty answers, but {who} has no tokens; remove it."
                )
            if self.max_length is not None and length > self.max_length:
                raise ValueError(
                    f"{who} has {length} tokens with its prompt, more than `max_length` = {self.max_length}; "
                    f"the stored log-probabilities are those of whole answers, so that answers cannot be "
                    f"truncated. Increase `max_length`, or draw shorter answers."
                )
        batch: dict[str, Any] = super().torch_call(examples)
        # The columns are added only after TRL's pass over the data before training, which passes all keys of
        # a batch to the model and adds the key below.
        if "ref_chosen_logps" in examples[0]:
            for name in COLUMNS:
                if name in examples[0]:
                    values = [example[name] for example in examples]
                    batch[name] = torch.tensor(values, dtype=torch.get_default_dtype())
        return batch


class PreferenceTrainer(DPOTrainer):
    """TRL's `DPOTrainer` with a loss on a rule's targets; it overrides only `compute_loss`.

    Pass a model with the parameters of the last policy, `ref_model=None`, a `PreferenceConfig`, a
    `PreferenceCollator` and a dataset from `build_dataset`. The `ref_chosen_logps` that TRL computes before
    training are then those of the last policy; the loss does not use them. The loss is the mean over the
    pairs of a batch, which TRL divides by the number of accumulated batches.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch: the mean over its pairs of the configured loss of `lm.losses`.

        Args:
            model: the trained model.
            inputs: a batch of a `PreferenceCollator`.
            return_outputs: must be False, because only the loss is computed.
            num_items_in_batch: number of items in the accumulated batches; not used.

        Raises:
            ValueError: the batch lacks a column that the loss needs, or outputs are requested.
        """
        if return_outputs:
            raise ValueError(
                f"`return_outputs` must be False, got {return_outputs!r}: PreferenceTrainer computes only "
                f"the loss."
            )
        if "preference" not in inputs:
            raise ValueError(
                "`train_dataset` must have the columns of a rule, but 'preference' is missing; build it with "
                "build_dataset and pass a PreferenceCollator."
            )
        stacked = {
            what: torch.stack([inputs[f"{what}_{side}"] for side in SIDES], -1)
            for what in ("target", "anchor")
            if f"{what}_chosen" in inputs
        }
        wins = inputs["preference"]
        if wins.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"`inputs` must be float32 or float64, but came as {wins.dtype}, in which a target of -400 "
                f"has rounding errors of up to 2 nats. Keep batches in float32 (DeepSpeed casts them to its "
                f"dtype)."
            )
        preference = torch.stack([torch.stack([wins, wins], -1), torch.stack([1 - wins, wins], -1)], -2)
        logp = torch.stack(completion_logps(model, inputs, self.args.average_log_probs).chunk(2), -1)
        # All rows of a round have the same beta.
        beta = inputs["beta"][0] if "beta" in inputs else None
        goal = Targets(stacked.get("target"), stacked["anchor"], beta)
        return losses.named(self.args.loss, logp, goal, preference).mean()
