"""Checks, before SQLite opens a file, whether its `-wal` lost acknowledged transactions.

After a kill, SQLite reads the `-wal` up to the first frame that does not fit its checksum, and reports no error. If the
damage is in the last transaction, it is a torn end: that transaction was never acknowledged. If other transactions
follow, both they and the damaged one were acknowledged. Reference: https://www.sqlite.org/fileformat2.html#walformat
"""

import os
import struct
from pathlib import Path

from tfrs_twotower.durable import content
from tfrs_twotower.online.store_kind import StoreError

_HEAD, _FRAME = struct.Struct(">IIII8s2I"), struct.Struct(">II8s2I")
_LITTLE, _BIG = 0x377F0682, 0x377F0683  # the byte order of the checksums


def check(path: str | os.PathLike[str]) -> None:
    """Raises `StoreError` if the `-wal` of a SQLite file is damaged before its last transaction.

    path: the database file. No process has it open.
    """
    log = Path(f"{os.fspath(path)}-wal")
    data = content(log) if log.exists() else b""
    if len(data) < _HEAD.size + _FRAME.size:
        return
    magic, _, page, _, salt, *sums = _HEAD.unpack_from(data)
    order = {_LITTLE: "<II", _BIG: ">II"}.get(magic)
    if order is None or _added((0, 0), data[:24], order) != tuple(sums):
        raise _damage(log, 0)
    size = _FRAME.size + page
    starts = range(_HEAD.size, len(data) - size + 1, size)
    bad, total = len(starts), tuple(sums)
    for number, at in enumerate(starts):
        total = _added(_added(total, data[at:at + 8], order), data[at + _FRAME.size:at + size], order)
        if data[at + 8:at + 16] != salt or _FRAME.unpack_from(data, at)[3:] != total:
            bad = number
            break
    # In a frame from an earlier use of the file, both salts differ.
    ends = [at for at in starts[bad:] if _ends(data, at) and any(
        data[at + 8 + i:at + 12 + i] == salt[i:i + 4] for i in (0, 4)
    )]
    if len(ends) > 1:
        raise _damage(log, starts[bad])


def _ends(data: bytes, at: int) -> bool:
    """Does the frame end a transaction? Such a frame holds the number of pages of the database."""
    return _FRAME.unpack_from(data, at)[1] != 0


def _added(sums: tuple[int, ...], data: bytes, order: str) -> tuple[int, ...]:
    first, second = sums
    for a, b in struct.iter_unpack(order, data):
        first = (first + a + second) & 0xFFFFFFFF
        second = (second + b + first) & 0xFFFFFFFF
    return first, second


def _damage(log: Path, at: int) -> StoreError:
    return StoreError(
        f"{log} is damaged at byte {at}: acknowledged data cannot be read. Restore it and the file beside it from a "
        "copy, or remove both and send their data again."
    )
