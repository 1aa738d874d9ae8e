"""Runs a server as a process, until a signal."""

import os
import signal
import threading
from typing import Any

from tfrs_twotower.serving.access import Access
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.server import Server


def serve(root: str | os.PathLike[str], **settings: Any) -> int:
    """Serves `root` until SIGTERM or SIGINT, then waits for running requests. `settings` are arguments of `Server`.

    Returns:
      The number of requests that had not finished after `drain_seconds`.
    """
    settings.get("connections", Connections()).allow_files()
    server = Server(root, **settings)
    stop = threading.Event()
    previous = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
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
            stop.wait()
        finally:
            left = server.stop()
        return left
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
