"""Spark on executors that are processes of their own gives the log that `ingest` gives."""

import pytest
from prepared_sources import assert_same, shop, texts, without_times
from spark_cluster import MASTER, spark

from tfrs_twotower.data import Prepared, Rules, Spark, ingest, prepare


@pytest.fixture(scope="module")
def cluster():
    with spark() as session:
        assert session.sparkContext.master == MASTER
        yield session


@pytest.mark.parametrize("source", [shop, without_times, texts])
def test_it_is_the_log_that_ingest_gives(source, tmp_path, cluster):
    source = source(tmp_path)
    prepare(source, tmp_path / "prepared", Spark(), Rules(limit=1))
    expected = ingest(source, limit=1, rejected_to=tmp_path / "rejected.parquet")
    assert_same(Prepared(f"{tmp_path}/prepared").read(), expected)
