import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Frames, ingest
from tfrs_twotower.errors import DataError


def test_item_counts_by_hand(make_log):
    log = make_log([0, 1, 0, 1], [2, 0, 2, 1], [1, 2, 3, 4])
    assert log.item_counts().tolist() == [1, 1, 2]
    assert log.item_counts(np.array([0, 1])).tolist() == [1, 0, 1]


def test_a_fingerprint_is_of_the_values_and_not_of_the_buffers(make_log):
    log = make_log([0, 1, 0], [2, 0, 1], [1, 2, 3])
    values = {"text": ["a", None, ""], "number": [1.5, None, 2], "list": [["x"], None, []]}
    whole = dataclasses.replace(log, context=pa.table(values))
    padded = pa.table({name: ["y" if name == "text" else None, *column] for name, column in values.items()})
    sliced = dataclasses.replace(log, context=padded.slice(1))
    chunked = dataclasses.replace(
        log, context=pa.concat_tables([whole.context.slice(0, 1), whole.context.slice(1)])
    )
    assert whole.fingerprint() == sliced.fingerprint() == chunked.fingerprint()
    assert len(whole.fingerprint()) == 64


@pytest.mark.parametrize("changed", [
    {"text": ["a", "", None], "list": [["x"], None, []]},
    {"text": ["a", None, ""], "list": [["x"], [], None]},
    {"text": ["a", None, ""], "list": [[], None, ["x"]]},
    {"renamed": ["a", None, ""], "list": [["x"], None, []]},
])
def test_any_change_of_context_changes_the_fingerprint(make_log, changed):
    log = make_log([0, 1, 0], [2, 0, 1], [1, 2, 3])
    first = dataclasses.replace(log, context=pa.table({"text": ["a", None, ""], "list": [["x"], None, []]}))
    assert dataclasses.replace(log, context=pa.table(changed)).fingerprint() != first.fingerprint()


def test_any_change_of_an_event_changes_the_fingerprint(make_log):
    prints = {
        make_log([0, 1, 0], [2, 0, 1], [1, 2, 3]).fingerprint(),
        make_log([0, 1, 1], [2, 0, 1], [1, 2, 3]).fingerprint(),
        make_log([0, 1, 0], [2, 1, 0], [1, 2, 3]).fingerprint(),
        make_log([0, 1, 0], [2, 0, 1], [1, 2, 4]).fingerprint(),
    }
    assert len(prints) == 4


def test_a_log_out_of_order_or_with_rows_out_of_its_tables_is_refused(make_log):
    with pytest.raises(DataError, match="ascend"):
        make_log([0, 0], [0, 1], [2, 1])
    log = make_log([0, 1], [0, 1], [1, 2])
    with pytest.raises(DataError, match="`item` must hold rows"):
        dataclasses.replace(log, item=np.array([0, 2], np.int32))
    with pytest.raises(DataError, match="`user` must be int32"):
        dataclasses.replace(log, user=log.user.astype(np.int64))


def test_the_log_of_some_users_has_their_events_and_all_items():
    frame = pd.DataFrame({"user_id": ["a", "b", "c", "b", "a"], "item_id": [1, 2, 3, 1, 2],
                          "timestamp": [1, 2, 3, 4, 5], "label": [1, 1, 1, 0, 1], "place": ["x", "y", "z", "y", None]})
    log, _ = ingest(Frames(frame, pd.DataFrame({"user_id": ["a", "b", "c"], "age": [1, 2, 3]}),
                           columns=Columns(label="label", context=("place",))))
    some, rows = log.of_users(np.array([1, 2]))
    assert rows.tolist() == [1, 2] and some.user.tolist() == [0, 1] and some.timestamp.tolist() == [2, 3]
    assert some.users.to_pydict() == {"user_id": ["b", "c"], "age": [2, 3]} and some.items is log.items
    assert some.context["place"].to_pylist() == ["y", "z"] and some.part.tolist() == [0, 0]
    assert (some.shown.user.tolist(), some.shown.timestamp.tolist()) == ([0], [4])
    # With fewer items: those of their events, also of what was shown, and the given ones.
    few, rows = log.of_users(np.array([1]), np.array([2]))
    assert rows.tolist() == [1] and few.items["item_id"].to_pylist() == [1, 2, 3]
    assert few.item.tolist() == [1] and few.shown.item.tolist() == [0]
    assert log.of_users(np.array([2]), np.array([], np.int64))[0].items["item_id"].to_pylist() == [3]
