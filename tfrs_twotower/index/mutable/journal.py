"""A folder that keeps changes: a snapshot, and the log of what changed since.

    snapshot-<g>   what log g and later ones are applied to; written aside, renamed when it is whole
    log-<g>        changes since snapshot g, in their order, up to where log g + 1 begins
    lock           held by the one process that has the folder open

To compact, a process begins log g + 1, writes what it held at that moment as snapshot g + 1, and removes what
is older. Killed between any two of these steps, it leaves the last whole snapshot and all logs from it on.
Each file begins with a record that says what space its vectors are of.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import flush, lock
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index.mutable import frames

_FORMAT = 1
_NAME = re.compile(r"(snapshot|log)-(\d+)")


class Journal:
    """The durable changes of one embedding space. One process has it open; its threads take turns.

    Args:
      folder: made where it is missing.
      identity: {name: value}, JSON-ready: what the records belong to, as the id of the embedding space, the
        dimension and the type of the ids. A folder that was written with another one is refused.

    Raises:
      IndexingError: another process has it open, it belongs to something else, it is damaged, or the system
        refuses.
    """

    _log: frames.Appender | None

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._identity = {"format": _FORMAT, **identity}
        self._log, self._generation = None, 0
        try:
            self._lock = lock(self.folder)
        except BlockingIOError as error:
            raise IndexingError(f"{self.folder} is open in another process or object. Close it there.") from error
        except OSError as error:
            raise IndexingError(f"{self.folder} cannot be written ({error}). Name another folder.") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def read(self) -> Iterator[bytes]:
        """Yields the payloads to apply, oldest first: the snapshot's, then those of the logs."""
        snapshots, logs = self._files()
        base = max(snapshots, default=0)
        paths = [snapshots[base]] if snapshots else []
        for path in paths + [logs[g] for g in sorted(logs) if g >= base]:
            payloads = frames.records(path)
            next(payloads)  # the header, which `_open` has checked
            for payload, _ in payloads:
                yield payload

    def append(self, payload: bytes) -> None:
        """Makes one change durable, whole or not at all. Raises `IndexingError` where the system refuses."""
        if self._log is None:
            raise IndexingError(f"{self.folder} was closed. Make a new object on it.")
        self._log.append(payload)

    def rotate(self) -> int:
        """Begins a new log. Returns its number, for `publish`."""
        generation = self._generation + 1
        path = self._path("log", generation)
        try:
            frames.write(path, [self._header()])
            log = self._appender(path)
        except OSError as error:
            raise IndexingError(f"{path} cannot be written ({error}).") from error
        self._log.close()
        self._log, self._generation = log, generation
        return generation

    def publish(self, generation: int, payloads: Iterable[bytes]) -> None:
        """Writes the snapshot that log `generation` starts from, then removes what is older.

        payloads: an iterable of bytes that, applied in order, give what was held when `rotate` returned.
        """
        def whole() -> Iterator[bytes]:
            yield self._header()
            yield from payloads

        path = self._path("snapshot", generation)
        try:
            frames.write(path, whole())
            self._remove_before(generation)
        except OSError as error:
            raise IndexingError(f"{path} cannot be written ({error}). The logs keep all changes.") from error

    def close(self) -> None:
        """Lets another process open the folder. Changes are durable whether this is called or not."""
        if self._log:
            self._log.close()
            self._log = None
        self._lock.close()

    def _open(self) -> None:
        snapshots, logs = self._files()
        for path in [*snapshots.values(), *logs.values()]:
            self._check_header(path)
        base, self._generation = max(snapshots, default=0), max([0, *snapshots, *logs])
        path = self._path("log", self._generation)
        if not snapshots and not logs:
            frames.write(path, [self._header()])
            logs = {0: path}
        for generation in range(base, self._generation + 1):
            if generation not in logs:
                missing = self._path("log", generation)
                raise IndexingError(f"{missing} is missing, and with it what changed then. Restore it from a copy.")
        self._log = self._appender(path)
        for torn in self.folder.glob("*.writing"):
            torn.unlink()
        self._remove_before(base)

    def _appender(self, path: str) -> frames.Appender:
        end = 0
        for _, end in frames.records(path):
            pass
        return frames.Appender(path, end)

    def _check_header(self, path: str) -> None:
        payload, _ = next(frames.records(path), (b"", 0))
        try:
            found = json.loads(payload)
        except ValueError as error:
            raise IndexingError(f"{path} has no readable header. Restore it from a copy.") from error
        different = sorted(k for k in {*found, *self._identity} if found.get(k) != self._identity.get(k))
        if different:
            was, wanted = ({k: of.get(k) for k in different} for of in (found, self._identity))
            raise IndexingError(
                f"{path} belongs to {was}; asked for was {wanted}. "
                "Its changes cannot be used here. Name another folder, or open it for what it belongs to."
            )

    def _header(self) -> bytes:
        return json.dumps(self._identity, sort_keys=True).encode()

    def _path(self, kind: str, generation: int) -> str:
        return str(self.folder / f"{kind}-{generation}")

    def _files(self) -> tuple[dict[int, str], dict[int, str]]:
        """({generation: snapshot}, {generation: log}) as they lie in the folder."""
        found = {"snapshot": {}, "log": {}}
        for path in self.folder.iterdir():
            if name := _NAME.fullmatch(path.name):
                found[name[1]][int(name[2])] = str(path)
        return found["snapshot"], found["log"]

    def _remove_before(self, generation: int) -> None:
        snapshots, logs = self._files()
        for path in [files[g] for files in (snapshots, logs) for g in files if g < generation]:
            os.unlink(path)
        flush(self.folder)
