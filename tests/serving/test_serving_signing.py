"""Signed versions and rows of users: who signs, and what a server with a key refuses."""

import hashlib
import hmac
import json
import shutil

import numpy as np
import pytest

from tests.serving import toy_export
from tests.serving.test_serving_repository import error_of, top_score
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Files
from tfrs_twotower.errors import ConfigError, ExportError
from tfrs_twotower.exporting import Key, Seal, integrity, user_deltas
from tfrs_twotower.exporting.publishing import new_version
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving import Repository, Server, State
from tfrs_twotower.updates import roll_back

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "sign.key"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o600)
    return Key.read(path)


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other.key"
    path.write_bytes(SECRET[::-1])
    return Key.read(path)


def signed(folder, version, key, **fields):
    """Gives a toy export its number and a signature."""
    toy_export.write_manifest(folder, version=version, embedding_space="s", **fields)
    key.sign(folder / "manifest.json")
    return folder


def seal(root, version, key):
    """The `Seal` of the rows of a version's users."""
    return Seal(key, integrity.identity(root / str(version)) or "none")


def delta(value):
    return user_deltas.UserDelta("s", 1, np.array([value]), np.ones([1, 2], np.float32))


def right(what, content):
    """The signature that a content has to have, by hand."""
    return hmac.new(SECRET, what + b"\n" + content, hashlib.sha256).hexdigest().encode()


def test_a_key_file_must_be_there_and_long_enough_and_all_users_should_not_read_it(tmp_path, caplog):
    with pytest.raises(ConfigError, match="cannot be read .* Make one: .*openssl"):
        Key.read(tmp_path / "none")
    path = tmp_path / "key"
    path.write_bytes(SECRET[1:] + b"\r\n")
    with pytest.raises(ConfigError, match="at least 32 bytes. Received: 31 bytes. Make one"):
        Key.read(path)
    path.write_bytes(SECRET + b"\r\n")
    path.chmod(0o640)
    assert Key.read(path).secret == SECRET and not caplog.text
    path.chmod(0o644)
    Key.read(path)
    assert f"chmod 600 {path}" in caplog.text
    assert SECRET.decode() not in repr(Key.read(path))


def test_a_server_with_a_key_refuses_what_it_did_not_sign_and_keeps_the_version_before(
    tmp_path, publish, key, other, caplog
):
    root = tmp_path / "root"
    root.mkdir()
    signed(publish(root, 1), 1, key)
    repository = Repository(root, key=key)
    repository.poll()
    assert top_score(repository) == 5.0
    manifest = root / "1" / "manifest.json"
    assert manifest.with_suffix(".sig").read_bytes() == right(b"twotower manifest", manifest.read_bytes()) + b"\n"

    publish(root, 2)
    repository.poll()
    assert top_score(repository) == 5.0 and "is not signed" in error_of(repository, 2)
    assert "--sign-key" in error_of(repository, 2) and "Version 2 refused" in caplog.text
    signed(root / "2", 2, other)
    repository.poll()
    assert "manifest.sig is not the signature of manifest.json by the key" in error_of(repository, 2)
    signed(root / "2", 1, key)
    repository.poll()
    assert "`version` must be that of the folder, 2. Received: version=1" in error_of(repository, 2)
    signed(root / "2", 2, key)
    file = root / "2" / "saved_model.pb"
    whole = file.read_bytes()
    file.write_bytes(whole + b"\0")
    repository.poll()
    assert "saved_model.pb does not have the checksum" in error_of(repository, 2)
    manifest = root / "2" / "manifest.json"
    contents = json.loads(manifest.read_text())
    contents["files"]["saved_model.pb"] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(contents))  # a whole version, by its own words
    repository.poll()
    assert "is not the signature" in error_of(repository, 2) and top_score(repository) == 5.0
    file.write_bytes(whole)
    signed(root / "2", 2, key)
    repository.poll()
    assert top_score(repository) == 6.0 and error_of(repository, 2) == ""

    (root / "2" / "manifest.json").write_text(json.dumps(contents))  # of the version that serves
    repository.poll()
    assert top_score(repository) == 6.0
    assert {s.version: s.state for s in repository.statuses()}[2] is State.AVAILABLE
    assert "is not the signature" in error_of(repository, 2)
    repository.close()


def test_without_a_key_signatures_do_not_matter(tmp_path, publish, other):
    signed(publish(tmp_path, 1), 1, other)
    with Server(tmp_path, name="toy", rest_port=0, grpc_port=0) as server:
        assert server.repository.available() == [1]


