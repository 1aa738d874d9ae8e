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
    assert not has_log(tmp_path)
    keep_log(log, report, tmp_path)
    assert has_log(tmp_path)
    again, said = read_log(tmp_path)
    assert again.fingerprint() == log.fingerprint() and len(again) == 2 and len(again.shown) == 1
    assert said == report and report.rejected
    assert again.items.schema.equals(log.items.schema)
    assert not again.user.flags.owndata and not again.user.flags.writeable  # a map of the file


def test_a_damaged_log_is_refused(read, tmp_path):
    log, report = read
    keep_log(log, report, tmp_path)
    (tmp_path / "items.arrow").write_bytes((tmp_path / "items.arrow").read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read .*remove this folder.*pass the data frames again"):
        read_log(tmp_path)
