"""Joins small requests that wait while others run: a batch costs little more than one of its rows."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import BY_ROW
from tfrs_twotower.serving.blocks import WHOLE, rows_of_block
from tfrs_twotower.serving.errors import LATE, DeadlineExceeded
from tfrs_twotower.serving.features import all_missing
from tfrs_twotower.serving.metrics import current
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Signature

_ROWS = 32  # requests that are joined at most
_APART = {c.ALLOW_IDS, c.POPULARITY_BETA, *WHOLE}  # with one of them the whole batch is searched exactly

Arrays: TypeAlias = Mapping[str, np.ndarray]
Answer: TypeAlias = tuple[dict[str, np.ndarray], dict[str, list[str]]]  # of `Predictor.answer`
Run: TypeAlias = Callable[[Arrays], Answer]


class JoinedCalls:
    """Answers a request at once as long as few run, and else together with those that wait for the same.

    Nothing is delayed so that more can be joined: those that wait run together as soon as another call ends. Requests
    are joined if they have one batch row each, the same inputs, and the same `k`. Their lists get missing values at the
    end, up to the longest, as in a request of many users. If a joined request fails, each runs again by itself: the
    error belongs to one of them.

    A request waits in a thread (`answer`), which may run the call for others too, or on an event loop
    (`answer_on_loop`).

    Scores may differ in the last digits from those of a request alone, as the sums of a batch are rounded in another
    order.

    Args:
      at_a_time: calls of one signature that run; what comes meanwhile is joined. If as many ran as there are
        processors, fewer requests would be joined.
    """

    def __init__(self, at_a_time: int) -> None:
        self._most, self._lock = at_a_time, threading.Lock()  # the lock guards what follows, by signature
        self._running: dict[int, int] = {}
        self._waiting: dict[int, dict[Hashable, list[_Waiting]]] = {}  # lists of those that can be joined

    def answer(self, like: Hashable, model: LoadedModel, signature: Signature, inputs: Arrays, run: Run) -> Answer:
        """What `run` answers to `inputs`.

        Args:
          like: what `alike` says of the request.
          model: a `LoadedModel`.
          signature: one of its signatures.
          inputs: {input name: array}, each checked for itself.
          run: a function that answers such inputs of any number of rows, and does the same for all requests alike.
        """
        one = _InThread(like, model, signature, inputs, run)
        if self._may_run(one):
            one.group = [one]
        else:
            one.turn.acquire()
        if one.group:
            _answer(one.group)
            if group := self._next(one):
                group[0].lead(self, group)
        return run(inputs) if one.answer is None else one.outcome()

    async def answer_on_loop(
        self, like: Hashable, model: LoadedModel, signature: Signature, inputs: Arrays, run: Run, threads: Executor,
        seconds: float, begin: Callable[[], object] = lambda: None,
    ) -> Answer:
        """As `answer`, on the running event loop. `run` is called in one of the `threads`, and `begin` before it.

        Raises:
          DeadlineExceeded: it did not run within `seconds`.
        """
        one = _OnLoop(like, model, signature, inputs, run, threads=threads, begin=begin)
        if self._may_run(one):
            one.lead(self, [one])
        late = one.loop.call_later(seconds, self._give_up, one, seconds)
        try:
            await one.told
        finally:
            late.cancel()
        if one.answer is None:
            return await one.loop.run_in_executor(threads, one.context.run, run, inputs)
        return one.outcome()

    def lead(self, group: list[_Waiting]) -> None:
        """Answers a group of the event loop in this thread, and then those that wait."""
        while group:
            _answer(group)
            following = self._next(group[0])
            if following and isinstance(following[0], _InThread):
                return following[0].lead(self, following)
            group = following

    def _may_run(self, one: _Waiting) -> bool:
        """Whether the request runs now. Else it joins those that wait."""
        with self._lock:
            running = self._running.get(one.line, 0)
            if running < self._most:
                self._running[one.line] = running + 1
                return True
            self._waiting.setdefault(one.line, {}).setdefault(one.like, []).append(one)
            return False

    def _give_up(self, one: _OnLoop, seconds: float) -> None:
        """Answers a request that still waits, in vain."""
        with self._lock:
            waiting = self._waiting.get(one.line, {})
            if one not in waiting.get(one.like, ()):
                return  # it runs
            waiting[one.like].remove(one)
            if not waiting[one.like]:
                del waiting[one.like]
            if not waiting:
                del self._waiting[one.line]
        one.answer = DeadlineExceeded(LATE.format(f"{seconds:.3g}"))
        _tell([one])

    def _next(self, ended: _Waiting) -> list[_Waiting]:
        """Those that run in place of a call that has ended: the request that has waited longest comes first."""
        with self._lock:
            waiting = self._waiting.get(ended.line)
            if not waiting:
                self._running[ended.line] -= 1
                if not self._running[ended.line]:
                    del self._running[ended.line]
                return []
            like, group = next(iter(waiting.items()))
            most = min(_ROWS, *(rows_of_block(one.model, one.signature.name, one.inputs) for one in group))
            del waiting[like]
            if group[most:]:
                waiting[like] = group[most:]  # behind the others
            if not waiting:
                del self._waiting[ended.line]
            return group[:most]


class _Waiting(abc.ABC):
    """A request, and where it waits.

    Attributes:
      line: of the requests of one line, a few run at a time.
      context: says which call this is.
      answer: what it gets, or the error; None: it has to run by itself.
    """

    answer: Answer | Exception | None = None

    def __init__(self, like: Hashable, model: LoadedModel, signature: Signature, inputs: Arrays, run: Run) -> None:
        self.like, self.model, self.signature, self.inputs, self.run = like, model, signature, inputs, run
        self.line, self.context = id(model.signatures[signature.name]), contextvars.copy_context()

    @abc.abstractmethod
    def lead(self, calls: JoinedCalls, group: list[_Waiting]) -> None:
        """Lets the group, of which this request is the first, be answered."""

    def outcome(self) -> Answer:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # it has one


class _InThread(_Waiting):
    """Its thread waits for `turn`, which is released when it has its answer, or the `group` for which it runs."""

    def __init__(self, *request: Any) -> None:
        super().__init__(*request)
        self.group: list[_Waiting] = []
        self.turn = threading.Lock()
        self.turn.acquire()

    def lead(self, calls: JoinedCalls, group: list[_Waiting]) -> None:
        self.group = group
        self.turn.release()


class _OnLoop(_Waiting):
    """Its event loop waits for `told`."""

    def __init__(self, *request: Any, threads: Executor, begin: Callable[[], object]) -> None:
        super().__init__(*request)
        self.loop = asyncio.get_running_loop()
        self.told, self.threads, self.begin = self.loop.create_future(), threads, begin

    def lead(self, calls: JoinedCalls, group: list[_Waiting]) -> None:
        self.threads.submit(calls.lead, group)


def _answer(group: Sequence[_Waiting]) -> None:
    """Gives the requests their answers, and tells those that do not wait in this thread."""
    first, on_loop = group[0], [one for one in group if isinstance(one, _OnLoop)]
    for one in on_loop:
        one.begin()
    try:
        if len(group) == 1:
            first.answer = first.context.run(first.run, first.inputs)
        else:
            outputs, named = first.context.run(first.run, _joined(first.signature, [one.inputs for one in group]))
            for row, each in enumerate(group):
                each.answer = (
                    {name: values[row:row + 1] for name, values in outputs.items()},
                    {name: values[row:row + 1] for name, values in named.items()},
                )
    except Exception as error:
        if len(group) == 1:
            first.answer = error  # else it is of one of them: all run by themselves
    for each in group[isinstance(first, _InThread):]:
        if isinstance(each, _InThread):
            each.turn.release()
    if on_loop:  # one call for all: each wakes the event loop
        with contextlib.suppress(RuntimeError):  # the server stops, and the loop is closed
            on_loop[0].loop.call_soon_threadsafe(_tell, on_loop)


def _tell(answered: Sequence[_OnLoop]) -> None:
    for one in answered:
        if not one.told.done():  # its task may have been cancelled
            one.told.set_result(None)


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
