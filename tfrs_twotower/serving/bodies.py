"""Reads the bodies of REST requests, within the limits on their size, their time, and the memory of all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tfrs_twotower import extras
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.errors import Cancelled, Overloaded, ResourceExhausted, SlowBody
from tfrs_twotower.serving.metrics import Metrics

if TYPE_CHECKING:
    from starlette.requests import Request

requests = extras.require("starlette.requests")


class Bodies:
    """The bodies that arrive or are not answered yet. It belongs to one event loop.

    Args:
      connections: a `Connections`: the time that a body may take, and the bytes of all bodies.
      metrics: a `Metrics`, which counts the refusals.
      limit: the bytes of one body.
    """

    def __init__(self, connections: Connections, metrics: Metrics, limit: int) -> None:
        self._connections, self._metrics, self._limit, self._bytes = connections, metrics, limit, 0

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """A function that counts the bytes of a body, and raises `Overloaded` if all bodies together have too many.

        The bytes count until the block ends.
        """
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            mine, self._bytes = mine + size, self._bytes + size
            if self._bytes > self._connections.body_bytes:
                self._metrics.refused("bodies")
                raise Overloaded("The bodies of other requests take all the memory. Send this one again in a while.")

        try:
            yield hold
        finally:
            self._bytes -= mine

    async def read(self, request: Request, hold: Callable[[int], None]) -> bytes:
        """The body of a request. `hold` gets the sizes of its parts as they arrive.

        Raises:
          ResourceExhausted: it is larger than the limit.
          SlowBody: it did not arrive in time.
          Cancelled: the client went away.
        """
        seconds, late = self._connections.seconds, False
        task: asyncio.Task = asyncio.current_task()  # type: ignore[assignment]  # this is one

        def end() -> None:
            nonlocal late
            late = True
            task.cancel()

        timer = asyncio.get_running_loop().call_later(seconds, end)  # `wait_for` would take a task and two more rounds
        try:
            return await _read(request, self._limit, hold)
        except asyncio.CancelledError:
            if not late:
                raise
            getattr(task, "uncancel", int)()  # new in Python 3.11
            self._metrics.refused("slow")
            raise SlowBody(f"The body did not arrive within {seconds:.3g} s. Send it again.") from None
        except requests.ClientDisconnect:
            raise Cancelled("The client went away.") from None
        finally:
            timer.cancel()


async def _read(request: Request, limit: int, hold: Callable[[int], None]) -> bytes:
    declared = request.headers.get("content-length", "0")
    too_large = ResourceExhausted(f"The body must have at most {limit} bytes. Send smaller batches.")
    if int(declared) > limit:
        raise too_large  # the rest of the body is read and dropped
    body, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            hold(len(chunk))
            body.append(chunk)
        else:
            body.clear()
            # Some clients read the answer only after writing the body, so the server reads on, up to a limit.
            if size > 4 * limit:
                break
    if size > limit:
        raise too_large
    return b"".join(body)
