"""Joins small requests that wait while others run: a batch costs little more than one of its rows."""

import os
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import BY_ROW
from tfrs_twotower.serving.blocks import WHOLE, rows_of_block
from tfrs_twotower.serving.features import all_missing
from tfrs_twotower.serving.metrics import current
from tfrs_twotower.serving.model import LoadedModel, Signature

_ROWS = 32  # requests that are joined at most
_AT_A_TIME = os.cpu_count() or 1  # calls of one signature that run; what comes meanwhile is joined
_APART = {c.ALLOW_IDS, c.POPULARITY_BETA, *WHOLE}  # with one of them the whole batch is searched exactly

Arrays: TypeAlias = Mapping[str, np.ndarray]
Answer: TypeAlias = tuple[dict[str, np.ndarray], dict[str, list[str]]]  # of `Predictor.answer`


class JoinedCalls:
    """Answers a request at once as long as few run, and else together with those that wait for the same.

    Nothing is delayed so that more can be joined: the first request that waits runs for all, as soon as another ends.
    Requests are joined if they have one batch row each, the same inputs, and the same `k`. Their lists get missing
    values at the end, up to the longest, as in a request of many users. If a joined request fails, each runs again by
    itself: the error belongs to one of them.

    Scores may differ in the last digits from those of a request alone, as the sums of a batch are rounded in another
    order.
    """

    def __init__(self, at_a_time: int = _AT_A_TIME) -> None:
        self._most, self._lock = at_a_time, threading.Lock()  # the lock guards what follows, by signature
        self._running: dict[int, int] = {}
        self._waiting: dict[int, dict[Hashable, list[_Waiting]]] = {}  # lists of those that can be joined

    def answer(
        self, like: Hashable, model: LoadedModel, signature: Signature, inputs: Arrays,
        run: Callable[[Arrays], Answer],
    ) -> Answer:
        """What `run` answers to `inputs`.

        Args:
          like: what `alike` says of the request.
          model: a `LoadedModel`.
          signature: one of its signatures.
          inputs: {input name: array}, each checked for itself.
          run: a function that answers such inputs of any number of rows, and does the same for all requests alike.
        """
        one, line = _Waiting(inputs), id(model.signatures[signature.name])
        with self._lock:
            if self._running.get(line, 0) < self._most:
                self._running[line] = self._running.get(line, 0) + 1
                one.group = [one]
            else:
                self._waiting.setdefault(line, {}).setdefault(like, []).append(one)
                one.turn.acquire()
        with one.turn:  # free at once, or when another has answered this one or ended
            pass
        if one.group:
            try:
                _answer(model, signature, one.group, run)
            finally:
                self._end(line, model, signature)
        return run(inputs) if one.answer is None else one.answer

    def _end(self, line: int, model: LoadedModel, signature: Signature) -> None:
        """Lets the next ones run, if any wait."""
        with self._lock:
            waiting = self._waiting.get(line)
            if not waiting:
                self._running[line] -= 1
                if not self._running[line]:
                    del self._running[line]
                return
            like, group = next(iter(waiting.items()))
            most = min(_ROWS, *(rows_of_block(model, signature.name, one.inputs) for one in group))
            del waiting[like]
            if group[most:]:
                waiting[like] = group[most:]  # behind the others
            if not waiting:
                del self._waiting[line]
            group[0].group = group[:most]
        group[0].turn.release()


class _Waiting:
    """A request. `turn` is free when it has its `answer`, or the `group` for which it runs, itself first."""

    __slots__ = ("inputs", "turn", "group", "answer")

    def __init__(self, inputs: Arrays) -> None:
        self.inputs, self.turn = inputs, threading.Lock()
        self.group: list[_Waiting] = []
        self.answer: Answer | None = None


def _answer(
    model: LoadedModel, signature: Signature, group: Sequence[_Waiting], run: Callable[[Arrays], Answer]
) -> None:
    if len(group) == 1:
        group[0].answer = run(group[0].inputs)
        return
    try:
        outputs, named = run(_joined(signature, [one.inputs for one in group]))
        for row, one in enumerate(group):
            one.answer = (
                {name: values[row:row + 1] for name, values in outputs.items()},
                {name: values[row:row + 1] for name, values in named.items()},
            )
    except Exception:  # of one of them: all run by themselves
        pass
    finally:
        for one in group[1:]:
            one.turn.release()


def alike(model: LoadedModel, signature: Signature, inputs: Arrays) -> Hashable | None:
    """Requests with equal values can be joined; None: this one with no other."""
    if model.catalogue is None or model.asks_others or signature.name not in BY_ROW or not _APART.isdisjoint(inputs):
        return None
    parts: list[Hashable] = [current().arm]
    for name, value in inputs.items():
        if value.shape[:1] not in ((), (1,)):
            return None
        if name == c.K or not value.ndim:
            parts.append((name, value.shape, value.tobytes()))
        elif _is_list(signature, name):
            parts.append((name, value.shape[1].bit_length()))  # short lists do not wait for long ones
        else:
            parts.append((name, value.shape))
    return tuple(parts) if any(value.ndim for value in inputs.values()) else None


def _joined(signature: Signature, requests: Sequence[Arrays]) -> dict[str, np.ndarray]:
    joined = {}
    for name, value in requests[0].items():
        rows = [request[name] for request in requests]
        if not value.ndim:
            joined[name] = value
        elif _is_list(signature, name):
            joined[name] = _padded(rows, signature.spec(name).dtype)
        else:
            joined[name] = np.concatenate(rows)
    return joined


def _is_list(signature: Signature, name: str) -> bool:
    shape = signature.spec(name).shape
    return shape.rank == 2 and shape[1] is None


def _padded(rows: Sequence[np.ndarray], dtype: tf.DType) -> np.ndarray:
    whole = all_missing((len(rows), max(row.shape[1] for row in rows)), dtype)
    for place, row in enumerate(rows):
        whole[place, :row.shape[1]] = row[0]
    return whole
