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
# # 04. Noisy annotators
#
# People misread, click the wrong button, and answer few questions. What of that is averaged out, and
# what changes the policy that is learnt? Rules learn from a noisy game here and are measured in the true one.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt
import numpy as np

import comalgames as cg

game = cg.games.comal_cycle()
nash = cg.nash(game)
start = [0.2, 0.5, 0.3]
tau = 0.1

# %% [markdown]
# ## Flipped labels
#
# If each label is flipped with probability p, every win rate moves towards 1/2: all advantages are multiplied
# by 1 - 2p. That leaves Nash where it is. But next to smaller advantages the pull towards a fixed reference
# weighs more: INPO now stops where it would stop with tau / (1 - 2p). Knowing p, divide its step and multiply
# its temperature by 1 - 2p: `flip_corrected`.
#
# One run takes all rates at once: the game is stacked, and each copy is seen through its own rate.

# %%
rates = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
copies = cg.games.stack([game] * len(rates))
labels = cg.Exact(cg.games.flip_labels(copies, rates))
inpo = cg.INPO(eta=1.0, tau=tau)
flipped = {
    "COMAL": cg.solve(
        copies, cg.COMAL(cg.MirrorDescent(1.0, tau), 20), 10_000, init=start, feedback=labels, record_every=20
    ),
    "INPO": cg.solve(copies, inpo, 2_000, init=start, feedback=labels),
}
corrected = [
    cg.solve(
        game,
        cg.flip_corrected(inpo, rate),
        2_000,
        init=start,
        feedback=cg.Exact(cg.games.flip_labels(game, rate)),
    )
    for rate in rates
]
print("INPO's numbers at 40% flips:", cg.flip_corrected(inpo, 0.4))
predicted = np.array([cg.qre(game, tau / (1 - 2 * rate), reference=start).policy for rate in rates])

# %%
many = np.linspace(0, 0.45, 19)
theory = [cg.duality_gap(game, cg.qre(game, tau / (1 - 2 * rate), reference=start).logp) for rate in many]
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.plot(many, theory, color="0.75", linewidth=5, label="equilibrium at tau / (1 - 2p)")
left.plot(rates, flipped["INPO"].duality_gap, "o", color="#D55E00", label="INPO")
left.plot(rates, [run.duality_gap for run in corrected], "^", color="#009E73", label="INPO, corrected")
left.plot(rates, flipped["COMAL"].duality_gap, "s", color="#0072B2", label="COMAL")
left.set(
    xlabel="share of flipped labels, p",
    ylabel="true duality gap",
    title="flips push INPO away, and not COMAL",
)
left.legend(frameon=False)
for k, rate in enumerate(rates):
    right.semilogy(
        flipped["COMAL"].queries,
        np.maximum(flipped["COMAL"].history["duality_gap"][:, k], 1e-16),
        color=plt.cm.cividis(k / len(rates)),
        label=f"p = {rate:.1f}",
    )
right.set(xlabel="queries", ylabel="true duality gap", title="COMAL: the same limit, later")
_ = right.legend(frameon=False)

# %% [markdown]
# ## Few comparisons
#
# Now no one tells the rule win rates. A query draws N opponents from the policy and compares each answer with
# each of them once. COMAL keeps wandering around Nash, the closer the more comparisons: its gap falls like
# one over the square root of their number. INPO wanders around its own equilibrium, so that more data soon
# stop helping. `noise_floor` predicts both from the rule linearized where it settles, without a run.

# %%
rules = {"COMAL": cg.COMAL(cg.MirrorDescent(0.3, tau), period=50), "INPO": cg.INPO(1 / 0.3, tau)}
sampled = {
    N: cg.sweep(game, rules, 2_000, num_seeds=8, init=start, feedback=cg.Sampled(game, N)).isel(game=0)
    for N in (50, 1_000, 50_000)
}

# %%
equilibrium = cg.qre(game, tau, reference=start).logp


