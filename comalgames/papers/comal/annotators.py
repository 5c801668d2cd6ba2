"""Claim A14, part 3: ten science teams that disagree, and a policy robust to each of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from comalgames import games
from comalgames.equilibria import annotator_robust_nash, nash, worst_annotator_gap
from comalgames.experiments import Claim, Data, Figure, Measurement, Statement, at_least, at_most, reads
from comalgames.measures.metrics import duality_gap
from comalgames.papers.setting import OURS

TEAMS = tuple(f"team {k}" for k in range(1, 11))


def annotators() -> Any:
    """The gaps of the votes' Nash policy and of the policy robust to each team, for each of the ten teams.

    `gap` is each policy's gap under every team's own ranking, `worst` the largest of them, `mixture_gap` the
    gap in the votes of all.
    """
    import xarray as xr

    teams, game = games.mariner_teams(), games.mariner()
    robust = annotator_robust_nash(teams)
    policies = np.stack([nash(game).policy, robust.policy, np.full(game.num_actions, 1 / game.num_actions)])
    with np.errstate(divide="ignore"):
        logps = np.log(policies)
    return xr.Dataset(
        {
            "policy": (("policy_name", "option"), policies),
            "gap": (("policy_name", "team"), [duality_gap(teams, logp) for logp in logps]),
            "worst": ("policy_name", [worst_annotator_gap(teams, logp) for logp in logps]),
            "mixture_gap": ("policy_name", duality_gap(game, logps)),
        },
        {"policy_name": ["Nash", "robust", "uniform"], "option": list(game.names), "team": list(TEAMS)},
        attrs={"lower_bound": float(robust.lower_bound), "status": str(robust.status)},
    )


def annotators_left_out() -> Any:
    """Changes of the Nash policy of the science teams' votes when one team is left out, or counts twice.

    `gap` is the gap of the Nash policy of all teams in those votes; `size` how many trajectories can be
    played.
    """
    import xarray as xr

    teams = games.mariner_teams()
    weights = np.stack([np.ones((10, 10)) - np.eye(10), np.ones((10, 10)) + np.eye(10)])
    weights /= weights.sum(-1, keepdims=True)
    votes = games.stack([games.annotator_mixture(teams, w) for w in weights.reshape(-1, 10)])
    solution = nash(votes)
    with np.errstate(divide="ignore"):
        of_all = duality_gap(votes, nash(games.mariner()).logp)
    axes, shape = ("change", "team"), weights.shape[:2]
    return xr.Dataset(
        {
            "policy": ((*axes, "option"), solution.policy.reshape(*shape, -1)),
            "size": (axes, solution.support.sum(-1).reshape(shape)),
            "unique": (axes, solution.unique.reshape(shape)),
            "gap": (axes, np.asarray(of_all).reshape(shape)),
        },
        {"change": ["left out", "counted twice"], "team": list(TEAMS), "option": list(teams.names)},
    )


@reads("annotators")
def gain_of_robustness(data: Data) -> float:
    """Worst gap of Nash minus that of the robust policy; nan unless the latter is certified as minimal."""
    gaps = data["annotators"]
    worst = gaps["worst"]
    excess = float(worst.sel(policy_name="robust")) - gaps.attrs["lower_bound"]
    gain = float(worst.sel(policy_name="Nash") - worst.sel(policy_name="robust"))
    return gain if gaps.attrs["status"] == "certified" and excess < 1e-9 else float("nan")


@reads("annotators left out")
def gap_when_reweighted(data: Data) -> float:
    """Largest gap of trajectory 22, if it is Nash, when a team is left out or counts twice."""
    if games.mariner().names[int(np.argmax(nash(games.mariner()).policy))] != "Trajectory 22":
        return float("nan")
    return float(data["annotators left out"]["gap"].max(skipna=False))


EXPERIMENTS = (
    Measurement("annotators", "How large is the gap of the Nash policy for each annotator?", annotators),
    Measurement(
        "annotators left out",
        "Does the Nash policy depend on one annotator?",
        annotators_left_out,
    ),
)

STATEMENTS = (
    Statement(
        "A policy that is robust to each of ten science teams, whatever their weights, has a smaller "
        "worst-case duality gap over the teams than the Nash policy of their votes.",
        Claim(
            id="A14.annotators",
            quantity=(
                "worst gap of the Nash policy minus that of the robust policy, certified by linear "
                "programming"
            ),
            source=OURS,
            reading=gain_of_robustness(),
            bound=at_least(0.1),
        ),
    ),
    Statement(
        "The Nash policy of the votes of ten science teams, trajectory 22, remains a Nash policy when any "
        "team is left out or counts twice.",
        Claim(
            id="A14.left_out",
            quantity="largest duality gap of trajectory 22 over 20 such changes",
            source=OURS,
            reading=gap_when_reweighted(),
            bound=at_most(1e-12),
        ),
    ),
)

FIGURES: tuple[Figure, ...] = ()
