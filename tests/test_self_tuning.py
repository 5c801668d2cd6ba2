"""COMAL without a period: its theorem, at every move of every run, and what it asks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import COMAL_NASH, COMAL_START, random_game, random_policy

import comalgames as cg
from comalgames.feedback import asked as asked_of
from comalgames.numerics.proximal import regularized_equilibrium

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
RANDOM = random_game(10, seed=0, prompts=(20,))
NASH_OF_RANDOM = cg.nash(RANDOM).policy

# Steps inside the inner rule's stable range for every preference game, s < 2 tau / (tau^2 + 1 / pi^2).
GRID = [(0.3, 0.03), (0.5, 0.03), (0.3, 0.1), (1.0, 0.1), (1.7, 0.1), (1.0, 0.3), (3.0, 0.3)]


def kl(p: Any, q: Any) -> np.ndarray:
    """In NumPy; 0 log 0 is 0. Terms are grouped so that none is negative."""
    p, q = np.asarray(p), np.asarray(q)
    ratio = np.log(np.where(p > 0, p / q, 1.0))
    return np.sum(p * ratio - p + q, axis=-1)


def walk(game: Any, policy: Any, inner: Any, sigma: float) -> Any:
    """Policies and references before each step, references after it, and who moved."""
    rule = cg.COMAL(inner, when=cg.Near(sigma))
    logp = jnp.log(policy)

    def body(state: Any, _: Any) -> Any:
        after = rule.step(jax.random.key(0), state, cg.Exact(game))
        return after, (state.logp, state.reference, after.reference, after.near)

    return jax.lax.scan(body, rule.init(logp, logp), None, 600)[1]


def check_theorem(game: Any, nash: Any, rows: Any, sigma: float, tau: float) -> int:
    """KL(Nash || reference) falls by (1 - sigma^2) KL(z || reference) a move; returns the number of moves."""
    z, before, after, moving = rows
    # In probabilities: -inf and underflow are no trouble where Nash has no weight.
    start, end = kl(nash, np.exp(before)), kl(nash, np.exp(after))
    gain = (1 - sigma**2) * kl(np.exp(z), np.exp(before))
    rounding = 1e-12
    assert np.all(end <= start - np.where(moving, gain, 0.0) + rounding)
    assert np.all(end[~moving] == start[~moving])
    # It moves exactly when the policy is near its best response around the reference, and to that.
    advantage = np.einsum("...ij,...j->...i", np.asarray(game.skew), np.exp(z))
    best = before + advantage / tau
    best -= np.log(np.sum(np.exp(best), axis=-1, keepdims=True))
    error, way = kl(np.exp(z), np.exp(best)), kl(np.exp(z), np.exp(before))
    clear = np.abs(error - sigma**2 * way) > 1e-9 * way + 1e-14
    np.testing.assert_array_equal(moving[clear], (error <= sigma**2 * way)[clear])
    np.testing.assert_allclose(after[moving], best[moving], rtol=0, atol=1e-9 * (1 + np.abs(best).max()))
    return int(moving.sum())


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.9])
def test_kl_to_nash_never_increases(sigma: float) -> None:
    rows_of = jax.jit(lambda game, policy, eta, tau: walk(game, policy, cg.MirrorDescent(eta, tau), sigma))
    moves = []
    for eta, tau in GRID:
        cycle = rows_of(CYCLE, jnp.asarray(COMAL_START), eta, tau)
        moves.append(check_theorem(CYCLE, COMAL_NASH, map(np.asarray, cycle), sigma, tau))
        rows = rows_of(RANDOM, jnp.full((20, 10), 0.1), eta, tau)
        moves.append(check_theorem(RANDOM, NASH_OF_RANDOM, map(np.asarray, rows), sigma, tau))
    # Step 0.3 with temperature 0.03 may need a thousand steps before its first move on the cycle.
    assert min(moves[2:]) > 0
    assert sum(moves) > 1000


INNER = {
    "mirror descent": cg.MirrorDescent(1.0, 0.1),
    "MMD": cg.MMD(1.0, 0.1),
    "INPO": cg.INPO(1.0, 0.1),
    "EGPO": cg.Extragradient(2.0, 0.1),
    "exact": cg.ExactProx(0.1),
    "KL by its gradient": cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.kl),
    "KL by its gradient, other mirror": cg.RegularizedMirrorDescent(
        0.3, 0.1, cg.regularizers.kl, cg.mirrors.tsallis(0.5)
    ),
    "flips corrected": cg.flip_corrected(cg.MirrorDescent(0.8, 0.125), 0.1),
}


@pytest.mark.parametrize("inner", INNER.values(), ids=list(INNER))
def test_it_reaches_nash_around_every_inner_rule(inner: Any) -> None:
    rows = jax.jit(lambda policy: walk(CYCLE, policy, inner, 0.3))(jnp.asarray(COMAL_START))
    assert check_theorem(CYCLE, COMAL_NASH, map(np.asarray, rows), 0.3, 0.1) > 5
    result = cg.solve(CYCLE, cg.COMAL(inner), 6000, init=COMAL_START)
    np.testing.assert_allclose(result.policy, COMAL_NASH, rtol=0, atol=1e-12)
    assert result.notes == ()


def test_each_member_of_a_batch_decides_for_itself() -> None:
    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1))
    starts = random_policy(20, 10, seed=1)
    together = cg.solve(RANDOM, rule, 500, init=starts)
    for k in (0, 7, 19):
        alone = cg.solve(cg.PreferenceGame.from_skew(RANDOM.skew[k]), rule, 500, init=starts[k])
        np.testing.assert_allclose(together.logp[k], alone.logp, rtol=0, atol=1e-10)
    moves = np.asarray(jax.jit(lambda p: walk(RANDOM, p, rule.inner, 0.3))(jnp.asarray(starts))[3])
    assert len(set(moves.sum(0).tolist())) > 2


def test_two_players_move_together_and_towards_nash() -> None:
    payoff = np.random.default_rng(3).uniform(-0.5, 0.5, (5, 5))
    game = cg.ZeroSumGame(payoff)
    nash = cg.nash(game)
    assert nash.unique
    assert nash.support.sum() > 4
    starts = random_policy(2, 5, seed=2)
    rows = jax.jit(lambda p: walk(game, p, cg.MirrorDescent(1.0, 0.1), 0.5))(jnp.asarray(starts))
    _, before, after, moving = map(np.asarray, rows)
    np.testing.assert_array_equal(moving[:, 0], moving[:, 1])
    assert moving[:, 0].sum() > 10
    distance = [kl(nash.policy, np.exp(reference)).sum(-1) for reference in (before, after)]
    assert np.all(distance[1] <= distance[0] + 1e-12)
    assert distance[1][-1] < 0.5 * distance[0][0]


def test_an_inner_rule_that_does_not_converge_leaves_the_reference_where_it_is() -> None:
    """A step far beyond the inner rule's limit: with any period it would diverge."""
    rows = jax.jit(lambda p: walk(CYCLE, p, cg.MirrorDescent(15.0, 0.1), 0.3))(jnp.asarray(COMAL_START))
    _, before, after, _ = map(np.asarray, rows)
    assert np.all(kl(COMAL_NASH, np.exp(after)) <= kl(COMAL_NASH, np.exp(before)) + 1e-12)


