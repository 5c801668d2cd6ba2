"""What an import costs, counted in modules, and what it binds."""

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import comalgames

HEAVY = ("matplotlib", "scipy.optimize", "xarray", "optax", "pandas", "torch")


def modules_after(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after running `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_an_import_and_a_run_load_nothing_heavy():
    run = "import comalgames as cg; cg.solve(cg.games.comal_cycle(), cg.COMAL(cg.MWU), 1)"
    run = run.replace("cg.MWU", "cg.MirrorDescent(1.0, 0.1)")
    loaded = modules_after(run)
    assert "jax" in loaded
    assert not loaded & set(HEAVY)


def test_help_and_version_load_no_jax():
    for option in ("--help", "--version"):
        code = f"from comalgames.cli import main\ntry:\n    main(['{option}'])\nexcept SystemExit: pass"
        assert not modules_after(code) & {"jax", "numpy", *HEAVY}, option


def test_every_public_name_can_be_used():
    for name in comalgames.__all__:
        assert getattr(comalgames, name) is not None
    assert set(comalgames.__all__) <= set(dir(comalgames))


# Each name is the first that a process of its own uses. Only the package's modules are loaded anew in each.
FIRST_USES = """
import importlib, os, sys, warnings
warnings.simplefilter("ignore")
import comalgames, equinox, jax, jaxtyping
failed = []
for use in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(use) if use.startswith("comalgames.") else getattr(comalgames, use)
        except BaseException as error:
            print(use, repr(error)[:200], flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(use)
sys.exit(len(failed))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_every_folder_and_place_can_be_the_first_that_is_used():
    folders = [module.name for module in pkgutil.iter_modules(comalgames.__path__, "comalgames.")]
    folders.remove("comalgames.__main__")
    stub = ast.parse(Path(comalgames.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    # All names that are modules, and the first of the others of a place.
    names = [
        alias.name
        for node in imports
        for k, alias in enumerate(node.names)
        if node.module is None or k == 0 or isinstance(getattr(comalgames, alias.name), types.ModuleType)
    ]
    uses = [*folders, *(name for name in names if name != "*"), "COMAL", "validation"]
    assert {"comalgames.regularizers", "regularizers", "lm", "mirrors", "objectives", "paths"} <= set(uses)
    run = subprocess.run(
        [sys.executable, "-c", FIRST_USES, *uses], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_stub_lists_the_same_names():
    """Type checkers and editors read `__init__.pyi`, Python reads `__init__.py`."""
    stub = ast.parse(Path(comalgames.__file__).with_suffix(".pyi").read_text())
    listed = {
        (f".{node.module or ''}", alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert (".algorithms", "*") in listed
    for module, name in listed - {(".algorithms", "*")}:
        place = importlib.import_module(module.rstrip("."), "comalgames") if module != "." else comalgames
        assert getattr(comalgames, name) is getattr(place, name), name
    names = {name for _, name in listed} - {"*"}
    assert names | set(comalgames.algorithms.__all__) == set(comalgames.__all__)


def test_no_function_is_bound_over_a_module():
    for module in pkgutil.walk_packages(comalgames.__path__, "comalgames."):
        if ".trl" in module.name or module.name.endswith("__main__"):
            continue
        importlib.import_module(module.name)
        parent, _, name = module.name.rpartition(".")
        assert isinstance(getattr(sys.modules[parent], name), types.ModuleType), module.name
