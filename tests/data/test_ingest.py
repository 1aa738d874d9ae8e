import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.data import Columns, Files, Frames, ingest
from tfrs_twotower.errors import DataError


def frame(**columns):
    return pa.table({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [2, 1], **columns})


def test_events_come_in_time_order_and_ties_keep_the_sources_order():
    source = Frames(pa.table({
        "user_id": list("abacb"), "item_id": list("xyzxz"), "timestamp": [5, 3, 5, 3, 1],
    }))
    log, report = ingest(source)
    assert log.timestamp.tolist() == [1, 3, 3, 5, 5]
    users, items = log.users["user_id"].to_pylist(), log.items["item_id"].to_pylist()
    assert [users[u] + items[i] for u, i in zip(log.user, log.item)] == ["bz", "by", "cx", "ax", "az"]
    assert log.weight.tolist() == [1] * 5
    assert (report.rows, report.accepted, report.users, report.items) == (5, 5, 3, 3)
    assert report.rejected == {} and report.rejected_path is None


def test_tables_keep_their_order_and_ids_of_the_log_alone_get_null_features():
    log, _ = ingest(Frames(
        frame(),
        users=pa.table({"user_id": ["z", "a"], "age": [30, 40]}),
        items=pa.table({"item_id": ["y", "unsold"], "tags": [["p", "q"], []]}),
    ))
    assert log.users.to_pydict() == {"user_id": ["z", "a", "b"], "age": [30, 40, None]}
    assert log.items.to_pydict() == {"item_id": ["y", "unsold", "x"], "tags": [["p", "q"], [], None]}
    assert log.user.tolist() == [2, 1] and log.item.tolist() == [0, 2]


@pytest.mark.parametrize("ids, kind", [
    (pa.array([7, 8], pa.int32()), pa.int64()),
    (pa.array([7.0, 8.0]), pa.int64()),
    (pa.array(["7", "8"], pa.large_string()), pa.string()),
    (pa.array(["7", "8"]).dictionary_encode(), pa.string()),
    (pa.array([b"7", b"8"]), pa.string()),
])
def test_ids_stay_text_or_whole_numbers(ids, kind):
    log, _ = ingest(Frames(frame().set_column(0, "user_id", ids)))
    assert log.users["user_id"].type == kind
    assert [str(v) for v in log.users["user_id"].to_pylist()] == ["7", "8"]


def test_a_tables_ids_are_cast_to_the_logs():
    events = frame().set_column(0, "user_id", pa.array([7, 8]))
    log, _ = ingest(Frames(events, users=pa.table({"user_id": ["8", "7"], "age": [1, 2]})))
    assert log.users.to_pydict() == {"user_id": [8, 7], "age": [1, 2]}
    with pytest.raises(DataError, match="users.*`user_id` is text and the log's is a number"):
        ingest(Frames(events, users=pa.table({"user_id": ["8", "seven"]})))


NOON = 1_600_000_000  # 2020-09-13 12:26:40 UTC


BAD = {
    "user_id: missing": {"user_id": [None, "", "  "]},
    "item_id: missing": {"item_id": [None]},
    "timestamp: missing": {"timestamp": [None, ""]},
    "timestamp: not a time": {"timestamp": ["yesterday", "2020-13-45", "nan", "inf"]},
    "timestamp: outside of [0, 4102444800) seconds": {"timestamp": ["-1", "4102444800", "1e18"]},
    "weight: not a finite number of at least 0": {"weight": ["-1", "heavy", "nan", "inf", None]},
    "label: missing": {"label": [None, ""]},
    "label: not a finite number, true or false": {"label": ["five", "inf", "nan"]},
}


COLUMNS = Columns(weight="weight", label="label", weight_scale="linear")


def bad_events():
    good = {"user_id": "a", "item_id": "x", "timestamp": "5", "weight": "2", "label": "4"}
    rows, reasons = [good], {}
    for reason, columns in BAD.items():
        for column, values in columns.items():
            for value in values:
                reasons[len(rows)] = (reason, value)
                rows.append({**good, column: value})
    table = {name: pa.array([row[name] for row in rows], pa.string()) for name in good}
    return Frames(pa.table(table), columns=COLUMNS, name="shop"), reasons


def test_bad_rows_are_counted_by_reason_and_written_with_their_place(tmp_path):
    source, expected = bad_events()
    path = tmp_path / "made" / "rejected.parquet"
    log, report = ingest(source, limit=1, rejected_to=path)
    assert len(log) == 1 and log.weight.tolist() == [2] and log.context.to_pydict() == {"label": [4]}
    assert report.rejected == {reason: len(next(iter(c.values()))) for reason, c in BAD.items()}
    assert report.rejected_path == str(path)
    written = pq.read_table(path).to_pylist()
    assert {row["row"]: (row["reason"], row["value"]) for row in written} == expected
    assert {row["file"] for row in written} == {"shop"}


