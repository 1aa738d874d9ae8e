"""Columns of 2 GiB or more. Views of one small chunk make a long column cheap."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.data import Columns, Frames, append, ingest, keep_log, read_log, wide
from tfrs_twotower.features import to_tensor
from tfrs_twotower.training.encoded_tables import event_table

TEXTS = [f"{i:036000d}" for i in range(1000)]
TIMES = 60  # 60 chunks of 36 MB are 2.16 GB
ROWS = np.array([59_999, 1, 1000, 1])


@pytest.fixture(scope="module")
def sessions():
    return pa.chunked_array([pa.array(TEXTS)] * TIMES)


@pytest.fixture
def long_log(make_log, sessions):
    zeros = np.zeros(len(sessions), int)
    return dataclasses.replace(make_log(zeros, zeros, zeros), context=pa.table({"session": sessions}))


@pytest.mark.parametrize("lists", [False, True])
def test_rows_of_a_long_column(sessions, lists):
    column = pa.chunked_array([pa.array([[text] for text in TEXTS])] * TIMES) if lists else sessions
    found = wide.take(column, ROWS)
    assert found.type == (pa.large_list(pa.large_string()) if lists else pa.large_string())
    assert [int((value[0] if lists else value)[-3:]) for value in found.to_pylist()] == [999, 1, 0, 1]


def test_a_long_text_taken_many_times():
    found = wide.take(pa.chunked_array([["a" * 2**16]]), np.zeros(2**15, int))
    assert found.type == pa.large_string() and found.nbytes > 2**31


def test_a_short_column_keeps_its_type():
    column = pa.chunked_array([["a"], [None, "b"]])
    assert wide.take(column, np.array([2, 0])).equals(pa.chunked_array([["b", "a"]]))
    assert wide.take(column, np.zeros(0, int)).type == wide.one(column).type == pa.string()


def test_a_batch_of_a_long_log(long_log):
    batch = to_tensor(event_table(long_log, ["session"], ROWS)["session"], tf.TensorSpec([None], tf.string))
    assert [int(text[-3:]) for text in batch.numpy()] == [999, 1, 0, 1]


def test_the_fingerprint_of_a_long_log(long_log):
    sessions = long_log.context["session"].cast(pa.large_string())
    wider = dataclasses.replace(long_log, context=pa.table({"session": sessions}))
    assert long_log.fingerprint() == wider.fingerprint()


def test_columns_that_exceed_the_bound_are_read_appended_and_kept(tmp_path, monkeypatch):
    """The bound is lowered: a real column of 2 GiB takes gigabytes to sort."""
    columns = Columns("user", "item", "at", context=("session", "tags"))

    def events(first):
        i = np.arange(first, first + 200)
        return Frames(
            pa.table({"user": [f"u{n % 7}" for n in i], "item": [f"i{n % 5}" for n in i], "at": i[::-1],
                      "session": [f"session {n}" for n in i], "tags": [[f"tag {n}"] for n in i]}),
            users=pa.table({"user": [f"u{n}" for n in range(7)], "text": ["word " * 9] * 7}),
            items=pa.table({"item": [f"i{n}" for n in range(5)], "text": ["word " * 9] * 5}), columns=columns,
        )

    def read():
        log, _ = ingest(events(0))
        return append(log, events(200))

    short, _ = read()
    assert short.context["session"].type == short.users["text"].type == pa.string()
    monkeypatch.setattr(wide, "MOST", 64)
    log, report = read()
    assert log.context["session"].type == log.users["user_id"].type == log.items["text"].type == pa.large_string()
    assert log.context["tags"].type == pa.large_list(pa.large_string())
    assert log.context["session"][0].as_py() == "session 199" and log.context["tags"][399].as_py() == ["tag 200"]
    keep_log(log, report, tmp_path)
    assert short.fingerprint() == log.fingerprint() == read_log(tmp_path)[0].fingerprint()
