"""Execute docs/tutorial.py, its one source, and write it with its pictures as docs/tutorial.ipynb."""

import base64
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
from nbclient import NotebookClient
from PIL import Image

SOURCE = Path(__file__).parents[1] / "docs" / "tutorial.py"


def as_jpeg(png: str) -> str:
    """A picture in base64, a tenth as large."""
    out = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(out, "JPEG", quality=90)
    return base64.b64encode(out.getvalue()).decode()


def main() -> None:
    notebook = jupytext.read(SOURCE)
    with TemporaryDirectory() as folder:  # the run that it makes leaves its folder there
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, kernel_name="python3", timeout=600, resources=where).execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same file for the same outputs
        cell["metadata"] = {}
        if cell["cell_type"] == "code":  # warnings of libraries say nothing about diffgeo
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    output["data"] = {"image/jpeg": as_jpeg(output["data"]["image/png"])}
    notebook["metadata"] = {"kernelspec": notebook["metadata"]["kernelspec"]}
    jupytext.write(notebook, SOURCE.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
