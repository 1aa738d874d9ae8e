"""Fills in the features of users that a request leaves out. It stands between the transports and the predictor.

Answers leave out seen items if the evaluation did, unless the request names its exclusions itself.
"""

import dataclasses
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.features import PARTS, Window
from tfrs_twotower.ids import as_number, missing_value
from tfrs_twotower.online import Event, StoreError, Stores
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Signature

_T = TypeVar("_T")
_QUIET_SECONDS = 10.0  # between two log lines about a failing store
_NUMBERS, _BEYOND = re.compile("[0-9]{1,18}(,[0-9]{1,18})*"), 2**63  # the texts are short enough for 64 bits
_log = logging.getLogger(__name__)


class Features:
    """Adds a user's profile, history and seen items, and the time, to requests that carry a `user_id`.

    The columns that a request carries stay as they are. A column that neither the request nor the store has gets the
    missing value. So do all columns of an unknown user, and of every user while the store fails. A request is answered
    in any case.

    Args:
      stores: `online.Stores`.
      metrics: a `Metrics`.
      time_step: the time of a request is rounded down to a multiple of this many seconds. Use 1 without a cache of
        vectors; a cache hits only while the time stays the same.
      cold_beta: the `popularity_beta` of users whose history, as the model reads it, is empty. It applies if the
        request sets none. Below 0 it ranks popular items higher; 0 changes nothing.
      clock: a function that returns the seconds since 1970.
    """

    def __init__(
        self,
        stores: Stores,
        metrics: Metrics,
        time_step: int = 1,
        cold_beta: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores, self._metrics = stores, metrics
        self.cold_beta = cold_beta
        self._time_step, self._clock = time_step, clock
        self._said = -_QUIET_SECONDS

    def asked(self, model: LoadedModel, signature: Signature) -> Signature:
        """The signature as requests see it: `user_id` is the only required feature of a query."""
        if not model.is_query(signature):
            return signature
        inputs = signature.inputs
        if c.USER_ID not in inputs:  # the towers do not read it; the store does
            inputs = {c.USER_ID: tf.TensorSpec([None], tf.string, c.USER_ID), **inputs}
        return dataclasses.replace(signature, inputs=inputs, joined=frozenset(model.query_inputs) - {c.USER_ID})

    def join(self, model: LoadedModel, signature: Signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`inputs` with every feature of a query. Without `user_id` they are returned unchanged.

        Args:
          model: a `LoadedModel`.
          signature: one of its signatures.
          inputs: {input name: array}, checked.
        """
        if not model.is_query(signature) or c.USER_ID not in inputs:
            return inputs
        users = [_text(user) for user in inputs[c.USER_ID].tolist()]
        absent = {name: signature.inputs[name] for name in model.query_inputs if name not in inputs}
        with self._metrics.stage("features"):
            filled = {**inputs, **self._fetch(model, users, absent, inputs)}
        if c.USER_ID not in model.query_inputs:
            del filled[c.USER_ID]
        if is_left_out(model, signature, filled):
            filled = with_seen(model, signature, filled, self._seen(users, signature.inputs[c.EXCLUDE_IDS].dtype))
        pasts = [filled[name] for name in model.past_items if name in filled]
        if self.cold_beta and c.POPULARITY_BETA in signature.inputs and pasts:
            cold = np.all([np.all(past == _missing(tf.as_dtype(past.dtype)), axis=1) for past in pasts], axis=0)
            filled.setdefault(c.POPULARITY_BETA, np.where(cold, np.float32(self.cold_beta), np.float32(0.0)))
        return filled

    def _fetch(
        self,
        model: LoadedModel,
        users: list[str],
        absent: Mapping[str, tf.TensorSpec],
        inputs: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        arrays = {}
        pasts = _without_needless_picks({
            name: self._pasts(users, window) for name, window in model.histories.items()
            if f"{name}_{c.ITEM_ID}" in absent
        })
        for name in model.histories:
            wanted = {part: absent[f"{name}_{part}"] for part in PARTS if f"{name}_{part}" in absent}
            if name in pasts:
                found = _histories(pasts[name], wanted)
            elif wanted:  # the request has the items of a history without its other parts
                shape = inputs[f"{name}_{c.ITEM_ID}"].shape
                found = {part: all_missing(shape, spec.dtype) for part, spec in wanted.items()}
            else:
                found = {}
            arrays.update({f"{name}_{part}": array for part, array in found.items()})
        if c.SEARCHES in absent and "searches" in model.manifest:
            searches = self._searches(users, model)
            arrays[c.SEARCHES] = _padded([[words.encode() for words in row] for row in searches], tf.string)
        if c.TIMESTAMP in absent:
            now = int(self._clock() // self._time_step * self._time_step)
            arrays[c.TIMESTAMP] = np.full(len(users), now, np.int64)
        columns = [name for name in absent if name not in arrays and name != c.USER_ID]
        if columns:
            profiles = self._ask(lambda: self._stores.profiles.get(users), users, {})
            for name in columns:
                arrays[name] = column([profile.get(name) for profile in profiles], absent[name])
        return arrays

    def _pasts(self, users: list[str], window: Window) -> list[list[Event]]:
        """The newest events with an item, as many as the window shows, of each user."""
        found = self._events(users, window.length, window.kinds)
        if any(len(past) == window.length and not all(event.item_id for event in past) for past in found):
            # Searches without an item took places of events that have one.
            found = self._events(users, max(self._stores.retention.most, window.length), window.kinds)
        return [[event for event in past if event.item_id][-window.length:] for past in found]

    def _events(self, users: list[str], n: int, kinds: Sequence[str]) -> list[list[Event]]:
        return self._ask(lambda: self._stores.history.last(users, n, kinds), users, [])

    def _searches(self, users: list[str], model: LoadedModel) -> list[list[str]]:
        """The words of the newest searches of each user: of those without an item, if the training had any."""
        length, alone = model.manifest["searches"], model.manifest.get("searches_alone", False)
        found = self._events(users, self._stores.retention.most, ())
        return [[e.query for e in events if e.query and (alone or e.item_id)][-length:] for events in found]

    def _seen(self, users: list[str], dtype: tf.DType) -> np.ndarray:
        """[users, any]: each user's distinct items, from all events of any type that the store keeps."""
        nothing: dict[str, str] = {}
        items = self._ask(lambda: self._stores.history.items(users), users, nothing)
        return _padded([list(dict.fromkeys(map(_READ[dtype], ids))) for ids in items], dtype)

    def _ask(self, question: Callable[[], list[_T]], users: list[str], nothing: _T) -> list[_T]:
        try:
            return question()
        except StoreError as error:
            self._metrics.store_failed("read")
            if time.monotonic() - self._said > _QUIET_SECONDS:
                self._said = time.monotonic()
                _log.error("Users are served as unknown ones: %s", error)
            return [nothing] * len(users)


def column(values: Sequence[Any], spec: tf.TensorSpec) -> np.ndarray:
    """The array that a request would carry for a list of JSON values.

    A value that does not fit the spec counts as missing: it was kept for another model.

    Args:
      values: list of n values; None is a missing one.
      spec: TensorSpec of shape [None] for single values, [None, None] for lists, or [None, d] for vectors.

    Returns:
      [n], [n, longest list] padded at the end with missing values, or [n, d].
    """
    read = _READ[spec.dtype]
    if len(spec.shape) == 1:
        return _array([read(v) for v in values], spec.dtype)
    size = spec.shape[1]
    if size is not None:
        whole = [v if isinstance(v, list) and len(v) == size else [0.0] * size for v in values]
        return _array([read(v) for row in whole for v in row], spec.dtype).reshape(-1, size)
    return _padded([[read(v) for v in row] if isinstance(row, list) else [] for row in values], spec.dtype)


def _without_needless_picks(pasts: Mapping[str, list[list[Event]]]) -> dict[str, list[list[Event]]]:
    """{history: events by user}: picks (`InterestHistory`), which have no id, stay if no history has events."""
    known = [any(events and events[0].event_id for events in of_user) for of_user in zip(*pasts.values())]
    return {
        name: [[] if acted and events and not events[0].event_id else events for events, acted in zip(found, known)]
        for name, found in pasts.items()
    }


def _histories(histories: list[list[Event]], wanted: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """{part: its array} of the histories. An item is left out if its id is text and the model's ids are numbers."""
    dtype = wanted[c.ITEM_ID].dtype
    missing, items = _missing(dtype), [_read([event.item_id for event in events], dtype) for events in histories]
    if any(missing in ids for ids in items):
        histories = [[e for e, item in zip(past, ids) if item != missing] for past, ids in zip(histories, items)]
        items = [[item for item in ids if item != missing] for ids in items]
    others = {part: spec.dtype for part, spec in wanted.items() if part != c.ITEM_ID}
    return {c.ITEM_ID: _padded(items, dtype)} | {
        part: _padded([_read([getattr(event, part) for event in past], kind) for past in histories], kind)
        for part, kind in others.items()
    }


def all_missing(shape: Sequence[int], dtype: tf.DType) -> np.ndarray:
    """An array of missing values."""
    return np.full(shape, _missing(dtype), object if dtype == tf.string else dtype.as_numpy_dtype)


def _missing(dtype: tf.DType) -> Any:
    """The missing value of a type, as arrays hold it: text as bytes."""
    value = missing_value(dtype)
    return value.encode() if isinstance(value, str) else value


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else _missing(tf.string)


def _whole(value: Any) -> int:
    """The id as a number: an id is text in a store and may be a number in a model."""
    whole = isinstance(value, bool) or isinstance(value, float) and value.is_integer()
    try:
        return as_number(int(value) if whole else value)
    except ValueError:
        return _missing(tf.int64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


_READ: dict[tf.DType, Callable[[Any], bytes | int | float]] = {tf.string: _bytes, tf.int64: _whole, tf.float32: _number}


def _read(values: list[Any], dtype: tf.DType) -> list[bytes | int | float]:
    """`_READ` of each value. Whole numbers, and texts that are some, are nearly all: no function is called for each."""
    if dtype == tf.int64 and values:
        kinds = set(map(type, values))
        if kinds == {int} and -_BEYOND <= min(values) and max(values) < _BEYOND:
            return values
        if kinds == {str} and _NUMBERS.fullmatch(",".join(values)):
            return [*map(int, values)]
    return [*map(_READ[dtype], values)]


def _padded(rows: Sequence[Sequence[bytes | int | float]], dtype: tf.DType) -> np.ndarray:
    width = max(map(len, rows), default=0)
    values = [value for row in rows for value in [*row, *[_missing(dtype)] * (width - len(row))]]
    return _array(values, dtype).reshape(len(rows), width)


def _array(values: Sequence[bytes | int | float], dtype: tf.DType) -> np.ndarray:
    array = np.empty(len(values), object if dtype == tf.string else dtype.as_numpy_dtype)
    array[:] = values
    return array


def _text(user: object) -> str:
    return user.decode("utf-8", "replace") if isinstance(user, bytes) else str(user)


def leaves_out(model: LoadedModel) -> bool:
    """Did the model's evaluation exclude seen items? By default the model's answers then exclude them too."""
    return bool(model.manifest.get("exclude_seen"))


def is_left_out(model: LoadedModel, signature: Signature, inputs: Mapping[str, np.ndarray]) -> bool:
    """Does the server exclude the seen items? It does not if the request has `exclude_ids`, even an empty list."""
    return leaves_out(model) and c.EXCLUDE_IDS in signature.inputs and c.EXCLUDE_IDS not in inputs


def with_seen(
    model: LoadedModel, signature: Signature, inputs: dict[str, np.ndarray], known: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`inputs` with the seen items as `exclude_ids`, if `is_left_out`.

    Args:
      model: a `LoadedModel`.
      signature: one of its signatures.
      inputs: {input name: array}; the items of the history count as seen.
      known: [batch, any]: further item ids that count as seen, or None.
    """
    if not is_left_out(model, signature, inputs):
        return inputs
    parts = [ids for ids in (*map(inputs.get, model.past_items), known) if ids is not None]
    if not parts or any(tf.as_dtype(ids.dtype) != signature.inputs[c.EXCLUDE_IDS].dtype for ids in parts):
        return inputs
    return {**inputs, c.EXCLUDE_IDS: np.concatenate(parts, axis=1)}
