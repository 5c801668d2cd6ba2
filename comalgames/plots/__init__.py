"""Figures of runs, diagnoses and phase diagrams, from the results of `solve`, `sweep` and `diagnose`.

Colours are those of Okabe and Ito, which are distinguishable without colour vision, and each line also has a
different dash pattern. Runs that differ only in their seed are drawn as their median, with a band from the
lower to the upper quartile. Every function returns its axes.
"""

from comalgames.plots.curves import plot_gap
from comalgames.plots.diagnosis import plot_diagnosis
from comalgames.plots.phases import plot_phase
from comalgames.plots.simplex import plot_simplex
from comalgames.plots.win_rates import plot_win_rates

__all__ = ["plot_diagnosis", "plot_gap", "plot_phase", "plot_simplex", "plot_win_rates"]
