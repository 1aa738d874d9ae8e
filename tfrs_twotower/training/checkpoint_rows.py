"""Rows of a large table in a checkpoint, without reading the others.

TensorFlow reads a tensor of a checkpoint as a whole. Its files are simple: `.data-…` holds the tensors' bytes, and
`.index` says where each begins. The index is an SSTable of LevelDB, which TensorFlow writes without compression. Its
values are `BundleEntryProto`s (tensorflow/core/protobuf/tensor_bundle.proto), and that of the empty key is the
`BundleHeaderProto`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2 as bundle

_FOOTER = 48  # bytes: two handles of blocks, padding, and 8 bytes that mark the format


def rows_of(path: str, name: str, rows: np.ndarray) -> np.ndarray:
    """[rows, ...]: rows of the tensor `name` in the checkpoint `path`, int64 [rows].

    The checksum of the whole tensor is not compared. A tensor that was saved in parts is read as a whole.

    Raises:
      KeyError: there is no such tensor.
    """
    said = dict(_entries(Path(f"{path}.index").read_bytes()))
    header = bundle.BundleHeaderProto.FromString(said[b""])
    entry = bundle.BundleEntryProto.FromString(said[name.encode()])
    kind = tf.as_dtype(entry.dtype)
    if entry.slices:
        whole, = tf.raw_ops.RestoreV2(prefix=path, tensor_names=[name], shape_and_slices=[""], dtypes=[kind])
        return whole.numpy()[rows]
    shape = tuple(dim.size for dim in entry.shape.dim)
    file = f"{path}.data-{entry.shard_id:05}-of-{header.num_shards:05}"
    return np.memmap(file, kind.as_numpy_dtype, "r", entry.offset, shape)[rows]


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of all of an SSTable."""
    _, _, *index = _numbers(table[-_FOOTER:], 0, 4)[0]
    for _, handle in _block(table, *index):
        yield from _block(table, *_numbers(handle, 0, 2)[0])


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a block. An entry begins with three numbers: the bytes that its key shares with the key before,
    the key's further bytes, and those of the value. At the end are the places of some entries, and their number."""
    block, key, at = table[start: start + size], b"", 0
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    while at < end:
        (shared, more, length), at = _numbers(block, at, 3)
        key = key[:shared] + block[at: at + more]
        yield key, block[at + more: at + more + length]
        at += more + length


def _numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """(numbers of seven bits a byte, whose last byte has no eighth bit; the place behind them)."""
    found = []
    for _ in range(count):
        number = shift = 0
        while True:
            byte, at = data[at], at + 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found.append(number)
    return found, at
