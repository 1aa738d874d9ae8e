"""Conditions on events, and what columns left unread are told."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.data import Columns, Files, Frames, ingest
from tfrs_twotower.data.conditions import fulfilled, read_condition
from tfrs_twotower.errors import ConfigError, DataError


@pytest.mark.parametrize(("text", "condition"), [
    ("rating >= 4", ("rating", ">=", 4)), ("rating>=4.5", ("rating", ">=", 4.5)), ("n = 3", ("n", "==", 3)),
    ("Unit Price != -1", ("Unit Price", "!=", -1)), ("country == DE", ("country", "==", "DE")),
    ('name == "12"', ("name", "==", "12")), ("sold == True", ("sold", "==", True)),
    ("customer != none", ("customer", "!=", None)), ("kind == view all", ("kind", "==", "view all")),
    ("day < 2024-01-31", ("day", "<", "2024-01-31")),
])
def test_a_text_is_read_as_column_operator_value(text, condition):
    assert read_condition(text, "--where") == condition
    assert json.loads(json.dumps(condition)) == list(condition)  # as config.json has it


@pytest.mark.parametrize("text", ["rating", ">= 4", "rating >=", "", "rating => 4 ="])
def test_what_is_no_condition_is_an_error_with_an_example(text):
    with pytest.raises(ConfigError, match='`--where` must look like COLUMN OPERATOR VALUE.*"rating >= 4"'):
        read_condition(text, "--where")


@pytest.mark.parametrize(("column", "text", "true"), [
    (pa.array([1, 4, None]), "x >= 4", [False, True, None]),
    (pa.array([1.0, float("nan"), 5.0]), "x >= 4", [False, None, True]),
    (pa.array(["1", "04", None, "four"]), "x == 4", [False, True, None, False]),
    (pa.array(["-1", "u7", None]), "x != -1", [False, True, None]),
    (pa.array(["DE", "FR", None]), "x == DE", [True, False, None]),
    (pa.array(["DE", "FR"]).dictionary_encode(), "x != DE", [False, True]),
    (pa.array([True, False, None]), "x == true", [True, False, None]),
    (pa.array([True, False]), "x == 1", [True, False]),
    (pa.array(["True", "false", "1"]), "x == true", [True, False, True]),
    (pa.array([1.0, float("nan"), None]), "x != none", [True, False, False]),
    (pa.array(["", None]), "x == none", [False, True]),
    (pa.array(pd.to_datetime(["2024-01-01", "2024-03-01"])), "x < 2024-02-01", [True, False]),
])
def test_conditions_are_true_false_or_unknown(column, text, true):
    assert fulfilled(pa.table({"x": column}), read_condition(text, "--where"), "log").to_pylist() == true


def test_what_cannot_be_compared_is_an_error_with_the_column():
    with pytest.raises(DataError, match="log: column `x` is int64 and cannot be compared with 'DE'"):
        fulfilled(pa.table({"x": [1]}), ("x", "==", "DE"), "log")
    with pytest.raises(DataError, match="`where` must use == or != to test for a missing value"):
        ingest(Frames(RATED, where=(("rating", ">", None),)))
    with pytest.raises(DataError, match="`positive` has no operator '=>'"):
        ingest(Frames(RATED, positive=(("rating", "=>", 4),)))


RATED = pa.table({
    "user_id": list("aabb"), "item_id": list("wxyz"), "timestamp": [1, 2, 3, 4], "rating": [5, 2, None, 4],
    "liked": [1, 1, 1, 0],
})


def sources(tmp_path, **conditions):
    pq.write_table(RATED, tmp_path / "log.parquet")
    RATED.to_pandas().astype({"rating": "Int64"}).to_csv(tmp_path / "log.csv", index=False)
    columns = conditions.pop("columns", Columns())
    yield Frames(RATED, columns=columns, **conditions)
    for ending in ("parquet", "csv"):
        yield Files(str(tmp_path / f"log.{ending}"), columns=columns, **conditions)


def test_what_positive_rejects_was_shown_and_what_has_no_value_is_a_bad_row(tmp_path):
    for source in sources(tmp_path, positive=(("rating", ">=", 4),)):
        log, report = ingest(source, limit=1)
        items = log.items["item_id"].to_pylist()
        assert ([items[i] for i in log.item], [items[i] for i in log.shown.item]) == (["w", "z"], ["x"])
        assert report.rejected == {"label: missing": 1}


def test_positive_and_a_label_must_both_be_true(tmp_path):
    conditions = {"positive": (("rating", ">=", 4),), "where": (("rating", "!=", None),)}
    for source in sources(tmp_path, columns=Columns(label="liked"), **conditions):
        log, report = ingest(source)
        items = log.items["item_id"].to_pylist()
        assert ([items[i] for i in log.item], [items[i] for i in log.shown.item]) == (["w"], ["x", "z"])
        assert report.rows == 3 and report.rejected == {}


def test_lines_that_cannot_be_parsed_are_counted_whatever_where_says(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp,n\na,x,1,1\nb,y,2,3,4\nc,z,3,0\n")
    log, report = ingest(Files(str(tmp_path / "log.csv"), where=(("n", ">", 0),)), limit=1)
    assert len(log) == 1 and report.rejected == {"line: cannot be parsed": 1}


def test_columns_that_say_what_an_event_is_worth_are_named_where_they_are_left_unread(tmp_path):
    for source in sources(tmp_path):
        notes = [note for note in ingest(source)[1].notes if "is not read" in note]
        assert [note.partition(":")[0] for note in notes] == ["`rating` is not read", "`liked` is not read"]
        assert '`--positive "rating >= 4"`' in notes[0] and "`--label liked`" in notes[1]
    for source in sources(tmp_path, columns=Columns(label="liked")):
        assert not [note for note in ingest(source)[1].notes if "every event is a like" in note]  # there are labels
    for source in sources(tmp_path, columns=Columns(label="liked", weight="rating"), where=(("rating", ">", 0),)):
        assert not [note for note in ingest(source)[1].notes if "is not read" in note]
