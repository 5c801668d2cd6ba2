"""Every notebook runs from top to bottom, as a notebook, and each plotting cell shows one picture."""

import re
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

PLOTS = re.compile(r"cg\.plot_|plt\.subplots")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))
assert NOTEBOOKS, "the notebooks were not found"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_a_picture(path, tmp_path):
    notebook = jupytext.read(path)
    nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()  # raises where a cell does
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    # Warnings would be the first thing that a reader sees.
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    # A cell that draws shows its figure once, without the text of an object above it.
    plotting = [cell for cell in code if PLOTS.search(cell.source)]
    assert plotting
    for cell in plotting:
        shown = [output.get("data", {}) for output in cell.outputs if output.output_type != "stream"]
        assert ["image/png" in data for data in shown] == [True], cell.source
        assert [output.output_type for output in cell.outputs if "data" in output] == ["display_data"], (
            cell.source
        )
    assert list(tmp_path.iterdir()) == [], "a notebook leaves files behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_the_public_interface_only(path):
    code = "\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code")
    assert "import comalgames as cg" in code
    assert "from comalgames" not in code
    assert "cg._" not in code
    assert "._" not in code
