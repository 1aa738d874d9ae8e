"""The server's HTTP interface as an OpenAPI document: `/openapi.json`, for clients and for generated tests."""

from collections.abc import Iterable
from typing import Any

from tfrs_twotower import __version__
from tfrs_twotower.serving.schemas import BODIES, QUERY, SCHEMAS


def document(name: str, endpoints: Iterable[str] = ()) -> dict[str, Any]:
    """The document of a server of one model, JSON-ready.

    Args:
      name: the model's name.
      endpoints: the paths after /v1/ of further requests, such as "recommend". `schemas.BODIES` describes their bodies.
    """
    model = f"/v1/models/{name}"
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    paths = {
        f"{model}:predict": {"post": _operation("Ask the newest version", "Prediction", "Predict")},
        model: {"get": _operation("Which versions are there, and in what state", "Status")},
        f"{model}/metadata": {"get": _operation("Signatures, their inputs, outputs and defaults", "Metadata")},
        "/healthz": {"get": _text("The process is alive")},
        "/readyz": {"get": _text("Requests can be answered")},
        "/metrics": {"get": _text("Metrics, for Prometheus")},
    }
    paths.update({
        f"/v1/{what}": {"post": _operation(*BODIES[what])}
        for what in endpoints if what != "users"
    })
    if "elicit" in endpoints:
        paths["/v1/elicit"]["get"] = _questions_by_query()
    user = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    paths["/v1/users/{id}"] = {
        "put": {**_operation("Keep a user's profile and picks", "UserKept", "User"), "parameters": [user]},
    }
    for path in (f"{model}:predict", model, f"{model}/metadata"):
        method, operation = next(iter(paths[path].items()))
        of_version = path.replace(model, f"{model}/versions/{{version}}")
        paths[of_version] = {method: {**operation, "parameters": [version]}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"twotower: {name}", "version": __version__},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def _questions_by_query() -> dict[str, Any]:
    asked = SCHEMAS["Elicit"]["properties"]
    return {
        **_operation("The same by a query string, as ?n=5&likes=a&likes=b", "Questions"),
        "parameters": [{"name": each, "in": "query", "schema": asked[each]} for each in QUERY],
    }


def _operation(summary: str, answer: str, request: str | None = None) -> dict[str, Any]:
    found = {"summary": summary, "responses": {
        "200": {"description": "the answer", "content": _json(answer)},
        "default": {"description": "refused; `error` says why", "content": _json("Error")},
    }}
    if request:
        found["requestBody"] = {"required": True, "content": _json(request)}
    return found


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _text(summary: str) -> dict[str, Any]:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {
        "200": {"description": "yes", "content": plain}, "default": {"description": "no", "content": plain},
    }}
