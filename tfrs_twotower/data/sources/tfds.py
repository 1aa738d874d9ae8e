"""Any data set of tensorflow-datasets as a source, by naming its features."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.configuration import config
from tfrs_twotower.data.source import Columns, Source, canonical, check_columns, entity_table
from tfrs_twotower.data.sources.tensors import to_arrow
from tfrs_twotower.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

_BATCH = 1 << 14


@config
class Tfds(Source):
    """A builder of tensorflow-datasets.

    Nested features are named with a slash: `data/customer_id`. Class labels become their names.

    Attributes:
      builder: name with its configuration, for example "movielens/100k-ratings"
      columns: Columns
      user_features, item_features: features of the events that describe their user or item; the first
        event of each gives the row of the table
      items_builder: a builder whose examples are items, all its features kept; instead of item_features
      split: of the builders
      data_dir: the folder where TFDS prepares data sets; None: its default
    """

    builder: str
    columns: Columns = Columns()
    user_features: tuple[str, ...] = ()
    item_features: tuple[str, ...] = ()
    items_builder: str | None = None
    split: str = "train"
    data_dir: str | None = None

    @property
    def name(self) -> str:
        """The builder's name."""
        return self.builder

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch."""
        for batch in read(self.builder, self.split, self.data_dir, list(self.columns.mapping().values())):
            yield canonical(batch, self.columns, self.builder)

    def expected_rows(self) -> int | None:
        """The number of examples; None before the data set is prepared."""
        builder = load_builder(self.builder, self.data_dir)
        return int(builder.info.splits[self.split].num_examples) if is_prepared(builder) else None

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._entities(self.user_features, self.columns.user_id, USER_ID)

    def items(self) -> pa.Table | None:
        """pa.Table or None."""
        if self.items_builder is None:
            return self._entities(self.item_features, self.columns.item_id, ITEM_ID)
        table = pa.Table.from_batches(read(self.items_builder, self.split, self.data_dir))
        return entity_table(table, self.columns.item_id, ITEM_ID, self.items_builder)

    def _entities(self, features: Sequence[str], id_column: str, id_name: str) -> pa.Table | None:
        if not features:
            return None
        known, parts = set(), []
        for batch in read(self.builder, self.split, self.data_dir, [id_column, *features]):
            ids = batch.column(id_column).to_pylist()
            first = {value: row for row, value in reversed(list(enumerate(ids))) if value not in known}
            known.update(first)
            parts.append(batch.take(pa.array(sorted(first.values()), pa.int64())))
        return entity_table(pa.Table.from_batches(parts), id_column, id_name, self.builder)


def load_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder, or `DataError` when TFDS has none of that name."""
    # Imported on use: reading files needs no TensorFlow.
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise DataError(f"tensorflow-datasets has no builder `{name}`: {error}") from error


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """True when the data set lies on disk and needs no network."""
    return (Path(os.fspath(builder.data_dir)) / "dataset_info.json").exists()


def prepare(builder: tfds.core.DatasetBuilder, download_dir: str | None = None) -> None:
    """Downloads and prepares, unless it is done."""
    import tensorflow_datasets as tfds

    if not is_prepared(builder):
        builder.download_and_prepare(
            download_dir=download_dir, download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )


def read(
    name: str, split: str, data_dir: str | None, features: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yields pa.RecordBatch of the features (all by default) in the stored order."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = load_builder(name, data_dir)
    flat = dict(_flatten(builder.info.features))
    check_columns({feature: feature for feature in features or ()}, flat, name)
    features = list(dict.fromkeys(features or flat))
    prepare(builder)
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise DataError(f"{name} is stored as {builder.info.file_format}. Prepare it as tfrecord.")
    stored = builder.info.features.tf_example_spec
    spec = {feature: _ragged(stored.get(feature), f"{name}: feature `{feature}`") for feature in features}
    # Batched before parsing: about ten times faster than TFDS's own example by example.
    files = [os.fspath(path) for path in builder.info.splits[split].filepaths]
    parse = functools.partial(tf.io.parse_example, features=spec)
    for batch in tf.data.TFRecordDataset(files).batch(_BATCH).map(parse).prefetch(1):
        arrays = [_value(batch[f], flat[f], f"{name}: feature `{f}`") for f in features]
        yield pa.RecordBatch.from_arrays(arrays, names=features)


def _flatten(
    features: tfds.features.FeaturesDict, prefix: str = ""
) -> Iterator[tuple[str, tfds.features.FeatureConnector]]:
    for name, feature in features.items():
        if hasattr(feature, "items"):
            yield from _flatten(feature, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", feature


def _ragged(stored: object, label: str) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
    """The parsing rule of a stored scalar, or list of any length."""
    import tensorflow as tf

    if isinstance(stored, tf.io.FixedLenFeature) and not stored.shape:
        return stored
    if isinstance(stored, tf.io.FixedLenSequenceFeature) and not stored.shape:
        return tf.io.RaggedFeature(stored.dtype, row_splits_dtype=tf.int64)
    raise DataError(f"{label} is neither a scalar nor a list of scalars. Leave it out.")


def _value(tensor: tf.Tensor | tf.RaggedTensor, feature: tfds.features.FeatureConnector, label: str) -> pa.Array:
    """Arrow values; class numbers become class names and stored 0 and 1 become truth values."""
    array = to_arrow(tensor, label)
    inner = getattr(feature, "feature", feature)
    names = getattr(inner, "names", None)
    if names:
        # TFDS writes -1 for an unknown class.
        values = array.values if pa.types.is_list(array.type) else array
        numbers = values.to_numpy()
        values = pa.array(list(names)).take(pa.array(numbers, mask=numbers < 0))
        return pa.ListArray.from_arrays(array.offsets, values) if pa.types.is_list(array.type) else values
    return array.cast(pa.bool_()) if feature.np_dtype == np.bool_ else array
