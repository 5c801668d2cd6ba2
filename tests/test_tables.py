"""Contract tables: one entry for every exported regularizer, game, metric and loss.

An export without an entry fails, and says where to add it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import COMAL_NASH, random_game, random_policy

import comalgames as cg
from comalgames import games, regularizers
from comalgames.numerics import losses

KEY = jax.random.key(3)


def check_entries(table: dict[str, Any], exported: set[str], others: set[str], name: str) -> None:
    missing = exported - others - set(table)
    kind = type(next(iter(table.values()))).__name__
    assert not missing, (
        f"add an entry for {sorted(missing)} to {name} in tests/test_tables.py: a `{kind}`, whose docstring "
        f"in that file describes the fields"
    )
    assert set(table) <= exported, (
        f"{name} has entries for {sorted(set(table) - exported)}, which do not exist"
    )


def each(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("name", table)


# Regularizers -----------------------------------------------------------------------------------------------


class Regularizer(NamedTuple):
    """One regularizer.

    Attributes:
        regularizer: the function `(p, reference) -> number`, with numbers if it is a family.
        formula: the same in NumPy, as its docstring says.
        curvature: its second derivative at the reference, relative to that of KL.
        is_divergence: whether it is 0 with gradient 0 at the reference, and positive elsewhere.
        is_separable: whether it is a sum over the actions, one term for each.
    """

    regularizer: Callable[[Any, Any], Any]
    formula: Callable[[np.ndarray, np.ndarray], float]
    curvature: float = 1.0
    is_divergence: bool = True
    is_separable: bool = True


def np_kl(p: Any, r: Any) -> Any:
    return np.sum(p * np.log(p / r))


r = regularizers
REGULARIZERS = {
    "kl": Regularizer(r.kl, np_kl),
    "forward_kl": Regularizer(r.forward_kl, lambda p, r: np_kl(r, p)),
    "chi_squared": Regularizer(r.chi_squared, lambda p, r: np.sum((p - r) ** 2 / r), 2.0),
    "jensen_shannon": Regularizer(
        r.jensen_shannon, lambda p, r: (np_kl(p, (p + r) / 2) + np_kl(r, (p + r) / 2)) / 2, 0.25
    ),
    "hellinger": Regularizer(r.hellinger, lambda p, r: np.sum((p**0.5 - r**0.5) ** 2) / 2, 0.25),
    # At a uniform reference over n = 4 actions: 2 against KL's n. `curvature` states it there.
    "squared_l2": Regularizer(r.squared_l2, lambda p, r: np.sum((p - r) ** 2), 0.5),
    "entropy": Regularizer(r.entropy, lambda p, r: np.sum(p * np.log(p)), is_divergence=False),
    "tsallis": Regularizer(r.tsallis(1.5), lambda p, r: (np.sum(p**1.5 * r**-0.5) - 1) / 0.5, 1.5),
    "renyi": Regularizer(
        r.renyi(0.7), lambda p, r: np.log(np.sum(p**0.7 * r**0.3)) / (0.7 - 1), 0.7, is_separable=False
    ),
    "alpha_divergence": Regularizer(
        r.alpha_divergence(0.3), lambda p, r: (np.sum(p**0.3 * r**0.7) - 1) / (0.3 * (0.3 - 1))
    ),
    "weighted_sum": Regularizer(
        r.weighted_sum((0.5, r.kl), (2.0, r.chi_squared)),
        lambda p, r: 0.5 * np_kl(p, r) + 2 * np.sum((p - r) ** 2 / r),
        4.5,
    ),
}
P, Q, R = jnp.asarray(random_policy(3, 4, seed=5))


def test_every_regularizer_has_an_entry() -> None:
    exported = {name for name in regularizers.__all__ if callable(getattr(regularizers, name))}
    not_one = {"RegularizerReport", "Regularizer", "check_regularizer"}
    check_entries(REGULARIZERS, exported, not_one, "REGULARIZERS")


@each(REGULARIZERS)
def test_a_regularizer_is_its_formula(name: str) -> None:
    entry = REGULARIZERS[name]
    for p, reference in ((P, R), (Q, P)):
        np.testing.assert_allclose(entry.regularizer(p, reference), entry.formula(p, reference), rtol=1e-12)


@each(REGULARIZERS)
def test_a_divergence_is_minimal_at_the_reference(name: str) -> None:
    entry = REGULARIZERS[name]
    if not entry.is_divergence:
        return
    assert abs(entry.regularizer(R, R)) < 1e-15
    assert entry.regularizer(P, R) > 1e-3
    slope = np.asarray(regularizers.gradient(entry.regularizer, jnp.log(R), jnp.log(R)))
    np.testing.assert_allclose(slope - slope.mean(), 0, atol=1e-13)


@each(REGULARIZERS)
def test_a_regularizer_is_convex_along_chords(name: str) -> None:
    f = REGULARIZERS[name].regularizer
    for share in (0.1, 0.5, 0.9):
        chord = (1 - share) * f(P, R) + share * f(Q, R)
        assert f((1 - share) * P + share * Q, R) < chord - 1e-4


@each(REGULARIZERS)
def test_a_regularizer_has_the_stated_curvature_and_structure(name: str) -> None:
    entry = REGULARIZERS[name]
    uniform, h = np.full(4, 0.25), 1e-3
    d = np.array([1.0, -1.0, 0.0, 0.0])
    f = entry.formula
    second = (f(uniform + h * d, uniform) + f(uniform - h * d, uniform) - 2 * f(uniform, uniform)) / h**2
    # KL's second derivative along d is sum d^2 / r = 8; central differences are good to h^2.
    assert second / 8 == pytest.approx(entry.curvature, rel=1e-4)
    if name != "squared_l2":  # measured by the package over several numbers of actions, where its own varies
        assert regularizers.curvature(entry.regularizer) == pytest.approx(entry.curvature, rel=1e-6)
    assert regularizers.is_separable(entry.regularizer) is entry.is_separable
    assert regularizers.ignores_reference(entry.regularizer) is not entry.is_divergence


@each(REGULARIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_regularizer_is_finite_on_floored_policies(name: str, dtype: Any) -> None:
    far = jnp.asarray([0.0, -2000.0, -50.0], dtype)
    near = jnp.log(jnp.asarray([0.2, 0.3, 0.5], dtype))
    for logp, reference in ((far, near), (near, far), (far, far)):
        value = regularizers.value(REGULARIZERS[name].regularizer, logp, reference)
        slope = regularizers.gradient(REGULARIZERS[name].regularizer, logp, reference)
        assert value.dtype == slope.dtype == dtype
        assert np.all(np.isfinite(value)), (logp, reference)
        assert np.all(np.isfinite(slope)), (logp, reference)


# Games ------------------------------------------------------------------------------------------------------


class Game(NamedTuple):
    """One game.

    Attributes:
        make: a function without arguments that makes a small instance of the game.
        nash: the Nash policy that the docstring states, probabilities `[n]` (`[2, n]` for two players); None
            if it states none.
        is_unique: whether that is the only Nash policy.
    """

    make: Callable[[], Any]
    nash: Any = None
    is_unique: bool = True


def cyclic(a: float, b: float, c: float) -> np.ndarray:
    """A 3-cycle's Nash policy: each action as likely as the edge between the others is strong."""
    weights = np.array([b, c, a])
    return weights / weights.sum()


