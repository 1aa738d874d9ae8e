"""The limits on connections: how many there may be, and how long one may keep the server waiting."""

import asyncio
import collections
import errno
import functools
import logging
import math
import re
import resource
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from tfrs_twotower import extras
from tfrs_twotower.configuration import config
from tfrs_twotower.ranges import Count, Positive
from tfrs_twotower.serving.metrics import Metrics

httptools = extras.require("httptools")
uvicorn = extras.require("uvicorn")
uvicorn_http = extras.require("uvicorn.protocols.http.httptools_impl")

_OTHER_FILES = 200  # descriptors besides connections: libraries, stores, a version that loads
_HEADER_BYTES = 64 * 1024  # the most that a request's first line and headers may take
_END = re.compile(rb"\n\r?\n")  # of a request's headers
_UPGRADE = re.compile(rb"\nupgrade[ \t]*:", re.IGNORECASE)
_QUIET_SECONDS = 10.0  # between two log lines about a lack of descriptors
_log = logging.getLogger(__name__)

_FULL = b'{"error": "Too many connections are open. Send this request again in a while."}'
_LONG = b'{"error": "The headers must have at most %d bytes. Send fewer or shorter ones."}' % _HEADER_BYTES
_ANSWER = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_REFUSAL = _ANSWER % (b"503 Service Unavailable\r\nRetry-After: 1", len(_FULL), _FULL)
_BAD = b'{"error": "This is no HTTP request."}'
_NO_REQUEST = _ANSWER % (b"400 Bad Request", len(_BAD), _BAD)
_TOO_LONG = _ANSWER % (b"431 Request Header Fields Too Large", len(_LONG), _LONG)


@config
class Connections:
    """Limits on open connections, on slow clients, and on the memory of bodies.

    Attributes:
      most: the most REST connections that may be open at a time. One more closes the connection that has been idle
        longest. If all are busy, the new one is answered with 503. Besides them, as many TLS handshakes may be under
        way; one more ends the oldest. For gRPC: the most connections, and the most open calls.
      seconds: the time that a client has for the handshake, for the headers of a request, for the body, and for reading
        some of the answer. The server looks once in this time, so late headers and unread answers may take twice as
        long.
      body_bytes: the bytes of all REST bodies that are arriving or are not answered yet, and again those of all gRPC
        messages that have arrived and are not answered. A request beyond them is refused with 429, or
        RESOURCE_EXHAUSTED.
    """

    most: Annotated[Count, "Let one connection in."] = 1000
    seconds: Annotated[Positive, "Say how long to wait."] = 10.0
    body_bytes: Annotated[Count, "Let a request come."] = 256 * 1024 * 1024

    def allow_files(self) -> None:
        """Raises the process's limit on open files as far as allowed. Warns if connections can use up the files."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        wanted = 3 * self.most + _OTHER_FILES  # REST, its TLS handshakes and gRPC have `most` connections each
        if hard != resource.RLIM_INFINITY and hard < wanted:
            _log.warning(
                "The system allows this process %d open files, and %d connections of each kind can take %d. Raise the "
                "limit (`ulimit -Hn`, LimitNOFILE), or lower --connections.", hard, self.most, wanted,
            )

    def grpc_options(self) -> list[tuple[str, int]]:
        """gRPC's settings: the number of connections, and when an idle one is closed."""
        milliseconds = int(1000 * self.seconds)
        return [
            ("grpc.max_allowed_incoming_connections", self.most),
            ("grpc.server_handshake_timeout_ms", milliseconds),  # TLS, and the first frames of HTTP/2
            ("grpc.max_connection_idle_ms", 300_000),  # without a call; clients reconnect by themselves
            ("grpc.keepalive_time_ms", 60_000),  # a peer that vanished does not answer the ping
            ("grpc.keepalive_timeout_ms", milliseconds),
        ]


