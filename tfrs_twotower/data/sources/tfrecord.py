"""The log as TFRecord files, and back."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.columns import ITEM_ID, LABEL, TIMESTAMP, USER_ID, WEIGHT
from tfrs_twotower.configuration import config
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.source import FILE, Source, reading
from tfrs_twotower.data.sources.tensors import to_arrow
from tfrs_twotower.data.values import is_list, is_text
from tfrs_twotower.data.wide import take
from tfrs_twotower.errors import DataError, invalid

if TYPE_CHECKING:
    import tensorflow as tf

_BATCH = 1 << 13
_TYPES = {str(kind): kind for kind in (pa.string(), pa.int64(), pa.float64(), pa.float32(), pa.bool_())}


def write_tfrecords(log: InteractionLog, folder: str | os.PathLike[str], shards: int = 1) -> list[str]:
    """Writes a log as `interactions-00000-of-0000N.tfrecord`: one tf.train.Example per event, in time order.

    Items that users were shown and did not like come last, with a label of 0. A missing value is an absent feature; an
    empty list reads back as missing. TFRecord has 32-bit floats, so float64 context is rounded. Users and items are
    beside them in `users.parquet` and `items.parquet`, the columns' types in `schema.json`.

    Args:
      log: InteractionLog
      folder: made if missing; files of the same names are replaced
      shards: files of the events, each a stretch of time

    Returns:
      the paths of the TFRecord files
    """
    import tensorflow as tf

    if shards < 1:
        raise DataError(invalid("shards", "be at least 1", shards, ""))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = _events(log)
    schema = {field.name: _type_name(field) for field in table.schema}
    (folder / "schema.json").write_text(json.dumps(schema, indent=2) + "\n")
    pq.write_table(log.users, folder / "users.parquet")
    pq.write_table(log.items, folder / "items.parquet")
    paths = []
    for shard in range(shards):
        begin, end = len(table) * shard // shards, len(table) * (shard + 1) // shards
        paths.append(str(folder / f"interactions-{shard:05}-of-{shards:05}.tfrecord"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for batch in table.slice(begin, end - begin).to_batches(_BATCH):
                for example in _examples(batch, tf.train):
                    writer.write(example.SerializeToString())
    return paths


def _events(log: InteractionLog) -> pa.Table:
    columns = {
        USER_ID: take(log.users[USER_ID], log.user),
        ITEM_ID: take(log.items[ITEM_ID], log.item),
        **({TIMESTAMP: pa.array(log.timestamp)} if log.timed else {}),
        WEIGHT: pa.array(log.weight),
    }
    context = {name: log.context.column(name) for name in log.context.column_names}
    if len(log.shown) and LABEL not in context:
        context[LABEL] = pa.array(np.ones(len(log)))
    events = pa.table({**columns, **context})
    if not len(log.shown):
        return events
    shown = {
        USER_ID: take(log.users[USER_ID], log.shown.user),
        ITEM_ID: take(log.items[ITEM_ID], log.shown.item),
        **({TIMESTAMP: pa.array(log.shown.timestamp)} if log.timed else {}),
        WEIGHT: pa.array(np.ones(len(log.shown), np.float32)),
        LABEL: pa.array(np.zeros(len(log.shown)), events.schema.field(LABEL).type),
    }
    return pa.concat_tables([events, pa.table(shown)], promote_options="permissive").combine_chunks()


def _type_name(field: pa.Field) -> str:
    kind = field.type.value_type if is_list(field.type) else field.type
    name = str(kind).removeprefix("large_")
    if name not in _TYPES:
        raise DataError(f"`{field.name}` has the type {field.type}, which TFRecord cannot hold.")
    return f"list<{name}>" if is_list(field.type) else name


def _examples(batch: pa.RecordBatch, train: ModuleType) -> Iterator[tf.train.Example]:
    makers = [(field.name, _maker(field.type, train), batch.column(i).to_pylist())
              for i, field in enumerate(batch.schema)]
    for row in range(len(batch)):
        features = {name: make(column[row]) for name, make, column in makers if column[row] is not None}
        yield train.Example(features=train.Features(feature=features))


def _maker(kind: pa.DataType, train: ModuleType) -> Callable[[Any], tf.train.Feature]:
    if is_list(kind):
        return _maker_of_lists(kind.value_type, train)
    many = _maker_of_lists(kind, train)
    return lambda value: many([value])


def _maker_of_lists(kind: pa.DataType, train: ModuleType) -> Callable[[Sequence[Any]], tf.train.Feature]:
    if is_text(kind):
        return lambda texts: train.Feature(bytes_list=train.BytesList(value=[t.encode() for t in texts]))
    if pa.types.is_floating(kind):
        return lambda numbers: train.Feature(float_list=train.FloatList(value=numbers))
    return lambda numbers: train.Feature(int64_list=train.Int64List(value=map(int, numbers)))


@config
class TFRecords(Source):
    """A folder written by `write_tfrecords`, as a source."""

    folder: str

    @property
    def name(self) -> str:
        """The folder."""
        return self.folder

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch, in the order written."""
        import tensorflow as tf

        schema = _schema(Path(self.folder) / "schema.json")
        spec = {
            name: tf.io.RaggedFeature(_dtype(kind, tf), row_splits_dtype=tf.int64)
            for name, kind in schema.items()
        }
        parse = functools.partial(tf.io.parse_example, features=spec)
        for path in sorted(Path(self.folder).glob("interactions-*.tfrecord")):
            # Batched before parsing: one op parses thousands of examples.
            records = iter(tf.data.TFRecordDataset(str(path)).batch(_BATCH).map(parse).prefetch(1))
            while (batch := _next(records, path, tf)) is not None:
                arrays = [_array(batch[name], kind, f"{path}: `{name}`") for name, kind in schema.items()]
                batch = pa.RecordBatch.from_arrays(arrays, names=list(schema))
                yield batch.replace_schema_metadata({FILE: str(path).encode()})

    def users(self) -> pa.Table:
        """pa.Table"""
        return _table(Path(self.folder) / "users.parquet")

    def items(self) -> pa.Table:
        """pa.Table"""
        return _table(Path(self.folder) / "items.parquet")