RPS = games.rock_paper_scissors()
CYCLE = games.comal_cycle()
MANY = cg.PreferenceGame.from_skew(jnp.stack([CYCLE.skew, RPS.skew]))
UNNAMED = [cg.PreferenceGame.from_skew(game.skew) for game in (CYCLE, RPS)]
GAMES = {
    "comal_cycle": Game(games.comal_cycle, COMAL_NASH),
    "cycle": Game(lambda: games.cycle(0.1, 0.2, 0.4), cyclic(0.1, 0.2, 0.4)),
    "near_degenerate_cycle": Game(lambda: games.near_degenerate_cycle(0.1)),
    "rock_paper_scissors": Game(games.rock_paper_scissors, np.full(3, 1 / 3)),
    "random": Game(lambda: games.random(KEY, 5)),
    "bradley_terry": Game(lambda: games.bradley_terry([0.0, 2.0, 1.0]), np.eye(3)[1]),
    "bradley_terry_mixture": Game(lambda: games.bradley_terry_mixture([[0.0, 2.0, 1.0], [1.0, 0.0, 2.0]])),
    "tournament": Game(lambda: games.tournament(KEY, 5)),
    "blotto": Game(lambda: games.blotto(4, 2)),
    "n_ary_rock_paper_scissors": Game(lambda: games.n_ary_rock_paper_scissors(5), np.full(5, 1 / 5)),
    "weighted_cycle": Game(lambda: games.weighted_cycle([0.1, 0.2, 0.4]), cyclic(0.1, 0.2, 0.4)),
    "designed": Game(lambda: games.designed(KEY, [0.5, 0.3, 0.2], [0.1]).game, np.array([0.5, 0.3, 0.2])),
    "clones": Game(lambda: games.clones(CYCLE, 0)),
    "delta_game": Game(lambda: games.delta_game(0.1)),
    "many_equilibria": Game(games.many_equilibria),
    "regret_matching_cycle": Game(games.regret_matching_cycle),
    "role_symmetrized": Game(lambda: games.role_symmetrized(games.delta_game(0.1)).game),
    "add_cycle": Game(lambda: games.add_cycle(RPS, 0.0), np.full(3, 1 / 3)),
    "annotator_mixture": Game(lambda: games.annotator_mixture(MANY, [1.0, 0.0]), COMAL_NASH),
    "estimated": Game(lambda: games.estimated(KEY, CYCLE, 100)),
    "flip_labels": Game(lambda: games.flip_labels(CYCLE, 0.2), COMAL_NASH),
    "unflip_labels": Game(lambda: games.unflip_labels(games.flip_labels(CYCLE, 0.2), 0.2), COMAL_NASH),
    "flip_pairs": Game(lambda: games.flip_pairs(CYCLE, np.full((3, 3), 0.1)), COMAL_NASH),
    "gaussian_noise": Game(lambda: games.gaussian_noise(KEY, CYCLE, 0.01)),
    "stack": Game(lambda: games.stack(UNNAMED), np.stack([COMAL_NASH, np.full(3, 1 / 3)])),
    "cyclic_annotators": Game(
        lambda: games.annotator_mixture(games.cyclic_annotators(1.0)), np.full(3, 1 / 3)
    ),
    "disc": Game(
        lambda: games.disc([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]), np.full(3, 1 / 3)
    ),
    "game_of_skill": Game(lambda: games.game_of_skill(KEY, 5, 0.5)),
    "general_preference": Game(lambda: games.general_preference([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])),
    "multidimensional_elo": Game(lambda: games.multidimensional_elo([0.0, 1.0, 0.5], [[1.0, 0.0]] * 3)),
    "transitive_plus_cyclic": Game(
        lambda: games.transitive_plus_cyclic(np.zeros(3), RPS.skew), np.full(3, 1 / 3)
    ),
    "from_rankings": Game(games.mariner),
    "from_winrates": Game(lambda: games.from_winrates(CYCLE.preference), COMAL_NASH),
    "mariner": Game(games.mariner, np.arange(32) == 21),
    "mariner_teams": Game(lambda: games.annotator_mixture(games.mariner_teams()), np.arange(32) == 21),
    "PreferenceGame": Game(lambda: cg.PreferenceGame(CYCLE.preference), COMAL_NASH),
    "ZeroSumGame": Game(lambda: cg.ZeroSumGame(RPS.skew), np.full((2, 3), 1 / 3)),
}
# Exported names that are not games: classes, results and functions that describe a game.
NOT_GAMES = {
    *("AbstractGame", "DesignedGame", "Hodge", "RoleSymmetrized", "borda", "condorcet_winner", "copeland"),
    *("hodge", "majority_cycles", "role_marginals", "smith_set"),
}