def test_a_file_that_changes_after_the_check_is_not_loaded(tmp_path, publish, key):
    folder = signed(publish(tmp_path, 1), 1, key)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "unlisted").write_text("not signed")
    with integrity.checked(str(folder), 1, key) as (files, manifest):
        (folder / "saved_model.pb").write_bytes(b"another")
        for name, checksum in manifest["files"].items():
            with open(f"{files}/{name}", "rb") as file:
                assert hashlib.sha256(file.read()).hexdigest() == checksum
        with pytest.raises(FileNotFoundError):
            open(f"{files}/assets/unlisted")
    with pytest.raises(FileNotFoundError):
        open(f"{files}/manifest.json")


def test_a_version_that_needs_a_device_of_no_end_is_refused(tmp_path, publish, key):
    folder = signed(publish(tmp_path, 1), 1, key)
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").symlink_to("/dev/zero")
    with pytest.raises(ExportError, match="saved_model.pb is listed in manifest.json and missing"):
        with integrity.checked(str(folder), 1, key):
            pass


def test_a_key_for_two_models_signs_each_for_its_own(tmp_path, publish, key):
    """A version of the other model, whole and signed, does not serve in its place: by name, or after the first one."""
    (tmp_path / "root").mkdir()
    for name, served in (("mine", [1]), ("others", []), (None, [1])):
        signed(publish(tmp_path / "root", 1), 1, key, model="mine")
        repository = Repository(tmp_path / "root", key=key, model=name)
        repository.poll()
        assert repository.available() == served
        if served:
            signed(publish(tmp_path / "root", 2), 2, key, model="theirs")
            repository.poll()
            assert repository.available() == [1] and "`model` must be 'mine'" in error_of(repository, 2)
        repository.close()
        shutil.rmtree(tmp_path / "root" / "1")
        shutil.rmtree(tmp_path / "root" / "2", ignore_errors=True)
    signed(publish(tmp_path / "root", 1), 1, key, model="mine")
    with Server(tmp_path / "root", name="mine", rest_port=0, grpc_port=0, verify_key=key) as server:
        assert server.repository.available() == [1]


def test_a_server_takes_no_name_from_a_manifest_that_is_not_signed(tmp_path, publish, key):
    toy_export.write_manifest(publish(tmp_path, 1), version=1, model="theirs")
    with Server(tmp_path, rest_port=0, grpc_port=0, verify_key=key) as server:
        assert server.name == "twotower" and not server.ready()


def test_a_file_that_others_change_before_it_is_signed_is_not_signed(tmp_path, publish, key):
    """The folder of a version that is being written cannot be found under the root, and no other user may enter it."""
    root = tmp_path / "root"
    with new_version(root, key=key) as (folder, version):
        assert [p.name for p in root.iterdir()] == ["lock"] and root not in folder.parents
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        toy_export.write_manifest(folder, version=version)
    assert not folder.exists() and sorted(p.name for p in root.iterdir()) == ["1", "lock"]
    assert integrity.check(root / "1", key, 1)["version"] == 1


def test_rows_of_users_are_signed_for_their_version(tmp_path, key, other):
    mine, theirs, folder = Seal(key, "mine"), Seal(other, "mine"), tmp_path / "deltas" / "3"
    assert user_deltas.read(tmp_path, 3, "s", mine) == []
    for value in (1, 2):
        user_deltas.publish(tmp_path, 3, delta(value), mine)
    signature, content = (folder / "signed").read_bytes().split(b"\n", 1)
    assert signature == right(b"twotower rows of users", content)
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 3, "s", mine)] == [[1], [2]]
    assert len(user_deltas.read(tmp_path, 3, "s")) == 2
    with pytest.raises(ExportError, match="signed is not signed by the key"):
        user_deltas.read(tmp_path, 3, "s", theirs)
    with pytest.raises(ExportError, match="signed is not signed by the key"):
        user_deltas.publish(tmp_path, 3, delta(3), theirs)

    shutil.copytree(folder, tmp_path / "deltas" / "4")
    with pytest.raises(ExportError, match="signed for another version"):
        user_deltas.read(tmp_path, 4, "s", Seal(key, "another"))
    shutil.copyfile(folder / "000001.npz", folder / "000002.npz")
    with pytest.raises(ExportError, match="000002.npz does not have the checksum"):
        user_deltas.read(tmp_path, 3, "s", mine)

    for change in (user_deltas.withdraw, lambda root, version: user_deltas.publish(root, version, delta(3))):
        with pytest.raises(ExportError, match="are signed. Change them with the key"):
            change(tmp_path, 3)
    assert user_deltas.withdraw(tmp_path, 3, mine).name == "000002.npz"
    assert sorted(p.name for p in folder.iterdir()) == ["000001.json", "000001.npz", "signed"]
    assert user_deltas.read_counted(tmp_path, 3, "s", mine)[1] == 3  # two were published, one was withdrawn


