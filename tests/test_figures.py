"""Figures show medians and quartiles, places on the simplex, and win rates in their cells."""

from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import COMAL_NASH, COMAL_START, random_policy
from matplotlib.colors import to_rgb

import comalgames as cg

CYCLE = cg.PreferenceGame.from_skew(cg.games.comal_cycle().skew)


@pytest.fixture(scope="module")
def members() -> cg.Result:
    """A run of six members: their quartiles, deciles, mean and median all differ."""
    return cg.solve(CYCLE, cg.Extragradient(1.0), 6, init=random_policy(6, 3), record_every=2)


@pytest.fixture(autouse=True)
def figures_are_closed() -> Any:
    yield
    plt.close("all")


def lines(ax: Any) -> dict[str, np.ndarray]:
    """The points of every labelled line, `[points, 2]`."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in ax.lines}


def quantile(rows: np.ndarray, share: float) -> np.ndarray:
    """By sorting: between the two ranks around `share` of the way, linearly."""
    place = share * (len(rows) - 1)
    low = np.sort(rows, axis=0)
    below = int(place)
    return low[below] + (place - below) * (low[min(below + 1, len(rows) - 1)] - low[below])


# Curves of the gap
# ------------------------------------------------------------------------------------------


def check_band(ax: Any, x: np.ndarray, rows: np.ndarray) -> None:
    """One band from the lower to the upper quartile of the rows `[members, records]`."""
    (band,) = ax.collections
    (path,) = band.get_paths()
    corners = {(float(a), float(b)) for a, b in path.vertices}
    for share in (0.25, 0.75):
        for point in zip(x, quantile(rows, share), strict=True):
            assert min(np.abs(np.subtract(corner, point)).max() for corner in corners) < 1e-12
    assert path.vertices[:, 1].min() >= quantile(rows, 0.25).min() - 1e-12
    assert path.vertices[:, 1].max() <= quantile(rows, 0.75).max() + 1e-12


@pytest.mark.parametrize(("x", "spent"), [("queries", 2), ("steps", 1)])
def test_a_curve_is_the_median_of_its_members_with_their_quartiles_beside_what_was_spent(
    members: cg.Result, x: str, spent: int
) -> None:
    ax = cg.plot_gap({"EG": members}, x=x)
    rows = members.history["duality_gap"].T
    expected = np.column_stack([spent * np.array([0, 2, 4, 6]), quantile(rows, 0.5)])
    np.testing.assert_allclose(lines(ax)["EG"], expected, rtol=1e-12)
    assert np.abs(rows.mean(0) / expected[:, 1] - 1).min() > 1e-3
    check_band(ax, expected[:, 0], rows)
    assert ax.get_yscale() == "log"


def test_each_run_has_a_line_of_its_own_and_one_member_no_band() -> None:
    slow, fast = (
        cg.solve(CYCLE, cg.Extragradient(eta), 6, init=COMAL_START, record_every=2) for eta in (0.1, 1)
    )
    ax = cg.plot_gap({"slow": slow, "fast": fast}, curve="best_duality_gap")
    assert not ax.collections
    for name, result in (("slow", slow), ("fast", fast)):
        np.testing.assert_array_equal(lines(ax)[name][:, 1], result.history["best_duality_gap"])
    styles = [(to_rgb(line.get_color()), line.get_linestyle()) for line in ax.lines]
    assert styles[0][0] != styles[1][0]
    assert styles[0][1] != styles[1][1]


def test_a_sweeps_curve_is_over_its_games_and_seeds() -> None:
    games = {
        "cycle": CYCLE,
        "biased": cg.PreferenceGame.from_skew(cg.games.rock_paper_scissors(3, 1, 1).skew),
    }
    runs = cg.sweep(games, {"EG": cg.Extragradient(1.0)}, 6, init=COMAL_START, record_every=2)
    alone = [
        cg.solve(game, cg.Extragradient(1.0), 6, init=COMAL_START, record_every=2) for game in games.values()
    ]
    rows = np.stack([result.history["duality_gap"] for result in alone])
    ax = cg.plot_gap(runs)
    np.testing.assert_allclose(lines(ax)["EG"][:, 1], rows.mean(0), rtol=1e-9)  # of two it is the median
    np.testing.assert_array_equal(lines(ax)["EG"][:, 0], [0, 4, 8, 12])
    check_band(ax, lines(ax)["EG"][:, 0], rows)


# The simplex
# ------------------------------------------------------------------------------------------


def place(policy: Any) -> np.ndarray:
    """In an equilateral triangle of side 1: the first action at the left, the third on top."""
    p = np.asarray(policy)
    return np.stack([p[..., 1] + p[..., 2] / 2, p[..., 2] * np.sqrt(3) / 2], -1)


def test_a_path_on_the_simplex_is_where_its_policies_are() -> None:
    result = cg.solve(CYCLE, cg.Extragradient(1.0), 6, init=COMAL_START, metrics=["policy"], record_every=2)
    ax = cg.plot_simplex({"EG": result}, COMAL_NASH, names=("A", "B", "C"))
    shown = lines(ax)
    np.testing.assert_allclose(shown["EG"], place(result.history["policy"]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(shown["start"], place([COMAL_START]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(shown["Nash"], place([COMAL_NASH]), rtol=0, atol=1e-12)
    (end,) = (line for line in ax.lines if line.get_marker() == "s")
    np.testing.assert_allclose(end.get_xydata(), place([result.policy]), rtol=0, atol=1e-12)
    for name, corner in zip("ABC", np.eye(3), strict=True):
        (text,) = (text for text in ax.texts if text.get_text() == name)
        assert np.abs(np.subtract(text.get_position(), place(corner))).max() < 0.05


def test_of_several_seeds_the_simplex_shows_the_first_path_and_every_end() -> None:
    starts = iter(random_policy(3, 3, seed=2))
    runs = cg.sweep(
        {"cycle": CYCLE}, {"EG": cg.Extragradient(1.0)}, 6, num_seeds=3, metrics=["policy"], record_every=2,
        init=lambda key, game: next(starts),
    )  # fmt: skip
    policies = runs["policy"].values[0, 0]
    ax = cg.plot_simplex(runs)
    np.testing.assert_allclose(lines(ax)["EG"], place(policies[0]), rtol=0, atol=1e-12)
    (others,) = (line for line in ax.lines if line.get_marker() == ".")
    np.testing.assert_allclose(others.get_xydata(), place(policies[1:, -1]), rtol=0, atol=1e-12)


# Win rates
# ------------------------------------------------------------------------------------------


def cells(ax: Any) -> dict[tuple[int, int], str]:
    """What is written in each cell, by row and column."""
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts
    }


def test_a_cell_says_how_often_its_rows_policy_beats_its_columns() -> None:
    logps = jnp.log(random_policy(3, 3, seed=4))
    matrix = np.asarray(cg.win_rates(CYCLE, logps))
    ax = cg.plot_win_rates(matrix, ["one", "two", "three"])
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), matrix)
    assert cells(ax) == {(i, j): f"{100 * matrix[i, j]:.1f}" for i, j in np.ndindex(3, 3)}
    assert cells(ax)[0, 1] != cells(ax)[1, 0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two", "three"]
    assert ax.get_xlabel() == "opponent"
    # An even match is in the middle of the colours.
    assert sum(image.get_clim()) == pytest.approx(1, abs=1e-12)


def test_of_several_seeds_a_cell_says_the_median_and_half_of_the_quartiles_distance() -> None:
    upper = np.array([0.5, 0.52, 0.55, 0.6, 0.9, 0.95])
    seeds = np.full((6, 2, 2), 0.5)
    seeds[:, 0, 1], seeds[:, 1, 0] = upper, 1 - upper
    ax = cg.plot_win_rates(seeds, ["one", "two"])
    median, spread = quantile(upper, 0.5), (quantile(upper, 0.75) - quantile(upper, 0.25)) / 2
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.5, median], [1 - median, 0.5]], rtol=1e-12)
    assert cells(ax)[0, 1] == f"{100 * median:.1f}\n\u00b1{100 * spread:.1f}" == "57.5\n\u00b114.9"
