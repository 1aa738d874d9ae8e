"""Reads the item events of version 0.2.0, once. They are files of records: a snapshot and the logs since.

    snapshot-<g>   the state to which log g and later logs are applied
    log-<g>        the events from snapshot g to the beginning of log g + 1, in order

A record is "TTRC" | uint32 length | uint32 crc32(length and payload) | payload, little-endian. The first record of a
file says what the file holds. A record that does not fit its checksum is a torn end if no whole record follows. It is
damage if one follows.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrs_twotower import columns as c
from tfrs_twotower.durable import content
from tfrs_twotower.online import StoreError

_MARK, _HEAD = b"TTRC", struct.Struct("<4sII")
_NAME = re.compile(r"(snapshot|log)-(\d+)")
_WAY_OUT = "Restore it from a copy, or remove the folder and send the items again."


def files(folder: Path) -> list[Path]:
    """The files of version 0.2.0 in a folder."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def read(folder: Path, id_type: type[str] | type[int]) -> dict[str | int, dict[str, Any] | None]:
    """{item id: its features, or None if withdrawn}, with the item changed last at the end; {} without such files.

    Raises:
      StoreError: a file is damaged or missing, or holds something else.
    """
    latest: dict[str | int, dict[str, Any] | None] = {}
    for path in _in_order(folder):
        payloads = _records(path)
        wanted = {"format": 1, "holds": "item events", "ids": id_type.__name__}
        if (found := _header(path, next(payloads, b""))) != wanted:
            raise StoreError(f"{path} holds {found}; it must hold {wanted} to be opened here. Name another folder.")
        for payload in payloads:
            event = json.loads(payload)
            changed = {id_type(item[c.ITEM_ID]): item for item in event.get("changed", ())}
            for item, features in {**changed, **dict.fromkeys(event.get("withdrawn", ()))}.items():
                latest.pop(item, None)
                latest[item] = features
    return latest


def _in_order(folder: Path) -> list[Path]:
    """The last snapshot and the logs since it, in order."""
    found: dict[str, dict[int, Path]] = {"snapshot": {}, "log": {}}
    for path in files(folder):
        kind, _, number = path.name.partition("-")
        found[kind][int(number)] = path
    snapshots, logs = found["snapshot"], found["log"]
    if not snapshots and not logs:
        return []
    base, last = max(snapshots, default=0), max([0, *snapshots, *logs])
    missing = [f"log-{number}" for number in range(base, last + 1) if number not in logs]
    if missing:
        raise StoreError(f"{folder / missing[0]} is missing, and its events with it. {_WAY_OUT}")
    return [*([snapshots[base]] if snapshots else []), *(logs[number] for number in range(base, last + 1))]


def _header(path: Path, payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError as error:
        raise StoreError(f"{path} has no readable header. {_WAY_OUT}") from error


def _records(path: Path) -> Iterator[bytes]:
    data, at = content(path), 0
    while at < len(data):
        payload = _record(data, at)
        if payload is None:
            later = data.find(_MARK, at + 1)
            while later >= 0:
                if _record(data, later) is not None:
                    raise StoreError(
                        f"{path} is damaged at byte {at}: an event that was acknowledged cannot be read. {_WAY_OUT}"
                    )
                later = data.find(_MARK, later + 1)
            return
        at += _HEAD.size + len(payload)
        yield payload


def _record(data: bytes, at: int) -> bytes | None:
    """The payload of the record that begins at byte `at`; None if no whole record begins there."""
    if len(data) - at < _HEAD.size:
        return None
    mark, length, crc = _HEAD.unpack_from(data, at)
    payload = data[at + _HEAD.size:at + _HEAD.size + length]
    whole = mark == _MARK and len(payload) == length
    return payload if whole and zlib.crc32(payload, zlib.crc32(struct.pack("<I", length))) == crc else None
