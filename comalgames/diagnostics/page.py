"""A diagnosis as one page for the terminal."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

from comalgames.algorithms.wrapper import innermost
from comalgames.diagnostics.fixed_points import WORDS

# Where the second column begins, how many actions are listed, and how wide a page is.
INDENT, MOST_LISTED, WIDTH = 18, 6, 100


def page(found: Any) -> str:
    """A diagnosis as one page for the terminal.

    Args:
        found: what `diagnose` returns.
    """
    n, prediction = found.game.num_actions, found.prediction
    before = [("aims at", _aim(found)), ("there", _local(found))]
    if prediction.verdict != "unknown":
        before.append(("because of", prediction.decided_by))
    before += [("step", _steps(found)), ("period", _periods(found))]
    ran = [
        ("length", f"{found.num_steps} steps, {found.num_steps * prediction.queries} queries"),
        ("measured", _measured(found)),
        ("ends", _ended(found)),
    ]
    rule = " ".join(repr(found.rule).split()).replace("( ", "(").replace(" )", ")")
    lines = [f"{rule}, on {n} action{'s' if n > 1 else ''}", "Before a run"]
    for label, text in before:
        lines += _row(label, text)
    lines.append("The run")
    for label, text in ran:
        lines += _row(label, text)
    for k, note in enumerate(prediction.notes):
        lines += ["Notes"] * (k == 0) + _row("", note)
    return "\n".join(lines)


def _row(label: str, text: str) -> list[str]:
    rows = textwrap.wrap(text, WIDTH - INDENT) or [""]
    return [f"  {label:<{INDENT - 2}}{rows[0]}", *(" " * INDENT + row for row in rows[1:])]


def _aim(found: Any) -> str:
    point = found.prediction.point
    if point is None:
        return "no fixed point: neither theory, nor Newton's method, nor a long run finds one"
    only = ""
    if point.kind == "nash":
        only = ", the only one" if point.dimension == 0 else f", one of a set of dimension {point.dimension}"
    used, n = int(point.support.sum()), len(point.support)
    order = [int(k) for k in np.argsort(-point.policy, kind="stable")[:MOST_LISTED] if point.policy[k] > 0]
    listed = ", ".join(f"{found.game.names[k]} {point.policy[k]:.4f}" for k in order)
    more = ", ..." if used > len(order) else ""
    gap = f"{max(point.gap, 0.0):.4g}" if point.gap > 1e-14 else "0"
    return f"{WORDS[point.kind]}{only}: duality gap {gap}, on {used} of {n} actions ({listed}{more})"


def _local(found: Any) -> str:
    prediction = found.prediction
    if prediction.verdict == "unknown":
        return "not predicted"
    if prediction.round_steps is None:
        return f"{prediction.verdict}: times {factor(prediction.radius)} a round that solves exactly"
    if prediction.verdict == "neutral":
        return "neutral: what is off neither shrinks nor grows"
    per_round = ""
    if prediction.round_steps > 1:
        per_round = f", {factor(prediction.radius)} a round of {prediction.round_steps} steps"
    rate = prediction.rate_per_step
    per_query = f"{factor(prediction.rate_per_query)} a query" if prediction.queries else "at no query"
    text = f"{prediction.verdict}: what is off is multiplied by {factor(rate)} a step, {per_query}{per_round}"
    if rate > 0:
        tenfold = abs(math.log(10) / math.log(rate))
        so_much = "a tenth" if rate < 1 else "ten times as much"
        text += f" ({so_much} after {max(tenfold, 1):.3g} steps)"
    return text


def _steps(found: Any) -> str:
    stable, name = found.prediction.steps, found.prediction.steps.parameter
    if stable.reason:
        return f"no limit: {stable.reason}"
    low, high = stable.low, stable.high
    whose = "attracts" if found.prediction.round_steps is not None else "makes the inner rule converge"
    if low == high:
        return f"no {name} {whose}, large or small"
    if low == 0 and math.isinf(high):
        return f"every {name} {whose} (all else as it is)"
    ends = (f"from {low:.5g}" if low > 0 else "") + (f" to {high:.5g}" if math.isfinite(high) else " up")
    between = f"every {name} below {high:.5g}" if low == 0 else f"every {name} {ends}"
    value = getattr(innermost(found.rule), name)
    return f"{between} {whose} (all else as it is); it is {float(np.asarray(value)):.5g}"


def _periods(found: Any) -> str:
    periods = found.prediction.periods
    if periods.reason:
        return f"none: {periods.reason}" if found.prediction.round_steps is not None else periods.reason
    tried, failing = len(periods.radii), periods.failing
    if periods.smallest is None:
        return f"no period up to {tried} contracts; it is {found.prediction.round_steps}"
    fails = f"; {ranges(failing)} do{'es' if len(failing) == 1 else ''} not" if failing else ""
    return (
        f"contracts from {periods.smallest} to {tried}{fails}; {periods.best} is fastest a step; "
        f"it is {found.prediction.round_steps}"
    )


def _measured(found: Any) -> str:
    fit, predicted = found.fit, found.prediction.rate_per_step
    beside = "" if math.isnan(predicted) else f"; predicted {factor(predicted)}"
    if fit.kind == "none":
        return f"no rate in the {found.quantity}: it does not fall far enough, or not steadily{beside}"
    first, last = fit.window
    if fit.kind == "power":
        law = f"falls like a power of the steps, {fit.rate:.3g}, over steps {first:g} to {last:g}"
        return f"the {found.quantity} {law}{beside}"
    return f"{factor(fit.rate)} a step in the {found.quantity}, steps {first:g} to {last:g}{beside}"


def _ended(found: Any) -> str:
    evidence = found.evidence
    why = {
        "Nash": f"the gap is at most {max(evidence.gap, 0.0):.2g}",
        "other fixed point": f"its probabilities vary by {evidence.spread:.2g}, at a gap of "
        f"{evidence.gap:.4g},",
        "boundary": f"an action that Nash uses falls to {math.exp(max(evidence.lowest, -700)):.2g}",
        "cycle": f"the gap keeps coming back to {evidence.gap:.4g}, as in the quarter before,",
        "undecided": f"the largest gap goes from {evidence.gap_before:.3g} to {evidence.gap:.3g}",
    }[found.outcome]
    return f"{found.outcome}: {why} over the last quarter of the steps"


def factor(value: float) -> str:
    """A factor with the digits that tell it from 1.

    Args:
        value: >= 0.
    """
    if 0 < abs(value - 1) < 1e-3:
        return f"1 {'-' if value < 1 else '+'} {abs(value - 1):.3g}"
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.3g}"


def ranges(numbers: tuple[int, ...]) -> str:
    """Whole numbers in rising order with runs abbreviated, such as "1-3, 8".

    Args:
        numbers: the numbers.
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in runs)
