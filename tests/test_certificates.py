"""What "certified" means on games made to break it, by rational arithmetic on the payoffs as stored."""

import numpy as np
import pytest
from helpers import random_game

import comalgames as cg
from comalgames.equilibria import face, linear_program, robust

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 2


def skew_game(skew):
    return cg.PreferenceGame.from_skew(np.asarray(skew, np.float64))


def skew_of(upper):
    """The antisymmetric matrix with these entries above the diagonal, row by row."""
    n = round((1 + np.sqrt(1 + 8 * len(upper))) / 2)
    skew = np.zeros((n, n))
    skew[np.triu_indices(n, 1)] = upper
    return skew - skew.T


# Solvers that do not stop -----------------------------------------------------------------------------------

# Rank 2 up to 5e-8: the interior-point method of HiGHS hands over to simplex iterations that go on forever.
ENDLESS = skew_of(
    [
        *(0.4345567789928283, -0.5, 0.04627857581087635, 0.0028883835599550767),
        *(0.26472732318295944, -0.20179810041379323, 0.06156974001945681),
        *(0.20399600465829118, -0.07260159276260417, 0.007898260287342765),
    ]
)
CALLS = {
    "nash": (face, lambda game: cg.nash(game, solver="highs-ipm")),
    "robust": (robust, lambda game: cg.robust_nash(game, 0.1)),
    "annotators": (robust, lambda game: cg.annotator_robust_nash(cg.games.stack([game, game]))),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_linear_program_has_limits(name, monkeypatch):
    module, solve = CALLS[name]
    plain, seen = module.linprog, []

    def watched(*arguments, **settings):
        seen.append(settings.get("options", {}))
        return plain(*arguments, **settings)

    monkeypatch.setattr(module, "linprog", watched)
    solve(random_game(5))
    assert seen
    for options in seen:
        assert 0 < options["time_limit"] < np.inf
        assert 0 < options["maxiter"] < 1e5


@pytest.mark.parametrize("solver", [None, "highs-ipm", "highs-ds"])
def test_a_program_without_end_is_not_solved_and_the_batch_goes_on(solver):
    others = [random_game(5, seed).skew for seed in range(2)]
    solution = cg.nash(skew_game([others[0], ENDLESS, others[1]]), solver=solver)
    np.testing.assert_array_equal(solution.status[[0, 2]], "certified")
    if solver is not None:
        assert solution.status[1] == "failed"


@pytest.mark.parametrize("name", CALLS)
def test_a_limit_that_is_reached_is_not_a_solution(name, monkeypatch):
    monkeypatch.setattr(linear_program, "ITERATIONS", 0)
    assert CALLS[name][1](random_game(12, 1)).status == "failed"