def test_a_temperature_may_change_with_the_step() -> None:
    class Falling(cg.AbstractSchedule):
        def __call__(self, step: Any) -> Any:
            return jnp.maximum(0.3 / jnp.sqrt(1.0 + step.astype(jnp.float64)), 0.1)

    rule = cg.COMAL(cg.MirrorDescent(1.0, Falling()))
    result = cg.solve(CYCLE, rule, 3000, init=COMAL_START)
    np.testing.assert_allclose(result.policy, COMAL_NASH, rtol=0, atol=1e-12)
    taus = [float(rule.form(step).temperature) for step in (0, 3)]
    np.testing.assert_allclose(taus, [0.3, 0.15], rtol=1e-12)


@pytest.mark.parametrize("inner", INNER.values(), ids=list(INNER))
def test_its_temperature_is_the_one_at_whose_equilibrium_the_inner_rule_rests(inner: Any) -> None:
    """A wrong temperature would be a theorem about another game."""
    reference = random_policy(3, seed=8)
    rest = cg.qre(CYCLE, float(inner.form(0).temperature), reference).policy
    logp = jnp.log(jnp.asarray(rest))
    state = inner.init(logp, jnp.log(jnp.asarray(reference)))
    after = inner.step(jax.random.key(0), state, cg.Exact(CYCLE))
    np.testing.assert_allclose(after.logp, logp, rtol=0, atol=1e-13)


