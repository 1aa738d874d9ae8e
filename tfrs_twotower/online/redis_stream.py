"""A Redis stream, as one consumer of a group reads it."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfrs_twotower import columns as c
from tfrs_twotower.online.redis_connection import connect, errors, redis
from tfrs_twotower.online.store_kind import StoreUnavailable
from tfrs_twotower.online.stream_consumer import Entry

_WAIT_MILLISECONDS = 1000  # for new entries: the longest time that a stop takes
_ABANDONED_MILLISECONDS = 60_000  # entries that a consumer did not finish within this time go to another
_NONE_LEFT = ">"
_NUMBERS: dict[str, Callable[[str], int | float]] = {
    c.TIMESTAMP: int, c.PLACE: int, c.DWELL: float, c.VALUE: float,
}


class RedisStream:
    """A `Stream` in a Redis server.

    The entries that a dead consumer left unfinished go to the next consumer of its name, or to another one after a
    minute. A rejected entry goes to the stream `<stream>:rejected`.

    Args:
      url: the Redis server of the stream.
      stream: its key.
      group: the group's name; a new group starts at the stream's first entry.
      member: the consumer's name, unique among running consumers.
      batch: entries taken at a time.

    Raises:
      StoreError: the URL is wrong, or the key holds no stream. While nothing answers there, `take` raises it.
    """

    _own: str | None  # the last entry read of the unfinished ones; None: the group must be looked up again

    def __init__(
        self, url: str, stream: str = "events", group: str = "twotower", member: str = "1", batch: int = 500
    ) -> None:
        self._url, self.name, self._group, self._member, self._batch = url, stream, group, member, batch
        # Bytes that are no UTF-8 come as half surrogate pairs, which no event may have, and go aside as they came.
        # Any: the types that redis-py gives its answers are of all settings at once.
        self._redis: Any = connect(
            url, False, _WAIT_MILLISECONDS / 1000, decode_responses=True, encoding_errors="surrogateescape"
        )
        self._own = None
        with contextlib.suppress(StoreUnavailable):
            self._join()

    def take(self) -> list[Entry]:
        """See `Stream`: first its own unfinished entries, then those that others abandoned, then new ones."""
        with errors(self._url):
            if self._own is None:
                self._join()
            if self._own != _NONE_LEFT:
                entries = self._read(self._own)  # type: ignore[arg-type]  # `_join` made it text
                self._own = entries[-1][0] if entries else _NONE_LEFT
                if entries:
                    return [_entry(*entry) for entry in entries]
            claimed = self._redis.xautoclaim(
                self.name, self._group, self._member, _ABANDONED_MILLISECONDS, count=self._batch
            )
            return [_entry(*entry) for entry in claimed[1] or self._read(">", _WAIT_MILLISECONDS)]

    def finish(self, entries: Sequence[Entry], rejected: Sequence[tuple[Entry, str]]) -> None:
        """See `Stream`: in one transaction."""
        with errors(self._url):
            pipeline = self._redis.pipeline(transaction=True)
            for entry, reason in rejected:
                pipeline.xadd(f"{self.name}:rejected", {**entry.raw, "entry": entry.id, "reason": reason})
            pipeline.xack(self.name, self._group, *(entry.id for entry in entries))
            pipeline.execute()

    def start_over(self) -> None:
        """See `Stream`."""
        self._own = None

    def close(self) -> None:
        """See `Stream`."""
        self._redis.close()

    def _join(self) -> None:
        """Makes the group if it is missing, and begins with this consumer's unfinished entries."""
        with errors(self._url):
            try:
                self._redis.xgroup_create(self.name, self._group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):  # it exists already
                    raise
        self._own = "0"

    def _read(self, start: str, block: int | None = None) -> list[tuple[str, dict[str, str] | None]]:
        answer = self._redis.xreadgroup(
            self._group, self._member, {self.name: start}, count=self._batch, block=block
        )
        return answer[0][1] if answer else []


def _entry(entry_id: str, fields: Mapping[str, str] | None) -> Entry:
    """The `Entry` of an id, which holds its time in milliseconds, and of fields, whose values are text; "" is none."""
    fields = fields or {}
    numbers: dict[str, int | float | None] = {}
    for name, read in _NUMBERS.items():
        if name in fields:
            with contextlib.suppress(ValueError):  # `read_event` says what is wrong with it
                numbers[name] = read(fields[name]) if fields[name] or name == c.TIMESTAMP else None
    return Entry(entry_id, int(entry_id.partition("-")[0]) // 1000, {**fields, **numbers}, fields)
