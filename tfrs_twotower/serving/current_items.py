"""The items that a version can answer with now: its catalogue, and what became of items since."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes
from tfrs_twotower.exporting.similarity import measured
from tfrs_twotower.serving.catalogue import Catalogue, texts
from tfrs_twotower.serving.overlay_ids import OverlayIds, alike

if TYPE_CHECKING:
    from tfrs_twotower.serving.model import LoadedModel

_NOTHING: dict = {}


class ItemChanges(Protocol):
    """Items that are new, edited or withdrawn while a server runs; `freshness.FreshItems` is one.

    Threads share one. What `record` acknowledged counts in every later call of the others.
    """

    def attach(self, model: "LoadedModel") -> None:
        """Begins to follow a loaded version, before it answers."""

    def detach(self, model: "LoadedModel") -> None:
        """Forgets a version that answers no more, or that was never attached."""

    def record(self, changed: Collection[dict[str, Any]], withdrawn: Collection[str | int]) -> None:
        """Takes in new or edited items (features by name, with `item_id`) and ids that are withdrawn, all or nothing;
        they are on the disk when it returns. Raises `DataError` for what is wrong, `IndexingError` where the disk
        refuses."""

    def inputs(self, model: "LoadedModel") -> dict[str, tf.Tensor]:
        """What `recommend_fresh` of an attached version takes besides the request: tensors by name. The same object
        while nothing changes."""

    def latest(self) -> dict[str | int, dict[str, Any] | None]:
        """{item id: its features, or None where it is withdrawn}, the last changed at the end."""

    def close(self) -> None:
        """Lets another process open what keeps the events."""


class CurrentItems:
    """The items of a version at one moment.

    Args:
      catalogue: a `Catalogue`.
      overlay: `OverlayIds` of m items that are new or edited.
      overlay_vectors: float32 [m, dim].
      withdrawn: ids of the catalogue's items that are gone.
      features: {item id: features}, the last changed at the end; of the overlay's items at least.
      before: the `overlay_measured` of an earlier moment; entries of unchanged items are reused.

    Attributes:
      exported: bool [n]: rows of the catalogue whose item is there, with the vector that it was exported with.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        overlay: OverlayIds,
        overlay_vectors: np.ndarray,
        withdrawn: Sequence[str | int],
        features: dict[str | int, dict[str, Any] | None],
        before: tuple[np.ndarray, ...] | None = None,
    ) -> None:
        self.catalogue, self.overlay = catalogue, overlay
        self.overlay_vectors = overlay_vectors[:, : catalogue.tower_dim]
        self.overlay_ids, self.place, self.overlay_rows = overlay.ids, overlay.place, overlay.rows
        self.exported = np.ones(len(catalogue), bool)
        for rows in (self.overlay_rows, catalogue.rows(withdrawn)):
            self.exported[rows[rows >= 0]] = False
        self._features, self._before = features, before

    @functools.cached_property
    def newest(self) -> list[str | int]:
        """Ids of the overlay's items that the catalogue lacks, the last changed first."""
        rows = self.overlay_rows.tolist()
        return [item for item in reversed(self._features) if item in self.place and rows[self.place[item]] < 0]

    @functools.cached_property
    def overlay_attributes(self) -> Attributes:
        """`channels.Attributes` of the overlay's items."""
        return self.catalogue.attributes.like([self._features.get(item) or {} for item in self.overlay_ids])

    def vectors(self, ids: Sequence[str | int]) -> np.ndarray:
        """float32 [len(ids), tower_dim]: the newest vector of each item; zeros for one that is not known."""
        rows = self.catalogue.rows(ids)
        found = np.where((rows >= 0)[:, np.newaxis], self.catalogue.tower_vectors[np.maximum(rows, 0)], np.float32(0))
        for at, item in enumerate(ids):
            if item in self.place:
                found[at] = self.overlay_vectors[self.place[item]]
        return found

    def similar(self, item_id: str | int, k: int) -> list[tuple[str | int, float]]:
        """The k items most like an item, without the item itself: [(id, score)], best first; [] for an unknown item."""
        return self.nearest([item_id], k, self.exported, np.ones(len(self.overlay_ids), bool))

    def nearest(
        self, seeds: Sequence[str | int], k: int, catalogue: np.ndarray, overlay: np.ndarray
    ) -> list[tuple[str | int, float]]:
        """The k items most like one of several seeds, without the seeds: [(id, largest score)], best first.

        The search is exact. The score is that of the signature `similar_items`. Without a known seed it is [].

        Args:
          seeds: item ids.
          k: items at most.
          catalogue: bool [n]: rows of the catalogue that count.
          overlay: bool [m]: items of the overlay that count.
        """
        vectors = self.vectors(seeds)
        vectors = vectors[vectors.any(axis=1)]
        main, rows, places = self.catalogue.tower_vectors, np.flatnonzero(catalogue), np.flatnonzero(overlay)
        if not len(vectors) or not len(rows) + len(places):
            return []
        if 2 * len(rows) < len(main):  # few are sooner copied than all scored
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
        """float32 [m, seeds]: the similarity of items to seeds, from their inner products with the seeds' vectors."""
        if self.catalogue.similarity is None:
            return products
        main, overlay = self.catalogue.measured, self.overlay_measured[1:]
        lengths, density = (np.concatenate([a[rows], b[places]]) for a, b in zip(main, overlay))
        of_seeds, near_seeds = measured(seeds, self.catalogue.similarity.sample.numpy())
        return 2 * products / lengths[:, np.newaxis] / of_seeds - density[:, np.newaxis] - near_seeds

    @functools.cached_property
    def overlay_measured(self) -> tuple[np.ndarray, ...]:
        """(the overlay's vectors, their lengths, their density), as `Similarity` measures items."""
        vectors, before = self.overlay_vectors, self._before
        self._before = None
        if before is None:
            return vectors, *measured(vectors, self.catalogue.similarity.sample.numpy())
        head = alike(before[0], vectors)
        tail = alike(before[0][head:][::-1], vectors[head:][::-1])
        new = measured(vectors[head:len(vectors) - tail], self.catalogue.similarity.sample.numpy())
        old = len(before[0]) - tail
        return vectors, *(np.concatenate([b[:head], n, b[old:]]) for b, n in zip(before[1:], new))

    def _id(self, at: int) -> str | int:
        size = len(self.catalogue)
        return self.overlay_ids[at - size] if at >= size else self.catalogue.ids.item(at)


