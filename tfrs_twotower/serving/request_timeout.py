"""gRPC calls whose request does not come: each would hold a thread for as long as its client likes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tfrs_twotower import extras
from tfrs_twotower.serving.metrics import Metrics

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc import HandlerCallDetails, RpcMethodHandler, ServicerContext

grpc = extras.require("grpc")

_LOOKS = 4  # at the open calls in the time that one has


class RequestTimeout(grpc.ServerInterceptor):  # type: ignore[name-defined]
    """Cancels calls whose request is not whole in time, and refuses bytes that are none (gRPC itself would call them
    our fault, with a traceback in the log for each). Put it before other interceptors.

    gRPC gives a call a thread, in which it waits for the one message of the request; what the handler does comes after
    that. On the wire a call with one message is a stream that has one, so the handlers are given to gRPC as those of
    streams: then this code is called before the message is there.

    Args:
      seconds: from when a call has its thread.
      metrics: a `Metrics`, which counts what is cancelled.
    """

    def __init__(self, seconds: float, metrics: Metrics) -> None:
        self._seconds, self._metrics = seconds, metrics
        self._waiting = {}  # a call's context: until when; the first to be cancelled is the first
        self._stop = threading.Event()
        threading.Thread(target=self._watch, name="patience", daemon=True).start()

    def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], RpcMethodHandler | None],
        handler_call_details: HandlerCallDetails,
    ) -> RpcMethodHandler | None:
        """gRPC's: the handler of a call."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def handle(requests: Iterator[bytes], context: ServicerContext) -> Message:
            self._waiting[context] = time.monotonic() + self._seconds
            try:
                request = next(requests, None)
            finally:
                self._waiting.pop(context, None)
            if request is None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a message. Send one.")
            if handler.request_deserializer is not None:
                try:
                    request = handler.request_deserializer(request)
                except DecodeError as error:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The request is no message of this call: {error}")
            return handler.unary_unary(request, context)

        return grpc.stream_unary_rpc_method_handler(handle, None, handler.response_serializer)

    def close(self) -> None:
        """Looks at calls no more."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds / _LOOKS):
            for context, until in list(self._waiting.items()):
                if until > time.monotonic():
                    break
                if self._waiting.pop(context, None) is not None:
                    self._metrics.refused("slow")
                    context.cancel()
