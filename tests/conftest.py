"""What holds for every test: float64, no silent dtype promotion, no window, checked annotations."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

# Workers, notebooks and subprocesses share what they compile, and the next run finds it too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# One may read what another has not yet written to its end, and compiles it itself. (The same filter for the
# workers is in pyproject.toml.)
os.environ.setdefault("PYTHONWARNINGS", "ignore:Error reading persistent compilation cache entry:UserWarning")

# Compiling is most of what the tests cost. Without optimization, and with the older emitters up to JAX 0.10
# (XLA ends a process with a flag that it does not know), it takes half the time, and the last bits differ.
# All reproductions use the defaults. One compilation is not split over threads, because there are as many
# workers as cores.
_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1", "--xla_backend_optimization_level=0"]
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    _FLAGS += ["--xla_cpu_use_fusion_emitters=false"]
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))

# Progress bars are tested where they are switched on.
os.environ.setdefault("TQDM_DISABLE", "1")

import jax
import jaxtyping
import matplotlib as mpl
import pytest

# Before anything else imports comalgames: its functions then refuse arguments and results that do not fit
# their annotations, shapes included. Users run without this; tests/test_bad_input.py switches it off.
jaxtyping.install_import_hook("comalgames", "typecheck.check")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
mpl.use("Agg")


# Traced programs are many objects that live long: looking for garbage among them less often saves 5%.
gc.set_threshold(50_000, 20, 100)

# Compiled code is mapped into memory, and a process may have 65,530 maps on Linux.
MOST_MAPS = 40_000
MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def compiled_code_is_let_go():
    """Drop compiled code after a file if the process holds so much that it could reach the limit."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def as_users_have_it():
    """Without the checks of annotations, which users do not have and which would speak first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
