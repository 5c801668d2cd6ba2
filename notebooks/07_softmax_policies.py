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
# # 07. Softmax policies, and why the theory of tables survives
#
# The other notebooks move probabilities one by one. A model has parameters, a loss and an optimizer.
# `Parametric` takes any rule, any model and any optax optimizer: each round the rule says where the policy
# should go, and some gradient steps on a published loss take it there.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt
import numpy as np
import optax

import comalgames as cg

game = cg.games.comal_cycle()
nash = cg.nash(game)
start = [0.2, 0.5, 0.3]
rule = cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1), period=20)

# %% [markdown]
# ## The same rule, three models
#
# A table of logits, scores linear in two random features of each answer, and a network, all with the same
# rule and loss (squared error of log-ratios, as online IPO and REBEL have it). All begin at the same policy.
# With 200 gradient steps a round, each lies on the curve of the rule itself. With two, each goes its own way,
# at its own pace.

# %%
features = np.random.default_rng(1).normal(size=(3, 2))
network = cg.MLP(np.eye(3), widths=(16,))
models = {
    "table of logits": (cg.Tabular(), None, 0.5),
    "log-linear": (cg.LogLinear(features), None, 0.5),
    "network": (network, network.initial(jax.random.key(0)), 0.1),
}
table = cg.solve(game, rule, 600, init=start, metrics=["logp"])
learnt = {
    num: {
        name: cg.solve(
            game, cg.Parametric(rule, model, params, optax.sgd(lr), num), 600, init=start, metrics=["logp"]
        )
        for name, (model, params, lr) in models.items()
    }
    for num in (200, 2)
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained", sharey=True)
for ax, (num, runs) in zip(axes, learnt.items(), strict=True):
    ax.plot(
        table.queries,
        np.maximum(table.history["duality_gap"], 1e-17),
        color="0.8",
        linewidth=6,
        label="the rule, no model",
    )
    cg.plot_gap(runs, ax=ax).set(title=f"{num} gradient steps a round", xlabel="queries")

# %% [markdown]
# ## One gradient step is a mirror step
#
# Why do so few steps work at all? Let the rule aim as far as it can: at `reference * exp(advantage / beta)`,
# the optimum of reward minus beta KL. One step of SGD on the squared loss, pairs drawn uniformly from n
# answers, goes a share 4 lr / n of the way, in logits. That *is* mirror descent of temperature beta with step
# size
#
#     eta = 4 lr / (beta n)
#
# not approximately, and with 4, not 2.

# %%
beta, lr = 0.1, 0.015
far = cg.MirrorDescent(step_size=1 / beta, temperature=beta)
eta = 4 * lr / (beta * 3)
steps = {
    "one SGD step a round": cg.Parametric(far, cg.Tabular(), None, optax.sgd(lr), num_fit_steps=1),
    "mirror descent, 4 lr / (beta n)": cg.MirrorDescent(eta, beta),
    "mirror descent, 2 lr / (beta n)": cg.MirrorDescent(eta / 2, beta),
}
taken = {name: cg.solve(game, each, 400, init=start, metrics=["logp"]) for name, each in steps.items()}
by_sgd, by_mirror, by_half = (run.history["logp"] for run in taken.values())
print("largest difference of log-probabilities, with 4:", np.abs(by_sgd - by_mirror).max())
print("largest difference of log-probabilities, with 2:", np.abs(by_sgd - by_half).max())

# %%
ax = cg.plot_gap(taken)
ax.lines[0].set(linewidth=6, alpha=0.3)
ax.set(xlabel="queries", title="an optimizer step is a mirror step")
_ = ax.legend(frameon=False)

# %% [markdown]
# ## So the number of gradient steps is a step size
#
# k such steps go a share 1 - (1 - 4 lr / n)^k of the way. Then everything in notebook 05 applies: the error
# Nash is multiplied by g + lambda^K (1 - g) from one move of the reference to the next. Here the reference
# moves every K = 6 rounds. With too few gradient steps it moves before the policy comes near, and COMAL
# cycles. With too many, a round overshoots, and it cycles as well.

# %%
num_fits, period, num_rounds = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 26, 28, 32, 40], 6, 3_000
sgd = optax.sgd(lr)
scan = {str(k): cg.Parametric(cg.COMAL(far, period), cg.Tabular(), None, sgd, k) for k in num_fits}
runs = cg.sweep(game, scan, num_rounds, init=start, record_every=10).isel(game=0, seed=0)
late = runs["duality_gap"].isel(record=slice(-60, None)).max("record").values


