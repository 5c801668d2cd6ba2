"""Documentation is part of the package: complete, in one form, and its examples print what they say."""

import ast
import doctest
import functools
import importlib
import importlib.util
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

import comalgames as cg
from comalgames.algorithms import guarantees

ROOT = Path(__file__).parents[1]

# The extra `lm`; `make test-lm` installs it.
HAS_TRL = importlib.util.find_spec("trl") is not None
MODULES = (
    "comalgames",
    "comalgames.games",
    "comalgames.algorithms",
    "comalgames.regularizers",
    "comalgames.measures.metrics",
    "comalgames.regularizers.mirrors",
    "comalgames.equilibria",
    "comalgames.experiments",
    "comalgames.diagnostics",
    "comalgames.lm",
    "comalgames.lm.losses",
    "comalgames.lm.tiny",
    "comalgames.numerics.losses",
    "comalgames.parametric",
    "comalgames.parametric.models",
    "comalgames.parametric.objectives",
    "comalgames.experiments.panels",
    "comalgames.plots",
    *(["comalgames.lm.trl"] if HAS_TRL else []),
)


def public_members() -> dict[str, Any]:
    """Every public class, function and module, by the path users find it at; each object once."""
    found: dict[str, Any] = {}
    for path in MODULES:
        module = importlib.import_module(path)
        default = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == path]
        for name in getattr(module, "__all__", default):
            value = getattr(module, name)
            documentable = inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
            if not name.startswith("_") and documentable and value not in found.values():
                found[f"{path}.{name}"] = value
    return found


PUBLIC = public_members()
RULES = {
    path: value
    for path, value in PUBLIC.items()
    if inspect.isclass(value)
    and issubclass(value, cg.AbstractAlgorithm)
    and not value.__name__.startswith("Abstract")
}
each_public_name = pytest.mark.parametrize("path", PUBLIC)

# Classes that extend TRL's take TRL's arguments, which its own pages describe.
each_name_of_ours = pytest.mark.parametrize(
    "path", [path for path in PUBLIC if not path.startswith("comalgames.lm.trl.Preference")]
)


def parameters(thing: Any) -> list[str]:
    """What one passes to it; nothing for abstract classes, protocols and exceptions, which nobody makes."""
    if inspect.isclass(thing):
        makes_none = inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)
        if makes_none or issubclass(thing, BaseException):
            return []
    elif not inspect.isroutine(thing):
        return []
    return [name for name in inspect.signature(thing).parameters if name != "self"]


def documented(thing: Any) -> set[str]:
    """The names under Args: or Attributes: in its docstring, or in that of a class it extends."""
    names: set[str] = set()
    for owner in inspect.getmro(thing) if inspect.isclass(thing) else [thing]:
        doc = inspect.cleandoc(vars(owner).get("__doc__") or "" if inspect.isclass(owner) else owner.__doc__)
        for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n|\n)*)", doc + "\n", re.MULTILINE):
            for line in re.findall(r"^    (\S[^:]*):", section, re.MULTILINE):
                names |= {name.strip().lstrip("*") for name in line.split(",")}
    return names


def test_the_public_names_were_found():
    assert {
        "comalgames.COMAL",
        "comalgames.solve",
        "comalgames.games",
        "comalgames.games.comal_cycle",
        "comalgames.regularizers.kl",
        "comalgames.diagnostics.spectrum",
        "comalgames.experiments.panels.draw",
        "comalgames.experiments.Paper",
    } <= set(PUBLIC)
    assert len(RULES) >= 23


@each_public_name
def test_the_first_line_is_a_sentence(path):
    doc = PUBLIC[path].__doc__
    assert doc, f"{path} has no docstring"
    first = doc.strip().splitlines()[0]
    assert first.endswith("."), f"{path}: {first!r}"
    assert first[0].isupper(), f"{path}: {first!r}"
    # eqx.Module and NamedTuple write a docstring of their own where there is none.
    assert not first.startswith(PUBLIC[path].__name__ + "("), f"{path} has no docstring"


@each_name_of_ours
def test_every_parameter_is_documented(path):
    missing = [name for name in parameters(PUBLIC[path]) if name not in documented(PUBLIC[path])]
    assert not missing, f"{path} does not say what {missing} mean"


@each_name_of_ours
def test_no_parameter_is_documented_that_is_not_there(path):
    thing = PUBLIC[path]
    owners = inspect.getmro(thing) if inspect.isclass(thing) else [thing]
    there = {name for owner in owners for name in (*dir(owner), *getattr(owner, "__annotations__", ()))}
    there |= set(parameters(thing))
    assert documented(thing) <= there, f"{path} documents {documented(thing) - there}"


@pytest.mark.parametrize("path", RULES)
def test_every_rule_has_its_formula_errors_and_source(path):
    doc = inspect.cleandoc(RULES[path].__doc__)
    before_arguments = doc.partition("\nArgs:")[0].splitlines()
    formulas = [line for line in before_arguments[1:] if line.startswith("    ")]
    assert any("~" in line or "=" in line or "<-" in line for line in formulas), f"{path} has no formula"
    assert "\nRaises:\n    ValueError: " in doc
    assert re.search(r"^Reference: .+(\d{4}|arXiv)", doc, re.MULTILINE | re.DOTALL), f"{path} has no source"


