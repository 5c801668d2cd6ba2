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
    rule, start, tokenizer, prompts, oracle, out, num_rounds, *, num_answers, max_new_tokens,
    pairs="all", train_opponents=False, peft_config=None, **settings,
):  # fmt: skip
    """Train the model in the folder `start` by `rule`; yields each pass's log and its folder.

    A finished pass is not done again. `settings` go to `PreferenceConfig`: loss, learning rate, epochs, ...
    """
    run = repr((rule, len(prompts), num_answers, max_new_tokens, pairs, train_opponents, settings))
    stored = dict.fromkeys(cg.lm.policies_of(rule), Path(start).resolve())  # every policy to remember
    opponents = []  # folders of the policies that earlier passes of a round trained

    def logps(where, answers, device):  # one model in memory at a time
        return trl.sequence_logps(trl.load(where).to(device), tokenizer, prompts, answers)

    for todo in cg.lm.schedule(rule, num_rounds, train_opponents):
        folder = Path(out) / f"round-{todo.round:03d}{'' if todo.stores else f'-opponent-{todo.number}'}"
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            args = trl.PreferenceConfig(str(unfinished), save_strategy="no", seed=todo.round, **settings)
            drawer = opponents[-1] if opponents else stored["logp"]
            model = trl.load(drawer).to(args.device)
            answers = trl.generate(model, tokenizer, prompts, num_answers, max_new_tokens, todo.round)
            del model
            judged = cg.lm.compare(oracle, prompts, answers)
            policies = {name: logps(where, answers, args.device) for name, where in stored.items()}
            met = [logps(where, answers, args.device) for where in opponents]
            feedback = cg.Candidates(judged.preference, met[-1] if met else policies["logp"])
            goal = cg.lm.targets(rule, None, policies, feedback, todo.round, met if train_opponents else None)
            model = trl.load(stored["logp"], trainable=True)
            trainer = trl.PreferenceTrainer(
                model, args=args, processing_class=tokenizer,
                train_dataset=trl.build_dataset(prompts, answers, feedback, goal, pairs),
                data_collator=trl.PreferenceCollator(tokenizer.pad_token_id, args.max_length),
                peft_config=None if hasattr(model, "peft_config") else peft_config,
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)  # the log below says it all
            trainer.train()
            reached = trl.sequence_logps(trainer.model, tokenizer, prompts, answers)
            trainer.model.save_pretrained(unfinished)  # save_model would add a pickle
            drawn, rows = len(prompts) * num_answers, 2 * len(trainer.train_dataset)
            log = {
                "run": run,
                "round": todo.round,
                **cg.lm.progress(reached, policies, feedback, goal)._asdict(),
                "loss": trainer.state.log_history[-1]["train_loss"],
                "generations": drawn,
                "judge_calls": judged.num_calls,
                "forward_passes": int(
                    drawn * (len(stored) + len(met) + 1) + rows * (1 + trainer.state.epoch)
                ),
            }
            (unfinished / "round.json").write_text(json.dumps(log, indent=2))
            unfinished.rename(folder)  # complete or absent
        log = json.loads((folder / "round.json").read_text())
        if log["run"] != run:
            raise ValueError(
                f"{folder} is of another run, {log['run']}, not of {run}; choose another folder."
            )
        opponents = [] if todo.stores else [*opponents, folder]
        stored |= dict.fromkeys(todo.stores, folder)
        yield log, folder
