"""Winners, scores and cycles agree with their definitions, and with what Nash policies are known to do."""

import itertools

import jax
import numpy as np
import pytest
from helpers import random_game

import comalgames as cg
from comalgames.games import (
    annotator_mixture,
    borda,
    condorcet_winner,
    copeland,
    hodge,
    majority_cycles,
    mariner,
    mariner_teams,
    smith_set,
)
from comalgames.numerics import bradley_terry
from comalgames.papers.comal import annotators


def with_ties(n, seed):
    """Margins drawn from -2 .. 2: a fifth of the pairs tie."""
    margins = np.random.default_rng(seed).integers(-2, 3, (n, n)) / 10
    lower = np.tril(margins, -1)
    return cg.PreferenceGame.from_skew(lower - lower.T)


def tournament(n, seed):
    """Every pair decided, all by the same margin."""
    lower = np.tril(np.where(np.random.default_rng(seed).uniform(size=(n, n)) < 0.5, 0.5, -0.5), -1)
    return cg.PreferenceGame.from_skew(lower - lower.T)


GAMES = [make(n, seed) for make in (with_ties, tournament) for n in (1, 2, 3, 5, 6) for seed in range(8)]
GAMES += [random_game(n, seed) for n in (4, 7) for seed in range(4)]


def smith_by_definition(skew):
    """The smallest set, found by trying all of them, whose members all beat all others."""
    n = len(skew)
    for size in range(1, n + 1):
        dominant = [
            members
            for members in itertools.combinations(range(n), size)
            if all(skew[i, j] > 0 for i in members for j in range(n) if j not in members)
        ]
        if dominant:
            assert len(dominant) == 1
            return np.isin(np.arange(n), dominant[0])
    raise AssertionError("the set of all answers is one")


@pytest.mark.parametrize("game", GAMES)
def test_every_notion_is_what_its_definition_counts(game):
    skew, n = np.asarray(game.skew), game.num_actions
    others = [[j for j in range(n) if j != i] for i in range(n)]
    winners = [i for i in range(n) if all(skew[i, j] > 0 for j in others[i])]
    assert condorcet_winner(game) == (winners[0] if winners else -1)
    assert np.array_equal(smith_set(game), smith_by_definition(skew))
    wins = [sum(1.0 if skew[i, j] > 0 else 0.5 * (skew[i, j] == 0) for j in others[i]) for i in range(n)]
    assert copeland(game).tolist() == wins
    mean = [np.mean([0.5 + skew[i, j] for j in others[i]]) if n > 1 else 0.5 for i in range(n)]
    np.testing.assert_allclose(borda(game), mean, rtol=0, atol=1e-14)
    triples = itertools.permutations(range(n), 3)
    assert (
        majority_cycles(game)
        == sum(skew[i, j] > 0 < skew[j, k] and skew[k, i] > 0 for i, j, k in triples) / 3
    )


def test_the_games_above_are_of_every_kind():
    winners = [condorcet_winner(game) >= 0 for game in GAMES if game.num_actions > 2]
    assert 0 < sum(winners) < len(winners)
    sizes = {int(smith_set(game).sum()) for game in GAMES}
    assert {1, 3, 4, 5} <= sizes
    assert any((np.asarray(game.skew) == 0).sum() > game.num_actions for game in GAMES)


def test_prompts_are_elections_of_their_own():
    game = random_game(5, prompts=(2, 3))
    alone = [[cg.PreferenceGame.from_skew(np.asarray(game.skew)[i, j]) for j in range(3)] for i in range(2)]
    for notion in (condorcet_winner, smith_set, borda, copeland, majority_cycles):
        expected = np.array([[notion(one) for one in row] for row in alone])
        assert np.array_equal(notion(game), expected), notion.__name__
    shares = [[hodge(one).cyclic_share for one in row] for row in alone]
    np.testing.assert_allclose(hodge(game).cyclic_share, shares, rtol=1e-14)


@pytest.mark.parametrize("game", GAMES)
def test_nash_plays_within_the_smith_set_and_a_condorcet_winner_alone(game):
    """The support returned is the largest of any Nash policy, so this speaks of all of them."""
    support = cg.nash(game).support
    assert np.all(smith_set(game)[support])
    winner = condorcet_winner(game)
    assert (winner >= 0) == (smith_set(game).sum() == 1)
    if winner >= 0:
        assert np.flatnonzero(support).tolist() == [winner]


def test_nash_may_leave_out_much_of_the_smith_set():
    # 0, 1, 2 cycle; 3 beats 0 only, by a little, and loses to the others.
    skew = np.zeros((4, 4))
    for i, j, margin in ((0, 1, 0.5), (1, 2, 0.5), (2, 0, 0.5), (3, 0, 0.01), (1, 3, 0.5), (2, 3, 0.5)):
        skew[i, j], skew[j, i] = margin, -margin
    game = cg.PreferenceGame.from_skew(skew)
    assert smith_set(game).all()
    assert cg.nash(game).support.tolist() == [True, True, True, False]


