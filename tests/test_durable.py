"""Files that are whole on disk or not there at all."""

import io
import os

import numpy as np
import pytest

from tfrs_twotower.durable import DAMAGED_NPZ, checksum, content, lock, opened, written_aside
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exporting import Key
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import StoreError, open_stores
from tfrs_twotower.pipeline import runs
from tfrs_twotower.serving import Access
from tfrs_twotower.serving.errors import CannotServe


def test_an_error_leaves_the_earlier_file_alone_and_nothing_beside_it(tmp_path):
    path = tmp_path / "figures"
    with written_aside(path) as file:
        file.write(b"whole")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    with pytest.raises(ValueError):
        runs.write_json(path, {"a": float("nan")})
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), written_aside(tmp_path / "folder") as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.fixture
def pipe(tmp_path):
    """The path of a pipe. Nobody writes to it, so opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("read", [opened, content, checksum])
def test_a_pipe_or_a_device_is_refused_and_does_not_wait(read, pipe):
    for path in (pipe, "/dev/zero", pipe.parent):
        with pytest.raises(OSError, match="no regular file"):
            read(path)
    (pipe.parent / "file").write_bytes(b"whole")
    (pipe.parent / "link").symlink_to("file")
    assert content(pipe.parent / "link") == b"whole"


def test_what_a_server_opens_is_a_file(pipe, tmp_path, monkeypatch):
    with pytest.raises(OSError):
        lock(tmp_path, pipe.name)
    with pytest.raises(ConfigError, match="no regular file"):
        Key.read(pipe)
    for access in (Access(str(pipe)), Access(None, str(pipe), str(pipe))):
        with pytest.raises(CannotServe, match="no regular file"):
            access.keys(), access.check_tls()
    with pytest.raises(StoreError, match="must be a file"):
        open_stores(f"sqlite:{pipe}")
    for name in ("items.db", "items.db-wal", "log-0"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / name)
        with pytest.raises(StoreError):
            FreshItems(tmp_path / name)
    monkeypatch.setenv("TWOTOWER_REDIS_PASSWORD_FILE", str(pipe))
    with pytest.raises(StoreError, match="no regular file"):
        open_stores("redis://127.0.0.1:1")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_raises_no_other_errors(save):
    """Any byte of it is another, or the file ends there."""
    file = io.BytesIO()
    save(file, ranks=np.arange(40))
    whole, raised = file.getvalue(), set()
    for at, byte in enumerate(whole):
        for damaged in (whole[:at], whole[:at] + bytes([byte ^ 255]) + whole[at + 1:]):
            try:
                with np.load(io.BytesIO(damaged), allow_pickle=False) as arrays:
                    arrays["ranks"]
            except DAMAGED_NPZ as error:
                raised.add(type(error).__name__)
    assert {"BadZipFile", "EOFError", "KeyError", "NotImplementedError", "ValueError"} <= raised
