"""The progress bar of long runs."""

import sys

import pytest

from comalgames.drivers.bar import DELAY, progress_bar


@pytest.mark.parametrize(
    ("progress", "is_terminal", "disabled", "shown"),
    [
        (None, True, "", True),
        (None, False, "", False),
        (None, True, "1", False),
        (True, False, "1", True),
        (False, True, "", False),
    ],
)
def test_a_bar_is_shown_where_somebody_looks(monkeypatch, progress, is_terminal, disabled, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setenv("TQDM_DISABLE", disabled)
    with progress_bar(10, "MWU", progress) as bar:
        assert bar.disable is not shown
        if shown:
            # By default it waits, so that short runs stay silent.
            assert bar.delay == (0.0 if progress else DELAY)
            bar.update(3)
            assert bar.n == 3
            assert bar.desc.startswith("MWU")