def multiplier(k):
    (w,) = cg.diagnostics.rotation_frequencies(game, nash.logp)
    g, share = beta / (beta - 1j * w), 1 - (1 - 4 * lr / 3) ** k
    inner = 1 - share + 1j * w * share / beta
    return np.abs(g + inner**period * (1 - g))


# %%
every = np.geomspace(1, 40, 400)
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.fill_between(
    every, 0, 1, multiplier(every) < 1, transform=ax.get_xaxis_transform(), color="#009E73", alpha=0.15,
    label="theory: converges", linewidth=0,
)  # fmt: skip
ax.loglog(num_fits, np.maximum(late, 1e-17), "o", color="#0072B2", label="largest gap late in the run")
ax.set(xlabel="gradient steps a round", ylabel="duality gap", title="COMAL, reference moved every 6 rounds")
ax.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
ax.minorticks_off()
_ = ax.legend(frameon=False, loc="lower left")

# %% [markdown]
# ## Which pairs are compared matters
#
# The squared loss on *labelled* pairs (IPO, INPO, COMAL) is minimized at the rule's target only if both
# answers are drawn from the current policy. On pairs drawn uniformly, as from a fixed data set, the same loss
# fits the win rate against a uniform opponent, which never changes. COMAL then goes all the way to the
# answer that is best on average: here c, which loses to a with 80%.

# %%
runs_by_pairs = {
    distribution: cg.solve(
        game,
        cg.Parametric(
            rule, cg.Tabular(), None, optax.sgd(0.5), 60, cg.objectives.LabelledPairs(distribution)
        ),
        1_000,
        init=start,
        metrics=["policy"],
    )
    for distribution in ("policy", "uniform")
}
for distribution, run in runs_by_pairs.items():
    print(f"pairs from {distribution}: {run.policy.round(4)}, gap {run.duality_gap:.4f}")

# %%
ax = cg.plot_simplex(
    {f"pairs from {distribution}": run for distribution, run in runs_by_pairs.items()},
    nash.policy,
    game.names,
)

# %% [markdown]
# ## Several prompts, one set of parameters
#
# Three prompts, each with a cycle of its own, and one vector of parameters for all. Policies of three prompts
# with three answers have 6 degrees of freedom. With 6 random features the rule is followed to the Nash
# policies of all three; with 4 it cannot be, and the policy stops elsewhere.


# %%
def cycle(x, y, z):
    return [[0.5, x, 1 - z], [1 - x, 0.5, y], [z, 1 - y, 0.5]]


prompts = cg.PreferenceGame([cycle(0.1, 0.1, 0.2), cycle(0.8, 0.7, 0.9), cycle(0.1, 0.3, 0.1)])
shared = {
    f"{size} features": cg.Parametric(
        rule,
        cg.LogLinear(np.random.default_rng(2).normal(size=(3, 3, size))),
        None,
        optax.sgd(0.15),
        num_fit_steps=300,
    )
    for size in (6, 4)
}
contextual = {name: cg.solve(prompts, learner, 3_000) for name, learner in shared.items()}
for name, run in contextual.items():
    print(f"{name}: parameters {run.state.params.shape}, gap in each prompt {run.duality_gap}")

# %%
_ = cg.plot_gap(contextual).set(xlabel="queries", title="three prompts: median, and quartiles shaded")

# %%
for run in learnt[200].values():
    np.testing.assert_allclose(run.history["logp"], table.history["logp"], rtol=0, atol=1e-9)
for run in learnt[2].values():
    assert np.abs(run.history["logp"] - table.history["logp"]).max() > 1e-2
np.testing.assert_allclose(by_sgd, by_mirror, rtol=0, atol=1e-12)
assert np.abs(by_sgd - by_half).max() > 1e-2
change = multiplier(np.array(num_fits)) ** (num_rounds / period)
assert (late[change < 1e-3] < 1e-3).all()
assert (late[change > 10] > 0.05).all()
assert runs_by_pairs["policy"].duality_gap < 1e-9
np.testing.assert_allclose(runs_by_pairs["uniform"].policy, [0, 0, 1], atol=1e-6)
np.testing.assert_allclose(contextual["6 features"].policy, cg.nash(prompts).policy, atol=1e-8)
assert contextual["4 features"].duality_gap.max() > 1e-2
