"""The log of a server: text for people, or one JSON object in each line.

The line of a request holds its id, the method and the status. It never holds user ids or bodies. A failure of the
server itself is logged with its traceback.
"""

import datetime
import json
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrs_twotower.serving.metrics import Call

TEXT, JSON = "text", "json"

_requests = logging.getLogger("tfrs_twotower.serving.requests")


class JsonFormatter(logging.Formatter):
    """One object in each line: time (ISO 8601, UTC), level, logger, message, the `extra={"fields": …}`, exception."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """The message, followed by the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        return " ".join([super().format(record), *(f"{name}={value}" for name, value in fields.items())])


def set_up(kind: str = TEXT, level: str = "info") -> None:
    """Sends the log of a process to standard error.

    Args:
      kind: "text", or "json".
      level: the lowest level that is written, such as "debug". Each request has a line from "info" on in JSON, which
        machines read, and at "debug" in text.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if kind == JSON else TextFormatter())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("tfrs_twotower").setLevel(level.upper())
    told = kind == JSON or level == "debug"
    _requests.setLevel(logging.NOTSET if told else logging.WARNING)


def tell(method: str, call: "Call", status: str, seconds: float) -> None:
    """Writes one request's line.

    Args:
      method: for example "rest:predict".
      call: a `metrics.Call`.
      status: the gRPC name of the status.
      seconds: the time from the arrival of the whole request to its answer.
    """
    if _requests.isEnabledFor(logging.INFO):
        fields = {"request_id": call.request_id, "method": method, "signature": call.signature, "status": status,
                  "milliseconds": round(seconds * 1000, 3), "version": call.version}
        _requests.info("request", extra={"fields": fields})
