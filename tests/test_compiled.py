"""How many payoff products a compiled step makes: the cost of a step on any but the smallest games."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from helpers import random_game, random_policy

import comalgames as cg
from comalgames.algorithms.base import with_dtype
from comalgames.drivers.solve import _chunk
from comalgames.drivers.trajectory import Run, prepare
from comalgames.feedback import asked

# Large enough that no compiler unrolls the product, small enough to compile at once.
NUM_ACTIONS = 64
GAME = random_game(NUM_ACTIONS)
REFERENCE = jnp.log(jnp.asarray(random_policy(NUM_ACTIONS)))

RULES = {
    "MWU": (cg.MWU(0.3), 1),
    "MirrorDescent": (cg.MirrorDescent(0.3, 0.1), 1),
    "OptimisticMWU": (cg.OptimisticMWU(0.3), 1),
    "COMAL of MirrorDescent": (cg.COMAL(cg.MirrorDescent(0.3, 0.1), 50), 1),
    "Extragradient": (cg.Extragradient(0.3, 0.1), 2),
}
each_rule = pytest.mark.parametrize(
    ("rule", "products"), [pytest.param(*pair, id=name) for name, pair in RULES.items()]
)


def prepared(rule: Any, feedback: Any = None, game: Any = GAME, metrics: Any = None) -> Run:
    """What `solve` compiles."""
    return prepare(game, with_dtype(rule, game.dtype), feedback, None, metrics, 1)


def products_in_a_step(run: Run) -> int:
    """Matrix products in the body of the loop over steps, in the optimized program of a chunk.

    All of it is counted, whatever fusion or called computation they are in; the loop's length is known only
    at run time, so no copy of the body is unrolled. Outside of the loop there is only the record of the last
    policy, which needs no more products than a step with its record.
    """
    zero = jnp.zeros((), jnp.int32)
    progress = run.begin(run.game.uniform(), jnp.broadcast_to(REFERENCE, run.game.policy_shape))
    program = _chunk.lower(run, progress, zero, zero + 10, 16).compile().compiled.as_text()
    (body,) = re.findall(r" while\(.*\bbody=%([\w.-]+)", program)
    computations = dict(re.findall(r"^%([\w.-]+) \(.*?\{$(.*?)^\}$", program, re.MULTILINE | re.DOTALL))
    reached, left = "", [body]
    while left:
        text = computations.pop(left.pop(), "")
        reached += text
        left += re.findall(r"%([\w.-]+)", text)
    # A product is a `dot` instruction, or a call of a library's.
    product = re.compile(r"\bdot\(|custom_call_target=\"[^\"]*(?:dot|matmul|gemm)", re.IGNORECASE)
    inside = len(product.findall(reached))
    assert len(product.findall(program)) <= inside * (2 if run.curves or run.metrics else 1)
    return inside


@each_rule
def test_a_step_and_its_record_share_the_payoff_product(rule: Any, products: int) -> None:
    assert products == asked(rule, NUM_ACTIONS).cost
    assert products_in_a_step(prepared(rule)) == products


@each_rule
def test_exact_feedback_given_by_hand_costs_nothing(rule: Any, products: int) -> None:
    assert products_in_a_step(prepared(rule, cg.Exact(GAME))) == products


def test_metrics_that_need_the_advantage_share_it_too() -> None:
    metrics = [cg.regularized_gap(0.1, REFERENCE), "worst_win_rate", "entropy", cg.kl_to(REFERENCE)]
    assert products_in_a_step(prepared(cg.MWU(0.3), metrics=metrics)) == 1


def test_prompts_share_one_batched_product() -> None:
    assert products_in_a_step(prepared(cg.MWU(0.3), game=random_game(NUM_ACTIONS, prompts=(3,)))) == 1


def test_no_records_cost_no_product() -> None:
    for rule, products in (RULES["MWU"], RULES["Extragradient"]):
        assert products_in_a_step(prepared(rule, metrics=())) == products


# The counts above would notice a duplicate: here are the ways to make one.


@each_rule
def test_a_second_copy_of_the_matrix_is_a_second_product(rule: Any, products: int) -> None:
    copied = replace(prepared(rule), feedback=cg.Exact(random_game(NUM_ACTIONS)))
    assert products_in_a_step(copied) == products + 1


def test_a_policy_that_is_normalized_once_more_is_a_second_product() -> None:
    def gap_of_a_copy(game: Any, logp: Any) -> Any:
        return cg.duality_gap(game, jax.nn.log_softmax(logp))

    assert products_in_a_step(prepared(cg.MWU(0.3), metrics=[gap_of_a_copy])) == 2
