"""Items that are new, edited or withdrawn while a version serves: in its answers as soon as it is acknowledged."""

import datetime
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, IndexingError, invalid, nearest
from tfrs_twotower.features import fingerprints
from tfrs_twotower.freshness.catalogue import catalogue_index
from tfrs_twotower.freshness.category_vectors import CategoryVectors
from tfrs_twotower.index import Journal, MutableIndex
from tfrs_twotower.index.mutable import arguments
from tfrs_twotower.online import MAX_ID_BYTES
from tfrs_twotower.serving.features import column
from tfrs_twotower.serving.model import LoadedModel

_PART = 256  # items encoded at a time
_EMBED = "embed_candidate"
_CHANGED, _WITHDRAWN = "changed", "withdrawn"


class FreshItems:
    """Takes item events, keeps them, and has the index of every attached version follow.

    A new or edited item is encoded by the version's own candidate tower, so that all vectors of an index are of
    one space. Events are kept as they came: a version that is attached later encodes them with its own tower.

    Threads may share one; events take turns. An event that was acknowledged is on the disk and counts in the
    searches that begin after it.

    Args:
      folder: where the events are kept (a `Journal`); one process has it open.
      id_type: str or int, of the item ids.
      index_of: {LoadedModel} → an `ItemIndex` that holds the version's catalogue.
      category_means: an attribute of items: those that a version was not trained with get the mean vector of their
        category in place of the tower's, see `CategoryVectors`. None: the tower's, of their features.
    """

    def __init__(
        self,
        folder: str | Path,
        id_type: type[str] | type[int] = str,
        index_of: Callable[[LoadedModel], MutableIndex] = catalogue_index,
        category_means: str | None = None,
    ) -> None:
        self.id_type = id_type
        self._index_of, self._category_means = index_of, category_means
        self._lock = threading.RLock()
        self._attached = {}  # id of a model's SavedModel: (model, its index, its `CategoryVectors` or None)
        self._latest = {}  # item id: its features, or None where it is withdrawn; the last changed is the last
        self._snapshot: dict[str | int, dict[str, Any] | None] | None = None  # a copy that nobody changes
        self._inputs = {}  # id of a model's SavedModel: (moment of its index, inputs)
        self._journal = Journal(folder, {"holds": "item events", "ids": id_type.__name__})
        for payload in self._journal.read():
            self._keep(_read(payload, id_type))

    def attach(self, model: LoadedModel) -> None:
        """Begins to keep the index of a loaded version; call it before the version answers requests.

        Raises:
          IndexingError: the version has other ids, no catalogue, or no attribute `category_means`. DataError: it
            cannot encode an event; none of its answers would be right.
        """
        index = self._index_of(model)
        if index.id_type is not self.id_type:
            raise IndexingError(invalid("model", f"have {self.id_type.__name__} ids", index.id_type.__name__,
                                        "Keep the events of another model in another folder."))
        means = (
            CategoryVectors(model.catalogue, self._category_means)  # type: ignore[arg-type]  # its index is made of one
            if self._category_means else None
        )
        with self._lock:
            _apply(index, self._latest, *encode(model, self._latest, means))
            self._attached[id(model.root)] = model, index, means

    def detach(self, model: LoadedModel) -> None:
        """Forgets a version that answers no more."""
        with self._lock:
            self._attached.pop(id(model.root), None)
            self._inputs.pop(id(model.root), None)

    def change(self, items: Collection[dict[str, Any]]) -> None:
        """Takes in items that are new or edited: `record(changed=items)`."""
        self.record(changed=items)

    def withdraw(self, ids: Collection[str | int]) -> None:
        """Takes items out of all answers, until `change` brings them back: `record(withdrawn=ids)`."""
        self.record(withdrawn=ids)

    def record(self, changed: Collection[dict[str, Any]] = (), withdrawn: Collection[str | int] = ()) -> None:
        """Takes in what became of items, all of it or nothing.

        Args:
          changed: list of {"item_id": …, raw feature: value}, new or edited items; a feature that is left out is
            missing. A name is one that an attached version reads or that its item table has: these are kept for later
            models. Values are text, numbers, lists of them or None; a time is seconds since 1970, UTC, or ISO text.
          withdrawn: list of ids.

        Raises:
          DataError: an item has no id or stands in both lists, no attached version knows the name of a feature, or a
            value is of another type than the model reads.
          IndexingError: the disk refuses.
        """
        latest = {}
        for place, item in enumerate(changed):
            where = f"{_CHANGED}[{place}]"
            if not isinstance(item, dict) or c.ITEM_ID not in item:
                raise DataError(invalid(where, f"be an object with `{c.ITEM_ID}`", item, "Name the item that changed."))
            self._check_names(where, item)
            key = self._key(f"{where}.{c.ITEM_ID}", item[c.ITEM_ID])
            latest[key] = {**item, c.ITEM_ID: key}
        gone = [self._key(f"{_WITHDRAWN}[{place}]", item) for place, item in enumerate(withdrawn)]
        both = [key for key in gone if key in latest]
        if both:
            raise DataError(invalid("items", "be changed or withdrawn, not both", both[0], "Leave it out of one list."))
        event: dict[str, list[Any]] = {_CHANGED: list(latest.values()), _WITHDRAWN: gone}
        self._take({**latest, **dict.fromkeys(gone)}, {kind: values for kind, values in event.items() if values})

    def latest(self) -> dict[str | int, dict[str, Any] | None]:
        """{item id: its features, or None where it is withdrawn}, the last changed at the end. Do not change it."""
        with self._lock:
            if self._snapshot is None:
                self._snapshot = dict(self._latest)
            return self._snapshot

    def index(self, model: LoadedModel) -> MutableIndex:
        """The `ItemIndex` of an attached version."""
        attached = self._attached.get(id(model.root))
        if attached is None:
            raise IndexingError(f"Version {model.version} is not attached. Call `attach` first.")
        return attached[1]

    def inputs(self, model: LoadedModel) -> dict[str, tf.Tensor]:
        """What the signature `recommend_fresh` of an attached version takes besides the request: tensors by name."""
        index = self.index(model)
        moment, inputs = self._inputs.get(id(model.root), (None, None))
        if moment != index.moment:
            moment, delta = index.moment, index.delta()  # at this moment or a later one
            dtype = tf.string if self.id_type is str else tf.int64
            ids = tf.constant(delta.ids.tolist(), dtype)
            order = np.argsort(fingerprints(ids).numpy())  # once, not in each request; half the time of tf.argsort
            inputs = {
                c.OVERLAY_IDS: tf.gather(ids, order), c.OVERLAY_VECTORS: tf.gather(delta.vectors, order),
                c.WITHDRAWN_IDS: tf.constant(delta.withdrawn.tolist(), dtype),
            }
            self._inputs[id(model.root)] = moment, inputs
        return inputs

    def compact(self) -> None:
        """Keeps the last event of each item alone, so that a restart reads less."""
        with self._lock:
            generation = self._journal.rotate()
            latest = dict(self._latest)
        self._journal.publish(generation, _payloads(latest))

    def close(self) -> None:
        """Lets another process open the folder."""
        self._journal.close()

    def _take(self, latest: dict[str | int, dict[str, Any] | None], event: dict[str, list[Any]]) -> None:
        with self._lock:
            encoded = [(index, *encode(model, latest, means)) for model, index, means in self._attached.values()]
            try:
                payload = json.dumps(event, allow_nan=False).encode()
            except (TypeError, ValueError) as error:
                raise DataError(f"An item event must be JSON ({error}). Send text, numbers, lists or null.") from error
            self._journal.append(payload)
            self._keep(latest)
            for index, ids, vectors in encoded:
                _apply(index, latest, ids, vectors)

    def _check_names(self, where: str, item: dict[str, Any]) -> None:
        known = set()
        for model, *_ in list(self._attached.values()):
            known.update(model.signature(_EMBED).inputs, model.catalogue.columns)
        unknown = next((name for name in item if known and name not in known), None)
        if unknown is not None:
            hint = nearest(unknown, sorted(known))
            raise DataError(f"{where}: no version that serves has a feature `{str(unknown)[:80]}` of items.{hint}")

    def _keep(self, latest: dict[str | int, dict[str, Any] | None]) -> None:
        self._snapshot = None
        for item, features in latest.items():
            self._latest.pop(item, None)
            self._latest[item] = features

    def _key(self, where: str, item_id: object) -> str | int:
        try:
            key = arguments.keys([item_id], self.id_type)[0]
        except IndexingError as error:
            rule = "be text in UTF-8, not empty" if self.id_type is str else "be a whole number of 64 bits, not -1"
            raise DataError(invalid(where, rule, item_id, "Send the id that the item table has.")) from error
        if self.id_type is str and len(key.encode()) > MAX_ID_BYTES:
            raise DataError(invalid(where, f"have at most {MAX_ID_BYTES} bytes", f"{key[:40]}…", "Use a shorter one."))
        return key


