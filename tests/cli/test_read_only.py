"""All verbs that only read work on a run whose folder cannot be written."""

import json
import shutil
import subprocess

import pytest

from tfrs_twotower.cli.main import main
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recommender import Recommender


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A whole run with a kept index, on a read-only mount: the right to write does not depend on the user."""
    folder, mount = tmp_path_factory.mktemp("written") / "runs", tmp_path_factory.mktemp("mount")
    shutil.copytree(trained.directory, folder / "toy" / "1")
    runs.point_latest(folder / "toy" / "1")
    shutil.copytree(trained.directory, folder / "toy" / "2")
    recommender = Recommender.load(folder / "toy" / "1")
    recommender.evaluate()
    recommender.index(IndexConfig(kind="faiss_hnsw", k=10, target_recall=0.5))
    if subprocess.run(["mount", "--bind", str(folder), str(mount)], stderr=subprocess.PIPE).returncode:
        pytest.skip("needs the right to mount a folder read-only")
    subprocess.run(["mount", "-o", "remount,bind,ro", str(mount)], check=True)
    with pytest.raises(OSError):
        (mount / "toy" / "1" / "file").write_text("")
    yield mount / "toy" / "latest"
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize("verb", [
    ["recommend", "RUN", "u1"], ["similar", "RUN", "i1"], ["evaluate", "RUN"], ["inspect", "RUN"], ["lineage", "RUN"],
    ["runs", "--runs", "ROOT"], ["compare", "RUN", "RUN"], ["batch", "RUN", "--out", "OUT/batch"],
    ["load", "RUN", "--store", "sqlite:OUT/store.db"], ["export", "RUN", "--to", "OUT/export"],
    ["index", "ROOT/toy/2", "--set", "kind=exact"],
], ids=lambda verb: "-".join(word for word in verb if word.islower() and "/" not in word))
def test_a_verb_that_only_reads(run, verb, tmp_path, capsys):
    places = {"RUN": str(run), "ROOT": str(run.parents[1]), "OUT": str(tmp_path)}
    for name, path in places.items():
        verb = [word.replace(name, path) for word in verb]
    status = main(verb)
    said = capsys.readouterr()
    assert status == 0, said.err
    assert said.out


def test_an_index_that_has_to_be_kept_needs_the_folder(run, capsys):
    assert main(["index", str(run), "--set", "kind=faiss_hnsw"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert json.loads((run / "index" / "kept.json").read_text())
