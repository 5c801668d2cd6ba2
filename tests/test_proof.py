"""Proofs in rational arithmetic: what `prove` says, and what it says about `nash` on hard games."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from exact import the_nash_policy_on
from helpers import random_game

import comalgames as cg

# Payoffs are eighths, which are stored exactly.
CYCLE = np.array([[0, 2, -3, 4], [-2, 0, 1, 4], [3, -1, 0, 4], [-4, -4, -4, 0]]) / 8


def game_of(skew):
    return cg.PreferenceGame.from_skew(np.asarray(skew, np.float64))


def changed(solution, **fields):
    return solution._replace(**{name: np.asarray(field) for name, field in fields.items()})


def test_the_policy_is_exact():
    proof = cg.prove(game_of(CYCLE))
    assert proof.verdict == "proved"
    assert proof.unique
    assert proof.dimension == 0
    # (a, b, c) beats itself by 0 where a, b, c are the payoffs of the pairs that leave each one out.
    assert proof.policy.tolist() == [Fraction(1, 6), Fraction(3, 6), Fraction(2, 6), 0]
    assert proof.error <= 1e-16


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_another_elimination(seed):
    game = random_game(7, seed)
    solution = cg.nash(game)
    proof = cg.prove(game, solution)
    assert proof.verdict == "proved"
    policy = the_nash_policy_on(np.asarray(game.skew), solution.support)
    np.testing.assert_array_equal(proof.policy.astype(float), policy)


def test_a_false_solution_is_refuted():
    game = game_of(CYCLE)
    solution = cg.nash(game)
    for support in ([1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]):
        policy = np.array(support) / np.sum(support)
        proof = cg.prove(game, changed(solution, support=np.array(support, bool), policy=policy))
        assert proof.verdict == "refuted"
        assert proof.policy is None
    assert cg.prove(game, changed(solution, dimension=1)).verdict == "refuted"
    clones = cg.games.clones(game, 0)
    solution = cg.nash(clones)
    assert cg.prove(clones, solution).verdict == "proved"
    for dimension in (0, 2):
        assert cg.prove(clones, changed(solution, dimension=dimension)).verdict == "refuted"
    # One Nash policy of several: the support is not the largest.
    one = changed(
        solution, support=np.array([1, 1, 1, 0, 0], bool), policy=np.array([1, 3, 2, 0, 0]) / 6, dimension=0
    )
    assert cg.prove(clones, one).verdict == "refuted"


def test_a_set_of_nash_policies():
    clones = cg.games.clones(game_of(CYCLE), 1)
    proof = cg.prove(clones)
    assert (proof.verdict, proof.unique, proof.dimension) == ("proved", False, 1)
    assert proof.policy[1] + proof.policy[-1] == Fraction(1, 2)
    assert sum(proof.policy) == 1
    nearest = cg.nash(clones, select="max-entropy")
    assert cg.prove(clones, nearest).verdict == "proved"
    everything = game_of(np.zeros((4, 4)))
    assert cg.prove(everything).dimension == 3


def test_ties_by_rounding_are_not_decided():
    """Three copies of a cycle, tied up to the rounding of their payoffs and not exactly."""
    rng = np.random.default_rng(0)
    tied = np.kron(np.ones((2, 2)), np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]) * 0.3)
    noise = np.triu(rng.integers(-1, 2, (6, 6)), 1) * 2.0**-54
    game = game_of(tied + noise - noise.T)
    solution = cg.nash(game)
    assert (solution.dimension, solution.status) == (3, "tied")
    assert cg.prove(game, solution).verdict == "needs more than float64 knows"


def test_a_support_that_rounding_hides_is_refuted_or_proved():
    """`nash` calls the support undecided, which rational arithmetic decides."""
    undecided = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 5))
        upper = np.triu(np.outer(a, b) - np.outer(b, a) + 1e-9 * rng.normal(size=(5, 5)), 1)
        game = game_of((upper - upper.T) / (2 * np.abs(upper).max()))
        solution = cg.nash(game)
        undecided += solution.status == "undecided"
        verdict = cg.prove(game, solution).verdict
        assert verdict == "proved" or solution.status == "undecided"
        exactly = the_nash_policy_on(np.asarray(game.skew), solution.support)
        assert (exactly is not None) == (verdict == "proved")
    assert undecided


def test_two_players():
    # The game of the two fingers: each player shows 1 or 2 and calls the other's number.
    shows = np.array([[0, 2, -3, 0], [-2, 0, 0, 3], [3, 0, 0, -4], [0, -3, 4, 0]])
    proof = cg.prove(cg.ZeroSumGame(shows * 1.0))
    assert proof.verdict == "proved"
    assert proof.dimension == 2  # each player has a segment, from (0, 20, 15, 0) / 35 to (0, 4, 3, 0) / 7 ...
    low, high = Fraction(4, 7), Fraction(3, 5)
    for player in proof.policy:
        assert low < player[1] < high
        assert player[0] == player[3] == 0
        assert sum(player) == 1
    pennies = cg.prove(cg.ZeroSumGame([[3.0, -1.0], [-1.0, 1.0]]))
    assert pennies.unique
    assert pennies.policy.tolist() == [[Fraction(1, 3), Fraction(2, 3)]] * 2


def test_payoffs_of_any_size():
    for scale in (1e-300, 1e-30, 1e200):
        payoff = np.random.default_rng(0).normal(size=(5, 5)) * scale
        proof = cg.prove(cg.ZeroSumGame(payoff))
        assert proof.verdict == "proved"
        assert proof.error < 1e-13


def test_what_it_refuses(monkeypatch):
    with pytest.raises(ValueError, match="no prompts"):
        cg.prove(cg.games.stack([game_of(CYCLE), game_of(CYCLE)]))
    with pytest.raises(ValueError, match="`solution`"):
        cg.prove(game_of(CYCLE), cg.nash(cg.games.comal_cycle()))
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match="pip install python-flint"):
        cg.prove(game_of(CYCLE))


# Two thousand hard games ------------------------------------------------------------------------------------


def hard(kind, rng, n):
    """The payoffs of a game that is hard to decide."""
    upper = np.triu(rng.uniform(-1, 1, (n, n)), 1)
    if kind == "nearly of rank 2":
        a, b = rng.normal(size=(2, n))
        upper = np.triu(np.outer(a, b) - np.outer(b, a), 1) + 10.0 ** -rng.uniform(2, 15) * upper
    elif kind == "nearly of rank 4":
        a, b, c, d = rng.normal(size=(4, n))
        upper = np.outer(a, b) - np.outer(b, a) + np.outer(c, d) - np.outer(d, c)
        upper = np.triu(upper, 1) + 10.0 ** -rng.uniform(2, 15) * np.triu(rng.normal(size=(n, n)), 1)
    elif kind == "ties":
        upper = np.triu(rng.integers(-2, 3, (n, n)), 1) / 4.0
    elif kind == "a tournament":
        upper = np.triu(rng.choice([-0.5, 0.5], (n, n)), 1)
    elif kind == "clones":
        which = rng.integers(0, max(n // 2, 2), n)
        upper = np.triu((upper - upper.T)[np.ix_(which, which)], 1)
    elif kind == "tiny probabilities":
        weights = 10.0 ** -rng.uniform(0, 6, n)
        upper = upper * weights[:, None] * weights
    elif kind == "payoffs of all sizes":
        upper = upper * 10.0 ** -rng.uniform(0, 14, (n, n))
    skew = upper - upper.T
    return skew / (2 * np.abs(skew).max() or 1.0)


KINDS = (
    *("nearly of rank 2", "nearly of rank 4", "ties", "a tournament", "clones"),
    *("tiny probabilities", "payoffs of all sizes", "ordinary"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_nash_certifies_is_proved(kind):
    """250 games of 3 to 12 actions each."""
    verdicts = []
    for n in range(3, 13):
        rng = np.random.default_rng((n, KINDS.index(kind)))
        games = game_of(np.stack([hard(kind, rng, n) for _ in range(25)]))
        solutions = cg.nash(games)
        for each in range(25):
            solution = type(solutions)(*(field[each] for field in solutions))
            proof = cg.prove(game_of(games.skew[each]), solution)
            verdicts.append((str(solution.status), proof.verdict))
            if solution.status == "certified":
                assert proof.verdict == "proved", (kind, n, each, proof.reason)
                assert proof.unique == solution.unique
                assert proof.dimension == solution.dimension
                assert proof.error < 1e-6
            if solution.status == "tied":
                assert proof.verdict == "needs more than float64 knows"
    assert all(status != "failed" for status, _ in verdicts)
    share = np.mean([status == "certified" for status, _ in verdicts])
    assert share == 1 if kind in ("ordinary", "ties", "a tournament") else share > 0.2, share