def floor(name, N):
    limit, reference = (nash.logp, nash.logp) if name == "COMAL" else (equilibrium, np.log(start))
    return cg.diagnostics.noise_floor(game, rules[name], cg.Sampled(game, N), limit, reference=reference).gap


def settled(name):
    late = [
        run["duality_gap"].sel(algorithm=name).isel(record=slice(1_000, None)) for run in sampled.values()
    ]
    return np.array([gaps.mean("record").values for gaps in late])


bias = cg.duality_gap(game, equilibrium)
opponents = (50, 200, 1_000, 50_000)
floors = {name: np.array([floor(name, N) for N in opponents]) for name in rules}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
cg.plot_gap(sampled[1_000], ax=left).set(title="N = 1,000: median and quartiles of 8 seeds", xlabel="queries")
for name, color, marker in (("COMAL", "#0072B2", "s"), ("INPO", "#D55E00", "o")):
    right.loglog(
        3 * np.array(opponents),
        floors[name],
        color=color,
        alpha=0.35,
        linewidth=5,
        label=f"{name}, predicted",
    )
    middle = np.median(settled(name), axis=1)
    spread = np.abs(np.quantile(settled(name), [0.25, 0.75], axis=1) - middle)
    right.errorbar(
        3 * np.array(list(sampled)),
        middle,
        spread,
        fmt=marker,
        color=color,
        capsize=4,
        label=f"{name}, measured",
    )
right.axhline(bias, color="0.4", linestyle="--", linewidth=1, label="INPO without noise")
right.set(xlabel="comparisons per query", ylabel="duality gap, mean of last 1,000 steps")
right.set_title("more data help the unbiased rule")
_ = right.legend(frameon=False, fontsize=8)

# %% [markdown]
# ## A bias that no amount of data removes
#
# Pipelines often draw several answers, rank them, and train on the best against the second or the worst, as a
# sure win. That throws away *how often* the one is preferred. `RegressedPairs` gives what the squared loss
# learns from such pairs, here from infinitely many. On this cycle everything that is left is who beats whom,
# and by that alone the three answers are equal: COMAL converges, to uniform.

# %%
pairs = {
    "two answers, labels drawn": cg.RegressedPairs(game),
    "best against second of 5, always a win": cg.RegressedPairs(
        game, num_candidates=5, rejected="second", labels="ranked"
    ),
}
selected = {
    name: cg.solve(
        game,
        cg.COMAL(cg.MirrorDescent(1.0, tau), 20),
        3_000,
        init=start,
        feedback=feedback,
        metrics=["policy"],
    )
    for name, feedback in pairs.items()
}
for name, run in selected.items():
    print(f"{name}: {run.policy.round(4)}, gap {run.duality_gap:.4f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
cg.plot_gap(selected, ax=left).set(title="COMAL on infinitely many pairs", xlabel="queries", xlim=(0, 1_000))
cg.plot_simplex(selected, nash.policy, game.names, ax=right).get_legend().remove()
_ = right.set_title("circle: start, squares: where they end, star: Nash")

# %%
assert (flipped["COMAL"].duality_gap < 1e-9).all()
np.testing.assert_allclose(flipped["INPO"].policy, predicted, atol=1e-9)
assert (np.diff(flipped["INPO"].duality_gap) > 0).all()
for run in corrected:
    np.testing.assert_allclose(run.policy, predicted[0], atol=1e-9)
comal, inpo_gaps = (np.median(settled(name), axis=1) for name in ("COMAL", "INPO"))
slope = np.polyfit(np.log(list(sampled)), np.log(comal), 1)[0]
assert -0.6 < slope < -0.4
np.testing.assert_allclose(comal[1:], floors["COMAL"][-2:], rtol=0.15)
np.testing.assert_allclose(inpo_gaps[1:], floors["INPO"][-2:], rtol=0.1)
assert abs(inpo_gaps[-1] / bias - 1) < 0.02
fair, ranked = selected.values()
assert fair.duality_gap < 1e-11
np.testing.assert_allclose(ranked.policy, 1 / 3, atol=1e-9)
assert abs(ranked.duality_gap - 1 / 15) < 1e-9
