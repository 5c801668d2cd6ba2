"""An example loop: follow a rule with TRL, round by round, and go on after an interruption.

Copy it, and change what your set-up needs; the rule stays what it is. `docs/trl_example.py` runs it offline.
"""

import json
import shutil
from pathlib import Path

from transformers import PrinterCallback

import comalgames as cg
from comalgames.lm import trl


def follow(
    rule, start, tokenizer, prompts, oracle, out, num_rounds, *,
    num_answers, max_new_tokens, pairs="all", peft_config=None, **settings,
):  # fmt: skip
    """Train the model in the folder `start` by `rule`; yields each round's log and its folder.

    A finished round is not done again. `settings` go to `PreferenceConfig`: learning rate, epochs, ...
    """
    stored = dict.fromkeys(cg.lm.policies_of(rule), Path(start))  # the folder of every policy to remember

    def logps(folder, answers):  # one model in memory at a time
        return trl.sequence_logps(trl.load(folder).to(device), tokenizer, prompts, answers)

    for todo in cg.lm.schedule(rule, num_rounds):
        folder = Path(out) / f"round-{todo.round:03d}"
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            args = trl.PreferenceConfig(str(unfinished), save_strategy="no", seed=todo.round, **settings)
            device = args.device
            last = trl.load(stored["logp"]).to(device)
            answers = trl.generate(last, tokenizer, prompts, num_answers, max_new_tokens, todo.round)
            del last
            judged = cg.lm.compare(oracle, prompts, answers)
            policies = {name: logps(where, answers) for name, where in stored.items()}
            lesson = trl.build_dataset(rule, prompts, answers, judged.preference, policies, todo.round, pairs)
            model = trl.load(stored["logp"], trainable=True)
            trainer = trl.PreferenceTrainer(
                model, args=args, train_dataset=lesson.dataset, processing_class=tokenizer,
                data_collator=trl.PreferenceCollator(tokenizer.pad_token_id, args.max_length),
                peft_config=None if hasattr(model, "peft_config") else peft_config,
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)  # the log below says it all
            trainer.train()
            reached = trl.sequence_logps(trainer.model, tokenizer, prompts, answers)
            trainer.model.save_pretrained(unfinished)  # save_model would add a pickle
            generations, rows = len(prompts) * num_answers, 2 * len(lesson.dataset)
            log = {
                "rule": repr(rule),
                "round": todo.round,
                **cg.lm.progress(reached, policies, lesson.feedback, lesson.goal)._asdict(),
                "loss": trainer.state.log_history[-1]["train_loss"],
                "generations": generations,
                "judge_calls": judged.num_calls,
                "forward_passes": int(generations * (len(stored) + 1) + rows * (1 + trainer.state.epoch)),
            }
            (unfinished / "round.json").write_text(json.dumps(log, indent=2))
            unfinished.rename(folder)  # complete or absent
        log = json.loads((folder / "round.json").read_text())
        if log["rule"] != repr(rule):
            raise ValueError(
                f"{folder} was trained by {log['rule']}, not by {rule!r}; choose another folder."
            )
        stored["logp"] = folder
        if todo.moves_reference:
            stored["reference"] = folder
        yield log, folder
