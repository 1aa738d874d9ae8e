"""Answers for all users, or all vectors, as Parquet files: one a shard, each written once."""

import contextlib
import dataclasses
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.durable import lock, written_aside
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import Retriever
from tfrs_twotower.pipeline.answers import Answerer, allowed_items, best
from tfrs_twotower.pipeline.requests import Live, live_blocks
from tfrs_twotower.progress import bar, unseen

_ROWS = 512  # users or items of one call of the model
_SETTINGS, _DONE, _LOCK = "_batch.json", "_SUCCESS", "_lock"  # readers of Parquet folders skip names with _
MODEL = "_model"  # the export that a cluster's tasks ask, until the batch is whole

What = Literal["recommendations", "user-vectors", "item-vectors"]


@dataclasses.dataclass(frozen=True)
class Batch:
    """What a folder of shards holds; written to its file `_batch.json`.

    Attributes:
      what: "recommendations": `user_id`, `item_ids` and `scores`, best first. "user-vectors": `user_id` and `vector`.
        "item-vectors": `item_id` and `vector`.
      k: items of a user.
      exclude_seen: whether a user's seen items are left out.
      shard: rows of a file.
      allow, deny: rules of the recommended items by attribute, as in a request of /v1/recommend.
    """

    what: What
    k: int
    exclude_seen: bool
    shard: int
    allow: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    deny: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class ShardWriter(Protocol):
    """Where the shards are made."""

    def write(self, batch: Batch, folder: Path, numbers: Sequence[int], advance: Callable[[int], Any]) -> None:
        """Writes the shards of these numbers by `write_shard`. It calls `advance` with rows that are done."""


@dataclasses.dataclass(frozen=True)
class Here:
    """The `ShardWriter` of this process."""

    live: Live
    retriever: Retriever

    def write(self, batch: Batch, folder: Path, numbers: Sequence[int], advance: Callable[[int], Any]) -> None:
        """As `ShardWriter` says."""
        for number in numbers:
            write_shard(self.live, self.retriever, batch, folder, number, advance)


def write_batch(
    writer: ShardWriter, batch: Batch, rows: int, space: str, folder: str | Path, progress: bool = True
) -> Path:
    """Writes all shards that are missing, then the file `_SUCCESS`; returns the folder.

    The request of a user is just after the log's last event, as in `Recommender.recommend`. A shard is written aside
    and renamed, so a stopped batch continues with those that are missing, on any engine.

    Args:
      writer: a `ShardWriter` of the served model.
      batch: a `Batch`.
      rows: users, or items, of all shards.
      space: the model's embedding space.
      folder: made here, or one of the same batch that was stopped.
      progress: True shows a progress bar on a terminal.

    Raises:
      ConfigError: the folder holds another batch, cannot be written, or another process writes to it.
    """
    folder = Path(folder).absolute()
    try:
        held = lock(folder / _LOCK)
    except BlockingIOError as error:
        raise ConfigError(invalid("folder", "be written by one process", str(folder), "Name another one.")) from error
    except OSError as error:
        way_out = f"The system says: {error}."
        raise ConfigError(invalid("folder", "be a folder that can be written", str(folder), way_out)) from error
    with held:
        _check(folder, {**dataclasses.asdict(batch), "rows": rows, "embedding_space": space})
        for left in folder.glob("_part-*"):  # by a process that was killed
            left.unlink()
        sizes = [min(batch.shard, rows - first) for first in range(0, rows, batch.shard)]
        missing = [n for n, size in enumerate(sizes) if not _is_whole(_part(folder, n), size)]
        done = rows - sum(sizes[n] for n in missing)
        unit = "items" if batch.what == "item-vectors" else "users"
        shown = bar(f"Writing {rows:,} {unit}", rows, unit) if progress else contextlib.nullcontext(unseen)
        with shown as advance:
            advance(done)
            if missing:
                (folder / _DONE).unlink(missing_ok=True)  # some were lost since
                writer.write(batch, folder, missing, advance)
        shutil.rmtree(folder / MODEL, ignore_errors=True)  # also if the process was killed after its last shard
        with written_aside(folder / _DONE):
            pass
    return folder


