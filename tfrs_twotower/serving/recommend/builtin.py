"""The server's own channels, made for one request."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Context
from tfrs_twotower.serving.catalogue import texts
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.recommend.selection import Selection

U2I, I2I, POPULAR, FRESH = "u2i", "i2i", "popular", "fresh"
BUILTIN = (U2I, I2I, POPULAR, FRESH)
_ALLOWED_BY_NAME = 20_000  # up to this many items go to the search as an allow-list; beyond, the search over-fetches
_OVERFETCH = 2
_SEEDS = 5  # the user's newest items, whose similar items i2i proposes


class TowersChannel:
    """u2i: the items that the query tower retrieves. Scores are those of `serving_default`. An unknown user gets none.

    Args:
      execute: a function from the tensors of `serving_default` to the arrays of its answer.
      tensors: the query's features and `popularity_beta`.
      selection: a `Selection`.
      excluded: item ids that the search itself leaves out.
      known: False for an unknown user.
    """

    name = U2I

    def __init__(
        self,
        execute: Callable[[Mapping[str, tf.Tensor]], Mapping[str, np.ndarray]],
        tensors: Mapping[str, tf.Tensor],
        selection: Selection,
        excluded: Iterable[str | int],
        known: bool,
    ) -> None:
        self._execute, self._tensors, self._selection, self._known = execute, tensors, selection, known
        self._dtype = tf.string if selection.items.catalogue.id_type is str else tf.int64
        self._excluded = list(excluded)

    def propose(self, context: Context, n: int) -> list[tuple[str | int, float]]:
        """See `Channel`. If the rules leave few items, these are the search's allow-list, and the search is exact."""
        if not self._known:
            return []
        options, fetched = {c.EXCLUDE_IDS: self._ids(self._excluded)}, n
        if self._selection.restricted:
            left = len(self._selection)
            if not left:
                return []
            if left <= _ALLOWED_BY_NAME:
                options[c.ALLOW_IDS] = self._ids(self._selection.ids())
            else:  # enough to contain n admitted items if these are spread evenly, times `_OVERFETCH`
                fetched = -(-_OVERFETCH * n * len(self._selection.items.catalogue) // left)
        return self._search(options, fetched)

    def _search(self, options: Mapping[str, tf.Tensor], k: int) -> list[tuple[str | int, float]]:
        size = len(self._selection.items.catalogue) + len(self._selection.items.overlay_ids)
        found = self._execute({**self._tensors, **options, c.K: tf.constant(min(k, size), tf.int32)})
        pairs = zip(texts(found[c.IDS][0]).tolist(), found[c.SCORES][0].tolist())
        return [(item, score) for item, score in pairs if score > tf.float32.min]

    def _ids(self, ids: Sequence[str | int]) -> tf.Tensor:
        return tf.constant([ids], self._dtype, [1, len(ids)])


class SimilarChannel:
    """i2i: the items most like one of the user's newest five. The score is that of `similar_items`.

    Args:
      selection: a `Selection`.
    """

    name = I2I

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def propose(self, context: Context, n: int) -> list[tuple[str | int, float]]:
        """See `Channel`. The search is exact."""
        selection = self._selection
        return selection.items.nearest(context.recent[:_SEEDS], n, selection.catalogue, selection.overlay)


class PopularChannel:
    """popular: the items with the most training events. The score is log p(item). Items that the export lacks are left
    out.

    Args:
      selection: a `Selection`.
    """

    name = POPULAR

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def propose(self, context: Context, n: int) -> list[tuple[str | int, float]]:
        """See `Channel`."""
        catalogue = self._selection.items.catalogue
        rows = catalogue.by_popularity[self._selection.known[catalogue.by_popularity]][:n]
        return list(zip(catalogue.ids[rows].tolist(), catalogue.log_popularity[rows].tolist()))


class NewestChannel:
    """fresh: items that are new since the export, the one changed last first. The score of item n is −n, from n = 0.

    Args:
      items: `CurrentItems`.
    """

    name = FRESH

    def __init__(self, items: CurrentItems) -> None:
        self._items = items

    def propose(self, context: Context, n: int) -> list[tuple[str | int, float]]:
        """See `Channel`."""
        return [(item, float(-place)) for place, item in enumerate(self._items.newest[:n])]
