"""A prepared dataset: the same log, report and rejected rows as `ingest` gives, from files that are mapped."""

import contextlib
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_sources import NOON, SOURCES, assert_same, without_times

from tfrs_twotower.data import (
    Columns,
    DuckDB,
    Files,
    Frames,
    Joined,
    Prepared,
    Rules,
    append_prepared,
    ingest,
    is_prepared,
    joined,
    prepare,
    read_log,
)
from tfrs_twotower.durable import lock
from tfrs_twotower.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("source", SOURCES)
def test_it_is_the_log_that_ingest_gives(source, tmp_path):
    source = source(tmp_path)
    report = prepare(source, tmp_path / "prepared", rules=Rules(limit=1))
    log, kept = Prepared(f"{tmp_path}/prepared").read()
    expected = ingest(source, limit=1, rejected_to=tmp_path / "rejected.parquet")
    assert report == kept and not log.user.flags.writeable
    assert_same((log, kept), expected)


rows = st.tuples(
    st.sampled_from(["a", "A", "é", "b", "NULL"]), st.sampled_from([1, 2, 3, -1]),
    st.sampled_from([NOON, NOON, NOON + 1, -5]), st.sampled_from([1, 2, 1, 0, -1, None]),
    st.sampled_from([0.5, 1, 2, -1]), st.sampled_from(["x", "y", None]),
)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.lists(rows, min_size=1, max_size=12), st.lists(rows, min_size=1, max_size=4), st.booleans())
def test_whatever_the_rows_are(first, second, timed):
    """Also in the error where nothing is left."""
    names = ("user_id", "item_id", "timestamp", "label", "weight", "place")
    kinds = (pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.string())
    columns = Columns(label="label", weight="weight", context=("place",), timestamp="timestamp" if timed else None)
    parts = [Frames(pa.table([pa.array(column, kind) for column, kind in zip(zip(*part), kinds)], names),
                    columns=columns) for part in (first, second)]
    with tempfile.TemporaryDirectory() as folder:
        found, expected = [], []
        for result, act in ((expected, lambda: ingest(Joined(tuple(parts)), 1, f"{folder}/rejected.parquet")),
                            (found, lambda: prepare(Joined(tuple(parts)), f"{folder}/set", rules=Rules(1)))):
            try:
                result.append(act())
            except DataError as error:
                result.append(str(error))
        if isinstance(expected[0], str):
            assert found == expected and not is_prepared(f"{folder}/set")
        else:
            assert_same(Prepared(f"{folder}/set").read(), expected[0])


@pytest.fixture
def dataset(tmp_path):
    """A day's file as a dataset of two events, one of which is a like."""
    day(tmp_path, "monday", [1, 0])
    source = Files(f"{tmp_path}/monday.csv", columns=Columns(label="label", context=("place",)))
    prepare(source, tmp_path / "prepared")
    return Prepared(f"{tmp_path}/prepared")


def day(folder, name, labels, start=NOON):
    """Writes a file of events of the user `name`; returns its path."""
    n = len(labels)
    rows = {"user_id": [name] * n, "item_id": [f"i{i}" for i in range(n)], "timestamp": np.arange(n) + start,
            "label": labels, "place": ["x", None, "y"][:n]}
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return f"{folder}/{name}.csv"


def test_the_manifest_says_what_the_dataset_is(dataset):
    said = dataset.manifest
    assert said.format == 1 and said.fingerprint == dataset.read()[0].fingerprint()
    assert said.statistics == {
        "events": 1, "shown": 1, "users": 1, "items": 2, "first": NOON, "last": NOON,
        "events_per_user": {"least": 1, "median": 1, "most": 1},
        "events_per_item": {"least": 1, "median": 1, "most": 1},
        "missing": {"events": {"label": 0, "place": 0}, "users": {}, "items": {}},
    }
    assert said.sources[0]["rows"] == 2 and dataset.sources()[0].columns.label == "label"
    log = Path(dataset.folder) / said.log
    assert {path.name for path in log.iterdir()} == set(said.files)
    assert said.files["events.arrow"]["sha256"] == hashlib.sha256((log / "events.arrow").read_bytes()).hexdigest()


def test_its_events_are_a_source_again(dataset, tmp_path):
    assert ingest(dataset)[0].fingerprint() == dataset.read()[0].fingerprint()
    source = without_times(tmp_path)
    prepare(source, tmp_path / "untimed")
    log = ingest(Prepared(f"{tmp_path}/untimed"))[0]
    assert not log.timed and (len(log), len(log.shown)) == tuple(map(len, (ingest(source)[0], ingest(source)[0].shown)))


