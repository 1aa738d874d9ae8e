import gc
import json
import logging
import os
import shutil
import weakref

import pytest

from tests.serving import toy_export
from tfrs_twotower.serving import NotFound, Predictor, Repository, State, Unavailable
from tfrs_twotower.serving.model import call


def top_score(repository, version=None):
    """The toy's best item scores 4, plus its version."""
    return float(Predictor(repository).predict("", {"user_id": ["u"]}, version)["scores"][0, 0])


def states(repository):
    return {s.version: s.state for s in repository.statuses()}


def error_of(repository, version):
    return {s.version: s.error for s in repository.statuses()}[version]


def test_an_empty_or_missing_root_is_unavailable_until_a_version_comes(tmp_path, publish):
    repository = Repository(tmp_path / "later")
    repository.poll()
    with pytest.raises(Unavailable):
        top_score(repository)
    publish(tmp_path / "later", 1)
    repository.poll()
    assert top_score(repository) == 5.0
    assert states(repository) == {1: State.AVAILABLE}


def test_the_newest_version_is_loaded_and_its_steps_are_reported(tmp_path, publish):
    for version in (9, 10):
        publish(tmp_path, version)
    (tmp_path / "011").mkdir()
    (tmp_path / ".tmp-12").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "13").write_text("a file, not a folder")
    steps = []
    repository = Repository(tmp_path, on_status=lambda s: steps.append((s.version, s.state)))
    repository.poll()
    assert top_score(repository) == 14.0  # 10, not "9": versions are compared as numbers
    assert steps == [(10, State.START), (10, State.LOADING), (10, State.AVAILABLE)]
    publish(tmp_path, 20)
    repository.poll()
    assert top_score(repository) == 24.0
    assert steps[5:] == [(20, State.AVAILABLE), (10, State.UNLOADING), (10, State.END)]
    assert states(repository) == {10: State.END, 20: State.AVAILABLE}
    with pytest.raises(NotFound, match="Version 10 is not loaded"):
        top_score(repository, 10)


def test_several_versions_can_be_kept(tmp_path, publish):
    for version in (1, 2, 3):
        publish(tmp_path, version)
    repository = Repository(tmp_path, keep=2)
    repository.poll()
    assert repository.available() == [2, 3]
    assert [top_score(repository, v) for v in (None, 2, 3)] == [7.0, 6.0, 7.0]
    publish(tmp_path, 4)
    repository.poll()
    assert repository.available() == [3, 4]
    with pytest.raises(ValueError, match="`keep` must be at least 1"):
        Repository(tmp_path, keep=0)


def test_warm_up_requests_run_before_a_version_is_available(tmp_path, publish):
    publish(tmp_path, 1)
    called = []

    def counting(model, signature, tensors):
        called.append((signature.name, repository.available()))
        return call(model, signature, tensors)

    repository = Repository(tmp_path, call=counting)
    repository.poll()
    assert called == [("serving_default", [])] * 2 and repository.available() == [1]


def test_a_broken_warm_up_request_refuses_the_version(tmp_path, publish):
    path = publish(tmp_path, 1)
    shutil.rmtree(path / "assets.extra")
    toy_export.write_warm_up(path, {"user": ["u"]})
    toy_export.write_manifest(path)
    repository = Repository(tmp_path)
    repository.poll()
    assert repository.available() == [] and "user" in error_of(repository, 1)


def _flip_a_byte(path):
    name = os.path.join(path, "variables", "variables.data-00000-of-00001")
    with open(name, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))


def _truncate_manifest(path):
    name = os.path.join(path, "manifest.json")
    os.truncate(name, os.path.getsize(name) // 2)


def _no_manifest(path):
    os.remove(os.path.join(path, "manifest.json"))


def _half_written(path):
    os.remove(os.path.join(path, "variables", "variables.index"))


def _unlisted_file(path):
    with open(os.path.join(path, "variables", "extra"), "w") as file:
        file.write("not in the manifest")


def _edit_manifest(path, **fields):
    name = os.path.join(path, "manifest.json")
    with open(name) as file:
        manifest = json.load(file)
    with open(name, "w") as file:
        json.dump({**manifest, **fields}, file)


def _no_checksums(path):
    _edit_manifest(path, files=None)


def _outside(path):
    _edit_manifest(path, files={"../1/saved_model.pb": "0"})


def _other_format(path):
    _edit_manifest(path, format=99)


def _unknown_ops(path):
    _edit_manifest(path, custom_op_library="mystery")


def _broken_graph(path):
    with open(os.path.join(path, "saved_model.pb"), "wb") as file:
        file.write(b"not a SavedModel")
    toy_export.write_manifest(path)


def _pipe(*names):
    """A pipe in place of a file: whoever opens it waits for a writer."""
    def damage(path):
        name = os.path.join(path, *names)
        if os.path.exists(name):
            os.remove(name)
        os.mkfifo(name)

    return damage


@pytest.mark.parametrize(
    "damage, reason",
    [
        (_pipe("manifest.json"), "no regular file"),
        (_pipe("saved_model.pb"), "saved_model.pb is listed in manifest.json and missing"),
        (_pipe("assets.extra", "more"), "assets.extra/more is no regular file"),
        (_flip_a_byte, "does not have the checksum"),
        (_truncate_manifest, "cannot be read"),
        (_no_manifest, "cannot be read"),
        (_half_written, "variables.index is listed in manifest.json and missing"),
        (_unlisted_file, "is not listed"),
        (_no_checksums, "no checksums"),
        (_outside, "lies outside"),
        (_other_format, "format"),
        (_unknown_ops, "mystery"),
        (_broken_graph, "saved_model.pb is damaged"),
    ],
)
def test_a_damaged_version_is_refused_and_the_old_one_goes_on(tmp_path, publish, damage, reason, caplog):
    publish(tmp_path, 1)
    repository = Repository(tmp_path)
    repository.poll()
    damage(publish(tmp_path, 2))
    with caplog.at_level(logging.ERROR):
        repository.poll()
        repository.poll()
    assert top_score(repository) == 5.0
    assert states(repository) == {1: State.AVAILABLE, 2: State.END}
    assert reason in error_of(repository, 2)
    said = [record for record in caplog.records if "Version 2 refused" in record.message]
    assert len(said) == 1  # once, not at each poll


def test_a_refused_version_is_taken_once_it_is_whole(tmp_path, publish):
    path = publish(tmp_path / "elsewhere", 2)
    publish(tmp_path / "root", 1)
    copy = tmp_path / "root" / "2"
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("variables*"))  # a copy that is under way
    repository = Repository(tmp_path / "root")
    repository.poll()
    assert repository.available() == [1]
    shutil.copytree(path, copy, dirs_exist_ok=True)
    repository.poll()
    assert repository.available() == [2]


