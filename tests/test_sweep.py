"""`sweep` is `solve` for many: the same numbers, paired noise, one compilation per structure and shape."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import COMAL_START, random_game, random_policy

import comalgames as cg

# Without their names, which are static and would cost `solve` a compilation each.
CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)
BIASED = cg.PreferenceGame.from_skew(cg.games.rock_paper_scissors(3, 1, 1).skew)
FIVE = random_game(5)
OPTIMIZER = optax.sgd(0.5)
GAMES = {"cycle": CYCLE, "biased": BIASED, "five": FIVE}
RULES = {
    "MWU 1": cg.MWU(1),
    "MWU .3": cg.MWU(0.3),
    "extragradient": cg.Extragradient(1.0, 0.1),
}
CURVES = ("duality_gap", "average_duality_gap", "best_duality_gap")

# The same sums in another batch layout: rounding (1e-16) may grow for 41 steps of a rule that spirals out, by
# at most (1 + eta w)^41 < 1e5.
SAME = {"rtol": 1e-10, "atol": 1e-11}


class Noisy(cg.AbstractFeedback):
    """The game's advantage plus noise that is far larger than rounding."""

    game: cg.AbstractGame

    @property
    def is_random(self):
        return True

    def advantage(self, key, opponent_logp):
        exact = self.game.advantage(opponent_logp)
        return exact + 0.1 * jax.random.normal(key, exact.shape, exact.dtype)

    def pairwise(self, key):
        raise NotImplementedError


class Weights(cg.AbstractUpdateRule):
    """Multiplicative weights that do not check their step size, and that COMAL may wrap."""

    step_size: object

    def propose(self, key, state, feedback):
        return state.logp + self.step_size * feedback.advantage(key, state.logp), state

    def form(self, step):
        return cg.Form(pull=0.1)


def counting_rule():
    """A rule that nothing has compiled yet, and the list of its compilations so far.

    A compiled sweep maps over rules; the checks before it do not.
    """
    traces = []

    class Counting(Weights):
        def propose(self, key, state, feedback):
            if hasattr(self.step_size, "batch_dim"):
                traces.append(self.step_size)
            return super().propose(key, state, feedback)

    return Counting, traces


def random_start(key, game):
    return jax.nn.softmax(jax.random.normal(key, (game.num_actions,)))


# What is in it
# ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs():
    """Two groups of rules on two shapes of game, from random starts, with 41 queries: 41 or 20 steps."""
    return cg.sweep(
        GAMES,
        RULES,
        num_queries=41,
        num_seeds=2,
        init=random_start,
        metrics=["policy", "entropy"],
        game_metrics=lambda game: {"kl": cg.kl_to(cg.nash(game).logp)},
        record_every=3,
    )


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("rule", RULES)
def test_every_run_is_what_solve_gives(runs, game, rule):
    num_steps = 20 if rule == "extragradient" else 41
    for seed in range(2):
        run = runs.sel(game=game, algorithm=rule, seed=seed)
        n = GAMES[game].num_actions
        start = run["policy"].isel(record=0).values[:n]
        metrics = {"entropy": cg.entropy, "policy": "policy", "kl": cg.kl_to(cg.nash(GAMES[game]).logp)}
        alone = cg.solve(GAMES[game], RULES[rule], num_steps, init=start, metrics=metrics, record_every=3)
        count = len(alone.steps)
        np.testing.assert_array_equal(run["steps"].values[:count], alone.steps)
        np.testing.assert_array_equal(run["queries"].values[:count], alone.queries)
        for name in (*CURVES, "entropy", "kl"):
            np.testing.assert_allclose(run[name].values[:count], alone.history[name], **SAME, err_msg=name)
        np.testing.assert_allclose(run["policy"].values[:count, :n], alone.history["policy"], **SAME)
        np.testing.assert_allclose(run["final_policy"].values[:n], alone.policy, **SAME)
        for curve in CURVES:
            assert run[f"final_{curve}"].item() == run[curve].values[count - 1]
        assert run["status"].item() == "completed"


