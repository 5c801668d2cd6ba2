"""What a round trains on: pairs of answers, each with what the rule says of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from comalgames import validation
from comalgames.algorithms.base import AbstractUpdateRule
from comalgames.feedback import Candidates
from comalgames.lm.bridge import Targets, targets
from comalgames.lm.judging import check_answers

# The two answers of a row, in the order of TRL's batches.
SIDES = ("chosen", "rejected")


class Lesson(NamedTuple):
    """What a round trains on.

    Attributes:
        dataset: one row for each pair of a prompt's answers, for `PreferenceTrainer`.
        feedback: the answers as a game, for `lm.progress`.
        goal: targets and anchors of all answers, `[prompts, K]`.
    """

    dataset: Dataset
    feedback: Candidates
    goal: Targets


def build_dataset(
    rule: AbstractUpdateRule[Any],
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    preference: Any,
    policies: Mapping[str, Any],
    step: int = 0,
    pairs: str = "all",
) -> Lesson:
    """The dataset of a round: every pair of a prompt's answers, and what the rule says of both.

    Args:
        rule: any rule whose memory is policies.
        prompts: strings, or lists of messages.
        answers: K answers to each, drawn by the policy "logp".
        preference: probability that the row's answer is preferred to the column's, `[prompts, K, K]`; labels
            0 and 1 are a special case.
        policies: log-probabilities `[prompts, K]` of the answers under each stored policy, by name:
            `lm.policies_of(rule)` says which.
        step: number of the round.
        pairs: "all", K (K - 1) / 2 rows a prompt, or "disjoint", K / 2 rows, each answer in one of them: what
            an answer is trained towards is known from all K in any case.

    Raises:
        ValueError: a shape does not fit, a number is out of range (the message names the row), K is 1, or the
            rule makes no sense on sampled answers.
    """
    num_answers = check_answers(prompts, answers)
    validation.known("pairs", pairs, ("all", "disjoint"))
    if "logp" not in policies:
        raise ValueError("`policies` must hold 'logp', the policy that drew the answers.")
    if np.shape(preference) != (len(prompts), num_answers, num_answers):
        raise ValueError(
            f"`preference` must compare {num_answers} answers to each of {len(prompts)} prompts, shape "
            f"{(len(prompts), num_answers, num_answers)}, got {np.shape(preference)}."
        )
    feedback = Candidates(preference, policies["logp"])
    goal = targets(rule, None, policies, feedback, step)
    numbers = {"anchor": np.asarray(goal.anchor), **{k: np.asarray(v) for k, v in policies.items()}}
    if goal.target is not None:
        numbers["target"] = np.asarray(goal.target)
    wins = np.asarray(preference)
    every = list(itertools.combinations(range(num_answers), 2))
    chosen = every if pairs == "all" else [(k, k + 1) for k in range(0, num_answers - 1, 2)]
    rows = []
    for row, (prompt, of_prompt) in enumerate(zip(prompts, answers, strict=True)):
        for i, j in chosen:
            pair = (i, j) if wins[row, i, j] >= wins[row, j, i] else (j, i)
            texts = [
                of_prompt[k] if isinstance(prompt, str) else [{"role": "assistant", "content": of_prompt[k]}]
                for k in pair
            ]
            rows.append(
                {
                    "prompt": prompt,
                    **dict(zip(SIDES, texts, strict=True)),
                    "row": f"prompt {row}, answers {pair[0]} and {pair[1]}",
                    **({} if goal.beta is None else {"beta": float(goal.beta)}),
                    "preference": float(wins[row, pair[0], pair[1]]),
                    **{
                        f"{name}_{side}": float(values[row, k])
                        for name, values in numbers.items()
                        for side, k in zip(SIDES, pair, strict=True)
                    },
                }
            )
    return Lesson(Dataset.from_list(rows), feedback, goal)
