"""The server's own channels, as one request sees them."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Context
from tfrs_twotower.serving.catalogue import texts
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.recommend.selection import Selection

U2I, I2I, POPULAR, FRESH = "u2i", "i2i", "popular", "fresh"
_ALLOWED_BY_NAME = 20_000  # of so many items each is named to the search; of more, the search fetches too many
_OVERFETCH = 2
_SEEDS = 5  # last items of a user that i2i starts from


class TowersChannel:
    """u2i: what the query tower retrieves. Scores are those of `serving_default`; an unknown user gets nothing.

    Args:
      execute: {tensors of `serving_default`} → arrays of its answer.
      tensors: the query's features and `popularity_beta`.
      selection: a `Selection`.
      excluded: ids that the search leaves out by itself.
      known: False for a user of whom nothing is known.
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
        """See `Channel`. Where rules leave few items these are named to the search, which is exact then."""
        if not self._known:
            return []
        options, fetched = {c.EXCLUDE_IDS: self._ids(self._excluded)}, n
        if self._selection.restricted:
            left = len(self._selection)
            if not left:
                return []
            if left <= _ALLOWED_BY_NAME:
                options[c.ALLOW_IDS] = self._ids(self._selection.ids())
            else:  # as many as hold n of the admitted ones, were they spread evenly, and some more
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
    """i2i: the items most like one of the user's last five; the score is that of `similar_items` with it.

    Args:
      selection: a `Selection`.
    """

    name = I2I

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def propose(self, context: Context, n: int) -> list[tuple[str | int, float]]:
        """See `Channel`; exact."""
        selection = self._selection
        return selection.items.nearest(context.recent[:_SEEDS], n, selection.catalogue, selection.overlay)


class PopularChannel:
    """popular: what training saw most; the score is log p(item). Items that the export lacks are not in it.

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


class FreshChannel:
    """fresh: items that came since the export, the last changed first; the score of the n-th is −n, from 0.

    Args:
      items: `CurrentItems`.
    """

    name = FRESH

    def __init__(self, items: CurrentItems) -> None:
        self._items = items

    def propose(self, context: Context, n: int) -> list[tuple[str | int, float]]:
        """See `Channel`."""
        return [(item, float(-place)) for place, item in enumerate(self._items.newest[:n])]
