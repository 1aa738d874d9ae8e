"""The items of a version that may be in an answer."""

import functools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tfrs_twotower.channels import read_rules, satisfied
from tfrs_twotower.errors import DataError
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.errors import InvalidArgument


class Selection:
    """The items that a request admits: known, not withdrawn, not excluded, and within its rules.

    Args:
      items: `CurrentItems`.
      allow, deny: rules by attribute, as in the request.
      excluded: ids of excluded items.

    Attributes:
      catalogue: bool [n]: the catalogue rows whose item is admitted and still has its exported vector.
      overlay: bool [m]: the overlay's items that are admitted.

    Raises:
      InvalidArgument: an attribute is unknown, or a value does not have the attribute's type.
    """

    def __init__(
        self, items: CurrentItems, allow: dict[str, Any], deny: dict[str, Any], excluded: Collection[str | int]
    ) -> None:
        self.items, self.restricted = items, bool(allow or deny)
        attributes = items.catalogue.attributes
        try:
            rules = [read_rules(name, given, attributes.kinds) for name, given in (("allow", allow), ("deny", deny))]
        except DataError as error:
            raise InvalidArgument(str(error)) from error
        self.catalogue, self.overlay = items.exported.copy(), np.ones(len(items.overlay_ids), bool)
        if self.restricted:
            self.catalogue &= satisfied(attributes, *rules)
            self.overlay = satisfied(items.overlay_attributes, *rules)
        out = items.catalogue.rows(list(excluded))
        self.catalogue[out[out >= 0]] = False
        self.overlay[[items.place[item] for item in excluded if item in items.place]] = False

    def __len__(self) -> int:
        return int(self.catalogue.sum()) + int(self.overlay.sum())

    def ids(self) -> list[str | int]:
        """The ids of all admitted items."""
        fresh = [item for item, good in zip(self.items.overlay_ids, self.overlay) if good]
        return self.items.catalogue.ids[self.catalogue].tolist() + fresh

    @functools.cached_property
    def known(self) -> np.ndarray:
        """bool [n]: the catalogue rows whose item is admitted, with its exported vector or a new one."""
        known, rows = self.catalogue.copy(), self.items.overlay_rows
        known[rows[rows >= 0]] = self.overlay[rows >= 0]
        return known

    def admits(self, ids: Sequence[str | int]) -> list[bool]:
        """For each id: Is the item admitted?"""
        rows, place = self.items.catalogue.rows(ids), self.items.place
        return [
            bool(self.known[row]) if row >= 0 else item in place and bool(self.overlay[place[item]])
            for item, row in zip(ids, rows)
        ]