def test_rows_that_are_not_signed_are_taken_back_with_the_key(tmp_path, key):
    """Behind signed ones, whose list stays as it is, and behind none; also if one of two files is all there is."""
    mine, folder = Seal(key, "mine"), tmp_path / "deltas" / "3"
    user_deltas.publish(tmp_path, 3, delta(2))
    with pytest.raises(ExportError, match="000001.json is not signed. Take it back by"):
        user_deltas.publish(tmp_path, 3, delta(1), mine)
    assert user_deltas.withdraw(tmp_path, 3, mine).name == "000001.npz" and not any(folder.iterdir())
    user_deltas.publish(tmp_path, 3, delta(1), mine)
    listed = (folder / "signed").read_bytes()
    (folder / "000002.json").write_text("{}")
    with pytest.raises(ExportError, match="000002.json is not signed. Take it back by .*--revert --sign-key"):
        user_deltas.read(tmp_path, 3, "s", mine)
    assert user_deltas.withdraw(tmp_path, 3, mine).name == "000002.npz"
    assert (folder / "signed").read_bytes() == listed
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 3, "s", mine)] == [[1]]


def test_a_process_that_is_killed_between_two_files_of_signed_rows_changes_nothing_or_all(tmp_path, key):
    mine, folder = Seal(key, "mine"), tmp_path / "deltas" / "3"
    user_deltas.publish(tmp_path, 3, delta(1), mine)
    before = (folder / "signed").read_bytes()
    user_deltas.publish(tmp_path, 3, delta(2), mine)
    json_file = folder / "000002.json"
    said = json_file.read_bytes()
    json_file.unlink()  # before it was written, or when it was withdrawn and the list not signed yet
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 3, "s", mine)] == [[1], [2]]
    user_deltas.publish(tmp_path, 3, delta(3), mine)
    assert json_file.read_bytes() == said and len(user_deltas.read(tmp_path, 3, "s")) == 3
    for end in ("json", "npz"):
        (folder / f"000003.{end}").unlink()
    json_file.unlink()
    (folder / "signed").write_bytes(before)  # before the list was signed
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 3, "s", mine)] == [[1]]
    user_deltas.publish(tmp_path, 3, delta(4), mine)
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 3, "s", mine)] == [[1], [4]]


def test_a_copy_signs_no_rows_that_changed_since_they_were_read(tmp_path, key):
    mine, folder = Seal(key, "mine"), tmp_path / "deltas" / "3"
    for value in (1, 2):
        user_deltas.publish(tmp_path, 3, delta(value), mine)
    copies = mine, Seal(key, "copy")
    user_deltas.copy(tmp_path, 3, 4, copies)
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 4, "s", copies[1])] == [[1], [2]]
    (folder / "000002.npz").write_bytes(b"others")
    user_deltas.copy(tmp_path, 3, 5, copies)
    with pytest.raises(ExportError, match="000002.npz does not have the checksum"):
        user_deltas.read(tmp_path, 5, "s", copies[1])
    (folder / "signed").write_bytes(b"others")
    with pytest.raises(ExportError, match="is not signed by"):
        user_deltas.copy(tmp_path, 3, 6, copies)


def test_a_server_with_a_key_refuses_rows_of_users_until_they_are_signed(tmp_path, publish, key):
    publish(tmp_path, 1)
    user_deltas.publish(tmp_path, 1, delta(1))
    signed(tmp_path / "1", 1, key)
    with pytest.raises(ExportError, match="1 is signed, and what follows it must be"):
        user_deltas.publish(tmp_path, 1, delta(2))
    repository = Repository(tmp_path, key=key)
    repository.poll()
    assert "Rows of users refused" in error_of(repository, 1) and "000001.json is not signed" in error_of(repository, 1)
    user_deltas.withdraw(tmp_path, 1)
    user_deltas.publish(tmp_path, 1, delta(1), seal(tmp_path, 1, key))
    repository.poll()
    assert "no table of user ids" in error_of(repository, 1)  # they were read: the toy has none
    repository.close()


