"""Connections of the REST server: how many, and how long one may keep the server waiting."""

import asyncio
from typing import Annotated, Any

from tfrs_twotower import extras
from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.serving.metrics import Metrics

uvicorn_http = extras.require("uvicorn.protocols.http.auto")

_FULL = b'{"error": "Too many connections are open. Send this request again in a while."}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


@config
class Connections:
    """What clients may take by doing nothing.

    Attributes:
      most: connections that are open at a time. One more closes the one that has been idle longest; where all are
        busy, it is answered with 503. For gRPC: calls that are open at a time.
      seconds: by then the headers of a request must have come, then its body; and then some of the answer be read.
    """

    most: Annotated[Count, "Let one connection in."] = 1000
    seconds: Annotated[Positive, "Say how long to wait."] = 10.0


class Protocol(uvicorn_http.AutoHTTPProtocol):  # type: ignore[name-defined]
    """uvicorn's, with the limits that it does not have.

    Args:
      limits: a `Connections`.
      metrics: a `Metrics`.
      settings: uvicorn's.
    """

    def __init__(self, limits: Connections, metrics: Metrics, **settings: Any) -> None:
        super().__init__(**settings)
        self._limits, self._metrics = limits, metrics
        self._heard = False  # anything at all
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._active = self._owed_since = self.loop.time()  # a request is owed that has begun and is not whole
        self._timer = self.loop.call_later(self._limits.seconds, self._check)
        if len(self.connections) > self._limits.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        self._active, self._heard = self.loop.time(), True
        if self._owed_since is None and self._is_idle():
            self._owed_since = self._active
        super().data_received(data)
        if not self._is_idle():
            self._owed_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check(self) -> None:
        """Looks every `seconds`: are headers owed that long, has nothing of an answer been read since the last look?"""
        owed = self._is_idle() and self._owed_since is not None
        late = owed and self.loop.time() - self._owed_since >= self._limits.seconds
        unread = self.transport.get_write_buffer_size()
        stuck = unread and unread == self._unread
        self._unread = unread
        if late or stuck:
            if self._heard:  # others connect to see whether somebody listens
                self._metrics.refused("slow")
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(self._limits.seconds, self._check)

    def _make_room(self) -> None:
        idle = [other for other in self.connections if other is not self and other._is_idle()]
        if idle:
            min(idle, key=lambda other: other._active).transport.close()
        else:
            self._metrics.refused("connections")
            self.transport.write(_REFUSAL)
            self.transport.close()