def current_items(model: "LoadedModel", changes: ItemChanges | None = None) -> CurrentItems:
    """The `CurrentItems` of a loaded version, made once for each change.

    Args:
      model: a `LoadedModel` with a catalogue.
      changes: `ItemChanges` that it is attached to, or None.
    """
    inputs = _NOTHING if changes is None else changes.inputs(model)
    held = model.catalogue.view
    if held is None or held[0] is not inputs:
        features = {} if changes is None else changes.latest()
        before = None if held is None else held[1]
        held = model.catalogue.view = (
            inputs,
            _view(model.catalogue, inputs, features, before),  # type: ignore[arg-type]  # it has one, see `model`
        )
    return held[1]


def _view(
    catalogue: Catalogue,
    inputs: Mapping[str, tf.Tensor],
    features: dict[str | int, dict[str, Any] | None],
    before: CurrentItems | None,
) -> CurrentItems:
    if not inputs:
        return CurrentItems(catalogue, OverlayIds.none(), np.zeros((0, catalogue.dim), np.float32), [], {})
    overlay = (OverlayIds.none() if before is None else before.overlay).followed_by(
        inputs[c.OVERLAY_IDS].numpy(), catalogue
    )
    measures = None if before is None else vars(before).get("overlay_measured")  # where it was asked for
    withdrawn = texts(inputs[c.WITHDRAWN_IDS].numpy()).tolist()
    return CurrentItems(catalogue, overlay, inputs[c.OVERLAY_VECTORS].numpy(), withdrawn, features, measures)
