"""What an import costs, counted in modules, and what it binds."""

import importlib
import json
import pkgutil
import subprocess
import sys
import types

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


def test_no_function_is_bound_over_a_module():
    for module in pkgutil.walk_packages(comalgames.__path__, "comalgames."):
        if ".trl" in module.name or module.name.endswith("__main__"):
            continue
        importlib.import_module(module.name)
        parent, _, name = module.name.rpartition(".")
        assert isinstance(getattr(sys.modules[parent], name), types.ModuleType), module.name
