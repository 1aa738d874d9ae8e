"""Labels: what is 0 or less was shown and not liked, and is no event."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Frames, Joined, Prepared, Temporal, ingest, keep_log, prepare, read_log
from tfrs_twotower.data.appending import append
from tfrs_twotower.data.statistics import SHOWN, happenings
from tfrs_twotower.errors import DataError

LABELLED = Columns(label="label")


def events(labels, **columns):
    n = len(labels)
    return pa.table({"user_id": ["a"] * n, "item_id": [f"i{i}" for i in range(n)],
                     "timestamp": list(range(n, 0, -1)), "label": labels, **columns})


@pytest.mark.parametrize("labels", [
    pa.array([1, 0, -1, 5]), pa.array([0.5, 0.0, -0.5, 1.0]), pa.array([True, False, False, True]),
    pa.array(["1", "0", "-1", "2.5"]), pa.array(["True", "false", "FALSE", "true"]),
])
def test_a_label_of_0_or_less_was_shown_and_is_no_event(labels):
    log, report = ingest(Frames(events(labels, price=[1, 2, 3, 4]), columns=Columns(label="label", context=("price",))))
    names = np.array(log.items["item_id"].to_pylist())
    assert names[log.item].tolist() == ["i3", "i0"] and log.timestamp.tolist() == [1, 4]
    assert names[log.shown.item].tolist() == ["i2", "i1"] and log.shown.timestamp.tolist() == [2, 3]
    assert log.context["price"].to_pylist() == [4, 1] and len(log.weight) == len(log.part) == 2
    assert report.rejected == {} and report.accepted == 4
    assert "2 events are shown and not liked: their label is 0 or less" in str(report)


def test_what_was_shown_is_part_of_the_fingerprint():
    one, two = (ingest(Frames(events([1, 1, n, 0]), columns=LABELLED))[0] for n in (1, 0))
    assert one.fingerprint() != two.fingerprint()


def test_a_missing_label_says_nothing_and_is_a_bad_row():
    log, report = ingest(Frames(events([1, None, 0, 1]), columns=LABELLED), limit=1)
    assert report.rejected == {"label: missing": 1} and (len(log), len(log.shown)) == (2, 1)


def test_labels_that_tell_nothing_are_told():
    _, report = ingest(Frames(events([1, 5, 3, 4]), columns=LABELLED))
    assert "The labels are all above 0, from 1 to 5, so every event is a like" in str(report)
    assert "label" not in str(ingest(Frames(events([1, 1, 1, 1]), columns=LABELLED))[1])
    with pytest.raises(DataError, match="none of the 4 labels is above 0"):
        ingest(Frames(events([0, 0, -1, 0]), columns=LABELLED))


def test_what_was_shown_is_no_target_and_not_seen():
    log, _ = ingest(Frames(events([1, 0] * 10), columns=LABELLED))
    split = Temporal(0.2, 0.2).split(log)
    for queries in (split.validation, split.test):
        assert not set(log.shown.item) & {*queries.targets.values, *queries.seen.values}
    assert not log.item_counts()[log.shown.item].any()


def test_files_that_overlap_have_what_was_shown_once(tmp_path):
    """The second has a row of the first, one of its own, and one that it names twice: a user may be shown twice."""
    first = Frames(events([1, 0, 0]), columns=LABELLED)  # i0 liked at 3, i1 shown at 2, i2 at 1
    second = Frames(pa.table({"user_id": ["a"] * 5, "item_id": ["i1", "i1", "i4", "i4", "i5"],
                              "timestamp": [2, 3, 4, 4, 5], "label": [0, 0, 0, 0, 1]}), columns=LABELLED)
    log, _ = ingest(Joined((first, second)))
    names = np.array(log.items["item_id"].to_pylist())
    assert list(zip(names[log.shown.item], log.shown.timestamp)) == [
        ("i2", 1), ("i1", 2), ("i1", 3), ("i4", 4), ("i4", 4)]
    appended, _ = append(ingest(first)[0], second)
    prepare(Joined((first, second)), tmp_path / "prepared")
    assert log.fingerprint() == appended.fingerprint() == Prepared(str(tmp_path / "prepared")).read()[0].fingerprint()


def test_what_a_later_stage_left_out_is_marked_and_no_showing(tmp_path):
    columns = Columns(label="label", event="event")
    parts = [Frames(pa.table({"user_id": ["a"] * 3, "item_id": items, "timestamp": times, "label": [1, 0, 0],
                              "event": ["buy", "drop", "shown"]}), columns=columns)
             for items, times in ((["x", "y", "z"], [3600, 3601, 3602]), (["x", "y", "z"], [7200, 3601, 7202]))]
    log, _ = ingest(Joined(tuple(parts)))
    assert log.shown.timestamp.tolist() == [3601, 3602, 7202] and log.shown.dropped.tolist() == [True, False, False]
    found = happenings(log)
    by_kind = {kind: np.flatnonzero(np.asarray(found.kinds)[found.kind] == kind).tolist() for kind in (SHOWN, "drop")}
    assert by_kind == {SHOWN: [3, 4], "drop": [2]} and len(found.of("").item) == 2
    keep_log(log, ingest(parts[0])[1], tmp_path / "kept")
    prepare(Joined(tuple(parts)), tmp_path / "prepared")
    others = [append(ingest(parts[0])[0], parts[1])[0], read_log(tmp_path / "kept")[0],
              Prepared(str(tmp_path / "prepared")).read()[0]]
    assert {other.fingerprint() for other in others} == {log.fingerprint()}
    assert all(other.shown.dropped.tolist() == [True, False, False] for other in others)
    assert log.of_users(np.array([0]))[0].shown.dropped.tolist() == [True, False, False]
    assert ingest(Frames(events([1, 0]), columns=LABELLED))[0].shown.dropped is None


def test_without_times_nothing_tells_a_copy():
    untimed = Columns(label="label", timestamp=None)
    parts = [Frames(events([1, 0]), columns=untimed) for _ in "ab"]
    assert len(ingest(Joined(tuple(parts)))[0].shown) == len(append(ingest(parts[0])[0], parts[1])[0].shown) == 2
