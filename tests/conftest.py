"""What holds for every test: float64, no silent dtype promotion, no window, checked annotations."""

import jax
import jaxtyping
import matplotlib as mpl

# Before anything else imports comalgames: its functions then refuse arguments and results that do not fit
# their annotations, shapes included. Users run without this; tests/test_bad_input.py switches it off.
jaxtyping.install_import_hook("comalgames", "typecheck.check")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
mpl.use("Agg")
