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
# # 08. From table to language model
#
# A language model has no table of probabilities to move. It has a few sampled answers to a prompt, their
# log-probabilities, and a loss. What carries over is the rule: the object that a table follows also says
# where the log-probabilities of sampled answers should go.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt
import numpy as np

import comalgames as cg

rule = cg.COMAL(cg.INPO(eta=0.5, tau=0.1), period=10)

# %% [markdown]
# ## What a trainer logs
#
# For this rule it keeps two models and logs, for each sampled answer, its log-probability under both: the
# last one (`logp`) and the reference.

# %%
cg.lm.policies_of(rule)

# %% [markdown]
# Three answers to one prompt, long ones, so that their log-probabilities are far below 0. The last model drew
# them; a judge prefers the first to the second, the second to the third and the third to the first.

# %%
last = np.array([-31.2, -28.4, -35.0])
reference = np.array([-30.1, -29.9, -33.8])
judged = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])

answers = cg.Candidates(judged, behaviour_logp=last)
goal = cg.lm.targets(rule, None, {"logp": last, "reference": reference}, answers)
print("target", goal.target)  # where the rule would go, up to a constant
print("anchor", goal.anchor)  # where it would go if no answer were better than another

# %% [markdown]
# A trainer then minimizes a loss on its model's log-probabilities of the same answers, which is 0 at the
# target. The first argument may be a torch tensor with a gradient.

# %%
print("loss at the last model:", cg.lm.losses.regression(last, goal.target))
print("loss at the target:    ", cg.lm.losses.regression(goal.target, goal.target))

# %% [markdown]
# And it asks when the reference is to become the model *reached*: here after every tenth round.

# %%
print([todo.round for todo in cg.lm.schedule(rule, 30) if "reference" in todo.stores])

# %% [markdown]
# ## A model that can be checked
#
# A transformer with two prompts, whose answers are two tokens out of three: nine answers, so its policy, its
# duality gap and the Nash policies are known exactly. For each prompt three answers beat each other in a
# cycle.

# %%
tiny = cg.lm.tiny
rng = np.random.default_rng(0)


def prompt_game():
    skew = np.zeros((9, 9))
    skew[:3, 3:] = rng.uniform(0.2, 0.4, (3, 6))  # three good answers beat the others
    skew[[0, 1, 2], [1, 2, 0]] = rng.uniform(0.3, 0.45, 3)  # and each other, in a cycle
    places = rng.permutation(9)
    return (skew - skew.T)[places][:, places]


game = cg.PreferenceGame(0.5 + np.stack([prompt_game(), prompt_game()]))
model = tiny.Transformer(jax.random.key(0), num_prompts=2, width=16)
print(np.exp(model.answers_logp()).round(2))  # the first policy, one row a prompt

# %% [markdown]
# ## One round
#
# A hundred steps of Adam towards the rule's target. The *fit residual* is the share of the way that they
# left. A learning rate that is too small shows here first, for the optimizer is the real step size.

# %%
for learning_rate in (1e-4, 1e-3, 1e-2):
    fit = tiny.Fit("regression", learning_rate, num_steps=100)
    run = tiny.train(game, rule, model, 1, fit)
    print(f"learning rate {learning_rate:g}: fit residual {np.asarray(run.fit_residual)[0].round(3)}")

# %% [markdown]
# ## Many rounds, beside the table
#
# The same rule object again, once on a table that starts at the network's first policy and once on the
# network. Each rule trains on its published loss: COMAL and INPO on a regression, SPPO on its pointwise one.

# %%
methods = {
    "COMAL": (rule, "regression"),
    "INPO": (cg.INPO(eta=0.5, tau=0.1), "regression"),
    "SPPO": (cg.SPPO(step_size=2.0), "pointwise"),
}
num_rounds = 50
start = np.exp(model.answers_logp())

fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for name, (each, loss) in methods.items():
    run = tiny.train(game, each, model, num_rounds, tiny.Fit(loss, 1e-2, 100))
    table = cg.solve(game, each, num_rounds, init=start)
    (line,) = ax.semilogy(run.duality_gap.mean(-1), label=f"{name}, network")
    predicted = table.history["duality_gap"].mean(-1)
    ax.semilogy(predicted, ":", color=line.get_color(), label=f"{name}, table")
ax.set_xlabel("rounds")
ax.set_ylabel("duality gap, mean of two prompts")
_ = ax.legend()

# %% [markdown]
# SPPO cycles, INPO stops at the equilibrium of its regularized game, and COMAL reaches Nash: the network
# does what the table predicts, as long as each round's training gets near its target.
#
# `comalgames reproduce lm` measures this for five rules and several networks, also with answers drawn by the
# network and each pair compared once.
