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
# # 05. Step sizes and inner steps: what diverges, and why
#
# A game without a best answer *turns* policies: near an equilibrium, what is a little off is pushed sideways.
# A rule takes that turn in straight steps, each of which leads outwards; it converges if something else pulls
# inwards harder. Both fit into one complex number, and `cg.diagnose` reads it off the rule itself.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import numpy as np

import comalgames as cg

game = cg.games.comal_cycle()
start = [0.2, 0.5, 0.3]
tau = 0.1
print(cg.diagnostics.conditioning(game))

# %% [markdown]
# w, the rotation frequency, is the angle in radians by which a step of size 1 turns an error.
#
# ## One page for a rule on a game
#
# Before a run: where the rule aims, the factor by which a step multiplies the error, and the step sizes that
# make it shrink. Then one run, and whether it did what was predicted.

# %%
weights = cg.diagnose(game, cg.MWU(step_size=1.0), init=start)
print(weights)

# %%
inpo = cg.diagnose(game, cg.INPO(eta=1.0, tau=tau), init=start)
print(inpo)

# %%
_ = cg.plot_diagnosis(weights)

# %%
_ = cg.plot_diagnosis(inpo)

# %% [markdown]
# Multiplicative weights (iterative IPO, SPPO) multiply the error by 1 + i s w, s the step size: its modulus
# is above 1 for every s. INPO, mirror descent on the regularized game with s = 1 / eta, multiplies it by
# 1 - s tau + i s w: below 1 exactly for s < 2 tau / (tau^2 + w^2), and larger steps spiral out as well. At
# every temperature at once, with 5,000 steps for every pair of numbers:

# %%
mirror = cg.phase_diagram(
    game,
    cg.MirrorDescent,
    x={"step_size": np.geomspace(0.1, 12, 24)},
    y={"temperature": np.geomspace(0.01, 0.4, 16)},
    init=start,
    num_steps=5_000,
)
_ = cg.plot_phase(mirror)

# %% [markdown]
# Light blue is the equilibrium of the regularized game, which is not Nash: the pull of a fixed reference has
# its price.
#
# ## COMAL: how many inner steps?
#
# With infinitely many inner steps, moving the reference multiplies the distance from Nash by
# g = tau / (tau - i w), always below 1 in modulus. After K steps of mirror descent of size s, lambda^K of the
# way is still missing, lambda = 1 - s tau + i s w, so that a whole round multiplies by g + lambda^K (1 - g).
# The black line is where that has modulus 1:

# %%
comal = cg.phase_diagram(
    game,
    lambda step_size, period: cg.COMAL(cg.MirrorDescent(step_size, tau), period),
    x={"step_size": np.geomspace(0.1, 6, 24)},
    y={"period": np.arange(1, 31)},
    init=start,
)
_ = cg.plot_phase(comal)

# %% [markdown]
# Below the line COMAL turns before it has come near; right of it the inner solver is itself unstable. Bands
# are fast because there what the inner steps leave undone cancels what an exact round would leave. The same
# for one pair, with the periods that fail (there can be gaps):

# %%
print(cg.diagnose(game, cg.COMAL(cg.MirrorDescent(step_size=3.5, temperature=tau), period=20), init=start))

# %% [markdown]
# ## No period at all
#
# Without a period COMAL tests how near it is, and moves the reference then. KL from Nash to the reference
# never increases, whatever the step, the temperature and the game; what is left to choose decides how fast.

# %%
tuned = cg.phase_diagram(
    game,
    lambda step_size, temperature: cg.COMAL(cg.MirrorDescent(step_size, temperature)),
    x={"step_size": np.geomspace(0.1, 12, 24)},
    y={"temperature": np.geomspace(0.01, 0.4, 16)},
    init=start,
)
_ = cg.plot_phase(tuned)

# %% [markdown]
# Compare with the first diagram, of its inner rule alone. Where that converges, COMAL now ends at Nash, or is
# on its way there; where it does not, the reference stays where it is, and the policy circles around it. (The
# limit is that at Nash, s < 2 tau / (tau^2 + w^2) with the frequency w there, a little below the first one.)
#
# All of it, as numbers:

# %%
(w,) = weights.prediction.frequencies
np.testing.assert_allclose(weights.prediction.radius, abs(1 + 1j * w), rtol=1e-9)
assert (weights.verdict, weights.outcome) == ("rotates out", "boundary")
assert (inpo.verdict, inpo.outcome) == ("contracts", "other fixed point")
np.testing.assert_allclose(np.log(inpo.fit.rate), np.log(inpo.prediction.rate_per_step), rtol=0.02)

nash, elsewhere, undecided = (
    cg.diagnostics.OUTCOMES.index(o) for o in ("Nash", "other fixed point", "undecided")
)
for found, arrived in ((mirror, elsewhere), (comal, nash)):
    radius, outcome = found["radius"].values, found["outcome"].values
    assert (outcome[radius < 0.95] == arrived).all()
    assert not np.isin(outcome[radius > 1.02], (nash, elsewhere)).any()

s, K = comal["step_size"].values, comal["period"].values[:, None]
g = tau / (tau - 1j * w)
closed = np.abs(g + (1 - s * tau + 1j * s * w) ** K * (1 - g))
np.testing.assert_allclose(comal["radius"].values, closed, rtol=1e-8)

temperatures, steps = tuned["temperature"].values[:, None], tuned["step_size"].values
calm = steps < 0.95 * 2 * temperatures / (temperatures**2 + w**2)
assert np.isin(tuned["outcome"].values[calm], (nash, undecided)).all()
