"""Publishes versions in a folder: each appears in one step, whole. Lists the rollbacks that manifests record."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import flush, lock
from tfrs_twotower.errors import ExportError, invalid
from tfrs_twotower.exporting import manifest, user_deltas
from tfrs_twotower.exporting.signing import Key

RECORD = "rollback"  # the manifest's field: {"copy_of", "replaced", "at"}; a version has the number it was exported as


def versions_under(root: str | Path) -> list[int]:
    """The numbers of the versions under `root`, ascending; [] if there is no such folder."""
    return sorted(int(p.name) for p in Path(root).glob("*") if p.name.isdecimal()) if Path(root).is_dir() else []


def next_version(root: str | Path) -> int:
    """One more than the highest version under `root`; 1 if there is none."""
    return max(versions_under(root), default=0) + 1


def check_signed(root: str | Path, key: Key | None) -> None:
    """Raises `ExportError` if the newest version under `root` is signed and there is no `key` for the next one.

    Servers that verify would refuse that one and go on with the old: who publishes would not learn of it.
    """
    if key is None:
        manifest.check_unsigned(Path(root) / str(next_version(root) - 1))


@contextlib.contextmanager
def new_version(root: str | Path, least: int = 1, key: Key | None = None) -> Iterator[tuple[Path, int]]:
    """Gives a folder to write in. It becomes the next version under `root` when the block ends without error.

    The folder is temporary at first, is flushed to disk and then renamed. A crash at any point leaves the earlier
    versions as they were. One process at a time publishes under `root`: it holds a lock on the file `lock` there.

    With a key the folder is outside of `root` (`TMPDIR`) until it is signed: others who write to `root` cannot change
    what is signed.

    Args:
      root: the folder of all versions; created if it is missing.
      least: the version's number is at least this.
      key: the `Key` that signs the manifest; None: it is not signed.

    Yields:
      (the folder to write in, the version's number)

    Raises:
      ExportError: `root` cannot be written, or another process publishes there; or see `check_signed`.
    """
    root = Path(root)
    check_signed(root, key)
    try:
        held = lock(root)
    except BlockingIOError as error:
        raise ExportError(f"Another process publishes in {root}. Run this again when that one has ended.") from error
    except OSError as error:
        raise _unwritable(root, error) from error
    with held:
        try:
            for left in root.glob(".writing-*"):  # by a killed process: a living one would hold the lock
                shutil.rmtree(left, ignore_errors=True)
            version = max(next_version(root), least)
            # The folder is always new: a killed process may have linked files of a published version into an old one.
            aside = root / f".writing-{version}-{uuid.uuid4().hex}"
            user_deltas.clear(root, version)  # a free number has deltas only if a killed process left them
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            with _private(aside, key) as writing:
                yield writing, version
                if key is not None:
                    key.sign(writing / manifest.MANIFEST)
                if writing != aside:
                    shutil.move(writing, aside)
            flush_tree(aside)
            try:
                os.rename(aside, root / str(version))
            except OSError as error:
                raise ExportError(f"{root / str(version)} cannot be published: {error}. Run it again.") from error
            flush(root)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


@contextlib.contextmanager
def _private(aside: Path, key: Key | None) -> Iterator[Path]:
    """Gives the folder to write in: a new one at `aside`; with a key, one that no other user can write to."""
    if key is None:
        aside.mkdir()
        yield aside
        return
    with tempfile.TemporaryDirectory(prefix="twotower-") as folder:
        (writing := Path(folder) / aside.name).mkdir()
        yield writing


def _unwritable(root: Path, error: OSError) -> ExportError:
    return ExportError(invalid("root", "be a folder that can be written", str(root), f"The system says: {error}."))


def flush_tree(directory: str | Path) -> None:
    """Flushes a folder and all its files to disk."""
    for path in [p for p in Path(directory).rglob("*") if p.is_file()]:
        flush(path)
    for path in [Path(directory), *(p for p in Path(directory).rglob("*") if p.is_dir())]:
        flush(path)


def link_tree(source: str | Path, target: Path, leave_out: Collection[str] = ()) -> None:
    """Gives `target` the files of `source` under the same names, by hard links; by copies if links cannot be made.

    A published file never changes, so a link saves disk space and time. Linked files are made read-only, because
    writing to one would change both versions.
    """
    for path in sorted(Path(source).rglob("*")):
        name = path.relative_to(source)
        if path.is_dir():
            (target / name).mkdir()
        elif str(name) not in leave_out:
            mode = path.stat().st_mode
            try:
                if mode & 0o222:
                    os.chmod(path, mode & ~0o222)
                os.link(path, target / name)
            except OSError:  # a file system without links; or another user's file, which stays writable
                shutil.copyfile(path, target / name)


def manifests(root: str | Path) -> dict[int, dict[str, Any]]:
    """{version: manifest} of the versions under `root`, ascending. A version whose manifest is unreadable is left out.
    """
    found = {}
    for version in versions_under(root):
        try:
            found[version] = manifest.read(Path(root) / str(version))
        except ExportError:
            continue
    return found


def rollbacks(root: str | Path) -> list[dict[str, Any]]:
    """The rollbacks under `root`, the oldest first.

    Each is a dict. version: its number; copy_of: the version whose files it has; replaced: the version that served
    before; at: the time, in ISO 8601, UTC.
    """
    return [{"version": version, **contents[RECORD]} for version, contents in manifests(root).items()
            if RECORD in contents]
