"""The first version of a model, made of an item table before there are events."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.coldstart.rules import MOMENTS, ByColumn, ByList, RuleItem, RuleQuery
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.exporting import Key, Retriever, export
from tfrs_twotower.exporting.parity import odd
from tfrs_twotower.features import Category, Id, MultiValue, Number, Schema, Time, key_tensor, to_tensor
from tfrs_twotower.index import IndexConfig, build

_PART = 4096  # items at a time
USER_ID = {c.USER_ID: tf.TensorSpec([None], tf.string)}


def rule_retriever(
    items: pa.Table,
    rules: Sequence[ByColumn | ByList] = (),
    order: str | None = None,
    ascending: bool = False,
    ignored: Mapping[str, tf.TensorSpec] = USER_ID,
) -> Retriever:
    """A `Retriever` that answers with lists: see `rules`.

    For β, an item's popularity is given by its position in the global order: log p falls along it.

    Args:
      items: `pa.Table` with `item_id`, one row per item.
      rules, order, ascending: see `RuleItem`.
      ignored: {input name: tf.TensorSpec}: inputs of requests that rules do not read, so that the later trained model
        accepts the same requests.

    Raises:
      DataError: see `RuleItem`.
    """
    tower = RuleItem(items, rules, order, ascending)
    raw = {name: to_tensor(items[name], spec, name) for name, spec in tower.inputs().items()}
    vectors = np.concatenate([
        tower({name: values[start:start + _PART] for name, values in raw.items()}).numpy()
        for start in range(0, items.num_rows, _PART)
    ])
    place = np.maximum(vectors[:, 0], 0.5 / items.num_rows)
    return Retriever(
        RuleQuery(tower, ignored), tower, vectors, key_tensor(items[c.ITEM_ID], c.ITEM_ID),
        index=None, temperature=1.0, log_popularity=np.log(place / place.sum()).astype(np.float32),
    )


def export_rules(
    retriever: Retriever, root: str | Path, name: str, items: pa.Table, least_version: int = 1, key: Key | None = None
) -> Path:
    """Writes a retriever of `rule_retriever`, of the same items, as the next version under `root`, as
    `exporting.export` does, which has the same arguments; returns its path."""
    _, report = build(IndexConfig(kind="exact"), retriever.vectors.numpy())
    fields = {
        "model": name,
        "schema": to_dict(_schema(retriever.candidate_tower)),
        "embedding_space": uuid.uuid4().hex,
        "temperature": 1.0,
        "training_events": 0,
        "metrics": None,
        "rules": [one.field for one in retriever.candidate_tower.lists],
    }
    samples = [odd(retriever.query_tower.inputs(), rows=1)]
    return export(
        retriever, root, fields, samples, report, model_name=name, least_version=least_version, table=items, key=key
    )


def _schema(tower: RuleItem) -> Schema:
    """The inputs of requests and items, in the form of a schema."""
    fields = dict.fromkeys(one.field for one in tower.lists)
    parts = tuple(field for field in fields if field in MOMENTS)
    query = [Category(field) for field in fields if field not in MOMENTS]
    moments = [Time(c.TIMESTAMP, parts=parts)] if parts else []
    candidate = [_feature(column, spec) for column, spec in tower.inputs().items() if column != c.ITEM_ID]
    return Schema(query=(Id(c.USER_ID), *query, *moments), candidate=(Id(c.ITEM_ID), *candidate))


def _feature(column: str, spec: tf.TensorSpec) -> Number | MultiValue | Category:
    if spec.dtype == tf.float32:
        return Number(column)
    return MultiValue(column) if len(spec.shape) == 2 else Category(column)
