"""Fills in what a request leaves out of its users: between the transports and the predictor.

Answers leave seen items out if the evaluation did, unless the request says what to leave out.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.features import is_missing
from tfrs_twotower.ids import missing_value
from tfrs_twotower.online import Event, StoreError, Stores
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel, Signature

_T = TypeVar("_T")
_QUIET_SECONDS = 10.0  # between two log lines that the store fails
_log = logging.getLogger(__name__)


class Features:
    """Joins a user's profile and history, the time, and what was seen to requests that carry a `user_id`.

    What a request carries stays as it is. A column that neither the request nor the store has is a missing value. So
    are all columns of an unknown user, and of every user while the store fails. A request is answered in any case.

    Args:
      stores: `online.Stores`.
      metrics: a `Metrics`.
      types: the types of events that a history holds; () for all.
      time_step: the time of a request is rounded down to so many seconds. 1 but for a cache of vectors, which hits
        only while the time is the same.
      cold_beta: the `popularity_beta` of those whose history, as the model reads it, holds no event, where the request
        names none. Below 0 it brings popular items to the front; 0 changes nothing.
      clock: seconds since 1970.
    """

    def __init__(
        self,
        stores: Stores,
        metrics: Metrics,
        types: Collection[str] = (),
        time_step: int = 1,
        cold_beta: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores, self._metrics, self._types = stores, metrics, types
        self._cold_beta = cold_beta
        self._time_step, self._clock = time_step, clock
        self._said = -_QUIET_SECONDS

    def asked(self, model: LoadedModel, signature: Signature) -> Signature:
        """The signature as requests see it: of a query's features only `user_id` has to be there."""
        if not model.is_query(signature):
            return signature
        inputs = signature.inputs
        if c.USER_ID not in inputs:  # the towers do not read it, the store does
            inputs = {c.USER_ID: tf.TensorSpec([None], tf.string, c.USER_ID), **inputs}
        return dataclasses.replace(signature, inputs=inputs, joined=frozenset(model.query_inputs) - {c.USER_ID})

    def join(self, model: LoadedModel, signature: Signature, tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`tensors` with every feature of a query. Without `user_id`, as they came.

        Args:
          model: a `LoadedModel`.
          signature: one of its signatures.
          tensors: {input name: tensor}, checked.
        """
        if not model.is_query(signature) or c.USER_ID not in tensors:
            return tensors
        users = [_text(user) for user in tensors[c.USER_ID].numpy()]
        absent = {name: signature.inputs[name] for name in model.query_inputs if name not in tensors}
        with self._metrics.stage("features"):
            arrays = self._fetch(model, users, absent, tensors)
        filled = {**tensors, **{name: tf.constant(array, absent[name].dtype) for name, array in arrays.items()}}
        if c.USER_ID not in model.query_inputs:
            del filled[c.USER_ID]
        if is_left_out(model, signature, filled):
            filled = with_seen(model, signature, filled, self._seen(users, signature.inputs[c.EXCLUDE_IDS].dtype))
        if self._cold_beta and c.POPULARITY_BETA in signature.inputs and c.HISTORY_ITEM_ID in filled:
            cold = tf.reduce_all(is_missing(filled[c.HISTORY_ITEM_ID]), axis=1)
            filled.setdefault(c.POPULARITY_BETA, tf.where(cold, self._cold_beta, 0.0))
        return filled

    def _fetch(
        self,
        model: LoadedModel,
        users: list[str],
        absent: Mapping[str, tf.TensorSpec],
        tensors: Mapping[str, tf.Tensor],
    ) -> dict[str, np.ndarray]:
        arrays = {}
        if c.HISTORY_ITEM_ID in absent:
            length, types = model.history_length, self._types
            histories: list[list[Event]] = self._ask(
                lambda: self._stores.history.last(users, length, types), users, []
            )
            arrays.update(_histories(histories, absent))
        elif c.HISTORY_TIMESTAMP in absent:  # the times of items that the request brought are not known
            shape = tensors[c.HISTORY_ITEM_ID].shape
            arrays[c.HISTORY_TIMESTAMP] = np.full(shape, missing_value(tf.int64), np.int64)
        if c.TIMESTAMP in absent:
            now = int(self._clock() // self._time_step * self._time_step)
            arrays[c.TIMESTAMP] = np.full(len(users), now, np.int64)
        columns = [name for name in absent if name not in arrays and name not in (c.USER_ID, c.HISTORY_TIMESTAMP)]
        if columns:
            profiles = self._ask(lambda: self._stores.profiles.get(users), users, {})
            for name in columns:
                arrays[name] = column([profile.get(name) for profile in profiles], absent[name])
        return arrays

    def _seen(self, users: list[str], dtype: tf.DType) -> tf.Tensor:
        """[users, any]: the distinct items of all events that the store keeps, of any type."""
        histories: list[list[Event]] = self._ask(
            lambda: self._stores.history.last(users, self._stores.retention.events), users, []
        )
        items = [dict.fromkeys(_READ[dtype](event.item_id) for event in events) for events in histories]
        return tf.constant(_padded([list(ids) for ids in items], dtype), dtype)

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
    """Values that JSON can hold, None where there is none, as the array that a request would carry.

    A value that does not fit the spec counts as missing: it was kept for another model.

    Args:
      values: list of n.
      spec: TensorSpec of shape [None], or [None, None] for a list a row, or [None, d] for a vector a row.

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


def _histories(histories: list[list[Event]], absent: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """The two arrays of a past. An item that the model cannot have, a text where ids are numbers, is left out."""
    dtype = absent[c.HISTORY_ITEM_ID].dtype
    read, missing = _READ[dtype], _missing(dtype)
    pasts = [[(read(e.item_id), e.timestamp) for e in events] for events in histories]
    pasts = [[(item, at) for item, at in past if item != missing] for past in pasts]
    arrays = {c.HISTORY_ITEM_ID: _padded([[item for item, _ in past] for past in pasts], dtype)}
    if c.HISTORY_TIMESTAMP in absent:
        arrays[c.HISTORY_TIMESTAMP] = _padded([[at for _, at in past] for past in pasts], tf.int64)
    return arrays


def _missing(dtype: tf.DType) -> Any:
    """The missing value of a type, as arrays have it: text is bytes there."""
    value = missing_value(dtype)
    return value.encode() if isinstance(value, str) else value


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else _missing(tf.string)


def _whole(value: Any) -> int:
    """An id is text in a store and may be a number in a model."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return _missing(tf.int64)
    return number if -(2**63) <= number < 2**63 else _missing(tf.int64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


_READ: dict[tf.DType, Callable[[Any], bytes | int | float]] = {tf.string: _bytes, tf.int64: _whole, tf.float32: _number}


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
    """Whether the model's evaluation excluded seen items; its answers then do so too, by default."""
    return bool(model.manifest.get("exclude_seen"))


def is_left_out(model: LoadedModel, signature: Signature, tensors: Mapping[str, tf.Tensor]) -> bool:
    """Whether the server adds the seen items to the exclusions: not if a request has `exclude_ids`, even if empty."""
    return leaves_out(model) and c.EXCLUDE_IDS in signature.inputs and c.EXCLUDE_IDS not in tensors


def with_seen(
    model: LoadedModel, signature: Signature, tensors: dict[str, tf.Tensor], known: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """`tensors` with the seen items as `exclude_ids`, if `is_left_out`.

    Args:
      model: a `LoadedModel`.
      signature: one of its signatures.
      tensors: {input name: tensor}: the history in them counts as seen.
      known: [batch, any] of item ids that count too, or None.
    """
    if not is_left_out(model, signature, tensors):
        return tensors
    parts = [ids for ids in (tensors.get(c.HISTORY_ITEM_ID), known) if ids is not None]
    if not parts or any(ids.dtype != signature.inputs[c.EXCLUDE_IDS].dtype for ids in parts):
        return tensors
    return {**tensors, c.EXCLUDE_IDS: tf.concat(parts, axis=1)}
