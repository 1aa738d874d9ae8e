"""An earlier version serves again: which one, under what number, and whatever happens on the way."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import toy

from tests.serving import toy_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import integrity, manifest, user_deltas
from tfrs_twotower.exporting.publishing import versions_under
from tfrs_twotower.pipeline import runs
from tfrs_twotower.serving import Predictor, Repository, State
from tfrs_twotower.updates import roll_back


def write(root, version, space="s"):
    """A version whose one file holds its number; nothing here loads it."""
    folder = root / str(version)
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text(str(version))
    (folder / "variables" / "data").write_text(f"data {version}")
    manifest.write(folder, {"version": version, "embedding_space": space, "model": "toy"})


def delta(value, space="s"):
    return user_deltas.UserDelta(space, 1, np.array([value]), np.ones([1, 2], np.float32))


def point(folder, name):
    runs.point_latest(folder / name)


@pytest.fixture
def system(tmp_path):
    """Three runs with the versions 5, 6 and 7; the last one serves; version 6 has rows of users."""
    folder = tmp_path / "toy"
    parent = None
    for version in (5, 6, 7):
        run = folder / f"run-{version}"
        run.mkdir(parents=True)
        runs.write_config(run, runs.RunConfig(toy.recipe(), f"space-{version}", "f" * 64, 1_700_000_000, parent))
        write(run / "export", version, f"space-{version}")
        parent = str(run)
    user_deltas.publish(folder / "run-6" / "export", 6, delta(6, "space-6"))
    point(folder, "run-7")
    return folder


def serving(folder):
    """(the version that serves, the one that its files were first published as)."""
    root = folder / "latest" / "export"
    version = versions_under(root)[-1]
    integrity.check(root / str(version))
    return version, int((root / str(version) / "saved_model.pb").read_text())


def test_the_version_before_serves_again_and_again_and_it_can_be_undone(system):
    latest = system / "latest"
    done = roll_back(latest)
    assert (done.published, done.copy_of, done.replaced) == (system / "run-6" / "export" / "8", 6, 7)
    assert serving(system) == (8, 6) and os.readlink(latest) == "run-6"
    (rows,) = user_deltas.read(done.published.parent, 8, "space-6")
    assert rows.keys == [6]
    done = roll_back(latest / "export")
    assert (done.copy_of, done.replaced) == (5, 6) and serving(system) == (9, 5)
    with pytest.raises(ExportError, match=r"no version before 5 .*Found: \[5, 6, 7\]"):
        roll_back(latest)
    roll_back(latest, to=7)
    assert serving(system) == (10, 7) and os.readlink(latest) == "run-7"
    write(system / "run-7" / "export", 11)
    assert roll_back(latest).copy_of == 7  # its rollback was undone
    assert roll_back(latest).copy_of == 5  # that of 6 was not
    assert roll_back(latest, to=8).copy_of == 6  # a copy's number names its original
    assert serving(system) == (14, 6)


def test_what_a_jump_left_behind_is_not_the_version_before(system):
    latest = system / "latest"
    roll_back(latest, to=5)  # past 6, which nobody meant to serve again
    write(system / "run-5" / "export", 9)
    assert roll_back(latest).copy_of == 5


def test_rows_of_users_that_came_after_a_rollback_come_along(system):
    roll_back(system / "latest")
    root = system / "run-6" / "export"
    user_deltas.publish(root, 8, delta(8, "space-6"))
    roll_back(system / "latest", to=7)
    roll_back(system / "latest", to=6)
    assert [int(rows.keys[0]) for rows in user_deltas.read(root, 10, "space-6")] == [6, 8]


def test_a_folder_of_versions_without_runs(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(ExportError, match="no version before 1"):
        roll_back(tmp_path)
    write(tmp_path, 4)
    (tmp_path / "5").mkdir()  # without a manifest: it never served
    done = roll_back(tmp_path)
    assert done.published == tmp_path / "6" and (done.copy_of, done.replaced) == (1, 4)
    contents = manifest.read(done.published)
    assert contents["version"] == 6 and contents["files"] == manifest.read(tmp_path / "1")["files"]
    assert contents["rollback"]["copy_of"] == 1 and contents["rollback"]["replaced"] == 4
    assert os.path.samefile(tmp_path / "1" / "saved_model.pb", tmp_path / "6" / "saved_model.pb")


@pytest.mark.parametrize(
    "to, message", [(9, r"`to` must be an existing version. Received: to=9. There are: \[5, 6, 7\]"),
                    (7, "not be the serving version")],
)
def test_what_cannot_be_rolled_back_to_is_refused(system, to, message):
    with pytest.raises(ExportError, match=message):
        roll_back(system / "latest", to)
    assert serving(system) == (7, 7)


def test_damaged_files_and_empty_folders_are_refused(system, tmp_path):
    (system / "run-6" / "export" / "6" / "variables" / "data").write_text("data X")
    with pytest.raises(ExportError, match="does not have the checksum"):
        roll_back(system / "latest")
    assert serving(system) == (7, 7) and versions_under(system / "run-6" / "export") == [6]
    with pytest.raises(ExportError, match="`path` must hold an exported version"):
        roll_back(tmp_path / "nothing")


def test_rows_of_users_that_a_killed_one_left_are_not_taken_for_a_new_version_s(system):
    root = system / "run-5" / "export"
    user_deltas.publish(root, 8, delta(1, "of another space"))
    roll_back(system / "latest", to=5)
    assert user_deltas.read(root, 8, "space-5") == []


def _dies_at(step, work):
    """Runs `work` in a process that dies at its nth change of a file's name or opening of a file; did it?"""
    child = os.fork()
    if not child:
        changes = ("open", "os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "shutil.rmtree")
        left = [step]

        def hook(event, arguments):
            if event in changes:
                left[0] -= 1
                if not left[0]:
                    os._exit(9)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_at_any_point_one_of_the_two_serves_and_it_can_be_run_again(system, tmp_path):
    steps, seen = 0, set()
    while True:
        steps += 1
        folder = tmp_path / str(steps) / "toy"
        shutil.copytree(system, folder, symlinks=True)
        died = _dies_at(steps, lambda: roll_back(folder / "latest"))
        state = serving(folder)
        assert state in ((7, 7), (8, 6))
        seen.add(state)
        if not died:
            break
        published = versions_under(folder / "run-6" / "export")[-1]
        done = roll_back(folder / "latest")  # whatever was done already, it goes back once
        assert (done.copy_of, done.replaced) == (6, 7) and serving(folder) == (8, 6)
        assert published == 6 or versions_under(done.published.parent)[-1] == published
        assert not (done.published.parent / ".rollback-begun").exists()
        root = folder / "latest" / "export"
        assert len(user_deltas.read(root, serving(folder)[0], "space-6")) == 1
        assert not list(root.glob(".writing-*"))
        shutil.rmtree(folder)
    assert steps > 20 and seen == {(7, 7), (8, 6)}


def test_a_rollback_that_was_killed_and_is_run_again_goes_back_once_without_runs_too(tmp_path):
    steps, seen = 0, set()
    while True:
        steps += 1
        root = tmp_path / str(steps)
        for version in (1, 2, 3):
            write(root, version)
        if not _dies_at(steps, lambda: roll_back(root)):
            break
        seen.add(max(versions_under(root)))
        done = roll_back(root)
        assert (done.published, done.copy_of, done.replaced) == (root / "4", 2, 3)
    assert seen == {3, 4}
    done = roll_back(root)  # one that came to its end does not count
    assert (done.published, done.copy_of, done.replaced) == (root / "5", 1, 2)


def test_a_published_version_that_shares_files_with_another_is_read_only(system):
    roll_back(system / "latest")
    files = [path for number in ("6", "8") for path in (system / "run-6" / "export" / number).rglob("*")
             if path.is_file() and path.name != "manifest.json"]
    assert len(files) == 4 and {path.stat().st_mode & 0o222 for path in files} == {0}


def test_the_command_and_lineage_say_what_happened(system, capsys):
    assert main(["rollback", str(system / "latest")]) == 0
    out = capsys.readouterr().out
    assert "version 6 again in place of 7" in out and f"twotower rollback {system / 'latest'} --to 7" in out
    assert main(["lineage", str(system / "latest")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run-6", "rolled", "run-5"]
    assert "version 6 again, as 8, in place of 7" in lines[1]
    main(["lineage", str(system / "latest"), "--json"])
    (first, second) = json.loads(capsys.readouterr().out)
    assert [(b["version"], b["copy_of"], b["replaced"]) for b in first["rollbacks"]] == [(8, 6, 7)]
    assert second["rollbacks"] == []
    assert main(["rollback", str(system / "latest"), "--to", "99"]) == 1
    assert capsys.readouterr().err.startswith("twotower: `to` must be")


def test_a_server_that_follows_takes_it_up_and_back(tmp_path):
    for version in (1, 2):
        run = tmp_path / f"run-{version}"
        (run / "export").mkdir(parents=True)
        (run / "config.json").write_text("{}")
        toy_export.write(run / "export", version)
    point(tmp_path, "run-2")
    repository = Repository(tmp_path / "latest" / "export")

    def answer():
        repository.poll()
        scores = Predictor(repository).predict("", {"user_id": ["u"]})["scores"]
        return repository.available(), float(scores[0, 0])

    assert answer() == ([2], 6.0)
    roll_back(tmp_path / "latest")
    assert answer() == ([3], 5.0)  # the first version's answer
    roll_back(tmp_path / "latest", to=2)
    assert answer() == ([4], 6.0)
    assert {s.version: s.state for s in repository.statuses()}[4] is State.AVAILABLE
