"""Sources of every kind for the tests of `prepare`, and what it means that its log is that of `ingest`."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.data import Columns, Files, Frames, Joined

NOON = 1_600_000_000


def shop(tmp_path):
    """Two CSV files with labels, weights, a price that is whole in one of them, unicode ids, ties and bad rows."""
    (tmp_path / "log").mkdir()
    rng = np.random.default_rng(1)
    for day in range(2):
        n = 400
        users = rng.choice(["é", "日本", "a b", "'quoted'", "u,1", "U,1", "n-7", "NULL"], n)
        prices = rng.integers(1, 9, n) if day else np.round(rng.random(n), 2)
        pd.DataFrame({
            "who": users, "what": rng.integers(0, 30, n), "when": NOON + rng.integers(0, 50, n),
            "stars": rng.integers(-1, 3, n), "plays": rng.choice(["1", "2.5", "x", "7"], n), "Price": prices,
            "price": rng.choice(["low", "high", ""], n),
        }).to_csv(tmp_path / "log" / f"{day}.csv", index=False)
    items = pd.DataFrame({"what": [3, 99, 1, 3], "kind": ["p|q", "r", None, "p"], "cost": [1.5, None, 2, 3]})
    items.to_csv(tmp_path / "items.csv", index=False)
    columns = Columns("who", "what", "when", label="stars", weight="plays", context=("Price", "price"))
    return Files(f"{tmp_path}/log", items_path=f"{tmp_path}/items.csv", columns=columns, where=(("stars", ">", -1),))


def parquet(tmp_path):
    """Numbers as ids, lists, booleans and times as context, users' table as text, dates as times."""
    n = 300
    rng = np.random.default_rng(2)
    pq.write_table(pa.table({
        "user_id": rng.integers(0, 40, n), "item_id": pa.array(rng.integers(0, 20, n), pa.int32()),
        "timestamp": pa.array(NOON * 10**6 + rng.integers(0, 9, n), pa.timestamp("us")),
        "tags": pa.array([[["a"], ["b", None], [], None][i % 4] for i in range(n)]), "new": rng.random(n) > 0.5,
        "since": pa.array(rng.integers(0, 99, n), pa.timestamp("s")), "kind": pa.array(["buy"] * n).dictionary_encode(),
    }), tmp_path / "log.parquet", row_group_size=70)
    pd.DataFrame({"user_id": ["7", "100", "3"], "age": [1, 2, 3]}).to_parquet(tmp_path / "users.parquet")
    columns = Columns(event="kind", context=("tags", "new", "since"))
    return Files(f"{tmp_path}/log.parquet", users_path=f"{tmp_path}/users.parquet", columns=columns)


def without_times(tmp_path):
    rng = np.random.default_rng(3)
    rows = {"user_id": rng.integers(0, 30, 500), "item_id": rng.integers(0, 30, 500), "label": rng.integers(0, 2, 500)}
    return Frames(pa.table(rows), columns=Columns(timestamp=None, label="label"))


def days(tmp_path):
    """Parts of a joined log, of which one lacks nothing but has another type of price."""
    parts = []
    for day, price in enumerate((1, 1.5)):
        rows = pd.DataFrame({"user_id": ["a", "b", f"new{day}"], "item_id": [f"i{day}", "i", "i"],
                             "timestamp": [NOON, NOON, NOON - day], "price": [price] * 3})
        parts.append(Frames(rows, items=pd.DataFrame({"item_id": ["i"], "size": [day]}),
                            columns=Columns(context=("price",))))
    return Joined(tuple(parts))


def texts(tmp_path):
    """Ids that SQL, Parquet or Arrow might take for each other."""
    ids = ["a", "A", "a ", " a", "a\0", "a\0b", "é", "e\u0301", "ﬀ", "ff", "0", "00", "'", '"', "\\", "\U0001f600"]
    times = [NOON + i % 3 for i in range(2 * len(ids))]
    return Frames(pa.table({"user_id": ids * 2, "item_id": ids[::-1] + ids, "timestamp": times}))


SOURCES = [shop, parquet, without_times, days, texts]


def assert_same(prepared, expected):
    """Asserts that log, report and rejected rows are those of `ingest`."""
    (log, report), (other, wanted) = prepared, expected
    for name in ("user", "item", "timestamp", "weight", "part"):
        np.testing.assert_array_equal(getattr(log, name), getattr(other, name), name)
        assert getattr(log, name).dtype == getattr(other, name).dtype
    for name in ("user", "item", "timestamp"):
        np.testing.assert_array_equal(getattr(log.shown, name), getattr(other.shown, name), name)
    for name in ("context", "users", "items"):
        assert getattr(log, name).combine_chunks().equals(getattr(other, name).combine_chunks()), name
    assert log.fingerprint() == other.fingerprint()
    assert report.notes == wanted.notes and report.rejected == wanted.rejected
    assert (report.rows, report.accepted, report.users, report.items) == (
        wanted.rows, wanted.accepted, wanted.users, wanted.items)
    assert (report.rejected_path is None) == (wanted.rejected_path is None)
    if wanted.rejected_path:
        assert pq.read_table(report.rejected_path).equals(pq.read_table(wanted.rejected_path))