def test_a_softmax_policy_that_goes_part_of_the_way_follows_it() -> None:
    import optax

    rule = cg.COMAL(cg.MirrorDescent(1.0, 0.1))
    learner = cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.5), 20, cg.objectives.Regression())
    result = cg.solve(CYCLE, learner, 3000, init=COMAL_START)
    assert result.duality_gap < 1e-3
    # Losses on labels never see where the last step before a move goes.
    with pytest.raises(ValueError, match="advantage_weight"):
        cg.Parametric(rule, cg.Tabular(), None, optax.sgd(0.5), 20, cg.objectives.LabelledPairs())


def test_the_sample_that_the_inner_rule_saw_is_the_one_it_is_judged_by() -> None:
    """On samples the advantage is asked once a step, and nothing breaks."""
    asked = []

    class Noted(cg.AbstractFeedback):
        inside: cg.AbstractFeedback

        @property
        def is_random(self) -> bool:
            return True

        def advantage(self, key: Any, opponent_logp: Any) -> Any:
            asked.append(1)
            return self.inside.advantage(key, opponent_logp)

        def pairwise(self, key: Any) -> Any:
            return self.inside.pairwise(key)

    rule = cg.COMAL(cg.MirrorDescent(0.3, 0.1))
    sampled = Noted(cg.Sampled(CYCLE, num_opponents=100))
    logp = jnp.log(jnp.asarray(COMAL_START))
    jax.eval_shape(lambda state: rule.step(jax.random.key(0), state, sampled), rule.init(logp, logp))
    assert len(asked) == asked_of(rule, 3).cost == 1
    result = cg.solve(
        CYCLE, rule, 2000, init=COMAL_START, feedback=cg.Sampled(CYCLE, 1000), key=jax.random.key(1)
    )
    assert np.isfinite(result.logp).all()
    assert np.median(result.history["duality_gap"][-500:]) < 0.2
    assert asked_of(cg.COMAL(cg.ExactProx(0.1)), 3).cost == 4


# Forms ------------------------------------------------------------------------------------------------------


def test_auto_is_a_word_for_no_period() -> None:
    inner = cg.MirrorDescent(1.0, 0.1)
    assert cg.COMAL(inner, period="auto").when == cg.Near()
    assert eqx.tree_equal(cg.COMAL(inner, "auto"), cg.COMAL(inner))
    # It is an ordinary pytree: many of them are one.
    rules = jax.vmap(lambda s: cg.COMAL(cg.MirrorDescent(s, 0.1)))(jnp.array([0.3, 1.0]))
    logp = jnp.log(jnp.asarray(COMAL_START))
    ends = jax.vmap(lambda rule: cg.trajectory(CYCLE, rule, 300, logp=logp).state.logp)(rules)
    for k, step_size in enumerate((0.3, 1.0)):
        alone = cg.solve(CYCLE, cg.COMAL(cg.MirrorDescent(step_size, 0.1)), 300, init=COMAL_START)
        np.testing.assert_allclose(ends[k], alone.logp, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: cg.COMAL(cg.MirrorDescent(1.0, 0.1), when=cg.Near(1.0)),
            "`relative_error` must be above 0",
        ),
        (lambda: cg.COMAL(cg.MirrorDescent(1.0, 0.1), when=cg.Near(0.0)), "`relative_error` must be"),
        (lambda: cg.COMAL(cg.MirrorDescent(1.0, 0.1), period="often"), "`period` must be"),
        (lambda: cg.COMAL(cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20)), "outer one a period"),
        (
            lambda: cg.COMAL(cg.RegularizedMirrorDescent(1.0, 0.1, cg.regularizers.chi_squared)),
            "regularized by KL.*period=50",
        ),
        (lambda: cg.COMAL(cg.MWU(1.0)), "its pull is 0"),
    ],
)
def test_what_cannot_tune_itself_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_rule_that_asks_about_others_only_costs_one_query_more() -> None:
    class Copies(cg.AbstractUpdateRule):
        def form(self, step: Any) -> cg.Form:
            return cg.Form(pull=0.1, temperature=0.1)

        def propose(self, key: Any, state: Any, feedback: Any) -> Any:
            copy = jax.nn.log_softmax(state.logp)
            return 0.9 * state.logp + 0.1 * state.reference + feedback.advantage(key, copy), state

    rule = cg.COMAL(Copies())
    assert asked_of(Copies(), 3) == (1, False, False)
    assert asked_of(rule, 3) == (2, True, False)
    result = cg.solve(CYCLE, rule, 3000, init=COMAL_START)
    assert result.queries[-1] == 6000
    np.testing.assert_allclose(result.policy, COMAL_NASH, rtol=0, atol=1e-12)


