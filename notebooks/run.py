"""Executes notebooks in place: `python notebooks/run.py [01_quickstart ...]`, all of them by default."""

import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
_WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path, folder, timeout=600):
    """Runs every cell of the notebook at `path` inside `folder` and returns it with its outputs.

    Args:
      timeout: seconds that one cell may take.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed; the message holds the cell and its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    # No times in the metadata: a second run of the same code gives nearly the same file.
    client = NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}}, record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    return client.execute()


def clean(notebook):
    """Takes out what belongs to the machine and not to the lesson: log lines, progress widgets, paths, versions."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and _WIDGET not in o.get("data", {})]
            for output in cell.outputs:
                if "text" in output:
                    output.text = _without_paths(output.text)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def _without_paths(text):
    for folder, name in ((FOLDER.resolve().parent, "."), (Path.home(), "~")):
        text = re.sub(rf"{re.escape(str(folder))}(?=/|\b)", name, text)
    return text


def main(names):
    known = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    if unknown := set(names) - set(known):
        raise SystemExit(f"No notebook {', '.join(sorted(unknown))}. There are {', '.join(known)}.")
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        print(f"{path.name} ...", end=" ", flush=True)
        nbformat.write(clean(execute(path, FOLDER)), path)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main([name.removesuffix(".ipynb") for name in sys.argv[1:]])
