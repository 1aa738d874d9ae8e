"""Entries of a stream into a store: read at least once, kept once."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError
from tfrs_twotower.online.events import Event, read_event
from tfrs_twotower.online.history_store import HistoryStore
from tfrs_twotower.online.store_kind import StoreError

_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One entry of a stream.

    Attributes:
      id: unique in the stream.
      written: when it was written, in seconds since 1970; None if the stream does not say.
      fields: its values by name.
      raw: the entry as the stream's client gives it.
      reason: why it has no fields; "" if it has.
    """

    id: str
    written: int | None
    fields: Mapping[str, Any]
    raw: Any
    reason: str = ""


class Stream(Protocol):
    """A stream as one member of a consumer group sees it. Every method may raise `StoreError`.

    name: of the stream, for messages.
    """

    name: str

    def take(self) -> list[Entry]:
        """The next entries, unfinished ones first; [] if there were none for a second."""

    def finish(self, entries: Sequence[Entry], rejected: Sequence[tuple[Entry, str]]) -> None:
        """Puts rejected entries aside, each with its reason, then acknowledges all `entries`."""

    def start_over(self) -> None:
        """Makes `take` return the entries again that were taken and not finished."""

    def close(self) -> None:
        """Closes the connections."""


Keep = Callable[[Sequence[Entry]], list[tuple[Entry, str]]]


class StreamConsumer:
    """One consumer of a consumer group.

    Entries are acknowledged after `keep` has them on disk. So a consumer that dies at any point leaves its entries with
    the group, and they are read again.

    Args:
      stream: a `Stream`; `open_stream` makes one.
      keep: a function that keeps entries and returns those that it refuses, with reasons. Entries may come again: it
        has to know them, as a `HistoryStore` knows events by their ids. While it raises `StoreError`, they come again.

    Attributes:
      kept, rejected: the numbers of entries since the start.
    """

    def __init__(self, stream: Stream, keep: Keep) -> None:
        self._stream, self._keep = stream, keep
        self.kept = self.rejected = 0

    def run(self, stop: threading.Event) -> None:
        """Consumes until `stop`, a `threading.Event`, is set. While a server fails it tries again and again."""
        while not stop.is_set():
            try:
                self.step()
            except StoreError as error:
                _log.error("%s Trying again.", error)
                stop.wait(_RETRY_SECONDS)
        self._stream.close()

    def step(self) -> int:
        """Handles one batch. Returns the number of entries; 0 if there were none for a second."""
        try:
            entries = self._stream.take()
            if entries:
                rejected = [(entry, _one_line(reason)) for entry, reason in self._keep(entries)]
                for entry, reason in rejected:
                    _log.warning("Entry %s of %s is put aside: %s", entry.id, self._stream.name, reason)
                self._stream.finish(entries, rejected)
                self.kept += len(entries) - len(rejected)
                self.rejected += len(rejected)
        except StoreError:
            self._stream.start_over()
            raise
        return len(entries)


def events_into(store: HistoryStore) -> Keep:
    """A `Keep` of events. An event's default id and time are those of its entry."""

    def keep(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        events, rejected = [], []
        for entry in entries:
            try:
                events.append(_event(entry))
            except DataError as error:
                rejected.append((entry, str(error)))
        store.append(events)
        return rejected

    return keep


def _event(entry: Entry) -> Event:
    if entry.reason:
        raise DataError(entry.reason)
    return read_event({c.EVENT_ID: entry.id, c.TIMESTAMP: entry.written, **entry.fields}, time.time())


def _one_line(reason: str) -> str:
    """A log that is UTF-8 takes no half surrogate pairs, and a name in an entry must not begin a line of it."""
    return " ".join(reason.encode(errors="backslashreplace").decode().splitlines())
