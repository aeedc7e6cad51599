"""The notebook of the documentation: it runs, is what its script says, and is as short as it promises."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The script as a notebook, executed by a kernel of this Python."""
    notebook = jupytext.read(DOCS / "tutorial.py")
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    return nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300, resources=where).execute()


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_its_script():
    kept = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    script = jupytext.read(DOCS / "tutorial.py")
    assert [cell.source for cell in kept.cells] == [cell.source for cell in script.cells], (
        "docs/tutorial.py is newer; run python tools/tutorial.py"
    )


def test_it_takes_two_dozen_lines():
    lines = [line for source in code(jupytext.read(DOCS / "tutorial.py")) for line in source.splitlines()]
    assert len([line for line in lines if line.strip()]) <= 24


@pytest.mark.nightly
def test_it_runs_and_shows_what_it_says(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == 3
    said = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    assert "residual" in said
    assert "passes" in said


def test_the_kept_notebook_shows_the_same_pictures():
    kept = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert len([output for output in outputs if "image/jpeg" in output.get("data", {})]) == 3
    assert (DOCS / "tutorial.ipynb").stat().st_size < 300_000
