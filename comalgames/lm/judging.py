"""Have sampled answers compared by any judge, and refuse what no judge may say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Judged(NamedTuple):
    """What an oracle said of answers.

    Attributes:
        preference: probability that the row's answer is preferred to the column's, `[prompts, K, K]`.
        num_calls: how often the oracle was asked.
    """

    preference: np.ndarray
    num_calls: int


def compare(
    oracle: Callable[[Any, str, str], float],
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    both_orders: bool = False,
) -> Judged:
    """Every two answers to a prompt compared by an oracle; equal ones tie without being asked about.

    Args:
        oracle: any callable `(prompt, answer_a, answer_b) -> probability` that a is preferred; 0 and 1 are
            hard labels.
        prompts: what was asked.
        answers: K answers to each, as `generate` returns them.
        both_orders: ask about (b, a) as well and take the mean of the two, against a judge that prefers what
            comes first.

    Raises:
        ValueError: there are fewer than two answers to a prompt, or the oracle returns something else; the
            message names the prompt and the answers.
    """
    num_answers = check_answers(prompts, answers)
    preference = np.full((len(prompts), num_answers, num_answers), 0.5)
    num_calls = 0

    def ask(row: int, i: int, j: int) -> float:
        nonlocal num_calls
        num_calls += 1
        said = oracle(prompts[row], answers[row][i], answers[row][j])
        try:
            probability = float(said)
        except (TypeError, ValueError):
            probability = float("nan")
        if not 0 <= probability <= 1:
            raise ValueError(
                f"`oracle` must return a probability in [0, 1]; for prompt {row}, answers {i} and {j} "
                f"({answers[row][i]!r}, {answers[row][j]!r}) it returned {said!r}."
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
    """The number of answers to a prompt, the same for all and at least two."""
    texts = isinstance(prompts, str) or any(isinstance(of_prompt, str) for of_prompt in answers)
    if texts or not all(isinstance(answer, str) for of_prompt in answers for answer in of_prompt):
        raise ValueError(
            "`prompts` must be a list of prompts, and `answers` a list of lists of texts, one list a prompt."
        )
    if len(answers) != len(prompts) or len(prompts) == 0:
        raise ValueError(f"`answers` must answer each of {len(prompts)} prompts, got {len(answers)} lists.")
    lengths = [len(of_prompt) for of_prompt in answers]
    for row, length in enumerate(lengths):
        if length < 2 or length != lengths[0]:
            raise ValueError(
                f"`answers` must hold the same number of answers to every prompt, at least 2; prompt {row} "
                f"has {length}" + (f", prompt 0 has {lengths[0]}." if row else ".")
            )
    return lengths[0]
