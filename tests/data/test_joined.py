"""Several sources as one log."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import Files, Joined, ingest, joined
from tfrs_twotower.errors import ConfigError


def day(folder, name, events, items):
    pq.write_table(pa.table(events), folder / f"{name}.parquet")
    pq.write_table(pa.table(items), folder / f"{name}-items.parquet")
    return Files(path=str(folder / f"{name}.parquet"), items_path=str(folder / f"{name}-items.parquet"))


def test_events_add_up_and_the_last_description_of_an_item_counts(tmp_path):
    first = day(
        tmp_path, "1", {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [10, 20]},
        {"item_id": ["a", "b"], "price": [1.0, 2.0]},
    )
    second = day(
        tmp_path, "2", {"user_id": ["w"], "item_id": ["c"], "timestamp": [15]},
        {"item_id": ["c", "a"], "price": [3.0, 9.0]},
    )
    both = Joined((first, second))
    log, _ = ingest(both)
    assert log.timestamp.tolist() == [10, 15, 20] and log.part.tolist() == [0, 1, 0]
    assert log.items["item_id"].to_pylist() == ["a", "b", "c"]  # in the order in which they came
    assert log.items["price"].to_pylist() == [9.0, 2.0, 3.0]
    assert from_dict(to_dict(both)) == both
    assert both.users() is None


def test_a_column_that_the_last_table_lacks_is_kept(tmp_path):
    events = {"user_id": ["u"], "item_id": ["a"], "timestamp": [10]}
    first = day(tmp_path, "1", events, {"item_id": ["a", "b"], "price": [1.0, 2.0], "image": [[1.0], [2.0]]})
    second = day(tmp_path, "2", events, {"price": [9.0, None, 3.0], "item_id": ["a", "b", "c"], "new": ["x", "y", "z"]})
    assert Joined((first, second)).items().to_pydict() == {
        "item_id": ["a", "b", "c"], "price": [9.0, None, 3.0], "image": [[1.0], [2.0], None], "new": ["x", "y", "z"],
    }


def test_a_file_that_the_log_has_is_no_new_one(tmp_path):
    log, day = (Files(str(tmp_path / name)) for name in ("log.csv", "day.csv"))
    grown = joined(log, day)
    assert grown.parts == (log, day) and joined(grown, None) is grown
    assert len(joined(log, Files(log.path, where=(("timestamp", ">", 9),))).parts) == 2  # other rows of it
    for again in (log, day, Files(day.path, items_path="items.csv")):
        with pytest.raises(ConfigError, match="`interactions` must be new events.* count twice"):
            joined(grown, again)


def test_parts_must_be_sources():
    with pytest.raises(ConfigError, match="`Joined.parts` must be a list of 1 or more"):
        Joined(())


def test_a_run_of_data_frames_has_no_source_to_go_on_with(tmp_path):
    for new in (None, Files(str(tmp_path / "day.csv"))):
        with pytest.raises(ConfigError, match="`recipe` must have a source.*Write them to files"):
            joined(None, new)
