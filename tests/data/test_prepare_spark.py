"""Spark on executors that are processes of their own gives the log that `ingest` gives."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_sources import NOON, assert_same, shop, texts, without_times
from spark_cluster import MASTER, spark

from tfrs_twotower.data import Files, Prepared, Rules, Spark, ingest, prepare
from tfrs_twotower.errors import DataError


@pytest.fixture(scope="module")
def cluster():
    with spark() as session:
        assert session.sparkContext.master == MASTER
        yield session


@pytest.mark.parametrize("source", [shop, without_times, texts])
def test_it_is_the_log_that_ingest_gives(source, tmp_path, cluster, monkeypatch):
    source = source(tmp_path)
    monkeypatch.chdir(tmp_path)  # the executors have folders of their own
    prepare(source, "prépared set", Spark(), Rules(limit=1))
    expected = ingest(source, limit=1, rejected_to=tmp_path / "rejected.parquet")
    assert_same(Prepared(f"{tmp_path}/prépared set").read(), expected)


def test_what_a_task_refuses_is_refused_in_its_words(tmp_path, cluster):
    (tmp_path / "log").mkdir()
    for name, item in (("a", 1), ("b", "x")):
        rows = pa.table({"user_id": ["u"], "item_id": [item], "timestamp": [NOON]})
        pq.write_table(rows, tmp_path / "log" / f"{name}.parquet")
    with pytest.raises(DataError, match="b.parquet: column `item_id` is string here and int64 elsewhere"):
        prepare(Files(f"{tmp_path}/log"), tmp_path / "prepared", Spark())