def encode(
    model: LoadedModel, latest: Mapping[str | int, dict[str, Any] | None], means: CategoryVectors | None
) -> tuple[list[str | int], np.ndarray]:
    """(ids [n], vectors [n, dim]) of the items that are not withdrawn, by the version's candidate tower.

    latest: {item id: features, or None where it is withdrawn}.
    means: a `CategoryVectors` of the version, or None.

    Raises:
      DataError: a value is of another type than the model reads, or its vector is not finite.
    """
    signature, times = model.signature(_EMBED), model.catalogue.times
    ids = [item for item, features in latest.items() if features is not None]
    parts = []
    for start in range(0, len(ids), _PART):
        rows: list[dict[str, Any]] = [latest[item] for item in ids[start:start + _PART]]  # type: ignore[misc]
        raw = {name: _tensor(rows, name, spec, name in times) for name, spec in signature.inputs.items()}
        parts.append(signature(raw)[c.EMBEDDING].numpy())
    vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    if not np.isfinite(vectors).all():
        broken = ids[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
        raise DataError(f"The vector of item {broken!r} is not finite. Look at its features.")
    if means is not None and ids:
        means.put([latest[item] for item in ids], vectors)  # type: ignore[misc]  # `ids` have features
    return ids, vectors


def _apply(
    index: MutableIndex,
    latest: Mapping[str | int, dict[str, Any] | None],
    ids: Sequence[str | int],
    vectors: np.ndarray,
) -> None:
    if ids:
        index.upsert(ids, vectors)
    gone = [item for item, features in latest.items() if features is None]
    if gone:
        index.delete(gone)


def _tensor(rows: Sequence[Mapping[str, Any]], name: str, spec: tf.TensorSpec, is_time: bool) -> tf.Tensor:
    lists = len(spec.shape) == 2
    values = [_seconds(row[c.ITEM_ID], name, row.get(name)) if is_time else row.get(name) for row in rows]
    for row, value in zip(rows, values):
        singles = [value] if value is None or not lists else value
        if not isinstance(singles, list) or not all(_fits(single, spec.dtype) for single in singles):
            rule = f"be {'a list of ' if lists else ''}{spec.dtype.name}, or null"
            message = invalid(name, rule, value, "Send the feature as in training.")
            raise DataError(f"Item {row[c.ITEM_ID]!r}: {message}")
    return tf.constant(column(values, spec), spec.dtype)


def _seconds(item: str | int, name: str, value: object) -> object:
    """Seconds since 1970 of a time as ISO text, UTC where it names no zone; of anything else that itself."""
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
    if isinstance(value, bool):  # the category that a truth value is
        return dtype.is_integer
    number = isinstance(value, int if dtype.is_integer else (int, float))
    return number and float(dtype.min) <= value <= float(dtype.max)


def _payloads(latest: Mapping[str | int, dict[str, Any] | None]) -> Iterator[bytes]:
    gone = [item for item, features in latest.items() if features is None]
    there = [features for features in latest.values() if features is not None]
    for kind, values in ((_WITHDRAWN, gone), (_CHANGED, there)):
        for start in range(0, len(values), _PART):
            yield json.dumps({kind: values[start:start + _PART]}).encode()


def _read(payload: bytes, id_type: type[str] | type[int]) -> dict[str | int, dict[str, Any] | None]:
    """{item id: features or None} of one record."""
    event = json.loads(payload)
    changed = {id_type(item[c.ITEM_ID]): item for item in event.get(_CHANGED, ())}
    return {**changed, **dict.fromkeys(event.get(_WITHDRAWN, ()))}