def test_a_majority_that_is_only_rounding_is_a_tie():
    votes = cg.PreferenceGame(np.stack([[[0.5, 1.0], [0.0, 0.5]]] * 5 + [[[0.5, 0.0], [1.0, 0.5]]] * 5))
    weights = [0.07, 0.13, 0.11, 0.09, 0.1] * 2  # of each opinion one half
    mixed = annotator_mixture(votes, weights)
    assert 0 < abs(float(mixed.skew[0, 1])) < 1e-15 or mixed.skew[0, 1] == 0
    noisy = cg.PreferenceGame.from_skew([[0, 1e-17, 0.4], [-1e-17, 0, 0.4], [-0.4, -0.4, 0]])
    assert condorcet_winner(noisy) == -1
    assert copeland(noisy).tolist() == [1.5, 1.5, 0.0]
    # but small margins are margins where all of them are small.
    small = cg.PreferenceGame.from_skew([[0, 1e-17], [-1e-17, 0]])
    assert condorcet_winner(small) == 0


def test_borda_ranks_like_a_bradley_terry_reward_on_uniform_pairs():
    game = random_game(8, prompts=(10,))
    scores = jax.jit(bradley_terry.fit)(game.skew, game.uniform()).scores
    assert np.array_equal(np.argsort(scores), np.argsort(borda(game)))


def test_two_equal_bradley_terry_judges_never_cycle_and_three_do():
    def cycles(judges):
        scores = 2 * np.random.default_rng(0).normal(size=(500, judges, 6))
        return majority_cycles(cg.games.bradley_terry_mixture(scores))

    assert np.all(cycles(1) == 0)
    assert np.all(cycles(2) == 0)
    assert np.mean(cycles(3) > 0) > 0.1


def test_transitive_games_have_no_cycles_and_rank_by_score():
    scores = np.array([0.3, 2.0, -1.0, 1.0])
    game = cg.games.bradley_terry(scores)
    assert majority_cycles(game) == 0
    assert condorcet_winner(game) == 1
    assert copeland(game).tolist() == [1.0, 3.0, 0.0, 2.0]


# Hodge


@pytest.mark.parametrize("n", [2, 5, 9])
def test_the_two_parts_are_orthogonal_and_add_up(n):
    skew = np.asarray(random_game(n).skew)
    scores, transitive, cyclic = hodge(random_game(n))
    np.testing.assert_allclose(transitive + cyclic, skew, rtol=0, atol=1e-16)
    assert abs((transitive * cyclic).sum()) < 1e-14
    np.testing.assert_allclose(cyclic.sum(-1), 0, rtol=0, atol=1e-14)
    assert np.array_equal(cyclic, -cyclic.T)
    assert np.array_equal(transitive, scores[:, None] - scores)
    assert abs(scores.sum()) < 1e-14
    # Nearest by least squares: scores of any other kind fit worse.
    rows = np.array([(np.arange(n) == i) * 1.0 - (np.arange(n) == j) for i in range(n) for j in range(i)])
    values = np.array([skew[i, j] for i in range(n) for j in range(i)])
    fitted = np.linalg.lstsq(rows, values, rcond=None)[0]
    np.testing.assert_allclose(fitted - fitted.mean(), scores, rtol=0, atol=1e-13)


def test_scores_alone_are_all_transitive_and_cycles_all_cyclic():
    scores = np.array([0.1, -0.05, 0.2])
    additive = cg.PreferenceGame.from_skew(scores[:, None] - scores)
    assert hodge(additive).cyclic_share < 1e-30
    np.testing.assert_allclose(hodge(additive).scores, scores - scores.mean(), rtol=0, atol=1e-16)
    assert hodge(cg.games.rock_paper_scissors()).cyclic_share == 1.0
    cyclic = hodge(random_game(6)).cyclic
    alone = cg.PreferenceGame.from_skew(cyclic / (2 * np.abs(cyclic).max()))
    assert cg.duality_gap(alone, alone.uniform()) < 1e-15


def test_in_random_games_the_cyclic_share_is_known_on_average():
    n, repeats = 6, 4000
    found = hodge(cg.games.random(jax.random.key(1), n, (repeats,)))
    cyclic, transitive = ((part**2).sum((-2, -1)).mean() for part in (found.cyclic, found.transitive))
    assert cyclic / (cyclic + transitive) == pytest.approx((n - 2) / n, abs=0.01)


# The science teams


