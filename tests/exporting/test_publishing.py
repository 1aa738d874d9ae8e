"""Publishing a version: in one step, under the next number, or not at all."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.bars import remembered
from tests.exporting.given import Given, unit
from tfrs_twotower import progress
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import Retriever, export, next_version, read
from tfrs_twotower.exporting.publishing import new_version
from tfrs_twotower.index import IndexConfig, build

pytestmark = pytest.mark.usefixtures("two_signatures")
ITEMS = 400


@pytest.fixture(scope="module")
def retriever():
    vectors, ids = unit(ITEMS, seed=1), np.array([f"i{n}" for n in range(ITEMS)], object)
    return Retriever(Given(), Given(), vectors, ids, None, 0.05, np.zeros(ITEMS, np.float32))


def report(**index):
    return build(IndexConfig(k=10, **index), unit(ITEMS, seed=1), unit(100, seed=2))[1]


def write(retriever, root, index_report=None, **options):
    samples = [{"vector": tf.constant(unit(3, seed=3))}]
    return export(retriever, root, {}, samples, index_report or report(kind="exact"), **options)


def test_the_next_version_is_written_and_what_a_killed_export_left_is_cleared(retriever, tmp_path):
    (tmp_path / "1").mkdir()
    published = tmp_path / "1" / "saved_model.pb"
    published.write_text("published")
    for pid in (os.getppid(), os.getpid()):  # a process in another container may have had any id
        (tmp_path / f".writing-2-{pid}").mkdir()
    os.link(published, tmp_path / f".writing-2-{os.getpid()}" / published.name)  # as a rollback that was killed does
    path = write(retriever, tmp_path)
    assert path == tmp_path / "2" and read(path)["version"] == 2 and next_version(tmp_path) == 3
    assert {p.name for p in tmp_path.iterdir()} == {"1", "2", "lock"}
    assert published.read_text() == "published"


def test_one_publishes_at_a_time_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "exports" / "deltas" / "1" / "000001.json"  # as a rollback has copied them
    with new_version(tmp_path / "exports") as (folder, _):
        (folder / "file").touch()
        rows.parent.mkdir(parents=True)
        rows.touch()
        with pytest.raises(ExportError, match="Another process publishes in exports. Run this again"):
            new_version("exports").__enter__()
    assert [p.name for p in (tmp_path / "exports" / "1").iterdir()] == ["file"] and rows.exists()
    with new_version("exports") as (_, version):
        assert version == 2


def test_a_bar_has_both_steps(retriever, tmp_path, monkeypatch):
    shown, bar = remembered()
    monkeypatch.setattr(progress, "bar", bar)
    write(retriever, tmp_path, report(kind="exact"))
    assert shown == {"Exporting": [2, 2]}


def test_a_failed_parity_check_publishes_nothing(retriever, tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    save = tf.saved_model.save

    def corrupted(obj, *args, **kwargs):
        """Saves other vectors than those in memory, as a broken export would."""
        original = obj.vectors.numpy()
        obj.vectors.assign(original[::-1])
        save(obj, *args, **kwargs)
        obj.vectors.assign(original)

    monkeypatch.setattr(tf.saved_model, "save", corrupted)
    with pytest.raises(ExportError, match="Parity"):
        write(retriever, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "lock"]


def test_an_index_below_its_target_is_not_exported_unless_forced(retriever, tmp_path):
    poor = report(kind="ivf", leaves=20, probes=1, target_recall=0.999)
    assert not poor.meets_target
    with pytest.raises(ExportError, match="recall@10"):
        write(retriever, tmp_path, poor)
    assert not list(tmp_path.iterdir())
    assert read(write(retriever, tmp_path, poor, force=True))["index"]["meets_target"] is False


def test_a_broken_manifest_is_an_error_not_a_crash(tmp_path):
    with pytest.raises(ExportError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ExportError, match="format"):
        read(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(retriever, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for root in (file, file / "below", "/proc"):
        with pytest.raises(ExportError, match="`root` must be a folder that can be written") as error:
            write(retriever, root)
        assert f"root={str(root)!r}" in str(error.value)
    assert file.read_bytes() == b""
