"""Conditioning of a game: payoff sizes, rotation frequencies at Nash, and safe step sizes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from comalgames.diagnostics.local import rotation_frequencies
from comalgames.equilibria import NashSolution, nash
from comalgames.games.preference import PreferenceGame

# Frequencies below this share of the largest payoff are rounding errors.
STILL = 1e-10

# Number of frequencies printed.
SHOWN = 4

TURN = 2 * math.pi


class Conditioning(NamedTuple):
    """The result of `conditioning`; its `repr` is a table.

    Step sizes are in units of 1 / payoff; they are inf if there is no limit.

    Attributes:
        solution: the result of `nash`, with its certificate. If the Nash policy is not unique, all numbers
            below, frequencies included, refer to this member of the set.
        frequencies: rotation frequencies of the game at the Nash policy, on its support, in radians per unit
            of step size: those above 0, largest first.
        slack: the smallest amount by which an action off the support loses to the Nash policy, in units of
            payoff; inf if all actions are in the support. Near Nash the probability of such an action shrinks
            by a factor of `exp(-step_size slack)` per step.
        lowest: the smallest Nash probability on the support.
        payoff: the largest payoff, `max |P - 1/2|`.
        lipschitz: Lipschitz constant of the advantage, from the l1 norm of policies to the maximum norm; it
            equals `payoff`.
        spectral_norm: Lipschitz constant of the advantage in the Euclidean norm: the largest singular value
            of `P - 1/2`. All frequencies are at most half of it, and at most `lipschitz`.
        safe_extragradient_step: `1 / lipschitz`. Up to this step size the KL divergence from Nash never
            increases under extragradient (mirror prox), and from the uniform policy the average of its
            half-steps has a duality gap of at most `2 log(n) / (step_size t)` after t steps.
        safe_optimistic_step: `1 / (2 lipschitz)`. Up to this step size optimistic multiplicative weights from
            the uniform policy have a regret in self-play of at most `log(n) / step_size + step_size payoff^2`
            at all times, and their average has a duality gap of at most twice that over t.
        local_extragradient_step: `1 / frequencies[0]`. Extragradient converges locally to the Nash policy for
            step sizes below it and for no others. It is at least as large as the safe step.
        local_optimistic_step: `1 / (sqrt(3) frequencies[0])`, the corresponding limit for optimistic
            multiplicative weights.
    """

    solution: NashSolution
    frequencies: np.ndarray
    slack: float
    lowest: float
    payoff: float
    lipschitz: float
    spectral_norm: float
    safe_extragradient_step: float
    safe_optimistic_step: float
    local_extragradient_step: float
    local_optimistic_step: float

    def __repr__(self) -> str:
        used, of = int(np.count_nonzero(self.solution.support)), len(self.solution.support)
        which = "unique" if self.solution.unique else f"in a set of dimension {self.solution.dimension}"
        turns = ", ".join(f"{w:.6g}" for w in self.frequencies[:SHOWN])
        more = f", ... ({len(self.frequencies)} in total)" if len(self.frequencies) > SHOWN else ""
        still = len(self.frequencies) == 0
        rows = {
            "Nash policy": f"{used} of {of} actions, {which} ({self.solution.status})",
            "smallest weight": f"{self.lowest:.6g}",
            "slack": "none, all actions are in the support" if used == of else f"{self.slack:.6g}",
            "frequencies": "none, no rotation" if still else f"{turns}{more} rad per unit step",
            "fastest turn": "no turn" if still else f"{TURN / self.frequencies[0]:.6g} steps of size 1",
            "largest payoff": f"{self.payoff:.6g} (|P - 1/2|)",
            "Lipschitz": f"{self.lipschitz:.6g} from l1 to maximum norm, {self.spectral_norm:.6g} Euclidean",
            "extragradient": _steps(self.safe_extragradient_step, self.local_extragradient_step),
            "optimistic MWU": _steps(self.safe_optimistic_step, self.local_optimistic_step),
        }
        return "\n".join(["Conditioning", *(f"    {label:<17}{text}" for label, text in rows.items())])


def conditioning(game: PreferenceGame) -> Conditioning:
    """Compute the quantities of a game that determine safe step sizes and convergence rates.

    Near Nash the convergence of a rule depends on the game only through its rotation frequencies and slack;
    far from Nash the size of the payoffs limits the step size. All numbers are in float64.

    Args:
        game: a preference game without prompts.

    Raises:
        ValueError: `game` is not a preference game, or has prompts.

    Example:
        >>> cg.diagnostics.conditioning(game)
        Conditioning
            Nash policy      3 of 3 actions, unique (certified)
            smallest weight  0.272727
            slack            none, all actions are in the support
            frequencies      0.208893 rad per unit step
            fastest turn     30.0785 steps of size 1
            largest payoff   0.4 (|P - 1/2|)
            Lipschitz        0.4 from l1 to maximum norm, 0.640312 Euclidean
            extragradient    safe up to step size 2.5, contracts near Nash below 4.78714
            optimistic MWU   safe up to step size 1.25, contracts near Nash below 2.76385

    Reference: Nemirovski, "Prox-Method with Rate of Convergence O(1/t)", 2004 (extragradient); Syrgkanis et
    al., "Fast Convergence of Regularized Learning in Games", 2015 (optimistic).
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got a {type(game).__name__}. Convert skew-symmetric payoffs "
            f"with PreferenceGame.from_skew, after dividing them by twice the largest."
        )
    skew = np.asarray(game.skew, np.float64)
    if skew.ndim != 2:
        raise ValueError(
            f"`game` must have no prompts, got payoffs of shape {skew.shape}; select one prompt, as in "
            f"PreferenceGame.from_skew(game.skew[0])."
        )
    solution = nash(game)
    payoff = float(np.abs(skew).max())
    turns = rotation_frequencies(game, solution.logp)
    turns = turns[turns > STILL * payoff]
    fastest = float(turns[0]) if len(turns) else 0.0
    return Conditioning(
        solution=solution,
        frequencies=turns,
        slack=float(np.min(solution.slack[~solution.support], initial=math.inf)),
        lowest=float(np.min(solution.policy[solution.support])),
        payoff=payoff,
        lipschitz=payoff,
        spectral_norm=float(np.linalg.norm(skew, 2)),
        safe_extragradient_step=_inverse(payoff),
        safe_optimistic_step=_inverse(2 * payoff),
        local_extragradient_step=_inverse(fastest),
        local_optimistic_step=_inverse(math.sqrt(3) * fastest),
    )


def _inverse(number: float) -> float:
    return 1 / number if number > 0 else math.inf


def _steps(safe: float, local: float) -> str:
    near = "no rotation near Nash" if local == math.inf else f"contracts near Nash below {local:.6g}"
    far = "at any step size" if safe == math.inf else f"up to step size {safe:.6g}"
    return f"safe {far}, {near}"
