"""A diagnosis as one page for the terminal."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

from comalgames.algorithms.wrapper import innermost
from comalgames.diagnostics.fixed_points import WORDS

# Column where the text of a row begins, largest number of actions listed, and width of the page.
INDENT, MOST_LISTED, WIDTH = 18, 6, 100


def as_text(diagnosis: Any) -> str:
    """The printed form of a diagnosis: the prediction, the run and the notes.

    Args:
        diagnosis: the `Diagnosis` that `diagnose` returns.
    """
    n, prediction = diagnosis.game.num_actions, diagnosis.prediction
    predicted = [("fixed point", _aim(diagnosis)), ("near it", _local(diagnosis))]
    if prediction.verdict != "unknown":
        predicted.append(("dominant mode", prediction.decided_by))
    predicted += [("step size", _steps(diagnosis)), ("period", _periods(diagnosis))]
    measured = [
        ("length", f"{diagnosis.num_steps} steps, {diagnosis.num_steps * prediction.queries} queries"),
        ("rate", _measured(diagnosis)),
        ("ends", _ended(diagnosis)),
    ]
    rule = " ".join(repr(diagnosis.rule).split()).replace("( ", "(").replace(" )", ")")
    lines = [f"{rule}, on {n} action{'s' if n > 1 else ''}", "Prediction"]
    for label, text in predicted:
        lines += _row(label, text)
    lines.append("Run")
    for label, text in measured:
        lines += _row(label, text)
    for k, note in enumerate(prediction.notes):
        lines += ["Notes"] * (k == 0) + _row("", note)
    return "\n".join(lines)


def _row(label: str, text: str) -> list[str]:
    rows = textwrap.wrap(text, WIDTH - INDENT) or [""]
    return [f"  {label:<{INDENT - 2}}{rows[0]}", *(" " * INDENT + row for row in rows[1:])]


def _aim(diagnosis: Any) -> str:
    point = diagnosis.prediction.point
    if point is None:
        return "none found, neither by theory, nor by Newton's method, nor by a long run"
    only = ""
    if point.kind == "nash":
        only = ", unique" if point.dimension == 0 else f", in a set of dimension {point.dimension}"
    used, n = int(point.support.sum()), len(point.support)
    order = [int(k) for k in np.argsort(-point.policy, kind="stable")[:MOST_LISTED] if point.policy[k] > 0]
    listed = ", ".join(f"{diagnosis.game.names[k]} {point.policy[k]:.4f}" for k in order)
    more = ", ..." if used > len(order) else ""
    gap = f"{max(point.gap, 0.0):.4g}" if point.gap > 1e-14 else "0"
    return f"{WORDS[point.kind]}{only}: duality gap {gap}, support {used} of {n} actions ({listed}{more})"


def _local(diagnosis: Any) -> str:
    prediction = diagnosis.prediction
    if prediction.verdict == "unknown":
        return "not predicted"
    if prediction.round_steps is None:
        return f"{prediction.verdict}: factor {factor(prediction.radius)} per round solved exactly"
    if prediction.verdict == "depends":
        low, high = prediction.members
        return (
            f"depends on the member of the Nash set: the error is multiplied by {factor(low)} to "
            f"{factor(high)} per round, by {factor(prediction.radius)} at the policy shown"
        )
    if prediction.verdict == "neutral":
        return "neutral: the error neither shrinks nor grows"
    per_round = ""
    if prediction.round_steps > 1:
        per_round = f", {factor(prediction.radius)} per round of {prediction.round_steps} steps"
    rate = prediction.rate_per_step
    per_query = f", {factor(prediction.rate_per_query)} per query" if prediction.queries else ", no queries"
    changes = "shrinks" if rate < 1 else "grows"
    text = (
        f"{prediction.verdict}: the error {changes} by a factor of {factor(rate)} per step"
        f"{per_query}{per_round}"
    )
    if rate > 0:
        tenfold = max(abs(math.log(10) / math.log(rate)), 1)
        text += f" (a factor of 10 takes {tenfold:.3g} steps)"
    return text


def _steps(diagnosis: Any) -> str:
    stable, name = diagnosis.prediction.steps, diagnosis.prediction.steps.parameter
    if stable.reason:
        return f"no limit: {stable.reason}"
    low, high = stable.low, stable.high
    who = "the rule" if diagnosis.prediction.round_steps is not None else "the inner rule"
    if diagnosis.prediction.point.dimension:
        who = f"near the policy shown, {who}"
    if low == high:
        return f"{who} converges for no {name}"
    if low == 0 and math.isinf(high):
        return f"{who} converges for every {name}, other parameters unchanged"
    if low == 0:
        between = f"{name} below {high:.5g}"
    elif math.isinf(high):
        between = f"{name} above {low:.5g}"
    else:
        between = f"{name} between {low:.5g} and {high:.5g}"
    value = float(np.asarray(getattr(innermost(diagnosis.rule), name)))
    return f"{who} converges for {between}, other parameters unchanged; here {name} = {value:.5g}"


def _periods(diagnosis: Any) -> str:
    periods = diagnosis.prediction.periods
    if periods.reason:
        return f"none: {periods.reason}" if diagnosis.prediction.round_steps is not None else periods.reason
    tried, failing, here = len(periods.radii), periods.failing, diagnosis.prediction.round_steps
    if periods.smallest is None:
        return f"no period from 1 to {tried} contracts; here period = {here}"
    fails = f" except {ranges(failing)}" if failing else ""
    near = "near the policy shown, " if diagnosis.prediction.point.dimension else ""
    return (
        f"{near}contracts for periods 1 to {tried}{fails}; the fastest per step is {periods.best}; "
        f"here period = {here}"
    )


def _measured(diagnosis: Any) -> str:
    fit, predicted = diagnosis.fit, diagnosis.prediction.rate_per_step
    beside = "" if math.isnan(predicted) else f"; predicted {factor(predicted)}"
    if fit.kind == "none":
        return f"none: the {diagnosis.quantity} does not decrease far enough, or not steadily{beside}"
    window = f"over steps {fit.window[0]:g} to {fit.window[1]:g}"
    if fit.kind == "power":
        return f"the {diagnosis.quantity} decreases like steps^{fit.rate:.3g} {window}{beside}"
    return f"the {diagnosis.quantity} shrinks by a factor of {factor(fit.rate)} per step {window}{beside}"


def _ended(diagnosis: Any) -> str:
    evidence = diagnosis.evidence
    why = {
        "Nash": f"the duality gap is at most {max(evidence.gap, 0.0):.2g}",
        "other fixed point": f"the probabilities vary by {evidence.spread:.2g} at a duality gap of "
        f"{evidence.gap:.4g}",
        "boundary": f"an action of the Nash support falls to a probability of "
        f"{math.exp(max(evidence.lowest, -700)):.2g}",
        "cycle": f"the duality gap returns to {evidence.gap:.4g}, as in the quarter before,",
        "undecided": f"the largest duality gap changes from {evidence.gap_before:.3g} to {evidence.gap:.3g}",
    }[diagnosis.outcome]
    return f"{diagnosis.outcome}: {why} in the last quarter of the steps"


def factor(value: float) -> str:
    """A factor, printed with enough digits to distinguish it from 1.

    Args:
        value: >= 0.
    """
    if 0 < abs(value - 1) < 1e-3:
        return f"1 {'-' if value < 1 else '+'} {abs(value - 1):.3g}"
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.3g}"


def ranges(numbers: tuple[int, ...]) -> str:
    """Increasing whole numbers with consecutive ones abbreviated, such as "1-3, 8".

    Args:
        numbers: whole numbers in increasing order.
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in runs)
