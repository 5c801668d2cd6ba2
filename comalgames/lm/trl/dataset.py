"""The training dataset of a round: pairs of answers with the rule's targets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from comalgames import validation
from comalgames.feedback import Candidates
from comalgames.lm.bridge import Targets
from comalgames.lm.judging import check_answers

# The two answers of a row, in the order of TRL's batches.
SIDES = ("chosen", "rejected")


def build_dataset(
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    feedback: Candidates,
    goal: Targets,
    pairs: str = "all",
) -> Dataset:
    """Build the dataset of a round: pairs of answers to each prompt, with the rule's targets for both.

    Args:
        prompts: strings, or lists of messages.
        answers: K answers to each prompt.
        feedback: the preferences between the answers, for policies `[prompts, K]`. The preferred answer of a
            pair is "chosen".
        goal: the result of `lm.targets` for the answers, `[prompts, K]`.
        pairs: "all" for K (K - 1) / 2 rows per prompt, or "disjoint" for K / 2 rows with each answer in one
            of them. The target of an answer uses the comparisons with all K answers in both cases.

    Raises:
        ValueError: a shape does not fit, K is 1, or K is odd with disjoint pairs.
    """
    num_answers = check_answers(prompts, answers)
    validation.known("pairs", pairs, ("all", "disjoint"))
    expected = (len(prompts), num_answers)
    if feedback.behaviour_logp.shape != expected or goal.anchor.shape != expected:
        raise ValueError(
            f"`feedback` and `goal` must be for {num_answers} answers to each of {len(prompts)} prompts, "
            f"shape {expected}; they are of {feedback.behaviour_logp.shape} and {goal.anchor.shape}."
        )
    every = list(itertools.combinations(range(num_answers), 2))
    if pairs == "disjoint":
        if num_answers % 2:
            raise ValueError(
                f"`pairs` can be 'disjoint' only for an even number of answers, got {num_answers}."
            )
        every = [(k, k + 1) for k in range(0, num_answers, 2)]
    wins = np.asarray(feedback.skew) + 0.5
    numbers = {"anchor": np.asarray(goal.anchor)}
    if goal.target is not None:
        numbers["target"] = np.asarray(goal.target)

    def row(number: int, pair: tuple[int, int]) -> dict[str, Any]:
        first, second = pair
        pair = pair if wins[number, first, second] >= 0.5 else (second, first)
        of_sides: dict[str, Any] = {}
        for side, k in zip(SIDES, pair, strict=True):
            answer = answers[number][k]
            is_text = isinstance(prompts[number], str)
            of_sides[side] = answer if is_text else [{"role": "assistant", "content": answer}]
            of_sides[f"{side}_number"] = k
            of_sides |= {f"{name}_{side}": float(values[number, k]) for name, values in numbers.items()}
        beta = {} if goal.beta is None else {"beta": float(goal.beta)}
        preference = float(wins[number, *pair])
        return (
            {"prompt": prompts[number], "prompt_number": number, "preference": preference} | of_sides | beta
        )

    return Dataset.from_list([row(number, pair) for number in range(len(prompts)) for pair in every])
