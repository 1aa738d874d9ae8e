"""Checks the API key of a request, and gives it the id by which its caller finds it in the log, before the handlers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from tfrs_twotower import extras
from tfrs_twotower.serving.access import ApiKeys
from tfrs_twotower.serving.errors import PermissionDenied, Unauthenticated
from tfrs_twotower.serving.metrics import Metrics

if TYPE_CHECKING:
    from grpc import HandlerCallDetails, RpcMethodHandler
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

grpc = extras.require("grpc")
responses = extras.require("starlette.responses")

REQUEST_ID = "x-request-id"
_OPEN_PATHS = ("/healthz", "/readyz")  # supervisors and load balancers have no key
_READ, _SITE = ("GET", "HEAD", "OPTIONS"), b"sec-fetch-site"  # a browser's word, which no page can change
_PLAIN = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_CROSS_SITE = (
    "A page of another site sent this request (`Sec-Fetch-Site: cross-site`), and this server asks for no key. Let "
    "your own site's server send it, or start this one with --api-key-file."
)
_REASON = "The request carries no key that this server knows. Send `Authorization: Bearer KEY`."


def request_id(given: str) -> str:
    """The id that a request carries, if it is a plain word; else a new id: 32 hexadecimal digits, and no secret."""
    return given if _PLAIN.fullmatch(given) else f"{random.getrandbits(128):032x}"


class Guard:
    """ASGI middleware that requires a key, except on open paths, and adds `X-Request-Id` to every answer.

    Where no key is required, it refuses what a page of another site lets its visitor's browser send: such a page could
    otherwise change the items and events of a server on the visitor's machine.

    Args:
      app: the ASGI application. It finds the id in `request.state.request_id`.
      keys: `ApiKeys`. None: no key is required.
      metrics: a `Metrics`.
      open_paths: further paths that need no key.
    """

    def __init__(
        self, app: ASGIApp, keys: ApiKeys | None, metrics: Metrics, open_paths: Collection[str] = ()
    ) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics
        self._open = {*_OPEN_PATHS, *open_paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        name = request_id(headers.get(REQUEST_ID.encode(), b"").decode("latin-1"))
        scope["state"] = {**scope.get("state", {}), "request_id": name}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (REQUEST_ID.encode(), name.encode())]}
            await send(message)

        app = self._app
        if self._keys and scope["path"] not in self._open:
            if not self._keys.know(headers.get(b"authorization", b"").decode("latin-1")):
                self._metrics.refused("unauthenticated")
                app = responses.JSONResponse(
                    {"error": _REASON}, Unauthenticated.http, {"WWW-Authenticate": "Bearer"}
                )
        elif self._keys is None and scope["method"] not in _READ and headers.get(_SITE) == b"cross-site":
            self._metrics.refused("cross_site")
            app = responses.JSONResponse({"error": _CROSS_SITE}, PermissionDenied.http)
        await app(scope, receive, answer)


class GrpcGuard:
    """A `grpc.ServerInterceptor` that requires a key for every call."""

    def __init__(self, keys: ApiKeys, metrics: Metrics) -> None:
        self._keys, self._metrics = keys, metrics
        self._refusal = grpc.stream_unary_rpc_method_handler(  # a stream's handler does not wait for a message
            lambda requests, context: context.abort(grpc.StatusCode[Unauthenticated.code], _REASON)
        )

    def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], RpcMethodHandler | None],
        handler_call_details: HandlerCallDetails,
    ) -> RpcMethodHandler | None:
        """gRPC calls it for each call: returns the call's handler, or the handler that refuses it."""
        metadata = dict(handler_call_details.invocation_metadata)
        if self._keys.know(metadata.get("authorization", "")):
            return continuation(handler_call_details)
        self._metrics.refused("unauthenticated")
        return self._refusal