# A falling temperature -------------------------------------------------------------------------------------


def linear_solves(game: Any, schedule: Any) -> tuple[np.ndarray, int]:
    """Exact COMAL until the gap is at most 1e-12, replayed without the rule: policy and linear solves."""
    reference, solves = game.uniform(), 0
    for step in range(30):
        found = SOLVE(game.skew, reference, schedule(jnp.asarray(step, jnp.int32)))
        assert bool(found.converged)
        reference, solves = found.logp, solves + int(found.num_solves)
        if 2 * np.max(np.asarray(game.skew) @ np.exp(reference)) <= 1e-12:
            return np.asarray(reference), solves
    raise AssertionError("30 steps did not reach a gap of 1e-12")


SOLVE = jax.jit(regularized_equilibrium)


@pytest.mark.parametrize(("num_actions", "median", "most"), [(10, 25, 40), (100, 40, 80)])
def test_newton_inside_and_a_falling_temperature_take_a_few_dozen_linear_solves(
    num_actions: int, median: int, most: int
) -> None:
    schedule = cg.Geometric(0.01, 0.1, lowest=1e-6)
    counts = []
    for seed in range(20):
        game = random_game(num_actions, seed)
        logp, solves = linear_solves(game, schedule)
        counts.append(solves)
        if seed == 0:
            result = cg.solve(game, cg.COMAL(cg.ExactProx(schedule), period=1), 12)
            assert result.history["duality_gap"].min() <= 1e-12
            nash = cg.nash(game).policy
            np.testing.assert_allclose(np.exp(logp), nash, rtol=0, atol=1e-9)
            np.testing.assert_allclose(result.policy, nash, rtol=0, atol=1e-9)
    assert np.median(counts) <= median
    assert max(counts) <= most


def test_a_geometric_schedule_falls_to_its_lowest_value() -> None:
    schedule = cg.Geometric(0.3, 0.5, lowest=0.1)
    values = [float(schedule(jnp.asarray(step, jnp.int32))) for step in range(4)]
    np.testing.assert_allclose(values, [0.3, 0.15, 0.1, 0.1], rtol=1e-15)
    for arguments in ((0.0, 0.5), (0.3, -1.0), (0.3, 0.5, -0.1)):
        with pytest.raises(ValueError, match="must be a finite number"):
            cg.Geometric(*arguments)


# Starts far from Nash
# ---------------------------------------------------------------------------------------------------

DOMINATED = np.array([[0, 1, 1, 1], [-1, 0, 2, -2], [-1, -2, 0, 2], [-1, 2, -2, 0]]) / 4


