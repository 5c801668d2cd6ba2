"""Follow a rule with TRL: a `DPOTrainer` that trains on what `lm.targets` says, one model on the device.

A round: `generate` answers, have them compared (`lm.compare`), look up their log-probabilities under the
stored policies (`sequence_logps`), ask the rule (`lm.targets`), `build_dataset`, train a `PreferenceTrainer`
on it. `docs/trl_rounds.py` is such a loop, for one process.

Needs the extra `lm`: `pip install ".[lm]"` in a checkout. Importing it before any other package of Hugging
Face switches their telemetry off, unless `HF_HUB_DISABLE_TELEMETRY` says otherwise.

Limits: columns are made in the precision of the checkpoint, so train in the same; with FSDP, TRL loads a
second model for a pass whose result is not read here; nothing was run on several processes or on a GPU.
"""

import importlib.util
import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

for _package in ("torch", "transformers", "trl", "datasets"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(
            f"comalgames.lm.trl needs {_package}, which is not installed. Install the extra `lm`, as in "
            f'pip install ".[lm]" in a checkout; for a CPU, install a CPU build of torch before that.'
        )

# These import Hugging Face's packages, which read the environment set above.
from comalgames.lm.trl.dataset import build_dataset
from comalgames.lm.trl.models import generate, load, sequence_logps
from comalgames.lm.trl.trainer import PreferenceCollator, PreferenceConfig, PreferenceTrainer

__all__ = [
    "PreferenceCollator",
    "PreferenceConfig",
    "PreferenceTrainer",
    "build_dataset",
    "generate",
    "load",
    "sequence_logps",
]
