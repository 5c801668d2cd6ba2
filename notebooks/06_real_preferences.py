# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06. Real preferences
#
# Before the two Voyagers left for Jupiter and Saturn in 1977, ten science teams ranked 32 trajectories for
# them. The rankings are a preference game: how many teams rank one trajectory above another? What do Nash, a
# ranking by scores, and each of the teams make of it?

# %%
import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt
import numpy as np

import comalgames as cg

game = cg.games.mariner()
teams = cg.games.mariner_teams()
number = [name.removeprefix("Trajectory ") for name in game.names]
at = {name: k for k, name in enumerate(number)}

# %% [markdown]
# ## Who wins?
#
# Trajectory 22 beats every other one by majority: it is the Condorcet winner, hence the Smith set and the
# only Nash policy. All the same 35 triples go round in circles. Scores, which is what a Bradley-Terry reward
# learns, are averages over opponents: by them 27 is best. It wins most *on average*; 22 beats it with 55%.

# %%
print("Condorcet winner:", game.names[cg.games.condorcet_winner(game)])
print("Smith set:", [number[k] for k in np.flatnonzero(cg.games.smith_set(game))])
print("majority cycles:", cg.games.majority_cycles(game))
borda, copeland = cg.games.borda(game), cg.games.copeland(game)
for title, scores in (("Borda", borda), ("Copeland", copeland)):
    print(f"{title}:", {number[k]: round(float(scores[k]), 3) for k in np.argsort(-scores)[:4]})
print("22 beats 27 with", game.preference[at["22"], at["27"]])

# %%
worst = np.asarray(game.preference).min(axis=1)
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
ax.axhline(0.5, color="0.6", linestyle="--", linewidth=0.8)
ax.plot(borda, worst, "o", color="#0072B2", alpha=0.6)
for name in ("22", "25", "23", "27"):
    ax.annotate(name, (borda[at[name]], worst[at[name]]), xytext=(6, 3), textcoords="offset points")
_ = ax.set(
    xlabel="mean win rate (Borda score)",
    ylabel="win rate against its worst opponent",
    title="27 is best on average, 22 is never beaten",
    xlim=(0.1, 0.9),
)

# %% [markdown]
# ## What is it worth to each team?
#
# Each team is an annotator with a game of its own. A majority's favourite can be poor for some: below is how
# often a team prefers what a policy plays to a trajectory drawn blindly. The *annotator-robust* policy looks
# after the team that could gain most by a change: it makes the largest of the ten teams' gaps smallest. It
# plays each team's favourite, with 1/7 each. When teams want such different things, that is not worth much:
# the largest gap is 0.857 instead of 1, and nine of the ten teams pay for it.

# %%
nash, robust = cg.nash(game), cg.annotator_robust_nash(teams)
uniform = np.full(game.num_actions, 1 / game.num_actions)
places = np.arange(1, 11)
policies = {"Nash": nash.policy, "annotator-robust": robust.policy}
worth = {
    name: np.einsum("i,kij,j->k", policy, np.asarray(teams.preference), uniform)
    for name, policy in policies.items()
}
print("the robust policy plays", [number[k] for k in np.flatnonzero(robust.policy > 1e-9)])
for name, solution in (("Nash", nash), ("robust", robust)):
    print(
        f"{name}: worst team's gap {cg.worst_annotator_gap(teams, solution.logp):.3f}, "
        f"gap in the votes of all {cg.duality_gap(game, solution.logp):.3f}"
    )

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.bar(places - 0.2, worth["Nash"], width=0.38, color="#0072B2", label="Nash")
ax.bar(places + 0.2, worth["annotator-robust"], width=0.38, color="#E69F00", label="annotator-robust")
ax.axhline(0.5, color="0.3", linestyle="--", linewidth=1, label="a blind draw")
ax.set(xlabel="team", ylabel="win rate against a blind draw", xticks=places, ylim=(0, 1.25))
ax.set_title("what a policy is worth to each team")
_ = ax.legend(frameon=False, ncols=3, loc="upper center")

# %% [markdown]
# ## Other weights, other winners?
#
# `annotator_mixture` asks the teams with other weights. Leave any one team out, or count it twice, and 22
# stays a Nash policy (though 27 may draw level with it). Count one three times, and for four of the teams it
# does not.

