"""A file of records that says after a crash which of them are whole.

A record is four bytes that mark its start, the length of what it holds, a CRC-32 of both, and what it holds:

    "TTRC" | uint32 length | uint32 crc32(length and payload) | payload          (little-endian)

A process that is killed while it appends leaves a part of one record, at the end of the file. So a record
that does not fit its checksum is the torn end where no whole one follows it, and damage where one does.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tfrs_twotower.durable import written_aside
from tfrs_twotower.errors import IndexingError

_MARK = b"TTRC"
_HEAD = struct.Struct("<4sII")
_LONGEST = 2**31  # of one record, in bytes


def frame(payload: bytes) -> bytes:
    """`payload` (bytes) as a record."""
    if len(payload) > _LONGEST:
        raise IndexingError(f"A record holds at most {_LONGEST} bytes. Received: {len(payload)}. Send it in parts.")
    return _HEAD.pack(_MARK, len(payload), _crc(payload)) + payload


def records(path: str | Path) -> Iterator[tuple[bytes, int]]:
    """Yields (payload, offset behind it) of the whole records of a file, in their order.

    Raises:
      IndexingError: a record in the middle is damaged: what it held was acknowledged and is lost.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        offset = 0
        while offset < size:
            payload = _payload(file, size - offset)
            if payload is None:
                _refuse_damage(path, offset)
                return
            offset += _HEAD.size + len(payload)
            yield payload, offset


def write(path: str | Path, payloads: Iterable[bytes]) -> None:
    """Writes a whole file of records aside, flushes it and renames it: it is there with all of them or not at all.

    payloads: an iterable of bytes.
    """
    with written_aside(path) as file:
        for payload in payloads:
            file.write(frame(payload))


class Appender:
    """Appends records to a file; each is on the disk when `append` returns.

    Args:
      path: a file that `write` made.
      end: where its last whole record ends. What lies behind is cut off.
    """

    def __init__(self, path: str | Path, end: int) -> None:
        self.path = path
        self._end = end
        self._broken: OSError | None = None
        self._descriptor = os.open(path, os.O_WRONLY)
        os.ftruncate(self._descriptor, end)
        os.fsync(self._descriptor)

    def append(self, payload: bytes) -> None:
        """Writes one record and flushes it.

        Raises:
          IndexingError: the system refused, and the record is not in the file. After a full disk one may try
            again; after a failed flush nobody knows what the disk holds, so all later records are refused too.
        """
        data = frame(payload)
        if self._broken:
            raise IndexingError(f"{self.path} failed before ({self._broken}). Open it again.")
        try:
            self._write(data)
        except OSError as error:
            self._cut(error)
            raise IndexingError(f"{self.path} cannot be written ({error}). Nothing was changed.") from error
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._broken = error
            raise IndexingError(f"{self.path} cannot be flushed ({error}). Open it again.") from error
        self._end += len(data)

    def close(self) -> None:
        """Closes the file. No record is lost if it is never called."""
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        view, at = memoryview(data), self._end
        while view:
            written = os.pwrite(self._descriptor, view, at)
            view, at = view[written:], at + written

    def _cut(self, reason: OSError) -> None:
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self._broken = reason


def _payload(file: BinaryIO, left: int) -> bytes | None:
    """The next record's payload, or None where what follows is not a whole record."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, length, crc = _HEAD.unpack(head)
    if mark != _MARK or length > left - _HEAD.size:
        return None
    payload = file.read(length)
    return payload if _crc(payload) == crc else None


def _refuse_damage(path: str | Path, offset: int) -> None:
    """Raises where a whole record lies behind `offset`: then the one there is no torn end."""
    with open(path, "rb") as file:
        file.seek(offset)
        rest = file.read()
    at = rest.find(_MARK, 1)
    while at >= 0:
        if len(rest) - at >= _HEAD.size:
            _, length, crc = _HEAD.unpack_from(rest, at)
            start = at + _HEAD.size
            if length <= len(rest) - start and _crc(rest[start:start + length]) == crc:
                raise IndexingError(
                    f"{path} is damaged at byte {offset}: a change that was acknowledged cannot be read. "
                    "Restore the file from a copy, or remove the folder and load the items again."
                )
        at = rest.find(_MARK, at + 1)


def _crc(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<I", len(payload))))