def test_every_game_has_an_entry() -> None:
    check_entries(GAMES, set(games.__all__), NOT_GAMES, "GAMES")


@each(GAMES)
def test_a_game_is_exactly_skew_in_float64_with_a_certified_nash_policy(name: str) -> None:
    entry = GAMES[name]
    game = entry.make()
    assert game.dtype == np.float64
    if isinstance(game, cg.PreferenceGame):
        skew = np.asarray(game.skew)
        np.testing.assert_array_equal(skew, -skew.swapaxes(-1, -2))
        assert np.abs(skew).max() <= 0.5
        assert len(game.names) == game.num_actions == len(set(game.names))
        np.testing.assert_array_equal(game.preference, skew + 0.5)
    solution = cg.nash(game)
    assert np.all(np.asarray(solution.status) == "certified")
    assert np.max(solution.gap) <= 1e-15 * max(1.0, game.num_actions)
    if entry.nash is not None:
        assert np.all(solution.unique) == entry.is_unique
        np.testing.assert_allclose(solution.policy, entry.nash, rtol=0, atol=1e-12)


@each(GAMES)
def test_a_game_says_its_shapes(name: str) -> None:
    game = GAMES[name].make()
    uniform = game.uniform()
    assert uniform.shape == game.policy_shape
    advantage = game.advantage(uniform)
    assert advantage.shape == game.policy_shape
    assert game.gap(advantage).shape == np.shape(game.over_players(jnp.max(advantage, axis=-1)))
    # Nobody has an advantage against itself, in all: payoffs are zero-sum.
    own = np.sum(np.exp(uniform) * advantage, axis=-1)
    np.testing.assert_allclose(own if isinstance(game, cg.PreferenceGame) else own.sum(-1), 0, atol=1e-15)


