"""Imports point down the layers of the design, and files are touched only where the design says so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "comalgames"

# Lowest first. A module imports from layers below its own; those that do not exist yet have their place
# already.
LAYERS = (
    "updates losses simplex validation",
    "proximal bradley_terry lambert pairs",
    "games regularizers mirrors",
    "feedback",
    "algorithms",
    "parametric metrics paths equilibria diagnostics",
    "arguments",
    "trajectory host solve sweep lm",
    "diagnose phases",
    "plots",
    "experiments",
    "papers",
    "panels",
    "report",
    "cli",
    "__main__",
)
LAYER = {module: depth for depth, names in enumerate(LAYERS) for module in names.split()}

# Imports within a layer that the design implies: `host` drives `trajectory`, `solve` one run, `sweep` many.
WITHIN_LAYER = {
    ("host", "trajectory"),
    *(("solve", below) for below in ("trajectory", "host")),
    *(("sweep", below) for below in ("trajectory", "host")),
    *(("equilibria", below) for below in ("metrics",)),
    *(("diagnostics", below) for below in ("metrics", "equilibria")),
    ("phases", "diagnose"),
}

# Downward, and forbidden all the same: rules learn through feedback and never see a game.
FORBIDDEN = {("algorithms", "games")}

# The public API is for users, and for the outermost layers.
MAY_IMPORT_ROOT = {"plots", "panels", "report", "cli", "__main__"}

READS = {"read_text", "read_bytes", "load", "loadtxt", "genfromtxt", "fromfile", "read_csv"}
WRITES = {
    *("write_text", "write_bytes", "save", "savez", "savez_compressed", "savetxt", "savefig", "tofile"),
    *("to_csv", "to_netcdf", "to_pickle", "dump", "mkdir", "makedirs", "touch", "unlink", "rmtree"),
    *("NamedTemporaryFile", "TemporaryDirectory", "mkdtemp", "mkstemp"),
}
READERS = {"games/io.py"}
NOT_FILES = {("report.py", "savefig")}  # into memory: the figure becomes part of the page


def violations(package: Path) -> list[str]:
    """What in the package at this path breaks the rules above, one sentence each."""
    found = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += file_access_violations(path.relative_to(package).as_posix(), tree)
        if path != package / "__init__.py":  # the public API imports everything
            found += import_violations(path.relative_to(package), tree, package)
    return found


def import_violations(path: Path, tree: ast.Module, package: Path) -> Iterator[str]:
    here = path.parts[0].removesuffix(".py")
    if here not in LAYER:
        yield f"{path.as_posix()} is in no layer"
        return
    for there in sorted({target[0] if target else "" for target in imports(path, tree, package)}):
        if not there:
            allowed = here in MAY_IMPORT_ROOT
        elif (here, there) in FORBIDDEN or there not in LAYER:
            allowed = False
        else:
            allowed = here == there or LAYER[there] < LAYER[here] or (here, there) in WITHIN_LAYER
        if not allowed:
            yield f"{path.as_posix()} imports comalgames{'.' if there else ''}{there}"


def imports(path: Path, tree: ast.Module, package: Path) -> Iterator[tuple[str, ...]]:
    """The modules of the package that a file imports, as paths below it; () is the package itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [tuple(alias.name.split(".")) for alias in node.names]
            yield from (parts[1:] for parts in dotted if parts[0] == package.name)
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                module = (package.name, *path.parts[: len(path.parts) - node.level], *module)
            if module == (package.name,):
                names = [alias.name for alias in node.names]
                yield from ((name,) if is_module(package, name) else () for name in names)
            elif module[0] == package.name:
                yield module[1:]


def is_module(package: Path, name: str) -> bool:
    return (package / f"{name}.py").exists() or (package / name).is_dir()


HEAVY = {"torch", "transformers", "trl", "datasets", "peft", "accelerate"}


def test_only_the_adapter_to_trl_imports_torch():
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "trl":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not HEAVY & {name.partition(".")[0] for name in names}, path


