"""Events behind a log that was read before: the same as reading all of it."""

import numpy as np
import pandas as pd
import pytest

from tfrs_twotower.data import Columns, Frames, Joined, Rules, append, entities, ingest, keep_log, read_log
from tfrs_twotower.errors import DataError

COLUMNS = Columns(label="label", weight="weight", context=("place",))


def days():
    """Two days; the second has an event older than the first's last, new users and items, and describes "b" again."""
    first = pd.DataFrame({"user_id": ["a", "b", "a", "c"], "item_id": [3, 1, 2, 9], "timestamp": [30, 10, 20, 30],
                          "label": [1, 0, 1, 1], "weight": [2.0, 1.0, 3.0, 1.0], "place": ["x", None, "y", "x"]})
    second = pd.DataFrame({"user_id": ["d", "a", "b", "d"], "item_id": [9, 7, 3, 8], "timestamp": [50, 25, 30, 40],
                           "label": [1, 1, 1, 0], "weight": [1.0, 1.0, 4.0, 1.0], "place": ["z", "x", None, "y"]})
    users = pd.DataFrame({"user_id": ["b", "a"], "age": [30, 20]})
    again = pd.DataFrame({"user_id": ["e", "b"], "age": [50, 31]})
    return Frames(first, users, columns=COLUMNS), Frames(second, again, columns=COLUMNS)


def events(log):
    """The log's events and descriptions by id, as frames."""
    users, items = log.users.to_pandas(), log.items.to_pandas()
    rows = log.context.to_pandas().assign(
        user=users.user_id.to_numpy()[log.user], item=items.item_id.to_numpy()[log.item], time=log.timestamp,
        weight=log.weight, part=log.part,
    )
    shown = pd.DataFrame({"user": users.user_id.to_numpy()[log.shown.user], "time": log.shown.timestamp,
                          "item": items.item_id.to_numpy()[log.shown.item]})
    return rows, shown, users.set_index("user_id").sort_index(), sorted(items.item_id)


def test_appending_gives_the_same_as_reading_both(tmp_path):
    first, second = days()
    keep_log(*ingest(first), tmp_path)
    log, report = append(read_log(tmp_path)[0], second)
    for found, expected in zip(events(log), events(ingest(Joined((first, second)))[0])):
        if isinstance(found, pd.DataFrame):
            pd.testing.assert_frame_equal(found, expected)
        else:
            assert found == expected
    assert report.rows == 4 and "behind 3 events" in report.notes[0]


def test_new_ids_behind_a_log_without_tables_lack_no_features():
    frame = pd.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "timestamp": [1700000000, 1700000001]})
    log, _ = ingest(Frames(frame))
    _, report = append(log, Frames(frame.assign(user_id=["c", "d"], item_id=[3, 4])))
    assert report.notes == ("behind 2 events that were read before",)


@pytest.mark.parametrize("first, second, places", [(Columns(), COLUMNS, [None, None, "z", "x"]),
                                                   (COLUMNS, Columns(), ["y", "x", None, None])])
def test_a_column_that_one_day_lacks_is_missing_there(first, second, places):
    frame = pd.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "timestamp": [10, 20], "label": 1, "weight": 1.0})
    days = (Frames(frame.assign(place=["y", "x"]), columns=first),
            Frames(frame.assign(timestamp=[30, 40], place=["z", "x"]), columns=second))
    for log in (append(ingest(days[0])[0], days[1])[0], ingest(Joined(days))[0]):
        assert log.context["place"].to_pylist() == places and log.timestamp.tolist() == [10, 20, 30, 40]


def test_what_was_read_keeps_its_rows():
    first, second = days()
    before, _ = ingest(first)
    log, _ = append(before, second)
    assert log.users["user_id"].to_pylist()[: len(before.users)] == before.users["user_id"].to_pylist()
    assert log.items["item_id"].to_pylist()[: len(before.items)] == before.items["item_id"].to_pylist()
    np.testing.assert_array_equal(log.part, [0, 1, 0, 0, 1, 1])


@pytest.mark.parametrize("kind", [int, str])
def test_a_small_day_is_found_in_large_tables(kind, monkeypatch):
    """A day of three events behind users 0 … 99 in a row order of their own; 100 and 101 are new."""
    order = np.random.default_rng(0).permutation(100)
    frame = pd.DataFrame({"user_id": order, "item_id": order[::-1], "timestamp": np.arange(100) + 1})
    log, _ = ingest(Frames(frame.astype({"user_id": kind, "item_id": kind})))
    day = pd.DataFrame({"user_id": [7, 100, 101, 7], "item_id": [100, 3, 5, 3], "timestamp": [200, 201, 202, 203]})
    monkeypatch.setattr(entities, "_repeated", None)  # each id of a log is there once: nobody looks for repeated ones
    both, _ = append(log, Frames(day.astype({"user_id": kind, "item_id": kind})))
    seven, three, five = (np.flatnonzero(order == key)[0] for key in (7, 3, 5))
    assert both.user[100:].tolist() == [seven, 100, 101, seven]
    assert both.item[100:].tolist() == [100, 99 - three, 99 - five, 99 - three]
    assert both.users["user_id"].to_pylist()[100:] == [kind(100), kind(101)]


