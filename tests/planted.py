"""Wrong rules, planted under the claims of papers.

    python tests/planted.py MUTATION PAPER ... [--quick]    prints the claims as JSON
    python tests/planted.py all [PAPER ...] [--quick]       prints a table of all mutations

A process of its own for each mutation, because compiled code keeps the rule with which it was traced.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import comalgames as cg
from comalgames.algorithms import AbstractUpdateRule
from comalgames.algorithms.wrapper import AbstractRuleWrapper
from comalgames.numerics.simplex import log_normalize
from comalgames.papers import registry

UNLIKELY = -30.0


class Reversed(cg.AbstractFeedback):
    """Feedback in which every preference is for the other action."""

    true: cg.AbstractFeedback

    @property
    def is_random(self) -> bool:
        return self.true.is_random

    def advantage(self, key: Any, opponent_logp: Any) -> Any:
        return -self.true.advantage(key, opponent_logp)

    def pairwise(self, key: Any) -> Any:
        return -self.true.pairwise(key)

    def comparisons(self, key: Any, logp: Any) -> Any:
        seen = self.true.comparisons(key, logp)
        return seen._replace(skew=-seen.skew)

    def over_players(self, each: Any) -> Any:
        return self.true.over_players(each)


class Stale(Reversed):
    """Feedback against the reference, whatever the opponent."""

    reference: Any = None

    def advantage(self, key: Any, opponent_logp: Any) -> Any:
        return self.true.advantage(key, self.reference)

    def pairwise(self, key: Any) -> Any:
        return self.true.pairwise(key)

    def comparisons(self, key: Any, logp: Any) -> Any:
        return self.true.comparisons(key, logp)


Propose = Callable[..., tuple[Any, Any]]


def sign(propose: Propose, rule: Any, key: Any, state: Any, feedback: Any) -> Any:
    """Train towards losing actions."""
    return propose(rule, key, state, Reversed(feedback))


def stale(propose: Propose, rule: Any, key: Any, state: Any, feedback: Any) -> Any:
    """Compare with the reference instead of the opponent."""
    return propose(rule, key, state, Stale(feedback, state.reference))


def moved(share: float) -> Any:
    """Go this share of the step."""

    def mutation(propose: Propose, rule: Any, key: Any, state: Any, feedback: Any) -> Any:
        target, after = propose(rule, key, state, feedback)
        return state.logp + share * (log_normalize(target) - state.logp), after

    return mutation


def vertex(propose: Propose, rule: Any, key: Any, state: Any, feedback: Any) -> Any:
    """Always answer with the first action."""
    _, after = propose(rule, key, state, feedback)
    return jnp.where(jnp.arange(state.logp.shape[-1]) == 0, 0.0, UNLIKELY) + 0.0 * state.logp, after


def strong_pull(propose: Propose, rule: Any, key: Any, state: Any, feedback: Any) -> Any:
    """Be pulled to the reference by a tenth more."""
    target, after = propose(rule, key, state, feedback)
    pull = rule.form(state.step).pull
    return target + 0.1 * pull * (state.reference - state.logp), after


def other(propose: Propose, rule: Any, key: Any, state: Any, feedback: Any) -> Any:
    """Multiplicative weights in place of the rule."""
    _, after = propose(rule, key, state, feedback)
    return state.logp + 0.3 * feedback.advantage(key, state.logp), after


STEPS = {
    "sign": sign,
    "frozen": moved(0.0),
    "vertex": vertex,
    "half": moved(0.5),
    "double": moved(2.0),
    "strong pull": strong_pull,
    "stale": stale,
    "other": other,
}


def never(self: Any, state: Any, logp: Any) -> Any:
    """COMAL that never moves its reference."""
    return eqx.tree_at(lambda each: each.reference, COMMIT(self, state, logp), state.reference)


def always(self: Any, state: Any, logp: Any) -> Any:
    """COMAL that moves its reference in every step."""
    return self.inner.move_reference(COMMIT(self, state, logp), logp)


def before(self: Any, state: Any, logp: Any) -> Any:
    """COMAL that moves its reference to the policy before the step."""
    after = COMMIT(self, state, logp)
    has_moved = jnp.any(after.reference != state.reference)
    return self.inner.move_reference(after, jnp.where(has_moved, state.logp, state.reference))


COMMIT = cg.COMAL.commit
MOVES = {"never moves": never, "always moves": always, "moves to the policy before": before}


def rules(kind: type = AbstractUpdateRule) -> list[type]:
    """All update rules that have a `propose` of their own and wrap no other."""
    below = [rule for child in kind.__subclasses__() for rule in rules(child)]
    mine = "propose" in vars(kind) and not issubclass(kind, AbstractRuleWrapper)
    return [kind, *below] if mine and kind is not AbstractUpdateRule else below


def plant(name: str) -> None:
    """Replace the method of all rules."""
    if name in MOVES:
        cg.COMAL.commit = MOVES[name]
        return
    mutation = STEPS[name]
    for rule in rules():
        true = vars(rule)["propose"]
        rule.propose = lambda self, key, state, feedback, true=true: mutation(
            true, self, key, state, feedback
        )


def measure(paper: Any, is_quick: bool, is_wrong: bool) -> dict[str, tuple[bool, float]]:
    """For each claim whose experiments were chosen, whether it holds, and its number.

    A wrong rule may end in any exception: the number is then nan. Without a mutation an exception is a fault
    of the paper and is raised.
    """
    data: dict[str, Any] = {}
    claims = {}
    with jax.enable_x64(True):
        for experiment in paper.experiments:
            if experiment.is_quick or not is_quick:
                try:
                    data[experiment.name] = experiment.run()
                except Exception as error:  # a wrong rule may break a run in any way
                    if not is_wrong:
                        raise
                    print(f"{experiment.name}: {error!r:.200}", file=sys.stderr)
                    data[experiment.name] = None
        for claim in paper.claims:
            if all(need in data for need in claim.needs):
                try:
                    measured = claim.reading(data)
                except Exception:  # and so may its results a reading
                    if not is_wrong:
                        raise
                    measured = math.nan
                claims[f"{paper.name}:{claim.id}"] = claim.bound.holds(measured), measured
    return claims


def touched(true: dict[str, Any], wrong: dict[str, Any]) -> list[str]:
    """Names of the claims whose number a mutation changes by more than rounding errors."""
    return [
        name
        for name, (_, number) in true.items()
        if not math.isclose(number, wrong[name][1], rel_tol=1e-6, abs_tol=1e-9)
    ]


def planted(mutation: str, papers: list[str], *options: str) -> dict[str, Any]:
    """The claims under a mutation, in a process of its own."""
    command = [sys.executable, __file__, mutation, *papers, *options]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    claims: dict[str, Any] = json.loads(run.stdout)
    return claims


def table(papers: list[str], *options: str) -> None:
    """Print how many of the touched claims fail under each mutation, and those that never fail."""
    true = planted("none", papers, *options)
    held = set(true)
    for mutation in (*STEPS, *MOVES):
        wrong = planted(mutation, papers, *options)
        changed = touched(true, wrong)
        holding = [name for name in changed if wrong[name][0]]
        held &= {name for name, (holds, _) in wrong.items() if holds}
        print(
            f"{mutation}: {len(changed) - len(holding)} of {len(changed)} fail; these hold: {holding}",
            flush=True,
        )
    print(f"never fail: {sorted(held)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mutation", choices=["all", "none", *STEPS, *MOVES])
    parser.add_argument("papers", nargs="*")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    papers = arguments.papers or [name for name in registry.NAMES if name != "lm"]
    if arguments.mutation == "all":
        table(papers, *(["--quick"] if arguments.quick else []))
        return
    if arguments.mutation != "none":
        plant(arguments.mutation)
    claims: dict[str, Any] = {}
    for name in papers:
        claims |= measure(registry.load(name), arguments.quick, arguments.mutation != "none")
    json.dump(claims, sys.stdout)


if __name__ == "__main__":
    main()
