"""TF Serving's REST API (predict, status, metadata), and events, impressions, items,
recommendations, health and metrics.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent import futures
from typing import TYPE_CHECKING, NoReturn

from tfrs_twotower import extras
from tfrs_twotower.errors import invalid
from tfrs_twotower.serving import json_tensors, openapi, status_protos
from tfrs_twotower.serving.admission import Admission, Place, Queues
from tfrs_twotower.serving.bodies import Bodies
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.endpoints import Endpoint
from tfrs_twotower.serving.errors import DeadlineExceeded, InvalidArgument, NotFound, Unimplemented
from tfrs_twotower.serving.metrics import Call, Metrics
from tfrs_twotower.serving.page import Page
from tfrs_twotower.serving.predictor import Answerer, Predictor
from tfrs_twotower.serving.rest_errors import HANDLERS

if TYPE_CHECKING:
    import numpy as np
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from tfrs_twotower.serving.model import LoadedModel
    from tfrs_twotower.serving.signature import Signature

applications = extras.require("starlette.applications")
exceptions = extras.require("starlette.exceptions")
responses = extras.require("starlette.responses")
routing = extras.require("starlette.routing")

convertors = extras.require("starlette.convertors")


class _AnyText(convertors.PathConvertor):  # type: ignore[name-defined]
    regex = "(?s:.*)"  # an id may have line breaks too


convertors.register_url_convertor("text", _AnyText())
_VERSION = re.compile(r"[0-9]{1,18}")
_QUICK_SECONDS = 0.02  # an answer within this time is sent, whether or not its client went away meanwhile
_SMALL_BODY = 8192  # bytes that the event loop itself may parse: it takes less time than the way to a thread
_METRICS_PATHS = ("/monitoring/prometheus/metrics", "/metrics")  # TF Serving's path, and the usual one


class Rest:
    """The handlers of one served model.

    Args:
      predictor: a `Predictor`.
      endpoints: {path after /v1/: `Endpoint`}.
      name: the model's name.
      metrics: a `Metrics`.
      ready: a function that /readyz calls.
      queues: `Queues`, in which requests wait for their turn.
      connections: `Connections`: the time that a body may take, and the memory of all bodies.
      degraded: a function that /readyz calls: the parts without which the server answers.
      answer: a function like `Predictor.answer`, for requests that name no version; None: that of `predictor`.
      page: the explorer's `Page`; None: there is none.
    """

    def __init__(
        self,
        predictor: Predictor,
        endpoints: Mapping[str, Endpoint],
        name: str,
        metrics: Metrics,
        ready: Callable[[], bool],
        queues: Queues,
        connections: Connections,
        degraded: Callable[[], list[str]],
        answer: Answerer | None = None,
        page: Page | None = None,
    ) -> None:
        self._predictor = predictor
        self._answer_of = answer or predictor.answer
        self._joins = answer is None and predictor.joins
        self._endpoints = endpoints
        self._name = name
        self._metrics = metrics
        self._ready, self._degraded = ready, degraded
        self._queues, self._page = queues, page
        self._bodies = Bodies(connections, metrics, predictor.limits.max_body_bytes)
        # There are as many threads as requests that may run or pause between blocks: none waits for a thread.
        self._threads = {
            queue: futures.ThreadPoolExecutor(queue.load.concurrency + queue.load.queue, "rest") for queue in queues
        }

    def app(self) -> Starlette:
        """The ASGI application. It needs a `Guard` around it, which gives each request its id."""
        model, version = "/v1/models/{name}", "/v1/models/{name}/versions/{version}"
        routes = []
        for base in (model, version):  # they are tried in this order: no path matches both
            routes += [
                routing.Route(base + ":predict", self._predict, methods=["POST"]),
                routing.Route(base + ":{verb}", self._unimplemented, methods=["POST"]),
                routing.Route(base + "/metadata", self._metadata),
                routing.Route(base, self._status),
            ]
        for what, endpoint in self._endpoints.items():
            path, methods = f"/v1/{what}", ["GET", "POST"] if endpoint.gets else ["POST"]
            if endpoint.path_id:
                path, methods = f"{path}/{{id:text}}", ["PUT"]
            routes.append(routing.Route(path, self._handler(what, endpoint), methods=methods))
        if self._page is not None:
            routes += self._page.routes(self._get)
        routes += [routing.Route(path, self._scrape) for path in _METRICS_PATHS]
        routes.append(routing.Route("/openapi.json", self._openapi))
        routes += [routing.Route("/healthz", self._healthz), routing.Route("/readyz", self._readyz)]
        app = applications.Starlette(routes=routes, exception_handlers=HANDLERS)
        app.router.redirect_slashes = False  # behind a proxy with TLS it would name http, as the server does not know
        return app

    async def _predict(self, request: Request) -> Response:
        answer = self._joined_answer if self._joins else None
        return await self._work(request, "rest:predict", self._queues.predictions, self._answer, answer)

    def _answer(self, request: Request, body: bytes, call: Call) -> Response:
        with self._asked(request, body, call) as (model, signature, inputs, by_row, version):
            answer = self._predictor.answer if version is not None else self._answer_of
            outputs, named = answer(model, signature, inputs, call.pause)
        return _encoded(outputs, named, by_row)

    async def _joined_answer(self, request: Request, body: bytes, call: Call) -> Response | None:
        """The answer to a small request, which may be joined with others; None: it needs a thread of its own."""
        if len(body) > _SMALL_BODY:
            return None
        queue = self._queues.predictions
        with queue.apart() as begin, self._asked(request, body, call) as (model, signature, inputs, by_row, _):
            answer = self._predictor.answer_on_loop(
                model, signature, inputs, self._threads[queue], queue.load.deadline_seconds, begin
            )
            if answer is None:
                return None
            try:
                outputs, named = await answer
            except DeadlineExceeded:
                self._metrics.refused("deadline")
                raise
        return _encoded(outputs, named, by_row)

    @contextlib.contextmanager
    def _asked(
        self, request: Request, body: bytes, call: Call
    ) -> Iterator[tuple[LoadedModel, Signature, dict[str, np.ndarray], bool, int | None]]:
        """(the leased model, its signature, inputs, whether they came in rows, the version that the path names)."""
        version = self._version(request.path_params)
        asked = json_tensors.parse(body, self._predictor.limits.max_values)
        signature_name = asked.get("signature_name", "")
        if not isinstance(signature_name, str):
            raise InvalidArgument("'signature_name' must be a string.")
        with self._predictor.repository.lease(version) as model:
            call.version = model.version
            signature = self._predictor.signature(model, signature_name)
            call.signature = signature.name
            inputs, by_row = json_tensors.decode(asked, signature, self._predictor.limits.check_size)
            del asked, body  # a large request may wait long between its blocks
            yield model, signature, inputs, by_row, version

    def _handler(self, what: str, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        def answer(request: Request, body: bytes, call: Call) -> Response:
            by_query = request.method in ("GET", "HEAD")
            asked = _of_query(request) if by_query else json_tensors.parse(body, self._predictor.limits.max_values)
            if endpoint.path_id:
                if endpoint.path_id in asked:
                    raise InvalidArgument(f"The path has the `{endpoint.path_id}`. Leave it out of the body.")
                asked[endpoint.path_id] = request.path_params["id"]
            found = endpoint.answer(asked)
            call.version = found.get("model_version")
            return responses.JSONResponse(found)

        async def handle(request: Request) -> Response:
            return await self._work(request, f"rest:{what}", endpoint.queue, answer)

        return handle

    async def _get(self, request: Request, answer: Callable[[Request], Response]) -> Response:
        return await self._work(
            request, "rest:page", self._queues.predictions, lambda request, body, call: answer(request)
        )

    async def _work(
        self, request: Request, method: str, queue: Admission, answer: Callable[[Request, bytes, Call], Response],
        joined: Callable[[Request, bytes, Call], Awaitable[Response | None]] | None = None,
    ) -> Response:
        """Reads the body, and answers by `joined(request, body, call)`, or in a thread by `answer`.

        TensorFlow, JSON and stores take time. They run in a thread, so that other requests can be read meanwhile.
        """
        with self._metrics.call(method, request.state.request_id) as call, self._bodies.held() as hold:
            body = await self._bodies.read(request, hold)
            call.begin()
            response = await joined(request, body, call) if joined else None
            if response is None:
                response = await self._in_thread(queue, request, call, functools.partial(answer, request, body, call))
            response.headers.update(dict(call.partial()))
            return response

    async def _in_thread(
        self, queue: Admission, request: Request, call: Call, answer: Callable[[], Response]
    ) -> Response:
        """Waits in `queue`, and answers in a thread, unless the client goes away before."""
        place = queue.acquire()
        call.pause = place.pause
        loop, watches = asyncio.get_running_loop(), []
        watch = loop.call_later(_QUICK_SECONDS, lambda: watches.append(loop.create_task(_gone(request, place))))
        try:
            async with place:
                context = contextvars.copy_context()  # says which call this is
                return await loop.run_in_executor(self._threads[queue], context.run, answer)
        finally:
            watch.cancel()
            for task in watches:
                task.cancel()

    def close(self) -> None:
        """Lets the threads end when they have answered."""
        for threads in self._threads.values():
            threads.shutdown(wait=False)

    async def _unimplemented(self, request: Request) -> NoReturn:
        verb = request.path_params["verb"]
        if verb in ("classify", "regress"):
            raise Unimplemented(f":{verb} takes tf.Examples, which these models do not. Use :predict.")
        raise NotFound(f"Unknown method :{verb[:80]}. Use :predict.")

    async def _status(self, request: Request) -> Response:
        version = self._version(request.path_params)
        message = status_protos.status_response(self._predictor.repository, version)
        return responses.JSONResponse(status_protos.to_json(message))

    async def _metadata(self, request: Request) -> Response:
        version = self._version(request.path_params)
        with self._predictor.repository.lease(version) as model:
            signatures = status_protos.signature_def_map(model)
            spec = {"name": self._name, "signature_name": "", "version": str(model.version)}
        body = {status_protos.SIGNATURE_DEF: status_protos.to_json(signatures, keep_names=True)}
        return responses.JSONResponse({"model_spec": spec, "metadata": body})

    async def _openapi(self, request: Request) -> Response:
        return responses.JSONResponse(openapi.document(self._name, self._endpoints))

    async def _scrape(self, request: Request) -> Response:
        text, content_type = self._metrics.text()
        return responses.Response(text, headers={"Content-Type": content_type})

    async def _healthz(self, request: Request) -> Response:
        return responses.PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if not self._ready():
            return responses.PlainTextResponse("not ready\n", 503)
        parts = self._degraded()  # it answers all the same, so a load balancer goes on sending requests
        return responses.PlainTextResponse(f"degraded: {', '.join(parts)}\n" if parts else "ready\n")

    def _version(self, path: Mapping[str, str]) -> int | None:
        """Checks the model's name; returns the version that the path names, or None for the newest."""
        name, version = path["name"], path.get("version")
        if ":" in (version or name):
            raise exceptions.HTTPException(405, "Use POST.", {"Allow": "POST"})
        if name != self._name:
            raise NotFound(f"Model `{name[:80]}` not found. This server serves `{self._name}`.")
        if version is not None and not _VERSION.fullmatch(version):
            raise NotFound(f"`{version[:40]}` is not a version. Versions are integers.")
        return None if version is None else int(version)


def _encoded(outputs: dict[str, np.ndarray], named: dict[str, list[str]], by_row: bool) -> Response:
    return responses.Response(json_tensors.encode(outputs, by_row, named), media_type="application/json")


def _of_query(request: Request) -> dict[str, list[str] | int]:
    """The request of a query string: `n` is a number, all else are lists of ids, as in ?n=5&likes=a&likes=b."""
    given = request.query_params
    found: dict[str, list[str] | int] = {name: given.getlist(name) for name in given}
    if "n" in found:
        try:
            found["n"] = int(given["n"])
        except ValueError:
            way_out = "Correct it, or leave it out."
            raise InvalidArgument(invalid("n", "be a whole number", given["n"][:80], way_out)) from None
    return found


async def _gone(request: Request, place: Place) -> None:
    """Cancels a request whose client closes its connection. After the body, no other message arrives."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    place.cancel()