def test_a_run_has_links_to_its_files(dataset, tmp_path):
    fingerprint = dataset.manifest.fingerprint
    assert dataset.link(tmp_path / "log", fingerprint)
    kept, own = tmp_path / "log" / "events.arrow", Path(dataset.folder) / "1" / "events.arrow"
    assert kept.samefile(own) and read_log(tmp_path / "log")[0].fingerprint() == dataset.manifest.fingerprint
    append_prepared(dataset.folder, Files(day(tmp_path, "tuesday", [1]), columns=dataset.sources()[0].columns))
    assert not own.exists() and len(read_log(tmp_path / "log")[0]) == 1
    assert not dataset.link(tmp_path / "later", fingerprint) and not (tmp_path / "later").exists()


def test_a_day_is_appended_and_the_past_is_not_read_again(dataset, tmp_path):
    first, second = dataset.sources()[0], Files(day(tmp_path, "tuesday", [1, 1, 0], NOON - 1), columns=Columns(
        label="label", context=("place",)))
    expected = ingest(Joined((first, second)))[0]
    Path(first.path).unlink()
    mapped = dataset.read()[0]
    (Path(dataset.folder) / "0").mkdir()  # of a process that was killed before it could remove it
    report = append_prepared(dataset.folder, second)
    assert dataset.read()[0].fingerprint() == expected.fingerprint() and report.rows == 3
    assert [source["rows"] for source in dataset.manifest.sources] == [2, 3]
    assert sorted(path.name for path in Path(dataset.folder).iterdir()) == ["2", "manifest.json", "prepare.lock"]
    assert len(mapped) == 1 and mapped.timestamp[0] == NOON  # who mapped it before still has it
    with pytest.raises(ConfigError, match="The log has these already"):
        append_prepared(dataset.folder, second)


def test_a_dataset_of_the_same_files_is_not_appended(dataset, tmp_path):
    prepare(dataset.sources()[0], tmp_path / "again")
    for folder in (dataset.folder, f"{tmp_path}/again"):
        with pytest.raises(ConfigError, match="The log has these already"):
            append_prepared(dataset.folder, Prepared(folder))
    with pytest.raises(ConfigError, match="The log has these already"):
        joined(dataset, dataset)


def test_appended_events_keep_to_the_rules(dataset, tmp_path):
    """To the given ones, and then without any to those of the last source."""
    columns, rules = Columns(label="label"), Rules(limit=1, max_time=NOON + 1)
    for name in ("tuesday", "wednesday"):
        found = append_prepared(dataset.folder, Files(day(tmp_path, name, [1, 1, 1]), columns=columns), rules)
        assert found.accepted == 1 and sum(found.rejected.values()) == 2
        assert dataset.rules() == Rules(limit=1, max_time=NOON + 1)
        rules = None
    assert len(dataset.read()[0]) == 3


def test_a_day_that_is_appended_while_the_dataset_is_read(dataset, tmp_path, monkeypatch):
    """It comes after the first checksum, and removes the files that were about to be read."""
    def checksum(path):
        monkeypatch.undo()
        append_prepared(dataset.folder, tuesday)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

    tuesday = Files(day(tmp_path, "tuesday", [1, 1]), columns=Columns(label="label"))
    monkeypatch.setattr("tfrs_twotower.data.preparing.dataset.checksum", checksum)
    assert len(dataset.read()[0]) == 3


def test_without_new_events_nothing_is_written(dataset, tmp_path):
    before = dataset.manifest
    bad = Files(day(tmp_path, "tuesday", [1], -5), columns=Columns(label="label"))
    assert "no interactions are left" in append_prepared(dataset.folder, bad, Rules(limit=1)).notes[0]
    assert dataset.manifest == before and dataset.read()


def test_a_day_of_dislikes_alone_is_kept(dataset, tmp_path):
    append_prepared(dataset.folder, Files(day(tmp_path, "tuesday", [0]), columns=Columns(label="label")))
    log = dataset.read()[0]
    assert (len(log), log.users["user_id"].to_pylist()) == (1, ["monday", "tuesday"])
    assert dict(zip(log.shown.user.tolist(), log.shown.item.tolist())) == {0: 1, 1: 0}


