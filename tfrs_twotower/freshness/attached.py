"""A version that serves, with its current items."""

import datetime
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, IndexingError, invalid
from tfrs_twotower.freshness.category_vectors import CategoryVectors
from tfrs_twotower.freshness.counting import Recent, VersionStatistics
from tfrs_twotower.freshness.first_events import FirstEvents
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.features import column
from tfrs_twotower.serving.model import LoadedModel

_log = logging.getLogger(__name__)
_PART = 256  # items encoded at a time
_UNREADABLE = (DataError, tf.errors.OpError)
_NEEDED = {c.RECOMMEND_BY_VECTOR, c.RECOMMEND_FRESH}


class AttachedVersion:
    """Encodes changed items with the candidate tower of one version, and holds its `CurrentItems`.

    Args:
      model: a `LoadedModel`.
      category_means: an attribute of items, or None; see `FreshItems`.

    Raises:
      IndexingError: the version cannot merge changes in, or its items have no attribute `category_means`.
    """

    def __init__(self, model: LoadedModel, category_means: str | None) -> None:
        if not _NEEDED <= set(model.signatures) or model.catalogue is None:
            raise IndexingError(
                f"Version {model.version} cannot take in items that change: it lacks the signature `recommend_fresh`, "
                "as do exports with a reranker and old ones. Export it anew without a reranker, or serve it without an "
                "items log."
            )
        self.model, self.catalogue = model, model.catalogue
        moving, ids = model.moving, model.catalogue.ids.tolist()
        self.statistics = None if moving is None else VersionStatistics(moving, ids)
        self.first = FirstEvents.of(model)
        self._means = CategoryVectors(model.catalogue, category_means) if category_means else None
        self._items = model.exported_items
        self._changed: dict[str | int, tuple[dict[str, Any], np.ndarray] | None] = {}  # changes that `_items` lacks
        self._lock = threading.Lock()

    @property
    def names(self) -> set[str]:
        """The feature names that an item event may have."""
        counted = set() if self.statistics is None else self.statistics.columns
        return {*self.model.signature(c.EMBED_CANDIDATE).inputs, *self.catalogue.columns, c.ITEM_ID} - counted

    def items(self) -> CurrentItems:
        """The items after all earlier calls of `take`. This call does not wait for an event that is being recorded."""
        if self._changed:  # emptied last: a thread that finds it empty has the newest items
            with self._lock:
                self._items, self._changed = self._items.after(self._changed), {}
        return self._items

    def take(self, latest: Mapping[str | int, dict[str, Any] | None], vectors: np.ndarray) -> None:
        """Changes the items. latest: the argument of `encode`. vectors: the vectors that `encode` returned for it."""
        rows = iter(vectors)
        with self._lock:
            for item, features in latest.items():
                self._changed.pop(item, None)  # the item changed last comes last
                self._changed[item] = None if features is None else (features, next(rows))

    def take_kept(self, latest: Mapping[str | int, dict[str, Any] | None]) -> None:
        """Changes the items by kept events, which another version took.

        An event that this version cannot read is logged and left out: its item stays as in the export.

        latest: the argument of `encode`.
        """
        entries = list(latest.items())
        for start in range(0, len(entries), _PART):
            part = dict(entries[start:start + _PART])
            try:
                self.take(part, self.encode(part))
            except _UNREADABLE:
                for item, features in part.items():
                    try:
                        self.take({item: features}, self.encode({item: features}))
                    except _UNREADABLE as error:
                        _log.error("Version %d leaves out a kept event. %s Send the item again.", self.model.version,
                                   error)

    def refresh(
        self, recent: Recent, hour: int, latest: Mapping[str | int, dict[str, Any] | None]
    ) -> int:
        """Gives the items whose statistics changed a new vector. Returns their number.

        Args:
          recent: the events since the export.
          hour: the hour since 1970 as of which they are counted.
          latest: the events of items, as in `take_kept`.
        """
        if self.statistics is None:
            return 0
        changed: dict[str | int, dict[str, Any] | None] = {}
        for item in self.statistics.advance(recent, hour):
            features = latest[item] if item in latest else self._exported(item)
            if features is not None:
                changed[item] = features
        self.take_kept(changed)
        return len(changed)

    def _exported(self, item: str | int) -> dict[str, Any] | None:
        """The features of a catalogue's item as an item event has them: times in seconds."""
        features = self.statistics.features(item)
        if features is None:
            return None
        return {name: _as_seconds(value) if name in self.catalogue.times else value
                for name, value in features.items()}

    def check(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Raises `DataError` for a value that has another type than its column of the item table.

        The candidate tower may not read the column. That of a later version may.
        """
        for name in {name for item in items for name in item} & self.catalogue.columns.keys() - {c.ITEM_ID}:
            _values(items, name, self.catalogue.columns[name], name in self.catalogue.times)

    def encode(self, latest: Mapping[str | int, dict[str, Any] | None]) -> np.ndarray:
        """float32 [n, dim]: the vectors of the n items that are not withdrawn.

        latest: {item id: features, or None if the item is withdrawn}.

        Raises:
          DataError: a value has another type than the model reads, or an item's vector is not finite.
        """
        signature, times = self.model.signature(c.EMBED_CANDIDATE), self.catalogue.times
        items = [features for features in latest.values() if features is not None]
        parts = [np.zeros((0, self.catalogue.dim), np.float32)]
        for start in range(0, len(items), _PART):
            rows = items[start:start + _PART]
            if self.statistics is not None:
                counted = self.statistics.values([row[c.ITEM_ID] for row in rows])
                rows = [{**row, **{name: values[i] for name, values in counted.items()}} for i, row in enumerate(rows)]
            raw = {name: _tensor(rows, name, spec, name in times) for name, spec in signature.inputs.items()}
            parts.append(signature(raw)[c.EMBEDDING].numpy())
        vectors = np.concatenate(parts)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            broken = items[int(np.argmin(finite))][c.ITEM_ID]
            raise DataError(f"The vector of item {broken!r} is not finite. Look at its features.")
        if self._means is not None and items:
            self._means.put(items, vectors)
        if self.first is not None:
            self.first.put(items, vectors)
        return vectors


def _tensor(rows: Sequence[Mapping[str, Any]], name: str, spec: tf.TensorSpec, is_time: bool) -> tf.Tensor:
    return tf.constant(column(_values(rows, name, spec, is_time), spec), spec.dtype)


def _values(rows: Sequence[Mapping[str, Any]], name: str, spec: tf.TensorSpec, is_time: bool) -> list[Any]:
    """The values of a feature. Raises `DataError` for one of another type."""
    lists = len(spec.shape) == 2
    values = [_seconds(row[c.ITEM_ID], name, row.get(name)) if is_time else row.get(name) for row in rows]
    for row, value in zip(rows, values):
        singles = [value] if value is None or not lists else value
        if not isinstance(singles, list) or not all(_fits(single, spec.dtype) for single in singles):
            rule = f"be {'a list of ' if lists else ''}{spec.dtype.name}, or null"
            message = invalid(name, rule, value, "Send the feature as in training.")
            raise DataError(f"Item {row[c.ITEM_ID]!r}: {message}")
    return values


def _as_seconds(value: datetime.date | None) -> int | None:
    """An Arrow time or date as seconds since 1970, UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return int((value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)).timestamp())


def _seconds(item: str | int, name: str, value: object) -> object:
    """Seconds since 1970 for a time as ISO text, in UTC if it names no zone. Any other value is returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        at = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError as error:
        rule = "be a time: seconds since 1970, UTC, or text as 2026-11-22 or 2026-11-22T09:30:00Z"
        raise DataError(f"Item {item!r}: " + invalid(name, rule, value, "Send it in this form.")) from error
    return int((at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)).timestamp())


def _fits(value: Any, dtype: tf.DType) -> bool:
    if value is None:
        return True
    if dtype == tf.string:
        return isinstance(value, str)
    if isinstance(value, bool):  # a truth value is a category
        return dtype.is_integer
    kind = int if dtype.is_integer else float
    return isinstance(value, (int, kind)) and kind(dtype.min) <= value <= kind(dtype.max)