class HttpServer(uvicorn.Server):  # type: ignore[name-defined]
    """uvicorn's server with limits on TLS handshakes: on their time, and on their number, which is that of connections.

    It logs a lack of descriptors at most every 10 s.

    Args:
      settings: a `uvicorn.Config`.
      limits: a `Connections`.
    """

    def __init__(self, settings: Any, limits: Connections) -> None:
        super().__init__(settings)
        self._limits, self._said = limits, -_QUIET_SECONDS
        self._handshakes: dict[asyncio.Transport, None] = {}  # those under way, the oldest first

    async def startup(self, sockets: Any = None) -> None:
        """Starts uvicorn's server with the error handler and the time limit."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._tell)
        if self.config.ssl is not None:
            seconds = self._limits.seconds
            loop.create_server = functools.partial(  # type: ignore[method-assign]
                loop.create_server, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds
            )
            # asyncio tells nobody of a handshake that begins, and keeps more than 256 kB for each.
            loop._make_ssl_transport = functools.partial(  # type: ignore[attr-defined]
                self._begin, loop._make_ssl_transport  # type: ignore[attr-defined]
            )
        await super().startup(sockets)

    def _begin(
        self, make: Callable[..., asyncio.Transport], *arguments: Any, waiter: asyncio.Future[None], **named: Any
    ) -> asyncio.Transport:
        """Makes the transport of a connection. If too many handshakes are under way, the oldest ends."""
        transport = make(*arguments, waiter=waiter, **named)
        self._handshakes[transport] = None
        waiter.add_done_callback(lambda over: self._handshakes.pop(transport, None))
        if len(self._handshakes) > self._limits.most:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            # Not at once: `abort` does nothing before the transport has begun, after this round of the loop.
            asyncio.get_running_loop().call_soon(oldest.abort)
        return transport

    def _tell(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._said > _QUIET_SECONDS:
            self._said = time.monotonic()
            _log.error("No connection can be accepted: %s. Raise `ulimit -n`, or lower --connections.", error.strerror)


class _OneWrite:
    """A transport that sends the head of an answer with the first part of its body: one packet, one system call.

    uvicorn writes them one right after the other.
    """

    def __init__(self, transport: Any, protocol: Any) -> None:
        self._transport, self._protocol = transport, protocol
        self._head, self._of = b"", None  # a head that waits for its body, and the request of the last head

    def write(self, data: bytes) -> None:
        cycle = self._protocol.cycle
        if cycle is not None and cycle is not self._of and cycle.response_started and not cycle.response_complete:
            self._head, self._of = data, cycle
            return
        head, self._head = self._head, b""
        self._transport.write(head + data)

    def flush(self) -> None:
        """Sends a head that waits for its body."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LongestIdle:
    """Finds the connection that has been idle longest.

    It looks at all of them only when those that it found idle before are gone. Otherwise a thousand new connections
    would look at each of a thousand others, which holds all requests for seconds.
    """

    def __init__(self) -> None:
        self._found: collections.deque[tuple[float, Protocol]] = collections.deque()  # since when each is idle

    def among(self, connections: Iterable[Any]) -> "Protocol | None":
        """The `Protocol` among `connections` that has been idle longest; None if all are busy."""
        if (known := self._next()) is not None:
            return known
        idle = [(one.active, one) for one in connections if one.can_go()]
        self._found.extend(sorted(idle, key=lambda found: found[0]))
        return self._next()

    def _next(self) -> "Protocol | None":
        while self._found:
            active, one = self._found.popleft()
            if one.active == active and one.can_go():
                return one
        return None