def test_events_of_frames_are_appended_once(tmp_path):
    """Frames have no configuration by which they are known again."""
    rows = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [NOON, NOON + 1]})
    folder = str(tmp_path / "prepared")
    prepare(Frames(rows), folder)
    with pytest.raises(ConfigError, match="All of them are there already"):
        append_prepared(folder, Frames(rows[::-1]))
    assert not (tmp_path / "prepared" / "2").exists()
    (tmp_path / "link").symlink_to(folder)
    prepare(Prepared(folder), tmp_path / "again")
    for target, source in ((folder, folder), (folder, f"{tmp_path}/link"), (f"{tmp_path}/again", folder)):
        with pytest.raises(ConfigError, match="The log has these already"):
            append_prepared(target, Prepared(source))
    append_prepared(folder, Frames(rows.assign(item_id="z")))
    assert len(Prepared(folder).read()[0]) == 4


def test_a_source_gives_the_tables_of_its_events(dataset, tmp_path):
    """Although a day is appended between the two, which removes the files."""
    events = dataset.interactions()
    first = next(events)
    append_prepared(dataset.folder, Files(day(tmp_path, "tuesday", [1]), columns=Columns(label="label")))
    assert dataset.users().to_pydict() == {"user_id": ["monday"]} and dataset.items().num_rows == 2
    assert first["user_id"].to_pylist() + next(events)["user_id"].to_pylist() == ["monday"] * 2
    assert vars(pickle.loads(pickle.dumps(dataset))) == {"folder": dataset.folder}
    assert len(ingest(dataset)[0]) == 2


def test_a_damaged_file_is_refused(dataset):
    path = Path(dataset.folder) / "1" / "events.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="events.arrow is damaged.*Prepare the dataset again"):
        dataset.read()


@pytest.mark.parametrize("text, message", [('{"format": 2, "made_by": "9.0"}', "format 2, which is newer than 1"),
                                           ("{", "cannot be read"), ("[]", "cannot be read")])
def test_a_manifest_that_cannot_be_read_is_refused(dataset, text, message):
    (Path(dataset.folder) / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        dataset.read()


@pytest.mark.parametrize("other", [
    {"log": 1}, {"log": "../1"}, {"files": []}, {"sources": []}, {"sources": [{}]}, {"sources": [{"rules": {"x": 1}}]},
])
def test_a_manifest_with_other_content_is_refused(dataset, other):
    """By every call, and not by what the call meets first."""
    path = Path(dataset.folder) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **other}))
    for call in (dataset.read, dataset.rules, lambda: append_prepared(dataset.folder, dataset.sources()[0])):
        with pytest.raises(DataError, match="manifest.json cannot be read .*remove .* and prepare the dataset again"):
            call()


def test_a_manifest_that_is_a_pipe_does_not_wait(dataset):
    path = Path(dataset.folder) / "manifest.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="cannot be read"):
        dataset.read()