# Metrics ----------------------------------------------------------------------------------------------------

SOLVED = cg.nash(CYCLE)
OTHER = jnp.log(jnp.asarray([0.2, 0.5, 0.3]))
TWO_PLAYERS = cg.ZeroSumGame(np.asarray(CYCLE.skew))


class Metric(NamedTuple):
    """One metric.

    Attributes:
        metric: the function `(game, logp) -> number per prompt`.
        at_nash: its value at the Nash policy of COMAL's cycle.
        elsewhere: a function of probabilities p and payoffs A in NumPy, its value at p on COMAL's cycle.
        plays_two: its value in the two-player game where both players play p, divided by its value at p in
            the preference game; 0 if it refuses two-player games.
        is_per_player: whether it returns one number per player in a two-player game; `plays_two` is not used.
    """

    metric: Callable[[Any, Any], Any]
    at_nash: float
    elsewhere: Callable[[np.ndarray, np.ndarray], float]
    plays_two: float = 1.0
    is_per_player: bool = False


TARGET, TAU = COMAL_NASH, 0.5


def np_regularized_gap(p: np.ndarray, A: np.ndarray) -> float:
    """Twice what the best of many policies gains, by a general optimizer on logits."""

    def loss(z: np.ndarray) -> float:
        q = np.exp(z - z.max())
        q /= q.sum()
        return -(q @ A @ p - TAU * np_kl(q, TARGET)) + (0 - TAU * np_kl(p, TARGET))

    return -2 * scipy.optimize.minimize(loss, np.log(p), tol=1e-14).fun


METRICS = {
    "duality_gap": Metric(cg.duality_gap, 0.0, lambda p, A: 2 * np.max(A @ p)),
    "worst_win_rate": Metric(cg.metrics.worst_win_rate, 0.5, lambda p, A: 0.5 - np.max(A @ p), 0),
    "entropy": Metric(
        cg.entropy,
        float(-np.sum(COMAL_NASH * np.log(COMAL_NASH))),
        lambda p, A: -np.sum(p * np.log(p)),
        is_per_player=True,
    ),
    "kl_to": Metric(cg.kl_to(jnp.log(TARGET)), 0.0, lambda p, A: np_kl(TARGET, p), 2.0),
    "total_variation_to": Metric(
        cg.total_variation_to(jnp.log(TARGET)), 0.0, lambda p, A: np.abs(p - TARGET).sum() / 2, 2.0
    ),
    "tangent_residual": Metric(
        cg.tangent_residual, 0.0, lambda p, A: np.linalg.norm(A @ p - np.mean(A @ p)), 2**0.5
    ),
    "regularized_gap": Metric(cg.regularized_gap(TAU, jnp.log(TARGET)), 0.0, np_regularized_gap),
    "win_rates": Metric(lambda game, logp: cg.win_rates(game, logp[None])[0, 0], 0.5, lambda p, A: 0.5, 0),
}


def test_every_metric_has_an_entry() -> None:
    exported = {name for name in cg.metrics.__all__ if name[0].islower()}
    check_entries(METRICS, exported, set(), "METRICS")


@each(METRICS)
def test_a_metric_has_its_value_at_nash_and_elsewhere(name: str) -> None:
    entry, A = METRICS[name], np.asarray(CYCLE.skew)
    at_nash = float(entry.metric(CYCLE, jnp.log(COMAL_NASH)))
    assert at_nash == pytest.approx(entry.at_nash, rel=0, abs=1e-15 if name != "regularized_gap" else 1e-12)
    p = np.exp(OTHER)
    assert float(entry.metric(CYCLE, OTHER)) == pytest.approx(entry.elsewhere(p, A), rel=1e-6, abs=1e-12)


