"""The server's HTTP interface as an OpenAPI document: `/openapi.json`, for clients and for generated tests."""

from collections.abc import Iterable
from typing import Any

from tfrs_twotower import __version__
from tfrs_twotower import columns as c
from tfrs_twotower.online.events import MAX_ANSWER_BYTES, MAX_ID_BYTES, MAX_PLACE, MAX_QUERY_BYTES, MAX_TYPE_BYTES

_ID = {
    "oneOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES},
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    ]
}
_SCHEMAS = {
    "Object": {"type": "object"},
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Predict": {
        "description": "TF Serving's request: `inputs` by column, or `instances` by row. An input with a default may "
                       "be left out; /metadata names the inputs of each signature.",
        "type": "object",
        "properties": {"signature_name": {"type": "string"}, "inputs": {}, "instances": {"type": "array"}},
        "oneOf": [{"required": ["inputs"]}, {"required": ["instances"]}],
    },
    "Prediction": {"type": "object", "properties": {"outputs": {}, "predictions": {"type": "array"}}},
    "Event": {
        "type": "object",
        "required": [c.EVENT_ID, c.USER_ID],
        "anyOf": [
            {"required": [c.ITEM_ID]},
            {"required": [c.QUERY], "properties": {c.QUERY: {"minLength": 1}}},  # a search that chose no item
        ],
        "additionalProperties": False,
        "properties": {
            c.EVENT_ID: {**_ID, "description": "names the event among its user's: the same id counts once"},
            c.USER_ID: _ID,
            c.ITEM_ID: _ID,
            c.TIMESTAMP: {"type": "integer", "minimum": 1, "description": "seconds since 1970, by default now"},
            c.EVENT: {"type": "string", "maxLength": MAX_TYPE_BYTES, "description": "its kind, such as view or buy"},
            c.ANSWER: {"type": "string", "maxLength": MAX_ANSWER_BYTES, "description": "the id of the answer"},
            c.PLACE: {"type": "integer", "minimum": 0, "maximum": MAX_PLACE, "description": "in that answer, from 0"},
            c.DWELL: {"type": "number", "minimum": 0, "description": "seconds"},
            c.VALUE: {"type": "number", "description": "an amount, such as the money paid"},
            c.QUERY: {"type": "string", "maxLength": MAX_QUERY_BYTES, "description": "the words of a search"},
        },
    },
    "Events": {
        "type": "object",
        "required": ["events"],
        "additionalProperties": False,
        "properties": {"events": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Event"}}},
    },
    "Recorded": {
        "type": "object",
        "required": ["recorded", "known"],
        "properties": {"recorded": {"type": "integer"}, "known": {"type": "integer"}},
    },
}


def document(name: str, endpoints: Iterable[str] = ()) -> dict[str, Any]:
    """The document of a server of one model, JSON-ready.

    Args:
      name: the model's name.
      endpoints: the paths after /v1/ of further requests, such as "recommend". The document calls their bodies objects;
        the server's errors say more about them.
    """
    model = f"/v1/models/{name}"
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    paths = {
        f"{model}:predict": {"post": _operation("Ask the newest version", "Prediction", "Predict")},
        model: {"get": _operation("Which versions are there, and in what state")},
        f"{model}/metadata": {"get": _operation("Signatures, their inputs, outputs and defaults")},
        "/v1/events": {"post": _operation("Record events; they are on disk when it answers", "Recorded", "Events")},
        "/healthz": {"get": _text("The process is alive")},
        "/readyz": {"get": _text("Requests can be answered")},
        "/metrics": {"get": _text("Metrics, for Prometheus")},
    }
    paths.update({
        f"/v1/{what}": {"post": _operation(f"One request of {what}", "Object", "Object")}
        for what in endpoints if what != "events"
    })
    for path in (f"{model}:predict", model, f"{model}/metadata"):
        method, operation = next(iter(paths[path].items()))
        of_version = path.replace(model, f"{model}/versions/{{version}}")
        paths[of_version] = {method: {**operation, "parameters": [version]}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"twotower: {name}", "version": __version__},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _operation(summary: str, answer: str | None = None, request: str | None = None) -> dict[str, Any]:
    found = {"summary": summary, "responses": {
        "200": {"description": "the answer", "content": _json(answer)},
        "default": {"description": "refused; `error` says why", "content": _json("Error")},
    }}
    if request:
        found["requestBody"] = {"required": True, "content": _json(request)}
    return found


def _json(schema: str | None) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"} if schema else {}}}


def _text(summary: str) -> dict[str, Any]:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {
        "200": {"description": "yes", "content": plain}, "default": {"description": "no", "content": plain},
    }}
