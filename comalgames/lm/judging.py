"""Pairwise comparison of sampled answers by an oracle, with checks of its results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Judged(NamedTuple):
    """The result of `compare`: preferences between the answers to each prompt.

    Attributes:
        preference: probability that the row's answer is preferred to the column's, `[prompts, K, K]`.
        num_calls: number of calls of the oracle.
    """

    preference: np.ndarray
    num_calls: int


def compare(
    oracle: Callable[[Any, str, str], float],
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    both_orders: bool = False,
) -> Judged:
    """Compare all pairs of answers to each prompt with an oracle.

    Equal answers tie without a call of the oracle.

    Args:
        oracle: a callable `(prompt, answer_a, answer_b) -> probability` that a is preferred; 0 and 1 are hard
            labels.
        prompts: the prompts.
        answers: K answers to each prompt, as returned by `generate`.
        both_orders: whether to compare (b, a) as well and take the mean of both, which removes the bias of a
            judge that prefers the first answer.

    Raises:
        ValueError: a prompt has fewer than two answers, or the oracle does not return a probability; the
            message names the prompt and the answers.
    """
    num_answers = check_answers(prompts, answers)
    preference = np.full((len(prompts), num_answers, num_answers), 0.5)
    num_calls = 0

    def ask(row: int, i: int, j: int) -> float:
        nonlocal num_calls
        num_calls += 1
        returned = oracle(prompts[row], answers[row][i], answers[row][j])
        try:
            probability = float(returned)
        except (TypeError, ValueError):
            probability = float("nan")
        if not 0 <= probability <= 1:
            raise ValueError(
                f"`oracle` must return a probability in [0, 1]; for prompt {row}, answers {i} and {j} "
                f"({answers[row][i]!r}, {answers[row][j]!r}) it returned {returned!r}."
            )
        return probability

    for row, of_prompt in enumerate(answers):
        for i, j in itertools.combinations(range(num_answers), 2):
            if of_prompt[i] != of_prompt[j]:
                wins = ask(row, i, j)
                wins = (wins + 1 - ask(row, j, i)) / 2 if both_orders else wins
                preference[row, i, j], preference[row, j, i] = wins, 1 - wins
    return Judged(preference, num_calls)


def check_answers(prompts: Sequence[Any], answers: Sequence[Sequence[str]]) -> int:
    """The number of answers per prompt; raises a ValueError unless it is equal for all and at least two."""
    texts = isinstance(prompts, str) or any(isinstance(of_prompt, str) for of_prompt in answers)
    if texts or not all(isinstance(answer, str) for of_prompt in answers for answer in of_prompt):
        raise ValueError(
            "`prompts` must be a list of prompts, and `answers` a list of lists of texts, one per prompt."
        )
    if len(answers) != len(prompts) or len(prompts) == 0:
        raise ValueError(
            f"`answers` must hold one list of texts for each of {len(prompts)} prompts, got {len(answers)} "
            f"lists."
        )
    lengths = [len(of_prompt) for of_prompt in answers]
    for row, length in enumerate(lengths):
        if length < 2 or length != lengths[0]:
            raise ValueError(
                f"`answers` must hold the same number of answers for every prompt, at least 2; prompt {row} "
                f"has {length}" + (f", prompt 0 has {lengths[0]}." if row else ".")
            )
    return lengths[0]
