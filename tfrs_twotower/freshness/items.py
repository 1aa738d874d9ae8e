"""Items that are new, edited or withdrawn while a version serves. Answers have a change as soon as it is acknowledged.
"""

import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, ClassVar

from tfrs_twotower import columns as c
from tfrs_twotower.data.statistics import HOUR
from tfrs_twotower.errors import DataError, IndexingError, invalid, nearest
from tfrs_twotower.freshness.attached import AttachedVersion
from tfrs_twotower.freshness.counting import RecentEvents
from tfrs_twotower.freshness.item_events import ItemEvents
from tfrs_twotower.ids import is_missing_id
from tfrs_twotower.index import arguments
from tfrs_twotower.online import MAX_ID_BYTES, Event, Stores
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.model import LoadedModel

_CHANGED, _WITHDRAWN = "changed", "withdrawn"


class FreshItems:
    """Takes item events, keeps them, and applies them to every attached version. An `ItemChanges`.

    Each version encodes a new or edited item with its own candidate tower, so that all vectors of an index are in one
    embedding space. Events are kept as they came: a version that is attached later encodes them with its own tower.

    Threads may share one object; events take turns. An acknowledged event is on the disk, and every search that begins
    later has it.

    Args:
      folder: the folder of the events (see `ItemEvents`). One process at a time has it open.
      id_type: str or int, the type of the item ids.
      category_means: an attribute of items. Items without training events get the mean vector of their category in
        place of the tower's vector, see `CategoryVectors`. None: all items get the tower's vector of their features.

    Raises:
      StoreError: the folder cannot be used; see `ItemEvents`. On a full or read-only disk its events still count, and
        `record` raises the error until the disk takes changes.
    """

    LATE: ClassVar[int] = 6 * HOUR  # seconds by which an event may arrive late and still count

    def __init__(
        self, folder: str | Path, id_type: type[str] | type[int] = str, category_means: str | None = None
    ) -> None:
        self.id_type, self._category_means = id_type, category_means
        self._lock = threading.Lock()
        self._hour = 0
        self._attached: dict[int, AttachedVersion] = {}  # by the id of a model's SavedModel
        self._recent = RecentEvents()
        self._events = ItemEvents(folder, id_type)
        try:
            self._latest = self._events.read()  # the item changed last comes last
        except BaseException:
            self.close()
            raise

    def attach(self, model: LoadedModel) -> None:
        """Applies all events to a loaded version, now and later. Call it before the version answers requests.

        An event that the version cannot read is left out, and logged as an error.

        Raises:
          IndexingError: the version's ids have another type, it cannot merge changes in, or its items have no attribute
            `category_means`.
        """
        version = AttachedVersion(model, self._category_means)
        if version.catalogue.id_type is not self.id_type:
            rule, way_out = f"have {self.id_type.__name__} ids", "Keep the events of another model in another folder."
            raise IndexingError(invalid("model", rule, version.catalogue.id_type.__name__, way_out))
        with self._lock:
            version.refresh(self._recent.read(), self._hour, self._latest)
            version.take_kept(self._latest)
            self._attached[id(model.root)] = version

    def detach(self, model: LoadedModel) -> None:
        """Stops applying events to a version that no longer answers requests."""
        with self._lock:
            self._attached.pop(id(model.root), None)

    def count(self, events: Iterable[Event]) -> None:
        """Counts events of users for the statistics of items (`ItemStatistic`), each once however often it comes.

        Answers have them after the next `refresh`. They are kept in memory alone. The kind "shown" means that an item
        was shown and not chosen.
        """
        self._recent.add(events)

    def counted_until(self, now: float) -> int | None:
        """The time since which events have to be counted before `refresh(now)`, in seconds since 1970.

        It is that of the oldest export that was never refreshed, or else `LATE` before the last refresh. None: nothing
        would change, as no version has statistics, or all have those of this hour.
        """
        hour = int(now) // HOUR
        found = [v.statistics for v in list(self._attached.values()) if v.statistics is not None]
        behind = [one.counted_until for one in found if one.hour < hour or one.counted_until == one.until]
        return min(behind, default=None)

    def refresh(self, now: float) -> int:
        """Gives the items whose statistics changed new vectors, in every attached version. Returns their number.

        Statistics are as of the start of the hour, as in training. So there is something to do once an hour, or if
        events of earlier hours came late.

        now: seconds since 1970.
        """
        with self._lock:
            self._hour, versions = int(now) // HOUR, list(self._attached.values())
            known = [version.statistics.until for version in versions if version.statistics is not None]
            if not known:
                return 0
            recent = self._recent.read(min(known))
            changed = sum(version.refresh(recent, self._hour, self._latest) for version in versions)
            for version in versions:
                if version.statistics is not None:
                    version.statistics.counted_until = max(int(now) - self.LATE, version.statistics.until + 1)
            return changed

    def adapt(self, stores: Stores, now: float) -> int:
        """Gives new items with new first events another vector, in versions with `FirstEvents`. Returns their number.

        Args:
          stores: `online.Stores`, with the events and the features of their users.
          now: seconds since 1970.

        Raises:
          StoreError: the store cannot be read.
        """
        changed = 0
        for version in list(self._attached.values()):
            if version.first is None:
                continue
            with self._lock:
                sent = {str(item) for item, features in self._latest.items() if features is not None}
            ids = version.first.read(stores, int(now), sent)
            with self._lock:
                latest = {item: f for item, f in self._latest.items() if f is not None and str(item) in ids}
                version.take_kept(latest)
            changed += len(latest)
        return changed

    def change(self, items: Collection[dict[str, Any]]) -> None:
        """Records new or edited items: `record(changed=items)`."""
        self.record(changed=items)

    def withdraw(self, ids: Collection[str | int]) -> None:
        """Removes items from all answers, until `change` brings them back: `record(withdrawn=ids)`."""
        self.record(withdrawn=ids)

    def record(self, changed: Collection[dict[str, Any]] = (), withdrawn: Collection[str | int] = ()) -> None:
        """Records the changes of items, either all of them or none.

        Args:
          changed: list of {"item_id": …, raw feature: value}, new or edited items. A feature that is left out is
            missing. An attached version must read the name of each feature, or have it in its item table; the latter
            are kept for later models. Values are text, numbers, lists of them, or None. A time is seconds since 1970
            in UTC, or ISO text.
          withdrawn: list of ids.

        Raises:
          DataError: an item has no id or is in both lists, no attached version knows the name of a feature, or a value
            has another type than the model reads, or than its column of the item table has.
          StoreError: the disk refuses.
        """
        latest: dict[str | int, dict[str, Any] | None] = {}
        for place, item in enumerate(changed):
            where = f"{_CHANGED}[{place}]"
            if not isinstance(item, dict) or c.ITEM_ID not in item:
                raise DataError(invalid(where, f"be an object with `{c.ITEM_ID}`", item, "Name the item that changed."))
            self._check_names(where, item)
            key = self._key(f"{where}.{c.ITEM_ID}", item[c.ITEM_ID])
            if is_missing_id(key):
                way_out = "Send the id that the item table has."
                raise DataError(invalid(f"{where}.{c.ITEM_ID}", "be no missing id", key, way_out))
            latest.pop(key, None)  # the last of several changes of an item is the newest
            latest[key] = {**item, c.ITEM_ID: key}
        gone = [self._key(f"{_WITHDRAWN}[{place}]", item) for place, item in enumerate(withdrawn)]
        both = [key for key in gone if key in latest]
        if both:
            raise DataError(invalid("items", "be changed or withdrawn, not both", both[0], "Leave it out of one list."))
        latest.update(dict.fromkeys(gone))
        with self._lock:
            for version in self._attached.values():
                version.check([features for features in latest.values() if features is not None])
            encoded = [(version, version.encode(latest)) for version in self._attached.values()]
            self._events.write(latest)
            for key, features in latest.items():
                self._latest.pop(key, None)
                self._latest[key] = features
            for version, vectors in encoded:
                version.take(latest, vectors)

    def items(self, model: LoadedModel) -> CurrentItems:
        """The `CurrentItems` of an attached version. The object stays the same until an item changes."""
        attached = self._attached.get(id(model.root))
        if attached is None:
            raise IndexingError(f"Version {model.version} is not attached. Call `attach` first.")
        return attached.items()

    def check(self) -> None:
        """Raises `StoreError` if changes cannot be recorded now."""
        with self._lock:  # both open the folder again after its disk refused, and one of them can
            self._events.check()

    def close(self) -> None:
        """Closes the folder, so that another process can open it."""
        self._events.close()

    def _check_names(self, where: str, item: dict[str, Any]) -> None:
        known = set[str]().union(*(version.names for version in list(self._attached.values())))
        unknown = next((name for name in item if known and name not in known), None)
        if unknown is not None:
            hint = nearest(unknown, sorted(known))
            raise DataError(f"{where}: no version that serves has a feature `{str(unknown)[:80]}` of items.{hint}")

    def _key(self, where: str, item_id: object) -> str | int:
        try:
            key = arguments.keys([item_id], self.id_type)[0]
        except IndexingError as error:
            rule = "be text in UTF-8, not empty" if self.id_type is str else "be a whole number of 64 bits, not -1"
            raise DataError(invalid(where, rule, item_id, "Send the id that the item table has.")) from error
        if self.id_type is str and len(key.encode()) > MAX_ID_BYTES:
            raise DataError(invalid(where, f"have at most {MAX_ID_BYTES} bytes", f"{key[:40]}…", "Use a shorter one."))
        return key