def test_over_the_limit_it_stops_and_says_counts_and_place(tmp_path):
    source, expected = bad_events()
    rows, bad = len(expected) + 1, len(expected)
    path = tmp_path / "rejected.parquet"
    with pytest.raises(DataError) as error:
        ingest(source, rejected_to=path)
    message = str(error.value)
    assert f"shop: {bad} of {rows} rows are bad" in message and "the limit is 1%" in message
    assert "user_id: missing: 3" in message and str(path) in message
    assert "timestamp: not a time: 4, such as 'yesterday'; " in message
    assert pq.read_metadata(path).num_rows == bad


def test_over_the_limit_it_says_how_to_raise_it():
    with pytest.raises(DataError, match="`rejected_limit` \\(`--set rejected_limit=0.5`"):
        ingest(Frames(frame(weight=[1.0, -1.0]), columns=Columns(weight="weight")))


def test_ids_that_the_table_lacks_are_told():
    events = pa.table({"user_id": ["a", "a", "b"], "item_id": ["1.0", "2", "1.0"], "timestamp": [NOON] * 3})
    items = pa.table({"item_id": ["1", "2", "3"], "price": [1, 2, 3]})
    assert ingest(Frames(events, items=items))[1].notes == (
        "frames (items): 1 of the 2 ids that the log has are not in the table, such as '1.0', while the table has ids "
        "such as '1'. They are without features.",
    )
    assert ingest(Frames(events.slice(1, 1), items=items))[1].notes == ingest(Frames(events))[1].notes == ()


def test_whole_numbers_that_pandas_wrote_as_floats_are_noted():
    events = pa.table({"user_id": ["7.0", "8.0"], "item_id": ["1.0", "1.5"], "timestamp": [NOON] * 2})
    log, report = ingest(Frames(events))
    assert log.users["user_id"].to_pylist() == ["7.0", "8.0"]
    (note,) = report.notes
    assert note.startswith("user_id: these look like whole numbers written as floats, such as '7.0'")


def test_the_limit_itself_is_allowed():
    events = pa.table({"user_id": ["a", None, "b", "c"], "item_id": ["x"] * 4, "timestamp": [1, 2, 3, 4]})
    assert len(ingest(Frames(events), limit=0.25)[0]) == 3
    with pytest.raises(DataError, match="1 of 4"):
        ingest(Frames(events), limit=0.24)


def test_no_file_of_an_earlier_run_stays(tmp_path):
    path = tmp_path / "rejected.parquet"
    path.write_text("old")
    assert ingest(Frames(frame()), rejected_to=path)[1].rejected_path is None
    assert not path.exists()


def test_times_out_of_the_range_given():
    log, report = ingest(Frames(frame()), limit=1, min_time=2)
    assert log.timestamp.tolist() == [2] and sum(report.rejected.values()) == 1


def test_items_that_must_be_in_the_table():
    items = pa.table({"item_id": ["x"]})
    log, report = ingest(Frames(frame(), items=items), limit=0.5, require_items=True)
    assert len(log) == 1 and log.items["item_id"].to_pylist() == ["x"]
    assert report.rejected == {"item_id: not in the item table": 1}
    with pytest.raises(DataError, match="needs an item table"):
        ingest(Frames(frame()), require_items=True)


def test_of_a_repeated_id_the_first_row_is_kept(tmp_path):
    items = pa.table({"item_id": ["x", "y", "x", None], "price": [1.0, 2.0, 3.0, 4.0]})
    path = tmp_path / "rejected.parquet"
    log, report = ingest(Frames(frame(), items=items), limit=0.5, rejected_to=path)
    assert log.items.to_pydict() == {"item_id": ["x", "y"], "price": [1.0, 2.0]}
    assert sum(report.rejected.values()) == 2 and report.accepted == 2
    assert [row["row"] for row in pq.read_table(path).to_pylist()] == [3, 2]
    with pytest.raises(DataError, match=r"frames \(items\): 2 of 4 rows are bad.*repeated"):
        ingest(Frames(frame(), items=items))


def test_a_float_that_is_no_whole_number_is_no_id():
    events = frame().set_column(0, "user_id", pa.array([1.5, 2.0]))
    log, report = ingest(Frames(events), limit=0.5)
    assert log.users["user_id"].to_pylist() == [2]
    assert report.rejected == {"user_id: not a whole number, or a float above 2^53": 1}


def test_minus_one_is_the_missing_id():
    log, report = ingest(Frames(frame().set_column(0, "user_id", pa.array([-1, 2]))), limit=0.5)
    assert log.users["user_id"].to_pylist() == [2] and report.rejected == {"user_id: missing": 1}