# %%
counts = np.arange(6)
weights = np.ones((len(counts), 10, 10)) + (counts[:, None, None] - 1) * np.eye(10)
weights /= weights.sum(axis=-1, keepdims=True)
votes = cg.games.stack([cg.games.annotator_mixture(teams, w) for w in weights.reshape(-1, 10)])
gaps = np.asarray(cg.duality_gap(votes, nash.logp)).reshape(len(counts), 10)

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
image = ax.imshow(gaps, cmap="cividis", origin="lower", aspect="auto")
for (row, column), gap in np.ndenumerate(gaps):
    color = "black" if gap > gaps.max() / 2 else "white"
    ax.text(
        column, row, f"{gap:.2f}" if gap > 1e-9 else "Nash", ha="center", va="center", color=color, fontsize=8
    )
ax.set(xlabel="team", ylabel="how often it counts", xticks=range(10), xticklabels=places)
ax.set_title("duality gap of trajectory 22 if one team counts more or less")
_ = figure.colorbar(image)

# %% [markdown]
# ## Without the favourites
#
# Suppose that 22, 25, 23 and 27 cannot be flown. Now no trajectory beats all others, nearly all are in the
# Smith set, and the only Nash policy is a mixture: 4, 5 and 21. The best score is that of 5, to which six
# teams in ten prefer something else. Rules have to find three trajectories among 28, and their shares. COMAL
# does.

# %%
rest = cg.games.mariner(exclude=("22", "25", "23", "27"))
left = [name.removeprefix("Trajectory ") for name in rest.names]
mixed = cg.nash(rest)
print(
    "Condorcet winner:",
    cg.games.condorcet_winner(rest),
    " Smith set:",
    cg.games.smith_set(rest).sum(),
    "of",
    len(left),
)
print("Nash:", {left[k]: round(float(mixed.policy[k]), 4) for k in np.flatnonzero(mixed.support)})
best = int(np.argmax(cg.games.borda(rest)))
print(f"best score: {left[best]}, beaten with {1 - np.asarray(rest.preference)[best].min():.2f}")

# %%
rules = {
    "COMAL": cg.COMAL(cg.MirrorDescent(1.0, 0.1), period=50),
    "INPO": cg.INPO(eta=1.0, tau=0.1),
    "iterative IPO = SPPO": cg.SPPO(step_size=1.0),
}
runs = {
    name: cg.solve(rest, rule, 10_000, metrics=["policy"], record_every=10) for name, rule in rules.items()
}

# %%
figure, (gap_ax, policy_ax) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
cg.plot_gap(runs, ax=gap_ax).set(xlabel="queries", title="28 trajectories, no Condorcet winner")
path = runs["COMAL"].history["policy"]
played = np.isin(left, ["4", "5", "21"])
for k in np.flatnonzero(~played):
    policy_ax.plot(runs["COMAL"].queries, path[:, k], color="0.8", linewidth=0.8)
for k, color in zip(np.flatnonzero(played), ("#009E73", "#D55E00", "#0072B2"), strict=True):
    policy_ax.plot(runs["COMAL"].queries, path[:, k], color=color, label=left[k])
    policy_ax.axhline(mixed.policy[k], color=color, linestyle=":", linewidth=1)
policy_ax.plot([], [], color="0.8", label="others")
policy_ax.plot([], [], ":", color="0.3", label="Nash")
policy_ax.set(xlim=(0, 4_000), xlabel="queries", ylabel="probability", title="COMAL's policy")
_ = policy_ax.legend(frameon=False)

# %%
assert game.names[cg.games.condorcet_winner(game)] == "Trajectory 22"
assert nash.unique
assert nash.policy[at["22"]] == 1
assert cg.games.majority_cycles(game) == 35
assert number[int(np.argmax(borda))] == "27"
assert number[int(np.argmax(copeland))] == "22"
np.testing.assert_allclose(game.preference[at["22"], at["27"]], 0.55)
assert robust.status == "certified"
np.testing.assert_allclose(robust.policy[robust.policy > 1e-9], 1 / 7)
np.testing.assert_allclose(cg.worst_annotator_gap(teams, robust.logp), 6 / 7)
assert cg.worst_annotator_gap(teams, nash.logp) == 1
assert (worth["annotator-robust"] < worth["Nash"]).sum() == 9
assert (gaps[:3] < 1e-12).all()
assert (gaps[3] > 1e-3).sum() == 4
np.testing.assert_allclose(mixed.policy[played], [1 / 3, 1 / 6, 1 / 2])
assert mixed.unique
assert cg.games.condorcet_winner(rest) == -1
assert left[best] == "5"
assert runs["COMAL"].duality_gap < 1e-9
np.testing.assert_allclose(runs["COMAL"].policy, mixed.policy, atol=1e-8)
assert runs["INPO"].duality_gap > 0.2
assert runs["iterative IPO = SPPO"].duality_gap > 0.3
