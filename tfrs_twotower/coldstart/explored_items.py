"""New items come into the pool of exploration with their first event."""

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tfrs_twotower import columns as c
from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.online import StoreError

if TYPE_CHECKING:
    from tfrs_twotower.serving.current_items import CurrentItems, ItemChanges
    from tfrs_twotower.serving.model import LoadedModel

_log = logging.getLogger(__name__)


class ExploredItems:
    """`serving.ItemChanges` that adds items to a pool if the catalogue of the newest attached version lacks them.

    An item stays in the pool up to its cap, even if a later version knows it. A withdrawn item stays too, but no
    request admits it.

    Args:
      changes: the `ItemChanges` that keep the events.
      exposures: an `Exposures`.
    """

    def __init__(self, changes: "ItemChanges", exposures: Exposures) -> None:
        self._changes, self._exposures = changes, exposures
        self._catalogues = {}  # id of a version's SavedModel: its catalogue; the newest is the last

    def attach(self, model: "LoadedModel") -> None:
        """See `ItemChanges`. Adds the items that came while no version was attached, or while the pool failed."""
        self._changes.attach(model)
        self._catalogues[id(model.root)] = model.catalogue
        self._add(self._changes.items(model).newest[::-1])

    def detach(self, model: "LoadedModel") -> None:
        """See `ItemChanges`."""
        self._changes.detach(model)
        self._catalogues.pop(id(model.root), None)

    def record(self, changed: Collection[dict[str, Any]], withdrawn: Collection[str | int]) -> None:
        """See `ItemChanges`. While the pool fails the items are recorded all the same."""
        self._changes.record(changed, withdrawn)
        self._add([item[c.ITEM_ID] for item in changed])

    def items(self, model: "LoadedModel") -> "CurrentItems":
        """See `ItemChanges`."""
        return self._changes.items(model)

    def check(self) -> None:
        """Raises `StoreError` if changes cannot be recorded now, or the pool cannot be read."""
        getattr(self._changes, "check", lambda: None)()
        self._exposures.check()

    def close(self) -> None:
        """Closes the events; the exposures stay open."""
        self._changes.close()

    def _add(self, items: Sequence[str | int]) -> None:
        if not items or not self._catalogues:
            return
        catalogue = list(self._catalogues.values())[-1]
        try:
            ids = [catalogue.id_type(item) for item in items]
            self._exposures.add([str(item) for item, row in zip(ids, catalogue.rows(ids)) if row < 0])
        except StoreError as error:
            _log.error("New items are not explored until a version is loaded: %s", error)
