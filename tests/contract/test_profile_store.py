"""What every `ProfileStore` has to do."""

import datetime

import pyarrow as pa
import pytest

from tfrs_twotower.errors import DataError
from tfrs_twotower.online import SqliteFile, SqliteProfileStore, put_table


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        store = SqliteProfileStore(SqliteFile(tmp_path / "store.db"))
    else:
        from tfrs_twotower.online.redis_stores import RedisProfileStore

        store = RedisProfileStore(request.getfixturevalue("redis").url)
    yield store
    store.close()


def test_columns_come_back_and_new_ones_replace_all_old_ones(store):
    store.put({"u": {"age": 30, "city": "Łódź"}, "v": {"tags": ["a", "b"], "x": 0.5}})
    assert store.get(["v", "nobody", "u"]) == [{"tags": ["a", "b"], "x": 0.5}, {}, {"age": 30, "city": "Łódź"}]
    store.put({"u": {"city": "Kraków"}})
    assert store.get(["u"]) == [{"city": "Kraków"}]
    store.put({})
    assert store.get([]) == []


def test_a_users_table_is_kept_as_requests_would_carry_it(store):
    born = datetime.datetime(1970, 1, 2, tzinfo=datetime.timezone.utc)
    table = pa.table({
        "user_id": pa.array([1, 2], pa.int64()),
        "kind": pa.array(["a", None]).dictionary_encode(),
        "weight": pa.array([float("nan"), 0.5], pa.float32()),
        "since": pa.array([born, None], pa.timestamp("ms", "UTC")),
        "day": pa.array([datetime.date(1970, 1, 3), None]),
        "tags": pa.array([["x", None], []], pa.list_(pa.string())),
    })
    assert put_table(store, table) == 2
    assert store.get(["1", "2"]) == [
        {"kind": "a", "since": 86_400, "day": 172_800, "tags": ["x"]},
        {"weight": 0.5, "tags": []},
    ]


def test_a_table_needs_users(store):
    with pytest.raises(DataError, match="`users` must have a column `user_id`"):
        put_table(store, pa.table({"user": [1]}))
