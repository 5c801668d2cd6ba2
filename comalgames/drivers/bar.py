"""A progress bar for runs that take longer than about two seconds."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

# Seconds before a bar appears.
DELAY = 2.0


def progress_bar(total: int, label: str, progress: bool | None) -> Any:
    """A context manager whose `update(n)` counts n more steps.

    Args:
        total: number of steps in all.
        label: shown in front of the bar.
        progress: True for a bar from the start, False for none, None for one that appears in a terminal or
            notebook if the run takes longer than two seconds (never if the environment sets TQDM_DISABLE).
    """
    in_notebook = "ipykernel" in sys.modules
    wanted = (sys.stderr.isatty() or in_notebook) and not os.environ.get("TQDM_DISABLE")
    shown = wanted if progress is None else progress
    # Without ipywidgets the bar of notebooks would only warn that it is missing.
    if shown and in_notebook and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm
    return tqdm(
        total=total, desc=label, disable=not shown, delay=0.0 if progress else DELAY, leave=bool(progress)
    )
