"""The items that a version can recommend now: its catalogue, with the changes since the export."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes
from tfrs_twotower.exporting.similarity import measured
from tfrs_twotower.features import fingerprints
from tfrs_twotower.serving.catalogue import Catalogue

if TYPE_CHECKING:
    from tfrs_twotower.serving.model import LoadedModel


class ItemChanges(Protocol):
    """Items that are new, edited or withdrawn while a server runs. `freshness.FreshItems` implements it.

    Threads may share one object. After `record` returns, every later call of the other methods has the changes.
    """

    def attach(self, model: "LoadedModel") -> None:
        """Applies the changes to a loaded version from now on. The server calls it before the version answers."""

    def detach(self, model: "LoadedModel") -> None:
        """Stops applying changes to a version that no longer answers. The version may never have been attached."""

    def record(self, changed: Collection[dict[str, Any]], withdrawn: Collection[str | int]) -> None:
        """Records new or edited items (features by name, with `item_id`) and withdrawn ids, either all or none.

        They are on the disk when it returns.

        Raises:
          DataError: an item or an id is wrong.
          StoreError: the disk refuses.
        """

    def items(self, model: "LoadedModel") -> "CurrentItems":
        """The items of an attached version. The object stays the same until an item changes."""

    def close(self) -> None:
        """Closes the place where the events are kept, so that another process can open it."""


class _Overlay(NamedTuple):
    """The overlay: m items that are new or edited, in the order of their fingerprints. Every array has m rows."""

    codes: np.ndarray     # int64: fingerprints of the ids, ascending
    ids: np.ndarray       # object (str) or int64
    vectors: np.ndarray   # float32 [m, dim], from the version's candidate tower
    rows: np.ndarray      # int64: catalogue rows; −1 for a new item
    features: np.ndarray  # object: dicts
    moments: np.ndarray   # int64: the item changed last has the largest


class CurrentItems:
    """The items of a version at one moment: its catalogue, and the items that are new, edited or withdrawn since.

    The object does not change; `after` returns the items of a later moment. It holds the vectors of changed items
    alone. The others are the catalogue's own.

    Args:
      catalogue: a `Catalogue`. A new object has no changes.

    Attributes:
      withdrawn: list of the ids of the catalogue's withdrawn items.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        kind, none = object if catalogue.id_type is str else np.int64, np.zeros(0, np.int64)
        vectors = np.zeros((0, catalogue.dim), np.float32)
        self.catalogue, self.withdrawn = catalogue, list[str | int]()
        self._overlay = _Overlay(none, np.zeros(0, kind), vectors, none, np.zeros(0, object), none)

    def after(self, changes: Mapping[str | int, tuple[dict[str, Any], np.ndarray] | None]) -> "CurrentItems":
        """The items after further changes.

        The result takes over the earlier changes. Only the ids of `changes` are looked up, however many items had
        changed before.

        changes: {item id: (its features, its vector [dim]), or None if it is withdrawn}, with the item changed last at
          the end.
        """
        later, old = CurrentItems(self.catalogue), self._overlay
        there = {item: change for item, change in changes.items() if change is not None}
        gone = [item for item in changes if item not in there]
        known = self.catalogue.rows(gone).tolist()
        later.withdrawn = [item for item in self.withdrawn if item not in changes]
        later.withdrawn += [item for item, row in zip(gone, known) if row >= 0]
        keep = np.ones(len(old.ids), bool)
        keep[[self.place[item] for item in changes if item in self.place]] = False
        new = self._rows_of(there)
        at = np.searchsorted(old.codes[keep], new.codes)
        later._overlay = _Overlay(*(np.insert(have[keep], at, come, axis=0) for have, come in zip(old, new)))
        if "overlay_measured" in vars(self):  # it has been computed before
            come = measured(new.vectors[:, : self.catalogue.tower_dim], self.catalogue.similarity.sample.numpy())
            later.overlay_measured = tuple(
                np.insert(have[keep], at, values) for have, values in zip(self.overlay_measured, come)
            )
        return later

    @functools.cached_property
    def inputs(self) -> dict[str, tf.Tensor]:
        """The inputs of `recommend_fresh` besides the request's: tensors by name."""
        dtype = tf.string if self.catalogue.id_type is str else tf.int64
        return {
            c.OVERLAY_IDS: tf.constant(self.overlay_ids, dtype, [len(self.overlay_ids)]),
            c.OVERLAY_VECTORS: tf.constant(self._overlay.vectors),
            c.WITHDRAWN_IDS: tf.constant(self.withdrawn, dtype, [len(self.withdrawn)]),
        }

    @functools.cached_property
    def overlay_ids(self) -> list[str | int]:
        """The ids of the m items that are new or edited, in the order of their fingerprints."""
        return self._overlay.ids.tolist()

    @functools.cached_property
    def place(self) -> dict[str | int, int]:
        """{id: its place in `overlay_ids`}."""
        return {item: place for place, item in enumerate(self.overlay_ids)}

    @property
    def overlay_rows(self) -> np.ndarray:
        """int64 [m]: the catalogue rows of the overlay's items; −1 for a new item."""
        return self._overlay.rows

    @property
    def overlay_vectors(self) -> np.ndarray:
        """float32 [m, tower_dim]: the candidate tower's part of the overlay's vectors."""
        return self._overlay.vectors[:, : self.catalogue.tower_dim]

    @property
    def overlay_features(self) -> np.ndarray:
        """object [m]: {column: value} of the overlay's items, as their events had them."""
        return self._overlay.features

    @functools.cached_property
    def overlay_attributes(self) -> Attributes:
        """`channels.Attributes` of the overlay's items."""
        return self.catalogue.attributes.like(self._overlay.features.tolist())

    @functools.cached_property
    def overlay_measured(self) -> tuple[np.ndarray, ...]:
        """(lengths, density), float32 [m] each, as `Similarity` measures items."""
        return measured(self.overlay_vectors, self.catalogue.similarity.sample.numpy())

    @functools.cached_property
    def newest(self) -> list[str | int]:
        """The ids of the items that the catalogue lacks, with the item changed last at the front."""
        new = np.flatnonzero(self.overlay_rows < 0)
        return self._overlay.ids[new[np.argsort(-self._overlay.moments[new])]].tolist()

    @functools.cached_property
    def exported(self) -> np.ndarray:
        """bool [n]: catalogue rows whose item is neither withdrawn nor edited, so that its exported vector is valid."""
        exported = np.ones(len(self.catalogue), bool)
        for rows in (self.overlay_rows, self.catalogue.rows(self.withdrawn)):
            exported[rows[rows >= 0]] = False
        return exported

    def vectors(self, ids: Sequence[str | int]) -> np.ndarray:
        """float32 [len(ids), tower_dim]: the newest vector of each item; zeros for an unknown item."""
        return self.searched_vectors(ids)[:, : self.catalogue.tower_dim]

    def searched_vectors(self, ids: Sequence[str | int]) -> np.ndarray:
        """float32 [len(ids), dim]: `vectors` with the dimensions of neighbours, as they are searched."""
        rows = self.catalogue.rows(ids)
        found = np.where((rows >= 0)[:, np.newaxis], self.catalogue.vectors[np.maximum(rows, 0)], np.float32(0))
        for at, item in enumerate(ids):
            if item in self.place:
                found[at] = self._overlay.vectors[self.place[item]]
        return found

    def similar(self, item_id: str | int, k: int) -> list[tuple[str | int, float]]:
        """The k items most like an item, without the item itself: [(id, score)], best first; [] for an unknown item."""
        return self.nearest([item_id], k, self.exported, np.ones(len(self.overlay_ids), bool))

    def nearest(
        self, seeds: Sequence[str | int], k: int, catalogue: np.ndarray, overlay: np.ndarray
    ) -> list[tuple[str | int, float]]:
        """The k items most like one of several seeds, without the seeds: [(id, largest score)], best first.

        The search is exact. The scores are those of the signature `similar_items`. Without a known seed the result
        is [].

        Args:
          seeds: item ids.
          k: the most items to return.
          catalogue: bool [n]: the catalogue rows that may be returned.
          overlay: bool [m]: the overlay's items that may be returned.
        """
        vectors = self.vectors(seeds)
        vectors = vectors[vectors.any(axis=1)]
        main, rows, places = self.catalogue.tower_vectors, np.flatnonzero(catalogue), np.flatnonzero(overlay)
        if not len(vectors) or not len(rows) + len(places):
            return []
        if 2 * len(rows) < len(main):  # copying few vectors is faster than scoring all
            scores = main[rows] @ vectors.T
        else:
            scores = (main @ vectors.T)[rows]
        scores = np.concatenate([scores, self.overlay_vectors[places] @ vectors.T])
        scores = self._alike(scores, vectors, rows, places).max(axis=1)
        wanted = min(k + len(seeds), len(scores))  # the seeds themselves may be among them
        best = np.argpartition(-scores, wanted - 1)[:wanted]
        best = best[np.lexsort([best, -scores[best]])]
        at = np.concatenate([rows, len(main) + places])[best]
        found = [(self._id(row), score) for row, score in zip(at.tolist(), scores[best].tolist())]
        return [pair for pair in found if pair[0] not in seeds][:k]

    def _alike(self, products: np.ndarray, seeds: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """float32 [items, seeds]: the similarity of items to seeds, from their inner products with the seeds' vectors.
        """
        if self.catalogue.similarity is None:
            return products
        main, overlay = self.catalogue.measured, self.overlay_measured
        lengths, density = (np.concatenate([a[rows], b[places]]) for a, b in zip(main, overlay))
        of_seeds, near_seeds = measured(seeds, self.catalogue.similarity.sample.numpy())
        return 2 * products / lengths[:, np.newaxis] / of_seeds - density[:, np.newaxis] - near_seeds

    def _id(self, at: int) -> str | int:
        size = len(self.catalogue)
        return self.overlay_ids[at - size] if at >= size else self.catalogue.ids.item(at)

    def _rows_of(self, there: Mapping[str | int, tuple[dict[str, Any], np.ndarray]]) -> _Overlay:
        """The overlay rows of new or edited items."""
        ids, empty = list(there), self._overlay
        dtype = tf.string if self.catalogue.id_type is str else tf.int64
        codes = fingerprints(tf.constant(ids, dtype, [len(ids)])).numpy()
        order = np.argsort(codes, kind="stable")
        features = np.fromiter((features for features, _ in there.values()), object, len(ids))
        vectors = np.stack([vector for _, vector in there.values()]) if there else empty.vectors[:0]
        moments = np.arange(len(ids)) + 1 + empty.moments.max(initial=0)
        named = np.fromiter(ids, empty.ids.dtype, len(ids))
        new = _Overlay(codes, named, vectors, self.catalogue.rows(ids), features, moments)
        return _Overlay(*(values[order] for values in new))


def current_items(model: "LoadedModel", changes: ItemChanges | None = None) -> CurrentItems:
    """The `CurrentItems` of a loaded version.

    Args:
      model: a `LoadedModel` with a catalogue.
      changes: the `ItemChanges` that the model is attached to, or None.
    """
    return model.exported_items if changes is None else changes.items(model)
