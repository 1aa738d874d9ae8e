"""What a run reads: its own log, its parent's with newer events, or its source."""

import dataclasses
import shutil

import pandas as pd
import pytest
import toy

from tfrs_twotower.data import Columns, Files, Joined, Prepared, append_prepared, ingest, keep_log, prepare, read_log
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.reading import keep, read
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


@pytest.fixture
def prepared(day, tmp_path):
    prepare(day("monday", 1), tmp_path / "prepared")
    return Prepared(f"{tmp_path}/prepared")


def test_a_prepared_dataset_is_mapped_and_linked_into_the_run(prepared, tmp_path):
    log, report = read(recipe(prepared), tmp_path / "run")
    assert not log.user.flags.owndata and not log.user.flags.writeable and report.rows == 1
    keep(log, report, prepared, tmp_path / "run")
    kept = tmp_path / "run" / runs.LOG
    assert (kept / "events.arrow").samefile(f"{prepared.folder}/1/events.arrow")
    assert read_log(kept)[0].fingerprint() == log.fingerprint()


def test_a_dataset_that_has_grown_meanwhile_is_not_linked(prepared, day, tmp_path):
    log, report = read(recipe(prepared), tmp_path / "run")
    append_prepared(prepared.folder, day("tuesday", 2))
    keep(log, report, prepared, tmp_path / "run")
    assert read_log(tmp_path / "run" / runs.LOG)[0].fingerprint() == log.fingerprint() != prepared.manifest.fingerprint


def test_an_update_reads_the_day_behind_the_dataset_that_its_parent_keeps(prepared, day, tmp_path):
    parent = run(tmp_path / "parent", prepared)
    both = Joined((prepared, day("tuesday", 2)))
    expected = ingest(both)[0].fingerprint()
    shutil.rmtree(prepared.folder)
    assert read(recipe(both), tmp_path / "run", parent=parent)[0].fingerprint() == expected


def test_a_dataset_was_prepared_with_the_rule_of_the_recipe(prepared, tmp_path):
    with pytest.raises(ConfigError, match="was prepared without it.*prepare --require-items"):
        read(recipe(prepared, require_items=True), tmp_path / "run")
