"""Follow a rule with TRL: a `DPOTrainer` that trains on what `lm.targets` says, one model on the device.

A round: `generate` answers, have them compared (`lm.compare`), look up their log-probabilities under the
stored policies (`sequence_logps`), `build_dataset`, train a `PreferenceTrainer` on it. `docs/trl_rounds.py`
is such a loop.

Needs the extra `lm`: `pip install "comalgames[lm]"`. Importing it switches Hugging Face's telemetry off,
unless `HF_HUB_DISABLE_TELEMETRY` says otherwise.
"""

import importlib.util
import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

for _package in ("torch", "transformers", "trl", "datasets"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(
            f'comalgames.lm.trl needs {_package}, which is not installed: pip install "comalgames[lm]". '
            f"For a CPU, install a CPU build of torch before that."
        )

from comalgames.lm.trl.lesson import Lesson, build_dataset  # noqa: E402 (after the environment is set)
from comalgames.lm.trl.models import generate, load, sequence_logps  # noqa: E402
from comalgames.lm.trl.trainer import PreferenceCollator, PreferenceConfig, PreferenceTrainer  # noqa: E402

__all__ = [
    "Lesson",
    "PreferenceCollator",
    "PreferenceConfig",
    "PreferenceTrainer",
    "build_dataset",
    "generate",
    "load",
    "sequence_logps",
]