def test_a_budget_of_queries_gives_each_rule_its_number_of_steps(runs):
    last = {rule: runs.sel(game="cycle", algorithm=rule) for rule in RULES}
    for rule, (steps, queries) in {"MWU 1": (41, 41), "extragradient": (20, 40)}.items():
        assert np.nanmax(last[rule]["steps"].values) == steps
        assert np.nanmax(last[rule]["queries"].values) == queries


def test_shorter_runs_and_smaller_games_are_padded_with_nan(runs):
    assert runs.sizes["record"] == 15  # steps 0, 3, ..., 39, 41
    short = runs.sel(algorithm="extragradient")  # steps 0, 3, ..., 18, 20
    for name in (*CURVES, "kl", "entropy"):
        assert np.isfinite(short[name].values[..., :8]).all()
        assert np.isnan(short[name].values[..., 8:]).all()
    for name in ("steps", "queries"):
        assert np.isnan(short[name].values[:, 8:]).all()
    assert runs["final_policy"].dims == ("game", "algorithm", "seed", "action")
    final = runs["final_policy"]
    assert np.isnan(final.sel(game=["cycle", "biased"]).values[..., 3:]).all()
    np.testing.assert_allclose(final.sum("action"), 1, rtol=0, atol=1e-14)


def test_the_three_curves_are_those_of_the_definition(runs):
    run = runs.sel(game="five", algorithm="MWU 1", seed=1)
    gap = 2 * (run["policy"].values @ np.asarray(FIVE.skew).T).max(-1)
    np.testing.assert_allclose(run["duality_gap"], gap, rtol=0, atol=1e-15)
    best = np.minimum.accumulate(run["duality_gap"].values)
    np.testing.assert_array_equal(run["best_duality_gap"], best)


def test_random_starts_differ_by_seed_and_are_the_same_for_every_algorithm(runs):
    starts = runs["policy"].isel(record=0)
    for game in GAMES:
        first, second = (starts.sel(game=game, seed=seed).values for seed in range(2))
        assert np.nanmax(np.abs(first - second)) > 1e-3
        for seed in (first, second):
            assert np.nanmax(np.ptp(seed, axis=0)) < 1e-14
    n = slice(0, 3)
    cycle, biased = (
        starts.sel(game=game, algorithm="MWU 1", seed=0).values[n] for game in ("cycle", "biased")
    )
    assert np.abs(cycle - biased).max() > 1e-3


# Compilations
# ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traces_of_one():
    rule, traces = counting_rule()
    cg.sweep(CYCLE, [rule(1.0)], 5)
    assert traces
    return len(traces)


def test_one_compilation_for_all_that_differ_only_in_numbers(traces_of_one):
    rule, traces = counting_rule()
    games = [cg.games.comal_cycle(), cg.games.rock_paper_scissors(3, 1, 1)]  # names of actions differ, too
    rules = {"whole": rule(1), "float": rule(0.3), "array": rule(jnp.asarray(0.1))}
    settings = {"num_seeds": 3, "init": random_start}
    cg.sweep(games, rules, 5000, **settings, record_every=7)
    assert len(traces) == traces_of_one
    # Nor does another sweep need another one.
    others = [cg.games.cycle(0.1, 0.2, 0.3), cg.games.cycle(0.3, 0.2, 0.1)]
    cg.sweep(others, {"a": rule(0.7), "b": rule(2), "c": rule(3)}, num_queries=10, **settings, record_every=7)
    assert len(traces) == traces_of_one


def test_one_compilation_more_for_another_shape(traces_of_one):
    rule, traces = counting_rule()
    cg.sweep([CYCLE, FIVE, BIASED, random_game(5, 1)], [rule(1.0), rule(0.1)], 5)
    assert len(traces) == 2 * traces_of_one


def test_one_compilation_more_for_another_structure(traces_of_one):
    rule, traces = counting_rule()
    rules = {f"period {period}": cg.COMAL(rule(0.5), period) for period in (7, 8.0, 9)}
    cg.sweep(CYCLE, {"plain": rule(1.0), **rules}, 5)
    assert len(traces) == 2 * traces_of_one


