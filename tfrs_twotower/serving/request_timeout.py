"""Bounds what gRPC requests hold: a thread while they arrive, and memory until they are answered."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tfrs_twotower import extras
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.errors import PUSHBACK
from tfrs_twotower.serving.metrics import Metrics

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc import HandlerCallDetails, RpcMethodHandler, ServicerContext

grpc = extras.require("grpc")

_LOOKS = 4  # checks of the open calls within the shortest time that a call has
_CROWDED_SECONDS = 1.0  # that a call has while many wait: they would take all threads, for ten times as long


class RequestTimeout(grpc.ServerInterceptor):  # type: ignore[name-defined]
    """Cancels calls whose request is not whole in time, and refuses those that would take too much memory together.

    It also refuses bytes that are no request. gRPC itself would report such bytes as the server's fault, each with a
    traceback in the log. Put this interceptor before others.

    gRPC gives a call a thread, in which it waits for the request's one message before it calls the handler. On the wire
    a call with one message is a stream of one message. So this class declares its handlers to gRPC as handlers of
    streams: they are called before the message has arrived.

    Args:
      limits: a `Connections`: the time that a message may take after the call has its thread, and the bytes of all
        messages that are not answered yet.
      metrics: a `Metrics`, which counts the calls that are cancelled or refused.
      many: if more calls than so many wait for their message, each has one second for it.
    """

    def __init__(self, limits: Connections, metrics: Metrics, many: int) -> None:
        self._seconds, self._most, self._metrics, self._many = limits.seconds, limits.body_bytes, metrics, many
        self._held, self._lock = 0, threading.Lock()  # bytes of messages
        self._waiting = {}  # {a call's context: when it began to wait}, the earliest first
        self._stop = threading.Event()
        threading.Thread(target=self._watch, name="patience", daemon=True).start()

    def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], RpcMethodHandler | None],
        handler_call_details: HandlerCallDetails,
    ) -> RpcMethodHandler | None:
        """gRPC calls it for each call: returns the call's handler."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def handle(requests: Iterator[bytes], context: ServicerContext) -> Message:
            self._waiting[context] = time.monotonic()
            try:
                request = next(requests, None)
            finally:
                self._waiting.pop(context, None)
            if request is None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a message. Send one.")
            with self._memory(len(request), context):  # type: ignore[arg-type]  # `abort` raises
                if handler.request_deserializer is not None:
                    try:
                        request = handler.request_deserializer(request)
                    except DecodeError as error:
                        said = f"The request is no message of this call: {error}"
                        context.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
                return handler.unary_unary(request, context)

        return grpc.stream_unary_rpc_method_handler(handle, None, handler.response_serializer)

    def close(self) -> None:
        """Stops checking the open calls."""
        self._stop.set()

    @contextlib.contextmanager
    def _memory(self, size: int, context: ServicerContext) -> Iterator[None]:
        """Counts the bytes of a message until the block ends. Ends the call if all messages together have too many."""
        with self._lock:
            fits = self._held + size <= self._most
            self._held += size if fits else 0
        if not fits:
            self._metrics.refused("bodies")
            context.set_trailing_metadata((PUSHBACK,))
            said = "The messages of other calls take all the memory. Send this one again in a while."
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
        try:
            yield
        finally:
            with self._lock:
                self._held -= size

    def _watch(self) -> None:
        crowded = min(_CROWDED_SECONDS, self._seconds)
        while not self._stop.wait(crowded / _LOOKS):
            seconds = crowded if len(self._waiting) > self._many else self._seconds
            for context, begun in list(self._waiting.items()):
                if begun + seconds > time.monotonic():
                    break
                if self._waiting.pop(context, None) is not None:
                    self._metrics.refused("slow")
                    context.cancel()
