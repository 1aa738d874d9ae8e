"""Files that are whole on the disk, or not there at all."""

import contextlib
import os


@contextlib.contextmanager
def written_aside(path):
    """Gives a binary file to write; it is flushed and takes the place of `path` when the block ends without error."""
    aside = f"{path}.writing"
    with open(aside, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, path)
    flush(os.path.dirname(path))


def flush(path):
    """Makes a file durable, or the names in a directory: what was created, renamed or removed there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