def write_shard(
    live: Live, answerer: Answerer, batch: Batch, folder: Path, number: int,
    advance: Callable[[int], Any] = lambda rows: None,
) -> int:
    """Writes one shard, aside and then by its name, and returns its rows."""
    start, kind = number * batch.shard, live.log.items[c.ITEM_ID].type
    if batch.what == "item-vectors":
        name, ids = c.ITEM_ID, pa.chunked_array([_ids(answerer.item_ids[start: start + batch.shard].numpy(), kind)])
    else:
        name, ids = c.USER_ID, live.log.users[c.USER_ID].slice(start, batch.shard)
    _write(_part(folder, number), name, ids, _COMPUTE[batch.what](live, answerer, batch, start, len(ids)), advance)
    return len(ids)


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def _is_whole(path: Path, rows: int) -> bool:
    try:
        return bool(pq.read_metadata(path).num_rows == rows)
    except (OSError, pa.ArrowInvalid):  # it is not there, or damaged
        return False


def _check(folder: Path, settings: dict[str, Any]) -> None:
    """Writes `_batch.json`, or compares it with the one that is there."""
    path = folder / _SETTINGS
    if not path.exists():
        others = [p.name for p in folder.glob("*.parquet")]
        if others:
            raise ConfigError(invalid("folder", "hold no other Parquet files", others[:3], "Name an empty folder."))
        with written_aside(path) as file:
            file.write(json.dumps(settings, indent=2).encode())
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}. Name an empty folder.") from error
    if before != settings:
        rule, way_out = f"hold the same batch: {before}", "Name an empty folder, or remove this one."
        raise ConfigError(invalid("folder", rule, settings, way_out))


def _write(
    path: Path, name: str, ids: pa.ChunkedArray, blocks: Iterator[dict[str, pa.Array]], advance: Callable[[int], Any]
) -> None:
    """One shard: the ids beside the columns of the blocks, in their order."""
    start, writer = 0, None
    aside = path.with_name(f"_{path.stem}.{uuid.uuid4().hex}")  # a task may run twice at once
    with written_aside(path, aside) as file, contextlib.ExitStack() as opened:
        for block in blocks:
            size = len(next(iter(block.values())))
            table = pa.table({name: ids.slice(start, size), **block})
            writer = writer or opened.enter_context(pq.ParquetWriter(file, table.schema))
            writer.write_table(table)
            start += size
            advance(size)


def _recommendations(
    live: Live, answerer: Answerer, batch: Batch, start: int, size: int
) -> Iterator[dict[str, pa.Array]]:
    kind, allowed = live.log.items[c.ITEM_ID].type, allowed_items(live.log.items, batch.allow, batch.deny)
    for features, seen in live_blocks(live, start, size, _ROWS):
        found, scores = (t.numpy() for t in best(answerer, features, seen, batch.k, batch.exclude_seen, allowed))
        there = scores > tf.float32.min
        offsets = pa.array(np.concatenate([[0], np.cumsum(there.sum(axis=1))]), pa.int32())
        yield {"item_ids": pa.ListArray.from_arrays(offsets, _ids(found[there], kind)),
               "scores": pa.ListArray.from_arrays(offsets, pa.array(scores[there], pa.float32()))}


def _user_vectors(
    live: Live, answerer: Answerer, batch: Batch, start: int, size: int
) -> Iterator[dict[str, pa.Array]]:
    for features, _ in live_blocks(live, start, size, _ROWS):
        yield {"vector": _vectors(answerer.embed_query(features).numpy())}


def _item_vectors(
    live: Live, answerer: Answerer, batch: Batch, start: int, size: int
) -> Iterator[dict[str, pa.Array]]:
    yield {"vector": _vectors(answerer.vectors[start: start + size].numpy())}


def _ids(ids: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Ids as TensorFlow has them, in the log's type."""
    return pa.array(ids, pa.binary()).cast(kind) if ids.dtype == object else pa.array(ids, kind)


def _vectors(values: np.ndarray) -> pa.Array:
    """float32 [n, dim], or [n, interests, dim], as lists."""
    found = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    for size in values.shape[:0:-1]:
        found = pa.FixedSizeListArray.from_arrays(found, size)
    return found


_COMPUTE: dict[str, Callable[..., Iterator[dict[str, pa.Array]]]] = {
    "recommendations": _recommendations, "user-vectors": _user_vectors, "item-vectors": _item_vectors,
}
