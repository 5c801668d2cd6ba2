"""Games read from tables and files, and what is said of files that cannot be read."""

import csv
import itertools
import re
from importlib import resources

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import comalgames as cg
from comalgames.games import from_rankings, from_winrates, mariner
from comalgames.games.io import files

TABLE = np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]])

# What half of (p - (1 - p)) may lose when both were typed as decimals.
ROUNDING = 2 * np.finfo(np.float64).eps


def refused(call, *words):
    """Assert that `call` raises a ValueError whose message holds all these words."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


@pytest.fixture
def file(tmp_path):
    """A function that writes a text, or bytes, to a file and returns its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# Tables of win rates that are read

ROWS = ".5,.1,.8\n.9,.5,.1\n.2,.9,.5\n"
NAMED_ROWS = "a,.5,.1,.8\nb,.9,.5,.1\nc,.2,.9,.5\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (ROWS, "012"),
        ("a,b,c\n" + ROWS, "abc"),
        (NAMED_ROWS, "abc"),
        ("a,b,c\n" + NAMED_ROWS, "abc"),
        (",a,b,c\n" + NAMED_ROWS, "abc"),
        ("model,a,b,c\n" + NAMED_ROWS, "abc"),
        # Names that look like numbers, with an empty top-left cell.
        (",7,13,70\n7,.5,.1,.8\n13,.9,.5,.1\n70,.2,.9,.5\n", ("7", "13", "70")),
        (",0.5,1,nan\n0.5,.5,.1,.8\n1,.9,.5,.1\nnan,.2,.9,.5\n", ("0.5", "1", "nan")),
        (",a,2,c\na,.5,.1,.8\n2,.9,.5,.1\nc,.2,.9,.5\n", "a2c"),
        # An empty diagonal.
        (",.1,.8\n.9,,.1\n.2,.9,\n", "012"),
        ("a,b,c\n,.1,.8\n.9,,.1\n.2,.9,\n", "abc"),
        ("a,,.1,.8\nb,.9,,.1\nc,.2,.9,\n", "abc"),
        (",a,b,c\na,,.1,.8\nb,.9,,.1\nc,.2,.9,\n", "abc"),
        (",1,2,3\n1,,.1,.8\n2,.9,,.1\n3,.2,.9,\n", "123"),
        # What spreadsheets and editors add.
        ("\ufeff" + ROWS, "012"),
        (",a,b,c\r\n" + NAMED_ROWS.replace("\n", "\r\n"), "abc"),
        ("\n a , b , c \n\n .5 , .1 , .8 \n.9,.5,.1\n,,\n.2,.9,.5\n\n", "abc"),
        ('"a","b","c"\n"0.5","0.1","0.8"\n.9,.5,.1\n.2,.9,.5', "abc"),
        ('"x, y","line\nbreak",c\n' + ROWS, ("x, y", "line\nbreak", "c")),
        ("a,b,c\n5e-1,1E-1,8e-01\n+.9,0.50,.1\n.2,.9,.5\n", "abc"),
    ],
)
def test_a_csv_with_and_without_names(file, text, names):
    game = from_winrates(file(text))
    assert game.names == tuple(names)
    np.testing.assert_allclose(game.preference, TABLE, rtol=0, atol=ROUNDING)
    assert game.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "names"),
    [(".5", "0"), ("a\n.5", "a"), ("a,.5", "a"), (",a\na,.5", "a"), (",a\na,", "a"), ("a,", "a")],
)
def test_a_csv_of_one_action(file, text, names):
    game = from_winrates(file(text))
    assert game.names == tuple(names)
    assert game.preference == 0.5


def test_two_tied_actions_without_names_are_not_taken_for_one_named_one_half(file):
    game = from_winrates(file(",.5\n.5,\n"))
    assert game.names == ("0", "1")
    assert np.array_equal(game.skew, np.zeros((2, 2)))


def test_a_path_may_be_a_string(file):
    assert from_winrates(str(file(ROWS))).num_actions == 3


