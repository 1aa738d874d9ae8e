"""Runs a server as a process, until a signal."""

import os
import signal
import socket
from typing import Any

from tfrs_twotower.serving.access import Access
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.server import Server

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(root: str | os.PathLike[str], **settings: Any) -> int:
    """Serves `root` until SIGTERM or SIGINT, then waits for running requests. `settings` are arguments of `Server`.

    Returns:
      The number of requests that had not finished after `drain_seconds`.
    """
    settings.get("connections", Connections()).allow_files()
    server = Server(root, **settings)
    # The signal's number comes through a socket, whichever thread the signal met: an Event that a handler sets can be
    # locked by the thread that it interrupts, or leave that thread asleep.
    heard, told = socket.socketpair()
    told.setblocking(False)
    previous = {s: signal.signal(s, lambda *_: None) for s in _SIGNALS}
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        server.start()
        try:
            scheme = "https" if settings.get("access", Access()).tls_cert else "http"
            versions = ", ".join(map(str, server.repository.available())) or "none yet"
            print(
                f"Serving {server.name} (version {versions}) at "
                f"{scheme}://{server.host}:{server.rest_port}/v1/models/{server.name} "
                f"and gRPC {server.host}:{server.grpc_port}",
                flush=True,
            )
            if server.has_page:
                print(f"Look at its answers: {scheme}://{server.host}:{server.rest_port}/", flush=True)
            while heard.recv(1)[0] not in _SIGNALS:
                pass
        finally:
            left = server.stop()
        return left
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        heard.close()
        told.close()