def _schema(path: Path) -> dict[str, str]:
    """{column: type} of `schema.json`."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is not there. Write the folder with write_tfrecords.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Write the folder with write_tfrecords.") from error
    kinds = {*_TYPES, *(f"list<{kind}>" for kind in _TYPES)}
    given = schema.values() if isinstance(schema, dict) else ()
    if not given or not all(isinstance(kind, str) and kind in kinds for kind in given):
        rule = f"give each column one of the types {sorted(kinds)}"
        raise DataError(f"{path} must {rule}. Write the folder with write_tfrecords.")
    return schema


def _next(
    records: Iterator[dict[str, tf.RaggedTensor]], path: Path, tf: ModuleType
) -> dict[str, tf.RaggedTensor] | None:
    """The next batch of a file, or None. Raises `DataError` with the file's path if it is damaged."""
    try:
        return next(records, None)
    except (tf.errors.OpError, UnicodeError) as error:
        reason = re.sub(r"{{.*?}}|\[Op:.*", "", str(error)).strip().partition("\n")[0]
        way_out = "Check that it is whole and belongs to schema.json."
        raise DataError(f"{path}: cannot be read: {reason}. {way_out}") from error


def _table(path: Path) -> pa.Table:
    with reading(path):
        return pq.read_table(path)


def _dtype(kind: str, tf: ModuleType) -> tf.DType:
    kind = kind.removeprefix("list<").removesuffix(">")
    return {"string": tf.string, "double": tf.float32, "float": tf.float32}.get(kind, tf.int64)


def _array(ragged: tf.RaggedTensor, kind: str, label: str) -> pa.Array:
    values = to_arrow(ragged.flat_values, label).cast(_TYPES[kind.removeprefix("list<").removesuffix(">")])
    splits = np.asarray(ragged.row_splits)
    missing = np.diff(splits) == 0
    if kind.startswith("list<"):
        return pa.ListArray.from_arrays(pa.array(splits, pa.int32()), values, mask=pa.array(missing))
    return values.take(pa.array(splits[:-1], mask=missing))
