"""Answers each user by the arm of an experiment that the user has."""

import contextlib
import functools
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower import columns as c
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.experiments import Arm, Arms
from tfrs_twotower.ids import is_missing_id
from tfrs_twotower.online import SHADOW
from tfrs_twotower.serving.errors import CannotServe, InvalidArgument, ServingError, Unavailable
from tfrs_twotower.serving.item_recorder import whole
from tfrs_twotower.serving.metrics import Metrics, current
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend import Recommendations, as_kept
from tfrs_twotower.serving.signature import Signature

_WAITING = 64  # shadow answers; further ones are dropped
_DEFAULT_K = 10
_log = logging.getLogger(__name__)


class Lane(NamedTuple):
    """What answers the requests of an arm."""

    predictor: Predictor
    recommendations: Recommendations


class Experiment:
    """Chooses the arm before a request is answered; the arm is in the answer and in the log.

    While an arm's own version is not loaded, the server's version answers, without an arm, so that the answer counts
    for none. Shadow arms answer in a thread of their own, after the request's answer was made. If too many wait,
    further ones are dropped.

    Args:
      arms: `Arms`.
      main: the `Lane` of arms without a root and a version of their own.
      lanes: {arm: its own `Lane`} for the others.
      metrics: a `Metrics`.

    Raises:
      ConfigError: an arm names an unknown channel.
    """

    def __init__(self, arms: Arms, main: Lane, lanes: Mapping[str, Lane], metrics: Metrics) -> None:
        self._arms, self._main, self._lanes, self._metrics = arms, main, lanes, metrics
        for arm in arms.arms:
            for channel in arm.channels or {}:
                if channel not in main.recommendations.channel_names:
                    hint = nearest(channel, main.recommendations.channel_names)
                    raise ConfigError(f"Arm `{arm.name}`: there is no channel `{channel}`." + hint)
        self._shadows: queue.Queue[tuple[Arm, str, Callable[[], object]] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Loads the arms' own versions, and starts the thread of the shadow arms.

        Raises:
          CannotServe: the root of an arm is no folder.
        """
        for name, lane in self._lanes.items():
            root = lane.predictor.repository.root
            if not os.path.isdir(root):
                raise CannotServe(f"Arm `{name}`: " + invalid("root", "be a folder", root, "Export to it first."))
        for lane in self._lanes.values():
            lane.predictor.repository.start()
        if any(arm.shadow for arm in self._arms.arms):
            self._thread = threading.Thread(target=self._answer_shadows, name="shadow arms", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Drops the shadow answers that wait, ends the thread and unloads the arms' own versions."""
        if self._thread is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._shadows.get_nowait()
            self._shadows.put(None)
            self._thread.join()
        for lane in self._lanes.values():
            lane.predictor.repository.close()

    def recommend(self, request: dict[str, Any]) -> dict[str, Any]:
        """As `Recommendations.recommend`, with `arm` in the answer. A request that names a version has no arm."""
        if request.get("version") is not None:
            return self._main.recommendations.recommend(request)
        name = self._user(request.get("user_id"))
        arm = self._arms.of(name)

        def of(lane: Lane, chosen: Arm | None) -> dict[str, Any]:
            return lane.recommendations.recommend(_with_defaults(request, chosen) if chosen else request)

        shown, answer = self._by(arm, of)
        for shadow in self._arms.shadows(name):
            self._enqueue(shadow, "recommend", functools.partial(of, self._lane(shadow), shadow))
        return {"arm": shown, **answer}

    def _user(self, given: object) -> str:
        """The id in a request as `:predict` and the stores have it; "" for none."""
        if not isinstance(given, (str, int, float)):
            return ""
        with self._main.predictor.repository.lease() as model:
            return _text(as_kept(model, whole(given)))

    def predict(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor],
        pause: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        """As `Predictor.answer`, with each row by its user's arm: (outputs, {"answer_id" and "arm": one a row}).

        model: the server's `LoadedModel`, for arms without a version of their own.
        """
        if c.IDS not in asked.outputs or not model.is_query(asked):
            return self._main.predictor.answer(model, asked, inputs, pause)
        users = [_text(user) for user in np.asarray(inputs.get(c.USER_ID, [])).ravel().tolist()]
        groups: dict[str, list[int]] = {}
        for row, user in enumerate(users or [""]):
            groups.setdefault(self._arms.of(user).name, []).append(row)
        if len(groups) > 1:
            _check_rows(model, inputs, len(users))
        arms, parts = {arm.name: arm for arm in self._arms.arms}, []
        for name, rows in groups.items():
            part = inputs if len(groups) == 1 else _rows(inputs, rows, len(users))

            def of(lane: Lane, chosen: Arm | None, part: Any = part) -> Any:
                return self._predict(lane, model, asked, part, chosen, pause)

            shown, (outputs, named) = self._by(arms[name], of)
            count = len(outputs[c.IDS])
            parts.append((rows if len(groups) > 1 else list(range(count)), outputs, {**named, "arm": [shown] * count}))
        self._shadow_predictions(model, asked, inputs, users)
        return _joined(parts)

    def _predict(
        self, lane: Lane, model: LoadedModel, asked: Signature, inputs: Mapping[str, Any], arm: Arm | None,
        pause: Callable[[], None],
    ) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        if arm is not None and arm.popularity_beta is not None and c.POPULARITY_BETA in asked.inputs:
            inputs = {c.POPULARITY_BETA: np.float32(arm.popularity_beta), **inputs}
        if lane is self._main:
            return lane.predictor.answer(model, asked, inputs, pause)
        with lane.predictor.repository.lease() as own:
            return lane.predictor.answer(own, lane.predictor.signature(own, asked.name), inputs, pause)

    def _shadow_predictions(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, Any], users: Sequence[str]
    ) -> None:
        groups: dict[str, tuple[Arm, list[int]]] = {}
        for row, user in enumerate(users):
            for arm in self._arms.shadows(user):
                groups.setdefault(arm.name, (arm, []))[1].append(row)
        for arm, rows in groups.values():
            part = inputs if len(rows) == len(users) else _rows(inputs, rows, len(users))

            def answer(arm: Arm = arm, part: Any = part) -> object:
                lane = self._lane(arm)
                with lane.predictor.repository.lease() as own:
                    found = lane.predictor.signature(own, asked.name)
                    return self._predict(lane, own, found, part, arm, lambda: None)

            self._enqueue(arm, "predict", answer)

    def _lane(self, arm: Arm) -> Lane:
        return self._lanes.get(arm.name, self._main)

    def _by(self, arm: Arm, answer: Callable[[Lane, Arm | None], Any]) -> tuple[str, Any]:
        """(the arm that the answer counts for, the answer)."""
        current().arm, lane = arm.name, self._lane(arm)
        try:
            found = answer(lane, arm)
        except Unavailable:
            if lane is self._main:
                raise
            self._metrics.armed(arm.name, "unavailable")
            current().arm = ""
            return "", answer(self._main, None)
        self._metrics.armed(arm.name, "answered")
        return arm.name, found

    def _enqueue(self, arm: Arm, method: str, answer: Callable[[], object]) -> None:
        try:
            self._shadows.put_nowait((arm, method, answer))
        except queue.Full:
            self._metrics.armed(arm.name, "dropped")

    def _answer_shadows(self) -> None:
        while (waiting := self._shadows.get()) is not None:
            arm, method, answer = waiting
            try:
                with self._metrics.call(f"shadow:{method}") as call:
                    call.arm = f"{SHADOW}{arm.name}"
                    answer()
                self._metrics.armed(arm.name, "answered")
            except ServingError as error:
                self._metrics.armed(arm.name, "failed")
                _log.warning("Shadow arm %s does not answer: %s", arm.name, error)
            except Exception:  # the thread must survive
                self._metrics.armed(arm.name, "failed")
                _log.exception("Shadow arm %s failed", arm.name)


