"""What a run reads: its own log, its parent's with newer events, or its source."""

import dataclasses

import pandas as pd
import pytest
import toy

from tfrs_twotower.data import Columns, Files, Joined, ingest, keep_log
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.reading import read
from tfrs_twotower.recommender import Recommender


@pytest.fixture
def day(tmp_path):
    """(name, item, label) → a source of one event."""
    def written(name, item, label=1):
        path, time = tmp_path / f"{name}.csv", 1_700_000_000 + item
        event = {"user_id": ["a"], "item_id": [item], "timestamp": [time], "label": [label]}
        pd.DataFrame(event).to_csv(path, index=False)
        return Files(path=str(path), columns=Columns(label="label"))
    return written


def recipe(source, **settings):
    return dataclasses.replace(toy.recipe(), source=source, **settings)


def run(folder, source):
    """A run that keeps its log."""
    log, report = ingest(source)
    folder.mkdir()
    keep_log(log, report, folder / runs.LOG)
    runs.write_config(folder, runs.RunConfig(recipe(source), "space", log.fingerprint(), 0, None))
    return folder


def test_an_update_without_a_log_of_its_own_needs_no_parent(day, tmp_path):
    both = Joined((day("monday", 1), day("tuesday", 2)))
    log, _ = read(recipe(both), tmp_path / "run", parent=tmp_path / "removed")
    assert log.fingerprint() == ingest(both)[0].fingerprint()


def test_new_events_have_the_number_of_their_part(day, tmp_path):
    """Although no event of the part before is a like, so that the parent's log has none of it."""
    parts = day("monday", 1), day("tuesday", 2, label=0), day("wednesday", 3)
    parent = run(tmp_path / "parent", Joined(parts[:2]))
    log, _ = read(recipe(Joined(parts)), tmp_path / "run", parent=parent)
    assert log.part.tolist() == ingest(Joined(parts))[0].part.tolist() == [0, 2]


def test_a_new_training_does_not_read_the_log_of_one_that_was_killed(day, tmp_path):
    """It was killed before it could continue, and the folder is then used for another log."""
    keep_log(*ingest(Joined((day("monday", 1), day("tuesday", 2)))), tmp_path / "run" / runs.LOG)
    new = Recommender(recipe(day("wednesday", 3), title="none"), directory=tmp_path / "run")
    with pytest.raises(ConfigError, match="`title` must be a column"):  # found once the log is read
        new.fit(verbose=0)
    assert new.ingest_report.rows == 1
