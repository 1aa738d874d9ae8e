"""Gives each answer an id, and keeps it with all that it was made of."""

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.ids import is_missing_id, missing_value
from tfrs_twotower.online import Answer, AnswerLog, Impression, StoreError, new_answer_id, read_impression
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted, Unavailable, Unimplemented
from tfrs_twotower.serving.metrics import Metrics, current
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Signature, Value

IMPRESSIONS = "impressions"
_QUIET_SECONDS = 10.0  # between two log lines about a failing disk
_CONTEXT = (c.K, c.POPULARITY_BETA, c.OBJECTIVES)  # options of a signature that are kept; the others are lists of ids
_log = logging.getLogger(__name__)


class AnswerRecorder:
    """Records answers and impressions. If the disk fails, requests are answered, and the log lacks these answers.

    Args:
      log: an `AnswerLog`, or None: answers are not kept, and impressions are refused.
      metrics: a `Metrics`.
      max_events: impressions of one request.
      max_k: places of an answer.
      clock: seconds since 1970.
    """

    def __init__(
        self, log: AnswerLog | None, metrics: Metrics, max_events: int, max_k: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._metrics, self._clock = log, metrics, clock
        self._max_events, self._max_k = max_events, max_k
        self._said = -_QUIET_SECONDS

    def predicted(
        self, model: LoadedModel, signature: Signature, inputs: Mapping[str, Value],
        outputs: Mapping[str, np.ndarray], users: ArrayLike | None,
    ) -> list[str] | None:
        """Keeps the rows of a prediction.

        Args:
          model: the `LoadedModel` that answered.
          signature: the one that ran.
          inputs: its inputs.
          outputs: its outputs.
          users: the `user_id` of each row; None: unknown.

        Returns:
          The id of each row's answer, "" if the log refused it; None without a log, or if the outputs are no item ids.
        """
        ids, scores = outputs.get(c.IDS), outputs.get(c.SCORES)
        if self._log is None or ids is None or scores is None or ids.ndim != 2 or scores.shape != ids.shape:
            return None
        given = {name: (np.asarray(value), signature.inputs[name]) for name, value in inputs.items()
                 if name in signature.inputs}
        names = [""] * len(ids) if users is None else [_plain(user) for user in np.asarray(users).ravel().tolist()]
        answers = []
        for row, user in enumerate(names[:len(ids)]):
            items = [*zip(_texts(ids[row]), itertools.repeat(""), scores[row].tolist())]
            read = {name: _value(value, spec, row) for name, (value, spec) in given.items()
                    if name in _CONTEXT or name not in c.OPTIONS}
            context = {"signature": signature.name, **{name: read.pop(name) for name in _CONTEXT if name in read}}
            answers.append(self._answer(model, user, context, read, items))
        kept = self._keep(answers)
        return [answer.answer_id if kept else "" for answer in answers]

    def recommended(
        self, model: LoadedModel, user: object, context: dict[str, Any], tensors: Mapping[str, tf.Tensor],
        items: Sequence[tuple[str, str | int, float]],
    ) -> str | None:
        """Keeps an answer of /v1/recommend; returns its id. None if it is not kept: an id would name nothing.

        Args:
          model: the `LoadedModel` that answered.
          user: the user's id; None: unknown.
          context: the request without user and features.
          tensors: the features of the query, of one row.
          items: (channel, item id, score), from the first place on.
        """
        if self._log is None:
            return None
        specs = model.signature().inputs
        features = {name: _value(tensors[name].numpy(), specs[name], 0) for name in model.query_inputs
                    if name in tensors}
        listed = [(str(item), channel, float(score)) for channel, item, score in items]
        answer = self._answer(model, "" if user is None else user, context, features, listed)
        return answer.answer_id if self._keep([answer]) else None

    def record(self, request: dict[str, Any]) -> dict[str, int]:
        """Records what clients saw of answers, all or nothing. It is on disk when it returns.

        Args:
          request: {"impressions": [{"answer_id", "places", "dropped", "timestamp"}, …]}: see `read_impression`.

        Returns:
          {"recorded": their number}. The same impression may be sent again.

        Raises:
          InvalidArgument: an impression is wrong; the message says which and why.
          ResourceExhausted: there are more than `max_events`.
          Unimplemented: answers are not kept.
          Unavailable: the disk fails. The same request can be sent again.
        """
        if self._log is None:
            raise Unimplemented("This server keeps no answers. Start it so: twotower serve --log-requests ….")
        impressions = self._read(request)
        try:
            self._log.saw(impressions)
        except StoreError as error:
            self._metrics.store_failed("answers")
            raise Unavailable(f"{error} Send the same impressions again.") from error
        return {"recorded": len(impressions)}

    def _read(self, request: dict[str, Any]) -> list[Impression]:
        listed = request.get(IMPRESSIONS)
        if list(request) != [IMPRESSIONS] or not isinstance(listed, list) or not listed:
            raise InvalidArgument(f"The request must be an object with one key, '{IMPRESSIONS}', a list.")
        if len(listed) > self._max_events:
            rule = f"have at most {self._max_events} impressions"
            raise ResourceExhausted(invalid(IMPRESSIONS, rule, len(listed), "Send several requests."))
        found, now = [], self._clock()
        for place, fields in enumerate(listed):
            try:
                found.append(read_impression(fields, now, self._max_k))
            except DataError as error:
                raise InvalidArgument(f"{IMPRESSIONS}[{place}]: {error}") from error
        return found

    def _answer(
        self, model: LoadedModel, user: object, context: dict[str, Any], features: dict[str, Any],
        items: list[tuple[str, str, float]],
    ) -> Answer:
        now = self._clock()
        user = "" if is_missing_id(user) else str(user).encode("utf-8", "replace").decode()
        items = [item for item in items if item[0] not in ("", "-1")]
        return Answer(new_answer_id(now), user, int(now), model.version, current().arm, context, features, items)

    def _keep(self, answers: Sequence[Answer]) -> bool:
        try:
            with self._metrics.stage("log"):
                self._log.record(answers)
        except StoreError as error:
            self._metrics.store_failed("answers")
            self._metrics.answered(0, len(answers))
            if time.monotonic() - self._said > _QUIET_SECONDS:
                self._said = time.monotonic()
                _log.error("Answers are given and not kept: %s", error)
            return False
        self._metrics.answered(len(answers), 0)
        return True


def _value(array: np.ndarray, spec: tf.TensorSpec, row: int) -> Any:
    """A row's value, JSON-able: a list without its padding, NaN as None."""
    row = row if np.ndim(array) and len(array) > row else 0
    found = array[row:row + 1].tolist()[0] if np.ndim(array) else np.asarray(array).tolist()
    if isinstance(found, list):
        if spec.shape.rank == 2 and spec.shape[1] is None:
            missing = missing_value(spec.dtype)
            padding = missing.encode() if isinstance(missing, str) else missing
            while found and (found[-1] == padding or found[-1] != found[-1]):
                found.pop()
        return found if np.asarray(array).dtype.kind == "i" else [_plain(value) for value in found]
    return _plain(found)


def _texts(ids: np.ndarray) -> list[str]:
    """The ids of items as text."""
    return [*map(str, map(_plain, ids.tolist()) if ids.dtype == object else ids.tolist())]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if isinstance(value, float) and not np.isfinite(value) else value
