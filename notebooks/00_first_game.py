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
# # 00. A first game
#
# Three answers, and people prefer b to a (90%), c to b (90%) and a to c (80%). No answer is best. Which
# mixture of them cannot be beaten, and which learning rule finds it?

# %%
import jax

jax.config.update("jax_enable_x64", True)  # gaps below 1e-6 need float64; must come before any array is made

import comalgames as cg

# %% [markdown]
# `preference[i, j]` is how often answer i is preferred to answer j. The Nash policy wins half of the time
# against everything; `nash` finds it exactly and says how sure it is.

# %%
game = cg.PreferenceGame([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]], names=("a", "b", "c"))
truth = cg.nash(game)
print(truth)

# %% [markdown]
# Now let rules learn it. All start from the same policy; `num_steps` is 2,000.

# %%
rules = {
    "COMAL": cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1)),
    "INPO": cg.INPO(eta=1.0, tau=0.1),
    "multiplicative weights": cg.MWU(step_size=1.0),
}
results = {
    name: cg.solve(game, rule, 2_000, init=[0.2, 0.5, 0.3], metrics=["policy"])
    for name, rule in rules.items()
}
print(results["COMAL"])

# %% [markdown]
# The duality gap is what an opponent could gain: 0 at Nash. COMAL gets there, INPO stops at the equilibrium
# of its regularized game, multiplicative weights (iterative IPO, SPPO) spirals away.

# %%
_ = cg.plot_gap(results)

# %%
_ = cg.plot_simplex(
    {name: result for name, result in results.items() if name != "multiplicative weights"},
    truth.policy,
    game.names,
)

# %%
assert results["COMAL"].history["duality_gap"][-1] < 1e-11
assert 0.05 < results["INPO"].history["duality_gap"][-1] < 0.07
assert results["multiplicative weights"].history["duality_gap"][-1] > 0.5
