"""The queue of requests. It bounds how many run at a time, how many wait, and how long; further requests are refused.

A large request runs in blocks. Before each block it gives up its turn (`Place.pause`) and waits behind all requests
that have not run yet. Few large requests run at a time, so that small requests neither wait for them nor lack
processors.
"""

import asyncio
import collections
import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Natural, Positive
from tfrs_twotower.serving.errors import LATE, Cancelled, DeadlineExceeded, Overloaded, Unavailable
from tfrs_twotower.serving.metrics import Metrics

_SLOW = "This request was not answered within {} s. Send fewer rows at a time. Send it again in a while."


def half_of_processors(processes: int) -> int:
    """At least 1. `processes` that answer on the same ports share the processors."""
    return max((os.cpu_count() or 0) // (2 * processes), 1)


@config
class Load:
    """How many requests a server takes on at a time.

    Attributes:
      concurrency: requests that run at a time; by default twice the number of processors, and at least 8. While one
        request waits for a store, others use the processors. Many more would only slow each other down. Small REST
        requests that are joined take no turn: they are refused when `concurrency` + `queue` requests are there.
      queue: requests that wait for their turn, in the order of arrival. One more is refused.
      deadline_seconds: a request is refused if its turn has not come after this time.
      execution_seconds: a large request is stopped if it is not answered this long after its first turn.
    """

    concurrency: Annotated[Count, "Let one request run."] = max(8, 2 * (os.cpu_count() or 0))
    queue: Annotated[Natural, "With 0 nothing waits."] = 128
    deadline_seconds: Annotated[Positive, "Say how long to wait."] = 2.0
    execution_seconds: Annotated[Positive, "Say how long a request may run."] = 30.0


class Admission:
    """The queue before one kind of work. Threads share it.

    Args:
      load: a `Load`.
      name: the queue's name in the metrics.
      metrics: a `Metrics`.
      most_large: the most large requests that run at a time.
    """

    def __init__(self, load: Load, name: str, metrics: Metrics, most_large: int = half_of_processors(1)) -> None:
        self.load, self.name, self._metrics, self._most_large = load, name, metrics, most_large
        self._changed = threading.Condition()  # guards the attributes below; notified when nothing runs
        self._running = self._large = 0  # requests that run, and how many of them are large
        self._apart = 0  # requests with a line of their own
        self._line: set[object] = set()  # those of them that wait
        self._waiting: collections.deque["Place"] = collections.deque()  # requests before their first turn
        self._paused: collections.deque["Place"] = collections.deque()  # large requests before their next block
        self._closed, self._told = False, 0
        metrics.queued(name, 0)

    def acquire(self, seconds: float | None = None) -> "Place":
        """Takes a place in the queue, without waiting.

        Args:
          seconds: how long the caller waits for the answer; it counts if it is less than the `Load` allows.

        Raises:
          Overloaded: the queue is full.
          Unavailable: the server is stopping.
        """
        with self._changed:
            self._check()
            place = Place(self, seconds)
            self._waiting.append(place)
            self._fill()
        return place

    @contextlib.contextmanager
    def apart(self) -> Iterator[Callable[[], None]]:
        """Counts a request that waits and runs in a line of its own, as joined ones do, until the block ends.

        It gives a function that any thread calls when the request runs.

        Raises:
          Overloaded, Unavailable: as `acquire`.
        """
        one, taken = object(), time.monotonic()
        with self._changed:
            self._check()
            self._apart += 1
            self._line.add(one)
            self._tell()

        def begin() -> None:
            with self._changed:
                if one not in self._line:  # the block has ended
                    return
                self._line.remove(one)
                self._tell()
            self._metrics.waited(self.name, time.monotonic() - taken)

        try:
            yield begin
        finally:
            with self._changed:
                self._apart -= 1
                self._line.discard(one)
                self._tell()
                self._changed.notify_all()

    def close(self) -> None:
        """Refuses new requests. Requests that run or wait go on."""
        with self._changed:
            self._closed = True

    def drain(self, seconds: float) -> int:
        """Waits until no request runs or waits, but at most `seconds`; returns how many requests are left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._all(), max(seconds, 0))
            return self._all()

    def _check(self) -> None:
        if self._closed:
            self._metrics.refused("stopping")
            raise Unavailable("The server is stopping. Ask another one, or this one again when it is back.")
        most = self.load.concurrency + self.load.queue
        if self._all() >= most:
            self._metrics.refused("queue_full")
            raise Overloaded(f"{self.load.queue} requests wait already. Send this one again in a while.")

    def _length(self) -> int:
        return len(self._waiting) + len(self._paused) + len(self._line)

    def _all(self) -> int:
        return self._running + len(self._waiting) + len(self._paused) + self._apart

    def _tell(self) -> None:
        if (length := self._length()) != self._told:
            self._told = length
            self._metrics.queued(self.name, length)

    def _leave(self, place: "Place") -> bool:
        """Takes a request out of the queue: True. False if its turn has come meanwhile, or if it has left before."""
        with self._changed:
            for line in (self._waiting, self._paused):
                if place in line:
                    line.remove(place)
                    self._tell()
                    return True
            return False

    def _pause(self, place: "Place") -> None:
        """Puts a running request behind all that wait. Raises `Overloaded`."""
        with self._changed:
            # Each keeps its inputs and its answers so far.
            most = min(max(self.load.queue // 2, self._most_large), 8 * self._most_large)
            if not place.large and len(self._paused) + self._large >= most:
                self._metrics.refused("queue_full")
                raise Overloaded(f"{most} large requests run already. Send this one again in a while, or fewer rows.")
            self._stop(place)
            place.large = True
            if not place.gone:
                self._paused.append(place)
            self._fill()

    def _end(self, place: "Place") -> None:
        with self._changed:
            self._stop(place)
            self._fill()

    def _stop(self, place: "Place") -> None:
        place.turn.clear()
        place.runs = False
        self._running -= 1
        self._large -= place.large

    def _fill(self) -> None:
        """Starts waiting requests, as many as may run. The caller holds `_changed`."""
        most = self.load.concurrency
        while self._running < most and (self._waiting or self._paused and self._large < self._most_large):
            place = (self._waiting or self._paused).popleft()
            self._running += 1
            self._large += place.large
            place.runs = True
            place.call()
        if not self._running:
            self._changed.notify_all()
        self._tell()


class Queues(NamedTuple):
    """The queues of one server: predictions and the recording of events do not wait for each other."""

    predictions: Admission
    events: Admission


class Place:
    """One request's place in the queue: a context manager that waits for the request's turn, and ends it.

    `with` waits in the thread, `async with` on the running event loop.

    Args:
      admission: an `Admission`. Under its lock it sets `turn` and `runs` when this request may run, and `large` when it
        runs in blocks.
      seconds: how long the caller waits for the answer; None: as long as the `Load` allows.

    Raises, on entering:
      DeadlineExceeded: the turn did not come in time.
      Cancelled: the client went away.
    """

    def __init__(self, admission: Admission, seconds: float | None) -> None:
        self._admission, self._seconds = admission, math.inf if seconds is None else seconds
        self.turn, self.runs, self.large, self.gone = threading.Event(), False, False, False
        self._taken = time.monotonic()
        self._called: Callable[[], object] = lambda: None

    def __enter__(self) -> "Place":
        admission, load = self._admission, self._admission.load
        try:
            self._wait(min(self._seconds, load.deadline_seconds), LATE)
        except BaseException:
            self.__exit__()
            raise
        waited = time.monotonic() - self._taken
        admission._metrics.waited(admission.name, waited)
        self._whole = min(waited + load.execution_seconds, self._seconds)
        return self

    def __exit__(self, *error: object) -> None:
        if self.runs:
            self._admission._end(self)

    async def __aenter__(self) -> "Place":
        try:
            await self._come()
        except BaseException:  # the task is cancelled
            self._admission._leave(self)
            self.__exit__()
            raise
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__()

    async def _come(self) -> None:
        """Waits on the running event loop until the place can be entered at once: its turn comes, or will not."""
        if self.turn.is_set():
            return
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        self._called = lambda: loop.call_soon_threadsafe(came.set)
        if self.turn.is_set():  # in the meantime
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(came.wait(), min(self._seconds, self._admission.load.deadline_seconds))
        self._called = lambda: None

    def call(self) -> None:
        """Says that the turn has come, or that the request need not wait for it."""
        self.turn.set()
        self._called()

    def pause(self) -> None:
        """Gives up the turn before a block of a large request, and returns when the turn comes again.

        Raises:
          DeadlineExceeded: the answer would come too late.
          Cancelled: the client went away.
          Overloaded: too many large requests run.
        """
        self._admission._pause(self)
        self._wait(self._whole, _SLOW)

    def cancel(self) -> None:
        """Takes the request out of the queue, or ends it before its next block, as its client went away. Any thread may
        call it."""
        self.gone = True
        if self._admission._leave(self):
            self.call()

    def _wait(self, seconds: float, message: str) -> None:
        left = self._taken + seconds - time.monotonic()
        late = not self.gone and not self.turn.wait(max(left, 0)) and self._admission._leave(self)
        if late or left < 0 and self.large:
            self._admission._metrics.refused("deadline")
            raise DeadlineExceeded(message.format(f"{seconds:.3g}"))
        if self.gone:
            raise Cancelled("The client went away.")
