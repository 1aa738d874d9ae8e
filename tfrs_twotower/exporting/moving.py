"""What a server needs to count on from an export: the events behind its items' statistics, and the items' features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.configuration import from_dict
from tfrs_twotower.data.statistics import Happenings
from tfrs_twotower.exporting import beside
from tfrs_twotower.features import ItemStatistic

_EVENTS, _ITEMS = "item_events.parquet", "item_features.parquet"
_USER = "user"
_UNTIL = b"until"


class Moving(NamedTuple):
    """The statistics of an export.

    Attributes:
      features: the `ItemStatistic`s of the candidate tower.
      items: pa.Table, the other columns that the tower reads and all attributes, one table row for each catalogue row.
      events: `Happenings` of the catalogue's rows, in which `user` is a place in `users`.
      users: list of user ids; [""] if no statistic counts users.
      until: the time of the last event, or item shown, in seconds since 1970.
    """

    features: tuple[ItemStatistic, ...]
    items: pa.Table
    events: Happenings
    users: list[str]
    until: int


def write_moving(directory: str | Path, moving: Moving) -> None:
    """Writes the two files of an export."""
    e, users = moving.events, pa.array(moving.users, pa.string())
    table = pa.table({
        "item": e.item.astype(np.int32), "hour": e.hour, "count": e.number,
        "kind": pa.array(np.asarray(e.kinds, object)[e.kind], pa.string()), _USER: users.take(pa.array(e.user)),
    })
    table = table.replace_schema_metadata({_UNTIL: str(moving.until).encode()})
    pq.write_table(table, beside.place(directory, _EVENTS))
    pq.write_table(moving.items, beside.place(directory, _ITEMS))


def read_moving(directory: str | Path, manifest: Mapping[str, Any]) -> Moving | None:
    """The `Moving` that `write_moving` wrote; None if the manifest does not list its files.

    Raises:
      ExportError: a file cannot be read.
    """
    found = beside.read(directory, manifest, _EVENTS, _read_events)
    if found is None:
        return None
    declared = manifest["schema"]["candidate"]  # other features may be of classes that a server does not import
    features = tuple(from_dict(f) for f in declared if f["type"] == ItemStatistic.__name__)
    return Moving(features, beside.read(directory, manifest, _ITEMS, pq.read_table), *found)


def _read_events(path: str) -> tuple[Happenings, list[str], int]:
    """(events, users, until) of a `Moving`."""
    table = pq.read_table(path)
    kind, user = (table[name].combine_chunks().dictionary_encode() for name in ("kind", _USER))
    item, hour, count = (table[name].to_numpy().astype(np.int64) for name in ("item", "hour", "count"))
    kinds, users = kind.dictionary.to_pylist(), user.dictionary.to_pylist()
    events = Happenings(item, _codes(user), hour, _codes(kind), count, tuple(kinds))
    return events, users, int(table.schema.metadata[_UNTIL])


def _codes(column: pa.DictionaryArray) -> np.ndarray:
    return column.indices.to_numpy().astype(np.int64)