def test_a_folder_of_others_is_left_alone(dataset, tmp_path):
    with pytest.raises(DataError, match="holds a prepared dataset already"):
        prepare(dataset.sources()[0], dataset.folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work").write_text("precious")
    with pytest.raises(DataError, match="holds files that are no prepared dataset"):
        prepare(dataset.sources()[0], tmp_path / "mine")
    with lock(tmp_path / "taken", "prepare.lock"), pytest.raises(DataError, match="another process is writing"):
        prepare(dataset.sources()[0], tmp_path / "taken")
    with pytest.raises(DataError, match="is no prepared dataset"):
        append_prepared(tmp_path / "new", dataset.sources()[0])
    with pytest.raises(DataError, match="`folder` must be a folder that can be written.*monday.csv"):
        prepare(dataset.sources()[0], tmp_path / "monday.csv")


@pytest.mark.parametrize("beside, precious", [("lock", "1"), ("manifest.json", "work")])
def test_a_folder_that_looks_like_a_dataset_loses_nothing(beside, precious, dataset, tmp_path):
    """A folder of exported versions has `lock` and `1`; many a folder has a `manifest.json`."""
    kept = tmp_path / "others" / precious / "saved_model.pb"
    kept.parent.mkdir(parents=True)
    kept.touch()
    (tmp_path / "others" / beside).touch()
    with pytest.raises(DataError, match="holds"):
        prepare(dataset.sources()[0], tmp_path / "others")
    assert kept.exists()


@pytest.mark.parametrize("rows, message", [
    ({"user_id": [None, "a"], "label": [1, 1]}, "1 of 2 rows are bad"),
    ({"user_id": ["a", "a"], "label": [0, 0]}, "none of the 2 labels is above 0"),
    ({"user_id": [None, None], "label": [1, 1]}, "no interactions are left of 2 rows read"),
])
def test_what_ingest_refuses_is_refused(rows, message, tmp_path):
    """And the folder can be prepared again."""
    rows = pa.table({"item_id": ["x", "y"], "timestamp": [NOON] * 2, "user_id": pa.array(rows["user_id"], pa.string()),
                     "label": rows["label"]})
    source, limit = Frames(rows, columns=Columns(label="label")), 0.4 if "bad" in message else 1
    for act in (lambda: ingest(source, limit), lambda: prepare(source, tmp_path / "p", rules=Rules(limit))):
        with pytest.raises(DataError, match=message):
            act()
    good = rows.set_column(2, "user_id", pa.array(["a", "b"])).set_column(3, "label", pa.array([1, 1]))
    assert prepare(Frames(good, columns=Columns(label="label")), tmp_path / "p").accepted == 2


def test_items_have_to_be_in_the_table(tmp_path):
    rows = pa.table({"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": [NOON] * 2})
    source, rules = Frames(rows, items=pa.table({"item_id": ["y"]})), Rules(0.5, require_items=True)
    assert prepare(source, tmp_path / "p", rules=rules).rejected == {"item_id: not in the item table": 1}
    assert Prepared(f"{tmp_path}/p").read()[0].items.to_pydict() == {"item_id": ["y"]}


def test_types_that_do_not_agree_are_refused(tmp_path):
    parts = [Frames(pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": [NOON], "place": [place]}),
                    columns=Columns(context=("place",))) for place in ("x", 1)]
    with pytest.raises(DataError, match="a context column changes its type between files"):
        prepare(Joined(tuple(parts)), tmp_path / "p")


def test_a_memory_that_is_no_size(dataset, tmp_path):
    with pytest.raises(DataError, match="`memory` must be a size that DuckDB knows"):
        prepare(dataset, tmp_path / "p", DuckDB("much"))


def test_a_log_beyond_the_memory_of_duckdb(tmp_path):
    """1.2 million rows of 50 bytes, in 48 MB."""
    n = 1_200_000
    rng = np.random.default_rng(0)
    rows = {"user_id": rng.integers(0, 5000, n), "item_id": rng.integers(0, 900, n),
            "timestamp": rng.integers(NOON, NOON + 10**6, n), "price": rng.random(n)}
    pq.write_table(pa.table(rows), tmp_path / "log.parquet")
    source = Files(f"{tmp_path}/log.parquet", columns=Columns(context=("price",)))
    with pytest.raises(DataError, match="`memory` must be enough for the joins and the sorting"):
        prepare(source, tmp_path / "p", DuckDB("5MB"))
    prepare(source, tmp_path / "p", DuckDB("48MB"))
    assert Prepared(f"{tmp_path}/p").manifest.fingerprint == ingest(source)[0].fingerprint()


def test_a_killed_process_leaves_no_dataset_and_can_be_repeated(tmp_path):
    """It is killed at each of the steps, by the names that it asks the file system for."""
    source = f"Files({day(tmp_path, 'monday', [1, 1])!r}, columns=Columns(label='label'))"
    for step in ("os.rename", "pyarrow.parquet.write_table", "pyarrow.ipc.new_file", "os.fsync"):
        code = f"""
import os, signal, pyarrow.parquet
from tfrs_twotower.data import Columns, Files, prepare
{step} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
prepare({source}, {str(tmp_path / "p")!r})
"""
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL, step
        assert not is_prepared(tmp_path / "p") and (tmp_path / "p" / "work").exists()
    assert prepare(eval(source), tmp_path / "p").accepted == 2
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["1", "manifest.json", "prepare.lock"]


class LosesARow(DuckDB):
    """An engine that gives one event less than there are."""

    @contextlib.contextmanager
    def session(self, work):
        with super().session(work) as session:
            rows = session.rows
            session.rows = lambda query: (b.slice(1) if "liked" in b.schema.names else b for b in rows(query))
            yield session


def test_an_engine_that_loses_rows_makes_no_dataset(tmp_path):
    log = Frames(pd.DataFrame({"user_id": ["a", "b", "a"], "item_id": ["x", "y", "y"], "timestamp": [NOON] * 3}))
    with pytest.raises(DataError, match="gave 2 of 3 rows"):
        prepare(log, tmp_path / "prepared", LosesARow())
    assert not is_prepared(tmp_path / "prepared")
