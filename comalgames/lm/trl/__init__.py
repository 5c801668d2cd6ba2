"""Training with TRL: a `DPOTrainer` that trains on the targets of `lm.targets` with one model on the device.

A round consists of `generate` (draw answers), `lm.compare` (compare them), `sequence_logps` (compute their
log-probabilities under the stored policies), `lm.targets` (compute the rule's targets), `build_dataset`, and
the training of a `PreferenceTrainer`. `docs/trl_rounds.py` implements this loop for one process.

Requires the extra `lm`: `pip install ".[lm]"` in a checkout. Importing this module before any other package
of Hugging Face disables their telemetry, unless `HF_HUB_DISABLE_TELEMETRY` is set.

Limitations: columns are computed in the precision of the checkpoint, so train in the same precision; with
FSDP, TRL loads a second model for a pass whose result is not used here; several processes and GPUs are
untested.
"""

import importlib.util
import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

for _package in ("torch", "transformers", "trl", "datasets"):
    if importlib.util.find_spec(_package) is None:
        raise ImportError(
            f"comalgames.lm.trl needs {_package}, which is not installed. Install the extra `lm` with "
            f'pip install ".[lm]" in a checkout; for a CPU, install a CPU build of torch first.'
        )

# These import packages of Hugging Face, which read the environment variable set above.
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