# Examples
# ------------------------------------------------------------------------------------------


def doctests() -> dict[str, doctest.DocTest]:
    """Every docstring with an example, by the path of what it documents."""
    found = {}
    for path in sorted((ROOT / "comalgames").rglob("*.py")):
        needs_torch = path.parent.name == "trl"
        if path.name != "__main__.py" and (HAS_TRL or not needs_torch):  # importing the former runs it
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            found |= {
                test.name: test for test in doctest.DocTestFinder().find(module, globs={}) if test.examples
            }
    return found


DOCTESTS = doctests()


def test_examples_were_found():
    assert {
        "comalgames.drivers.solve.solve",
        "comalgames.equilibria.exact.nash",
        "comalgames.drivers.sweep.grid",
    } <= set(DOCTESTS)


@pytest.mark.parametrize("name", DOCTESTS)
def test_an_example_prints_what_it_says(name):
    test = DOCTESTS[name]
    test.globs = {"cg": cg, "jax": jax, "jnp": jnp, "np": np, "game": cg.games.comal_cycle()}
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(said)


# README, contributor's guide and pages
# ------------------------------------------------------------------------------------------


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


# Their blocks are executed; those of formulas.md are written for the trainers of other packages.
RUN = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem != "formulas"),
]
RUN = [page for page in RUN if blocks(page, "python")]


def test_pages_with_code_were_found():
    found = {page.stem for page in RUN}
    assert {"README", "quickstart", "gallery", "ground_truth", "diagnosing", "language_models"} <= found


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_as_written(page, tmp_path, monkeypatch, capsys):
    """One block after another in one namespace, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    code = blocks(page, "python")
    assert "jax_enable_x64" in code[0].splitlines()[0], "x64 is to be switched on in the first line"
    namespace: dict[str, Any] = {}
    plt.close("all")  # those that other tests of this process left open
    with mpl.rc_context():
        for block in code:
            exec(compile(block, page.name, "exec"), namespace)
        drawn = plt.get_fignums()
        plt.close("all")
    draws = any("cg.plot_" in block for block in code)
    assert bool(drawn) == draws
    used = {node.id for block in code for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)}
    assert "cg" in used
    assert "nan" not in re.findall(r"[a-z]+", capsys.readouterr().out.lower())
    if page.stem == "README":
        assert (tmp_path / "gap.png").exists()
        results = namespace["results"]
        assert results["COMAL"].history["duality_gap"][-1] < 1e-11
        assert results["multiplicative weights"].history["duality_gap"][-1] > 0.1


def test_the_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    assert len(blocks(ROOT / "README.md", "python")) == 1
    linked = set(re.findall(r"\]\(([^)#]+)\)", text))
    pages = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")}
    notebooks = {str(page.relative_to(ROOT)) for page in (ROOT / "notebooks").glob("*.py")}
    assert pages | notebooks | {"CONTRIBUTING.md", "CITATION.cff"} <= linked


def test_the_page_of_rules_is_what_the_guarantees_say():
    """A rule that the page does not have yet is no failure: `make rules` writes the page again."""
    importlib.import_module("comalgames.parametric")
    lines = (ROOT / "docs" / "rules.md").read_text().splitlines()
    assert len(lines) > 50
    stale = set(lines) - set(guarantees.as_markdown().splitlines())
    assert not stale, f"`make rules` refreshes docs/rules.md; lines that changed: {sorted(stale)}"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@each_page
def test_a_pages_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    there = [target for target in targets if not target.startswith("http")]
    assert there or page.stem != "README"
    assert [target for target in there if not (page.parent / target).exists()] == []


@each_page
def test_what_a_page_calls_by_name_exists(page):
    """Snippets for other people's trainers cannot run here; but they are Python, and our names are right."""
    text = page.read_text()
    for block in blocks(page, "python"):
        compile(textwrap.dedent(block), page.name, "exec")
    # Names of rules and functions, such as cg.lm.losses.regression(.
    called = set(re.findall(r"\bcg((?:\.[A-Za-z_]\w*)+)\(", text))
    assert called or page.stem not in {"README", "formulas"}
    for path in sorted(called):
        functools.reduce(getattr, path.strip(".").split("."), cg)


@each_page
def test_a_page_names_commands_that_exist(page):
    text = page.read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    commands = set(re.findall(r"(?:`|\$ )comalgames ([a-z]+)", text))
    assert commands <= {"reproduce", "nash", "plot", "list", "doctor"}
    if page.stem == "README":
        assert {"`make reproduce`", "`make test`"} <= set(re.findall(r"`make [a-z-]+`", text))


def test_the_contributors_guide_names_files_folders_and_tests_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"\b(?:comalgames|tests|docs|notebooks)/[\w/]+(?:\.\w+)?", text))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    table = set(re.findall(r"^\| `(\w+)/?` \|", text, re.MULTILINE))
    folders = {path.name for path in (ROOT / "comalgames").iterdir() if (path / "__init__.py").exists()}
    assert folders <= table
