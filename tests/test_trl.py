"""The TRL adapter follows the same rules: same tokens, same loss, same gradients, and the gap falls."""

import json
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comalgames as cg

for package in ("torch", "trl", "peft"):
    pytest.importorskip(package, reason="the extra `lm` is not installed: make test-lm")

import torch
from peft import LoraConfig
from transformers import PrinterCallback
from trl import DPOTrainer

from comalgames.lm import trl
from comalgames.lm.trl.models import completion_logps

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

import trl_example as example
from trl_rounds import follow

# Other people's packages warn of each other; ours are errors as everywhere.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
]

SMALL = {
    "learning_rate": 0.01, "per_device_train_batch_size": 8, "num_train_epochs": 1, "use_cpu": True,
    "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True, "logging_strategy": "no",
    "save_strategy": "no",
}  # fmt: skip
INPO = cg.INPO(eta=1.7, tau=0.3)
PROMPTS = list(example.PROMPTS) * 2


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something asks for the network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def tokenizer():
    return example.word_tokenizer()


@pytest.fixture(scope="module")
def start(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model") / "start"
    example.first_model(folder, tokenizer)
    return folder


@pytest.fixture
def double(start):
    """The model in float64, so that formulas can be compared to the last digits."""
    torch.set_default_dtype(torch.float64)
    yield lambda: trl.load(start).double()
    torch.set_default_dtype(torch.float32)


ANSWERS = [["a", "b c", "c"], ["b", "a", "a b"], ["c c", "b", "a"], ["a", "c", "b a"]]
WINS = np.array([[0.5, 0.9, 0.0], [0.1, 0.5, 1.0], [1.0, 0.0, 0.5]])
PREFERENCE = np.stack([WINS, WINS.T, WINS, WINS.T])


def lesson_of(rule, model, tokenizer, num_prompts=4, **changes):
    """The dataset of a round that began with `model`, and what it is made of."""
    prompts, answers, wins = PROMPTS[:num_prompts], ANSWERS[:num_prompts], PREFERENCE[:num_prompts]
    logp = trl.sequence_logps(model, tokenizer, prompts, answers)
    shift = np.linspace(-0.3, 0, logp.size).reshape(logp.shape)
    policies = {"logp": logp, "reference": logp + shift}
    policies = {name: policies[name] for name in cg.lm.policies_of(rule)}
    feedback = cg.Candidates(wins, logp)
    goal = cg.lm.targets(rule, None, policies, feedback)
    return Lesson(trl.build_dataset(prompts, answers, feedback, goal, **changes), goal, logp)


class Lesson(NamedTuple):
    dataset: Any
    goal: Any
    logp: Any


def trainer_of(model, dataset, tokenizer, folder, peft_config=None, **settings):
    args = trl.PreferenceConfig(str(folder), **{**SMALL, **settings})
    trainer = trl.PreferenceTrainer(
        model, args=args, train_dataset=dataset, processing_class=tokenizer, peft_config=peft_config,
        data_collator=trl.PreferenceCollator(tokenizer.pad_token_id, args.max_length),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def whole_batch(trainer):
    return trainer.data_collator([trainer.train_dataset[k] for k in range(len(trainer.train_dataset))])


# The same numbers as the rule's
# ------------------------------------------------------------------------------------------


CASES = {
    "INPO": (INPO, {"loss": "regression"}),
    "COMAL": (cg.COMAL(INPO, 12), {"loss": "regression"}),
    "EGPO": (cg.Extragradient(0.7, 0.2), {"loss": "regression"}),
    "SPPO": (cg.SPPO(1000.0), {"loss": "pointwise"}),
    "DPO": (cg.IterativeDPO(0.3), {"loss": "logistic"}),
    "damped DPO": (cg.COMAL(INPO, 5), {"loss": "logistic"}),
}


class Logits:
    """A model that says what it was told to, so that gradients can be compared to the last digits."""

    def __init__(self, batch):
        shape = (*batch["input_ids"].shape, len(example.VOCABULARY))
        self.logits = torch.randn(shape, generator=torch.manual_seed(1), requires_grad=True)

    def __call__(self, **inputs):
        return self


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_jax_rules_on_the_same_log_probabilities(name, double, tokenizer, tmp_path):
    rule, settings = CASES[name]
    lesson = lesson_of(rule, double(), tokenizer)
    trainer = trainer_of(double(), lesson.dataset, tokenizer, tmp_path, **settings)
    batch = whole_batch(trainer)
    model = Logits(batch)
    loss = trainer.compute_loss(model, batch)
    (found,) = torch.autograd.grad(loss, model.logits)

    logp = torch.stack(completion_logps(model, batch, False).chunk(2), -1)
    data = trainer.train_dataset
    prompts = np.array(data["prompt_number"])
    pairs = np.stack([data["chosen_number"], data["rejected_number"]], -1)

    def of_rule(logp):
        anchor = np.asarray(lesson.goal.anchor)[prompts[:, None], pairs]
        if settings["loss"] == "logistic":
            wins = PREFERENCE[prompts[:, None, None], pairs[:, :, None], pairs[:, None, :]]
            return jnp.mean(cg.lm.losses.logistic(logp, anchor, wins, {"DPO": 0.3, "damped DPO": 1.7}[name]))
        target = np.asarray(lesson.goal.target)[prompts[:, None], pairs]
        return jnp.mean(getattr(cg.lm.losses, settings["loss"])(logp, target))

    value, slope = jax.value_and_grad(of_rule)(jnp.asarray(logp.detach().numpy()))
    assert loss.item() == pytest.approx(float(value), rel=1e-12)
    (expected,) = torch.autograd.grad(logp, model.logits, torch.tensor(np.asarray(slope)))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_pair_with_a_hard_label_is_the_published_loss(double, tokenizer, tmp_path):
    """INPO: (log-ratio of winner to loser beside both policies, minus 1 / (2 eta))^2, in plain arithmetic."""
    model = double()
    prompts, answers = PROMPTS[:2], [["a", "b c"]] * 2
    logp = trl.sequence_logps(model, tokenizer, prompts, answers)
    hard = np.array([[[0.5, 0.0], [1.0, 0.5]]] * 2)
    policies = {"logp": logp, "reference": logp - [[0.0, 0.4]]}
    feedback = cg.Candidates(hard, logp)
    goal = cg.lm.targets(INPO, None, policies, feedback)
    dataset = trl.build_dataset(prompts, answers, feedback, goal)
    assert dataset["chosen"] == ["b c", "b c"]
    trainer = trainer_of(model, dataset, tokenizer, tmp_path)
    m = 0.3 / 1.7
    h = logp - m * policies["reference"] - (1 - m) * logp
    published = np.mean((h[:, 1] - h[:, 0] - 1 / (2 * 1.7)) ** 2)
    found = trainer.compute_loss(trainer.model, whole_batch(trainer)).item()
    assert found == pytest.approx(published, rel=1e-10)


def columns_of(data, side, logp):
    return logp[np.array(data["prompt_number"]), np.array(data[f"{side}_number"])]


def test_the_columns_are_of_the_tokens_that_trl_trains_on(start, tokenizer, tmp_path):
    """TRL's own log-probabilities before training are those of the last iterate's columns."""
    model = trl.load(start)
    lesson = lesson_of(INPO, model, tokenizer)
    data, logp = trainer_of(model, lesson.dataset, tokenizer, tmp_path).train_dataset, lesson.logp
    for side in ("chosen", "rejected"):
        np.testing.assert_allclose(data[f"ref_{side}_logps"], columns_of(data, side, logp), rtol=1e-5)


CHAT = (
    "{% for m in messages %}{{ 'first ' if m['role'] == 'user' else 'second ' }}{{ m['content'] }}"
    "{{ '</s>' if m['role'] == 'assistant' else ' ' }}{% endfor %}"
    "{{ 'second ' if add_generation_prompt else '' }}"
)


def test_chat_prompts_are_split_where_trl_splits_them(start, tmp_path):
    tokenizer = example.word_tokenizer()
    tokenizer.chat_template = CHAT
    model = trl.load(start)
    prompts = [[{"role": "user", "content": word}] for word in ("a", "b a")]
    answers = [["a b", "c"], ["c", "b"]]
    logp = trl.sequence_logps(model, tokenizer, prompts, answers)
    rule = cg.MWU(1.0)
    feedback = cg.Candidates(PREFERENCE[:2, :2, :2], logp)
    goal = cg.lm.targets(rule, None, {"logp": logp}, feedback)
    dataset = trl.build_dataset(prompts, answers, feedback, goal)
    data = trainer_of(model, dataset, tokenizer, tmp_path).train_dataset
    for side in ("chosen", "rejected"):
        np.testing.assert_allclose(data[f"ref_{side}_logps"], columns_of(data, side, logp), rtol=1e-5)
    assert len(trl.generate(model, tokenizer, prompts, 2, 3, seed=0)) == 2


def test_averages_are_an_option_that_reaches_columns_and_loss(double, tokenizer, tmp_path):
    model = double()
    summed = trl.sequence_logps(model, tokenizer, PROMPTS, ANSWERS)
    averaged = trl.sequence_logps(model, tokenizer, PROMPTS, ANSWERS, average=True)
    num_tokens = np.array([[len(answer.split()) + 1 for answer in row] for row in ANSWERS])
    np.testing.assert_allclose(averaged * num_tokens, summed, rtol=1e-12)
    feedback = cg.Candidates(PREFERENCE, averaged)
    goal = cg.lm.targets(cg.MWU(1.0), None, {"logp": averaged}, feedback)
    dataset = trl.build_dataset(PROMPTS, ANSWERS, feedback, goal)
    trainer = trainer_of(model, dataset, tokenizer, tmp_path, average_log_probs=True)
    expected = float(np.mean(cg.lm.losses.regression(averaged, goal.target)))
    assert trainer.compute_loss(trainer.model, whole_batch(trainer)).item() == pytest.approx(
        expected, rel=1e-10
    )


def test_answers_are_drawn_by_the_policy_whatever_its_generation_config_says(start, tokenizer):
    """Shares of a, b, c among 1200 answers to either prompt: within 4 standard errors of .2, .5, .3."""
    model = trl.load(start)
    config = model.generation_config
    config.top_k, config.temperature, config.suppress_tokens, config.epsilon_cutoff = 1, 0.1, [5], 0.25
    answers = trl.generate(model, tokenizer, example.PROMPTS, 1200, 3, seed=3)
    p = np.exp(example.exact_logp(start, tokenizer))[:, :3]
    for row, of_prompt in enumerate(answers):
        shares = np.array([sum(a[:1] == word for a in of_prompt) for word in example.WORDS]) / 1200
        assert np.all(np.abs(shares - p[row]) < 4 * np.sqrt(p[row] * (1 - p[row]) / 1200))
    assert trl.generate(model, tokenizer, example.PROMPTS, 5, 3, seed=3) != answers
    again = trl.generate(model, tokenizer, example.PROMPTS, 1200, 3, seed=3)
    assert again == answers
    assert (config, config.top_k) == (model.generation_config, 1)


# Training
# ------------------------------------------------------------------------------------------


def test_only_compute_loss_is_overridden_and_no_second_model_is_held(start, tokenizer, tmp_path):
    own = {name for name in vars(trl.PreferenceTrainer) if not name.startswith("__")}
    assert own - {"_abc_impl", "_tag_names"} == {"compute_loss"}
    assert issubclass(trl.PreferenceTrainer, DPOTrainer)
    model = trl.load(start)
    trainer = trainer_of(model, lesson_of(INPO, model, tokenizer).dataset, tokenizer, tmp_path)
    assert trainer.ref_model is None


def test_accumulated_batches_make_the_step_of_the_whole(start, tokenizer, tmp_path):
    """Twelve pairs at once, or three at a time in four accumulated batches, with plain gradient descent."""
    reached = []
    for size, accumulated in ((12, 1), (3, 4)):
        model = trl.load(start)
        lesson = lesson_of(INPO, model, tokenizer)
        trainer = trainer_of(
            model, lesson.dataset, tokenizer, tmp_path / str(size), per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulated, optim="sgd", learning_rate=0.1,
            lr_scheduler_type="constant", max_grad_norm=0.0,
        )  # fmt: skip
        trainer.train()
        assert trainer.state.global_step == 1
        reached.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    before = torch.cat([p.detach().flatten() for p in trl.load(start).parameters()])
    assert (reached[0] - before).abs().max() > 1e-3
    torch.testing.assert_close(reached[0], reached[1], rtol=0, atol=1e-6)


def test_training_goes_towards_the_target(start, tokenizer, tmp_path):
    """Each prompt once: several sets of answers to one would ask for several things of the same answer."""
    model = trl.load(start)
    lesson = lesson_of(cg.MWU(0.5), model, tokenizer, num_prompts=2)
    trainer = trainer_of(model, lesson.dataset, tokenizer, tmp_path, num_train_epochs=150)
    trainer.train()
    reached = trl.sequence_logps(trainer.model, tokenizer, PROMPTS[:2], ANSWERS[:2])
    np.testing.assert_array_equal(cg.lm.fit_residual(lesson.logp, lesson.goal.target, lesson.logp), 1)
    assert np.all(cg.lm.fit_residual(reached, lesson.goal.target, lesson.logp) < 0.3)


# The example
# ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("run")
    return folder, example.main(folder, rounds=4)


def test_the_gap_falls_round_by_round(run):
    gaps = run[1]
    assert gaps[0] == pytest.approx(0.25, abs=1e-3)  # the start's: (.28 + .22) / 2
    assert gaps[1] < gaps[0]
    assert gaps[2] < gaps[1]
    assert gaps[4] < 0.6 * gaps[0]


def test_every_round_leaves_a_folder_with_its_log_and_safetensors(run):
    for number in range(4):
        folder = run[0] / f"round-{number:03d}"
        assert (folder / "model.safetensors").exists()
        assert not list(folder.glob("*.bin")) + list(folder.glob("*.pt"))
        log = json.loads((folder / "round.json").read_text())
        assert log["round"] == number
        assert log["generations"] == 64 * 16
        assert 0 < log["judge_calls"] <= 64 * 120
        # Two stored policies and the one reached; TRL's pass before training and six of training.
        assert log["forward_passes"] == 3 * 1024 + 7 * 1024
        assert 0 < log["kl_last"] < 1
        # The pull to the reference may cost a little; the first round only gains.
        assert (0.5 if number == 0 else 0.45) < log["win_rate_last"] < 0.7
        assert 0 < log["fit_residual"] < 1
    assert not list(run[0].glob("*.unfinished"))


def test_a_finished_round_is_not_done_again_and_an_unfinished_one_is(run, monkeypatch, capsys):
    folder, gaps = run
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    (folder / "round-004.unfinished").mkdir()
    drawn = []
    generate = trl.generate
    monkeypatch.setattr(trl, "generate", lambda *args: drawn.append(args) or generate(*args))
    again = example.main(folder, rounds=5)
    assert again[:5] == gaps
    assert len(drawn) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for change in ({"rule": INPO}, {"learning_rate": 1.0}):
        with pytest.raises(ValueError, match=r"is of another run, \(COMAL"):
            example.main(folder, rounds=1, **change)


def test_lora_adapters_are_trained_on_from_round_to_round(start, tokenizer, tmp_path):
    rule = cg.COMAL(INPO, 5)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    settings = {**SMALL, "num_answers": 2, "max_new_tokens": 3, "peft_config": lora, "learning_rate": 0.05}
    del settings["save_strategy"]
    prompts = list(example.PROMPTS) * 16
    folders = [
        folder
        for _, folder in follow(rule, start, tokenizer, prompts, example.oracle, tmp_path, 2, **settings)
    ]
    policies = [np.exp(example.exact_logp(folder, tokenizer)) for folder in (start, *folders)]
    for folder, before, after in zip(folders, policies[:-1], policies[1:], strict=True):
        assert (folder / "adapter_model.safetensors").exists()
        assert not (folder / "model.safetensors").exists()
        assert np.abs(after - before).max() > 1e-3
    log = json.loads((folders[1] / "round.json").read_text())
    # The second round began at the adapter that the first one reached.
    assert log["kl_last"] < log["kl_reference"]


# What is refused
# ------------------------------------------------------------------------------------------


def test_an_opponent_may_have_a_pass_of_its_own(start, tokenizer, tmp_path):
    """EGPO as published: the half step is trained, draws the second pass's answers, and is left behind."""
    settings = {**SMALL, "num_answers": 4, "max_new_tokens": 3, "pairs": "disjoint"}
    del settings["save_strategy"]
    rule, prompts = cg.Extragradient(2.0, 0.1), list(example.PROMPTS) * 8
    passes = list(
        follow(rule, start, tokenizer, prompts, example.oracle, tmp_path, 2, train_opponents=True, **settings)
    )
    names = [folder.name for _, folder in passes]
    assert names == ["round-000-opponent-0", "round-000", "round-001-opponent-0", "round-001"]
    # The second pass starts from the last policy again, not from the half step.
    assert [log["forward_passes"] for log, _ in passes[:2]] == [
        64 * 3 + 64 * 2, 64 * 4 + 64 * 2
    ]  # fmt: skip
    again = list(
        follow(rule, start, tokenizer, prompts, example.oracle, tmp_path, 2, train_opponents=True, **settings)
    )
    assert again == passes


def test_an_answer_that_would_be_cut_or_is_empty_is_named(start, tokenizer, tmp_path):
    collator = trl.PreferenceCollator(0, max_length=3)
    row = {"prompt_ids": [3, 4], "prompt_number": 7, "chosen_number": 2, "rejected_number": 0}
    with pytest.raises(ValueError, match="prompt 7, answer 0 has 4 tokens with its prompt"):
        collator([row | {"chosen_ids": [5], "rejected_ids": [6, 1]}])
    with pytest.raises(ValueError, match="prompt 7, answer 2 has no tokens"):
        collator([row | {"chosen_ids": [], "rejected_ids": [6]}])
    silent = example.word_tokenizer()
    silent.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    prompts = [[{"role": "user", "content": "first "}]] * 2
    with pytest.raises(ValueError, match="`answers` of prompt 1, number 0, has no tokens"):
        trl.sequence_logps(trl.load(start), silent, prompts, [["a", "b"], ["", "c"]])


def test_what_does_not_fit_is_refused(start, tokenizer, tmp_path):
    model = trl.load(start)
    lesson = lesson_of(INPO, model, tokenizer)
    feedback = cg.Candidates(PREFERENCE, lesson.logp)
    with pytest.raises(ValueError, match=r"shape \(4, 3\); they are of \(4, 3\) and \(3, 3\)"):
        trl.build_dataset(PROMPTS, ANSWERS, feedback, cg.lm.Targets(None, lesson.goal.anchor[:3]))
    with pytest.raises(ValueError, match="only for an even number of answers, got 3"):
        trl.build_dataset(PROMPTS, ANSWERS, feedback, lesson.goal, "disjoint")
    with pytest.raises(ValueError, match="prompt 0 has 1"):
        trl.build_dataset(PROMPTS, [["a"]] * 4, feedback, lesson.goal)
    with pytest.raises(ValueError, match="a list of lists of texts"):
        trl.sequence_logps(model, tokenizer, PROMPTS, ["a", "b", "c", "a"])
    with pytest.raises(ValueError, match="there is no folder"):
        trl.load(tmp_path / "nowhere")
    for change, words in (
        ({"loss": "pointwize"}, "Did you mean 'pointwise'"),
        ({"precompute_ref_log_probs": False}, "`precompute_ref_log_probs` must be True"),
        ({"beta": 9.0}, "`beta` has no effect"),
        ({"loss_type": ["ipo"]}, "`loss_type` has no effect"),
    ):
        with pytest.raises(ValueError, match=words):
            trl.PreferenceConfig(str(tmp_path), use_cpu=True, **change)
    dpo = lesson_of(cg.IterativeDPO(0.1), model, tokenizer)
    trainer = trainer_of(model, dpo.dataset, tokenizer, tmp_path, loss="regression")
    batch = whole_batch(trainer)
    with pytest.raises(ValueError, match="IterativeDPO, needs 'logistic'"):
        trainer.compute_loss(trainer.model, batch)
    with pytest.raises(ValueError, match=r"came as torch\.bfloat16"):
        trainer.compute_loss(trainer.model, batch | {"preference": batch["preference"].bfloat16()})