def test_a_repeated_id_of_a_days_table_is_one_row():
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [10, 20]})
    log, _ = ingest(Frames(frame))
    both, _ = append(log, Frames(frame.assign(timestamp=[30, 40]), users=pd.DataFrame({"user_id": [3, 3, 1]})))
    assert both.users["user_id"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("make", [
    lambda texts: pd.Series(texts, dtype="category"), pd.to_datetime, lambda texts: pd.to_datetime(texts).date,
], ids=["category", "datetime", "date"])
def test_a_table_of_the_new_day_may_have_any_type_that_a_log_reads(make):
    """A log holds text and seconds in place of categories and dates."""
    events = pd.DataFrame({"user_id": ["a"], "item_id": [1], "timestamp": [30]})
    first, second = (
        Frames(events.assign(timestamp=time), items=pd.DataFrame({"item_id": [1, item], "since": make(since)}))
        for time, item, since in ((30, 2, ["2020-01-01", "2021-01-01"]), (40, 3, ["2022-01-01", "2023-01-01"]))
    )
    log, _ = append(ingest(first)[0], second)
    assert log.items.equals(ingest(Joined((first, second)))[0].items)
    assert log.items["since"].null_count == 0


def test_ids_of_a_table_are_read_as_those_of_the_events():
    """As `ingest` does it: whole numbers written as text are numbers if the events have numbers."""
    first, second = (
        Frames(pd.DataFrame({"user_id": ["a"], "item_id": [1], "timestamp": [time]}),
               items=pd.DataFrame({"item_id": ["1", "2"], "price": [price, price]}))
        for time, price in ((30, 5), (40, 6))
    )
    log, _ = append(ingest(first)[0], second)
    assert log.items.to_pydict() == {"item_id": [1, 2], "price": [6, 6]}


@pytest.mark.parametrize("join", [lambda a, b: ingest(Joined((a, b))), lambda a, b: append(ingest(a)[0], b)])
def test_a_column_of_two_types_is_refused(join):
    events = pd.DataFrame({"user_id": ["a"], "item_id": [1], "timestamp": [30]})
    first, second = (Frames(events, items=pd.DataFrame({"item_id": [1], "size": [size]})) for size in (7, "large"))
    with pytest.raises(DataError, match="column of the items changes its type .* size .* Store it as one type"):
        join(first, second)


@pytest.mark.parametrize("timed", [True, False])
def test_a_day_of_dislikes_alone_adds_what_was_shown(timed):
    columns = Columns(label="label", timestamp="timestamp" if timed else None)
    first, second = (
        Frames(pd.DataFrame({"user_id": [user], "item_id": [1], "timestamp": [time], "label": [label]}),
               columns=columns) for user, time, label in (("a", 30, 1), ("b", 40, 0))
    )
    log, report = append(ingest(first)[0], second)
    assert log.fingerprint() == ingest(Joined((first, second)))[0].fingerprint()
    assert (len(log), log.shown.user.tolist(), report.accepted) == (1, [1], 1)
    assert ingest(second, shown_alone=True)[0].timed == timed


def test_a_day_without_a_good_row_adds_nothing():
    before, _ = ingest(Frames(pd.DataFrame({"user_id": ["a"], "item_id": [1], "timestamp": [30]})))
    bad = Frames(pd.DataFrame({"user_id": [None], "item_id": [1], "timestamp": [40]}))
    log, report = append(before, bad, Rules(limit=1))
    assert log is before and "no interactions are left of 1 rows" in report.notes[0]


@pytest.mark.parametrize("day, message", [
    ({"user_id": ["a"], "item_id": ["x"], "timestamp": [50]}, "column `item_id` is string here and int64 in the log"),
    ({"user_id": ["a"], "item_id": [1]}, "the log before has times and frames has none"),
])
def test_another_kind_of_log_is_refused(day, message):
    before, _ = ingest(Frames(pd.DataFrame({"user_id": ["a"], "item_id": [1], "timestamp": [30]})))
    columns = Columns() if "timestamp" in day else Columns(timestamp=None)
    with pytest.raises(DataError, match=message):
        append(before, Frames(pd.DataFrame(day), columns=columns))