def test_context_keeps_its_values_and_an_infinite_one_is_a_bad_row():
    events = pd.DataFrame({
        "user_id": list("abc"), "item_id": list("xyz"), "timestamp": [3, 2, 1],
        "price": [math.nan, 2.5, math.inf], "shop": [1, 2, 3], "kind": ["buy", None, "view"],
        "when": pd.to_datetime(["1970-01-02", "1970-01-03", None]),
    })
    columns = Columns(event="kind", session="shop", context=("price", "when"))
    log, report = ingest(Frames(events, columns=columns), limit=0.5)
    assert log.context.to_pydict() == {
        "event": [None, "buy"], "session": ["2", "1"], "price": [2.5, None], "when": [172_800, 86_400],
    }
    assert report.rejected == {"price: not finite": 1}


def test_an_infinite_feature_counts_as_missing_and_is_noted():
    log, report = ingest(Frames(frame(), items=pa.table({"item_id": ["x", "y"], "price": [math.inf, 1.0]})))
    assert log.items["price"].to_pylist() == [None, 1.0]
    assert any("1 infinite values of `price`" in note for note in report.notes)


def test_a_column_of_a_table_that_has_no_plain_form_is_left_out_and_noted():
    odd = {"x": pa.array([{"b": 1}]), "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
           "t": pa.array([1], pa.time32("s")), "image": pa.array([b"\x89PNG\xff"])}
    log, report = ingest(Frames(frame(), users=pa.table({"user_id": ["a"], **odd, "age": [30]})))
    assert log.users.column_names == ["user_id", "age"]
    for name in odd:
        (note,) = [note for note in report.notes if f"column `{name}`" in note]
        assert "It is left out; `--skip" in note
    with pytest.raises(DataError, match=r"\(users\).*column `user_id` has the type struct"):
        ingest(Frames(frame(), users=pa.table({"user_id": [{"b": 1}]})))


def test_messages_name_the_file_the_column_and_the_nearest_name():
    with pytest.raises(DataError, match=r"shop.*no column `user_id`.*Did you mean `userid`"):
        ingest(Frames(frame().rename_columns(["userid", "item_id", "timestamp"]), name="shop"))
    with pytest.raises(DataError, match=r"shop: column `item_id` has the type struct"):
        ingest(Frames(frame().set_column(1, "item_id", pa.array([{"a": 1}, {"a": 2}])), name="shop"))
    with pytest.raises(DataError, match=r"column `user_id` has the type bool"):
        ingest(Frames(frame().set_column(0, "user_id", pa.array([True, False]))))


def test_no_events_is_a_clear_error():
    with pytest.raises(DataError, match="no interactions"):
        ingest(Frames(frame().slice(0, 0)))
    with pytest.raises(DataError, match="no interactions are left of 2 rows"):
        ingest(Frames(frame().set_column(0, "user_id", pa.array([None, None], pa.string()))), limit=1)


def test_a_wrong_limit_is_an_error():
    with pytest.raises(DataError, match="`limit` must be a fraction"):
        ingest(Frames(frame()), limit=5)


def test_many_batches_equal_one():
    rng = np.random.default_rng(0)
    n = 70_000  # more than one batch of Frames
    events = pa.table({
        "user_id": rng.integers(0, 500, n),
        "item_id": rng.integers(0, 900, n),
        "timestamp": rng.integers(0, 999, n),
    })
    log, _ = ingest(Frames(events))
    order = np.argsort(events["timestamp"].to_numpy(), kind="stable")
    assert np.array_equal(log.users["user_id"].to_numpy()[log.user], events["user_id"].to_numpy()[order])
    assert np.array_equal(log.items["item_id"].to_numpy()[log.item], events["item_id"].to_numpy()[order])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_programs_write_for_a_missing_id_is_missing_in_all_formats(tmp_path, ending):
    missing = ["-1", "NULL", "null", "nan", "NaN", "None", "NA", "N/A", "<NA>", "\\N", " ", " null "]
    ids = ["u-1", "0", "Nan", *missing]
    table = pa.table({"user_id": ids, "item_id": ["x"] * len(ids), "timestamp": [NOON] * len(ids)})
    if ending == "csv":
        table.to_pandas().to_csv(tmp_path / "log.csv", index=False)
    else:
        pq.write_table(table, tmp_path / "log.parquet")
    log, report = ingest(Files(f"{tmp_path}/log.{ending}"), limit=1)
    assert log.users["user_id"].to_pylist() == ["u-1", "0", "Nan"]
    assert report.rejected == {"user_id: missing": len(missing)}


def test_weights_are_by_log_where_nothing_else_is_said():
    plays = frame(plays=[np.e - 1, 0.0])
    assert ingest(Frames(plays, columns=Columns(weight="plays")))[0].weight.tolist() == pytest.approx([0.0, 1.0])
    linear = Columns(weight="plays", weight_scale="linear")
    assert ingest(Frames(plays, columns=linear))[0].weight.tolist() == pytest.approx([0.0, np.e - 1])


def test_what_was_taken_back_is_refused_with_what_leaves_it_out():
    with pytest.raises(DataError, match="`--where \"COLUMN > 0\"` of the weight's column leaves them out"):
        ingest(Frames(frame(n=[1, -1]), columns=Columns(weight="n")))
