"""What an export says of its items besides their vectors: the attributes that a request can allow or deny."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.errors import ExportError

_FILE = os.path.join("assets.extra", "items.parquet")


def write(directory: str | Path, table: pa.Table) -> None:
    """Writes the columns of an items table that hold no vectors, a row for each item of the catalogue, in its order.

    Args:
      directory: of the version.
      table: pa.Table with `item_id`, as in an `InteractionLog`.
    """
    path = os.path.join(directory, _FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pq.write_table(table.select([f.name for f in table.schema if not _is_vector(f.type)]), path)


def read(directory: str | Path, manifest: Mapping[str, Any]) -> pa.Table | None:
    """The pa.Table that `write` wrote; None where the manifest lists none.

    Raises:
      ExportError: it cannot be read.
    """
    if _FILE not in manifest.get("files", ()):
        return None
    path = os.path.join(directory, _FILE)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(f"{path} cannot be read ({error}). Export again.") from error


def _is_vector(kind: pa.DataType) -> bool:
    """Is it a list of floats, or nested deeper? No request asks for these, and they are large."""
    if not pa.types.is_nested(kind):
        return False
    inner = getattr(kind, "value_type", None)
    return inner is None or pa.types.is_nested(inner) or pa.types.is_floating(inner)