def test_mariner_as_an_election():
    game = mariner()

    def numbers(actions):
        return [game.names[k] for k in np.atleast_1d(actions)]

    assert numbers(condorcet_winner(game)) == ["Trajectory 22"]
    assert numbers(np.flatnonzero(smith_set(game))) == ["Trajectory 22"]
    assert majority_cycles(game) == 35
    assert numbers(borda(game).argmax()) == ["Trajectory 27"]
    # Without the four best there is no winner, and Nash plays within the Smith set.
    rest = mariner(["22", "25", "23", "27"])
    assert condorcet_winner(rest) == -1
    assert smith_set(rest)[cg.nash(rest).support].all()


def test_the_teams_are_rankings_whose_mixture_is_mariner():
    teams = mariner_teams()
    assert teams.skew.shape == (10, 32, 32)
    assert teams.names == mariner().names
    assert np.array_equal(np.unique(np.asarray(teams.preference)), [0.0, 0.5, 1.0])
    assert np.all(majority_cycles(teams) == 0)
    np.testing.assert_allclose(annotator_mixture(teams).skew, mariner().skew, rtol=0, atol=1e-16)
    # The first ballot begins 23, 25, 22 and ends 11, 20; the last ties two triples, and 24 at the end.
    first = np.asarray(teams.skew)[0]
    assert condorcet_winner(teams)[0] == 22
    assert copeland(teams)[0][[24, 21, 10, 19]].tolist() == [30.0, 29.0, 1.0, 0.0]
    assert first[22, 24] == 0.5
    assert ((np.asarray(teams.skew)[9] == 0).sum() - 32) == 2 * (3 * 2) + 24 * 23
    fewer = mariner_teams(exclude=["22", 25])
    assert fewer.skew.shape == (10, 30, 30)
    np.testing.assert_allclose(annotator_mixture(fewer).skew, mariner(["22", "25"]).skew, rtol=0, atol=1e-16)


def test_ballots_count_as_often_as_they_were_cast(tmp_path):
    path = tmp_path / "fruit.toc"
    path.write_text("3: 1,2,3\n1: 3,{1,2}\n")
    ballots = cg.games.from_rankings(path, by_ballot=True)
    assert ballots.prompt_weights.tolist() == [3.0, 1.0]
    mixed = annotator_mixture(ballots)
    np.testing.assert_allclose(mixed.skew, cg.games.from_rankings(path).skew, rtol=0, atol=1e-16)
    some = cg.games.from_rankings(path, exclude=["2"], by_ballot=True)
    assert some.prompt_weights.tolist() == [3.0, 1.0]
    assert some.skew.shape == (2, 2, 2)


@pytest.mark.parametrize(
    "notion", [condorcet_winner, smith_set, borda, copeland, majority_cycles, hodge], ids=lambda f: f.__name__
)
def test_two_player_games_are_no_elections(notion, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`game` must be a PreferenceGame, got ZeroSumGame"):
        notion(cg.ZeroSumGame([[1.0, -1.0], [-1.0, 1.0]]))


def test_left_out_or_counted_twice_no_team_unseats_trajectory_22():
    found = annotators.annotators_left_out()
    assert found["gap"].shape == (2, 10)
    assert annotators.gap_when_reweighted()({"annotators left out": found}) < 1e-15
    # Team 8 ranks 22 below the middle, team 1 third: without team 1 it no longer beats every other one.
    assert found["unique"].sel(change="left out", team="team 8")
    assert not found["unique"].sel(change="left out", team="team 1")
    votes = np.delete(np.asarray(mariner_teams().skew), 0, axis=0).mean(0)
    assert abs(votes[21]).min() < 1e-15
    assert (np.abs(votes[21]) < 1e-15).sum() == found["size"].sel(change="left out", team="team 1")


def test_the_policy_robust_to_every_team_shares_their_favourites():
    found = annotators.annotators()
    teams = mariner_teams()
    # Rankings by one team leave it a sure win, gap 1, unless its favourite is played. Seven answers are a
    # favourite of each team, none fewer: the favourites 5 and 22 of team 9 tie, and 22 is also team 3's.
    favourites = np.flatnonzero((np.asarray(teams.skew) >= 0).all(-1).any(0))
    favourites = favourites[favourites != 4]
    assert len(favourites) == 7
    expected = np.isin(np.arange(32), favourites) / 7
    np.testing.assert_allclose(found["policy"].sel(policy_name="robust"), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["worst"], [1.0, 1 - 1 / 7, 1 - 1 / 32], rtol=0, atol=1e-12)
    assert annotators.gain_of_robustness()({"annotators": found}) == pytest.approx(1 / 7, abs=1e-12)
    assert np.all(found["gap"].max("team") == found["worst"])
