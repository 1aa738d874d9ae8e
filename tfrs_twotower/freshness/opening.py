"""The item events beside a folder of versions."""

import os

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import IndexingError, TwoTowerError, invalid
from tfrs_twotower.exporting.publishing import versions_under
from tfrs_twotower.freshness.items import FreshItems
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, signature_defs


def open_items(folder, root):
    """`FreshItems` of a folder, with ids of the type that the newest version has. The folder is compacted.

    Args:
      folder: where the events are kept; made where it is missing.
      root: the folder of the version folders; one of them has to be readable.

    Raises:
      IndexingError: there is no version, or the folder cannot be used: see `FreshItems`.
    """
    fresh = FreshItems(folder, _id_type(root))
    try:
        fresh.compact()
    except BaseException:
        fresh.close()
        raise
    return fresh


def _id_type(root):
    for version in reversed(versions_under(root)):
        try:
            inputs = signature_defs(os.path.join(root, str(version)))[DEFAULT_SIGNATURE].inputs
            return str if inputs[c.EXCLUDE_IDS].dtype == tf.string.as_datatype_enum else int
        except (OSError, TwoTowerError, LookupError):
            continue
    way_out = "Export first: the type of its ids has to be known."
    raise IndexingError(invalid("root", "hold a version", os.fspath(root), way_out))
