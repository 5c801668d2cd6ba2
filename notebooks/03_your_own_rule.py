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
# # 03. Your own update rule in ten lines
#
# A rule is one method, `propose`: given the current policy and something to ask, where should the policy go?
# As an example we write Nash-MD (Munos et al., 2023): mix policy and reference, ask how each answer does
# against the *mixture*, and step from the mixture:
#
#     mixture ~ policy^(1 - eta tau) * reference^(eta tau)
#     policy' ~ mixture * exp(eta * advantage(mixture))

# %%
import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt
import numpy as np

import comalgames as cg


# %%
class MyNashMD(cg.AbstractUpdateRule):
    step_size: float
    temperature: float

    def form(self, step):
        return cg.Form(pull=self.step_size * self.temperature, step="step_size")

    def propose(self, key, state, feedback):
        pull = self.step_size * self.temperature
        mixture = jax.nn.log_softmax((1 - pull) * state.logp + pull * state.reference)
        return mixture + self.step_size * feedback.advantage(key, mixture), state


# %% [markdown]
# Policies are log-probabilities. The opponent must be normalized, hence `log_softmax`; the target that
# `propose` returns need not be. `form` states the numbers of the rule that others read: `pull`, the weight of
# the reference in one step, tells `COMAL` that there is a reference to move, and `step` names the field that
# `diagnose` varies. Everything else (`solve`, `sweep`, `vmap`, several prompts) works as for any other rule.

# %%
game = cg.games.comal_cycle()
start = [0.2, 0.5, 0.3]
mine = cg.solve(game, MyNashMD(step_size=1.0, temperature=0.1), 1_000, init=start)
print(mine)

# %% [markdown]
# ## Is it right?
#
# Ask theory for something that only a correct rule satisfies. With a constant step, Nash-MD does not stop at
# the regularized equilibrium of temperature tau; its mixture stops at the one of tau / (1 - eta tau).


# %%
def mixture_of(policy, pull):
    mixed = np.asarray(policy) ** (1 - pull) * np.asarray(start) ** pull
    return mixed / mixed.sum(axis=-1, keepdims=True)


print("mixture        ", mixture_of(mine.policy, 0.1))
print("qre, tau / 0.9 ", cg.qre(game, 0.1 / 0.9, reference=start).policy)
print("qre, tau       ", cg.qre(game, 0.1, reference=start).policy)

# %% [markdown]
# ## Alone and inside COMAL, for many step sizes
#
# `grid` names every combination, `sweep` runs them side by side, compiled once for all of one kind. Alone,
# the larger the step, the further the limit is from the regularized equilibrium. Inside `COMAL` the same rule
# reaches Nash: where the reference is the policy, so is the mixture, and the bias is gone. (The smallest and
# the largest steps are merely slow: 6,000 queries do not yet take them to the last bit.)


# %%
def comal_nash_md(step_size):
    return cg.COMAL(MyNashMD(step_size, temperature=0.1), period=60)


steps = np.geomspace(0.1, 4.0, 12)
alone = cg.grid(MyNashMD, step_size=steps, temperature=0.1)
inside = cg.grid(comal_nash_md, step_size=steps)
runs = cg.sweep(game, {**alone, **inside}, 6_000, init=start, record_every=6_000).isel(game=0, seed=0)

# %%
mixtures = np.array([cg.qre(game, 0.1 / (1 - 0.1 * step), reference=start).policy for step in steps])
# log policy, up to a constant, from log mixture = (1 - pull) log policy + pull log reference
pulls = 0.1 * steps[:, None]
predicted = np.exp((np.log(mixtures) - pulls * np.log(start)) / (1 - pulls))
predicted /= predicted.sum(axis=-1, keepdims=True)
limits = runs["final_policy"].sel(algorithm=list(alone)).values
unbiased = cg.qre(game, 0.1, reference=start).policy

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.loglog(steps, np.abs(predicted - unbiased).max(axis=-1), color="0.75", linewidth=5, label="theory")
left.loglog(steps, np.abs(limits - unbiased).max(axis=-1), "o", color="#0072B2", label="MyNashMD, alone")
left.set(
    xlabel="step size", ylabel="largest difference from qre", title="alone: the bias grows with the step"
)
for rules, name, style in ((alone, "alone", "o-"), (inside, "inside COMAL", "s--")):
    gaps = runs["final_duality_gap"].sel(algorithm=list(rules)).values
    right.loglog(steps, np.maximum(gaps, 1e-17), style, label=name)
right.set(xlabel="step size", ylabel="duality gap after 6,000 queries", title="inside COMAL it reaches Nash")
for ax in (left, right):
    ax.legend(frameon=False)

# %% [markdown]
# A proposal of the wrong shape is refused before anything runs:


# %%
class Forgetful(MyNashMD):
    def propose(self, key, state, feedback):
        return feedback.advantage(key, state.logp).max(), state


try:
    cg.solve(game, Forgetful(1.0, 0.1), 10)
except ValueError as error:
    print(error)

# %%
np.testing.assert_allclose(limits, predicted, atol=1e-10)
assert np.abs(mine.policy - unbiased).max() > 1e-2
assert (runs["final_duality_gap"].sel(algorithm=list(inside)) < 1e-3).all()
assert (runs["final_duality_gap"].sel(algorithm=list(inside)) < 1e-14).sum() > 6
