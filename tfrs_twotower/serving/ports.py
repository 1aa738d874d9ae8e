"""The two ports of a server: REST by uvicorn, and gRPC."""

import contextlib
import functools
import ipaddress
import socket
import threading
from collections.abc import Collection
from concurrent import futures
from typing import TYPE_CHECKING

from tfrs_twotower import extras
from tfrs_twotower.errors import invalid
from tfrs_twotower.serving.access import Access
from tfrs_twotower.serving.connections import Connections, HttpServer, LongestIdle, Protocol
from tfrs_twotower.serving.errors import CannotServe
from tfrs_twotower.serving.guard import GrpcGuard, Guard
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.request_timeout import RequestTimeout

if TYPE_CHECKING:
    from starlette.types import ASGIApp

grpc = extras.require("grpc")
uvicorn = extras.require("uvicorn")

_KEEP_ALIVE_SECONDS = 75  # longer than clients and proxies keep idle connections, so that they close first
_SPARE_THREADS = 8  # gRPC threads for calls that do not wait in a queue: status, metadata, refusals
_LAST_SECONDS = 1.0  # for sending the last answers after the last request has ended
_MAX_PORT = 65535


class Ports:
    """Sockets, keys, TLS and the limits on connections. `open`, `answer`, `start` and `close` are called in this order.

    Args:
      host: the address to listen on.
      rest_port, grpc_port: 0 takes any free port; after `open` the attributes hold the real ports.
      access: an `Access`.
      connections: a `Connections`.
      metrics: a `Metrics`.
      shared: whether other processes of the user may open the ports too. The system then gives each connection to one.

    Attributes:
      keys: `ApiKeys`, or None.
      grpc: the gRPC server, to which services are added before `start`.
      http: uvicorn's server.
    """

    def __init__(
        self, host: str, rest_port: int, grpc_port: int, access: Access, connections: Connections, metrics: Metrics,
        shared: bool = False,
    ) -> None:
        self._shared = shared
        self._host, self.rest_port, self.grpc_port = host, rest_port, grpc_port
        self._access, self._connections, self._metrics = access, connections, metrics

    def open(self, undo: contextlib.ExitStack, waiting: int, message_bytes: int) -> None:
        """Takes both ports. No request is answered yet.

        Args:
          undo: gets what frees the ports again.
          waiting: requests that may run or wait, each in a thread.
          message_bytes: of one gRPC message, at most.

        Raises:
          CannotServe: a port is taken or out of range, the host is unknown, other machines could send requests without
            a key, or a file of keys or a certificate cannot be used.
        """
        self.keys = self._access.keys()
        self._access.check_tls()
        # gRPC's own errors say less, and it takes 70000 for 4464.
        listen(self._host, "grpc_port", self.grpc_port, self._shared).close()
        self._socket = undo.enter_context(listen(self._host, "rest_port", self.rest_port, self._shared))
        self._access.check_address(self._socket.getsockname()[0])
        # Connections inherit this option. asyncio does not set it on them here, and an answer would wait 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest_port = self._socket.getsockname()[1]
        self._request_timeout = RequestTimeout(self._connections, self._metrics, many=waiting // 2)
        undo.callback(self._request_timeout.close)
        self.grpc = grpc.server(
            futures.ThreadPoolExecutor(waiting + _SPARE_THREADS, "grpc"),
            maximum_concurrent_rpcs=self._connections.most,
            interceptors=[self._request_timeout, *([GrpcGuard(self.keys, self._metrics)] if self.keys else [])],
            options=[
                ("grpc.max_receive_message_length", message_bytes),
                ("grpc.max_send_message_length", -1),  # answers are bounded by the limits on rows and k
                ("grpc.so_reuseport", int(self._shared)),  # else a second server could share it without an error
                *self._connections.grpc_options(),
            ],
        )
        address = f"[{self._host}]" if ":" in self._host else self._host
        try:
            credentials, address = self._access.credentials(), f"{address}:{self.grpc_port}"
            add = self.grpc.add_secure_port if credentials else self.grpc.add_insecure_port
            self.grpc_port = add(address, *filter(None, [credentials]))
        except RuntimeError as error:  # for example if `rest_port` is the same
            raise _refused(self._host, "grpc_port", self.grpc_port, str(error)) from error
        undo.callback(self._free_grpc_port)

    @property
    def loopback(self) -> bool:
        """Can this machine alone reach the REST port? Known after `open`."""
        return ipaddress.ip_address(self._socket.getsockname()[0]).is_loopback

    def answer(self, app: "ASGIApp", open_paths: Collection[str]) -> None:
        """Prepares REST requests to be answered by an ASGI application, behind a `Guard`.

        open_paths: further paths that need no key.
        """
        settings = uvicorn.Config(
            Guard(app, self.keys, self._metrics, open_paths),
            loop="asyncio",  # `HttpServer` counts its handshakes; uvloop, if it is installed, has no such place
            http=functools.partial(Protocol, self._connections, self._metrics, LongestIdle()),
            ws="none",
            ssl_certfile=self._access.tls_cert,
            ssl_keyfile=self._access.tls_key,
            lifespan="off",
            log_config=None,  # the process's own logging
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing reads the client's address or scheme
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        settings.load()
        if settings.ssl is not None:
            self._access.follow(settings.ssl)
        self.http = HttpServer(settings, self._connections)

    def start(self) -> None:
        """Answers requests on both ports."""
        self.grpc.start()
        self._thread = threading.Thread(target=self.http.run, args=([self._socket],), name="rest")
        self._thread.start()

    def close(self) -> None:
        """Sends the last answers and frees the ports."""
        grpc_stopped = self.grpc.stop(_LAST_SECONDS)
        self.http.should_exit = True
        self._thread.join()
        grpc_stopped.wait()
        self._request_timeout.close()

    def _free_grpc_port(self) -> None:
        self.grpc.start()  # gRPC closes the port of a server that has started, and of no other
        self.grpc.stop(None).wait()


def listen(host: str, argument: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; `shared`: other processes of the user may open the port too.

    Raises:
      CannotServe: the port is taken or out of range, or the host is unknown; the message names the `argument`.
    """
    if not 0 <= port <= _MAX_PORT:
        way_out = "Choose one that is free; 0 takes any."
        raise CannotServe(invalid(argument, f"be between 0 and {_MAX_PORT}", port, way_out))
    try:
        return socket.create_server((host, port), family=_family(host), reuse_port=shared)
    except (OSError, TypeError) as error:  # TypeError: the host cannot be a name
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise _refused(host, argument, port, reason) from error


def keep(host: str, argument: str, port: int) -> socket.socket:
    """A socket that keeps a free port for processes that share it, and takes no connection itself.

    Raises:
      CannotServe: as `listen`.
    """
    with listen(host, argument, port) as alone:  # another server has no part in it
        address = alone.getsockname()
    for late in (False, True):
        kept, reason = socket.socket(_family(host)), ""
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kept.family == socket.AF_INET6:  # as `create_server` has it
            kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if late:  # connections of an earlier server are not forgotten yet; then another `keep` could have the port too
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            kept.bind(address)
            return kept
        except OSError as error:
            kept.close()
            reason = error.strerror or str(error)
    raise _refused(host, argument, port, reason)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _refused(host: str, argument: str, port: int, reason: str) -> CannotServe:
    return CannotServe(
        f"Cannot listen on {host}, port {port}: {reason}. "
        f"Choose another `{argument}` (0 takes a free one) or `host`."
    )
