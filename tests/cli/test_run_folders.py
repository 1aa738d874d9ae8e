"""What the verbs say of a folder that another process writes to, or that is not whole."""

import errno
import json
import os
import signal

import pytest

from tfrs_twotower import durable
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Files
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import Recipe


@pytest.fixture
def run(tmp_path):
    """A run as far as its configuration, whose log is gone."""
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = Recipe(name="r", source=Files(str(tmp_path / "gone.csv")))
    runs.write_config(folder, runs.RunConfig(recipe, "space", "fingerprint", 0))
    return folder


COMMANDS = {
    "": (["train", "plain", "--interactions", "gone.csv", "--folder"], ["train", "--resume"], ["update"]),
    runs.EXPORT: (["update", "--users-only"], ["update", "--revert"], ["update", "--take-back"]),
}


@pytest.mark.parametrize("part", COMMANDS)
def test_a_run_that_another_process_writes_to_is_refused_until_that_one_dies(run, capsys, part):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            with runs.writing(run / part):
                os.write(writing, b"held")
                signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(reading, 4) == b"held"
        for command in COMMANDS[part]:
            assert main([*command, str(run)]) == 1
            error = capsys.readouterr().err
            assert f"trains or updates the run in {run / part}. " in error and "with --folder" in error
        other, = COMMANDS.keys() - {part}
        for command in COMMANDS[other]:
            assert main([*command, str(run)]) == 1 and "Another process" not in capsys.readouterr().err
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for command in COMMANDS[part]:
        assert main([*command, str(run)]) == 1
        assert "Another process" not in capsys.readouterr().err  # there is no log, no version


def test_a_folder_that_the_system_cannot_lock_is_not_said_to_be_anothers(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(durable.fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match="cannot be written .*No locks available"), runs.writing(tmp_path / "run"):
        pass


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with pytest.raises(ConfigError), runs.writing(tmp_path / "new" / "run"):
        raise ConfigError("It is refused.")
    assert not (tmp_path / "new" / "run").exists()
    with runs.writing(tmp_path / "run"):
        (tmp_path / "run" / "config.json").touch()
    assert (tmp_path / "run" / "config.json").exists()


def test_inspect_tells_of_files_that_are_gone(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"saved_model.pb": "0", "manifest.json": "0"}}))
    for options in ((), ("--json",)):
        assert main(["inspect", str(tmp_path), *options]) == 1
        assert "manifest names saved_model.pb, which cannot be found" in capsys.readouterr().err


def test_what_a_process_left_that_was_killed_before_it_trained_is_removed(tmp_path):
    def left(name, *files):
        for file in files:
            path = tmp_path / "toy" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    left("killed", "lock", "refused.json", "log/events.arrow", "config.json.writing")
    left("alive", "lock", "log/events.arrow")
    left("stopped", "lock", "config.json", "refused.json", "checkpoint/ckpt-1.index")
    left("cold", "export/1/manifest.json")
    left("foreign", "lock", "notes.txt")
    left("new")
    with runs.writing(tmp_path / "toy" / "alive"):
        made = runs.create(tmp_path, "toy")
    assert {p.name for p in (tmp_path / "toy").iterdir()} == {"alive", "stopped", "cold", "foreign", made.name}
