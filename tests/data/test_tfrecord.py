import dataclasses

import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Frames, TFRecords, ingest, synthetic, write_tfrecords
from tfrs_twotower.errors import DataError


@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_written_reads_back_equal(tmp_path, shards):
    log, _ = ingest(synthetic(users=6, items=9, clusters=3, events=10)[0])
    paths = write_tfrecords(log, tmp_path / "log", shards)
    assert len(paths) == shards
    again, report = ingest(TFRecords(str(tmp_path / "log")))
    assert again.fingerprint() == log.fingerprint() and report.rejected == {}


def test_every_type_and_missing_values_read_back_equal(tmp_path):
    events = pa.table({
        "user_id": [5, 6, 5], "item_id": ["x", "y", "ü"], "timestamp": [1, 1, 2], "w": [0.5, 1.5, 2.5],
        "price": [0.25, None, -1.0], "count": [None, 2**40, -3], "text": ["", None, "ü"],
        "flag": [True, None, False],
        "tags": [["a", "b"], None, ["c"]], "numbers": [[1], [2, 3], None],
    })
    columns = Columns(weight="w", context=("price", "count", "text", "flag", "tags", "numbers"))
    log, _ = ingest(Frames(events, columns=columns))
    write_tfrecords(log, tmp_path, 2)
    again, _ = ingest(TFRecords(str(tmp_path)))
    assert again.context.to_pydict() == log.context.to_pydict()
    assert again.fingerprint() == log.fingerprint()


def test_what_was_shown_and_not_liked_reads_back_equal(tmp_path):
    liked = {"liked": [True, False, True]}
    events = pa.table({"user_id": [5, 6, 5], "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3], **liked})
    log, _ = ingest(Frames(events, columns=Columns(label="liked")))
    write_tfrecords(log, tmp_path)
    again, _ = ingest(TFRecords(str(tmp_path)))
    assert len(log.shown) == 1 and again.fingerprint() == log.fingerprint()


def test_doubles_are_rounded_to_32_bits(tmp_path):
    events = pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": [1], "price": [0.1]})
    log, _ = ingest(Frames(events, columns=Columns(context=("price",))))
    write_tfrecords(log, tmp_path)
    (price,) = ingest(TFRecords(str(tmp_path)))[0].context["price"].to_pylist()
    assert price != 0.1 and price == pytest.approx(0.1, rel=1e-7)


def test_messages(tmp_path):
    with pytest.raises(DataError, match="schema.json is not there"):
        ingest(TFRecords(str(tmp_path)))
    log, _ = ingest(synthetic(users=2, items=2, clusters=1, events=2)[0])
    with pytest.raises(DataError, match="shards"):
        write_tfrecords(log, tmp_path, 0)
    nested = dataclasses.replace(log, context=pa.table({"x": [{"a": 1}] * 4}))
    with pytest.raises(DataError, match="`x` has the type struct"):
        write_tfrecords(nested, tmp_path)
