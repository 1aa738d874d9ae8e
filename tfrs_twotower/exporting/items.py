"""The attributes of an export's items, by which a request can allow or deny items."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.exporting import beside

_FILE = "items.parquet"


def write(directory: str | Path, table: pa.Table) -> None:
    """Writes the columns of an items table that hold no vectors.

    Args:
      directory: the folder of the version.
      table: pa.Table with `item_id`, as in an `InteractionLog`: one table row for each catalogue row, in the same
        order.
    """
    kept = [f.name for f in table.schema if not _is_vector(f.type)]
    pq.write_table(table.select(kept), beside.place(directory, _FILE))


def read(directory: str | Path, manifest: Mapping[str, Any]) -> pa.Table | None:
    """The pa.Table that `write` wrote; None if the manifest does not list its file.

    Raises:
      ExportError: the file cannot be read.
    """
    return beside.read(directory, manifest, _FILE, pq.read_table)


def _is_vector(kind: pa.DataType) -> bool:
    """Is the type a list of floats, or nested deeper? No request filters by such columns, and they are large."""
    if not pa.types.is_nested(kind):
        return False
    inner = getattr(kind, "value_type", None)
    return inner is None or pa.types.is_nested(inner) or pa.types.is_floating(inner)