def test_the_next_oldest_serves_when_the_newest_is_damaged_from_the_start(tmp_path, publish):
    publish(tmp_path, 1)
    _flip_a_byte(publish(tmp_path, 2))
    repository = Repository(tmp_path)
    repository.poll()
    assert top_score(repository) == 5.0


def test_a_version_goes_on_when_its_folder_vanishes_and_an_older_one_does_not_replace_it(tmp_path, publish):
    publish(tmp_path, 2)
    repository = Repository(tmp_path)
    repository.poll()
    shutil.rmtree(tmp_path / "2")
    publish(tmp_path, 1)
    repository.poll()
    assert top_score(repository) == 6.0
    shutil.rmtree(tmp_path)
    repository.poll()
    assert top_score(repository) == 6.0
    publish(tmp_path, 3)
    repository.poll()
    assert top_score(repository) == 7.0
    assert states(repository) == {3: State.AVAILABLE}  # what is neither on disk nor in memory is forgotten


def _replace(path, other):
    """Puts the files of `other` at `path`, as an export of the same number that is made again."""
    shutil.rmtree(path)
    os.rename(other, path)


def test_other_files_of_the_same_number_are_loaded_aside_and_swapped_in(tmp_path, publish):
    path = publish(tmp_path / "root", 1)
    steps = []
    repository = Repository(tmp_path / "root", on_status=lambda s: steps.append((s.version, s.state)))
    repository.poll()
    with repository.lease() as model:
        loaded = weakref.ref(model)
        _replace(path, publish(tmp_path / "again", 2))
        repository.poll()
        assert top_score(repository) == 6.0  # of the new files
        assert float(Predictor(repository).run(model, model.signature(), {"user_id": ["u"]})["scores"][0, 0]) == 5.0
    assert states(repository) == {1: State.AVAILABLE}
    assert steps[2:] == [(1, State.AVAILABLE)] * 2  # available all the while
    del model
    repository.poll()
    gc.collect()
    assert loaded() is None and len(steps) == 4  # and not loaded again
    publish(tmp_path / "root", 2)
    repository.poll()
    assert states(repository) == {1: State.END, 2: State.AVAILABLE}


def test_damaged_files_of_the_same_number_are_refused_and_the_loaded_ones_go_on(tmp_path, publish, caplog):
    path = publish(tmp_path / "root", 1)
    shutil.copytree(path, tmp_path / "copy")
    repository = Repository(tmp_path / "root")
    repository.poll()
    _flip_a_byte(publish(tmp_path / "again", 2))
    _replace(path, tmp_path / "again" / "2")
    repository.poll()
    repository.poll()
    assert top_score(repository) == 5.0 and states(repository) == {1: State.AVAILABLE}
    assert "does not have the checksum" in error_of(repository, 1)
    assert len([r for r in caplog.records if "Version 1 refused" in r.message]) == 1
    _replace(path, tmp_path / "copy")
    repository.poll()
    assert top_score(repository) == 5.0 and error_of(repository, 1) == ""


def test_a_request_in_flight_holds_its_version_and_then_lets_it_go(tmp_path, publish):
    publish(tmp_path, 1)
    repository = Repository(tmp_path)
    repository.poll()
    with repository.lease() as model:
        loaded = weakref.ref(model)
        publish(tmp_path, 2)
        repository.poll()
        assert states(repository) == {1: State.UNLOADING, 2: State.AVAILABLE}
        assert float(Predictor(repository).run(model, model.signature(), {"user_id": ["u"]})["scores"][0, 0]) == 5.0
        assert top_score(repository) == 6.0
    assert states(repository) == {1: State.END, 2: State.AVAILABLE}
    del model
    repository.poll()
    gc.collect()
    assert loaded() is None


def test_close_unloads(tmp_path, publish):
    publish(tmp_path, 1)
    repository = Repository(tmp_path, poll_seconds=60)
    repository.start()
    repository.close()
    assert states(repository) == {1: State.END}
    with pytest.raises(Unavailable):
        top_score(repository)
