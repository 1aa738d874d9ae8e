"""Events from a Redis stream: read at least once, kept once."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError
from tfrs_twotower.online.events import Event, read_event
from tfrs_twotower.online.history_store import HistoryStore
from tfrs_twotower.online.redis_connection import connect, errors, redis
from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable

_WAIT_MILLISECONDS = 1000  # for new entries: the longest time that a stop takes
_ABANDONED_MILLISECONDS = 60_000  # entries that a consumer did not finish within this time go to another
_RETRY_SECONDS = 1.0
_NONE_LEFT = ">"
_NUMBERS: dict[str, Callable[[str], int | float]] = {
    c.TIMESTAMP: int, c.PLACE: int, c.DWELL: float, c.VALUE: float,
}
_log = logging.getLogger(__name__)


class StreamConsumer:
    """One consumer of a consumer group, which writes into a `HistoryStore`.

    An entry is acknowledged after the store has it on disk. So a consumer that dies at any point leaves its entries
    with the group. The next consumer of its name writes them again, or another one after a minute. The store knows by
    the ids which events it already has.

    Args:
      store: a `HistoryStore`.
      url: the Redis server of the stream.
      stream: its key.
      group: the group's name; a new group starts at the stream's first entry.
      name: the consumer's name, unique among running consumers.
      batch: entries taken at a time.

    Raises:
      StoreError: the URL is wrong, or the key holds no stream. While nothing answers there, `step` raises it.
    """

    _own: str | None  # the last entry read of the unfinished ones; None: the group must be looked up again

    def __init__(
        self,
        store: HistoryStore,
        url: str,
        stream: str = "events",
        group: str = "twotower",
        name: str = "1",
        batch: int = 500,
    ) -> None:
        self._store, self._url, self._stream = store, url, stream
        self._group, self._name, self._batch = group, name, batch
        # Bytes that are no UTF-8 come as half surrogate pairs, which no event may have, and go aside as they came.
        # Any: the types that redis-py gives its answers are of all settings at once.
        self._redis: Any = connect(url, False, decode_responses=True, encoding_errors="surrogateescape")
        self._own = None
        with contextlib.suppress(StoreUnavailable):
            self._start_over()

    def run(self, stop: threading.Event) -> None:
        """Consumes until `stop`, a `threading.Event`, is set. While a server fails it tries again and again."""
        while not stop.is_set():
            try:
                self.step()
            except StoreError as error:
                _log.error("%s Trying again.", error)
                stop.wait(_RETRY_SECONDS)
        self._redis.close()

    def step(self) -> int:
        """Handles one batch: first its own unfinished entries, then those that others abandoned, then new ones.

        Returns:
          The number of entries; 0 if there were none for a second.
        """
        try:
            with errors(self._url):
                entries = self._take()
            if entries:
                self._keep(entries)
        except StoreError:
            self._own = None
            raise
        return len(entries)

    def _start_over(self) -> None:
        """Makes the group if it is missing, and begins with this consumer's unfinished entries."""
        with errors(self._url):
            try:
                self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):  # it exists already
                    raise
        self._own = "0"

    def _take(self) -> list[tuple[str, dict[str, str] | None]]:
        if self._own is None:
            self._start_over()
        if self._own != _NONE_LEFT:
            entries = self._read(self._own)  # type: ignore[arg-type]  # `_start_over` made it text
            self._own = entries[-1][0] if entries else _NONE_LEFT
            if entries:
                return entries
        claimed = self._redis.xautoclaim(
            self._stream, self._group, self._name, _ABANDONED_MILLISECONDS, count=self._batch
        )
        return claimed[1] or self._read(">", _WAIT_MILLISECONDS)

    def _read(self, start: str, block: int | None = None) -> list[tuple[str, dict[str, str] | None]]:
        answer = self._redis.xreadgroup(
            self._group, self._name, {self._stream: start}, count=self._batch, block=block
        )
        return answer[0][1] if answer else []

    def _keep(self, entries: Sequence[tuple[str, dict[str, str] | None]]) -> None:
        events, rejected = [], []
        for entry_id, fields in entries:
            try:
                events.append(_event(entry_id, fields or {}))
            except DataError as error:
                rejected.append((entry_id, fields or {}, str(error)))
        self._store.append(events)
        with errors(self._url):
            pipeline = self._redis.pipeline(transaction=True)
            for entry_id, fields, reason in rejected:
                # A log that is UTF-8 takes no half pairs, and a name in the entry must not begin a line of it.
                reason = " ".join(reason.encode(errors="backslashreplace").decode().splitlines())
                _log.warning("Entry %s of %s is no event: %s", entry_id, self._stream, reason)
                pipeline.xadd(f"{self._stream}:rejected", {**fields, "entry": entry_id, "reason": reason})
            pipeline.xack(self._stream, self._group, *(entry_id for entry_id, _ in entries))
            pipeline.execute()


def _event(entry_id: str, fields: Mapping[str, str]) -> Event:
    """The `Event` of an entry, whose own id holds its time in milliseconds. All its values are text; "" is none."""
    numbers: dict[str, int | float | None] = {}
    for name, read in _NUMBERS.items():
        if name in fields:
            try:
                numbers[name] = read(fields[name]) if fields[name] or name == c.TIMESTAMP else None
            except ValueError:
                pass  # `read_event` says what is wrong with it
    written = int(entry_id.partition("-")[0]) // 1000
    return read_event({c.EVENT_ID: entry_id, c.TIMESTAMP: written, **fields, **numbers}, time.time())
