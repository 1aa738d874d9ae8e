"""The notebooks run from top to bottom, small and offline, and are committed with what they print and draw."""

import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from forked import Forked

from tfrs_twotower.data.sources import movielens_wheel

nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebooks`")
pytest.importorskip("nbclient", reason="needs the extra `notebooks`")
pytest.importorskip("ipykernel", reason="needs the extra `notebooks`")

from jupyter_client.provisioning import LocalProvisioner  # noqa: E402  (after the check that it can be imported)

from notebooks import run  # noqa: E402

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOVIELENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
USERS, FILMS, EVENTS = 60, 90, 50


def _plant_movielens(data_dir):
    """A made-up MovieLens in the official layout, where TFDS looks for its download: the notebook runs as it is."""
    from tensorflow_datasets.core.download import checksums, resource

    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, FILMS + 1)
    ratings = [
        f"{user}\t{film + 1}\t{rng.integers(1, 6)}\t{rng.integers(874_724_710, 893_286_638)}"
        for user in range(1, USERS + 1)
        for film in rng.choice(FILMS, EVENTS, replace=False, p=popularity / popularity.sum())
    ]
    genres = np.eye(19, dtype=int)[rng.integers(1, 19, FILMS)]
    lines = {
        "u.data": ratings,
        "u.user": [f"{u}|{20 + u % 50}|{'MF'[u % 2]}|student|00000" for u in range(1, USERS + 1)],
        "u.item": [
            f"{i + 1}|Film {i + 1} ({1960 + i % 38})||||{'|'.join(map(str, genres[i]))}" for i in range(FILMS)
        ],
    }
    archive = movielens_wheel.cache_path(MOVIELENS, data_dir / "downloads")
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for name, rows in lines.items():
            file.writestr(f"ml-100k/{name}", "\n".join(rows))
    data = archive.read_bytes()
    info = checksums.UrlInfo(size=len(data), checksum=hashlib.sha256(data).hexdigest(), filename="ml-100k.zip")
    resource.write_info_file(
        MOVIELENS, archive, dataset_name="movielens", original_fname=archive.name, url_info=info
    )


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The environment of a quick execution that neither needs the network nor touches the checkout."""
    monkeypatch.setenv("TWOTOWER_NOTEBOOK_SMALL", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing answers there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    return tmp_path


def _outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def _pictures(notebook):
    kept = [output.get("data", {}) for output in _outputs(notebook)]
    return sum("image/png" in data or "<svg" in data.get("text/html", "") for data in kept)


async def _forked(self, cmd, cwd, env, **_):
    """In place of `LocalProvisioner.launch_kernel`: a new interpreter would import TensorFlow first."""
    options = cmd[cmd.index("ipykernel_launcher") + 1:]
    self.process = Forked("forked:kernel", cwd, options, environment=env, quiet=True)
    self.process.stdin, self.pid = None, self.process.pid
    return self.connection_info


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, small, monkeypatch):
    if path.stem == "01_quickstart":  # in an interpreter of its own, as on a reader's machine
        _plant_movielens(small / "tfds")
    else:
        monkeypatch.setattr(LocalProvisioner, "launch_kernel", _forked)
    before = path.read_bytes()
    notebook = run.clean(run.execute(path, small))
    assert _pictures(notebook) == _pictures(nbformat.read(path, as_version=4))
    assert list(small.glob("runs/*/*/config.json"))  # it trained, and here
    assert path.read_bytes() == before


def test_the_notebooks_are_all_there():
    assert {f"0{n}" for n in range(1, 8)} == {path.stem[:2] for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_executed_in_full(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert _pictures(notebook)
    for output in _outputs(notebook):
        assert output.output_type in ("stream", "display_data", "execute_result"), output
        assert output.get("name") != "stderr"
    text = "".join(output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
                   for output in _outputs(notebook))
    assert not re.search(r"(^|[\s'\"(])/(home|root|tmp|work|Users)/", text), "a path of somebody's machine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert links or path.stem != "01_quickstart"
    assert not [link for link in links if not (path.parent / link).exists()]
    for file in re.findall(r"`(tfrs_twotower/[\w/]+\.py)`", text):
        assert (ROOT / file).is_file(), file


def test_an_error_in_a_cell_stops_the_execution_and_is_shown(tmp_path):
    from nbclient.exceptions import CellExecutionError

    path = tmp_path / "bad.ipynb"
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run.execute(path, tmp_path)


def test_what_belongs_to_the_machine_is_taken_out():
    v4 = nbformat.v4
    cell = v4.new_code_cell("", outputs=[
        v4.new_output("stream", name="stderr", text="W0000 a log line"),
        v4.new_output("stream", name="stdout", text=f"in {ROOT}/notebooks and {Path.home()}/data\n"),
        v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%"}),
    ])
    notebook = run.clean(v4.new_notebook(cells=[cell]))
    assert [dict(output) for output in notebook.cells[0].outputs] == [
        {"output_type": "stream", "name": "stdout", "text": "in ./notebooks and ~/data\n"}
    ]
