"""Damaged files are refused by an error of this package with a reason, or read; nothing else is raised."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fuzz.values import damaged, few, mutated, reads_or_refuses
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower import recipes
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import Columns, Files, TFRecords, ingest, write_tfrecords
from tfrs_twotower.errors import ExportError, TwoTowerError
from tfrs_twotower.exporting import integrity, manifest, user_deltas
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.learned_fields import read_fields
from tfrs_twotower.pipeline.lineage import lineage

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # Arrow says so where a bad line is no UTF-8, and then raises
)

EVENTS = pa.table({
    "user_id": ["ann", "bob", "ann", "é", 'say "no"'],
    "item_id": ["1", "2", "3", "1", "2"],
    "timestamp": [10, 20, 30, 40, 50],
    "price": [1.5, 2.5, None, 4.0, 1e300],
    "tags": ["a|b", None, "", "c", "d"],
})
COLUMNS = Columns(context=("price", "tags"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """{kind: bytes of a whole file}, and a folder to damage them in."""
    folder = tmp_path_factory.mktemp("whole")
    pyarrow.csv.write_csv(EVENTS, folder / "log.csv")
    pq.write_table(EVENTS, folder / "log.parquet")
    log, _ = ingest(Files(path=str(folder / "log.csv"), columns=COLUMNS))
    write_tfrecords(log, folder / "records")
    return folder


def ingested(source):
    log, _ = ingest(source, limit=1.0)
    assert len(log.user) == len(log.item) == len(log.timestamp)
    return log


@pytest.mark.parametrize("name, examples", [("log.csv", 60), ("log.parquet", 60)])
def test_a_damaged_log(whole, tmp_path, name, examples):
    data = (whole / name).read_bytes()

    @few(examples)
    @given(damaged(data))
    def check(broken):
        (tmp_path / name).write_bytes(broken)
        reads_or_refuses(lambda: ingested(Files(path=str(tmp_path / name), columns=COLUMNS)))

    check()


@pytest.mark.parametrize("name", ["interactions-00000-of-00001.tfrecord", "schema.json", "users.parquet"])
def test_a_damaged_folder_of_tfrecords(whole, tmp_path, name):
    shutil.copytree(whole / "records", tmp_path / "records")
    data = (tmp_path / "records" / name).read_bytes()

    @few(12)
    @given(damaged(data))
    def check(broken):
        (tmp_path / "records" / name).write_bytes(broken)
        reads_or_refuses(lambda: ingested(TFRecords(str(tmp_path / "records"))))

    check()


def test_a_schema_of_tfrecords_with_other_values(whole, tmp_path):
    shutil.copytree(whole / "records", tmp_path / "records")
    schema = json.loads((whole / "records" / "schema.json").read_text())

    @few(12)
    @given(mutated(schema))
    def check(other):
        (tmp_path / "records" / "schema.json").write_text(json.dumps(other))
        reads_or_refuses(lambda: ingested(TFRecords(str(tmp_path / "records"))))

    check()


def test_a_damaged_manifest(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    manifest.write(tmp_path, {"model": "toy", "embedding_space": "s", "lineage": [{"run": "a"}]})
    path, text = tmp_path / manifest.MANIFEST, (tmp_path / manifest.MANIFEST).read_bytes()
    broken = st.one_of(damaged(text), mutated(json.loads(text)).map(lambda v: json.dumps(v).encode()))

    @few(80)
    @given(broken)
    def check(data):
        path.write_bytes(data)
        try:
            integrity.check(tmp_path)
        except ExportError:
            pass

    check()
    path.write_text("[" * 100_000)
    with pytest.raises(ExportError, match="cannot be read"):
        integrity.check(tmp_path)


@pytest.mark.parametrize("name", ["000001.npz", "000001.json"])
def test_a_damaged_delta_of_user_rows(tmp_path, name):
    keys, rows = np.arange(3, dtype=np.int64), np.ones((3, 2), np.float32)
    file = user_deltas.publish(tmp_path, 1, user_deltas.UserDelta("s", 7, keys, rows)).parent / name
    data = file.read_bytes()
    broken = damaged(data)
    if name.endswith("json"):
        broken |= mutated(json.loads(data)).map(lambda v: json.dumps(v).encode())

    @few(50)
    @given(broken)
    def check(broken):
        file.write_bytes(broken)
        try:
            (delta,) = user_deltas.read(tmp_path, 1, "s")
        except ExportError as error:
            assert "000001" in str(error)
        else:  # what came through is what was written
            np.testing.assert_array_equal(delta.keys, keys)
            np.testing.assert_array_equal(delta.rows, rows)

    check()


def test_damaged_settings_and_fields_of_a_run(tmp_path):
    config = runs.RunConfig(recipes.load("retail"), "space", "data", 5)
    runs.write_config(tmp_path, config)
    path, text = tmp_path / runs.CONFIG, (tmp_path / runs.CONFIG).read_bytes()

    @few(50)
    @given(damaged(text) | mutated(json.loads(text)).map(lambda v: json.dumps(v).encode()))
    def check(broken):
        path.write_bytes(broken)
        reads_or_refuses(lambda: runs.read_config(tmp_path))
        reads_or_refuses(lambda: lineage(tmp_path))

    check()
    fields = tmp_path / runs.CHECKPOINT / "fields.npz"
    fields.parent.mkdir()
    np.savez(fields, **{"query/id/keys": np.arange(3), "candidate/id/keys": np.arange(4)})
    data = fields.read_bytes()

    @few(40)
    @given(damaged(data))
    def check_fields(broken):
        fields.write_bytes(broken)
        reads_or_refuses(lambda: read_fields(tmp_path / runs.CHECKPOINT))

    check_fields()


@pytest.mark.parametrize("name", ["movielens", "mind", "facebook_ebr", "cold"])
def test_a_recipe_with_other_values(name):
    whole = to_dict(recipes.load(name))

    @few(50)
    @given(mutated(whole))
    def check(other):
        found = reads_or_refuses(lambda: from_dict(other))
        if found is not None and isinstance(other, dict) and other.get("type") == "Recipe":
            assert to_dict(found)["name"] == other["name"]

    check()
    with pytest.raises(TwoTowerError):
        from_dict({**whole, "nmae": 1})
