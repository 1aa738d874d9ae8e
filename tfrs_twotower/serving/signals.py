"""Waits for the signals that end a process."""

import contextlib
import math
import select
import signal
import socket
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """While it is entered, SIGTERM and SIGINT end `wait` in place of the process. For the main thread.

    A signal wakes the thread through a socket, whichever thread it met: an Event that a handler sets can be locked by
    the thread that it interrupts, or leave that thread asleep.
    """

    def __enter__(self) -> "Signals":
        self._heard, self._told = socket.socketpair()
        self._heard.setblocking(False)
        self._told.setblocking(False)
        self._asked = False
        self._handlers = {s: signal.signal(s, self._ask) for s in _SIGNALS}
        self._descriptor = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *error: Any) -> None:
        signal.set_wakeup_fd(self._descriptor)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._heard.close()
        self._told.close()

    def _ask(self, *signal: Any) -> None:
        self._asked = True

    def wait(self, seconds: float = math.inf) -> bool:
        """True as soon as one of the signals has come. False after some seconds, or after another thread's `wake`."""
        if not self._asked:
            poll = select.poll()
            poll.register(self._heard, select.POLLIN)
            poll.poll(None if seconds == math.inf else 1000 * seconds)
            with contextlib.suppress(BlockingIOError):
                self._heard.recv(4096)
        return self._asked

    def wake(self) -> None:
        """Ends `wait` from another thread."""
        with contextlib.suppress(OSError):  # so many bytes wait that it wakes anyway, or nobody waits any more
            self._told.send(b"\0")