def test_a_server_lets_no_earlier_rows_of_users_come_back(tmp_path, publish, key):
    """Neither those that were withdrawn, nor none at all."""
    signed(publish(tmp_path, 1), 1, key)
    folder, mine = tmp_path / "deltas" / "1", seal(tmp_path, 1, key)
    user_deltas.publish(tmp_path, 1, delta(1), mine)
    repository = Repository(tmp_path, key=key)
    repository.poll()
    shutil.copytree(folder, tmp_path / "kept")
    user_deltas.withdraw(tmp_path, 1, mine)
    repository.poll()
    assert error_of(repository, 1) == ""
    shutil.rmtree(folder)
    for again in (lambda: shutil.copytree(tmp_path / "kept", folder), lambda: shutil.rmtree(folder)):
        again()
        repository.poll()
        assert "the signed list of version 1 is an earlier one: number" in error_of(repository, 1)
    repository.close()


def test_a_rollback_signs_only_what_the_key_signed_before(tmp_path, publish, key, other):
    root = tmp_path / "root"
    root.mkdir()
    for version in (1, 2):
        signed(publish(root, version), version, key)
    user_deltas.publish(root, 1, delta(1), seal(root, 1, key))
    with pytest.raises(ExportError, match="is not the signature"):
        roll_back(root, key=other)
    (root / "deltas" / "1" / "000002.json").write_text("{}")
    with pytest.raises(ExportError, match="000002.json is not signed"):
        roll_back(root, key=key)
    (root / "deltas" / "1" / "000002.json").unlink()
    assert main(["rollback", str(root), "--sign-key", key.path]) == 0
    assert integrity.check(root / "3", key, 3)["rollback"]["copy_of"] == 1
    assert [d.keys.tolist() for d in user_deltas.read(root, 3, "s", seal(root, 3, key))] == [[1]]
    with pytest.raises(ExportError, match="3 is signed, and what follows it must be"):
        roll_back(root, 2)
    (root / "3" / "manifest.sig").unlink()  # as the message says
    assert roll_back(root, 2).published == root / "4"
    with pytest.raises(ExportError, match="is not signed"):  # not with the signature of the version before
        integrity.check(root / "4", key, 4)


@pytest.mark.usefixtures("two_signatures")
def test_what_follows_a_signed_version_is_signed(tmp_path, key, trained, capsys):
    run, option = tmp_path / "runs" / "toy" / "1", ["--sign-key", key.path]
    shutil.copytree(trained.directory, run)
    runs.point_latest(run)
    assert main(["export", str(run), "--flavour", "portable", *option]) == 0
    assert integrity.check(run / "export" / "1", key, 1)

    (tmp_path / "items.csv").write_text("item_id\n1\n2\n3\n")
    cold = ["cold-start", str(tmp_path / "items.csv"), "--name", "cold", "--runs", str(tmp_path / "runs"), *option]
    assert main(cold) == 0
    assert integrity.check(tmp_path / "runs" / "cold" / "latest" / "export" / "1", key, 1)
    capsys.readouterr()

    # A server with the key would refuse what is not signed, and say so to nobody but its log.
    without = (["export", str(run), "--flavour", "portable"], ["update", str(run)], cold[:-2],
               ["export", str(run), "--flavour", "portable", "--to", str(run / "export")])
    for command in without:
        assert main(command) == 1, command
        assert "export/1 is signed, and what follows it must be" in capsys.readouterr().err, command
    with pytest.raises(ExportError, match="is signed, and what follows it must be"):
        Recommender(trained.recipe.on(Files("none.csv")), directory=run.parent / "2").run()
    assert sorted(p.name for p in run.parent.iterdir()) == ["1", "latest"]


def test_a_key_that_cannot_be_read_stops_before_the_work(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    none = str(tmp_path / "none")
    for verb in (["train", "toy.json"], ["export", str(tmp_path)], ["update", str(tmp_path)],
                 ["rollback", str(tmp_path)], ["cold-start", "items.csv"]):
        assert main([*verb, "--sign-key", none]) == 1, verb
        assert "The key file" in capsys.readouterr().err, verb
    assert main(["serve", str(tmp_path / "root"), "--verify-key", none]) == 1
    assert "The key file" in capsys.readouterr().err
    assert not list(tmp_path.glob("lock"))
