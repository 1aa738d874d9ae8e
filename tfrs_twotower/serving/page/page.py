"""The explorer's routes: the page with its style and script, the data that it asks for, and Swagger UI at /docs."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from tfrs_twotower import __version__, extras
from tfrs_twotower.errors import ConfigError, MissingExtraError, invalid
from tfrs_twotower.serving.page.answers import PageAnswers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

responses = extras.require("starlette.responses")
routing = extras.require("starlette.routing")

_FILES = ("page.css", "page.js", "docs.js")
_SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js")
# They hold no data, and a browser opens them without a key.
OPEN_PATHS = ("/", "/docs", "/openapi.json", *(f"/{name}" for name in (*_FILES, *_SWAGGER)))
_FOLDER = Path(__file__).parent
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")

Work = Callable[["Request", Callable[["Request"], "Response"]], Awaitable["Response"]]


class Page:
    """The explorer of one server.

    Args:
      answers: a `PageAnswers`.
      name: the model's name.
      needs_key: whether requests for data need an API key, which the page then asks for.
      images: the origin from which the page may load the items' pictures, such as "https://cdn.example"; "": none.
      local: True answers only requests that name this machine as their host. Otherwise a page of the web whose name
        leads to 127.0.0.1 could read the data of users (DNS rebinding).
    """

    def __init__(
        self, answers: PageAnswers, name: str, needs_key: bool, images: str = "", local: bool = False
    ) -> None:
        self._answers, self._local = answers, local
        files, swagger = jinja2.FileSystemLoader(_FOLDER), Path(_package("flask_swagger_ui")) / "dist"
        environment = jinja2.Environment(loader=files, autoescape=True)
        said = {"name": name, "needs_key": needs_key, "images": images, "version": __version__}
        policy = {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
            "img-src": f"data: {images}".strip(), "base-uri": "'none'", "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        self._headers = {
            "Content-Security-Policy": "; ".join(f"{what} {value}" for what, value in policy.items()),
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
        }
        self._files = {
            path: (environment.get_template(file).render(said).encode(), "text/html")
            for path, file in (("/", "page.html"), ("/docs", "docs.html"))
        }
        for folder, names in ((_FOLDER, _FILES), (swagger, _SWAGGER)):
            for file in names:
                kind = "text/css" if file.endswith("css") else "text/javascript"
                self._files[f"/{file}"] = (folder / file).read_bytes(), kind

    def routes(self, work: Work) -> list[BaseRoute]:
        """The routes. work(request, answer) waits for a turn, and answers in a thread."""
        found = [routing.Route(path, self._file) for path in self._files]
        return found + [routing.Route(f"/page/{what}", self._handler(what, work)) for what in self._answers.all]

    async def _file(self, request: Request) -> Response:
        body, kind = self._files[request.url.path]
        headers = self._headers
        if request.url.path == "/docs":  # Swagger UI sets styles in its elements
            policy = headers["Content-Security-Policy"].replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
            headers = {**headers, "Content-Security-Policy": policy}
        return responses.Response(body, media_type=kind, headers=headers)

    def _handler(self, what: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
        def answer(request: Request) -> Response:
            return responses.JSONResponse(self._answers.all[what](request.query_params), headers=self._headers)

        async def handle(request: Request) -> Response:
            if self._local and not _is_local(request.url.hostname or ""):
                said = f"The page answers requests to this machine alone, not to {request.url.hostname}. Use --page."
                return responses.JSONResponse({"error": said}, 403)
            return await work(request, answer)

        return handle


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _package(name: str) -> str:
    """The folder of an installed package, which is not imported: its files are wanted, not Flask."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"`{name}` is needed for /docs. Install it with: pip install 'tfrs_twotower[serve]'")
    return found.submodule_search_locations[0]


def check_origin(images: str) -> str:
    """Returns the origin of pictures. Raises `ConfigError` for text that is none: it becomes part of a header."""
    if images and not _ORIGIN.fullmatch(images):
        way_out = "Name where the pictures come from, without a path."
        raise ConfigError(invalid("page_images", "be an origin, such as https://cdn.example", images, way_out))
    return images