@given(hnp.arrays(np.float64, (4, 4), elements=st.floats(0, 1)), st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_what_was_written_is_read(tmp_path_factory, entries, header, diagonal):
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    P = np.tril(entries, -1) + np.triu(1 - entries.T, 1) + np.eye(4) / 2
    names = ("gpt, 4", "b", '"c"', "4")
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        if header:
            writer.writerow(["", *names])
        for name, (i, row) in zip(names, enumerate(P), strict=True):
            cells = [repr(float(p)) if i != j or diagonal else "" for j, p in enumerate(row)]
            writer.writerow([name, *cells] if header else cells)
    game = from_winrates(path)
    assert game.names == (names if header else tuple("0123"))
    assert np.array_equal(game.skew, cg.PreferenceGame(P).skew)


def test_an_array_and_its_names():
    assert from_winrates(TABLE).names == ("0", "1", "2")
    game = from_winrates(jax.numpy.asarray(TABLE), names=["x", "y", "z"], exclude=["y"])
    assert game.names == ("x", "z")
    np.testing.assert_allclose(game.preference, [[0.5, 0.8], [0.2, 0.5]], rtol=0, atol=ROUNDING)


def test_a_data_frame_brings_its_names():
    frame = pd.DataFrame(TABLE, columns=list("abc"))
    for data in (frame, frame.set_axis(list("abc"), axis=0)):
        game = from_winrates(data)
        assert game.names == ("a", "b", "c")
        np.testing.assert_allclose(game.preference, TABLE, rtol=0, atol=ROUNDING)
    assert from_winrates(frame, names="xyz").names == ("x", "y", "z")
    assert from_winrates(pd.DataFrame(TABLE)).names == ("0", "1", "2")
    # In another order the rows would be taken for one another's.
    shuffled = pd.DataFrame(np.full((3, 3), 0.5), columns=list("abc"), index=list("bac"))
    refused(lambda: from_winrates(shuffled), "`source`", "order of its columns", "['a', 'b', 'c']")


# Files that are not read

BAD_FILES = [
    ("", "table.csv contains no win rates"),
    ("\n , \n\n", "table.csv contains no win rates"),
    ("a,b,c\n", "table.csv contains no win rates"),
    # An empty cell off the diagonal: the pair and the line.
    ("a,b,c\n.5,.1,.8\n.9,.5,\n.2,.9,.5\n", "line 3", "win rate of b against c is missing"),
    (",a,b\na,,.1\n\nb,,\n", "line 4", "win rate of b against a is missing"),
    (".5,.1\n,.5\n", "line 2", "win rate of 1 against 0 is missing"),
    # What is no number from 0 to 1.
    (".5,.1,.8\n.9,x,.1\n.2,.9,.5\n", "line 2", "win rate of 1 against 1", "a number in [0, 1]", "'x'"),
    (".5,x,.8\n.9,.5,.1\n.2,.9,.5\n", "line 1", "win rate of 0 against 1", "a number in [0, 1]", "'x'"),
    (",a,b\na,.5,60%\nb,.4,.5\n", "line 2", "win rate of a against b", "a number in [0, 1]", "'60%'"),
    (",a,b\na,.5,nan\nb,.4,.5\n", "line 2", "win rate of a against b", "a number in [0, 1]", "'nan'"),
    (",a,b\na,.5,.6\nb,-inf,.5\n", "line 3", "win rate of b against a", "a number in [0, 1]", "'-inf'"),
    (",a,b\na,.5,60\nb,40,.5\n", "line 2", "win rate of a against b", "a number in [0, 1]", "'60'"),
    (",a,b\na,.5,-.1\nb,.4,.5\n", "line 2", "win rate of a against b", "a number in [0, 1]", "'-.1'"),
    ("name,7,13\n7,.5,.4\n13,.6,.5\n", "line 1", "a number in [0, 1]", "'name'"),
    # Rows of the wrong length.
    (".5,.1,.8\n.9,.5\n.2,.9,.5\n", "line 2", "expected 3 win rates", "got 2"),
    ("a,b\n.5,.1\n.9,.5,.1\n", "line 3", "expected 2 win rates", "got 3"),
    ("a,b,c\n.5,.1,.8\n.9,.5,.1\n", "line 1", "expected 2 different names", "['a', 'b', 'c']"),
    ("a;b\n.5;.1\n.9;.5\n", "line 1"),
    # Names.
    ("a,b,a\n" + ROWS, "line 1", "expected 3 different names", "['a', 'b', 'a']"),
    ("\na,.5,.1\na,.9,.5\n", "line 2", "expected 2 different names", "['a', 'a']"),
    (",a,b\na,.5,.1\nc,.9,.5\n", "line 1", "header ['', 'a', 'b']", "first column ['a', 'c']"),
    (",a,b\nb,.5,.1\na,.9,.5\n", "line 1", "header ['', 'a', 'b']", "first column ['b', 'a']"),
    (",a,\na,.5,.1\n,.9,.5\n", "line 1", "expected 2 different names", "['a', '']"),
    # No CSV at all.
    ('a,b\n"x"y,.5\n', "line 2", "not a CSV"),
    ('a,b\n.5,.1\n"', "line 3", "not a CSV"),
    ("a,b\n.5,.1\n.9," + 200_000 * "1", "line 3", "not a CSV"),
    (b"\x89PNG\r\n\x1a\n", "not a text file", "byte 0"),
]


@pytest.mark.parametrize(("content", "words"), [(content, words) for content, *words in BAD_FILES])
def test_a_file_that_is_no_table(file, content, words):
    refused(lambda: from_winrates(file(content)), "table.csv", *words)


def test_a_table_that_is_no_preference_is_refused_like_an_array(file):
    path = file(",a,b\na,.5,.7\nb,.4,.5\n")
    refused(lambda: from_winrates(path), "`preference`", "off by 0.1 at the pair (0, 1)", "symmetrize=True")


def test_a_file_that_is_not_there_or_too_large(file, monkeypatch):
    path = file(ROWS)
    for missing in (path.with_name("absent.csv"), path.parent):
        with pytest.raises(FileNotFoundError, match=re.escape(f"no file {missing}")):
            from_winrates(missing)
        with pytest.raises(FileNotFoundError, match=re.escape(f"no file {missing}")):
            from_rankings(missing)
    monkeypatch.setattr(files, "MAX_BYTES", len(ROWS))
    from_winrates(path)
    monkeypatch.setattr(files, "MAX_BYTES", len(ROWS) - 1)
    refused(
        lambda: from_winrates(path),
        "table.csv",
        f"{len(ROWS)} bytes",
        f"largest accepted size is {len(ROWS) - 1}",
    )


def test_names_that_do_not_go_with_the_source(file):
    refused(
        lambda: from_winrates(file(ROWS), names=["a", "b", "c"]), "`names`", "only accepted with an array"
    )
    for names in (["a", "b"], ["a", "b", "a"]):
        refused(lambda names=names: from_winrates(TABLE, names=names), "`names`", "3 actions", str(names))
        refused(
            lambda names=names: from_winrates(TABLE, True, names=names), "`names`", "3 actions", str(names)
        )
    refused(lambda: from_winrates(np.full((2, 3, 3), 0.5)), "`source`", "one table", "(2, 3, 3)")


# Win rates that were measured

MEASURED = np.array([[0.5, 0.7, 0.2], [0.4, 0.5, 0.45], [0.8, 0.55, 0.5]])


def test_symmetrizing_averages_and_says_what_it_changed(file):
    expected = np.array([[0.5, 0.65, 0.2], [0.35, 0.5, 0.45], [0.8, 0.55, 0.5]])
    said = r"changed 2 of 9 win rates, by at most 0\.05 \(a against b: 0\.7 became 0\.65\)"
    with pytest.warns(UserWarning, match=said):
        game = from_winrates(MEASURED, symmetrize=True, names=["a", "b", "c"])
    np.testing.assert_allclose(game.preference, expected, rtol=0, atol=ROUNDING)
    rows = "\n".join(",".join(map(str, row)) for row in MEASURED)
    with pytest.warns(UserWarning, match=said):
        game = from_winrates(file("a,b,c\n" + rows), symmetrize=True)
    np.testing.assert_allclose(game.preference, expected, rtol=0, atol=ROUNDING)


def test_symmetrizing_what_already_is_says_nothing():
    # Warnings are errors here. 0.9 + 0.1 - 1 is 0 but 0.8 + 0.2 - 1 after rounding need not be.
    grid = np.round(np.linspace(0.01, 0.99, 99), 2)
    for p, q in zip(grid, np.round(1 - grid, 2), strict=True):
        from_winrates([[0.5, p], [q, 0.5]], symmetrize=True)


def test_symmetrizing_does_not_hide_what_are_no_win_rates():
    refused(lambda: from_winrates([[0, 7], [3, 0]], symmetrize=True), "`source`", "[0, 1]", "from 0 to 7")
    refused(lambda: from_winrates([[0.5, 1.4], [0.6, 0.5]], symmetrize=True), "`source`", "[0, 1]")
    refused(lambda: from_winrates([[0.5, np.nan], [0.6, 0.5]], symmetrize=True), "`source`", "finite")


# Leaving actions out


def test_excluded_actions_leave_the_game(file):
    game = from_winrates(file("a,b,c\n" + ROWS), exclude=["b"])
    assert game.names == ("a", "c")
    np.testing.assert_allclose(game.preference, TABLE[np.ix_([0, 2], [0, 2])], rtol=0, atol=ROUNDING)
    assert from_winrates(TABLE, exclude=[0, "2"]).names == ("1",)


def test_names_that_cannot_be_excluded():
    names = ["apple", "banana", "cherry"]
    refused(
        lambda: from_winrates(TABLE, exclude=["bannana"], names=names), "`exclude`", "Did you mean 'banana'?"
    )
    refused(lambda: from_winrates(TABLE, exclude=["3"]), "`exclude`", "one of 0, 1, 2", "'3'")
    refused(lambda: from_winrates(TABLE, exclude="apple", names=names), "`exclude`", "pass ['apple']")
    refused(
        lambda: from_winrates(TABLE, exclude=names, names=names), "`exclude` must leave at least one action"
    )
    refused(lambda: mariner(["Trajectry 22"]), "`exclude`", "Did you mean 'Trajectory 22'")
    refused(lambda: mariner(["33"]), "`exclude`", "'33'")


# Rankings

NAMES = "".join(
    f"# ALTERNATIVE NAME {i}: {name}\n" for i, name in enumerate(["apple", "banana", "cherry"], 1)
)
HEADER = "# TITLE: fruit\n# NUMBER ALTERNATIVES: 3\n" + NAMES


@pytest.mark.parametrize(
    "ballots",
    [
        "2: 1,{2,3}\n1: 3,2,1\n",
        "1: 1,{2,3}\n1: 1,{3,2}\n\n1: 3,2,1\n",
        " 2 : 1 , { 2 , 3 } \n1:3,2,1",
        "2: 1,{2,3}\r\n1: {3},2,{1}\r\n",
    ],
)
def test_rankings_are_counted_by_voter_and_a_tie_is_one_half(file, ballots):
    game = from_rankings(file(HEADER + ballots, "fruit.toc"))
    assert game.names == ("apple", "banana", "cherry")
    # Two of three voters put 1 above 2 and 3, which they tie; the third puts 3 above 2 above 1.
    expected = np.array([[1.5, 2, 2], [1, 1.5, 1], [1, 2, 1.5]]) / 3
    np.testing.assert_allclose(game.preference, expected, rtol=0, atol=ROUNDING)


def test_rankings_without_names_are_named_by_number(file):
    game = from_rankings(file("1: 30,4,{100}\n", "x.soc"))
    assert game.names == ("4", "30", "100")
    np.testing.assert_allclose(game.preference, [[0.5, 0, 1], [1, 0.5, 1], [0, 0, 0.5]], rtol=0, atol=0)
    assert from_rankings(file("1: 30,4,100\n", "x.soc"), exclude=["30"]).names == ("4", "100")


BAD_RANKINGS = [
    ("", "contains no rankings", "multiplicity: 1,2,{3,4}"),
    (HEADER, "contains no rankings"),
    (HEADER + "1: 1,2\n", "line 6", "each of the 3 alternatives exactly once", "see 3"),
    (HEADER + "1: 1,2,3\n1: 1,2,3,4\n", "line 7", "each of the 3 alternatives exactly once", "see 4"),
    (HEADER + "1: 1,2,{3,1}\n", "line 6", "exactly once", "see 1"),
    ("1: 1,2,2\n", "line 1", "exactly once", "see 2"),
    ("1: 1,2\n1: 1,3\n", "line 2", "each of the 2 alternatives", "see 2, 3"),
    *(
        (HEADER + "\n" + line + "\n", "line 7", "expected 'multiplicity: 1,2,{3,4}'", repr(line))
        for line in (
            *(
                "1,2,3",
                "1: 1,two,3",
                "0: 1,2,3",
                "-1: 1,2,3",
                "1.5: 1,2,3",
                ": 1,2,3",
                "1:",
                "1: 1,2 3",
                "1: 1,,3",
            ),
            *(
                "1: {1,2,3",
                "1: 1,2},3",
                "1: {1,{2,3}}",
                "1: {},1,2,3",
                "1: 1,2,3,",
                "1: 1;2;3",
                "x: 1,2,3",
                "1: 1:2,3",
            ),
            *("9999999999: 1,2,3", "1: 1,2,-3"),
        )
    ),
    (
        HEADER + "# ALTERNATIVE NAME 4: apple\n1: 1,2,3,4\n",
        "line 6",
        "alternative 4, 'apple', was named before",
    ),
    (HEADER + "# ALTERNATIVE NAME 3: date\n1: 1,2,3\n", "line 6", "alternative 3, 'date', was named before"),
    (b"1: 1,2\n\xff\xfe", "not a text file", "byte 7"),
]


@pytest.mark.parametrize(("content", "words"), [(content, words) for content, *words in BAD_RANKINGS])
def test_a_file_that_holds_no_complete_rankings(file, content, words):
    refused(lambda: from_rankings(file(content, "fruit.toc")), "fruit.toc", *words)


# The shipped rankings


def independent_counts(text):
    """Wins [i, j] and the number of voters, by a reading that shares nothing with the package's."""
    wins, voters = np.zeros((32, 32)), 0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        multiplicity, _, body = line.partition(":")
        place, depth, position = {}, 0, 0
        for token in re.findall(r"\d+|[{},]", body):
            if token.isdigit():
                place[int(token)] = position
            elif token == "," and depth == 0:
                position += 1
            depth += {"{": 1, "}": -1}.get(token, 0)
        assert sorted(place) == list(range(1, 33))
        voters += int(multiplicity)
        for i, j in itertools.product(range(1, 33), repeat=2):
            better = 1.0 if place[i] < place[j] else 0.5 if place[i] == place[j] else 0.0
            wins[i - 1, j - 1] += int(multiplicity) * better
    return wins, voters


def test_mariner_is_what_an_independent_reading_of_the_file_counts():
    wins, voters = independent_counts((resources.files("comalgames") / "data" / "mariner.toc").read_text())
    assert voters == 10
    game = mariner()
    np.testing.assert_allclose(game.preference, wins / 10, rtol=0, atol=ROUNDING)
    assert game.names == tuple(f"Trajectory {i}" for i in range(1, 33))


def test_mariner_is_what_its_docstring_says():
    game = mariner()
    beats = np.asarray(game.skew) > 0
    assert beats[21].sum() == 31  # trajectory 22 has a majority against every other one
    triples = itertools.permutations(range(32), 3)
    assert sum(beats[i, j] and beats[j, k] and beats[k, i] for i, j, k in triples) == 3 * 35
    rest = mariner(["22", "25", "Trajectory 23", 27])
    assert rest.num_actions == 28
    assert not set(rest.names) & {f"Trajectory {i}" for i in (22, 23, 25, 27)}
    # Mixed, on trajectories 4, 5 and 21: the cycle of these three, against which no other one wins.
    support = [rest.names.index(f"Trajectory {i}") for i in (4, 5, 21)]
    a, b, c = (np.asarray(rest.skew)[support[i], support[(i + 1) % 3]] for i in range(3))
    assert a * b > 0
    assert b * c > 0
    policy = np.zeros(28)
    policy[support] = np.abs([b, c, a]) / np.abs([a, b, c]).sum()
    with np.errstate(divide="ignore"):
        assert abs(cg.duality_gap(rest, np.log(policy))) <= 8 * ROUNDING
