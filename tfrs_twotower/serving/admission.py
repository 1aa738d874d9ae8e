"""How many requests run at a time, how many wait, and how long: the others are refused at once."""

import collections
import os
import threading
import time
from contextlib import AbstractContextManager
from typing import Annotated, NamedTuple

from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Natural, Positive
from tfrs_twotower.serving.errors import DeadlineExceeded, Overloaded, Unavailable
from tfrs_twotower.serving.metrics import Metrics


@config
class Load:
    """How much work is taken on at a time.

    Attributes:
      concurrency: requests that run; by default twice as many as there are processors, and at least 8. While one
        waits for a store others use the processors; many more only take time from each other.
      queue: requests that wait for their turn, first come first served. One more is refused.
      deadline_seconds: a request whose turn has not come by then is refused, as its caller has given up.
    """

    concurrency: Annotated[Count, "Let one request run."] = max(8, 2 * (os.cpu_count() or 0))
    queue: Annotated[Natural, "With 0 nothing waits."] = 128
    deadline_seconds: Annotated[Positive, "Say how long to wait."] = 2.0


class Admission:
    """The queue before one kind of work. Threads share it.

    Args:
      load: a `Load`.
      name: the queue's name in the metrics.
      metrics: a `Metrics`.
    """

    def __init__(self, load: Load, name: str, metrics: Metrics) -> None:
        self.load, self.name, self._metrics = load, name, metrics
        self._changed = threading.Condition()  # guards what follows; notified when a request ends
        self._running = 0
        self._waiting = collections.deque()
        self._closed = False
        metrics.queued(name, 0)

    def acquire(self, seconds: float | None = None) -> AbstractContextManager[object]:
        """Takes a place in the queue, without waiting; a context manager that waits for the turn, and ends it.

        Args:
          seconds: how long the caller waits, where that is less than `deadline_seconds`.

        Raises:
          Overloaded: the queue is full.
          Unavailable: the server is stopping.
          DeadlineExceeded: on entering, the turn did not come in time.
        """
        wait = self.load.deadline_seconds if seconds is None else min(seconds, self.load.deadline_seconds)
        with self._changed:
            if self._closed:
                self._metrics.refused("stopping")
                raise Unavailable("The server is stopping. Ask another one, or this one again when it is back.")
            turn = threading.Event()
            if self._running < self.load.concurrency:
                self._running += 1
                turn.set()
            elif len(self._waiting) < self.load.queue:
                self._waiting.append(turn)
                self._metrics.queued(self.name, len(self._waiting))
            else:
                self._metrics.refused("queue_full")
                raise Overloaded(f"{self.load.queue} requests wait already. Send this one again in a while.")
        return _Place(self, turn, wait)

    def close(self) -> None:
        """Refuses new requests; those that run or wait go on."""
        with self._changed:
            self._closed = True

    def drain(self, seconds: float) -> int:
        """Waits until nothing runs or waits any more, but not longer than `seconds`; returns how many are left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running, max(seconds, 0))
            return self._running + len(self._waiting)

    def _give_up(self, turn: threading.Event) -> bool:
        """True where the place was left; False where the turn came after all."""
        with self._changed:
            if turn.is_set():
                return False
            self._waiting.remove(turn)
            self._metrics.queued(self.name, len(self._waiting))
            return True

    def _end(self) -> None:
        with self._changed:
            if self._waiting:
                self._waiting.popleft().set()  # the next one runs in its stead
                self._metrics.queued(self.name, len(self._waiting))
            else:
                self._running -= 1
                self._changed.notify_all()


class Queues(NamedTuple):
    """The queues of one server: predictions and the recording of events do not wait for each other."""

    predictions: Admission
    events: Admission


class _Place:
    """One request's place in the queue."""

    def __init__(self, admission: Admission, turn: threading.Event, seconds: float) -> None:
        self._admission, self._turn, self._seconds = admission, turn, seconds
        self._taken = time.monotonic()

    def __enter__(self) -> "_Place":
        admission = self._admission
        left = self._seconds - (time.monotonic() - self._taken)
        if not self._turn.wait(max(left, 0)) and admission._give_up(self._turn):
            admission._metrics.refused("deadline")
            raise DeadlineExceeded(
                f"The turn of this request did not come within {self._seconds:.3g} s. Send it again in a while."
            )
        admission._metrics.waited(admission.name, time.monotonic() - self._taken)
        return self

    def __exit__(self, *error: object) -> None:
        self._admission._end()
