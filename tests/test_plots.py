"""Plots leave the user's settings alone, and return the axes they drew on."""

import matplotlib as mpl
import numpy as np
import pytest
from helpers import COMAL_START
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import comalgames as cg
from comalgames.plots.style import STYLE, in_style

CYCLE = cg.games.comal_cycle()


@pytest.fixture(scope="module")
def results():
    rules = {"MWU": cg.MWU(1.0), "INPO": cg.INPO(1.0, 0.1)}
    return {
        name: cg.solve(CYCLE, rule, 20, init=COMAL_START, metrics=["policy"]) for name, rule in rules.items()
    }


@pytest.fixture(scope="module")
def drawings(results):
    diagnosis = cg.diagnose(CYCLE, cg.MWU(1.0), init=COMAL_START, num_steps=40)
    phase = cg.phase_diagram(
        CYCLE, cg.MirrorDescent, x={"step_size": [0.5, 5.0]}, y={"temperature": [0.1]}, num_steps=40
    )
    return {
        "plot_gap": lambda: (cg.plot_gap(results),),
        "plot_simplex": lambda: (cg.plot_simplex(results),),
        "plot_win_rates": lambda: (cg.plot_win_rates(np.full((2, 2), 0.5), ["a", "b"]),),
        "plot_diagnosis": lambda: cg.plot_diagnosis(diagnosis),
        "plot_phase": lambda: cg.plot_phase(phase),
    }


def test_every_plot_is_drawn_here(drawings):
    assert set(drawings) == {name for name in cg.__all__ if name.startswith("plot_")}


@pytest.mark.parametrize("name", [name for name in cg.__all__ if name.startswith("plot_")])
def test_a_plot_returns_axes_and_leaves_settings_alone(name, drawings):
    before = dict(mpl.rcParams)
    axes = drawings[name]()
    assert dict(mpl.rcParams) == before
    assert all(isinstance(ax, Axes) for ax in axes)
    assert len({ax.figure for ax in axes}) == 1
    plt.close(axes[0].figure)


def test_the_style_restores_its_own_keys_only():
    """The first plot of a notebook resolves the backend, which switches `interactive` on."""
    assert not {"interactive", "backend"} & set(STYLE)
    before = {key: mpl.rcParams[key] for key in STYLE}
    was = mpl.rcParams["interactive"]
    try:
        with in_style():
            assert mpl.rcParams["font.size"] == STYLE["font.size"]
            mpl.rcParams["interactive"] = not was
        assert mpl.rcParams["interactive"] is not was
        assert {key: mpl.rcParams[key] for key in STYLE} == before
        with pytest.raises(RuntimeError), in_style():
            raise RuntimeError
        assert {key: mpl.rcParams[key] for key in STYLE} == before
    finally:
        mpl.rcParams["interactive"] = was
