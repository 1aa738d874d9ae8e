import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Frames, ingest
from tfrs_twotower.errors import DataError

COLUMNS = Columns(user_id="user", item_id="item", timestamp="at", weight="w", context=("price",), weight_scale="linear")


def pandas_events():
    return pd.DataFrame({
        "user": [3, 1], "item": ["x", "y"], "at": pd.to_datetime([2, 1], unit="s"), "w": [0.5, 2],
        "price": [9, 8], "unused": [object(), object()],
    })


def test_pandas_and_arrow_give_the_same_log():
    items = pd.DataFrame({"item": ["y", "x"], "genres": [["a", "b"], []], "stock": [1.0, np.nan]})
    first, _ = ingest(Frames(pandas_events(), items=items, columns=COLUMNS))
    arrow = pa.table({"user": [3, 1], "item": ["x", "y"], "at": [2, 1], "w": [0.5, 2], "price": [9, 8]})
    second, _ = ingest(Frames(arrow, items=pa.Table.from_pandas(items), columns=COLUMNS))
    assert first.fingerprint() == second.fingerprint()
    assert first.users["user_id"].to_pylist() == [3, 1]
    assert first.items.to_pydict() == {
        "item_id": ["y", "x"], "genres": [["a", "b"], []], "stock": [1.0, None],
    }
    assert first.weight.tolist() == [2, 0.5] and first.context.to_pydict() == {"price": [8, 9]}


def test_the_callers_frame_is_left_as_it_was():
    frame = pandas_events()
    before = frame.copy()
    ingest(Frames(frame, columns=COLUMNS))
    pd.testing.assert_frame_equal(frame, before)


def test_messages():
    with pytest.raises(DataError, match=r"must be a pandas.DataFrame or a pyarrow.Table. Received: a dict"):
        ingest(Frames(pandas_events(), items={"item": []}, columns=COLUMNS))
    mixed = pandas_events().assign(item=[1, "x"])
    with pytest.raises(DataError, match=r"frames \(interactions\): column `item` mixes types"):
        ingest(Frames(mixed, columns=COLUMNS))
    with pytest.raises(DataError, match="`context` has `label`, which is a fixed name"):
        ingest(Frames(pandas_events(), columns=Columns("user", "item", "at", label="w", context=("label",))))
    with pytest.raises(DataError, match=r"has `user`, to be called `user_id`, and a `user_id` too"):
        ingest(Frames(pandas_events(), users=pd.DataFrame({"user": [1], "user_id": [2]}), columns=COLUMNS))


def test_a_table_with_two_columns_of_one_name_is_refused():
    events = pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": [1]})
    items = pa.Table.from_arrays([pa.array(["x"]), pa.array([1]), pa.array([2])], names=["item_id", "price", "price"])
    with pytest.raises(DataError, match=r"frames \(items\): 2 columns are called `price`"):
        Frames(events, items=items).items()