@pytest.mark.usefixtures("as_users_have_it")
@each(METRICS)
def test_a_metric_takes_prompts_two_players_and_float32(name: str) -> None:
    entry = METRICS[name]
    value = float(entry.metric(CYCLE, OTHER))
    if name != "win_rates":  # it takes many policies on one game
        together = entry.metric(MANY, jnp.stack([OTHER, jnp.log(COMAL_NASH)]))
        assert together.shape == (2,)
        assert float(together[0]) == pytest.approx(value, rel=1e-13, abs=1e-15)
    single = cg.PreferenceGame.from_skew(CYCLE.skew.astype(np.float32))
    coarse = entry.metric(single, OTHER.astype(np.float32))
    assert coarse.dtype == np.float32
    assert float(coarse) == pytest.approx(value, rel=1e-5, abs=1e-6)
    both = jnp.stack([OTHER, OTHER])
    if entry.is_per_player:
        np.testing.assert_allclose(entry.metric(TWO_PLAYERS, both), np.full(2, value), rtol=1e-12)
    elif entry.plays_two == 0:
        with pytest.raises(ValueError, match="PreferenceGame"):
            entry.metric(TWO_PLAYERS, both)
    else:
        assert float(entry.metric(TWO_PLAYERS, both)) == pytest.approx(entry.plays_two * value, rel=1e-12)


@each(METRICS)
def test_a_metric_refuses_probabilities(name: str) -> None:
    with pytest.raises(ValueError, match=r"jnp\.log"):
        METRICS[name].metric(CYCLE, jnp.exp(OTHER))


# Losses -----------------------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """One loss on one number x, a margin or a log-ratio.

    Attributes:
        loss: the loss, with its other arguments given.
        minimizer: where its docstring says that it is smallest; None if it has no minimum.
        falls: for a loss without one: the sign of its slope everywhere.
    """

    loss: Callable[[Any], Any]
    minimizer: float | None
    falls: float = 0.0


RATE = 0.7
ODDS = float(np.log(RATE / (1 - RATE)))
LOSSES = {
    "regression": Loss(lambda x: losses.regression(x, 1.3), 1.3),
    "squared": Loss(lambda x: losses.squared(x, RATE, 2.0), 2.0 * (RATE - 0.5)),
    "logistic": Loss(lambda x: losses.logistic(x, RATE, 0.5), ODDS / 0.5),
    "pointwise": Loss(lambda x: losses.pointwise(x, RATE, 2.0), 2.0 * (RATE - 0.5)),
    "bco": Loss(lambda x: losses.bco(x, RATE, 0.5), ODDS / 0.5),
    "nca": Loss(lambda x: losses.nca(x, RATE, 0.5), float(np.log(2 * RATE - 0.0)) / 0.5),
    "kto": Loss(lambda x: losses.kto(x, RATE, 0.5, 0.1), None, -1.0),
}


def test_every_loss_has_an_entry() -> None:
    exported = {
        name
        for name, value in vars(losses).items()
        if callable(value) and getattr(value, "__module__", "") == losses.__name__
    }
    exported = {name for name in exported if not name.startswith("_")}
    check_entries(LOSSES, exported, {"unflipped"}, "LOSSES")


@each(LOSSES)
def test_a_loss_is_minimized_where_its_docstring_says(name: str) -> None:
    entry = LOSSES[name]
    grid = np.linspace(-6, 6, 241)
    if entry.minimizer is None:
        assert np.all(np.sign(np.diff([float(entry.loss(x)) for x in grid])) == entry.falls)
        return
    found = scipy.optimize.minimize_scalar(
        lambda x: float(entry.loss(x)), bracket=(-1, 1), options={"xtol": 1e-10}
    )
    assert found.x == pytest.approx(entry.minimizer, abs=1e-6)
    assert np.all([float(entry.loss(x)) >= found.fun - 1e-15 for x in grid])


def test_the_tables_are_not_empty() -> None:
    assert random_game(3).num_actions == 3
    assert min(map(len, (REGULARIZERS, GAMES, METRICS, LOSSES))) >= 7
