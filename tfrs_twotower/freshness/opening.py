"""Opens the item events for a folder of versions."""

import os
from pathlib import Path

import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes
from tfrs_twotower.errors import ExportError, IndexingError, TwoTowerError, invalid
from tfrs_twotower.exporting import items, manifest
from tfrs_twotower.exporting.publishing import versions_under
from tfrs_twotower.freshness.category_vectors import check_column
from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE
from tfrs_twotower.serving.signature_defs import meta_graph, signature_defs


def open_items(folder: str | Path, root: str | Path, category_means: str | None = None) -> FreshItems:
    """`FreshItems` of a folder. Its ids have the type of the newest version's ids.

    Args:
      folder: the folder of the events; created if it is missing.
      root: the folder of the version folders. At least one version must be readable.
      category_means: see `FreshItems`.

    Raises:
      IndexingError: there is no version, or its items have no attribute `category_means`.
      StoreError: the folder cannot be used; see `FreshItems`.
    """
    newest, id_type = _newest(root)
    if category_means:
        _check_column(category_means, newest)
    return FreshItems(folder, id_type, category_means)


def _check_column(column: str, folder: str) -> None:
    try:
        table = items.read(folder, manifest.read(folder))
    except ExportError:  # the server logs it and serves an older version
        return
    check_column(column, Attributes(pa.table({}) if table is None else table))


def _newest(root: str | Path) -> tuple[str, type[str] | type[int]]:
    """(folder, type of the item ids) of the newest readable version."""
    for version in reversed(versions_under(root)):
        try:
            folder = os.path.join(root, str(version))
            inputs = signature_defs(meta_graph(folder))[DEFAULT_SIGNATURE].inputs
            return folder, str if inputs[c.EXCLUDE_IDS].dtype == tf.string.as_datatype_enum else int
        except (OSError, TwoTowerError, LookupError):
            continue
    way_out = "Export first: the type of its ids has to be known."
    raise IndexingError(invalid("root", "hold a version", os.fspath(root), way_out))
