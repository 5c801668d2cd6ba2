"""Imports point down the layers of the design, and files are touched only where the design says so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "comalgames"

# One row a folder (or module at the top): what it may import, all of it in rows above its own.
MAY_IMPORT = {
    "validation": "",
    "numerics": "validation",
    "games": "validation numerics",
    "regularizers": "validation numerics",
    "measures": "validation numerics games regularizers",
    "equilibria": "validation numerics games regularizers measures",
    "feedback": "validation numerics games",
    "algorithms": "validation numerics regularizers feedback",
    "parametric": "validation numerics feedback algorithms",
    "drivers": "validation numerics games measures feedback algorithms",
    "diagnostics": "validation numerics games regularizers equilibria feedback algorithms drivers",
    "lm": "validation numerics games regularizers measures feedback algorithms drivers",
    "plots": "validation drivers diagnostics",
    "experiments": "validation drivers plots",
    "papers": "validation numerics games regularizers measures equilibria feedback algorithms parametric "
    "drivers diagnostics lm experiments",
    "cli": "validation games equilibria algorithms experiments papers",
    "__main__": "cli",
}

READS = {"read_text", "read_bytes", "load", "loadtxt", "genfromtxt", "fromfile", "read_csv"}
WRITES = {
    *("write_text", "write_bytes", "save", "savez", "savez_compressed", "savetxt", "savefig", "tofile"),
    *("to_csv", "to_netcdf", "to_pickle", "dump", "mkdir", "makedirs", "touch", "unlink", "rmtree"),
    *("NamedTemporaryFile", "TemporaryDirectory", "mkdtemp", "mkstemp"),
}
READERS = ("games/io/",)
# report.py saves figures in memory, for the page. threads.py reads counts of the system in /proc.
NOT_FILES = {("experiments/report.py", "savefig"), ("equilibria/threads.py", "read_text")}


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
    if here not in MAY_IMPORT:
        yield f"{path.as_posix()} has no row in MAY_IMPORT"
        return
    for there in sorted({target[0] if target else "" for target in imports(path, tree, package)}):
        if there != here and there not in MAY_IMPORT[here].split():
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
        if called == "open" or called in WRITES or (called in READS and not path.startswith(READERS)):
            yield f"{path} touches files by {called}"


def test_imports_point_down_and_files_are_touched_only_where_they_may_be():
    assert violations(PACKAGE) == []


def test_rows_point_down_only():
    above: set[str] = set()
    for name, below in MAY_IMPORT.items():
        assert set(below.split()) <= above, name
        above.add(name)


def test_every_row_is_a_folder_but_the_two_entrances():
    top = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py"}
    assert top == {"__init__", "__main__", "validation", "cli"}
    folders = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert folders == set(MAY_IMPORT) - {"__main__", "validation", "cli"}


CLEAN = {
    "__init__.py": "from comalgames.drivers.solve import solve\nfrom comalgames import games\n",
    "validation.py": "import numpy as np\n",
    "games/__init__.py": "from comalgames.games.base import Game\n",
    "games/base.py": "from comalgames import validation\nfrom numpy import load\n",
    "games/io/tables.py": "from comalgames.games.base import Game\ntext = path.read_text()\n",
    "feedback/base.py": "from comalgames.games.base import Game\n",
    "algorithms/__init__.py": "from .base import Rule\n",
    "algorithms/base.py": "import dataclasses\nfrom comalgames.feedback.base import Feedback\n",
    "drivers/trajectory.py": "import comalgames.algorithms.base\n",
    "drivers/solve.py": "from comalgames.drivers.trajectory import run\n",
    "experiments/store.py": "from comalgames import drivers\nopen(path, 'w')\npath.write_text('')\n",
    "experiments/report.py": "figure.savefig(buffer)\n",
    "cli.py": "from comalgames import games\n",
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
        ("games/base.py", "from ..drivers import solve", "games/base.py imports comalgames.drivers"),
        ("games/base.py", "from .. import drivers", "games/base.py imports comalgames.drivers"),
        (
            "feedback/base.py",
            "import numpy, comalgames.drivers",
            "feedback/base.py imports comalgames.drivers",
        ),
        (
            "algorithms/base.py",
            "from comalgames.games import Game",
            "algorithms/base.py imports comalgames.games",
        ),
        (
            "drivers/host.py",
            "from comalgames.diagnostics import predict",
            "drivers/host.py imports comalgames.diagnostics",
        ),
        ("drivers/solve.py", "import comalgames as cg", "drivers/solve.py imports comalgames"),
        ("drivers/solve.py", "from comalgames import anything", "drivers/solve.py imports comalgames"),
        (
            "drivers/solve.py",
            "from comalgames.helpers import f",
            "drivers/solve.py imports comalgames.helpers",
        ),
        ("helpers.py", "", "helpers.py has no row in MAY_IMPORT"),
        ("games/base.py", "path.read_text()", "games/base.py touches files by read_text"),
        ("games/base.py", "np.load(path)", "games/base.py touches files by load"),
        ("games/io/tables.py", "path.write_text('')", "games/io/tables.py touches files by write_text"),
        ("games/io/tables.py", "with open(path) as f: f", "games/io/tables.py touches files by open"),
        ("games/io/tables.py", "path.open('w')", "games/io/tables.py touches files by open"),
        ("plots/curves.py", "figure.savefig(path)", "plots/curves.py touches files by savefig"),
        ("__init__.py", "import numpy as np\nnp.save(path, x)", "__init__.py touches files by save"),
    ],
)
def test_the_checker_finds_a_planted_violation(tmp_path, path, source, complaint):
    assert violations(planted(tmp_path, {path: source})) == [complaint]
