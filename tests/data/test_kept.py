"""A log as files: what is read is what was written."""

import pandas as pd
import pytest

from tfrs_twotower.data import Columns, Frames, has_log, ingest, keep_log, read_log
from tfrs_twotower.errors import DataError


@pytest.fixture
def read():
    """(log, report) of three events, one of which was shown, with context, weights and tables."""
    events = pd.DataFrame({"user_id": ["a", "b", "a", None], "item_id": [3, 1, 2, 1], "timestamp": [30, 10, 20, 5],
                           "label": [1, 0, 1, 1], "weight": [2.0, 1.0, 3.0, 1.0], "place": ["x", None, "y", "x"]})
    items = pd.DataFrame({"item_id": [1, 2, 3, 4], "tags": [["p", "q"], [], None, ["q"]],
                          "kind": pd.Categorical(["s", "t", None, "s"])})
    return ingest(Frames(events, items=items, columns=Columns(label="label", weight="weight", context=("place",))), 0.5)


def test_a_log_that_is_kept_is_read_as_it_was(read, tmp_path):
    log, report = read
    assert not has_log(tmp_path) and keep_log(log, report, tmp_path) and has_log(tmp_path)
    again, said = read_log(tmp_path)
    assert again.fingerprint() == log.fingerprint() and len(again) == 2 and len(again.shown) == 1
    assert said == report and report.rejected
    assert again.user.flags.writeable and again.items.schema.equals(log.items.schema)


def test_a_large_log_is_not_kept_and_a_damaged_one_is_refused(read, tmp_path):
    log, report = read
    assert not keep_log(log, report, tmp_path / "large", most=10) and not (tmp_path / "large").exists()
    keep_log(log, report, tmp_path)
    (tmp_path / "items.arrow").write_bytes((tmp_path / "items.arrow").read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read .*Pass the data frames again"):
        read_log(tmp_path)
