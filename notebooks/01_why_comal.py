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
# # 01. Why COMAL
#
# Self-play rules for alignment play a policy against itself and step towards what wins. On preferences that
# are not a ranking, most of them never arrive. Why not, and what does moving the reference change?

# %%
import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt
import numpy as np

import comalgames as cg

# %% [markdown]
# ## Three answers, no best one
#
# b beats a and c beats b, 90% each; a beats c, 80%. The Nash policy, (4, 3, 4)/11, is the one mixture that
# wins half of the time against each of them.

# %%
game = cg.games.comal_cycle()
nash = cg.nash(game)
start = [0.2, 0.5, 0.3]
print("Nash policy times 11:", 11 * nash.policy)
print("win rates against it:", 0.5 + np.asarray(game.advantage(nash.logp)))

# %% [markdown]
# ## Rules without a reference spiral out
#
# Iterative IPO and SPPO multiply each answer's probability by exp(step * advantage): as tables, the two are
# one rule, multiplicative weights. Iterative DPO fits rewards instead; with beta 4 its steps are about as
# long. We record the distance KL(Nash, policy), and what theory says it grows by in a step of size 1:
# log E exp(advantage), the mean over the policy's own answers.


# %%
def growth(game, logp):
    return jax.nn.logsumexp(logp + game.advantage(logp), axis=-1)


watch = {"policy": "policy", "KL": cg.kl_to(nash.logp), "growth": growth}
cycling = cg.solve(game, cg.IterativeIPO(tau=1.0), 1_000, init=start, metrics=watch)
sppo = cg.solve(game, cg.SPPO(step_size=1.0), 1_000, init=start)
print("largest difference between iterative IPO and SPPO:", np.abs(sppo.policy - cycling.policy).max())
predicted = cycling.history["KL"][0] + np.cumsum(cycling.history["growth"])[:-1]

# %% [markdown]
# Advantages have mean 0 under the policy, so the mean of their exponentials is above 1 at every policy but
# Nash: each step leads away, whatever its size. The *average* of all policies does approach Nash, but slowly;
# and for a language model it means to keep every checkpoint and to answer with one drawn at random.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
steps = cycling.steps[1:]
left.plot(steps, predicted, color="0.75", linewidth=5, label="start + growth that theory predicts")
left.plot(steps, cycling.history["KL"][1:], color="#0072B2", label="measured")
left.set(xlabel="steps", ylabel="KL(Nash, policy)", title="iterative IPO leaves Nash, step by step")
for curve, name, style in (("duality_gap", "last", "-"), ("average_duality_gap", "average", "--")):
    right.loglog(steps, cycling.history[curve][1:], style, label=f"{name} policy")
right.set(xlabel="steps", ylabel="duality gap", title="only the average improves")
for ax in (left, right):
    ax.legend(frameon=False)

# %% [markdown]
# ## A fixed reference stops short
#
# INPO also pulls towards a reference, with strength tau. It converges: to the equilibrium of the
# *regularized* game, which `qre` finds directly. That one can be beaten. A smaller tau brings it closer to
# Nash and makes it slower: even with the best step for each tau, a tau ten times smaller asks for about a
# hundred times more queries.

# %%
w2 = 5.28 / 121  # squared rotation frequency of this game at Nash: see notebook 05
temperatures = (0.1, 0.03, 0.01)
equilibria = {tau: cg.qre(game, tau, reference=start).policy for tau in temperatures}
needed = {}
for tau, equilibrium in equilibria.items():
    inpo = cg.solve(game, cg.INPO(eta=tau + w2 / tau, tau=tau), 20_000, init=start)
    np.testing.assert_allclose(inpo.policy, equilibrium, atol=1e-9)
    gap = cg.duality_gap(game, np.log(equilibrium))
    far = np.abs(inpo.history["duality_gap"] - gap) > 0.01 * gap
    needed[tau] = inpo.queries[far].max()
    print(
        f"tau {tau}: gap of the equilibrium {gap:.4f}, of INPO's policy within 1% after {needed[tau]} queries"
    )

# %% [markdown]
# ## Move the reference
#
# COMAL runs such a rule for some steps, moves the reference to the policy reached, and goes on. Solve each
# regularized game exactly, and KL(Nash, policy) never increases, at any temperature; smaller ones are faster.

# %%
exact = {
    f"tau {tau:g}": cg.solve(game, cg.COMAL(cg.ExactProx(tau), period=1), 60, init=start, metrics=watch)
    for tau in (0.1, 0.3, 1.0)
}
_ = cg.plot_gap(exact, x="steps", curve="KL").set(
    title="COMAL, exact: KL only falls", xlabel="moves of the reference", ylabel="KL(Nash, policy)"
)

# %% [markdown]
# One need not solve anything exactly: 20 steps of the very same mirror descent as INPO's do. (How many are
# enough is the subject of notebook 05.) All methods, against what they spend; an exact solve reads the whole
# matrix, which counts as three queries here:

# %%
rules = {
    "iterative IPO = SPPO": cg.IterativeIPO(tau=1.0),
    "iterative DPO": cg.IterativeDPO(beta=4.0),
    "INPO, tau 0.1": cg.INPO(eta=1.0, tau=0.1),
    "INPO, tau 0.01": cg.INPO(eta=0.01 + w2 / 0.01, tau=0.01),
    "COMAL, 20 steps": cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1), period=20),
    "COMAL, exact": cg.COMAL(cg.ExactProx(0.1), period=1),
}
runs = {name: cg.solve(game, rule, 600, init=start, metrics=watch) for name, rule in rules.items()}
_ = cg.plot_gap(runs).set_xlim(0, 600)

# %%
shown = ("iterative IPO = SPPO", "iterative DPO", "INPO, tau 0.1", "COMAL, 20 steps")
paths = {name: cg.solve(game, rules[name], 100, init=start, metrics=watch) for name in shown}
_ = cg.plot_simplex(paths, nash.policy, game.names)

# %% [markdown]
# All of it, as numbers:

# %%
grown = np.diff(cycling.history["KL"])
np.testing.assert_allclose(grown, cycling.history["growth"][:-1], rtol=1e-9, atol=1e-14)
assert (grown > 0).all()
np.testing.assert_allclose(sppo.logp, cycling.logp)
assert all(runs[name].history["duality_gap"][-100:].max() > 0.5 for name in shown[:2])
assert 0 < cycling.history["average_duality_gap"][-1] < 0.03
assert 0.05 < runs["INPO, tau 0.1"].duality_gap < 0.07
assert needed[0.01] > 50 * needed[0.1]
assert all((np.diff(run.history["KL"]) < 1e-15).all() for run in exact.values())
assert runs["COMAL, 20 steps"].duality_gap < 1e-11
assert runs["COMAL, exact"].duality_gap < 1e-11
