"""Runs a server as a process, until a signal."""

import os
from typing import Any

from tfrs_twotower.serving.access import Access
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.server import Server
from tfrs_twotower.serving.signals import Signals


def serve(root: str | os.PathLike[str], **settings: Any) -> int:
    """Serves `root` until SIGTERM or SIGINT, then waits for running requests. `settings` are arguments of `Server`.

    Returns:
      The number of requests that had not finished after `drain_seconds`.
    """
    settings.get("connections", Connections()).allow_files()
    server = Server(root, **settings)
    with Signals() as signals:
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
            while not signals.wait():
                pass
        finally:
            left = server.stop()
        return left