class Protocol(uvicorn_http.HttpToolsProtocol):  # type: ignore[name-defined]
    """uvicorn's protocol with the limits that uvicorn lacks.

    httptools has no limit on headers, and uvicorn none on requests that a client sends before it has an answer. So the
    parser gets the headers of one request in one piece, then its body, and the next request when that one is answered.

    It gets no offer to upgrade to another protocol, as httptools then takes the body for that protocol's. A server may
    ignore the offer. Java's client offers HTTP/2 with each first request, and sends its body.

    Args:
      limits: a `Connections`.
      metrics: a `Metrics`.
      idle: the `LongestIdle` of the server.
      settings: uvicorn's arguments.
    """

    def __init__(self, limits: Connections, metrics: Metrics, idle: LongestIdle, **settings: Any) -> None:
        super().__init__(**settings)
        self._limits, self._metrics, self._idle = limits, metrics, idle
        self._heard = False  # True after the first byte
        self._rest = b""  # what has come and waits for its turn
        self._deaf = False  # whether what comes further is thrown away, as the connection closes behind the answer
        self._may_begin = self._in_headers = False
        self._body_left = 0.0  # bytes of the request's body that have not come; infinite: it comes in chunks
        self._between_chunks = 0  # bytes since the last of a body that comes in chunks
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(_OneWrite(transport, self))
        self.active = self._owed_since = self.loop.time()  # since when the headers of a request are awaited
        self._timer = self.loop.call_later(self._limits.seconds, self._check)
        if len(self.connections) > self._limits.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        self.active, self._heard = self.loop.time(), True
        if not self._deaf:
            self._rest += data
            self._read()

    def _read(self) -> None:
        """Gives the parser what it may have now."""
        while self._rest and not self.transport.is_closing():
            if self._body_left:
                part = int(min(self._body_left, len(self._rest)))
                self._body_left -= part
                self._between_chunks += part
                self._feed(part)
                if self._body_left == math.inf and self._between_chunks > _HEADER_BYTES:  # trailers without an end
                    self._metrics.refused("headers")
                    self._refuse(_TOO_LONG)
            elif not self._is_idle():
                break
            elif (size := self._size_of_headers()) is None:
                break
            elif size > _HEADER_BYTES:
                self._metrics.refused("headers")
                self._refuse(_TOO_LONG)
            else:
                self._may_begin = True
                self._feed(size, _UPGRADE)
        if not self._is_idle():
            self._owed_since = None
            if len(self._rest) > _HEADER_BYTES:
                self.flow.pause_reading()
        elif self._owed_since is None and self._rest:
            self._owed_since = self.loop.time()

    def _size_of_headers(self) -> int | None:
        """Of the headers at the start of `_rest`; None if their end has not come, or if nothing has come."""
        self._rest = self._rest.lstrip(b"\r\n")  # some clients send them behind a body
        end = _END.search(self._rest)
        if end is not None:
            return end.end()
        begins = self._rest[:1].isalpha() or not self._rest  # else it is no request, and the parser says so at once
        return None if begins and len(self._rest) <= _HEADER_BYTES else len(self._rest)

    def _feed(self, size: int, left_out: re.Pattern[bytes] | None = None) -> None:
        data, self._rest = self._rest[:size], self._rest[size:]
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data if left_out is None else left_out.sub(b"\nx-upgrade:", data))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._is_idle() or self.cycle.more_body:
                self._refuse(_NO_REQUEST)
            else:  # what is wrong follows the chunks of a whole request, which gets its answer
                self._rest, self._deaf, self.cycle.keep_alive = b"", True, False

    def _refuse(self, answer: bytes) -> None:
        if self._is_idle() or not self.cycle.response_started:
            self.transport.write(answer)
        self.transport.close()

    def on_message_begin(self) -> None:
        if not self._may_begin:
            raise ValueError("This request follows the chunks of another one, and was to wait.")
        self._may_begin, self._in_headers = False, True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # else it comes behind the chunks of a body, and nobody reads it
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        headers, self._in_headers, self._between_chunks = dict(self.headers), False, 0
        if (b"host" not in headers and self.parser.get_http_version() == "1.1"
                or sum(name == b"host" for name, _ in self.headers) > 1):
            raise ValueError("A request has one Host.")  # RFC 9112, 3.2
        chunked = b"transfer-encoding" in headers
        self._body_left = math.inf if chunked else float(headers.get(b"content-length", 0))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._between_chunks = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_left = 0.0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.transport.flush()  # the answer to HEAD has no body
        super().on_response_complete()
        if self._rest:
            self.loop.call_soon(self._read)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def can_go(self) -> bool:
        """Is it idle with its answers written, and does not go already? One that goes stays in the list for a while."""
        return self._is_idle() and not self.transport.is_closing() and not self._unwritten()

    def _unwritten(self) -> int:
        """Bytes of answers that wait for the client. TLS hands them on to a transport of its own, and counts them no
        more."""
        below = getattr(getattr(self.transport, "_ssl_protocol", None), "_transport", None)
        return self.transport.get_write_buffer_size() + (below.get_write_buffer_size() if below else 0)

    def _check(self) -> None:
        """Aborts a connection whose headers are late, or whose client has read nothing since the last call. It runs
        every `seconds`."""
        owed = self._is_idle() and self._owed_since is not None
        late = owed and self.loop.time() - self._owed_since >= self._limits.seconds
        unread = self._unwritten()
        stuck = unread and unread == self._unread
        self._unread = unread
        if late or stuck:
            if self._heard:  # a connection without any data may only test whether the port is open
                self._metrics.refused("slow")
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(self._limits.seconds, self._check)

    def _make_room(self) -> None:
        longest = self._idle.among(self.connections - {self})
        if longest is not None:
            longest.transport.abort()  # with TLS, `close` waits
        else:
            self._metrics.refused("connections")
            self.transport.write(_REFUSAL)
            self.transport.close()