def test_rules_of_one_group_keep_their_own_numbers():
    """COMAL's period is such a number."""
    rules = {f"every {period}": cg.COMAL(cg.MirrorDescent(1.0, 0.1), period) for period in (7, 10, 40)}
    runs = cg.sweep(CYCLE, rules, 60, init=COMAL_START, record_every=20)
    for name, rule in rules.items():
        alone = cg.solve(CYCLE, rule, 60, init=COMAL_START, record_every=20)
        np.testing.assert_allclose(
            runs["duality_gap"].sel(algorithm=name, seed=0)[0], alone.history["duality_gap"], **SAME
        )
    finals = runs["final_policy"].values[0, :, 0]
    assert min(np.abs(finals[i] - finals[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-4


# Keys
# ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy():
    """Two rules that are one as a table, on two games that are one but for their name."""
    games = {"cycle": CYCLE, "twin": CYCLE}
    rules = {"MWU": cg.MWU(1.0), "SPPO": cg.SPPO(1.0)}
    return cg.sweep(games, rules, 30, num_seeds=2, feedback=Noisy, record_every=30)["final_policy"]


def test_algorithms_meet_the_same_noise(noisy):
    np.testing.assert_allclose(noisy.sel(algorithm="MWU"), noisy.sel(algorithm="SPPO"), **SAME)


def test_seeds_games_and_exact_runs_meet_different_noise(noisy):
    exact = cg.solve(CYCLE, cg.MWU(1.0), 30).policy
    finals = [noisy.sel(algorithm="MWU", game=g, seed=s).values for g in ("cycle", "twin") for s in range(2)]
    for i, policy in enumerate([*finals, exact]):
        for other in finals[:i]:
            assert np.abs(policy - other).max() > 1e-3


def test_adding_algorithms_games_and_seeds_changes_nothing_for_the_others(noisy):
    """The root key is key 0 unless one is given."""
    games = {"biased": BIASED, "cycle": CYCLE}
    rules = {"extragradient": cg.Extragradient(1.0), "another MWU": cg.MWU(0.1), "MWU": cg.MWU(1.0)}
    settings = {"key": jax.random.key(0), "num_seeds": 3, "feedback": Noisy, "record_every": 30}
    more = cg.sweep(games, rules, 30, **settings)["final_policy"]
    before, after = (data.sel(algorithm="MWU", game="cycle") for data in (noisy, more))
    np.testing.assert_allclose(after.sel(seed=[0, 1]), before, **SAME)


def test_another_root_key_is_another_noise(noisy):
    settings = {"key": jax.random.key(1), "feedback": Noisy, "record_every": 30}
    other = cg.sweep({"cycle": CYCLE}, {"MWU": cg.MWU(1.0)}, 30, **settings)["final_policy"]
    assert np.abs(other.values[0, 0] - noisy.sel(algorithm="MWU", game="cycle").values).max(-1).min() > 1e-3


def test_random_starts_are_drawn_apart_from_the_noise(noisy):
    """A first step leaves the start by its noise, whose key no child of the start's own key is."""
    given = []

    def start(key, game):
        given.append((key, random_start(key, game)))
        return given[-1][1]

    games, rules = {"cycle": CYCLE, "twin": CYCLE}, {"MWU": cg.MWU(1.0), "SPPO": cg.SPPO(1.0)}
    settings = {"num_seeds": 2, "feedback": Noisy, "record_every": 30}
    finals = cg.sweep(games, rules, 1, init=start, **settings)["final_policy"].sel(algorithm="MWU")
    assert len(given) == 4
    for (key, policy), final in zip(given, finals.values.reshape(4, 3), strict=True):
        met = np.log(final / policy) - CYCLE.skew @ policy
        for draw in (key, jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)):
            noise = 0.1 * jax.random.normal(draw, (3,))
            assert np.abs((met - met.mean()) - (noise - noise.mean())).max() > 1e-3


# Starts and references
# ------------------------------------------------------------------------------------------


def test_starts_and_references_by_game():
    """A game that a dict does not name starts from uniform, and is pulled to where it starts."""
    start, reference = random_policy(3, seed=1), random_policy(3, seed=2)
    rule = cg.MirrorDescent(1.0, 0.3)
    given = {"init": {"cycle": start}, "reference": {"biased": reference}}
    runs = cg.sweep({"cycle": CYCLE, "biased": BIASED}, [rule], 20, record_every=20, **given)
    for name, game, where in (
        ("cycle", CYCLE, {"init": start}),
        ("biased", BIASED, {"reference": reference}),
    ):
        alone = cg.solve(game, rule, 20, **where).policy
        np.testing.assert_allclose(runs["final_policy"].sel(game=name).values[0, 0], alone, **SAME)


@pytest.mark.parametrize("argument", ["init", "reference"])
def test_a_policy_for_a_game_that_is_not_there_is_refused(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be one of .*Did you mean 'cycle'"):
        cg.sweep({"cycle": CYCLE}, [cg.MWU(1.0)], 2, **{argument: {"cycel": COMAL_START}})


# Games of other kinds
# ------------------------------------------------------------------------------------------


def test_two_player_games_have_their_players_before_their_actions():
    games = {
        "pennies": cg.ZeroSumGame([[1.0, -1.0], [-1.0, 1.0]]),
        "tilted": cg.ZeroSumGame([[2.0, 0], [0, 1]]),
    }
    start = np.array([[0.9, 0.1], [0.3, 0.7]])
    rule = cg.Extragradient(0.3)
    runs = cg.sweep(games, [rule], num_queries=20, init=start, metrics=["policy"], record_every=5)
    assert runs["policy"].dims[-1] == runs["final_policy"].dims[-1] == "action"
    for name, game in games.items():
        alone = cg.solve(game, rule, 10, init=start, metrics=["policy"], record_every=5)
        run = runs.isel(algorithm=0, seed=0).sel(game=name)
        np.testing.assert_allclose(run["duality_gap"], alone.history["duality_gap"], **SAME)
        np.testing.assert_allclose(run["policy"], alone.history["policy"], **SAME)
        np.testing.assert_allclose(run["final_policy"], alone.policy, **SAME)


def test_prompts_keep_their_axis():
    game = random_game(4, prompts=(3,))
    runs = cg.sweep(game, [cg.MWU(1.0)], 6, record_every=2)
    alone = cg.solve(game, cg.MWU(1.0), 6, record_every=2)
    assert runs["final_policy"].dims[-1] == "action"
    np.testing.assert_allclose(runs["duality_gap"].values[0, 0, 0], alone.history["duality_gap"], **SAME)
    np.testing.assert_allclose(runs["final_policy"].values[0, 0, 0], alone.policy, **SAME)


def test_games_with_different_leading_axes_are_refused():
    games = {"one": CYCLE, "two players": cg.ZeroSumGame(np.eye(3))}
    with pytest.raises(ValueError, match=r"`games` must .*leading axes"):
        cg.sweep(games, [cg.MWU(1.0)], 2)


def test_a_rule_that_reads_pairs_refuses_two_players():
    with pytest.raises(ValueError, match=r"ExactProx.*reads pairwise preferences"):
        cg.sweep(cg.ZeroSumGame(np.eye(3)), [cg.MWU(1.0), cg.ExactProx(0.1)], 2)


# What is recorded
# ------------------------------------------------------------------------------------------


def test_no_metrics_records_only_where_the_runs_end():
    runs = cg.sweep(CYCLE, {"MWU": cg.MWU(1.0)}, 10, init=COMAL_START, metrics=[])
    assert set(runs.data_vars) == {"final_policy", "status"}
    np.testing.assert_array_equal(runs["steps"].values[0, 0], np.arange(11))
    alone = cg.solve(CYCLE, cg.MWU(1.0), 10, init=COMAL_START).policy
    np.testing.assert_allclose(runs["final_policy"].values[0, 0, 0], alone, **SAME)


def test_a_run_that_stops_being_finite_says_so_and_leaves_the_others_alone():
    rules = {"absurd": Weights(np.inf), "sane": Weights(1.0)}  # rules of the package refuse infinity
    runs = cg.sweep(CYCLE, rules, 10, init=COMAL_START)
    assert runs["status"].sel(algorithm="absurd").item() == "nonfinite"
    assert runs["status"].sel(algorithm="sane").item() == "completed"
    alone = cg.solve(CYCLE, cg.MWU(1.0), 10, init=COMAL_START)
    np.testing.assert_allclose(
        runs["duality_gap"].sel(algorithm="sane").values[0, 0], alone.history["duality_gap"], **SAME
    )


def test_warnings_of_rules_are_given_once_and_kept():
    rules = {"hasty": cg.COMAL(cg.MirrorDescent(1.0, 0.1), 2), "MWU": cg.MWU(1.0)}
    with pytest.warns(UserWarning, match="hasty: COMAL's period of 2 is short") as caught:
        runs = cg.sweep([CYCLE, BIASED], rules, 1, metrics=[])
    assert [str(warning.message) for warning in caught] == runs.attrs["notes"]


def test_a_function_with_data_of_one_game_is_refused_for_several():
    """It is a constant of the compiled run: every game would be measured with the first one's data."""

    def distance(game):
        solution = jnp.asarray(cg.nash(game).policy)
        return {"distance": lambda game, logp: jnp.abs(jnp.exp(logp) - solution).max()}

    assert "distance" in cg.sweep(CYCLE, [cg.MWU(1.0)], 1, game_metrics=distance)
    with pytest.raises(ValueError, match=r"`game_metrics`.*'distance'.*eqx.Module"):
        cg.sweep([CYCLE, BIASED], [cg.MWU(1.0)], 1, game_metrics=distance)


@pytest.mark.parametrize(
    "name", ["status", "steps", "queries", "final_policy", "final_duality_gap", "duality_gap"]
)
def test_a_metric_may_not_take_the_name_of_what_is_recorded_anyway(name):
    with pytest.raises(ValueError, match=f"'{name}'"):
        cg.sweep(CYCLE, [cg.MWU(1.0)], 1, game_metrics=lambda game: {name: cg.entropy})
    with pytest.raises(ValueError, match=f"'{name}'"):
        cg.sweep(CYCLE, [cg.MWU(1.0)], 1, metrics={name: cg.entropy})


# Names, grids and what is refused
# ------------------------------------------------------------------------------------------


def test_things_without_names_get_them():
    runs = cg.sweep([CYCLE, BIASED], [cg.MWU(1.0), cg.MWU(0.5)], 1, metrics=[])
    np.testing.assert_array_equal(runs["game"], ["game 0", "game 1"])
    np.testing.assert_array_equal(runs["algorithm"], ["MWU(step_size=1.0)", "MWU(step_size=0.5)"])


def test_a_grid_is_every_combination_under_a_name_that_says_which():
    rules = cg.grid(cg.MirrorDescent, step_size=np.array([0.3, 1.0]), temperature=(0.1, 0.2))
    assert list(rules) == [
        f"MirrorDescent(step_size={step}, temperature={tau})" for step in (0.3, 1.0) for tau in (0.1, 0.2)
    ]
    for name, rule in rules.items():
        assert repr(rule) == name
    assert list(cg.grid(cg.MWU, step_size=0.3)) == ["MWU(step_size=0.3)"]


def learner(features):
    return cg.Parametric(cg.MWU(1.0), cg.LogLinear(features), None, OPTIMIZER, 1)


def test_algorithms_that_look_the_same_are_not_merged():
    features = [np.eye(3), np.eye(3)[:, ::-1], 2 * np.eye(3)]
    learners = [learner(each) for each in features]
    assert len({repr(each) for each in learners}) == 1
    with pytest.raises(ValueError, match=r"`algorithms` has two entries.*Parametric.*pass a dict") as caught:
        cg.sweep(CYCLE, learners, 2)
    assert len(str(caught.value)) < 600
    with pytest.raises(ValueError, match="`algorithms` has two entries"):
        cg.sweep(CYCLE, [cg.MWU(1.0), cg.MWU(1.0)], 2)
    runs = cg.sweep(CYCLE, dict(zip("abc", learners, strict=True)), 2, metrics=[])
    assert runs.sizes["algorithm"] == 3
    with pytest.raises(ValueError, match=r"`values` .*LogLinear.*dict of your own"):
        cg.grid(
            cg.Parametric,
            inner=cg.MWU(1.0),
            logits=[cg.LogLinear(each) for each in features],
            params=None,
            optimizer=OPTIMIZER,
            num_fit_steps=1,
        )
    with pytest.raises(ValueError, match=r"`values` .*MWU\(step_size=0.3\)"):
        cg.grid(cg.MWU, step_size=[0.3, 0.3])


def test_seeds_that_are_copies_are_noted():
    with pytest.warns(UserWarning, match="the 3 seeds are copies") as caught:
        runs = cg.sweep(CYCLE, [cg.MWU(1.0)], 2, num_seeds=3)
    assert [str(warning.message) for warning in caught] == runs.attrs["notes"]
    np.testing.assert_array_equal(runs["final_policy"][:, :, 0], runs["final_policy"][:, :, 2])
    for settings in ({"init": random_start}, {"feedback": Noisy}):
        assert cg.sweep(CYCLE, [cg.MWU(1.0)], 2, num_seeds=3, **settings).attrs["notes"] == []
    loss = cg.objectives.Regression(num_pairs=4)
    drawing = cg.Parametric(cg.MWU(1.0), cg.Tabular(), None, OPTIMIZER, 1, loss)
    assert cg.sweep(CYCLE, [drawing], 2, num_seeds=2).attrs["notes"] == []


def test_a_metric_that_only_some_games_have_is_nan_for_the_others():
    def of_game(game):
        return {"kl": cg.kl_to(game.uniform())} if game.num_actions == 5 else {}

    for games in (GAMES, dict(reversed(GAMES.items()))):
        runs = cg.sweep(games, [cg.MWU(1.0), cg.MWU(0.5)], 3, game_metrics=of_game)
        assert np.isfinite(runs["kl"].sel(game="five")).all()
        assert np.isnan(runs["kl"].sel(game=["cycle", "biased"])).all()
        assert np.isfinite(runs["duality_gap"]).all()


def test_a_grid_may_hold_rules():
    rules = cg.grid(cg.COMAL, inner=[cg.MirrorDescent(1.0, 0.1), cg.MMD(1.0, 0.1)], period=20)
    assert [type(rule.inner) for rule in rules.values()] == [cg.MirrorDescent, cg.MMD]


def test_a_grid_refuses_unknown_arguments_and_bad_values():
    with pytest.raises(ValueError, match="Did you mean 'step_size'"):
        cg.grid(cg.MirrorDescent, stepsize=[0.3], temperature=0.1)
    with pytest.raises(ValueError, match="`step_size` must be a finite number > 0"):
        cg.grid(cg.MWU, step_size=[0.3, -1.0])


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((CYCLE, [cg.MWU(1.0)]), {}, "exactly one of `num_steps` and `num_queries`"),
        ((CYCLE, [cg.MWU(1.0)], 5), {"num_queries": 5}, "exactly one of `num_steps` and `num_queries`"),
        ((CYCLE, [cg.MWU(1.0)], -1), {}, "`num_steps` must be a whole number >= 0"),
        ((CYCLE, [cg.MWU(1.0)]), {"num_queries": 2.5}, "`num_queries` must be a whole number >= 0"),
        ((CYCLE, [cg.MWU(1.0)], 5), {"num_seeds": 0}, "`num_seeds` must be a whole number >= 1"),
        ((CYCLE, [cg.MWU(1.0)], 5), {"record_every": 0}, "`record_every` must be a whole number >= 1"),
        (([], [cg.MWU(1.0)], 5), {}, "`games` is empty"),
        ((CYCLE, {}, 5), {}, "`algorithms` is empty"),
        (([np.eye(3)], [cg.MWU(1.0)], 5), {}, "`game` must be a PreferenceGame"),
        ((CYCLE, ["MWU"], 5), {}, "`algorithm` must be a learning rule"),
        ((CYCLE, [cg.MWU(1.0)], 5), {"init": [0.5, 0.5]}, "`init` must be a policy over 3 actions"),
        ((CYCLE, [cg.MWU(1.0)], 5), {"metrics": ["entropi"]}, "Did you mean 'entropy'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        cg.sweep(*arguments, **settings)
