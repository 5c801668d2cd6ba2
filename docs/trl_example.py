"""Run me: a language model of some thousand parameters is taken to the Nash policy of a known game, offline.

    python docs/trl_example.py [FOLDER]

Two prompts share the model. What an answer is worth is decided by its first word: COMAL's cycle, the other
way round for the second prompt. So the exact gap can be read off the model; it is printed round by round.
FOLDER keeps the rounds: started again, it goes on after the last one that was finished.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of TRL's defaults

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl_rounds import follow

import comalgames as cg
from comalgames.lm import trl

torch.set_num_threads(1)  # more only cost, with so small a model

PROMPTS = ("first ", "second ")
WORDS = ("a", "b", "c")
VOCABULARY = ("<pad>", "</s>", "<unk>", "first", "second", *WORDS)
START = (0.2, 0.5, 0.3)
RULE = cg.COMAL(cg.Extragradient(step_size=3.0, temperature=0.1), period=4)
ROUNDS = 10


def known_game():
    """Win rates of a, b, c and "anything else", which always loses, for both prompts."""
    cycle = np.asarray(cg.games.comal_cycle().preference)
    games = np.zeros((2, 4, 4))
    games[:, :3, :3], games[:, :3, 3], games[:, 3, 3] = (cycle, cycle.T), 1.0, 0.5
    return cg.PreferenceGame(games)


GAME = known_game()
WIN_RATES = np.asarray(GAME.preference)


def oracle(prompt, answer_a, answer_b):
    """The probability that a is preferred: any callable will do, such as one that asks a judge model."""
    i, j = (WORDS.index(answer[:1]) if answer[:1] in WORDS else 3 for answer in (answer_a, answer_b))
    return WIN_RATES[PROMPTS.index(prompt), i, j]


def word_tokenizer():
    """A tokenizer of whole words, made in memory."""
    backend = Tokenizer(models.WordLevel({word: k for k, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def first_model(folder, tokenizer):
    """A Qwen2 model from a configuration, taught to answer with one word, b most often, saved in a folder."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=16,
            eos_token_id=1, pad_token_id=0, bos_token_id=None,
        )
    )  # fmt: skip
    texts = [prompt + word + "</s>" for prompt in PROMPTS for word in WORDS]
    ids = torch.tensor([tokenizer(text)["input_ids"] for text in texts])
    weights = torch.tensor(START * len(PROMPTS))[:, None]
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(300):
        logp = model(input_ids=ids).logits.log_softmax(-1)[:, :-1]
        loss = -(weights * logp.gather(-1, ids[:, 1:, None])[..., 0]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


def exact_logp(folder, tokenizer):
    """Log-probabilities `[prompts, 4]` of the first word of an answer: a, b, c, anything else."""
    ids = torch.tensor([tokenizer(prompt)["input_ids"] for prompt in PROMPTS])
    with torch.no_grad():
        logits = trl.load(folder)(input_ids=ids).logits[:, -1].double()
    p = logits.softmax(-1)[:, -len(WORDS) :].numpy()
    return np.log(np.concatenate([p, 1 - p.sum(-1, keepdims=True)], -1))


def gap_of(folder, tokenizer):
    """The duality gap, mean over the prompts."""
    return float(GAME.average(cg.duality_gap(GAME, exact_logp(folder, tokenizer))))


def main(folder, rounds=ROUNDS, rule=RULE, **changes):
    """Print the gap round by round, means over the prompts; returns them, the first one first."""
    start, tokenizer = Path(folder) / "start", word_tokenizer()
    if not start.exists():
        first_model(start, tokenizer)
    settings = {
        "num_answers": 16, "max_new_tokens": 3, "pairs": "disjoint",
        "learning_rate": 0.01, "per_device_train_batch_size": 128, "num_train_epochs": 6,
        "use_cpu": True,
        "disable_tqdm": True, "logging_strategy": "no", **changes,
    }  # fmt: skip
    gaps = [gap_of(start, tokenizer)]
    print(f"start     gap {gaps[0]:.3f}")
    for log, reached in follow(rule, start, tokenizer, PROMPTS * 32, oracle, folder, rounds, **settings):
        gaps.append(gap_of(reached, tokenizer))
        print(
            f"round {log['round']:3d} gap {gaps[-1]:.3f}  wins against the last {log['win_rate_last']:.3f}, "
            f"the reference {log['win_rate_reference']:.3f}  KL to the last {log['kl_last']:.3f}  "
            f"judge calls {log['judge_calls']}"
        )
    return gaps


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(folder)