def file_access_violations(path: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or path.startswith("experiments/"):
            continue
        is_open = isinstance(node.func, ast.Name) and node.func.id == "open"
        called = node.func.attr if isinstance(node.func, ast.Attribute) else "open" if is_open else ""
        if (path, called) in NOT_FILES:
            continue
        if called == "open" or called in WRITES or (called in READS and path not in READERS):
            yield f"{path} touches files by {called}"


def test_imports_point_down_and_files_are_touched_only_where_they_may_be():
    assert violations(PACKAGE) == []


def test_the_package_was_found():
    seen = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert seen >= {"updates", "validation", "games", "feedback", "algorithms", "trajectory", "solve"}


CLEAN = {
    "__init__.py": "from comalgames.solve import solve\nfrom comalgames import games\n",
    "validation.py": "import numpy as np\n",
    "games/__init__.py": "from comalgames.games.base import Game\n",
    "games/base.py": "from comalgames import validation\nfrom numpy import load\n",
    "games/io.py": "from comalgames.games.base import Game\ntext = path.read_text()\n",
    "feedback.py": "from comalgames.games.base import Game\n",
    "algorithms/__init__.py": "from .base import Rule\n",
    "algorithms/base.py": "import dataclasses\nfrom comalgames.feedback import Feedback\n",
    "trajectory.py": "import comalgames.algorithms.base\n",
    "solve.py": "from comalgames.trajectory import run\n",
    "experiments/store.py": "from comalgames import solve\nopen(path, 'w')\npath.write_text('')\n",
    "report.py": "figure.savefig(buffer)\n",
    "cli.py": "import comalgames as cg\nfrom comalgames import solve\n",
    "__main__.py": "from comalgames.cli import main\n",
}


def planted(folder: Path, changes: dict[str, str]) -> Path:
    """A small package with these files changed or added."""
    package = folder / "comalgames"
    for name, source in {**CLEAN, **changes}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    return package


def test_the_checker_passes_a_clean_tree(tmp_path):
    assert violations(planted(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("validation.py", "from comalgames.games.base import Game", "validation.py imports comalgames.games"),
        ("validation.py", "from comalgames import games", "validation.py imports comalgames.games"),
        ("validation.py", "import comalgames.games.base as b", "validation.py imports comalgames.games"),
        ("validation.py", "def f():\n    from .games import Game", "validation.py imports comalgames.games"),
        ("games/io.py", "from ..solve import solve", "games/io.py imports comalgames.solve"),
        ("games/io.py", "from .. import solve", "games/io.py imports comalgames.solve"),
        ("feedback.py", "import numpy, comalgames.solve", "feedback.py imports comalgames.solve"),
        (
            "algorithms/base.py",
            "from comalgames.games import Game",
            "algorithms/base.py imports comalgames.games",
        ),
        ("trajectory.py", "from comalgames.solve import solve", "trajectory.py imports comalgames.solve"),
        ("metrics.py", "from comalgames.equilibria import nash", "metrics.py imports comalgames.equilibria"),
        ("solve.py", "import comalgames as cg", "solve.py imports comalgames"),
        ("solve.py", "from comalgames import solve_everything", "solve.py imports comalgames"),
        ("solve.py", "from comalgames.helpers import f", "solve.py imports comalgames.helpers"),
        ("helpers.py", "", "helpers.py is in no layer"),
        ("games/base.py", "path.read_text()", "games/base.py touches files by read_text"),
        ("games/base.py", "np.load(path)", "games/base.py touches files by load"),
        ("games/io.py", "path.write_text('')", "games/io.py touches files by write_text"),
        ("games/io.py", "with open(path) as f: f", "games/io.py touches files by open"),
        ("games/io.py", "path.open('w')", "games/io.py touches files by open"),
        ("plots.py", "figure.savefig(path)", "plots.py touches files by savefig"),
        ("__init__.py", "import numpy as np\nnp.save(path, x)", "__init__.py touches files by save"),
    ],
)
def test_the_checker_finds_a_planted_violation(tmp_path, path, source, complaint):
    assert violations(planted(tmp_path, {path: source})) == [complaint]
