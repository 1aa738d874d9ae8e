"""Files that are whole on disk or not there at all, and folders with one writing process."""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, TextIO

LOCK = "lock"
# What NumPy raises for a damaged .npz file.
DAMAGED_NPZ = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def lock(folder: str | os.PathLike[str], name: str = LOCK) -> TextIO:
    """Opens the file `name` of a folder, which is made if it is missing. Until it is closed, no other process gets it.

    The system closes it when the process dies.

    Raises:
      BlockingIOError: it is open elsewhere.
      OSError: the system refuses.
    """
    os.makedirs(folder, exist_ok=True)
    file = open(os.path.join(folder, name), "a", opener=_unless_it_waits)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


def _unless_it_waits(path: str, flags: int) -> int:
    """Opens a file; a pipe, which would wait for its other end, is an `OSError`."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


@contextlib.contextmanager
def written_aside(
    path: str | os.PathLike[str], aside: str | os.PathLike[str] | None = None
) -> Iterator[BinaryIO]:
    """Gives a binary file to write. It is flushed and replaces `path`; if the block raises, it is removed.

    aside: the file's path until then; None: `path` and ".writing". Two processes that may write at once need two.
    """
    aside = aside or f"{path}.writing"
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.unlink(aside)
        raise
    flush(os.path.dirname(path) or ".")


def flush(path: str | os.PathLike[str]) -> None:
    """Flushes a file to disk, or the names in a directory: files created, renamed or removed there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to read its bytes. Raises `OSError` for a pipe or a device, which may have no end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe that nobody writes would block
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "It is no regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file; see `opened`."""
    with opened(path) as file:
        return file.read()


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, as hex; see `opened`."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
