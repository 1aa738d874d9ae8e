"""A store and the answers of its servers as a source of a training."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import config
from tfrs_twotower.data import Columns, Files, Source
from tfrs_twotower.data.source import canonical, with_said
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.ids import as_number
from tfrs_twotower.online.feedback import WITHIN, feedback
from tfrs_twotower.online.store_kind import REDIS
from tfrs_twotower.online.stores import open_stores
from tfrs_twotower.online.training_rows import PARTS, Shape, numbers, texts, values_of

_BLOCK = 10_000  # profiles read at a time
LATE = 86_400  # seconds: an event may come so much later than its time


@config
class Store(Source):
    """The events of a store, with what the server's answers showed and users did not choose; see `online.feedback`.

    The log has the events' kinds, dwell times, values and search words, so histories and `Searches` read them.

    Attributes:
      address: of the store, as `sqlite:PATH` or `redis://HOST:PORT/DB`, without a password.
      log: folders of `serve --log-requests`.
      since, until: seconds since 1970. `until` None: all. In an update `since` is the parent's `until`. The day before
        it is read again, as events may come late, and the update leaves out those that its log has.
      within: seconds after an answer in which an event counts as its choice.
      context: features as served that become columns of the events.
      text_ids: ids are text, even if all of them are whole numbers.
      users_path, items_path: the tables with features, as in `Files`, or None.
      profiles: whether the store's profiles are the user table. Their times are seconds since 1970.
    """

    address: str
    log: tuple[str, ...] = ()
    since: int = 0
    until: int | None = None
    within: int = WITHIN
    context: tuple[str, ...] = ()
    text_ids: bool = False
    users_path: str | None = None
    items_path: str | None = None
    profiles: bool = False

    def __post_init__(self) -> None:
        if self.address.startswith(REDIS) and urlsplit(self.address).password is not None:
            way_out = "Set TWOTOWER_REDIS_PASSWORD, or TWOTOWER_REDIS_PASSWORD_FILE."
            raise ConfigError(invalid("Store.address", "have no password in it", "one with a password", way_out))

    @property
    def name(self) -> str:
        """The address."""
        return self.address

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch. Raises `StoreError` if the store or a log cannot be read."""
        return self.rows((*PARTS, *self.context))

    def rows(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """`interactions` with other columns of `feedback`, besides ids, time, event and label."""
        until = int(time.time()) if self.until is None else self.until
        columns = Columns(event=c.EVENT, label=c.LABEL, context=tuple(names))
        with contextlib.closing(open_stores(self.address, existing=True)) as stores:
            ids = () if self.text_ids else numbers(stores.history, 0, until)
            shape = Shape(ids, self.context, texts(self.log, self.context))
            late = LATE if self.since else 0
            wrong: list[pa.Table] = []
            for table in feedback(stores.history, self.log, self.since, until, self.within, late, wrong.append):
                for batch in canonical(shape.rows(table), columns, self.name).to_batches():
                    yield with_said(batch, map(_note, filter(len, wrong))) if wrong else batch

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._profiles() if self.profiles else self._tables().users()

    def items(self) -> pa.Table | None:
        """pa.Table or None."""
        return self._tables().items()

    def after(self, until: int) -> "Store":
        """The source of the events that came since this one was read.

        Raises `ConfigError` if it had no `until`.
        """
        if self.until is None:
            rule, way_out = "be known, to go on from there", "Update without --interactions: it reads all again."
            raise ConfigError(invalid("Store.until", rule, None, way_out))
        return dataclasses.replace(self, since=self.until, until=until)

    def _profiles(self) -> pa.Table | None:
        until = int(time.time()) if self.until is None else self.until
        with contextlib.closing(open_stores(self.address, existing=True)) as stores:
            whole = not self.text_ids and c.USER_ID in numbers(stores.history, 0, until)
            pages = stores.history.events(0, until)
            users = list(dict.fromkeys(event.user_id for page in pages for event in page))
            found = [
                profile for start in range(0, len(users), _BLOCK)
                for profile in stores.profiles.get(users[start:start + _BLOCK])
            ]
        names = sorted({name for profile in found for name in profile} - {c.USER_ID})
        ids = pa.array([as_number(user) for user in users], pa.int64()) if whole else pa.array(users, pa.string())
        columns = {name: values_of([profile.get(name) for profile in found]) for name in names}
        return pa.table({c.USER_ID: ids, **columns})

    def _tables(self) -> Files:
        return Files("", self.users_path, self.items_path)


def _note(wrong: pa.Table) -> str:
    said = ", ".join(f"{row['values']} ({row['counts']:,})" for row in wrong["reason"].value_counts().to_pylist())
    return f"What clients said of answers, and does not count: {said}"
