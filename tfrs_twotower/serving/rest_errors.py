"""The errors of REST requests as JSON: {"error": message}, with the HTTP status of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tfrs_twotower import extras
from tfrs_twotower.serving.errors import RETRY_SECONDS, Overloaded, ServingError, SlowBody

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

exceptions = extras.require("starlette.exceptions")
responses = extras.require("starlette.responses")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    message = message.encode(errors="backslashreplace").decode()  # a quoted value may hold half a surrogate pair
    return responses.JSONResponse({"error": message}, status, headers)


async def _serving_error(request: Request, error: ServingError) -> Response:
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, SlowBody):
        headers["Connection"] = "close"  # the rest of the body may still come
    return _error(error.http, str(error), headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, error.headers)


async def _other_error(request: Request, error: Exception) -> Response:
    return _error(500, f"{type(error).__name__}: see the server's log.")


HANDLERS = {ServingError: _serving_error, exceptions.HTTPException: _http_error, Exception: _other_error}