def far_starts(num_actions: int, num_games: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random games, half of them with an action that beats all, and log-probabilities of 0 down to -2000."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-0.5, 0.5, (num_games, num_actions, num_actions)), 1)
    upper[::2, 0] = np.abs(upper[::2, 0])
    depth = 10 ** rng.uniform(0, 3.3, (num_games, 1))
    logp = -depth * rng.uniform(0, 1, (num_games, num_actions))
    # In every fourth game only action 0 is unlikely.
    logp[::4] = np.log(rng.dirichlet(np.ones(num_actions), len(logp[::4])))
    logp[::4, :1] -= depth[::4]
    return upper - upper.swapaxes(-1, -2), logp


def last_moves(skews: Any, starts: Any, inner: Any, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The last step in which each reference moved, and what the best action then gains."""
    rule = cg.COMAL(inner)

    def follow(skew: Any, logp: Any) -> Any:
        game = cg.PreferenceGame.from_skew(skew)

        def body(carry: Any, _: Any) -> Any:
            state, last = carry
            after = rule.step(jax.random.key(0), state, cg.Exact(game))
            moved = jnp.any(after.reference != state.reference)
            return (after, jnp.where(moved, after.step, last)), None

        start = rule.init(logp, logp)
        (state, last), _ = jax.lax.scan(body, (start, start.step), None, num_steps)
        return last, jnp.max(game.advantage(state.logp))

    last, gain = jax.jit(jax.vmap(follow))(skews, jax.nn.log_softmax(starts))
    return np.asarray(last), np.asarray(gain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inner", [cg.MirrorDescent(1.0, 0.1), cg.ExactProx(0.1)], ids=["steps", "exact"])
def test_the_reference_moves_from_any_start_while_an_action_gains(inner: Any, dtype: Any) -> None:
    """Likely actions converge to rounding while an unlikely one grows, which must not stop the moves."""
    num_steps, longest_round = 3000, 1000
    for num_actions in (3, 5, 8):
        skews, starts = far_starts(num_actions, 40, seed=num_actions)
        last, gain = last_moves(jnp.asarray(skews, dtype), jnp.asarray(starts, dtype), inner, num_steps)
        assert np.all((last > num_steps - longest_round) | (gain < 1e-6))


@pytest.mark.parametrize(
    ("dtype", "least", "step_size", "temperature"),
    [
        *((np.float64, 1e-60, step_size, 0.1) for step_size in (1.8, 1.9286, 1.95, 2.0)),
        (np.float32, 1e-30, 0.3583, 0.02),
    ],
)
def test_an_inner_rule_that_multiplies_rounding_errors_finds_it_too(
    dtype: Any, least: float, step_size: float, temperature: float
) -> None:
    """75 to 93% of the largest stable step: the policy stops farther from equilibrium than one rounding."""
    game = cg.PreferenceGame.from_skew(jnp.asarray(DOMINATED, dtype))
    start = np.array([least, 0.34, 0.33, 0.33]) / (1 + least)
    rule = cg.COMAL(cg.MirrorDescent(step_size, temperature))
    result = cg.solve(game, rule, 50_000, init=start, metrics=())
    np.testing.assert_allclose(result.policy, [1, 0, 0, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("step_size", [1e-4, 1e-3, 1e-2])
def test_with_small_steps_in_float32_a_move_costs_no_more_than_the_machine_epsilon(step_size: float) -> None:
    """With a pull far below the root of the machine epsilon, the way that steps lose exceeds it."""
    game = cg.PreferenceGame.from_skew(jnp.asarray(CYCLE.skew, jnp.float32))
    start = COMAL_NASH + 3e-4 * np.array([1, -2, 1])
    rule, eps = cg.COMAL(cg.MirrorDescent(step_size, 0.1)), float(np.finfo(np.float32).eps)
    logp = jnp.log(jnp.asarray(start, jnp.float32))

    def body(state: Any, _: Any) -> Any:
        after = rule.step(jax.random.key(0), state, cg.Exact(game))
        return after, after.reference

    references = jax.lax.scan(body, rule.init(logp, logp), None, 200_000)[1]
    distance = kl(COMAL_NASH, np.exp(np.asarray(references, np.float64)))
    # The logarithms are rounded too, each by at most eps.
    assert np.max(np.diff(distance)) <= 3 * eps
    assert distance[-1] <= 2 * distance[0]


@pytest.mark.parametrize(("dtype", "least"), [(np.float32, 1e-30), (np.float64, 1e-60)])
@pytest.mark.parametrize("inner", [cg.MirrorDescent(1.0, 0.1), cg.ExactProx(0.1)], ids=["steps", "exact"])
def test_an_action_of_probability_1e_60_that_beats_all_is_found(inner: Any, dtype: Any, least: float) -> None:
    game = cg.PreferenceGame.from_skew(jnp.asarray(DOMINATED, dtype))
    start = np.array([least, 0.5, 0.3, 0.2]) / (1 + least)
    result = cg.solve(game, cg.COMAL(inner), 3000, init=start, metrics=())
    np.testing.assert_allclose(result.policy, [1, 0, 0, 0], rtol=0, atol=1e-6)
