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
# inwards harder. Both fit into one complex number, and that number predicts which settings work.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import comalgames as cg
import comalgames.diagnostics

# %% [markdown]
# ## How fast the game turns
#
# Near a policy p, a step of size eta adds eta times `skew (diag p - p p^T)` to what is off (skew: win rates
# minus 1/2). The eigenvalues of that matrix are 0 and +- i w: w is the angle, in radians, by which a step of
# size 1 turns.

# %%
game = cg.games.comal_cycle()
start = [0.2, 0.5, 0.3]
tau = 0.1
nash = cg.nash(game)
equilibrium = np.log(cg.qre(game, tau, reference=start))
(w_nash,) = cg.diagnostics.rotation_frequencies(game, nash.logp)
(w,) = cg.diagnostics.rotation_frequencies(game, equilibrium)
print(f"w is {w_nash:.4f} at Nash and {w:.4f} at the equilibrium regularised with tau {tau}")

# %% [markdown]
# ## Multiplicative weights and mirror descent
#
# A step multiplies what is off by
#
# - 1 + i eta w for multiplicative weights (iterative IPO, SPPO). Its modulus is above 1 for every eta.
# - 1 - eta tau + i eta w for mirror descent on the regularised game (INPO). Its modulus is below 1 exactly
#   for eta < 2 tau / (tau^2 + w^2); larger steps spiral out as well.
#
# `spectrum` measures these numbers by differentiating the rule. And runs of 5,000 steps, from a start that is
# not near, end where the formula says.


# %%
def modulus(rule, logp, reference):
    return np.abs(cg.diagnostics.spectrum(game, rule, logp, reference=reference)).max()


limit = 2 * tau / (tau**2 + w**2)
etas, dots = np.linspace(0.1, 5.5, 48), np.linspace(0.5, 5.5, 11)
of_mwu = [modulus(cg.MWU(eta), nash.logp, None) for eta in dots]
of_mirror = [modulus(cg.MirrorDescent(eta, tau), equilibrium, np.log(start)) for eta in dots]
runs = cg.sweep(
    game,
    cg.grid(cg.MirrorDescent, step_size=etas, temperature=tau),
    5_000,
    init=start,
    metrics={"kl": cg.kl_to(equilibrium)},
    record_every=5_000,
)
kl = runs["kl"].isel(game=0, seed=0, record=-1).values

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.plot(etas, np.abs(1 + 1j * etas * w_nash), color="#D55E00", label="multiplicative weights")
left.plot(etas, np.abs(1 - etas * tau + 1j * etas * w), color="#0072B2", label="mirror descent, tau 0.1")
left.plot(dots, of_mwu, "s", dots, of_mirror, "o", color="black", markersize=3.5)
left.axhline(1, color="0.6", linewidth=0.8)
left.set(xlabel="step size", ylabel="modulus", title="a step's multiplier (dots: measured)")
right.semilogy(etas, np.maximum(kl, 1e-18), "o", color="#0072B2", markersize=3.5, label="after 5,000 steps")
right.set(xlabel="step size", ylabel="KL(equilibrium, policy)", title="mirror descent, tau 0.1")
for ax in (left, right):
    ax.axvline(limit, color="0.3", linestyle="--", linewidth=1, label="2 tau / (tau^2 + w^2)")
    ax.legend(frameon=False)

# %% [markdown]
# ## COMAL: how many inner steps?
#
# With infinitely many inner steps, moving the reference multiplies what is off Nash by g = tau / (tau - i w),
# always below 1 in modulus. After K steps of mirror descent of size s, lambda^K of the way is still missing,
# lambda = 1 - s tau + i s w, so that a whole round multiplies by g + lambda^K (1 - g). An algorithm is a
# pytree: two `vmap`s over its constructor run all s and all K in one compiled program.


# %%
def final_gap(step_size, period):
    rule = cg.COMAL(cg.MirrorDescent(step_size, tau), period)
    logp = jnp.log(jnp.array(start))
    return cg.trajectory(game, rule, 20_000, logp=logp, record_every=20_000).records["duality_gap"][-1]


steps, periods = np.linspace(0.1, 5, 50), np.arange(1, 41)
of_step = jax.vmap(final_gap, in_axes=(0, None))
gaps = np.asarray(jax.jit(jax.vmap(of_step, in_axes=(None, 0)))(steps, periods))


def per_round(s, K):
    g = tau / (tau - 1j * w_nash)
    return np.abs(g + (1 - s * tau + 1j * s * w_nash) ** K * (1 - g))


s, K = np.linspace(0.1, 5, 400), np.linspace(1, 40, 400)
calm = s[s < 0.7 * 2 * tau / (tau**2 + w_nash**2)]
enough = np.array([cg.MirrorDescent(size, tau).shortest_period for size in calm])

# %%
figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
image = ax.pcolormesh(steps, periods, np.log10(np.maximum(gaps, 1e-16)), cmap="cividis", shading="nearest")
ax.contour(s, K, per_round(s, K[:, None]), levels=[1], colors="#E8000B", linewidths=1.8)
ax.plot([], [], color="#E8000B", linewidth=1.8, label="|g + lambda^K (1 - g)| = 1")
ax.plot(calm, enough, "--", color="white", linewidth=2, label="max(4, 0.6/m, 2/sqrt(m))")
ax.set(
    xlabel="step size s",
    ylabel="inner steps K",
    ylim=(0.5, 40.5),
    title="COMAL after 20,000 queries, tau 0.1",
)
ax.legend(loc="center left", bbox_to_anchor=(0.16, 0.5), fontsize=9, facecolor="0.35", labelcolor="white")
figure.colorbar(image, label="log10 of the duality gap")

# %% [markdown]
# Yellow is where COMAL cycles: with too few inner steps, which turn before they come near, and in most places
# where the inner solver is itself unstable (right of step 3.7). Grey is slow. Without knowing w, one is
# safe above the dashed line, where m = s tau is the weight of the reference. This is `rule.shortest_period`,
# below which `solve` warns; it holds up to 0.7 of the step at which the inner solver becomes unstable.

# %%
np.testing.assert_allclose(of_mwu, np.abs(1 + 1j * dots * w_nash), rtol=1e-9)
np.testing.assert_allclose(of_mirror, np.abs(1 - dots * tau + 1j * dots * w), rtol=1e-9)
assert (kl[etas < 0.95 * limit] < 1e-15).all()
assert (kl[etas > 1.02 * limit] > 1e-3).all()
factor = per_round(steps, periods[:, None])
assert (gaps[factor < 0.95] < 1e-9).all()
assert (gaps[factor > 1.01] > 1e-2).all()
assert (per_round(calm, np.ceil(enough)) < 1).all()
