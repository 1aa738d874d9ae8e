"""The bodies of the server's HTTP interface as JSON schemas, for `openapi`."""

from typing import Any

from tfrs_twotower import columns as c
from tfrs_twotower.online.answer_log import ANSWER_ID
from tfrs_twotower.online.events import MAX_ANSWER_BYTES, MAX_ID_BYTES, MAX_PLACE, MAX_QUERY_BYTES, MAX_TYPE_BYTES


def _object(properties: dict[str, Any], required: tuple[str, ...] = (), more: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": more}
    return {**found, "required": list(required)} if required else found


def _list(items: dict[str, Any], **rules: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **rules}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


ID: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES},
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    ]
}
_NUMBER, _TEXT, _COUNT = {"type": "number"}, {"type": "string"}, {"type": "integer"}
_FOUND_ID = {"type": ["string", "integer"]}
_SINGLE = {"type": ["string", "number", "boolean"]}
_RULE = {
    "oneOf": [
        _SINGLE, _list(_SINGLE),
        _object({"min": _NUMBER, "max": _NUMBER}) | {"minProperties": 1},
    ],
    "description": "a value, any of a list, or a range",
}
_RULES = {"type": "object", "additionalProperties": _RULE}
_PLACE = {"type": "integer", "minimum": 0, "maximum": MAX_PLACE}
_UNKNOWN = {"type": "object", "additionalProperties": _list(_FOUND_ID),
            "description": "items of the request that the version does not know: they say nothing"}
_EVENT_OF_PAST = {c.ITEM_ID: _FOUND_ID, "title": _TEXT, c.TIMESTAMP: _COUNT}

SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "Predict": {
        "description": "TF Serving's request: `inputs` by column, or `instances` by row. An input with a default may "
                       "be left out; /metadata names the inputs of each signature.",
        "type": "object",
        "properties": {"signature_name": _TEXT, "inputs": {}, "instances": {"type": "array"}},
        "oneOf": [{"required": ["inputs"]}, {"required": ["instances"]}],
    },
    "Status": {"type": "object", "required": ["model_version_status"], "properties": {"model_version_status": _list({
        "type": "object", "properties": {
            "version": _TEXT, "state": _TEXT,
            "status": _object({"error_code": _TEXT, "error_message": _TEXT}),
        },
    })}},
    "Metadata": {"type": "object", "required": ["model_spec", "metadata"], "properties": {
        "model_spec": _object({"name": _TEXT, "signature_name": _TEXT, "version": _TEXT}),
        "metadata": {"type": "object", "description": "TF Serving's: each signature with its inputs and outputs"},
    }},
    "Prediction": {"type": "object", "properties": {"outputs": {}, "predictions": {"type": "array"}}},
    "Event": _object({
        c.EVENT_ID: {**ID, "description": "names the event among its user's: the same id counts once"},
        c.USER_ID: ID,
        c.ITEM_ID: ID,
        c.TIMESTAMP: {"type": "integer", "minimum": 1, "description": "seconds since 1970, by default now"},
        c.EVENT: {"type": "string", "maxLength": MAX_TYPE_BYTES, "description": "its kind, such as view or buy"},
        c.ANSWER: {"type": "string", "maxLength": MAX_ANSWER_BYTES, "description": "the id of the answer"},
        c.PLACE: {"type": "integer", "minimum": 0, "maximum": MAX_PLACE, "description": "in that answer, from 0"},
        c.DWELL: {"type": "number", "minimum": 0, "description": "seconds"},
        c.VALUE: {**_NUMBER, "description": "an amount, such as the money paid"},
        c.QUERY: {"type": "string", "maxLength": MAX_QUERY_BYTES, "description": "the words of a search"},
    }, (c.EVENT_ID, c.USER_ID)) | {"anyOf": [
        {"required": [c.ITEM_ID]},
        {"required": [c.QUERY], "properties": {c.QUERY: {"minLength": 1}}},  # a search that chose no item
    ]},
    "Events": _object({"events": _list(_ref("Event"), minItems=1)}, ("events",)),
    "Recorded": _object({"recorded": _COUNT, "known": _COUNT}, ("recorded", "known"), True),
    "User": _object({
        "profile": {"type": "object", "description": "columns that the model reads of a user"},
        "picks": _list(ID, description="items that the user chose at sign-up"),
        "merge": {"type": "boolean", "description": "keep what the request does not name; null removes a column"},
    }) | {"anyOf": [{"required": ["profile"]}, {"required": ["picks"]}]},
    "UserKept": _object({c.USER_ID: _TEXT, "columns": _list(_TEXT, description="all that is kept of the user")},
                        (c.USER_ID, "columns")),
    "Impressions": _object({"impressions": _list(_object({
        "answer_id": {"type": "string", "pattern": f"^{ANSWER_ID.pattern}$"},
        "places": _list(_PLACE, description="the places of the answer that the user saw, from 0"),
        "dropped": _list(_PLACE, description="the places that a later stage left out"),
        c.TIMESTAMP: {"type": "integer", "minimum": 1, "description": "seconds since 1970, by default now"},
    }, ("answer_id",)) | {"anyOf": [{"required": ["places"]}, {"required": ["dropped"]}]}, minItems=1)},
        ("impressions",)),
    "ImpressionsRecorded": _object({"recorded": _COUNT}, ("recorded",)),
    "Elicit": _object({
        "likes": _list(ID), "dislikes": _list(ID), "asked": _list(ID, description="neither liked nor disliked"),
        "n": {"type": "integer", "minimum": 1, "default": 1, "description": "questions"},
        "allow": _RULES, "deny": _RULES,
    }),
    "Questions": _object({
        "model_version": _COUNT,
        "items": _list(_object({c.ITEM_ID: _FOUND_ID, "information": {**_NUMBER, "description": "bits"}},
                               (c.ITEM_ID, "information"))),
        "unknown": _UNKNOWN,
    }, ("model_version", "items")),
    "Items": _object({
        "changed": _list({
            "type": "object", "required": [c.ITEM_ID], "properties": {c.ITEM_ID: ID},
            "description": "a new or edited item: its id, and its columns as in the item table",
        }),
        "withdrawn": _list(ID),
    }) | {"minProperties": 1},
    "ItemsRecorded": _object({"changed": _COUNT, "withdrawn": _COUNT}, ("changed", "withdrawn"), True),
    "Recommend": _object({
        c.USER_ID: {"description": "left out: an unknown user", **ID},
        "k": {"type": "integer", "minimum": 1, "default": 10, "description": "items of the answer"},
        "features": {"type": "object", "description": "raw query features; they replace those of the store"},
        "exclude_seen": {"type": "boolean", "description": "default: as the model was evaluated"},
        c.EXCLUDE_IDS: _list(ID),
        "allow": {**_RULES, "description": "an item must satisfy every rule"},
        "deny": {**_RULES, "description": "an item must satisfy none"},
        c.POPULARITY_BETA: {**_NUMBER, "description": "above 0, popular items rank lower"},
        "channels": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0},
                     "description": "places by channel; the others are u2i's"},
        "diversity": {**_NUMBER, "minimum": 0, "maximum": 1, "default": 0},
        "objectives": {"type": "object", "additionalProperties": _NUMBER, "description": "weights of the heads"},
        "likes": _list(ID, description="a stranger's answers to the questions of /v1/elicit"),
        "dislikes": _list(ID),
        "fields": _list(_TEXT, description="columns of the item table that each item carries"),
        "version": {"type": "integer", "description": "default: the newest"},
        "explain": {"type": "boolean", "default": False, "description": "the first 20 items carry an explanation"},
    }),
    "Recommended": _object({
        "model_version": _COUNT,
        "answer_id": {**_TEXT, "description": "if the server keeps answers (--log-requests): events may name it"},
        "arm": _TEXT,
        "items": _list(_object({
            c.ITEM_ID: _FOUND_ID, "score": _NUMBER, "channel": _TEXT, "fields": {"type": "object"},
            "explanation": _ref("Explanation"),
        }, (c.ITEM_ID, "score", "channel"), True)),
        "unknown": _UNKNOWN,
    }, ("model_version", "items"), True),
    "Explanation": _object({
        "score": _NUMBER,
        "base": {**_NUMBER, "description": "the score of the average item; all else is a difference from it"},
        "popularity": _NUMBER,
        "repeats": {**_NUMBER, "description": "of the user's earlier events with this item"},
        "events": _list(_object({**_EVENT_OF_PAST, "share": _NUMBER}), description="the five largest shares"),
        "other_events": _NUMBER,
        "features": {"type": "object", "additionalProperties": _NUMBER},
        "rest": {**_NUMBER, "description": "a reranker, and what several things do together"},
        "method": {"enum": ["exact", "leave-one-out"]},
        "without": _object({
            **_EVENT_OF_PAST, "place": {"type": ["integer", "null"]},
            "offered": _list(_object({c.ITEM_ID: _FOUND_ID, "title": _TEXT})),
        }) | {"description": "the strongest event, the item's place without it, and what the towers then offer"},
    }, more=True),
}
QUERY = ("likes", "dislikes", "asked", "n")  # names of an `Elicit` that a query string has
BODIES = {  # path after /v1/: (summary, answer, request)
    "elicit": ("Questions to a stranger, the best first", "Questions", "Elicit"),
    "impressions": ("Record what users saw; it is on disk when it answers", "ImpressionsRecorded", "Impressions"),
    "events": ("Record events; they are on disk when it answers", "Recorded", "Events"),
    "items": ("Add, edit and withdraw items; they are on disk when it answers", "ItemsRecorded", "Items"),
    "recommend": ("Recommend items to one user by the rules of the request", "Recommended", "Recommend"),
}
