"""Labels: what is 0 or less was shown and not liked, and is no event."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Frames, Temporal, ingest
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
    assert "label: all are above 0, from 1 to 5, so every event is a like" in str(report)
    assert "label" not in str(ingest(Frames(events([1, 1, 1, 1]), columns=LABELLED))[1])
    with pytest.raises(DataError, match="none of the 4 labels is above 0"):
        ingest(Frames(events([0, 0, -1, 0]), columns=LABELLED))


def test_what_was_shown_is_no_target_and_not_seen():
    log, _ = ingest(Frames(events([1, 0] * 10), columns=LABELLED))
    split = Temporal(0.2, 0.2).split(log)
    for queries in (split.validation, split.test):
        assert not set(log.shown.item) & {*queries.targets.values, *queries.seen.values}
    assert not log.item_counts()[log.shown.item].any()
