"""How hard a game is to learn: its sizes, how it turns at Nash, and the steps that are safe in it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from comalgames.diagnostics.local import rotation_frequencies
from comalgames.equilibria import NashSolution, nash
from comalgames.games.preference import PreferenceGame

# A frequency below this share of the largest payoff is a zero with rounding.
STILL = 1e-10

# So many frequencies are printed.
SHOWN = 4

TURN = 2 * math.pi


class Conditioning(NamedTuple):
    """What `conditioning` returns; its `repr` is a readable table.

    Every step size is in units of 1 / payoff, and inf where no step is too long.

    Attributes:
        solution: what `nash` found, with its certificate. Where Nash is not unique, all that is said of "the"
            Nash policy, its frequencies too, is said of this member of the set.
        frequencies: at which the game turns deviations from the Nash policy on its support, in radians per
            unit of step size: those above 0, largest first; empty if it turns none.
        slack: the smallest amount by which an action off the support loses to the Nash policy, in units of
            payoff; inf if there is none. Near Nash such an action's weight falls by `exp(-step_size slack)`.
        lowest: the smallest Nash probability on the support.
        payoff: the largest payoff, `max |P - 1/2|`.
        lipschitz: of the advantage, from the l1 norm of policies to the largest entry; it equals `payoff`.
        spectral_norm: the same from the Euclidean norm to itself: the largest singular value of `P - 1/2`.
            No frequency is above half of it, nor above `lipschitz`.
        safe_extragradient_step: `1 / lipschitz`. Up to it, extragradient (mirror prox) never gets further
            from Nash in KL, and from the uniform policy the average of its half-steps has a duality gap of at
            most `2 log(n) / (step_size t)` after t steps.
        safe_optimistic_step: `1 / (2 lipschitz)`. Up to it, optimistic multiplicative weights from the
            uniform policy have a regret in self-play of at most `log(n) / step_size + step_size payoff^2` for
            all time, and their average a duality gap of at most twice that over t.
        local_extragradient_step: `1 / frequencies[0]`. Below it, and only there, extragradient contracts
            towards the Nash policy from nearby. It is never below the safe step.
        local_optimistic_step: `1 / (sqrt(3) frequencies[0])`, the same for optimistic multiplicative weights.
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
        which = "unique" if self.solution.unique else f"one of a set of dimension {self.solution.dimension}"
        turns = ", ".join(f"{w:.6g}" for w in self.frequencies[:SHOWN])
        more = f", ... ({len(self.frequencies)} in all)" if len(self.frequencies) > SHOWN else ""
        still = len(self.frequencies) == 0
        rows = {
            "Nash policy": f"{used} of {of} actions, {which} ({self.solution.status})",
            "smallest weight": f"{self.lowest:.6g}",
            "slack": "none, all actions are used" if used == of else f"{self.slack:.6g} payoff",
            "frequencies": "none, no deviation turns" if still else f"{turns}{more} rad per unit of step",
            "fastest turn": "never" if still else f"{TURN / self.frequencies[0]:.6g} steps of size 1",
            "largest payoff": f"{self.payoff:.6g} beside 1/2",
            "Lipschitz": f"{self.lipschitz:.6g} payoff, l1 to max; {self.spectral_norm:.6g} Euclidean",
            "extragradient": _steps(self.safe_extragradient_step, self.local_extragradient_step),
            "optimistic MWU": _steps(self.safe_optimistic_step, self.local_optimistic_step),
        }
        return "\n".join(["Conditioning", *(f"    {word:<17}{said}" for word, said in rows.items())])


def conditioning(game: PreferenceGame) -> Conditioning:
    """What makes a game easy or hard to learn, and which step sizes are safe in it, before any run.

    Near Nash a rule feels the game by its rotation frequencies and the slack alone; far from it, by the size
    of its payoffs. All numbers are in float64.

    Args:
        game: a preference game without prompts.

    Raises:
        ValueError: `game` is not a preference game, or has prompts.

    Example:
        >>> cg.diagnostics.conditioning(game)
        Conditioning
            Nash policy      3 of 3 actions, unique (certified)
            smallest weight  0.272727
            slack            none, all actions are used
            frequencies      0.208893 rad per unit of step
            fastest turn     30.0785 steps of size 1
            largest payoff   0.4 beside 1/2
            Lipschitz        0.4 payoff, l1 to max; 0.640312 Euclidean
            extragradient    safe up to step size 2.5, contracts near Nash below 4.78714
            optimistic MWU   safe up to step size 1.25, contracts near Nash below 2.76385

    Reference: Nemirovski, "Prox-Method with Rate of Convergence O(1/t)", 2004 (extragradient); Syrgkanis et
    al., "Fast Convergence of Regularized Learning in Games", 2015 (optimistic).
    """
    if not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`game` must be a PreferenceGame, got a {type(game).__name__}; two players' payoffs divided by "
            f"twice the largest are one, by PreferenceGame.from_skew, if they are skew."
        )
    skew = np.asarray(game.skew, np.float64)
    if skew.ndim != 2:
        raise ValueError(
            f"`game` must have no prompts, got payoffs of shape {skew.shape}; take one prompt's game by "
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
    near = "nothing turns near Nash" if local == math.inf else f"contracts near Nash below {local:.6g}"
    far = "at any step size" if safe == math.inf else f"up to step size {safe:.6g}"
    return f"safe {far}, {near}"
