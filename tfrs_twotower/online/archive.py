"""Keeps all events in Parquet by day, beside a store, which keeps the newest ones."""

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.online.answer_files import DAY, Kind, read, starts
from tfrs_twotower.online.answer_log import new_answer_id
from tfrs_twotower.online.events import Event
from tfrs_twotower.online.history_store import HistoryAround, HistoryStore, Retention
from tfrs_twotower.online.row_log import RowLog
from tfrs_twotower.online.store_kind import StoreError, StoreKind, Stores

_TYPES = {c.TIMESTAMP: pa.int64(), c.PLACE: pa.int64(), c.DWELL: pa.float64(), c.VALUE: pa.float64()}
EVENTS = Kind("events", pa.schema([
    ("row_id", pa.string()), *((name, _TYPES.get(name, pa.string())) for name in Event._fields),
]), (c.USER_ID, c.EVENT_ID), DAY)


class Archive(RowLog):
    """Keeps events in a folder, see `RowLog`: in `events/DAY-….parquet`, by the days of their times."""

    kinds: ClassVar[tuple[Kind, ...]] = (EVENTS,)
    option: ClassVar[str] = "--archive"
    rotate_seconds: ClassVar[float] = 3600.0  # late events make a file for each day and look

    def keep(self, events: Sequence[Event]) -> None:
        """Keeps events: they are on disk when it returns. Raises `StoreError`."""
        now = self._clock()
        self._put(EVENTS, [(new_answer_id(now), *event) for event in events], True)


class ArchivedHistory(HistoryAround):
    """A `HistoryStore` of which an `Archive` keeps all events, before the store has them.

    So an event that the store removes is in the archive. If the archive's disk fails, no event is taken.

    Args:
      history: the `HistoryStore`.
      archive: the `Archive`. `close` closes both.
    """

    def __init__(self, history: HistoryStore, archive: Archive) -> None:
        super().__init__(history)
        self._archive = archive

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`."""
        self._archive.keep(events)
        return self._history.append(events)

    def close(self) -> None:
        """See `HistoryStore`."""
        self._archive.close()
        self._history.close()


class ArchiveStore(StoreKind):
    """`archive:FOLDER,FOLDER`: the events of archives, to read them all. A server cannot have it as its store."""

    schemes = ("archive:",)

    @classmethod
    def stores(cls, address: str, retention: Retention, allow_loss: bool) -> Stores:
        """See `StoreKind.stores`."""
        reader = _Reader(address.removeprefix("archive:").split(","))
        return Stores(reader, reader, retention)


class _Reader:
    """The part of a `HistoryStore` that reads all events; the rest raises `StoreError`."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        for folder in folders:
            starts(folder, EVENTS)  # raises if it is no archive

    def events(self, since: int, until: int) -> Iterator[list[Event]]:
        """See `HistoryStore`. A day at a time; an event of two folders comes twice."""
        for folder in self._folders:
            for day in starts(folder, EVENTS):
                if day + DAY > since and day < until:
                    table = read(folder, EVENTS, max(day, since), min(day + DAY, until)).drop_columns(["row_id"])
                    yield [Event(**row) for row in table.to_pylist()]

    def append(self, events: Sequence[Event]) -> int:
        """Not of an archive."""
        raise self._error()

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """Not of an archive."""
        raise self._error()

    def items(self, user_ids: Sequence[str]) -> list[dict[str, str]]:
        """Not of an archive."""
        raise self._error()

    def trim(self) -> int:
        """Not of an archive."""
        raise self._error()

    def put(self, profiles: dict[str, dict]) -> None:
        """Not of an archive."""
        raise self._error()

    def get(self, user_ids: Sequence[str]) -> list[dict]:
        """Not of an archive."""
        raise self._error()

    def close(self) -> None:
        """See `HistoryStore`."""

    def _error(self) -> StoreError:
        return StoreError("An archive answers no requests. Serve a store, such as sqlite:store.db, with --archive.")
