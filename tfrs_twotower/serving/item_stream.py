"""Changes of items from a stream, into the items log of a server."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tfrs_twotower.online import StoreError
from tfrs_twotower.online.stream_consumer import Entry, Keep, Stream, StreamConsumer
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted, ServingError
from tfrs_twotower.serving.metrics import Metrics

_log = logging.getLogger(__name__)


class ItemStream:
    """Reads a stream in a thread, from `start` to `stop`.

    Args:
      stream: a `Stream`. Each server needs all changes, so each one is a consumer group of its own.
      record: `ItemRecorder.record`.
      metrics: a `Metrics`.
    """

    def __init__(self, stream: Stream, record: Callable[[dict[str, Any]], Any], metrics: Metrics) -> None:
        self.consumer = StreamConsumer(stream, items_into(record, metrics))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.consumer.run, args=(self._stop,), name="item stream", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes the entries at hand, and closes the stream."""
        self._stop.set()
        self._thread.join()


def items_into(record: Callable[[dict[str, Any]], Any], metrics: Metrics) -> Keep:
    """A `Keep` of item changes. An entry is a request of /v1/items; in Redis its lists are JSON text.

    A change that comes again changes nothing, unless a newer one of the same item came in between.
    """

    def keep(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        rejected = []
        for entry in entries:
            try:
                if entry.reason:
                    raise InvalidArgument(entry.reason)
                record({name: _parsed(name, value) for name, value in entry.fields.items()})
            except (InvalidArgument, ResourceExhausted) as error:
                rejected.append((entry, str(error)))
            except ServingError as error:
                raise StoreError(str(error)) from error
            except Exception as error:  # the thread must survive, as later changes come by it alone
                _log.exception("An item change failed")
                rejected.append((entry, f"{type(error).__name__}: {error}"))
        metrics.items_rejected(len(rejected))
        return rejected

    return keep


def _parsed(name: str, value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"`{name[:40]}` must be a list, as JSON: {error}.") from error
