"""Changes of an index, and the bytes that stand for them in a log. No pickle: a log runs no code."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfrs_twotower.errors import IndexingError

_UPSERT, _DELETE = 1, 2
_HEAD = struct.Struct("<BI")  # which change, how many items


class Upsert(NamedTuple):
    """Items that are new or have another vector. keys: list of str or int; vectors: float32 [n, dim]."""

    keys: list
    vectors: np.ndarray


class Delete(NamedTuple):
    """Items that are gone. keys: list of str or int."""

    keys: list


def encode(change: Upsert | Delete) -> bytes:
    """The bytes of an `Upsert` or a `Delete`."""
    keys = _encode_keys(change.keys)
    if isinstance(change, Delete):
        return _HEAD.pack(_DELETE, len(change.keys)) + keys
    return _HEAD.pack(_UPSERT, len(change.keys)) + keys + change.vectors.astype("<f4").tobytes()


def decode(payload: bytes, id_type: type, dim: int) -> Upsert | Delete:
    """The inverse of `encode`. id_type: str or int. dim: of the vectors.

    Raises:
      IndexingError: these are not the bytes of a change with such ids and vectors.
    """
    try:
        kind, count = _HEAD.unpack_from(payload)
        keys, at = _decode_keys(payload, _HEAD.size, count, id_type)
        if kind == _DELETE and at == len(payload):
            return Delete(keys)
        if kind == _UPSERT and at + 4 * count * dim == len(payload):
            return Upsert(keys, np.frombuffer(payload, "<f4", count * dim, at).reshape(count, dim).astype(np.float32))
    except (struct.error, ValueError) as error:
        raise IndexingError(f"A record is not a change of an index ({error}). Was another program writing?") from error
    raise IndexingError(f"A record of {len(payload)} bytes is no change of {count} items with {dim} dimensions.")


def _encode_keys(keys: Sequence[str | int]) -> bytes:
    if keys and isinstance(keys[0], int):
        return np.array(keys, "<i8").tobytes()
    texts = [key.encode() for key in keys]
    return np.array([len(text) for text in texts], "<u4").tobytes() + b"".join(texts)


def _decode_keys(payload: bytes, at: int, count: int, id_type: type) -> tuple[list[str | int], int]:
    """(keys, offset behind them)."""
    if id_type is int:
        return np.frombuffer(payload, "<i8", count, at).tolist(), at + 8 * count
    lengths = np.frombuffer(payload, "<u4", count, at)
    ends = at + 4 * count + np.cumsum(lengths, dtype=np.int64)
    starts = (ends - lengths).tolist()
    end = int(ends[-1]) if count else at
    return [payload[a:b].decode() for a, b in zip(starts, ends.tolist())], end
