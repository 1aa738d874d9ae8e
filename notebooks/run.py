"""Executes notebooks in place: `python notebooks/run.py [01_quickstart ...]`, all of them by default."""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path, timeout=1800):
    """Runs every cell of the notebook at `path`, from the notebook's folder, and returns it with its outputs.

    Args:
      timeout: seconds that one cell may take.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed; the message holds the cell and its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    # No times in the metadata: a second run of the same code gives the same file.
    client = NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(path.parent)}}, record_timing=False
    )
    return client.execute()


def main(names):
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        print(f"{path.name} ...", end=" ", flush=True)
        notebook = execute(path)
        nbformat.write(notebook, path)
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main([name.removesuffix(".ipynb") for name in sys.argv[1:]])