def _with_defaults(request: dict[str, Any], arm: Arm) -> dict[str, Any]:
    """The request with the arm's values where it has none."""
    own: dict[str, Any] = {"popularity_beta": arm.popularity_beta, "diversity": arm.diversity, "channels": None}
    if arm.channels is not None:
        free = whole(request.get(c.K, _DEFAULT_K))
        own["channels"] = _cut(arm.channels, free) if isinstance(free, int) else None
    return {**{name: value for name, value in own.items() if value is not None}, **request}


def _cut(channels: Mapping[str, int], k: int) -> dict[str, int]:
    """The places of the channels, in their order, as far as k goes."""
    cut = {}
    for name, places in channels.items():
        cut[name] = min(places, max(0, k))
        k -= cut[name]
    return cut


def _check_rows(model: LoadedModel, inputs: Mapping[str, Any], count: int) -> None:
    """Raises `InvalidArgument` if a feature has another number of rows: some rows of it would be taken for all."""
    for name in model.query_inputs:
        if name in inputs and (given := len(np.asarray(inputs[name]))) != count:
            rule = f"have as many rows as `{c.USER_ID}`, which has {count}"
            raise InvalidArgument(invalid(name, rule, f"{given} rows", "Send one value a row."))


def _rows(inputs: Mapping[str, Any], rows: Sequence[int], count: int) -> dict[str, Any]:
    """Some rows of the inputs that have `count` of them."""
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    return {name: array[list(rows)] if array.ndim and len(array) == count else array for name, array in arrays.items()}


def _joined(
    parts: Sequence[tuple[list[int], dict[str, np.ndarray], dict[str, list[str]]]]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """The rows of all parts, in their order. A shorter list of items is padded: its catalogue is smaller."""
    if len(parts) == 1:
        return parts[0][1], parts[0][2]
    order = np.argsort(np.concatenate([rows for rows, _, _ in parts]))
    first = parts[0][1]
    width = max(outputs[c.IDS].shape[1] for _, outputs, _ in parts)
    joined = {name: np.concatenate([_padded(outputs[name], width) for _, outputs, _ in parts])[order] for name in first}
    named = {name: [value for _, _, names in parts for value in names[name]] for name in parts[0][2]}
    return joined, {name: [values[row] for row in order] for name, values in named.items()}


def _padded(array: np.ndarray, width: int) -> np.ndarray:
    """The missing id, or the lowest score, up to `width`, as the search itself fills a list."""
    if array.ndim != 2 or array.shape[1] >= width:
        return array
    fill = b"" if array.dtype == object else np.finfo(array.dtype).min if array.dtype.kind == "f" else -1
    return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=fill)


def _text(user: object) -> str:
    """The user's id as text; "" for a missing one."""
    if isinstance(user, bytes):
        user = user.decode("utf-8", "replace")
    return "" if is_missing_id(user) else str(user)
