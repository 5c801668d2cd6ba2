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
# # 02. Your own regularizer in five lines
#
# A regularizer is any differentiable function of a policy `p` and a reference, on plain probabilities. Write
# it as the paper writes it; JAX takes the gradient. Put it into `RegularizedMirrorDescent`, and that into
# `COMAL`.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp

import comalgames as cg


# %%
def chi_squared(p, reference):
    return jnp.sum((p - reference) ** 2 / reference)


mine = cg.RegularizedMirrorDescent(step_size=1.0, temperature=0.1, regularizer=chi_squared)

# %% [markdown]
# Alone, a regularized rule stops at the equilibrium of its regularized game. Which one that is depends on the
# regularizer.

# %%
game = cg.games.rock_paper_scissors(3, 1, 1)
start = [0.2, 0.5, 0.3]
built_in = {
    name: cg.RegularizedMirrorDescent(1.0, 0.1, regularizer)
    for name, regularizer in (("KL", cg.regularizers.kl), ("forward KL", cg.regularizers.forward_kl))
}
alone = {
    name: cg.solve(game, rule, 2_000, init=start, metrics=["policy"])
    for name, rule in {"my chi-squared": mine, **built_in}.items()
}
_ = cg.plot_gap(alone, x="steps").set_title("alone: each stops at its own regularized equilibrium")

# %% [markdown]
# Inside COMAL, the reference moves to the policy reached, every 50 steps. Now every one of them reaches Nash.

# %%
inside = {
    f"COMAL, {name}": cg.solve(game, cg.COMAL(rule, period=50), 20_000, init=start, metrics=["policy"])
    for name, rule in {"my chi-squared": mine, **built_in}.items()
}
inside["multiplicative weights"] = cg.solve(game, cg.MWU(1.0), 20_000, init=start)
_ = cg.plot_gap(inside).set_title("inside COMAL: all reach Nash")

# %%
_ = cg.plot_simplex(
    {name: result for name, result in inside.items() if "policy" in result.history},
    cg.nash(game).policy,
    game.names,
)

# %%
assert all(result.history["duality_gap"][-1] > 1e-3 for result in alone.values())
assert inside["COMAL, my chi-squared"].history["duality_gap"][-1] < 1e-11
