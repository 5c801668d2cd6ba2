"""TRL's trainer on a rule's targets: its configuration, its collator, its loss."""

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

# Columns of numbers that the loss reads, besides the answers' own log-probabilities.
COLUMNS = ("preference", "beta", *(f"{what}_{side}" for what in ("target", "anchor") for side in SIDES))


# What TRL's own losses read; these losses would ignore it.
TRLS_OWN = {
    "loss_type": ["sigmoid"], "loss_weights": None, "beta": 0.1, "label_smoothing": 0.0, "ld_alpha": None,
    "f_divergence_type": "reverse_kl", "use_weighting": False, "sync_ref_model": False,
}  # fmt: skip


@dataclass
class PreferenceConfig(DPOConfig):
    """TRL's `DPOConfig` with what a round needs: its own columns kept, one model on the device, nothing sent.

    Attributes:
        loss: "regression" (INPO, COMAL, IPO, and every rule with a target), "pointwise" (SPPO) or "logistic"
            (DPO). Where TRL's own losses read `beta`, these read the rule's.
        average_log_probs: divide an answer's log-probability by its number of tokens; all columns must then
            be made with `average=True` too. Rules weigh long answers less, and no table predicts what they
            do.
        bf16: False; the columns of log-probabilities are made in the precision of the checkpoint, and
            training in another one would miss them by more than a target is from its anchor.
        remove_unused_columns: False, so that the extra columns reach the loss.
        precompute_ref_log_probs: True, so that no second model is held.
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
                raise ValueError(f"`{name}` must be {needed} here, got {getattr(self, name)!r}.")
        for name, default in TRLS_OWN.items():
            if getattr(self, name) != default:
                raise ValueError(
                    f"`{name}` has no effect on a rule's loss; leave it as it is. `loss` chooses among "
                    f"{', '.join(losses.NAMES)}, and the numbers are the rule's."
                )
        super().__post_init__()


@dataclass
class PreferenceCollator(DataCollatorForPreference):
    """TRL's collator for pairs, which keeps the columns of numbers that `build_dataset` made.

    Raises:
        ValueError: an answer is empty, or with its prompt longer than `max_length`; the message names it.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A padded batch: all chosen answers, then all rejected ones, and the columns."""
        for example, side in itertools.product(examples, SIDES):
            answer_length = len(example[f"{side}_ids"])
            length = len(example["prompt_ids"]) + answer_length
            who = f"prompt {example.get('prompt_number', '?')}, answer {example.get(f'{side}_number', '?')}"
            if answer_length == 0:
                raise ValueError(f"{who} has no tokens: an empty answer has no log-probability to train.")
            if self.max_length is not None and length > self.max_length:
                raise ValueError(
                    f"{who} has {length} tokens with its prompt, more than `max_length` = {self.max_length}: "
                    f"its stored log-probability is of the whole answer, and a part of it cannot be trained "
                    f"towards that. Raise `max_length`, or draw shorter answers."
                )
        batch: dict[str, Any] = super().torch_call(examples)
        # TRL's pass over the data before training hands every key of a batch to the model; it adds this one.
        if "ref_chosen_logps" in examples[0]:
            for name in COLUMNS:
                if name in examples[0]:
                    values = [example[name] for example in examples]
                    batch[name] = torch.tensor(values, dtype=torch.get_default_dtype())
        return batch


class PreferenceTrainer(DPOTrainer):
    """TRL's `DPOTrainer`, trained on a rule's targets: only `compute_loss` is its own.

    Pass a model at the last iterate, `ref_model=None`, a `PreferenceConfig`, a `PreferenceCollator` and the
    dataset of a `Lesson`. Its `ref_chosen_logps`, which TRL computes before training, are then the last
    iterate's; the loss does not read them. It returns the plain mean over the pairs of a batch, which TRL
    divides by the number of accumulated batches.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean over the pairs of `lm.losses` on their summed log-probabilities.

        Args:
            model: what is trained.
            inputs: a batch of a `PreferenceCollator`.
            return_outputs: refused: there are no outputs beside the loss.
            num_items_in_batch: of the accumulated batches; not used.

        Raises:
            ValueError: the batch lacks a column that the loss needs, or outputs are asked for.
        """
        if return_outputs:
            raise ValueError(
                "`return_outputs` must be False: PreferenceTrainer computes a loss and nothing else."
            )
        if "preference" not in inputs:
            raise ValueError(
                "`train_dataset` lacks the columns of a rule: use build_dataset and a PreferenceCollator."
            )
        stacked = {
            what: torch.stack([inputs[f"{what}_{side}"] for side in SIDES], -1)
            for what in ("target", "anchor")
            if f"{what}_chosen" in inputs
        }
        wins = inputs["preference"]
        if wins.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"`inputs` came as {wins.dtype}: in half precision a target of -400 is known to 2 nats only. "
                f"Keep batches in float32 (DeepSpeed casts them to its own dtype)."
            )
        preference = torch.stack([torch.stack([wins, wins], -1), torch.stack([1 - wins, wins], -1)], -2)
        logp = torch.stack(completion_logps(model, inputs, self.args.average_log_probs).chunk(2), -1)
        # Every row of a round has the one beta of its rule.
        beta = inputs["beta"][0] if "beta" in inputs else None
        goal = Targets(stacked.get("target"), stacked["anchor"], beta)
        return losses.named(self.args.loss, logp, goal, preference).mean()
