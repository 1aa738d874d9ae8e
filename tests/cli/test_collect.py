"""`twotower collect`, and a store as `--interactions` of `train` and `update`."""

import dataclasses

import pytest

from tests.online.test_feedback import NOON, write_all
from tfrs_twotower.cli.main import build_parser, main
from tfrs_twotower.cli.training import recipe_of
from tfrs_twotower.cli.update import source_of
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import Files, Joined, TFRecords, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.online import Store


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The current folder has `store.db` and `log`, of `test_feedback`."""
    write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(*options):
    return recipe_of(build_parser().parse_args(["train", "plain", "--interactions", *options]))


def update(of, *options):
    return source_of(build_parser().parse_args(["update", "run", "--interactions", *options]), of)[0]


def test_what_is_collected_is_read_without_options(written, capsys):
    command = ["collect", "sqlite:store.db", "--log", "log", "--out", "out", "--until", "2026-12-01"]
    assert main([*command, "--since", str(NOON), "--tfrecord", "records"]) == 0
    assert capsys.readouterr().out == (
        "6 events and 8 rows with the label 0 of 2026-11-30 12:00:00 to 2026-12-01 00:00:00 UTC are new in out.\n"
        "What clients said of answers, and does not count, is in out/_aside: no log has such an answer (1), the answer "
        "has no such place (1).\n"
        "TFRecord: 13 rows in records.\n"
    )
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("1 events and 0 rows with the label 0 of 2026-11-30 00:00:00 to")
    first, again = recipe("out").source, update(recipe("other.csv"), "out")
    for source, liked in ((first, 6), (again, 6), (TFRecords("records"), 5)):
        log, _ = ingest(source)
        assert (len(log), len(log.shown)) == (liked, 8)


def test_a_store_feeds_a_training_and_its_updates(written):
    trained = recipe("sqlite:store.db", "--log-requests", "log")
    source = trained.source
    assert source == Store(f"sqlite:{written}/store.db", (f"{written}/log",), until=source.until)
    assert source.until > NOON and from_dict(to_dict(trained)) == trained
    later = update(trained, "sqlite:store.db", "--items", "items.csv")
    assert later == dataclasses.replace(source, since=source.until, until=later.until,
                                        items_path=f"{written}/items.csv")
    third = update(dataclasses.replace(trained, source=Joined((source, later))), "sqlite:store.db")
    assert third.since == later.until and third.log == source.log and third.items_path is None
    assert update(recipe("other.csv"), "sqlite:store.db").since == 0


def test_what_does_not_belong_to_a_store_is_refused(written):
    with pytest.raises(ConfigError, match="Received also: label"):
        recipe("sqlite:store.db", "--label", "label")
    with pytest.raises(ConfigError, match="only be given with a store"):
        recipe("other.csv", "--log-requests", "log")
    assert isinstance(recipe("other.csv").source, Files)


@pytest.mark.parametrize("command", [
    ["collect", "sqlite:stor.db", "--out", "out"],
    ["experiment", "log", "--store", "sqlite:stor.db", "--metric", "click", "--control", "a"],
])
def test_a_store_that_is_not_there_is_not_made(written, capsys, command):
    assert main(command) == 1
    assert "`STORE` must be there to be read. Received: STORE='sqlite:stor.db'." in capsys.readouterr().err
    assert not (written / "stor.db").exists() and not (written / "out").exists()


def test_a_file_as_the_folder_and_times_in_the_wrong_order_are_refused(written, capsys):
    command = ["collect", "sqlite:store.db", "--log", "log", "--out"]
    assert main([*command, "store.db"]) == 1
    assert "The folder store.db cannot be written" in capsys.readouterr().err
    assert main([*command, "out", "--since", "2026-12-02", "--until", "2026-12-01"]) == 1
    assert "`since` must not be after `until`, 1796083200. Received: since=1796169600." in capsys.readouterr().err
