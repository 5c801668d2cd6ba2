"""Language models as policies: loading, drawing answers, computing log-probabilities of answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import selective_log_softmax

from comalgames import validation
from comalgames.lm import losses
from comalgames.lm.judging import check_answers


def load(folder: Path | str, trainable: bool = False) -> Any:
    """Load a model from a folder: a complete model, or a LoRA adapter with its base model.

    Only safetensors are read, and no code from the folder is executed.

    Args:
        folder: the folder written by `save_pretrained`.
        trainable: whether the parameters of an adapter are trainable.
    """
    if not Path(folder).is_dir():
        raise ValueError(
            f"`folder` must be a folder written by `save_pretrained`; there is no folder {str(folder)!r}."
        )
    safe = {"use_safetensors": True, "trust_remote_code": False}
    if not (Path(folder) / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(folder, **safe)
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=trainable, **safe)


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    num_answers: int,
    max_new_tokens: int,
    seed: int,
    batch_size: int = 32,
) -> list[list[str]]:
    """Draw K answers to each prompt from the model's distribution at temperature 1, without truncation.

    The model's generation config is ignored, except for the tokens that end an answer: answers drawn in any
    other way come from another policy, and the rule would converge to another limit.

    Args:
        model: a causal language model.
        tokenizer: the tokenizer of the model.
        prompts: strings, or lists of messages for a chat model.
        num_answers: K >= 2.
        max_new_tokens: largest number of tokens in an answer. A longer answer is cut off and treated as if it
            ended there, so choose it large enough.
        seed: random seed; the global random state of torch is restored afterwards.
        batch_size: number of prompts per batch.

    Raises:
        ValueError: `num_answers` is below 2, or there is no prompt.
    """
    num_answers = validation.count("num_answers", num_answers, minimum=2)
    if isinstance(prompts, str) or len(prompts) == 0:
        raise ValueError(f"`prompts` must be a list of at least one prompt, got {prompts!r}.")
    answers = []
    with torch.random.fork_rng(), _evaluating(model), _pure_sampling(model, tokenizer):
        torch.manual_seed(seed)
        for first in range(0, len(prompts), batch_size):
            ids = [_prompt_ids(tokenizer, prompt) for prompt in prompts[first : first + batch_size]]
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token  # as TRL does
            padded = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
            drawn = model.generate(
                **padded.to(model.device),
                num_return_sequences=num_answers,
                max_new_tokens=max_new_tokens,
            )
            texts = tokenizer.batch_decode(drawn[:, padded["input_ids"].shape[1] :], skip_special_tokens=True)
            answers += [texts[k : k + num_answers] for k in range(0, len(texts), num_answers)]
    return answers


def sequence_logps(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    batch_size: int = 32,
    average: bool = False,
) -> np.ndarray:
    """Log-probabilities `[prompts, K]` of answers under a model, summed over their tokens and the end token.

    Args:
        model: a causal language model.
        tokenizer: the tokenizer of the model.
        prompts: the prompts.
        answers: K answers to each prompt.
        batch_size: number of answers per batch.
        average: whether to divide by the number of tokens, see `lm.losses.sequence_logp`.

    Raises:
        ValueError: an answer has no tokens, or prompts have different numbers of answers.
    """
    num_answers = check_answers(prompts, answers)
    rows = [
        _split(tokenizer, prompt, answer)
        for prompt, of_prompt in zip(prompts, answers, strict=True)
        for answer in of_prompt
    ]
    for k, (_, answer_ids) in enumerate(rows):
        if not answer_ids:
            raise ValueError(
                f"`answers` of prompt {k // num_answers}, number {k % num_answers}, has no tokens; every "
                f"answer must have at least one token. Remove empty answers."
            )
    collator = DataCollatorForPreference(pad_token_id=_pad_id(tokenizer))
    logps = []
    with _evaluating(model):
        for first in range(0, len(rows), batch_size):
            some = rows[first : first + batch_size]
            # The collator pads pairs: each answer is paired with itself, and the second half is dropped.
            batch = collator([{"prompt_ids": p, "chosen_ids": a, "rejected_ids": a} for p, a in some])
            half = {name: tensor[: len(some)].to(model.device) for name, tensor in batch.items()}
            logps.append(completion_logps(model, half, average).double().cpu().numpy())
    return np.concatenate(logps).reshape(len(prompts), num_answers)


def completion_logps(model: Any, batch: Mapping[str, Any], average: bool) -> Any:
    """Log-probabilities of the completions in a batch of a TRL collator, `[rows]`.

    Args:
        model: a causal language model.
        batch: `input_ids`, `attention_mask` and `completion_mask`, `[rows, tokens]`.
        average: whether to divide by the number of tokens.
    """
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    logits = output.logits[:, :-1]
    # The rounding errors of half-precision logits add up to several nats over a long answer.
    logits = logits if logits.dtype == torch.float64 else logits.float()
    token_logp = selective_log_softmax(logits, batch["input_ids"][:, 1:])
    return losses.sequence_logp(token_logp, batch["completion_mask"][:, 1:], average)


@contextlib.contextmanager
def _pure_sampling(model: Any, tokenizer: Any) -> Iterator[None]:
    """Context in which the model's generation config is replaced by plain sampling."""
    own = model.generation_config
    end = tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id
    model.generation_config = GenerationConfig(
        do_sample=True,
        top_k=0,
        eos_token_id=end,
        pad_token_id=_pad_id(tokenizer),
        bos_token_id=own.bos_token_id,
    )
    try:
        yield
    finally:
        model.generation_config = own


def _pad_id(tokenizer: Any) -> int:
    """The id of the padding token, or else of the end token, as in TRL; padding is masked."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise ValueError(
        "`tokenizer` must have a padding token or an end token, got neither; set tokenizer.eos_token."
    )


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Context without gradients and dropout; the mode of the model is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _prompt_ids(tokenizer: Any, prompt: Any) -> list[int]:
    if isinstance(prompt, str):
        return list(tokenizer(text=prompt)["input_ids"])
    rendered = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(rendered["input_ids"])


def _split(tokenizer: Any, prompt: Any, answer: str) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of an answer with its end token, split at the same place as in TRL."""
    if isinstance(prompt, str):
        end = tokenizer.eos_token or ""
        whole = tokenizer(text=prompt + (answer if answer.endswith(end) else answer + end))["input_ids"]
    else:
        messages = [*prompt, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    alone = _prompt_ids(tokenizer, prompt)
    same = (k for k, (one, other) in enumerate(zip(alone, whole, strict=False)) if one != other)
    length = next(same, min(len(alone), len(whole)))
    return list(whole[:length]), list(whole[length:])
